"""One function for each table of numbers, from cells to tables, without reading or writing files.

Tables of quality have one protocol each, tables of times one device; neither are ever mixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, product
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from aegen_bench import inference
from aegen_bench.errors import unknown
from aegen_bench.evaluation import metrics
from aegen_bench.inference import ALPHA, LOG, RAW, Difference, Leading, Place, Scale, difference, moderated
from aegen_bench.inference.variance import SOURCES
from aegen_bench.report import budget, notes
from aegen_bench.report.cells import (
    Cell,
    Column,
    Entry,
    Number,
    State,
    Table,
    count,
    ends,
    fixed,
    general,
    measured,
    plain,
    words,
)
from aegen_bench.report.evidence import Evidence, Part
from aegen_bench.report.summary import ANCHOR_NAMES, Cells, Layout, budgets
from aegen_bench.results import ANCHORS
from aegen_bench.study.command import command

__all__ = ["EVERY", "TABLES", "build"]

ARROWS = {"lower": "↓", "higher": "↑"}
NOTHING = Cell()
FEWEST = 3  # rows for a rank correlation: two agree by chance half of the time
Tables = Iterator[Table]


def build(evidence: Evidence, names: Sequence[str]) -> Tables:
    """Yield the tables with the given names."""
    for name in names:
        if name not in KINDS:
            raise unknown("table", name, [*EVERY, "verdicts", "claims"])
        yield from KINDS[name](evidence)


def _table(
    part: Part,
    layout: Layout,
    name: str,
    label: str,
    caption: str,
    columns: list[Column],
    lines: list[list[Cell]],
    said: Iterable[str],
    **more: Any,
) -> Table:
    """Return a table of one protocol, whose name ends with that of the protocol."""
    about = layout.profile, part.id, part.name
    return Table(name + part.mark, label, caption, columns, lines, list(said), *about, **more)


def _name(evidence: Evidence, part: Part, row: str, dataset: str = "") -> Cell:
    return Cell(dataset, row, text=evidence.name(row) + " †" * (row in part.dagger))


# ---- quality -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """The content of a quality table: our numbers, the paper's names for them, and the metric that they come from."""

    title: str
    metrics: tuple[str, ...]
    printed: tuple[str, ...] = ("mean",)
    family: str = "fd"
    decimals: int = 1  # the paper's
    sign: int = 1  # 1 where lower is better, -1 where higher is

    @property
    def scale(self) -> Scale:
        """The scale on which rows are compared: logarithmic for distances, linear for scores."""
        return LOG if self.family == "fd" else RAW

    @staticmethod
    def of(table: int, part: Part) -> Measure:
        """Return the measure of Table 1, 3 or 4 under a protocol."""
        if table == 3:
            features = "" if part.metric == "fid" else f" on {part.extractor} features"
            title = f"PRD{features}: F8 (recall) and F1/8 (precision), higher is better"
            return Measure(title, ("f8", "f1_8"), ("f8", "f1_8"), "prd", 3, -1)
        gans = ", with the GANs that the paper cites" if table == 4 else ""
        return Measure(f"{part.label}, lower is better{gans}", (part.metric,))

    def decimals_of(self, cells: Iterable[Cell]) -> int:
        """Return the number of decimals: the paper's, if our numbers are as large as its own."""
        return 1 if self.family == "fd" and any(cell.n and cell.value >= 10 for cell in cells) else 3

    def leading(self, cells: Cells, dataset: str, rows: Iterable[str], place: int = 0) -> Leading:
        """Find the leading group of a dataset's rows by one of the numbers."""
        samples = {row: cell.numbers[place].sample for row, cell in _sound(cells, dataset, rows).items()}
        return inference.leading_group(samples, self.scale, lower_is_better=self.sign > 0)


def _sound(cells: Cells, dataset: str, rows: Iterable[str]) -> dict[str, Cell]:
    """Return the cells without diverged or collapsed trials. The mean of the remaining trials would flatter a row, and
    a mean that includes collapsed ones is too uncertain.
    """
    able = {row: cells[dataset, row] for row in rows}
    return {row: c for row, c in able.items() if c.n and not c.ended["diverged"] and not c.ended["collapsed"]}


