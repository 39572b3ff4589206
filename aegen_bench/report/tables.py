"""One function for each table of numbers: cells in, a table out. No file is touched."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from aegen_bench.errors import unknown
from aegen_bench.evaluation import metrics
from aegen_bench.evaluation.agreement import rank_correlations
from aegen_bench.inference import LOG, RAW, Leading, Place, Scale, best_of_pairs, difference, leading_group, moderated
from aegen_bench.inference import overall as standings
from aegen_bench.report import notes
from aegen_bench.report.cells import (
    Cell,
    Column,
    Entry,
    Number,
    State,
    Table,
    count,
    fixed,
    general,
    measured,
    share,
    shares,
    signed,
    span,
    words,
)
from aegen_bench.report.evidence import Evidence, Part
from aegen_bench.report.summary import ANCHOR_NAMES, Cells, Layout, Summary, budgets
from aegen_bench.results import ANCHORS

__all__ = ["EVERY", "SUMMARY", "TABLES", "build"]

TABLES = ("1", "2", "3", "4", "5", "6")
EVERY = (*TABLES, "comparisons", "priors", "overall", "agreement", "scores")
"""The tables of numbers by name; what is said of claims is not among them."""
SUMMARY = ("1", "3", "5", "6")
"""What a run prints when it has ended."""

MIB = 2**20
ARROWS = {"lower": "↓", "higher": "↑"}
NOTHING = Cell()


def build(evidence: Evidence, names: Sequence[str]) -> list[Table]:
    """Return the tables named: of quality one a protocol, of times one a device, never a mixture."""
    built: list[Table] = []
    for name in names:
        if name in ("2", "5"):
            built.append({"2": architecture, "5": epochs}[name](evidence))
        elif name == "overall":
            built.append(overall(evidence))
        elif name == "agreement":
            built += [agreement(evidence)] if len(evidence.parts) > 1 else []
        elif name == "6" and evidence.timings:
            several = len(evidence.timings) > 1
            built += [timed(evidence, one, f"-timing{i}" * several) for i, one in enumerate(evidence.timings, 1)]
        elif name == "6":
            known = evidence.devices
            marks = [f"-device{i}" for i in range(1, len(known) + 1)] if len(known) > 1 else [""]
            built += [times(evidence, *of) for of in zip(known or [""], marks, strict=True)]
        elif name in EVERY:
            for part in evidence.parts or (evidence.whole,):
                scored = set(part.frame.loc[part.frame["protocol"] != "", "dataset"].unique())
                here = [dataset for dataset in evidence.layout.datasets if dataset in scored]
                if name == "priors":
                    built += [one for dataset in here if (one := priors(evidence, part, dataset)).lines]
                elif name in ("comparisons", "scores"):
                    table = {"comparisons": comparisons, "scores": scores}[name]
                    built += [table(evidence, part, dataset) for dataset in here]
                else:
                    built.append(quality(evidence, part, int(name)))
        else:
            raise unknown("table", name, [*EVERY, "verdicts", "claims"])
    return built


# ---- quality -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """What a quality table shows: our numbers, the paper's names of them, and the metric whose failure they share."""

    title: str
    metrics: tuple[str, ...]
    printed: tuple[str, ...] = ("mean",)
    family: str = "fd"
    decimals: int = 1  # the paper's
    sign: int = 1  # 1 where lower is better, -1 where higher is

    @property
    def scale(self) -> Scale:
        """On which rows are compared: distances by their logarithms, scores as they are."""
        return LOG if self.family == "fd" else RAW

    @staticmethod
    def of(table: int, part: Part) -> Measure:
        if table == 3:
            features = "" if part.metric == "fid" else f" on {part.extractor} features"
            title = f"PRD as F8 (recall), F1/8 (precision){features}, higher is better"
            return Measure(title, ("f8", "f1_8"), ("f8", "f1_8"), "prd", 3, -1)
        gans = ", beside the GANs that the paper cites" if table == 4 else ""
        return Measure(f"{part.label}, lower is better{gans}", (part.metric,))

    def decimals_of(self, cells: Cells) -> int:
        """As many as the paper has where numbers are as large as its own."""
        return 1 if self.family == "fd" and any(cell.n and cell.value >= 10 for cell in cells.values()) else 3


