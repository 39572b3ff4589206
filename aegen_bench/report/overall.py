"""Rows over all datasets of a profile: distances are put on one scale first, then trials of all datasets count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from aegen_bench.report.cells import Cell, Entry, Layout
from aegen_bench.report.entries import collect
from aegen_bench.report.guests import NAMES
from aegen_bench.report.measures import DAGGER, Measure, marked, single_protocol
from aegen_bench.report.ranking import Ranking, ranking
from aegen_bench.report.statistics import bootstrap, probability_of_improvement
from aegen_bench.report.table import Table, Value
from aegen_bench.results import ANCHORS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["overall"]

FLOOR, UNIT = NAMES[ANCHORS, "floor"], "vae"
Scale = dict[str, tuple[float, float]]  # dataset: floor, and how far the VAE is above it
Strata = list[list[float]]  # normalised distances of a row: for each dataset those of its trials


def overall(frame: pd.DataFrame, guests: pd.DataFrame, layout: Layout, name: str) -> Table:
    """Return the table of one protocol: the interquartile mean of normalised distances, how probably a trial of one row
    is better than one of another, and ranks from six datasets on.
    """
    protocol, about = single_protocol(frame, "overall")
    extractor = str(about.get("extractor", "features unknown"))
    measure, named = Measure.of(1, extractor), layout.published.name
    cells = collect(frame, measure.metrics, family=measure.family)
    dagger = marked(frame, layout, extractor)
    fair = [row for row in layout.rows if row not in dagger]
    scale = _scale(cells, collect(guests, measure.metrics, family=measure.family), layout.datasets)
    strata = {row: found for row in fair if (found := _normalised(cells, row, scale))} if len(scale) > 1 else {}
    ranked = ranking(cells, layout.datasets, fair)
    values = [*_means(strata), *_chances(strata), *_ranks(ranked)]

    means = {value.row: value for value in values if value.quantity == IQM}
    chances = {(value.row, value.against): value.value for value in values if value.quantity == CHANCE}
    order = sorted(means, key=lambda row: means[row].value or 0.0)
    rest = sorted((row for row in ranked.rows if row not in means), key=lambda row: float(ranked.shown(row)))
    columns = ["Model", *(["IQM", "95% interval", "trials"] if order else [])]
    columns += ["average rank"] * bool(ranked.ranks) + [f"vs {number}" for number, _ in enumerate(order, 1)]
    lines = []
    for number, row in enumerate([*order, *rest], 1):
        line = [f"{number}. {named(row)}", *(_mean(means.get(row)) if order else [])]
        line += [ranked.shown(row)] if ranked.ranks else []
        lines.append(line + [f"{chances[row, k]:.2f}" if (row, k) in chances else "" for k in order])
    left_out = [named(row) for row in fair if order and row not in order]
    notes = [
        str(about.get("describe", f"Protocol {protocol}")),
        *_method(", ".join(map(named, scale)), any_=bool(order)),
        *_ranked(ranked),
        *([f"Left out, not on all of these datasets: {', '.join(left_out)}."] if left_out else []),
        *([DAGGER] if dagger else []),
    ]
    title = f"Overall. {measure.title}, all datasets together. Profile {layout.profile}"
    return Table(name, title, columns, lines, notes, values, {"profile": layout.profile, "protocol": protocol})


def _scale(cells: Mapping[Entry, Cell], floors: Mapping[Entry, Cell], datasets: Sequence[str]) -> Scale:
    """The datasets with a floor and a VAE above it."""
    found = {}
    for dataset in datasets:
        floor, unit = floors.get((dataset, FLOOR), Cell()), cells.get((dataset, UNIT), Cell())
        if floor.n and unit.n and unit.mean[0] > floor.mean[0]:
            found[dataset] = floor.mean[0], unit.mean[0] - floor.mean[0]
    return found


def _normalised(cells: Mapping[Entry, Cell], row: str, scale: Scale) -> Strata:
    """A row's trials on the datasets of the scale; none where it lacks one."""
    strata = [
        [(x - floor) / unit for x in cells.get((dataset, row), Cell()).sample()]
        for dataset, (floor, unit) in scale.items()
    ]
    return strata if all(strata) else []


IQM, CHANCE = "IQM of normalised distance", "probability of improvement"


def _means(strata: Mapping[str, Strata]) -> Iterator[Value]:
    for row, mine in strata.items():
        mean, low, high = bootstrap(mine)
        ends = (low, high) if min(map(len, mine)) > 1 else (None, None)
        yield Value("", row, IQM, n=sum(map(len, mine)), value=mean, low=ends[0], high=ends[1])


def _chances(strata: Mapping[str, Strata]) -> Iterator[Value]:
    for row, mine in strata.items():
        for other, theirs in strata.items():
            if row != other:
                p, low, high = probability_of_improvement(mine, theirs)
                yield Value("", row, CHANCE, against=other, value=p, low=low, high=high)


def _mean(value: Value | None) -> list[str]:
    """The columns of the interquartile mean, its interval and how many trials it is of."""
    if value is None or value.value is None:
        return ["", "", ""]
    span = "" if value.low is None else f"{value.low:.3f} to {value.high:.3f}"
    return [f"{value.value:.3f}", span, str(value.n)]


def _ranks(ranked: Ranking) -> Iterator[Value]:
    if ranked.ranks:
        found, n = ranked.ranks, len(ranked.datasets)
        for row, rank in zip(ranked.rows, found.average, strict=True):
            yield Value("", row, "average rank", n=n, value=rank)
        yield Value("", "", "Nemenyi critical difference", n=n, value=found.critical_difference)
        yield Value("", "", "Friedman p", n=n, value=found.friedman_p)


def _method(datasets: str, *, any_: bool) -> list[str]:
    if not any_:
        needs = "that needs two datasets with trials of the VAE and an anchor (floor) to scale by"
        return [f"Nothing is averaged over datasets: {needs}; here: {datasets or 'none'}."]
    return [
        f"Over {datasets}. A distance is normalised by dataset, (x - floor) / (VAE - floor): 0 is as good as training "
        "images in place of generated ones, 1 the mean of the VAE.",
        "IQM: the mean of the middle half of all trials' normalised distances, with its 95% interval of a bootstrap "
        "stratified by dataset (Agarwal et al. 2021); no interval where a dataset has one seed.",
        "vs k: how probably a trial of the row has a lower distance than one of row k on the same dataset, ties as "
        "half, mean over the datasets (probability of improvement, Agarwal et al. 2021).",
    ]


def _ranked(ranked: Ranking) -> list[str]:
    if not ranked.ranks:
        return [f"No average ranks: {ranked.why}."]
    found = ranked.ranks
    return [
        f"Average rank: of the mean distance over {len(ranked.datasets)} datasets, 1 is best. Friedman's test of equal "
        f"ranks: p = {found.friedman_p:.3g}; by Nemenyi's test at 5%, {found.critical_difference:.2f} apart differ "
        "(Demsar 2006; drawn by `aegen-bench report --figures ranks`)."
    ]
