"use strict";
// All text is set through textContent, so that no name of a row can become markup.
const { names, columns, costs, distance, entries, real } = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function make(tag, text = "", attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function drawn(tag, attributes, text = "") {
  const element = document.createElementNS(SVG, tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Sorts by number if a cell has one, otherwise by text. Cells without a number come last in both directions.
function sort(head) {
  const table = head.closest("table"), column = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = body => {
    const cell = body.rows[0].cells[column];
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  const text = body => body.rows[0].cells[column].textContent;
  const bodies = [...table.tBodies].sort((a, b) => {
    const x = key(a), y = key(b);
    if (x === null && y === null) return text(a).localeCompare(text(b)) * (up ? 1 : -1);
    if (x === null || y === null) return x === null ? 1 : -1;
    return (x - y) * (up ? 1 : -1);
  });
  table.append(...bodies);
}

let verdict = "";  // only claims with this verdict are shown; empty: all

function filter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const bodies = [...document.querySelectorAll("main tbody, .claim")];
  for (const body of bodies) {
    const said = body.textContent.toLowerCase();
    const asked = !verdict || !body.dataset.verdicts || body.dataset.verdicts.split(" ").includes(verdict);
    body.hidden = !asked || !words.every(word => said.includes(word));
  }
  document.getElementById("nothing").hidden = bodies.some(body => !body.hidden);
}

// Tints the matrix of trunks and priors: the lower the distance, the darker the cell, on a log scale over the table.
function tint(table) {
  const cells = [...table.querySelectorAll("tbody td[data-value]")].filter(cell => cell.cellIndex > 1);
  const logs = cells.map(cell => Math.log(Number(cell.dataset.value))), [least, most] = [Math.min(...logs), Math.max(...logs)];
  cells.forEach((cell, i) => {
    cell.classList.add("heat");
    cell.style.setProperty("--heat", `${Math.round(most > least ? 45 * (most - logs[i]) / (most - least) : 0)}%`);
  });
}
for (const table of document.querySelectorAll("section[id^='matrix'] table")) tint(table);

const shown = number => Math.abs(number) >= 1e4 ? number.toLocaleString("en") : String(number);

// The range of an axis. Outliers (beyond three times the range of the middle 80% of their own curve) are left out if they
// would flatten everything else to a line; they are drawn at the edge, marked by an arrow.
function near(seeds, ys) {
  const kept = seeds.flatMap(({ points }) => {
    const sorted = points.map(p => p[1]).sort((a, b) => a - b), at = q => sorted[Math.round(q * (sorted.length - 1))];
    const [low, high] = [at(.1), at(.9)], room = 3 * (high - low);
    return sorted.filter(v => v >= low - room && v <= high + room);
  });
  const [low, high] = [Math.min(...kept), Math.max(...kept)], [least, most] = [Math.min(...ys), Math.max(...ys)];
  return most - least > 10 * (high - low) && high > low ? [low, high] : [least, most];
}

// One chart per curve, with one line per seed. The caption shows the value under the pointer.
function chart(name, seeds) {
  const points = seeds.flatMap(seed => seed.points);
  const [width, height, left, top, bottom] = [260, 130, 38, 6, 16];
  const xs = points.map(p => p[0]), ys = points.map(p => p[1]);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)], [y0, y1] = near(seeds, ys), far0 = Math.max(...ys) > y1, far1 = Math.min(...ys) < y0;
  const x = v => left + (x1 > x0 ? (v - x0) / (x1 - x0) : .5) * (width - left - 6);
  const y = v => top + (y1 > y0 ? (y1 - Math.min(y1, Math.max(y0, v))) / (y1 - y0) : .5) * (height - top - bottom);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name });
  svg.append(drawn("path", { class: "axis", d: `M${left} ${top}V${height - bottom}H${width - 6}` }));
  svg.append(drawn("text", { x: left - 4, y: top + 7, "text-anchor": "end" }, (far0 ? "↑" : "") + shown(y1)));
  svg.append(drawn("text", { x: left - 4, y: height - bottom, "text-anchor": "end" }, (far1 ? "↓" : "") + shown(y0)));
  svg.append(drawn("text", { x: left, y: height - 4 }, `epoch ${x0}`));
  svg.append(drawn("text", { x: width - 6, y: height - 4, "text-anchor": "end" }, shown(x1)));
  for (const { seed, points, ended } of seeds) {
    const kind = `s${seed % 6}`;
    if (points.length > 1) svg.append(drawn("path", { class: kind, d: "M" + points.map(p => `${x(p[0])} ${y(p[1])}`).join("L") }));
    const [px, py] = points[points.length - 1].map((v, i) => i ? y(v) : x(v));
    svg.append(ended ? drawn("path", { class: kind, d: `M${px - 4} ${py - 4}l8 8m0 -8l-8 8` })
                     : drawn("circle", { class: kind, cx: px, cy: py, r: 2 }));
  }
  const caption = make("figcaption", name), figure = make("figure", "", { class: "chart" });
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), at = [(event.clientX - box.left) * width / box.width, (event.clientY - box.top) * width / box.width];
    const far = p => Math.hypot(x(p[0]) - at[0], y(p[1]) - at[1]);
    const all = seeds.flatMap(seed => seed.points.map(p => ({ seed: seed.seed, p })));
    const best = all.reduce((a, b) => far(b.p) < far(a.p) ? b : a);
    caption.textContent = `${name}: ${shown(best.p[1])} at epoch ${best.p[0]}, seed ${best.seed}`;
  });
  svg.addEventListener("pointerleave", () => { caption.textContent = name; });
  figure.append(svg, caption);
  return figure;
}