def quality(evidence: Evidence, part: Part, table: int) -> Table:
    """Tables 1 and 4 (Fréchet distance) and 3 (PRD): a line a row, a column a dataset, the paper beside it; below our
    rows images from elsewhere. Table 4 has the paper's rows only.
    """
    layout, paper, measure = evidence.layout, evidence.layout.published, Measure.of(table, part)
    cells = part.summary.cells(measure.metrics, family=measure.family)
    below = part.guests.cells(measure.metrics, family=measure.family) if table != 4 else Cells(layout, ())
    form = fixed(measure.decimals_of(cells), layout.spread)
    comparable = layout.profile == "paper" and part.extractor == "inception"

    cited, ours = _rows(layout, table)
    lines = {row: [Cell(text=f"{paper.name(row)} (cited)")] for row in cited}
    lines |= {row: [_name(evidence, part, row)] for row in ours}
    guests = {row: [Cell(text=row)] for row in dict.fromkeys(row for _, row in below)}
    columns, found, printed = [words("Model")], dict[str, list[Leading]](), False
    for dataset in layout.datasets:
        columns.append(measured(paper.name(dataset), form))
        if beside := any(paper.value(table, row, dataset) for row in lines):
            columns += _papers_columns(measure, comparable=comparable)
        fair = [row for row in ours if row not in part.dagger]
        found[dataset] = [_leading(cells, dataset, fair, measure, place) for place in range(len(measure.metrics))]
        printed = printed or beside
        for row, line in lines.items():
            cell = cells[dataset, row]
            placed = tuple(_placed(n, group, row) for n, group in zip(cell.numbers, found[dataset], strict=True))
            line.append(NOTHING if row in cited else replace(cell, numbers=placed))
            if beside:
                line += _papers_cells(evidence, measure, table, cell, comparable=comparable)
        for row, line in guests.items():
            line += [below[dataset, row], *[NOTHING] * (2 if comparable else 1) * beside]
    said = [
        notes.protocol(part),
        notes.measured(layout.spread),
        notes.trials(part.frame),
        *notes.other_images(part.frame, layout),
        *notes.cautions(part, layout, layout.datasets, (measure.family,)),
        *notes.leading([group for groups in found.values() for group in groups]),
        *_resolution(evidence, part, measure, found),
        *(notes.paper(paper, table, lines, comparable=comparable) if printed else []),
        *notes.marks(part, layout, ours, guests),
        *notes.departures(part.frame, layout),
        *notes.shares(evidence),
    ]
    body = [*lines.values(), *guests.values()]
    return _scored(part, layout, f"table{table}", f"Table {table}", measure.title, columns, body, said)


def _rows(layout: Layout, table: int) -> tuple[list[str], list[str]]:
    """The rows that the paper cites from another paper's GANs, and ours: in Table 4 those that the paper has."""
    if table != 4:
        return [], layout.rows
    printed = layout.published.rows(4)
    cited = [row for row in printed if layout.published.source(4, row) == "cited_lucic"]
    return cited, [row for row in printed if row in layout.rows and row not in cited]


def _papers_columns(measure: Measure, *, comparable: bool) -> list[Column]:
    if not comparable:
        return [count("paper's rank")]
    return [Column("paper", fixed(measure.decimals, "seeds")), Column("difference", signed(measure.decimals))]


def _papers_cells(evidence: Evidence, measure: Measure, table: int, cell: Cell, *, comparable: bool) -> list[Cell]:
    """The paper's numbers and ours minus them; where they do not compare, its ranks."""
    paper, dataset, row = evidence.layout.published, cell.dataset, cell.row
    theirs = paper.value(table, row, dataset)
    if not theirs:
        return [NOTHING] * (2 if comparable else 1)
    source, names = paper.source(table, row), list(zip(measure.metrics, measure.printed, strict=True))
    if not comparable:
        ranks = [(metric, paper.rank(table, row, dataset, name)) for metric, name in names]
        numbers = tuple(Number(f"paper's rank by {metric}", rank) for metric, rank in ranks)
        return [Cell(dataset, row, numbers, source=source)]
    numbers = tuple(Number(metric, theirs[name], theirs.get("std")) for metric, name in names)
    gaps = [
        ours.value - theirs[name] for ours, (_, name) in zip(cell.numbers, names, strict=True) if ours.value is not None
    ]
    after = "" if source == "rerun" else "(cited)"
    return [
        Cell(dataset, row, numbers, source=source, after=after),
        Cell(numbers=tuple(Number(value=gap) for gap in gaps)),
    ]


