"""All notes under the tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aegen_bench.evaluation.frechet import BEYOND_NOISE
from aegen_bench.evaluation.metric import DISTANCES
from aegen_bench.inference import ALPHA, Leading, Place, Split
from aegen_bench.report.cells import Cell, Spread
from aegen_bench.report.published import Published
from aegen_bench.report.summary import ANCHOR_NAMES, Layout
from aegen_bench.study.command import command

if TYPE_CHECKING:
    import pandas as pd

    from aegen_bench.report.evidence import Evidence, Part

SPREADS: dict[Spread, str] = {
    "seeds": "Mean ± sample standard deviation over seeds",
    "interval": "Mean ± half-width of the 95% interval over seeds (Student's t)",
    "draws": "Mean over seeds ± standard deviation over the draws of a trial, pooled over trials (no ± with one draw)",
}
"""The meaning of ±."""
BOLD = (
    "Bold: the leading group of a column, that is, the rows that are not significantly worse than the best one. In 95% "
    "of tables, step-down multiple comparisons with the best ({scales}) keep every row that is truly as good as the "
    "best. Each row's variance over seeds is moderated, i.e. shrunk towards the pooled variance of the rows near the "
    "best (docs/statistics.md)."
)
OPEN = (
    "?: only one seed. Given how much other rows vary over their seeds, this row could be in the leading group or "
    "ahead of it, but it is never bold, and no other row is compared with it."
)
NOT_BOLD = (
    "Nothing is bold: a test needs at least two rows in a column, one of them with two or more seeds, without diverged "
    "or collapsed trials."
)
DAGGER = "†: trained with the network that scores it here, and therefore not tested, ranked or bold."
STALE = (
    "‡: stale. The code, settings or training images have changed since this row was trained; to train it again: "
    "`{again}`"
)
EXTERNAL = (
    "(external): images generated elsewhere and scored by `aegen-bench evaluate`. Our training budget does not apply "
    "to them."
)
ANCHORS = "Floor and ceiling: real training images and uniform noise, each scored as if it had been generated."
NETWORKS = (
    "One line per distinct network, as described by the trained models. 4x4 Conv64: a convolution with 64 kernels of "
    "size 4x4 and stride 2; BN: batch norm; FC: fully connected. Only trained parameters are counted."
)
EPOCHS = (
    "For each dataset: the configured epochs of each training stage, then the epochs that successful trials ran. A "
    "range means that seeds differ."
)
PAIRS = (
    "A row that combines a trunk with a prior counts the training of both. If the trunk's record is not among the "
    "results, or comes from another device, the numbers that include the trunk's training are missing."
)
SETTLED = (
    "within 5%: the epochs after which the distance measured during training stays within 5% of its last value; mean ± "
    "sample standard deviation over seeds, number of trials in brackets. By default, only sweeps measure the distance "
    "during training."
)


def budget(best: str) -> str:
    """Return the meaning of the columns of the table `budget`."""
    return (
        "FD at X%: the distance at the last probe within the first X% of the images that the row sees in training, "
        "mean ± sample standard deviation over seeds; — if the first probe comes later. mean: the geometric mean of "
        "the distance from the first probe to the last, averaged over the logarithm of the number of images seen. "
        f"ahead until: the number of images seen after which {best}, the row with the best final distance, stays "
        f"ahead of this row when both have seen equally many; empty if {best} is ahead throughout, if this row is "
        "still ahead where the probes of one of them end, or if their probes do not overlap. Each probe scores one "
        "draw of images, under the first protocol only."
    )


NOT_TIMED = "Times come from timing runs, and this profile has none: `{time}` makes Table 6."
BUSY = "§: other programs used more than a tenth of the processors during the measurement, so these times are too long."
PAPERS_TIMES = (
    "paper: Table 6 of the paper, measured on hardware that it does not name. Only ratios between rows are comparable, "
    "except those of Two-Stage VAE, whose published code uses another framework."
)
_DEVIATION = (
    "Deviation: in shortened schedules, the learning rate of learned variances and betas is increased by the same "
    "ratio, up to 0.01; otherwise they would hardly move."
)


def protocol(part: Part) -> str:
    """Return how the numbers were measured."""
    return str(part.about.get("describe", f"Protocol {part.id}")) if part.id else "Nothing has been evaluated yet."


def measured(spread: Spread) -> str:
    """Return the meaning of ± and of the number in brackets."""
    return (
        f"{SPREADS[spread]}, number of trials in brackets. A trial's value is the mean over its sets of images (draws)."
    )


def trials(frame: pd.DataFrame) -> str:
    """Return the number of trials, and how they ended."""
    each = frame.drop_duplicates(["dataset", "row", "seed"])
    counts = Counter(each["status"])
    counts["collapsed"] = int((each["collapsed"].astype(bool) & (each["status"] == "ok")).sum())
    names = ("ok", "diverged", "failed", "timeout", "collapsed")
    return f"Trials: {len(each)} ({', '.join(f'{counts[name]} {name}' for name in names if counts[name])})."


def elsewhere(evidence: Evidence) -> Iterator[str]:
    """Yield which pairs and trunks of pairs have results but no row in the tables."""
    crossed = evidence.crossed
    aside = set(crossed.layout.rows) - set(evidence.layout.rows)
    if pairs := aside & crossed.pairs.keys():
        few = "pair of a trunk and a prior appears" if len(pairs) == 1 else "pairs of a trunk and a prior appear"
        yield f"{len(pairs)} {few} only in the tables `matrix`, `priors` and `variance`."
    if rows := sorted(aside & {trunk for trunk, _ in evidence.pairs.values()}):
        names = ", ".join(map(evidence.name, rows))
        yield f"Trained only as trunks of these rows, and not shown: {names} (to show: `--models {','.join(rows)}`)."


def marks(root: Path, part: Part, layout: Layout, rows: Collection[str], guests: Collection[str] = ()) -> list[str]:
    """Return the meaning of the marks of these rows, and of the rows below ours."""
    said = [DAGGER] if part.dagger & set(rows) else []
    if stale := [entry for entry in sorted(layout.stale) if entry[1] in rows]:
        datasets, models = (list(dict.fromkeys(names)) for names in zip(*stale, strict=True))
        again = command("run", layout.profile, models=models, datasets=datasets, flags=["--stale"], results=root)
        said.append(STALE.format(again=again))
    said += [EXTERNAL] if any(row.endswith("(external)") for row in guests) else []
    return said + ([ANCHORS] if any(row in ANCHOR_NAMES.values() for row in guests) else [])


def cautions(
    part: Part, layout: Layout, rows: Sequence[str], datasets: Sequence[str], metrics: Collection[str]
) -> list[str]:
    """Return reasons to doubt the distances of these rows and of external sets: notes of evaluation on these metrics,
    and distances above that of noise.
    """
    name, said, noise = layout.published.name, dict[str, list[str]](), list[str]()
    for dataset in datasets:
        for (where, row), remarks in part.remarks.items():
            if row not in rows and (where, row) not in part.guests.trials:
                continue
            for text in dict.fromkeys(remarks[metric] for metric in metrics if metric in remarks and where == dataset):
                said.setdefault(text, []).append(f"{name(row)} on {name(dataset)}")
        if set(DISTANCES) & set(metrics):
            noise += [f"{name(row)} on {name(dataset)}" for row in part.beyond_noise(dataset, rows)]
    told = [f"Caution: {text} ({'; '.join(where)})." for text, where in said.items()]
    if noise:
        told.append(f"Caution: {BEYOND_NOISE}: {'; '.join(noise)}.")
    return told


def other_images(frame: pd.DataFrame, layout: Layout) -> list[str]:
    """Return a warning if trials on one dataset were compared with different real images."""
    known = frame.loc[frame["real"] != "", ["dataset", "real"]].drop_duplicates()
    torn = [layout.published.name(name) for name in known.loc[known.duplicated("dataset"), "dataset"].unique()]
    if not torn:
        return []
    return [
        f"Not comparable: the trials on {', '.join(torn)} were scored against different sets of real images. Keep the "
        "results for each set in a separate folder (`--results`)."
    ]


def departures(frame: pd.DataFrame, layout: Layout) -> list[str]:
    """Return how the profile departs from the paper's settings; nothing if it does not."""
    found = frame.attrs.get("overrides", {}).get(layout.profile, {})
    rows = set(frame["row"].unique())
    concerned = {text: [row for row in where if row in rows] for text, where in found.items()}
    parts = [
        text if len(mine) == len(rows) else f"{text} ({', '.join(map(layout.published.name, mine))})"
        for text, mine in concerned.items()
        if mine
    ]
    return [f"Profile {layout.profile} departs from the paper's settings: {'; '.join(parts)}.", _DEVIATION] * bool(
        parts
    )