// The numbers of one protocol, or the costs: one line per seed, and the columns that at least one seed has.
function numbers(mine, protocol) {
  const known = mine.filter(trial => trial.numbers[protocol] || trial.state !== "ok");
  const kept = columns[protocol].map((name, i) => [name, i]).filter(([, i]) => known.some(trial => (trial.numbers[protocol] || [])[i] != null));
  if (!kept.length) return [];
  const table = make("table"), head = table.createTHead().insertRow(), body = table.createTBody();
  const placed = !protocol && known.some(trial => trial.device);
  for (const text of ["seed", ...kept.map(([name]) => name), ...(placed ? ["device"] : [])]) head.append(make("th", text));
  for (const trial of known) {
    const line = body.insertRow();
    line.append(make("td", `${trial.seed}${trial.state === "ok" ? "" : " " + trial.state}`, { class: trial.state }));
    for (const [, i] of kept) line.append(make("td", (trial.numbers[protocol] || [])[i] == null ? "" : shown(trial.numbers[protocol][i])));
    if (placed) line.append(make("td", trial.device || ""));
  }
  const wide = make("div", "", { class: "wide" });
  wide.append(table);
  return [make("h3", protocol ? `Protocol ${names[protocol] || protocol}` : "Costs"), wide];
}

function curves(trials) {
  const charts = make("div", "", { class: "charts" });
  for (const name of new Set(trials.flatMap(trial => Object.keys(trial.curves || {})))) {
    const seeds = trials.filter(trial => trial.curves?.[name]).map(trial => {
      const [xs, ys] = trial.curves[name];
      return { seed: trial.seed, points: xs.map((x, i) => [x, ys[i]]), ended: !["ok", "collapsed"].includes(trial.state) };
    });
    charts.append(chart(name, seeds));
  }
  return charts;
}

function pictures(trials) {
  const sheets = make("div", "", { class: "pictures" });
  for (const trial of trials.filter(trial => trial.grid)) {
    const figure = make("figure");
    figure.append(make("img", "", { src: trial.grid, alt: `samples of seed ${trial.seed}`, loading: "lazy" }), make("figcaption", `seed ${trial.seed}: first samples`));
    sheets.append(figure);
  }
  return sheets;
}