def _leading(cells: Cells, dataset: str, rows: Sequence[str], measure: Measure, place: int = 0) -> Leading:
    """Place the rows of a dataset of which no trial diverged or collapsed: the mean of those that are left would
    flatter a row, and a mean over some that collapsed is too uncertain to tell anything from it.
    """
    able = {row: cells[dataset, row] for row in rows}
    sound = {row: c for row, c in able.items() if c.n and not c.ended["diverged"] and not c.ended["collapsed"]}
    samples = {row: cell.numbers[place].sample for row, cell in sound.items()}
    return leading_group(samples, measure.scale, lower_is_better=measure.sign > 0)


def _placed(number: Number, group: Leading, row: str) -> Number:
    """A row's number with what the tests of its column say of it."""
    place = group.places.get(row, Place.UNTESTED)
    known = {Place.LEADING: True, Place.BEHIND: False}.get(place)
    return replace(number, leading=known, open=place is Place.OPEN)


def _resolution(evidence: Evidence, part: Part, measure: Measure, found: Mapping[str, Sequence[Leading]]) -> list[str]:
    """A sentence a dataset and number on what its seeds can tell apart."""
    return [
        notes.resolution(
            ", ".join([evidence.name(dataset), *([NAMES.get(metric, metric)] if len(measure.metrics) > 1 else [])]),
            group,
            part.summary.draw_spread(dataset, metric, group.contenders, measure.scale),
        )
        for dataset, groups in found.items()
        for metric, group in zip(measure.metrics, groups, strict=True)
        if group.best
    ]


NAMES = {"f8": "F8", "f1_8": "F1/8"}


def scores(evidence: Evidence, part: Part, dataset: str) -> Table:
    """Every number of a protocol on one dataset: a line a row, a column a number; below our rows image sets from
    elsewhere.
    """
    layout = evidence.layout
    present = part.summary.metrics(dataset) | part.guests.metrics(dataset)
    order = sorted(metrics.names(), key=lambda name: (name != "fd", name != "prd", name))
    meanings = {
        number: (metric, meaning)
        for metric in order
        for number, meaning in metrics.load(metric).VALUES.items()
        if number in present
    }
    here = part.frame[part.frame["dataset"] == dataset]
    guests = [row for where, row in part.guests.trials if where == dataset]
    lines = [[_name(evidence, part, row, dataset)] for row in layout.rows] + [[Cell(text=row)] for row in guests]
    for number, (metric, _) in meanings.items():
        ours, theirs = (one.cells([number], family=metric) for one in (part.summary, part.guests))
        for line, row in zip(lines, [*layout.rows, *guests], strict=True):
            known = theirs if row in guests else ours
            cell = known[dataset, row]
            tried = (dataset, row) in known and cell.state == "missing"  # ended well without it: it does not apply
            line.append(NOTHING if tried else cell)
    heads = [f"{number} {ARROWS[meaning.better]}" for number, (_, meaning) in meanings.items()]
    said = [
        notes.protocol(part),
        notes.scores({number: meaning.unit for number, (_, meaning) in meanings.items()}),
        notes.trials(here),
        *notes.other_images(here, layout),
        *notes.cautions(part, layout, [dataset], {metric for metric, _ in meanings.values()}),
        *notes.marks(part, layout, layout.rows, guests),
        *notes.departures(here, layout),
    ]
    tips = [" ".join((metrics.load(metric).__doc__ or "").split("\n\n")[0].split()) for metric, _ in meanings.values()]
    shown = [replace(measured(head, fixed(None, "seeds")), tip=tip) for head, tip in zip(heads, tips, strict=True)]
    columns = [words("Model"), *shown]
    label, caption = f"Scores on {evidence.name(dataset)}", "Every metric of the protocol"
    return replace(_scored(part, layout, f"scores-{dataset}", label, caption, columns, lines, said), apart=True)


