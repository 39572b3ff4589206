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
    "interval": "Mean ± half the width of its 95% interval (Student's t over seeds)",
    "draws": "Mean over seeds ± standard deviation of the draws within a trial, pooled over trials (one draw has no ±)",
}
"""The meaning of ±."""
BOLD = (
    "Bold: the leading group of a column, the rows that cannot be told from the best one. By stepwise comparisons with "
    "the best, {scales}, which keep all rows that are as good as the best in 95% of tables; the variance of a row over "
    "seeds is moderated by those of the other rows near the best (docs/statistics.md)."
)
OPEN = (
    "?: one seed. By the spread of the other rows it could be as good as the leading group or better, but it is not "
    "counted as the best, and no other row is judged by it."
)
NOT_BOLD = "Nothing is bold: a test needs two rows of a column, one of them with two seeds, none diverged or collapsed."
DAGGER = "†: trained on the network that scores it here, so it is not tested, ranked or bold."
STALE = (
    "‡: stale. The code, settings or images that it was trained with have changed since; to train it again: `{again}`"
)
EXTERNAL = "(external): images made elsewhere and scored by `aegen-bench evaluate`, without our training budget."
ANCHORS = "Floor and ceiling: training images, and uniform noise, scored in place of generated images."
NETWORKS = (
    "One line for each distinct network, as described by the trained models. 4x4 Conv64: 64 kernels of 4x4 with stride "
    "2; BN: batch norm; FC: fully connected. Only trained parameters are counted."
)
EPOCHS = (
    "For each dataset: the configured epochs, then those run by the trials that ended well, by training stage. A range "
    "means that seeds differ."
)
PAIRS = (
    "A row that is a pair of a trunk and a prior counts the training of both. Where the record of its trunk is not "
    "among the results, or is of another device, what includes the trunk's training is missing."
)
SETTLED = (
    "within 5%: epochs and training seconds after which the distance measured during training stays within 5% of its "
    "last value; mean ± sample standard deviation over seeds, number of trials in brackets. Only sweeps measure it."
)


def budget(best: str) -> str:
    """Return the meaning of the columns of the table `budget`."""
    return (
        "FD at a share: the distance at the last probe within that share of the images that the row sees in all of its "
        "training, mean ± sample standard deviation over seeds; — where the first probe comes later. mean: the "
        "geometric mean over the logarithm of the images, from the first probe to the last. ahead until: images seen, "
        f"at equal numbers for both rows, after which {best}, which ends best, stays ahead; empty where it leads from "
        "the first probe on. A probe has one draw of images and is scored by the first protocol only."
    )


TIMES = (
    "Mean ± sample standard deviation over seeds, number of trials in brackets. s/epoch: mean over the epochs after "
    "the first, without evaluation. training: all of it, with extracting codes and fitting a density to them. "
    "sampling: that of the first evaluation. memory: the peak during training, of the process on a CPU, of the "
    "allocator on a GPU."
)
NOT_TIMED = (
    "No timing run of this profile: these are the seconds of trials, beside whatever else ran on the machine, so they "
    "compare little. `aegen-bench time` measures them alone."
)
BUSY = "§: other programs took more than a tenth of the processors meanwhile; these times are too long."
PAPERS_TIMES = (
    "paper: Table 6, on hardware that the paper does not name. Only ratios between rows compare, and those of "
    "Two-Stage VAE do not: its published code ran in another framework."
)
_DEVIATION = (
    "Deviation: where a schedule is shortened, learned variances and betas get a learning rate that is larger by the "
    "same ratio, up to 0.01; otherwise they would hardly move."
)


def protocol(part: Part) -> str:
    """Return how the numbers were measured."""
    return str(part.about.get("describe", f"Protocol {part.id}")) if part.id else "Nothing has been evaluated yet."


def measured(spread: Spread) -> str:
    """Return the meaning of ± and of the number in brackets."""
    return f"{SPREADS[spread]}, number of trials in brackets. The value of a trial is the mean over its draws."


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
        yield f"{len(pairs)} pairs of a trunk and a prior are only in the tables `matrix`, `priors` and `variance`."
    if rows := sorted(aside & {trunk for trunk, _ in evidence.pairs.values()}):
        names = ", ".join(map(evidence.name, rows))
        yield f"Trunks of these rows that have no row of their own: {names} (--models {','.join(rows)})."


def marks(root: Path, part: Part, layout: Layout, rows: Collection[str], guests: Collection[str] = ()) -> list[str]:
    """What the marks of these rows, and the rows below ours, mean."""
    said = [DAGGER] if part.dagger & set(rows) else []
    if stale := [entry for entry in sorted(layout.stale) if entry[1] in rows]:
        datasets, models = (list(dict.fromkeys(names)) for names in zip(*stale, strict=True))
        again = command("run", layout.profile, models=models, datasets=datasets, flags=["--stale"], results=root)
        said.append(STALE.format(again=again))
    said += [EXTERNAL] if any(row.endswith("(external)") for row in guests) else []
    return said + ([ANCHORS] if any(row in ANCHOR_NAMES.values() for row in guests) else [])