def shares(evidence: Evidence) -> list[str]:
    """Return the share of the paper's training that each row had; nothing if it is all of it."""
    alike: dict[str, list[str]] = {}
    for row in evidence.layout.rows:
        each = evidence.training_shares.get(row, [])
        if any(min(share) < 0.995 for share in each):
            images, steps = (_percent(kind) for kind in zip(*each, strict=True))
            alike.setdefault(f"{images}, {steps}", []).append(evidence.name(row))
    parts = [f"{share} ({', '.join(rows)})" for share, rows in alike.items()]
    return [f"Training budget as a share of the paper's (images seen, steps): {'; '.join(parts)}."] * bool(parts)


def _percent(shares: Sequence[float]) -> str:
    """`2%`, or `2 to 8%` over datasets that differ."""
    ends = [f"{100 * share:.0f}" if share >= 0.995 else f"{100 * share:.2g}" for share in (min(shares), max(shares))]
    return f"{' to '.join(dict.fromkeys(ends))}%"


def paper(published: Published, table: int, rows: Iterable[str], *, comparable: bool) -> list[str]:
    """Return the meaning of the paper's columns, and the sources of the numbers that it cites."""
    printed = published.rows(table)
    title = f"Table {table} of {published.content['meta']['paper']}"
    said = f"paper: {title}. difference: ours minus the paper's."
    if not comparable:
        said = (
            f"paper's rank: the row's rank among the {len(printed)} rows of {title} (1 is best). The paper's numbers "
            "are not shown, because they are comparable only under its own protocol and training budget."
        )
    cited: dict[str, list[str]] = {}
    for row in rows:
        if row in printed and (source := published.source(table, row)) != "rerun":
            cited.setdefault(published.content["sources"][source], []).append(published.name(row))
    told = (f"The paper's numbers for {', '.join(names)}: {source}" for source, names in cited.items())
    return [said, *(one if one.endswith((".", "?")) else f"{one}." for one in told)]