def comparisons(evidence: Evidence, part: Part, dataset: str) -> Table:
    """Each row's distance on one dataset, best first, and how it differs from the best one that can be tested."""
    layout, measure, cells = evidence.layout, Measure.of(1, part), part.distances
    known = [row for row in layout.rows if cells[dataset, row].n]
    rows = sorted(known, key=lambda row: (row in part.dagger, cells[dataset, row].value))
    group = _leading(cells, dataset, [row for row in rows if row not in part.dagger], measure)
    decimals = 1 if any(cells[dataset, row].value >= 10 for row in rows) else 3
    lines = []
    for row in rows:
        cell = cells[dataset, row]
        number = _placed(cell.numbers[0], group, row)
        shown = replace(cell, numbers=(number,))
        lines.append([_name(evidence, part, row, dataset), shown, *_to_best(group, cell)])
    here = part.frame[part.frame["dataset"] == dataset]
    said = [
        notes.protocol(part),
        notes.COMPARISONS,
        *notes.leading([group]),
        *_resolution(evidence, part, measure, {dataset: [group]}),
        notes.trials(here),
        *notes.cautions(part, layout, [dataset], (measure.family,)),
        *notes.marks(part, layout, rows),
    ]
    columns = [
        words("Model"),
        measured(measure.title.split(",")[0], fixed(decimals, "seeds")),
        Column("to the best", share),
        Column("95% interval", shares),
        Column("p", lambda number: ("< 0.001", "") if (number.value or 0) < 0.001 else fixed(3)(number)),
    ]
    label = f"Comparisons on {evidence.name(dataset)}"
    return _scored(part, layout, f"comparisons-{dataset}", label, measure.title, columns, lines, said)


def _to_best(group: Leading, cell: Cell) -> list[Cell]:
    """How a row differs from the best one, as a share of that: difference, interval, p; nothing of an untested row."""
    row, compared = cell.row, group.to_best.get(cell.row)
    if compared is None or row == group.best:
        return [Cell(text="best" if row == group.best else ""), NOTHING, NOTHING]
    low, high = map(math.expm1, compared.interval())
    gap = Number("share above the best", math.expm1(compared.gap), low=low, high=high, against=group.best)
    p = Number("p of the leading group", group.p(row), against=group.best)
    return [Cell(cell.dataset, row, (gap,)), Cell(numbers=(replace(gap, quantity=""),)), Cell(cell.dataset, row, (p,))]


def priors(evidence: Evidence, part: Part, dataset: str) -> Table:
    """The priors of each trunk on one dataset, seed by seed: with one seed they stand on the same auto-encoder."""
    layout, measure, cells = evidence.layout, Measure.of(1, part), part.distances
    known = part.summary.numbers.get(part.metric, {})
    trunks: dict[str, list[str]] = {}
    for row in layout.rows:
        trunk, plus, _ = row.partition("+")
        if plus and row not in part.dagger and cells[dataset, row].n:
            trunks.setdefault(trunk, []).append(row)
    lines = []
    for members in (members for members in trunks.values() if len(members) > 1):
        samples = {
            row: {key[2]: x for key, x in known.items() if key[:2] == (dataset, row) and math.isfinite(x)}
            for row in members
        }
        best, found = best_of_pairs(samples, LOG)
        for row in sorted(members, key=lambda row: cells[dataset, row].value):
            shown = [_name(evidence, part, row, dataset), cells[dataset, row]]
            compared, p = found.get(row, (None, math.nan))
            if compared is None:
                lines.append([*shown, Cell(text="best" if row == best else ""), NOTHING, NOTHING])
                continue
            low, high = map(math.expm1, compared.interval())
            gap = Number("share above the best prior", math.expm1(compared.gap), low=low, high=high, against=best)
            chance = Number("p (paired, Holm)", None if math.isnan(p) else p, against=best)
            apart = Cell(numbers=(replace(gap, quantity=""),))
            lines.append([*shown, Cell(dataset, row, (gap,)), apart, Cell(dataset, row, (chance,))])
    decimals = 1 if any(cell.n and cell.value >= 10 for cell in cells.values()) else 3
    columns = [
        words("Model"),
        measured(measure.title.split(",")[0], fixed(decimals, "seeds")),
        Column("to the best of its trunk", share),
        Column("95% interval", shares),
        Column("p", lambda number: ("< 0.001", "") if (number.value or 1) < 0.001 else fixed(3)(number)),
    ]
    said = [notes.protocol(part), notes.PRIORS, *notes.marks(part, layout, [line[0].row for line in lines])]
    label = f"Priors on {evidence.name(dataset)}"
    return _scored(part, layout, f"priors-{dataset}", label, measure.title, columns, lines, said)