def quality(evidence: Evidence, table: int) -> Tables:
    """Return Tables 1 and 4 (Fréchet distance) and 3 (PRD): lines are rows, and each dataset has columns for ours and
    the paper's numbers; external images come below our rows. Table 4 has only the paper's rows, and the GANs that it
    cites from another paper.
    """
    layout, paper = evidence.layout, evidence.layout.published
    cited = [row for row in paper.rows(4) if table == 4 and paper.source(4, row) == "cited_lucic"]
    ours = [row for row in paper.rows(4) if row in layout.rows and row not in cited] if table == 4 else layout.rows
    for part in evidence.parts or (evidence.whole,):
        measure = Measure.of(table, part)
        tried = part.frame.loc[part.frame["protocol"] == part.id, "metric"]
        if part.id and len(tried) and not tried.isin([measure.family, *measure.metrics]).any():
            continue  # the protocol does not measure it
        cells = part.summary.cells(measure.metrics, family=measure.family)
        below = part.guests.cells(measure.metrics, family=measure.family) if table != 4 else Cells(layout, ())
        form = fixed(measure.decimals_of(cells.values()), layout.spread)
        comparable = layout.profile == "paper" and part.is_papers
        if comparable:
            papers = [Column("paper", fixed(measure.decimals, "seeds"))]
            papers += [Column("difference", plain(f"+,.{measure.decimals}f"))]
        else:
            papers = [count("paper's rank")]

        lines = {row: [Cell(text=f"{paper.name(row)} (cited)")] for row in cited}
        lines |= {row: [_name(evidence, part, row)] for row in ours}
        guests = {row: [Cell(text=row)] for row in dict.fromkeys(row for _, row in below)}
        columns, found, printed = [words("Model")], dict[str, list[Leading]](), False
        for dataset in layout.datasets:
            beside = any(paper.value(table, row, dataset) for row in lines)
            columns += [measured(paper.name(dataset), form), *(papers if beside else [])]
            fair = [row for row in ours if row not in part.dagger]
            groups = [measure.leading(cells, dataset, fair, place) for place in range(len(measure.metrics))]
            found[dataset], printed = groups, printed or beside
            for row, line in lines.items():
                cell = cells[dataset, row]
                line.append(NOTHING if row in cited else _placed(cell, groups))
                if beside:
                    line += _papers_cells(evidence, measure, table, cell, comparable=comparable)
            for row, line in guests.items():
                line += [below[dataset, row], *[NOTHING] * len(papers) * beside]
        said = [
            notes.protocol(part),
            notes.measured(layout.spread),
            notes.trials(part.frame),
            *notes.elsewhere(evidence),
            *notes.other_images(part.frame, layout),
            *notes.cautions(part, layout, ours, layout.datasets, (measure.family,)),
            *notes.leading([group for groups in found.values() for group in groups]),
            *_resolution(evidence, part, measure, found),
            *(notes.paper(paper, table, lines, comparable=comparable) if printed else []),
            *notes.marks(evidence.root, part, layout, ours, guests),
            *notes.departures(part.frame, layout),
            *notes.shares(evidence),
        ]
        body = [*lines.values(), *guests.values()]
        yield _table(part, layout, f"table{table}", f"Table {table}", measure.title, columns, body, said)


def _papers_cells(evidence: Evidence, measure: Measure, table: int, cell: Cell, *, comparable: bool) -> list[Cell]:
    """Return the paper's numbers and the differences of ours; or only its ranks, if the numbers are not comparable."""
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
    both = zip(cell.numbers, names, strict=True)
    gaps = tuple(Number(value=ours.value - theirs[name]) for ours, (_, name) in both if ours.value is not None)
    after = "" if source == "rerun" else "(cited)"
    return [Cell(dataset, row, numbers, source=source, after=after), Cell(numbers=gaps)]


def _placed(cell: Cell, groups: Sequence[Leading]) -> Cell:
    """Return a row's cell with the results of its column's tests for each number."""
    places = [group.places.get(cell.row, Place.UNTESTED) for group in groups]
    known = {Place.LEADING: True, Place.BEHIND: False}
    each = zip(cell.numbers, places, strict=True)
    return replace(
        cell, numbers=tuple(replace(n, leading=known.get(place), open=place is Place.OPEN) for n, place in each)
    )


def _resolution(
    evidence: Evidence, part: Part, measure: Measure, found: Mapping[str, Sequence[Leading]]
) -> Iterator[str]:
    """Yield a sentence for each dataset and number on the differences that its seeds can detect."""
    for dataset, groups in found.items():
        for metric, group in zip(measure.metrics, groups, strict=True):
            if group.best:
                which = [{"f8": "F8", "f1_8": "F1/8"}.get(metric, metric)] * (len(measure.metrics) > 1)
                draws = part.summary.draw_spread(dataset, metric, group.contenders, measure.scale)
                yield notes.resolution(", ".join([evidence.name(dataset), *which]), group, draws)