def timing(id: str, about: Mapping[str, str]) -> str:
    """Return how the times of a timing id were measured."""
    return (
        f"Timing {id}: {'; '.join(f'{name} {text}' for name, text in about.items())}. s/epoch: mean ± standard "
        "deviation over the timed epochs, number of epochs in brackets. training: the whole schedule, extrapolated "
        "from these epochs, plus extracting codes and fitting a density to them. memory: the peak, of the process on "
        "a CPU or of PyTorch's allocator on a GPU."
    )


def flow_share(shares: Mapping[str, Cell], flow: str, alone: str) -> list[str]:
    """Return the share of an epoch's time that the flow takes, by dataset."""
    parts, odd = [], []
    for dataset, cell in shares.items():
        [number] = cell.numbers
        within = "" if number.low is None else f" (95% interval {number.low:.1%} to {number.high:.1%})"
        if cell.value > 0:
            parts.append(f"{dataset} {number.value:.1%}{within}")
        else:
            odd.append(dataset)
    said = [f"The flow's share of an epoch's time, ({flow} - {alone}) / {flow}: {', '.join(parts)}."] * bool(parts)
    if odd:
        said.append(
            f"The flow's share is unknown on {', '.join(odd)}, where an epoch of {alone} took at least as long as one "
            f"of {flow}. Adding a flow cannot speed up training, so the times are too few, or other programs "
            "disturbed them."
        )
    return said


COMPARISONS = (
    "The best mean comes first. Mean ± sample standard deviation over seeds, number of trials in brackets. relative to "
    "the best: how much larger the row's geometric mean is than that of the best tested row, with Student's 95% "
    "interval from the moderated variances. p: the row's p-value in the test for the leading group, adjusted for "
    "multiple comparisons."
)


PRIORS = (
    "Rows of the same trunk use the same trained auto-encoder for each seed, so they are compared seed by seed, over "
    "the seeds that both have. relative to the best of its trunk: how much larger the row's geometric mean is than "
    "that of the best prior of its trunk, with Student's 95% interval of the paired differences (variances moderated "
    "over all pairs of rows of the trunk). p: two-sided paired t-test, Holm-corrected over the priors of the trunk. "
    "Bold: the best prior of a trunk and those that do not differ from it significantly (5%)."
)


MATRIX = (
    "One line per trunk, one column per prior: mean ± sample standard deviation over seeds, number of trials in "
    "brackets. reconstruction: the distance of the trunk's reconstructions of test images, about what a perfect prior "
    "would reach. Bold: the best prior of a trunk and those that do not differ from it significantly in the paired "
    "tests of the table `priors`."
)
VARIANCE = (
    "A two-way model of log FD: trunk + prior + interaction (what trunk and prior do not explain separately) + seeds, "
    "with equal weight for all pairs. The contribution expected from noise is subtracted from each sum of squares. "
    "Intervals: bootstrap over the seeds of each trunk, for these trunks and priors only; with three seeds they are "
    "somewhat too narrow (docs/statistics.md)."
)


def variance(where: str, found: Split | None) -> str:
    """Return the share of each source in the variance, or why it cannot be estimated."""
    if found is None:
        return (
            f"The variance on {where} cannot be split: that takes at least two trunks that share two priors, with two "
            "common seeds, and more pairs than the effects of trunks and priors alone can fit."
        )
    told = (
        f"{source} {share:.0%} ({found.intervals[source][0]:.0%} to {found.intervals[source][1]:.0%})"
        for source, share in found.shares.items()
    )
    return (
        f"On {where}, over {found.pairs} pairs of {len(found.trunks)} trunks and {len(found.priors)} priors, the "
        f"variance of log FD is due to {', '.join(told)}."
    )