FLOOR = ANCHOR_NAMES[ANCHORS, "floor"]


def overall(evidence: Evidence) -> Table:
    """All datasets and networks together: how many times the floor's distance a row has, in the geometric mean."""
    layout, samples, strata = evidence.layout, dict[str, dict[str, list[float]]](), list[str]()
    datasets = set[str]()
    for part in evidence.parts:
        for dataset in layout.datasets:
            cells = {row: part.distances[dataset, row] for row in layout.rows if row not in part.dagger}
            sound = {row: c for row, c in cells.items() if c.n and not c.ended["diverged"] and not c.ended["collapsed"]}
            floor = part.anchors[dataset, FLOOR]
            if not (floor.n and floor.value > 0 and sound):
                continue
            datasets.add(dataset)
            strata.append(f"{evidence.name(dataset)} by {part.name}")
            for row, cell in sound.items():
                samples.setdefault(row, {})[strata[-1]] = [x / floor.value for x in cell.numbers[0].sample]
    found = standings(samples) if len(datasets) > 1 else {}
    lines = []
    for row, one in found.items():
        low, high = one.interval or (None, None)
        ratio = Number("distance over the floor's", one.ratio, low=low, high=high)
        first, last = one.ranks or (None, None)
        rank = Number("rank", one.rank, low=first, high=last)
        n = sum(map(len, samples[row].values()))
        shown = [Cell(row=row, numbers=(ratio,), n=n), Cell(numbers=(replace(ratio, quantity=""),))]
        ranks = [Cell(row=row, numbers=(rank,)), Cell(numbers=(replace(rank, quantity=""),))]
        lines.append([Cell(row=row, text=evidence.name(row)), *shown, *ranks, Cell(numbers=(Number(value=n),))])
    left_out = [evidence.name(row) for row in layout.rows if found and row not in found]
    said = notes.overall(strata, left_out, any_=bool(found))
    for part in evidence.parts:
        said += [one for one in notes.cautions(part, layout, sorted(datasets), ("fd",)) if one not in said]
    columns = [words("Model"), Column("times the floor's distance", fixed(2)), Column("95% interval", span(2))]
    columns += [count("rank"), Column("95% interval of the rank", span(0)), count("trials")]
    caption = "Distance over that of training images, all datasets and networks together, lower is better"
    protocol = evidence.parts[0] if len(evidence.parts) == 1 else evidence.whole
    return _scored(replace(protocol, mark=""), layout, "overall", "Overall", caption, columns, lines, said)


def agreement(evidence: Evidence) -> Table:
    """Whether two networks put the rows of a dataset into the same order: rank correlations, a line a pair."""
    layout, lines = evidence.layout, []
    for one, other in combinations(evidence.parts, 2):
        line = [Cell(row=f"{one.name}, {other.name}", text=f"{one.name}, {other.name}")]
        for dataset in layout.datasets:
            values = {
                part.id: {
                    row: part.distances[dataset, row].value
                    for row in layout.rows
                    if row not in part.dagger and part.distances[dataset, row].n
                }
                for part in (one, other)
            }
            found = rank_correlations(values)[one.id, other.id]
            number = Number("rank correlation", found.correlation)
            line += [Cell(dataset, line[0].row, (number,), n=found.rows), Cell(numbers=(Number(value=found.rows),))]
        lines.append(line)
    columns = [words("Protocols")]
    for dataset in layout.datasets:
        columns += [Column(evidence.name(dataset), fixed(2)), count("rows")]
    caption = "Rank correlation of the rows between protocols, by their mean distances"
    about = replace(evidence.whole, mark="")
    return _scored(about, layout, "agreement", "Agreement", caption, columns, lines, [notes.AGREEMENT])


def _name(evidence: Evidence, part: Part, row: str, dataset: str = "") -> Cell:
    return Cell(dataset, row, text=evidence.name(row) + " †" * (row in part.dagger))