def scores(evidence: Evidence) -> Tables:
    """Return all numbers of a protocol on one dataset, rows by numbers; external image sets come below our rows."""
    layout = evidence.layout
    order = sorted(metrics.names(), key=lambda name: (name != "fd", name != "prd", name))
    every = [(number, metric, of) for metric in order for number, of in metrics.load(metric).VALUES.items()]
    for part, dataset in evidence.scored():
        present = part.summary.metrics(dataset) | part.guests.metrics(dataset)
        here = part.frame[part.frame["dataset"] == dataset]
        guests = [row for where, row in part.guests.trials if where == dataset]
        lines = {row: [_name(evidence, part, row, dataset)] for row in layout.rows}
        lines |= {row: [Cell(text=row)] for row in guests}
        columns, units, families = [words("Model")], dict[str, str](), set[str]()
        for number, metric, meaning in (one for one in every if one[0] in present):
            tip = " ".join((metrics.load(metric).__doc__ or "").split("\n\n")[0].split())
            head = f"{number} {ARROWS[meaning.better]}"
            columns.append(replace(measured(head, fixed(None, "seeds")), tip=tip))
            units[number] = meaning.unit
            families.add(metric)
            for row, line in lines.items():
                known = (part.guests if row in guests else part.summary).cells([number], family=metric)
                cell = known[dataset, row]
                tried = (dataset, row) in known and cell.state == "missing"  # ended well: it does not apply
                line.append(NOTHING if tried else cell)
        said = [
            notes.protocol(part),
            notes.scores(units),
            notes.trials(here),
            *notes.other_images(here, layout),
            *notes.cautions(part, layout, layout.rows, [dataset], families),
            *notes.marks(evidence.root, part, layout, layout.rows, guests),
            *notes.departures(here, layout),
        ]
        about = f"scores-{dataset}", f"Scores on {evidence.name(dataset)}", "All metrics of the protocol"
        yield _table(part, layout, *about, columns, list(lines.values()), said, apart=True)


# ---- comparisons of rows -----------------------------------------------------------------------------


def comparisons(evidence: Evidence) -> Tables:
    """Return the distance of each row on one dataset, best first, and its difference to the best one that can be
    tested.
    """
    layout = evidence.layout
    for part, dataset in evidence.scored():
        measure, cells = Measure.of(1, part), part.distances
        rows = [row for row in layout.rows if cells[dataset, row].n]
        rows.sort(key=lambda row: (row in part.dagger, cells[dataset, row].value))
        group = measure.leading(cells, dataset, [row for row in rows if row not in part.dagger])
        tests = {row: (compared, group.p(row)) for row, compared in group.to_best.items()}
        shown = [_placed(cells[dataset, row], [group]) for row in rows]
        said = [
            notes.protocol(part),
            notes.COMPARISONS,
            *notes.leading([group]),
            *_resolution(evidence, part, measure, {dataset: [group]}),
            notes.trials(part.frame[part.frame["dataset"] == dataset]),
            *notes.cautions(part, layout, rows, [dataset], (measure.family,)),
            *notes.marks(evidence.root, part, layout, rows),
        ]
        lines = _to_best(evidence, part, shown, group.best, tests, "share above the best", "p of the leading group")
        yield _compared(evidence, part, dataset, "Comparisons", "the best", lines, said)


Tests = Mapping[str, tuple[Difference, float]]  # of a row against the best one, with p


def _of_trunks(evidence: Evidence, part: Part, dataset: str) -> Iterator[tuple[str, dict[str, Cell], str, Tests]]:
    """Yield each trunk with at least two pairs on a dataset: their cells, the best one, and its comparisons with the
    others, paired by seed, since pairs with the same seed share the auto-encoder.
    """
    trunks: dict[str, dict[str, dict[int, float]]] = {}
    for row in _sound(
        part.distances, dataset, [row for row in evidence.distinct_pairs(dataset) if row not in part.dagger]
    ):
        if seeds := part.seeds(dataset, row):
            trunks.setdefault(evidence.pairs[row][0], {})[row] = seeds
    for trunk, samples in trunks.items():
        best, tests = inference.best_of_pairs(samples, LOG) if len(samples) > 1 else ("", {})
        tested = {row: p >= ALPHA for row, (_, p) in tests.items() if not math.isnan(p)}
        cells = {}
        for row, cell in ((row, part.distances[dataset, row]) for row in samples):
            leading = tested.get(row, True if row == best and tested else None)
            cells[row] = replace(cell, numbers=(replace(cell.numbers[0], leading=leading),))
        yield trunk, cells, best, tests