function open(row, dataset) {
  const content = document.getElementById("content");
  document.getElementById("what").textContent = dataset ? `${row}, ${dataset}` : row;
  content.replaceChildren();
  for (const entry of entries.filter(e => names[e.row] === row && (!dataset || names[e.dataset] === dataset))) {
    const { trials, drawn } = entry;
    if (!dataset) content.append(make("h2", names[entry.dataset]));
    for (const trial of trials.filter(t => t.reason)) content.append(make("p", `seed ${trial.seed} ${trial.state}: ${trial.reason}`, { class: "collapsed" }));
    for (const protocol of Object.keys(columns)) content.append(...numbers(trials, protocol));
    const charts = curves(trials);
    if (charts.childElementCount) content.append(make("h3", trials.length > drawn ? `Curves of the first ${drawn} seeds` : "Curves, one line per seed"), charts);
    content.append(pictures(trials));
  }
  const dialog = document.getElementById("opened"), link = `#${[row, dataset].filter(Boolean).map(encodeURIComponent).join("/")}`;
  document.getElementById("link").href = link;
  history.replaceState(null, "", link);
  if (!dialog.open) dialog.showModal();
}
document.getElementById("opened").addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));

let shownDataset = "";

// The gallery at the top of the page: samples of every method on one dataset next to real images.
function gallery(dataset) {
  const section = document.getElementById("gallery"), sheets = section.querySelector(".pictures"), tabs = section.querySelector(".tabs");
  const sampled = entries.filter(entry => entry.trials.some(trial => trial.grid));
  const datasets = [...new Set(entries.map(entry => entry.dataset))];
  if (!datasets.length) return;
  section.hidden = !sampled.length && datasets.length < 2;
  const shownNow = shownDataset = datasets.includes(dataset) ? dataset : datasets[0];
  offerCosts(shownNow);
  tabs.replaceChildren(...datasets.map(name => make("button", names[name], { type: "button", role: "tab", "aria-selected": name === shownNow, "data-tab": name })));
  sheets.replaceChildren();
  for (const { grid } of real.filter(one => one.dataset === shownNow)) {
    const figure = make("figure", "", { class: "real" });
    const caption = make("figcaption", "real images");
    caption.append(make("br"), make("small", "test split"));
    figure.append(make("img", "", { src: grid, alt: `real images of ${names[shownNow]}` }), caption);
    sheets.append(figure);
  }
  for (const entry of sampled.filter(entry => entry.dataset === shownNow)) {
    const figure = make("figure"), caption = make("figcaption", names[entry.row]), button = make("button", "", { type: "button", class: "open", "data-row": names[entry.row], "data-dataset": names[shownNow] });
    button.append(make("img", "", { src: entry.trials.find(trial => trial.grid).grid, alt: `samples of ${names[entry.row]}`, loading: "lazy" }));
    caption.append(make("br"), make("small", entry.distance || ""));
    figure.append(button, caption);
    sheets.append(figure);
  }
}

document.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (button?.classList.contains("sort")) sort(button.closest("th"));
  if (button?.classList.contains("open")) open(button.dataset.row, button.dataset.dataset);
  if (button?.dataset.tab) gallery(button.dataset.tab);
  if (button?.dataset.verdict !== undefined) {
    verdict = button.dataset.verdict;
    for (const other of document.querySelectorAll("[data-verdict]")) other.setAttribute("aria-pressed", String(other === button));
    filter(document.getElementById("filter").value);
  }
});
document.getElementById("filter").addEventListener("input", event => filter(event.target.value));

// The methods with a distance and this cost on a dataset: all values of both.
function withCost(dataset, cost) {
  const [protocol, place] = distance;
  return entries.filter(entry => entry.dataset === dataset).map(entry => ({
    row: entry.row, marked: entry.marked, xs: (cost.values[dataset]?.[entry.row] || []).filter(x => x > 0),
    ys: entry.trials.map(trial => trial.numbers[protocol]?.[place]).filter(y => y > 0),
  })).filter(one => one.xs.length && one.ys.length);
}

let chosenCost = "";  // the name of the cost that the reader chose

// Offers the costs that at least two methods of the dataset have, and draws the chart of the chosen one, or of the first.
function offerCosts(dataset) {
  const possible = costs.filter(cost => withCost(dataset, cost).length > 1), choice = document.getElementById("cost");
  const cost = possible.find(({ name }) => name === chosenCost) || possible[0];
  document.getElementById("front").hidden = !cost;
  choice.replaceChildren(...possible.map(({ name }) => make("option", name, { value: name })));
  if (cost) {
    choice.value = cost.name;
    drawCosts(dataset, cost);
  }
}

