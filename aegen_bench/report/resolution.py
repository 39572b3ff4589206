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
"""The difference for which the necessary number of seeds is given."""


def lines(root: Path, profile: str, datasets: Sequence[str], *, rows: int, seeds: int) -> Iterator[str]:
    """Yield a line for each dataset and protocol with results of the profile under `root`, or one if there are none.

    `rows` is the number of rows that are compared, with `seeds` seeds each. As in the tables, the more rows, the larger
    a difference must be to be detected.
    """
    known = {where: spread for where, spread in _spreads(root, profile).items() if where[0] in datasets}
    for (dataset, protocol), spread in known.items():
        yield _line(f"{dataset} under {protocol}: standard deviation over seeds {LOG.gap(spread)}", spread, rows, seeds)
    if not known:
        yield _line(f"assuming a standard deviation over seeds of {LOG.gap(ASSUMED)}", ASSUMED, rows, seeds)


def _line(begin: str, spread: float, rows: int, seeds: int) -> str:
    rows = max(rows, 2)
    need = seeds_needed(math.log1p(FINE), spread, rows)
    fine = f"detecting a gap of {FINE:.0%} takes {need if need else f'more than {MOST}'} seeds"
    if seeds < 2:
        return f"{begin}; with one seed, no gap is detected; {fine}"
    seen = LOG.gap(detectable(spread, seeds, rows))
    return f"{begin}; with {seeds} seeds, a gap of {seen} to the best of {rows} rows is detected (80% power); {fine}"


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
            name = str(frame.attrs["protocols"].get(protocol, {}).get("name", protocol))
            place = str(dataset), f"{name} ({protocol})" if (str(dataset), name) in found else name
            found[place] = spread
    return found
