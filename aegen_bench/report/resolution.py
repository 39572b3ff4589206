"""Power analysis: the differences that a number of seeds can detect, before they are run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from aegen_bench import results
from aegen_bench.evaluation.metric import DISTANCES
from aegen_bench.inference import LOG, MOST, detectable, moderated, seeds_needed

__all__ = ["ASSUMED", "lines"]

ASSUMED = 0.025
"""The spread of distances over seeds where there are no results of a profile: that of the committed ones of `lite`."""
FINE = 0.05
"""The difference for which the needed seeds are told."""


def lines(root: Path, profile: str, datasets: Sequence[str], *, rows: int, seeds: int) -> Iterator[str]:
    """Yield a line for each dataset and protocol with results of the profile under `root`, or one if there are none.

    `rows` is the number of rows that are compared, with `seeds` seeds each: as in the tables, more rows need larger
    differences.
    """
    known = {where: spread for where, spread in _spreads(root, profile).items() if where[0] in datasets}
    for (dataset, protocol), spread in known.items():
        yield _line(f"{dataset} by {protocol}: seeds spread by {LOG.gap(spread)}", spread, rows, seeds)
    if not known:
        yield _line(f"if seeds spread by {LOG.gap(ASSUMED)} of the distance", ASSUMED, rows, seeds)


def _line(begin: str, spread: float, rows: int, seeds: int) -> str:
    rows = max(rows, 2)
    need = seeds_needed(math.log1p(FINE), spread, rows)
    fine = f"{FINE:.0%} needs {need} seeds" if need else f"{FINE:.0%} needs more than {MOST} seeds"
    if seeds < 2:
        return f"{begin}; one seed tells no rows apart, {fine}"
    seen = LOG.gap(detectable(spread, seeds, rows))
    return f"{begin}; {seeds} seeds tell a row from the best of {rows} that is {seen} better (80% power), {fine}"


def _spreads(root: Path, profile: str) -> dict[tuple[str, str], float]:
    """Return the typical spread of log FD over seeds, by dataset and protocol."""
    frame = results.load(root, profile=profile) if (root / profile).is_dir() else None
    if frame is None or frame.empty:
        return {}
    good = frame[(frame["status"] == "ok") & ~frame["collapsed"] & frame["metric"].isin(list(DISTANCES))]
    trials = good.groupby(["dataset", "protocol", "row", "seed"], sort=False)["value"].mean().reset_index()
    found = {}
    for (dataset, protocol), mine in trials.groupby(["dataset", "protocol"], sort=False):
        _, noise = moderated({str(row): list(values) for row, values in mine.groupby("row")["value"]}, LOG)
        spread = math.sqrt(noise.typical)
        if math.isfinite(spread) and spread > 0:
            name = frame.attrs["protocols"].get(protocol, {}).get("name", protocol)
            found[str(dataset), str(name)] = spread
    return found