def cautions(part: Part, layout: Layout, datasets: Sequence[str], metrics: Collection[str]) -> list[str]:
    """Return reasons to doubt distances: notes of evaluation on these metrics, and distances above that of noise."""
    name, said, noise = layout.published.name, dict[str, list[str]](), list[str]()
    for dataset in datasets:
        for (where, row), remarks in part.remarks.items():
            for text in dict.fromkeys(remarks[metric] for metric in metrics if metric in remarks and where == dataset):
                said.setdefault(text, []).append(f"{name(row)} on {name(dataset)}")
        if set(DISTANCES) & set(metrics):
            noise += [f"{name(row)} on {name(dataset)}" for row in part.beyond_noise(dataset, layout.rows)]
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
        f"Not comparable: on {', '.join(torn)} the trials were scored against different real images. Keep the results "
        "of each set of images in a folder of their own (`--results`)."
    ]


def departures(frame: pd.DataFrame, layout: Layout) -> list[str]:
    """Return how the profile departs from the paper's settings; nothing if it does not."""
    found = frame.attrs.get("overrides", {}).get(layout.profile, {})
    rows = set(frame["row"].unique())
    parts = [
        text if rows <= set(where) else f"{text} ({', '.join(map(layout.published.name, where))})"
        for text, where in found.items()
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
            alike.setdefault(f"{images} and {steps}", []).append(evidence.name(row))
    parts = [f"{share} ({', '.join(rows)})" for share, rows in alike.items()]
    return [f"Of the images that training sees in the paper, and of its steps: {'; '.join(parts)}."] * bool(parts)


def _percent(shares: Sequence[float]) -> str:
    """`2%`, or `2 to 8%` over datasets that differ."""
    ends = [f"{100 * share:.2g}" for share in (min(shares), max(shares))]
    return f"{' to '.join(dict.fromkeys(ends))}%"


def paper(published: Published, table: int, rows: Iterable[str], *, comparable: bool) -> list[str]:
    """Return the meaning of the paper's columns, and the sources of the numbers that it cites."""
    printed = published.rows(table)
    title = f"Table {table} of {published.content['meta']['paper']}"
    said = f"paper: {title}. difference: ours minus the paper's."
    if not comparable:
        said = (
            f"paper's rank: the place of the row among the {len(printed)} rows of {title} (1 is best). The paper's "
            "numbers are not shown, because they hold only for its own protocol and training budget."
        )
    cited: dict[str, list[str]] = {}
    for row in rows:
        if row in printed and (source := published.source(table, row)) != "rerun":
            cited.setdefault(published.content["sources"][source], []).append(published.name(row))
    return [said, *(f"The paper's numbers of {', '.join(names)}: {source}." for source, names in cited.items())]


def timing(id: str, about: Mapping[str, str]) -> str:
    """Return how the times of a timing id were measured."""
    return (
        f"Timing {id}: {'; '.join(f'{name} {text}' for name, text in about.items())}. s/epoch: mean ± standard "
        "deviation over the timed epochs, number of epochs in brackets. training: what the whole plan takes at that "
        "pace, with extracting codes and fitting a density to them. memory: the peak, of the process on a CPU, of the "
        "allocator on a GPU."
    )


def flow_share(shares: Mapping[str, Cell], flow: str, alone: str) -> list[str]:
    """Return the share of an epoch that the flow takes, by dataset."""
    parts, odd = [], []
    for dataset, cell in shares.items():
        [number] = cell.numbers
        within = "" if number.low is None else f" (95% interval {number.low:.1%} to {number.high:.1%})"
        if cell.value > 0:
            parts.append(f"{dataset} {number.value:.1%}{within}")
        else:
            odd.append(dataset)
    said = [f"Share of the flow in an epoch, ({flow} - {alone}) / {flow}: {', '.join(parts)}."] * bool(parts)
    if odd:
        said.append(
            f"No share of the flow on {', '.join(odd)}: there the epochs of {alone} took as long as those of {flow} or "
            "longer, which a flow cannot cause: times taken beside other work, or too few of them, do not tell."
        )
    return said


COMPARISONS = (
    "Best mean first. Mean ± sample standard deviation over seeds, number of trials in brackets. To the best: by what "
    "share a row's geometric mean is above that of the best tested row, with Student's 95% interval by the moderated "
    "variance. p: how probable it is that some of as many equal rows would be so far behind another."
)


PRIORS = (
    "Rows of one trunk stand on the same trained auto-encoder with each seed, so they are compared seed by seed: the "
    "share by which the geometric mean lies above that of the best prior of the trunk, with Student's 95% interval of "
    "the paired differences (variances moderated over all pairs of the trunk), and p of the two-sided paired t-test, "
    "Holm-corrected over the priors of the trunk. Only seeds that both have count. Bold: the best prior of a trunk and "
    "those that these tests do not tell from it at 5%."
)


MATRIX = (
    "A line a trunk, a column a prior: mean ± sample standard deviation over seeds, number of trials in brackets. "
    "Reconstruction: the distance of reconstructed test images, the floor of the line. Bold: the best prior of a trunk "
    "and those that the paired tests of the table `priors` do not tell from it."
)
VARIANCE = (
    "A two-way model of log FD: trunk + prior + interaction (what neither explains alone) + seeds, each pair with the "
    "same weight; what noise alone adds to a sum of squares is subtracted. Intervals: bootstrap over the seeds of each "
    "trunk, for these trunks and priors; with three seeds they are a little short (docs/statistics.md)."
)


def variance(where: str, found: Split | None) -> str:
    """Which share of the variance is whose, or why nobody can tell."""
    if found is None:
        return (
            f"No split on {where}: it needs two trunks that share two priors, with two seeds in common, and more pairs "
            "than trunks and priors explain."
        )
    told = (
        f"{source} {share:.0%} ({found.intervals[source][0]:.0%} to {found.intervals[source][1]:.0%})"
        for source, share in found.shares.items()
    )
    return (
        f"On {where}, over {found.pairs} pairs of {len(found.trunks)} trunks and {len(found.priors)} priors, the "
        f"variance of log FD is that of {', '.join(told)}."
    )


def leading(groups: Sequence[Leading]) -> list[str]:
    """Return the meaning of bold and ?, if there are any."""
    tested = [group for group in groups if group.best]
    if not tested:
        return [NOT_BOLD]
    scales = "on the logarithm" if tested[0].scale.logarithmic else "of the scores as they are"
    undecided = any(place is Place.OPEN for group in tested for place in group.places.values())
    return [BOLD.format(scales=scales), *([OPEN] if undecided else [])]


def resolution(where: str, group: Leading, draws: float) -> str:
    """Return the spread over seeds and draws, and the differences that the seeds can detect."""
    rows, gap = len(group.contenders), group.scale.gap
    if group.spread == 0:
        return f"Resolution on {where}: the seeds of each row agree to the last digit, so that any difference counts."
    among = f"the {rows} rows near the best" if rows > 1 else "the best row"
    inner = "unknown, with one draw a trial" if math.isnan(draws) else gap(draws)
    ratio = "" if math.isnan(draws) else f", {draws / group.spread:.2g} times that"
    seen = f"with {group.seeds} seeds, differences to the best above {gap(group.detectable)} can be seen (80% power)"
    return f"Resolution on {where}: spread over seeds {gap(group.spread)} ({among}), over draws {inner}{ratio}; {seen}."


def overall(strata: Sequence[str], left_out: Sequence[str], *, any_: bool) -> list[str]:
    """Return how distances are normalised, or why they are not."""
    if not any_:
        return [
            "Nothing is averaged over datasets: that needs two datasets on which rows and the floor were scored; here: "
            f"{', '.join(strata) or 'none'}."
        ]
    return [
        f"Geometric mean over {', '.join(strata)}, each with the same weight however many trials it has, of a row's "
        "Fréchet distance over that of training images (the floor).",
        "95% intervals: bootstrap over seeds within each of these; a row with one seed there has the typical spread of "
        "the others, and there are none where no row has two.",
        *([f"Left out, because not in all of these: {', '.join(left_out)}."] if left_out else []),
    ]


AGREEMENT = (
    "Spearman's rank correlation of the rows' mean Fréchet distances under two protocols: 1 where both networks put "
    "the rows into the same order, 0 where their orders have nothing in common; none with fewer than three rows. Rows "
    "marked † under one of the two are left out."
)


def scores(units: Mapping[str, str]) -> str:
    """Return the meaning of the numbers in the table `scores`, with their units."""
    said = "; ".join(f"{name} in {unit}" for name, unit in units.items() if unit != "1")
    return (
        "Mean ± sample standard deviation over seeds, number of trials in brackets. ↓ lower is better, ↑ higher is "
        "better; an empty cell does not apply." + (f" Units: {said}." if said else "")
    )


CLAIMS = (
    f"supported: every comparison that the claim needs is significant in its direction, each at {ALPHA:.0%}, with two "
    "trials or more on each side (a trend over all its trials), not corrected across claims. contradicted: one is "
    f"significant the other way, or an equality is refuted, at {ALPHA:.0%} over all comparisons of the claim "
    "(Bonferroni). inconclusive: neither; then with the smallest difference that could have been found, and the seeds "
    "a row that the one seen would need (80% power). not tested: a comparison lacks its trials. Distances and times "
    "are compared by their logarithms, with moderated variances (docs/statistics.md). Trials that diverged, failed or "
    "collapsed do not count. FID stands for the Fréchet distance of each protocol. By the paper's numbers: its own "
    "tables, with its ten trials, by the same tests."
)


def counted(verdicts: Mapping[str, int]) -> str:
    """Return the number of claims with each verdict."""
    number = sum(verdicts.values())
    told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items() if count)
    return (
        f"{number} {'claim' if number == 1 else 'claims'}: {told}, taking all tests of a claim together. The table "
        "`claims` has the numbers, and the reasons where nothing was tested."
    )