def _scored(
    part: Part,
    layout: Layout,
    name: str,
    label: str,
    caption: str,
    columns: list[Column],
    lines: list[list[Cell]],
    said: list[str],
    more: Sequence[Cell] = (),
) -> Table:
    about = layout.profile, part.id, part.name
    return Table(name + part.mark, label, caption, columns, lines, said, *about, more=list(more))


# ---- networks, epochs and times ----------------------------------------------------------------------


def architecture(evidence: Evidence) -> Table:
    """Table 2: the networks, as the trained models themselves describe their layers; a line for each network, a part of
    a model, with the rows that have it.
    """
    layout = evidence.layout
    known: Mapping[tuple[str, str, str], Mapping[str, tuple[str, int | None]]] = evidence.frame.attrs.get("layers", {})
    entries = [(d, row) for d in layout.datasets for row in layout.rows if (layout.profile, d, row) in known]
    owners: dict[tuple[str, str, int | None], dict[str, list[str]]] = {}
    more = []
    for dataset, row in entries:
        for part, (layers, size) in known[layout.profile, dataset, row].items():
            owners.setdefault((part, layers, size), {}).setdefault(dataset, []).append(row)
            more.append(Cell(dataset, row, (Number("layers", size, stage=part),), text=layers))
    parts = list(dict.fromkeys(part for part, _, _ in owners))
    everyone = {dataset: [row for other, row in entries if other == dataset] for dataset, _ in entries}
    lines = []
    for network in sorted(owners, key=lambda network: parts.index(network[0])):
        for datasets, models in _alike(owners[network], everyone):
            part, layers, size = network
            where = ", ".join(map(evidence.name, datasets))
            who = "; ".join(map(evidence.name, models)) if models else "all"
            told = [Cell(text=text) for text in (part.replace("_", " "), where, _folded(layers))]
            lines.append([*told, NOTHING if size is None else Cell(numbers=(Number(value=size),)), Cell(text=who)])
    columns = [words("Network"), words("Dataset"), words("Layers"), count("parameters"), words("Models")]
    return Table("table2", "Table 2", "Networks", columns, lines, [notes.NETWORKS], layout.profile, more=more)


def _alike(rows: Mapping[str, list[str]], everyone: Mapping[str, list[str]]) -> list[tuple[list[str], list[str]]]:
    """Join the datasets on which the same rows have a network: [(datasets, rows)]; no rows mean all of them."""
    joined: dict[tuple[str, ...], list[str]] = {}
    for dataset, mine in rows.items():
        joined.setdefault(() if len(mine) > 1 and mine == everyone[dataset] else tuple(mine), []).append(dataset)
    return [(datasets, list(mine)) for mine, datasets in joined.items()]