def priors(evidence: Evidence) -> Tables:
    """Return the priors of each trunk on one dataset, compared with the best of them."""
    evidence = evidence.crossed
    for part, dataset in evidence.scored():
        lines = []
        for _, cells, best, tests in _of_trunks(evidence, part, dataset):
            if len(cells) > 1:
                shown = sorted(cells.values(), key=lambda cell: cell.value)
                lines += _to_best(evidence, part, shown, best, tests, "share above the best prior", "p (paired, Holm)")
        if lines:
            marks = notes.marks(evidence.root, part, evidence.layout, [line[0].row for line in lines])
            said = [notes.protocol(part), notes.PRIORS, *marks]
            yield _compared(evidence, part, dataset, "Priors", "the best of its trunk", lines, said)


def matrix(evidence: Evidence) -> Tables:
    """Return the matrix of trunks and priors on one dataset, best first, with the distance of each trunk's
    reconstructions, about what a perfect prior would reach.
    """
    evidence = evidence.crossed
    for part, dataset in evidence.scored():
        floors = part.summary.cells(["reconstruction_fd"], family="reconstruction_fd")
        by_pair = evidence.by_pair(dataset)
        cells = {pair: part.distances[dataset, row] for pair, row in by_pair.items()}
        for _, tested, _, _ in _of_trunks(evidence, part, dataset):
            cells |= {pair: tested[row] for pair, row in by_pair.items() if row in tested}
        trunks, priors = (_ranked(cells, i) for i in (0, 1))
        if len(trunks) < 2 or len(priors) < 2:
            continue
        lines = [
            [
                _name(evidence, part, trunk, dataset),
                floors[dataset, trunk],
                *(cells.get((trunk, prior), NOTHING) for prior in priors),
            ]
            for trunk in trunks
        ]
        form = fixed(Measure.of(1, part).decimals_of(cell for line in lines for cell in line[1:]), "seeds")
        heads = [words("Trunk"), *(measured(name, form) for name in ("reconstruction", *map(evidence.name, priors)))]
        marks = notes.marks(evidence.root, part, evidence.layout, {*trunks, *by_pair.values()})
        here = part.frame[(part.frame["dataset"] == dataset) & part.frame["row"].isin(evidence.distinct_pairs(dataset))]
        said = [notes.protocol(part), notes.MATRIX, notes.trials(here), *marks]
        about = f"matrix-{dataset}", f"Matrix on {evidence.name(dataset)}", Measure.of(1, part).title
        yield _table(part, evidence.layout, *about, heads, lines, said, apart=True)


def _ranked(cells: Mapping[tuple[str, str], Cell], which: int) -> list[str]:
    """Return the trunks (0) or priors (1) that have numbers, ordered by the geometric mean of these."""
    logs: dict[str, list[float]] = {}
    for pair, cell in cells.items():
        if cell.n:
            logs.setdefault(pair[which], []).append(math.log(cell.value))
    return sorted(logs, key=lambda name: sum(logs[name]) / len(logs[name]))


def variance(evidence: Evidence) -> Tables:
    """Return the shares of the variance between pairs that are due to trunk, prior and interaction, one line per
    dataset and source.
    """
    evidence = evidence.crossed
    for part in evidence.parts:
        lines, said = [], [notes.protocol(part), notes.VARIANCE]
        for dataset in (dataset for one, dataset in evidence.scored() if one is part):
            fair = {pair: row for pair, row in evidence.by_pair(dataset).items() if row not in part.dagger}
            sound = _sound(part.distances, dataset, fair.values())
            each = {pair: part.seeds(dataset, row) for pair, row in fair.items() if row in sound}
            samples = {pair: seeds for pair, seeds in each.items() if seeds}
            found = inference.split(samples, LOG)
            if len(samples) > 1:
                said.append(notes.variance(evidence.name(dataset), found))
            if found is None:
                continue
            for source, share in found.shares.items():
                low, high = found.intervals[source]
                number = Number("share of the variance of log FD", share, low=low, high=high)
                names = [Cell(text=evidence.name(dataset) if source == SOURCES[0] else ""), Cell(text=source)]
                apart = Cell(numbers=(replace(number, quantity=""),))
                lines.append([*names, Cell(dataset, source, (number,), found.trials), apart])
        if len(said) > 2:
            columns = [words("Dataset"), words("Source"), Column("share", plain(".1%"))]
            columns.append(Column("95% interval", ends(".1%")))
            caption = "Sources of the variance of log FD over pairs of trunk and prior"
            yield _table(part, evidence.layout, "variance", "Variance", caption, columns, lines, said)