// Plots distance against cost. A point is filled unless another method's worst values beat its best ones in both.
function drawCosts(dataset, cost) {
  const found = withCost(dataset, cost);
  const [least, most, mean] = [v => Math.min(...v), v => Math.max(...v), v => v.reduce((a, b) => a + b) / v.length];
  const beaten = one => one.marked || found.some(other => other !== one && !other.marked && most(other.xs) < least(one.xs) && most(other.ys) < least(one.ys));
  const [width, height, left, bottom] = [560, 320, 58, 36], log = Math.log;
  const span = axis => [log(least(found.map(one => least(one[axis])))), log(most(found.map(one => most(one[axis]))))];
  const [[x0, x1], [y0, y1]] = [span("xs"), span("ys")];
  const x = v => left + 10 + (x1 > x0 ? (log(v) - x0) / (x1 - x0) : .5) * (width - left - 20), y = v => 8 + (y1 > y0 ? (y1 - log(v)) / (y1 - y0) : .5) * (height - bottom - 16);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "distance against cost" });
  svg.append(drawn("path", { class: "axis", d: `M${left} 4V${height - bottom}H${width}` }));
  for (const v of [y0, (y0 + y1) / 2, y1]) svg.append(drawn("text", { x: left - 4, y: y(Math.exp(v)) + 3, "text-anchor": "end" }, brief(Math.exp(v))));
  for (const v of [x0, (x0 + x1) / 2, x1]) svg.append(drawn("text", { x: x(Math.exp(v)), y: height - bottom + 12, "text-anchor": "middle" }, brief(Math.exp(v))));
  svg.append(drawn("text", { x: (left + width) / 2, y: height - 6, "text-anchor": "middle" }, `${cost.name}, log scale`));
  svg.append(drawn("text", { transform: `translate(9 ${(height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, "Fréchet distance, log scale"));
  const placed = found.map(one => ({ y: y(mean(one.ys)) + 3, start: x(mean(one.xs)) - 4, end: x(mean(one.xs)) + 4 }));
  const caption = make("figcaption", names[dataset]), figure = make("figure", "", { class: "chart front" });
  for (const one of found) {
    const [px, py] = [mean(one.xs), mean(one.ys)], out = beaten(one), point = drawn("g", { class: out ? "out" : "in", "data-row": names[one.row], tabindex: 0 });
    point.append(drawn("path", { d: `M${x(least(one.xs))} ${y(py)}H${x(most(one.xs))}M${x(px)} ${y(least(one.ys))}V${y(most(one.ys))}` }), drawn("circle", { cx: x(px), cy: y(py), r: 4 }));
    point.append(drawn("title", {}, names[one.row]));
    if (!out) point.append(label(names[one.row], x(px), y(py), width, placed));
    point.addEventListener("pointerenter", () => { caption.textContent = `${names[one.row]}: ${brief(py)} at ${brief(px)} (${cost.name})`; });
    point.addEventListener("click", () => open(names[one.row], names[dataset]));
    svg.append(point);
  }
  figure.append(svg, caption);
  document.querySelector("#front .pictures").replaceChildren(figure);
}

// Places a name next to its point, shifted up or down to avoid other names, and to the left at the right edge.
function label(name, x, y, width, placed) {
  const wide = 5.2 * name.length, toLeft = x + 8 + wide > width, start = toLeft ? x - 8 - wide : x + 8;
  const free = at => placed.every(other => Math.abs(other.y - at) >= 10 || start > other.end || start + wide < other.start);
  const at = [0, -8, 8, -19, 19, -30, 30].map(shift => y + 3 + shift).find(free) ?? y + 3;
  placed.push({ y: at, start, end: start + wide });
  return drawn("text", { x: toLeft ? x - 8 : x + 8, y: at, "text-anchor": toLeft ? "end" : "start" }, name);
}

const brief = number => number >= 1000 ? Math.round(number).toLocaleString("en") : String(Number(number.toPrecision(3)));

document.getElementById("cost").addEventListener("change", event => { chosenCost = event.target.value; offerCosts(shownDataset); });

gallery();

// report.html#GLF/Fashion opens that cell.
function follow() {
  const [row, dataset] = location.hash.slice(1).split("/").map(decodeURIComponent);
  if (entries.some(entry => names[entry.row] === row)) open(row, dataset);
}
addEventListener("hashchange", follow);
follow();