def _folded(layers: str) -> str:
    """`FC8, ReLU, FC8, ReLU` -> `2 x (FC8, ReLU)`: what only repeats a part of itself is written once."""
    each = layers.split(", ")
    for period in range(1, len(each) // 2 + 1):
        repeats, rest = divmod(len(each), period)
        if not rest and each == each[:period] * repeats:
            return f"{repeats} x ({', '.join(each[:period])})"
    return layers


def epochs(evidence: Evidence) -> Table:
    """Table 5: what each stage was to run and what it ran, in epochs, or in steps where these are its budget; and how
    soon that was long enough, in datasets where something was measured during training.
    """
    layout, paper, settled = evidence.layout, evidence.layout.published, evidence.settled()
    costs = evidence.frame[evidence.frame["kind"] == "cost"]
    configured = budgets(costs, "configured_", "configured")
    run = budgets(costs[costs["status"] == "ok"], "", "run")
    ended = Summary(costs, layout).cells(["parameters"], quantities=[""])
    columns, beside = [words("Model")], layout.profile == "paper"
    lines = {row: [Cell(row=row, text=paper.name(row))] for row in layout.rows}
    for dataset in layout.datasets:
        columns.append(Column(paper.name(dataset), general, staged="named"))
        columns.append(Column("run", general, "all", staged="named"))
        if probed := any(where == dataset for where, _ in settled):
            columns.append(measured("within 5%: epochs, s", fixed(0, "seeds")))
        columns += [Column("paper", general, staged="added")] * beside
        for row, line in lines.items():
            entry, end = (dataset, row), ended[dataset, row]
            budget, done = configured.get(entry, {}), run.get(entry, {})
            told = tuple(done[key] for key in budget if key in done)
            line.append(Cell(*entry, tuple(budget.values()), text="" if budget else "—"))
            line.append(Cell(*entry, told, state="ok" if told else _unnumbered(end), stale=end.stale))
            line += [settled.get(entry, NOTHING)] * probed
            if beside:
                theirs = [Number("epochs", value, stage=stage) for stage, value in paper.value(5, row, dataset).items()]
                line.append(Cell(*entry, tuple(theirs), source=paper.source(5, row) if theirs else "measured"))
    said = [notes.EPOCHS, notes.trials(evidence.frame), *([notes.SETTLED] if settled else [])]
    said += [*notes.departures(evidence.frame, layout), *notes.shares(evidence)]
    return Table("table5", "Table 5", "Training epochs", columns, list(lines.values()), said, layout.profile)


def _unnumbered(cell: Cell) -> State:
    """Why another number of the same trials is not there."""
    return "missing" if cell.state == "ok" else cell.state


COSTS = ("images_per_second", "train_seconds", "sample_seconds", "peak_memory", "parameters")
FLOW, ALONE = "glf", "rae_gmm"  # the same auto-encoder with a flow that learns its codes, and without


def times(evidence: Evidence, device: str, mark: str) -> Table:
    """Table 6: what the rows cost in time and memory on one device, a line a training stage."""
    layout, paper, beside = evidence.layout, evidence.layout.published, evidence.layout.profile == "paper"
    frame = evidence.frame[evidence.frame["device"].isin([device, ""])] if device else evidence.frame
    costs = Summary(frame[(frame["kind"] == "cost") & (frame["value"].notna() | (frame["metric"] == "status"))], layout)
    totals = [costs.cells([metric]) for metric in COSTS]
    sizes = totals[-1]
    paces = _paces(frame[["dataset", "row", "metric"]].drop_duplicates().itertuples(index=False, name=None), costs)
    seen, lines = set(sizes) | layout.planned, []
    for entry in ((dataset, row) for dataset in layout.datasets for row in layout.rows if (dataset, row) in seen):
        dataset, row = entry
        none = replace(sizes[entry], numbers=(Number("seconds_per_epoch"),), n=0, state=_unnumbered(sizes[entry]))
        names = [Cell(dataset, row, text=evidence.name(key)) for key in entry]
        theirs = [Number("seconds_per_epoch", v, stage=k) for k, v in paper.value(6, row, dataset).items()]
        source = paper.source(6, row) if theirs else "measured"
        rest = [Cell(dataset, row, tuple(theirs), source=source)] * beside + [cells[entry] for cells in totals]
        for i, (stage, pace) in enumerate(paces.get(entry, {"": none}).items()):
            first = [*names, Cell(text=stage), pace, *rest]
            lines.append(first if i == 0 else [NOTHING, NOTHING, Cell(text=stage), pace, *[NOTHING] * len(rest)])
    shares = _flow_shares(paces, layout)
    said = [notes.TIMES, notes.NOT_TIMED, notes.trials(frame)]
    said += notes.flow_share({evidence.name(d): cell for d, cell in shares.items()}, *map(evidence.name, (FLOW, ALONE)))
    said += [notes.PAPERS_TIMES] * beside + notes.departures(frame, layout)
    columns = [words("Dataset"), words("Model"), words("Stage"), measured("s/epoch", fixed(None, "seeds"))]
    columns += [Column("paper", general, staged="added")] * beside
    columns += [
        Column(head, fixed(None, "seeds", scale), "n", aligned=True)
        for head, scale in {"images/s": 1, "training, s": 1, "sampling, s": 1, "memory, MiB": MIB}.items()
    ]
    caption, more = f"Training time on {device or 'an unknown device'}", list(shares.values())
    columns.append(count("parameters"))
    device = device or "an unknown device"
    return Table(f"table6{mark}", "Table 6", caption, columns, lines, said, layout.profile, device=device, more=more)


def timed(evidence: Evidence, timing: str, mark: str) -> Table:
    """Table 6 of one timing id: what the rows cost in time and memory, measured alone on the device."""
    layout, paper, beside = evidence.layout, evidence.layout.published, evidence.layout.profile == "paper"
    found = evidence.timings[timing]
    sizes = evidence.whole.summary.cells(["parameters"])
    paces, lines, marked = Paces(), list[list[Cell]](), False
    for entry in ((dataset, row) for dataset in layout.datasets for row in layout.rows if (dataset, row) in found):
        run, (dataset, row) = found[entry], entry
        marked = marked or run.busy
        paces[entry] = {
            stage: Cell(*entry, (Number.of("seconds_per_epoch", one.seconds, stage),), len(one.seconds))
            for stage, one in run.stages.items()
        }
        names = [Cell(dataset, row, text=evidence.name(key) + " §" * (run.busy and key == row)) for key in entry]
        theirs = [Number("seconds_per_epoch", v, stage=k) for k, v in paper.value(6, row, dataset).items()]
        numbers = {"train_seconds": run.training, "sample_seconds": run.sample, "peak_memory": run.peak_memory}
        totals = [Cell(*entry, (Number(name, value),)) for name, value in numbers.items()]
        source = paper.source(6, row) if theirs else "measured"
        rest = [Cell(*entry, tuple(theirs), source=source)] * beside + totals + [sizes[entry]]
        for i, (stage, pace) in enumerate(paces[entry].items()):
            first = [*names, Cell(text=stage), pace, *rest]
            lines.append(first if i == 0 else [NOTHING, NOTHING, Cell(text=stage), pace, *[NOTHING] * len(rest)])
    shares, about = _flow_shares(paces, layout), next(iter(found.values())).about
    said = [notes.timing(timing, about), *([notes.BUSY] if marked else [])]
    said += notes.flow_share({evidence.name(d): cell for d, cell in shares.items()}, *map(evidence.name, (FLOW, ALONE)))
    said += [notes.PAPERS_TIMES] * beside + notes.departures(evidence.frame, layout)
    columns = [words("Dataset"), words("Model"), words("Stage"), measured("s/epoch", fixed(None, "seeds"))]
    columns += [Column("paper", general, staged="added")] * beside
    columns += [
        Column(head, fixed(None, "", scale))
        for head, scale in {"training, s": 1, "sampling, s": 1, "memory, MiB": MIB}.items()
    ]
    columns.append(count("parameters"))
    device, more = about.get("device", "an unknown device"), list(shares.values())
    caption = f"Training time on {device}, timing {timing}"
    return Table(f"table6{mark}", "Table 6", caption, columns, lines, said, layout.profile, device=device, more=more)


Paces = dict[Entry, dict[str, Cell]]


def _paces(timed: Iterator[tuple[str, str, str]], costs: Summary) -> Paces:
    """For each entry the seconds per epoch by stage; a stage of one epoch has no warm epoch and yet keeps its line."""
    prefix, cells, found = "seconds_per_epoch.", dict[str, Cells](), dict[Entry, dict[str, Cell]]()
    for dataset, row, metric in timed:
        if metric.startswith(prefix):
            stage = metric.removeprefix(prefix)
            if metric not in cells:
                cells[metric] = costs.cells([metric], quantities=["seconds_per_epoch"], stage=stage)
            found.setdefault((dataset, row), {})[stage] = cells[metric][dataset, row]
    return found


def _flow_shares(paces: Paces, layout: Layout) -> dict[str, Cell]:
    """By dataset how much of GLF's epoch the flow takes, where RAE+GMM says how long one without it is."""
    shares = {}
    for dataset in layout.datasets:
        both = [next(iter(paces.get((dataset, row), {}).values()), NOTHING) for row in (FLOW, ALONE)]
        if all(cell.n for cell in both):
            found, _ = moderated({FLOW: both[0].numbers[0].sample, ALONE: both[1].numbers[0].sample}, LOG)
            compared = difference(found[FLOW], found[ALONE])
            share, low, high = (-math.expm1(-ratio) for ratio in (compared.gap, *compared.interval()))
            known = (low, high) if math.isfinite(low) else (None, None)
            number = Number("flow's share of an epoch", share, low=known[0], high=known[1], against=ALONE)
            shares[dataset] = Cell(dataset, FLOW, (number,))
    return shares