def _to_best(
    evidence: Evidence,
    part: Part,
    shown: Sequence[Cell],
    best: str,
    tests: Mapping[str, tuple[Difference, float]],
    *quantities: str,
) -> list[list[Cell]]:
    """Return a line for each of these cells: the difference of its row to the best one, relative to that, with interval
    and p; empty for an untested row.
    """
    lines = []
    for cell in shown:
        where, line = (cell.dataset, cell.row), [_name(evidence, part, cell.row, cell.dataset), cell]
        if cell.row == best or cell.row not in tests:
            lines.append([*line, Cell(text="best" if cell.row == best else ""), NOTHING, NOTHING])
            continue
        compared, p = tests[cell.row]
        low, high = map(math.expm1, compared.interval())
        gap = Number(quantities[0], math.expm1(compared.gap), low=low, high=high, against=best)
        chance = Number(quantities[1], None if math.isnan(p) else p, against=best)
        apart = Cell(numbers=(replace(gap, quantity=""),))
        lines.append([*line, Cell(*where, (gap,)), apart, Cell(*where, (chance,))])
    return lines


def _compared(
    evidence: Evidence, part: Part, dataset: str, what: str, to: str, lines: list[list[Cell]], said: list[str]
) -> Table:
    measure = Measure.of(1, part)

    def p(number: Number) -> tuple[str, str]:
        return ("< 0.001", "") if number.value is not None and number.value < 0.001 else plain(".3f")(number)

    columns = [
        words("Model"),
        measured(part.label, fixed(measure.decimals_of(line[1] for line in lines), "seeds")),
        Column(f"relative to {to}", plain("+.1%")),
        Column("95% interval", ends("+,.1%")),
        Column("p", p),
    ]
    name, label = f"{what.lower()}-{dataset}", f"{what} on {evidence.name(dataset)}"
    return _table(part, evidence.layout, name, label, measure.title, columns, lines, said)


def overall(evidence: Evidence) -> Tables:
    """Return the ratio of each row's distance to the floor's, as a geometric mean over all datasets and networks.

    A network under which fewer than two rows have every dataset does not count, unless no other has more. Only seeds
    that all of the networks have scored count.
    """
    layout, ratios = evidence.layout, {part.id: _over_the_floor(part, evidence.layout) for part in evidence.parts}
    datasets = [dataset for dataset in layout.datasets if any(dataset in mine for mine in ratios.values())]
    whole = {
        id: sum(all(row in mine.get(dataset, {}) for dataset in datasets) for row in layout.rows)
        for id, mine in ratios.items()
    }
    enough = min(2, max(whole.values(), default=0))
    counted = [part for part in evidence.parts if whole[part.id] >= enough]
    samples: dict[str, dict[str, list[float]]] = {}
    for dataset, row in product(datasets, layout.rows):
        each = [ratios[part.id].get(dataset, {}).get(row, {}) for part in counted]
        shared = set.intersection(*map(set, each)) if each else set()
        # A seed's networks stay together: they score the same images, so that they may err alike.
        by_seed = [[mine[seed] for mine in each] for seed in sorted(shared)]
        means = [math.prod(mine) ** (1 / len(mine)) if min(mine) > 0 else 0.0 for mine in by_seed]
        samples.setdefault(row, {})[dataset] = means  # rows with a mean of 0 are left out
    found = inference.overall(samples) if len(datasets) > 1 else {}
    lines = []
    for row, one in found.items():
        n = sum(map(len, samples[row].values()))
        line = [Cell(row=row, text=evidence.name(row))]
        known = ("distance over the floor's", one.ratio, one.interval, n), ("rank", one.rank, one.ranks, 0)
        for quantity, value, interval, trials in known:
            low, high = interval or (None, None)
            number = Number(quantity, value, low=low, high=high)
            line += [Cell(row=row, numbers=(number,), n=trials), Cell(numbers=(replace(number, quantity=""),))]
        lines.append([*line, Cell(numbers=(Number(value=n),))])
    left_out = [evidence.name(row) for row in layout.rows if found and row not in found]
    uncounted = [part.name for part in evidence.parts if whole[part.id] < enough]
    names = list(map(evidence.name, datasets)), [part.name for part in counted]
    said = notes.overall(*names, left_out, uncounted, any_=bool(found))
    for part in counted:
        said += [one for one in notes.cautions(part, layout, list(found), sorted(datasets), ("fd",)) if one not in said]
    columns = [words("Model"), Column("ratio to the floor", plain(",.2f"))]
    columns += [Column("95% interval", ends(",.2f")), count("rank")]
    columns += [Column("95% interval of the rank", ends(",.0f")), count("trials")]
    caption = "Distance relative to that of training images, over all datasets and networks, lower is better"
    about = replace(evidence.parts[0] if len(evidence.parts) == 1 else evidence.whole, mark="")
    yield _table(about, layout, "overall", "Overall", caption, columns, lines, said)