def leading(groups: Sequence[Leading]) -> list[str]:
    """Return the meaning of bold and ?, if there are any."""
    tested = [group for group in groups if group.best]
    if not tested:
        return [NOT_BOLD]
    scales = "on a log scale" if tested[0].scale.logarithmic else "on the scale of the scores"
    undecided = any(place is Place.OPEN for group in tested for place in group.places.values())
    return [BOLD.format(scales=scales), *([OPEN] if undecided else [])]


def resolution(where: str, group: Leading, draws: float) -> str:
    """Return the spread over seeds and draws, and the differences that the seeds can detect."""
    rows, gap = len(group.contenders), group.scale.gap
    if group.spread == 0:
        return f"Resolution on {where}: all seeds of a row give exactly the same value, so any difference counts."
    have = f"the {rows} rows near the best have a typical" if rows > 1 else "the best row has a"
    within = "; over draws it is unknown, because each trial has only one"
    if not math.isnan(draws):
        within = f" and {gap(draws)} over draws (ratio {draws / group.spread:.2g})"
    return (
        f"Resolution on {where}: {have} standard deviation of {gap(group.spread)} over seeds{within}. With "
        f"{group.seeds} seeds, a row that is worse than the best by {gap(group.detectable)} is detected with 80% power."
    )


def overall(
    datasets: Sequence[str],
    networks: Sequence[str],
    left_out: Sequence[str],
    uncounted: Sequence[str],
    *,
    any_: bool,
) -> list[str]:
    """Return how distances are normalised, or why they are not."""
    where = f"{', '.join(datasets) or 'none'} (under {', '.join(networks) or 'no network'})"
    if not any_ and len(datasets) > 1:
        return [f"No average over datasets: no row has a number in each of {where}."]
    if not any_:
        return [
            "No average over datasets: it takes at least two datasets on which both rows and the floor were scored; "
            f"here: {where}."
        ]
    said = [
        f"Geometric mean over {where} of the row's Fréchet distance divided by that of training images (the floor). "
        "Datasets and networks have equal weights, however many trials there are.",
        "95% intervals: bootstrap over the seeds that all of these networks have scored, within each dataset; with few "
        "seeds they are too narrow (docs/statistics.md). A row with a single seed is given the typical spread of the "
        "other rows; without any row with two seeds there are no intervals.",
    ]
    if left_out:
        rows = ", ".join(left_out)
        said.append(
            f"Left out, because they lack some of these, are marked † or have diverged or collapsed trials: {rows}."
        )
    if uncounted:
        names = ", ".join(uncounted)
        said.append(f"Not counted: {names}, under which fewer than two rows have a number on every dataset.")
    return said


AGREEMENT = (
    "Spearman's rank correlation between the rows' mean Fréchet distances under two protocols: 1 if both rank the rows "
    "in the same order, 0 if the two orders are unrelated, empty for fewer than three rows. Rows marked † under either "
    "protocol are left out."
)


def scores(units: Mapping[str, str]) -> str:
    """Return the meaning of the numbers in the table `scores`, with their units."""
    said = ", ".join(f"{name} ({unit})" for name, unit in units.items() if unit != "1")
    return (
        "Mean ± sample standard deviation over seeds, number of trials in brackets. ↓ lower is better, ↑ higher is "
        "better; a cell is empty if the metric does not apply to the row or was not measured for it."
        + (f" Units: {said}." if said else "")
    )


CLAIMS = (
    f"supported: every comparison that the claim needs is significant in the claimed direction, each at {ALPHA:.0%} "
    "and with at least two trials on each side (a trend is tested over all its trials), without correction across "
    "claims. contradicted: at least one comparison is significant in the opposite direction, or an equality is "
    f"refuted, at {ALPHA:.0%} over all comparisons of the claim (Bonferroni). inconclusive: neither of these; the "
    "table then gives the difference that would have been detected, and the number of seeds per row that it takes to "
    "detect the observed one (both with 80% power). not tested: trials are missing for a comparison. Distances and "
    "times are compared on a log scale, with moderated variances (docs/statistics.md). Trials that diverged, failed "
    "or collapsed do not count. FID stands for the Fréchet distance of each protocol. From the paper's numbers: the "
    "same tests applied to the paper's own tables, with its ten trials."
)


def counted(verdicts: Mapping[str, int]) -> str:
    """Return the number of claims with each verdict."""
    number = sum(verdicts.values())
    told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items() if count)
    return (
        f"{number} {'claim' if number == 1 else 'claims'}: {told}, if all tests of a claim are taken together. The "
        "table `claims` has the numbers, and the reasons why claims were not tested."
    )