def _over_the_floor(part: Part, layout: Layout) -> dict[str, dict[str, dict[int, float]]]:
    """Return {dataset: {row: {seed: distance divided by the floor's}}}, without datasets that lack either."""
    found = {}
    for dataset in layout.datasets:
        sound = _sound(part.distances, dataset, [row for row in layout.rows if row not in part.dagger])
        floor = part.guest_distances[dataset, ANCHOR_NAMES[ANCHORS, "floor"]]
        if floor.n and floor.value > 0 and sound:
            seeds = {row: part.seeds(dataset, row).items() for row in sound}
            found[dataset] = {row: {seed: x / floor.value for seed, x in mine} for row, mine in seeds.items()}
    return found


def agreement(evidence: Evidence) -> Tables:
    """Return the rank correlations between networks over the rows of a dataset, one line per pair of networks."""
    layout, lines, columns = evidence.layout, [], [words("Protocols")]
    for dataset in layout.datasets:
        columns += [Column(evidence.name(dataset), plain(",.2f")), count("rows")]
    for pair in combinations(evidence.parts, 2):
        names = ", ".join(part.name for part in pair)
        line = [Cell(row=names, text=names)]
        for dataset in layout.datasets:
            able = [row for row in layout.rows if not any(row in part.dagger for part in pair)]
            rows = [row for row in able if all(part.distances[dataset, row].n for part in pair)]
            x, y = ([part.distances[dataset, row].value for row in rows] for part in pair)
            varied = len(rows) >= FEWEST and len({*x}) > 1 and len({*y}) > 1
            number = Number("rank correlation", float(spearmanr(x, y).statistic) if varied else None)
            line += [Cell(dataset, names, (number,), n=len(rows)), Cell(numbers=(Number(value=len(rows)),))]
        lines.append(line)
    if lines:
        caption = "Rank correlation between protocols of the rows' mean distances"
        about = replace(evidence.whole, mark="")
        yield _table(about, layout, "agreement", "Agreement", caption, columns, lines, [notes.AGREEMENT])


def budgets_spent(evidence: Evidence) -> Tables:
    """Return the distances of the probed rows after shares of their images."""
    layout = evidence.layout
    shares = [measured(f"FD at {share:.0%}", fixed(spread="seeds")) for share in budget.SHARES]
    for dataset in layout.datasets:
        curves = evidence.budget_curves(dataset)
        if not curves:
            continue
        ends = {row: float(np.mean([np.log(curve.distance[-1]) for curve in each])) for row, each in curves.items()}
        best = min(ends, key=lambda row: ends[row])
        lines = []
        for row in sorted(curves, key=lambda row: ends[row]):
            behind = math.nan if row == best else budget.crossing(curves[row], curves[best])
            after = Number("images until the best leads", behind if math.isfinite(behind) else None, against=best)
            lines.append(
                [
                    Cell(dataset, row, text=evidence.name(row)),
                    *budget.reached(dataset, row, curves[row]),
                    Cell(dataset, row, (after,)),
                ]
            )
        columns = [words("Model"), count("images"), count("steps"), *shares]
        columns += [measured("mean", fixed(spread="seeds")), count("ahead until, images")]
        caption = f"Distance as a function of the training budget on {evidence.name(dataset)}"
        about = f"budget-{dataset}", "Budget", caption
        yield Table(*about, columns, lines, [notes.budget(evidence.name(best))], layout.profile)


# ---- networks, epochs and times ----------------------------------------------------------------------


def architecture(evidence: Evidence) -> Tables:
    """Return Table 2: the layers of each network, as the trained models describe them, with the rows that use it."""
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
    for part, layers, size in sorted(owners, key=lambda network: parts.index(network[0])):
        joined: dict[tuple[str, ...], list[str]] = {}  # the datasets on which the same rows have it; no rows: all
        for dataset, mine in owners[part, layers, size].items():
            joined.setdefault(() if len(mine) > 1 and mine == everyone[dataset] else tuple(mine), []).append(dataset)
        for models, datasets in joined.items():
            where = ", ".join(map(evidence.name, datasets))
            told = [Cell(text=text) for text in (part.replace("_", " "), where, _folded(layers))]
            who = Cell(text="; ".join(map(evidence.name, models)) or "all")
            lines.append([*told, NOTHING if size is None else Cell(numbers=(Number(value=size),)), who])
    columns = [words("Network"), words("Dataset"), words("Layers"), count("parameters"), words("Models")]
    yield Table("table2", "Table 2", "Networks", columns, lines, [notes.NETWORKS], layout.profile, more=more)


def _folded(layers: str) -> str:
    """Return `2 x (FC8, ReLU)` for `FC8, ReLU, FC8, ReLU`: a list that only repeats one part is abbreviated."""
    each = layers.split(", ")
    for period in range(1, len(each) // 2 + 1):
        repeats, rest = divmod(len(each), period)
        if not rest and each == each[:period] * repeats:
            return f"{repeats} x ({', '.join(each[:period])})"
    return layers


def epochs(evidence: Evidence) -> Tables:
    """Return Table 5: the planned and actual length of each stage in epochs, or in steps if these are its budget; and
    how soon that was long enough, on datasets with measurements during training.
    """
    layout, settled, beside = evidence.layout, evidence.settled(), evidence.layout.profile == "paper"
    costs = evidence.frame[evidence.frame["kind"] == "cost"]
    configured = budgets(costs, "configured_", "configured")
    run = budgets(costs[costs["status"] == "ok"], "", "run")
    ended = evidence.whole.summary.cells(["parameters"])
    columns = [words("Model")]
    lines = {row: [Cell(row=row, text=evidence.name(row))] for row in layout.rows}
    for dataset in layout.datasets:
        columns.append(Column(evidence.name(dataset), general, staged="named"))
        columns.append(Column("run", general, "all", staged="named"))
        if probed := any(where == dataset for where, _ in settled):
            columns.append(measured("within 5%: epochs", fixed(0, "seeds")))
        columns += [Column("paper", general, staged="added")] * beside
        for row, line in lines.items():
            entry, end = (dataset, row), ended[dataset, row]
            budget, done = configured.get(entry, {}), run.get(entry, {})
            told = tuple(done[key] for key in budget) if set(budget) <= set(done) else ()  # of a pair, the trunk's, too
            line.append(Cell(*entry, tuple(budget.values()), text="" if budget else "—"))
            state: State = "ok" if told else "missing" if end.state == "ok" else end.state
            line.append(Cell(*entry, told, state=state, stale=end.stale))
            line += [settled.get(entry, NOTHING)] * probed
            line += [_papers_costs(layout, 5, entry, "epochs")] * beside
    said = [notes.EPOCHS, *([notes.PAIRS] if evidence.pairs else [])]
    said += [notes.trials(evidence.frame), *([notes.SETTLED] if settled else [])]
    if not evidence.timings:
        said.append(notes.NOT_TIMED.format(time=command("time", layout.profile, results=evidence.root)))
    said += [*notes.departures(evidence.frame, layout), *notes.shares(evidence)]
    yield Table("table5", "Table 5", "Training epochs", columns, list(lines.values()), said, layout.profile)


def _papers_costs(layout: Layout, table: int, entry: Entry, quantity: str) -> Cell:
    dataset, row = entry
    theirs = layout.published.value(table, row, dataset)
    numbers = tuple(Number(quantity, value, stage=stage) for stage, value in theirs.items())
    return Cell(*entry, numbers, source=layout.published.source(table, row) if theirs else "measured")


PACE = "seconds_per_epoch"
COSTS = {
    "training, s": ("train_seconds", 1),
    "sampling, s": ("sample_seconds", 1),
    "memory, MiB": ("peak_memory", 2**20),
}
FLOW, ALONE = "glf", "rae_gmm"  # the same auto-encoder with a flow that learns its codes, and without


def times(evidence: Evidence) -> Tables:
    """Return Table 6: the time and memory of the rows in the timing runs of one device, a line per training stage.
    Numbers of the whole training are in the first one.
    """
    layout, beside = evidence.layout, evidence.layout.profile == "paper"
    sizes = evidence.whole.summary.cells(["parameters"])
    for i, (id, runs) in enumerate(evidence.timings.items(), 1):
        paces: dict[Entry, dict[str, Cell]] = {}
        lines, busy = [], any(run.busy for run in runs.values())
        for entry in (entry for entry in product(layout.datasets, layout.rows) if entry in runs):
            run = runs[entry]
            timed = {stage: Number.of(PACE, one.seconds, stage) for stage, one in run.stages.items()}
            paces[entry] = {stage: Cell(*entry, (pace,), len(pace.sample)) for stage, pace in timed.items()}
            names = [evidence.name(entry[0]), evidence.name(entry[1]) + " §" * run.busy]
            first = [Cell(*entry, text=name) for name in names]
            rest = [_papers_costs(layout, 6, entry, PACE)] * beside
            whole = zip(COSTS.values(), (run.training, run.sample, run.peak_memory), strict=True)
            rest += [Cell(*entry, (Number(metric, value),)) for (metric, _), value in whole]
            rest.append(sizes.get(entry, NOTHING))
            for stage, pace in paces[entry].items():
                lines.append([*first, Cell(text=stage), pace, *rest])
                first, rest = [NOTHING] * len(first), [NOTHING] * len(rest)
        columns = [words("Dataset"), words("Model"), words("Stage"), measured("s/epoch", fixed(None, "seeds"))]
        columns += [Column("paper", general, staged="added")] * beside
        columns += [Column(head, fixed(None, "seeds", scale), "n") for head, (_, scale) in COSTS.items()]
        first_run = next(iter(runs.values()))
        shares = _flow_shares({entry: pace for entry, pace in paces.items() if not runs[entry].busy}, layout)
        by_name = {evidence.name(dataset): cell for dataset, cell in shares.items()}
        said = [notes.timing(id, first_run.about), *[notes.BUSY] * busy]
        said += [notes.PAIRS] if any(row in evidence.pairs for _, row in paces) else []
        said += notes.flow_share(by_name, *map(evidence.name, (FLOW, ALONE)))
        said += [notes.PAPERS_TIMES] * beside + notes.departures(evidence.frame, layout)
        yield Table(
            f"table6{f'-timing{i}' * (len(evidence.timings) > 1)}",
            "Table 6",
            f"Training time on {first_run.place}",
            [*columns, count("parameters")],
            lines,
            said,
            layout.profile,
            device=first_run.place,
            more=list(shares.values()),
        )


def _flow_shares(paces: Mapping[Entry, Mapping[str, Cell]], layout: Layout) -> dict[str, Cell]:
    """Return the share of GLF's epoch that the flow takes, by dataset, if RAE+GMM gives the time without a flow."""
    shares = {}
    for dataset in layout.datasets:
        both = [next(iter(paces.get((dataset, row), {}).values()), NOTHING) for row in (FLOW, ALONE)]
        if all(cell.n for cell in both):
            found, _ = moderated({cell.row: cell.numbers[0].sample for cell in both}, LOG)
            compared = difference(found[FLOW], found[ALONE])
            share, low, high = (-math.expm1(-ratio) for ratio in (compared.gap, *compared.interval()))
            known = (low, high) if math.isfinite(low) else (None, None)
            number = Number("flow's share of an epoch", share, low=known[0], high=known[1], against=ALONE)
            shares[dataset] = Cell(dataset, FLOW, (number,))
    return shares


KINDS: dict[str, Callable[[Evidence], Tables]] = {
    "1": partial(quality, table=1),
    "2": architecture,
    "3": partial(quality, table=3),
    "4": partial(quality, table=4),
    "5": epochs,
    "6": times,
    "comparisons": comparisons,
    "priors": priors,
    "matrix": matrix,
    "variance": variance,
    "overall": overall,
    "agreement": agreement,
    "budget": budgets_spent,
    "scores": scores,
}
TABLES = ("1", "2", "3", "4", "5", "6")
EVERY = tuple(KINDS)
"""The tables of numbers by name, without those of claims."""
