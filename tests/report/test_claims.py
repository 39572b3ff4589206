"""Claims: the paper's own numbers support them, and each predicate can be supported, contradicted or not tested."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from records import INCEPTION, ended, evaluation, make, put, put_artefacts, timing
from scipy import stats

from aegen_bench import report, results
from aegen_bench.errors import UserError
from aegen_bench.report import claims, published
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.published import Published
from aegen_bench.report.summary import plan
from aegen_bench.results import timings

PUBLISHED = Path(__file__).parents[2] / "baselines" / "published.yaml"
PAPER = published.load(PUBLISHED)
A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
GOOD, BAD, OPEN, NONE = "supported", "contradicted", "inconclusive", "not tested"


def seeds(mean: float, std: float = 0.0, n: int = 10) -> list[float]:
    """Return n numbers with exactly this mean and sample standard deviation."""
    spread = np.linspace(-1, 1, n)
    return list(mean + std * spread / spread.std(ddof=1))


def lay(root: Path, row: str, values: Sequence[float], metric: str = "fd", **fields: Any) -> None:
    """Write one trial per value, scored under `protocol`; other keywords replace fields of the records."""
    protocol = fields.pop("protocol", None) or evaluation([])["settings"]["protocol"]
    for seed, value in enumerate(values):
        put(root, make(row=row, seed=seed, metrics={A: evaluation([{metric: value}], protocol)}, **fields))


def evidence(root: Path, *own: dict[str, Any], protocol: str | None = None) -> Evidence:
    frame = results.load(root)
    numbers = Published(PAPER.path, {**PAPER.content, "claims": list(own)}) if own else PAPER
    return Evidence(root, frame, plan(frame, numbers), protocol=protocol)


def found(root: Path, predicate: dict[str, Any], measure: str = "distance", **fields: Any) -> claims.Finding:
    """Return the finding on a single claim, about Fashion, with this predicate."""
    about = {"name": "it", "says": "So it is", "section": "1", "measure": measure, "datasets": ["fashion"]}
    [finding] = claims.evaluate(evidence(root, about | fields | predicate))
    return finding


# ---- the paper's claims ------------------------------------------------------------------------------


# By claim: the datasets on which the paper's own tables do not support what it says, by the same tests with its ten
# trials.
NOT_SHOWN = {
    "rae_gmm_closest": {"mnist": OPEN, "celeba": BAD},
    "flow_prior_no_gain": {"fashion": BAD, "cifar10": BAD, "celeba": BAD},
    "flow_posterior_no_gain": {"mnist": BAD, "fashion": BAD, "celeba": BAD},
    "glf_beats_flow_prior": {"celeba": BAD},
    "recall_best": {"mnist": BAD, "fashion": BAD},
    "recall_perceptual": {"cifar10": BAD},
    "gans_glf": {"cifar10": BAD},
}


def test_the_papers_own_tables_go_through_the_same_tests(tmp_path: Path) -> None:
    """The numbers of Tables 1 and 3 to 6 support every claim about them, except where NOT_SHOWN says otherwise."""
    put(tmp_path, make(profile="paper"))
    tested: dict[str, list[str]] = {}
    for finding in claims.evaluate(evidence(tmp_path)):
        if finding.paper != NONE:
            assert finding.paper == NOT_SHOWN.get(finding.claim.name, {}).get(finding.dataset, GOOD), finding
            tested.setdefault(finding.claim.name, []).append(finding.dataset)
    assert set(tested) == {
        *("glf_lowest", "better_than_vae", "rae_gmm_closest", "flow_prior_no_gain", "flow_posterior_no_gain"),
        *("glf_beats_flow_prior", "perceptual_better", "glf_below_glann", "recall_best", "precision_best"),
        *("recall_perceptual", "precision_perceptual", "gans_glf", "gans_perceptual"),
        *("perceptual_slower", "less_training_time"),
    }
    assert all(list(dict.fromkeys(datasets)) == PAPER.datasets for datasets in tested.values())


def test_ten_trials_like_the_papers_get_the_verdicts_of_its_tables(tmp_path: Path) -> None:
    """With Table 1 as ten trials per row, the verdicts on the trials are those on the printed means and deviations."""
    for dataset in PAPER.datasets:
        for row in PAPER.rows(1):
            fid = PAPER.value(1, row, dataset)
            for seed, value in enumerate(seeds(fid["mean"], fid["std"])):
                metrics = {B: evaluation([{"fid": value}], INCEPTION)}
                put(tmp_path, make(profile="paper", dataset=dataset, row=row, seed=seed, metrics=metrics))
    known = [f for f in claims.evaluate(evidence(tmp_path)) if f.claim.measure == "distance" and f.verdict != NONE]
    assert len(known) > 30
    assert [f for f in known if f.verdict != f.paper] == []


def test_every_claim_names_rows_datasets_and_protocols_that_exist(tmp_path: Path) -> None:
    from aegen_bench.study import Study

    study = Study("paper", local=tmp_path, data=tmp_path)
    known = claims.load(PAPER)
    assert len(known) > 25
    for claim in known:
        rows = {row.partition("@")[0] for row in claim.predicate.named()}
        assert rows <= set(study.rows), claim.name
        assert set(claim.datasets) <= set(study.datasets), claim.name
        assert claim.protocol in ("", *study.protocols), claim.name


# ---- predicates: supported, contradicted and not tested ----------------------------------------------

FAR_APART, CLOSE = seeds(100, 2, 3), seeds(101, 2, 3)


@pytest.mark.parametrize(
    ("predicate", "glf", "vae", "verdict"),
    [
        ({"lower": {"rows": ["glf"], "than": ["vae"]}}, seeds(80, 2, 3), FAR_APART, GOOD),
        ({"lower": {"rows": ["glf"], "than": ["vae"]}}, CLOSE, FAR_APART, OPEN),
        ({"lower": {"rows": ["glf"], "than": ["vae"]}}, seeds(120, 2, 3), FAR_APART, BAD),
        ({"lower": {"rows": ["glf"], "than": ["vae"]}}, [80.0], FAR_APART, NONE),
        ({"lower": {"rows": ["glf"], "than": ["vae"], "factor": 0.9}}, seeds(84, 2, 3), FAR_APART, GOOD),
        ({"lower": {"rows": ["glf"], "than": ["vae"], "factor": 0.9}}, seeds(91, 2, 3), FAR_APART, OPEN),
        ({"lower": {"rows": ["glf"], "than": ["vae"], "factor": 0.9}}, seeds(99, 1, 3), FAR_APART, BAD),
        ({"higher": {"rows": ["glf"], "than": ["vae"]}}, seeds(120, 2, 3), FAR_APART, GOOD),
        ({"higher": {"rows": ["glf"], "than": ["vae"]}}, CLOSE, FAR_APART, OPEN),
        ({"higher": {"rows": ["glf"], "than": ["vae"]}}, seeds(80, 2, 3), FAR_APART, BAD),
        ({"within": {"rows": ["glf"], "than": ["vae"], "margin": 0.1, "because": "so"}}, CLOSE, FAR_APART, GOOD),
        (
            {"within": {"rows": ["glf"], "than": ["vae"], "margin": 0.1, "because": "so"}},
            seeds(120, 1, 3),
            FAR_APART,
            BAD,
        ),
        (
            {"within": {"rows": ["glf"], "than": ["vae"], "margin": 0.1, "because": "so"}},
            seeds(80, 1, 3),
            FAR_APART,
            BAD,
        ),
        (
            {"within": {"rows": ["glf"], "than": ["vae"], "margin": 0.1, "because": "so"}},
            seeds(101, 20, 3),
            FAR_APART,
            OPEN,
        ),
        (
            {"within": {"rows": ["glf"], "than": ["vae"], "margin": 0.5, "because": "so"}},
            seeds(80, 1, 3),
            FAR_APART,
            BAD,
        ),
        ({"within": {"rows": ["glf"], "than": ["vae"], "margin": 0.1, "because": "so"}}, [101.0], FAR_APART, NONE),
        ({"no_gain": {"rows": ["glf"], "than": ["vae"], "margin": 0.1, "because": "so"}}, CLOSE, FAR_APART, GOOD),
        (
            {"no_gain": {"rows": ["glf"], "than": ["vae"], "margin": 0.1, "because": "so"}},
            seeds(150, 2, 3),
            FAR_APART,
            GOOD,
        ),
        (
            {"no_gain": {"rows": ["glf"], "than": ["vae"], "margin": 0.1, "because": "so"}},
            seeds(95, 5, 3),
            FAR_APART,
            OPEN,
        ),
        (
            {"no_gain": {"rows": ["glf"], "than": ["vae"], "margin": 0.5, "because": "so"}},
            seeds(90, 1, 3),
            FAR_APART,
            BAD,
        ),
        ({"no_gain": {"rows": ["glf"], "than": ["vae"], "margin": 0.1, "because": "so"}}, [101.0], FAR_APART, NONE),
        ({"between": {"rows": ["glf"], "low": 90, "high": 110}}, CLOSE, FAR_APART, GOOD),
        ({"between": {"rows": ["glf"], "high": 90}}, CLOSE, FAR_APART, BAD),
        ({"between": {"rows": ["glf"], "high": 102}}, CLOSE, FAR_APART, OPEN),
        ({"between": {"rows": ["glf"], "low": 90}}, [101.0], FAR_APART, NONE),
    ],
)
def test_orders_and_bounds(
    tmp_path: Path, predicate: dict[str, Any], glf: list[float], vae: list[float], verdict: str
) -> None:
    lay(tmp_path, "glf", glf)
    lay(tmp_path, "vae", vae)
    assert found(tmp_path, predicate).verdict == verdict


@pytest.mark.parametrize(
    ("z", "verdict"),
    [([-20.0, -22.0, -21.0], BAD), ([0.1, -0.2, 0.3], GOOD), ([60.0, 62.0, 61.0], NONE), ([0.1], NONE)],
    ids=["a copier", "as far as test images", "a blurry decoder", "one trial"],
)
def test_no_copies_is_failed_by_a_copier_and_not_passed_by_a_poor_decoder(
    tmp_path: Path, z: list[float], verdict: str
) -> None:
    lay(tmp_path, "glf", z, "copying_z")
    [finding] = [
        f for f in claims.evaluate(evidence(tmp_path)) if (f.claim.name, f.dataset) == ("no_copies", "fashion")
    ]
    assert finding.verdict == verdict


def test_a_finding_shows_its_test_our_numbers_and_what_would_settle_it(tmp_path: Path) -> None:
    """By hand: a test on logarithms, with one variance for both rows, since theirs differ no more than by chance. The
    degrees of freedom are about the rows' own 2 + 1, since two seeds may borrow hardly any.
    """
    a, b = [100.0, 104.0, 99.0], [103.0, 109.0]
    lay(tmp_path, "glf", a)
    lay(tmp_path, "vae", b)
    finding = found(tmp_path, {"lower": {"rows": ["glf"], "than": ["vae"]}})
    p = stats.ttest_ind(np.log(a), np.log(b), alternative="less").pvalue
    said = re.fullmatch(
        r"one-sided t-test: p = ([\d.]+) \(against VAE; a difference of [\d.]+% would have been detected; "
        r"detecting the observed one takes (\d+) seeds\)",
        finding.test,
    )
    assert said and float(said[1]) == pytest.approx(p, abs=0.02) and 3 <= int(said[2]) <= 10
    assert finding.numbers == "GLF 101 ± 3 (3); VAE 106 ± 4 (2)"
    assert (finding.verdict, finding.place) == (OPEN, "lite")


def test_a_verdict_does_not_need_other_rows_but_may_gain_from_them(tmp_path: Path) -> None:
    lay(tmp_path, "glf", seeds(95, 3, 3))
    lay(tmp_path, "vae", seeds(100, 3, 3))
    claim = {"lower": {"rows": ["glf"], "than": ["vae"]}}
    assert found(tmp_path, claim).verdict == OPEN
    for row in ("aae", "rae_gmm", "wae_gan", "wae_mmd"):
        lay(tmp_path, row, seeds(200, 4, 3))
    assert found(tmp_path, claim).verdict == GOOD
    lay(tmp_path, "glann_perceptual", seeds(200, 90, 3))  # a wild row, which widens no other row's spread
    assert found(tmp_path, claim).verdict == GOOD


def test_one_of_many_comparisons_must_be_sure_to_contradict_a_claim(tmp_path: Path) -> None:
    """A p-value of 0.03 in the opposite direction contradicts a claim of one comparison, but not a claim of six: by
    chance, one of six is that small in every sixth table.
    """
    others = ["vae", "wae_gan", "two_stage_vae", "vae_flow_prior", "vae_flow_posterior"]
    lay(tmp_path, "glf", seeds(104.5, 2.5, 3))
    lay(tmp_path, "rae_gmm", seeds(100, 2.5, 3))
    alone = found(tmp_path, {"lower": {"rows": ["glf"], "than": ["rae_gmm"]}})
    for row in others:
        lay(tmp_path, row, seeds(200, 5, 3))
    six = found(tmp_path, {"lower": {"rows": ["glf"], "than": ["rae_gmm", *others]}})
    assert (alone.verdict, six.verdict) == (BAD, OPEN)


def test_one_failing_comparison_contradicts_a_claim_and_an_untested_one_leaves_it_open(tmp_path: Path) -> None:
    lay(tmp_path, "glf", seeds(80, 2, 3))
    lay(tmp_path, "vae", FAR_APART)
    lay(tmp_path, "wae_gan", [70.0])
    claim = {"lower": {"rows": ["glf"], "than": ["vae", "wae_gan", "rae_gmm"]}}
    open_ = found(tmp_path, claim)
    assert open_.verdict == NONE
    assert open_.test == "only one trial, at odds with the claim (WAE-GAN); no trial (RAE+GMM)"
    lay(tmp_path, "vae", seeds(60, 2, 3))
    assert found(tmp_path, claim).verdict == BAD
    lay(tmp_path, "vae", seeds(80, 2, 3))
    assert found(tmp_path, claim).verdict == OPEN


def test_closest_means_the_smallest_difference_from_a_row(tmp_path: Path) -> None:
    lay(tmp_path, "glf", seeds(100, 1, 3))
    lay(tmp_path, "rae_gmm", seeds(95, 1, 3))
    lay(tmp_path, "vae", seeds(80, 1, 3))  # the lowest row, but not the closest one
    closest = {"lower": {"rows": ["rae_gmm"], "than": ["vae"], "to": "glf"}}
    assert found(tmp_path, closest).verdict == GOOD
    lay(tmp_path, "rae_gmm", seeds(130, 1, 3))
    assert found(tmp_path, closest).verdict == BAD


SWEEP = [f"curve_vae_beta{beta}" for beta in (1, 10, 50, 100)]


@pytest.mark.parametrize(
    ("values", "falls", "rises"),
    [
        ([[90], [70], [40], [20]], GOOD, BAD),
        ([[20], [40], [70], [90]], BAD, GOOD),
        ([[90], [70], [75], [20]], OPEN, OPEN),  # with four trials, a trend allows no exception
        ([[90, 91], [70, 95], [60, 62], [20, 25]], GOOD, BAD),
        ([[90], [70], [40], []], NONE, NONE),
    ],
)
def test_trends(tmp_path: Path, values: list[list[float]], falls: str, rises: str) -> None:
    for row, numbers in zip(SWEEP, values, strict=True):
        lay(tmp_path, row, numbers)
    assert found(tmp_path, {"falls": {"rows": SWEEP}}).verdict == falls
    assert found(tmp_path, {"rises": {"rows": SWEEP}}).verdict == rises


def test_three_trials_are_too_few_for_a_trend(tmp_path: Path) -> None:
    for row, value in zip(SWEEP, (90.0, 70.0, 40.0), strict=False):
        lay(tmp_path, row, [value])
    finding = found(tmp_path, {"falls": {"rows": SWEEP[:3]}})
    assert (finding.verdict, finding.test) == (NONE, "too few trials to test a trend: tau -1.00 over 3 trials")


def test_a_gap_closes_if_the_difference_from_a_row_falls(tmp_path: Path) -> None:
    for row, value in zip(SWEEP, (20.0, 70.0, 110.0, 99.0), strict=True):
        lay(tmp_path, row, [value])
    lay(tmp_path, "glf", [100.0])
    assert found(tmp_path, {"falls": {"rows": SWEEP, "to": "glf"}}).verdict == GOOD
    assert found(tmp_path, {"falls": {"rows": SWEEP}}).verdict == OPEN


@pytest.mark.parametrize(
    ("ends", "states", "verdict"),
    [
        (["diverged", "diverged"], ["diverged", "collapsed"], GOOD),
        (["diverged", "collapsed"], ["diverged", "collapsed"], GOOD),
        (["diverged", "ok"], ["diverged"], BAD),
        (["ok", "ok"], ["ok"], GOOD),
        (["diverged"], ["diverged"], NONE),
        (["failed", "diverged"], ["diverged"], NONE),  # a trial that failed says nothing about the method
    ],
)
def test_how_trials_end(tmp_path: Path, ends: list[str], states: list[str], verdict: str) -> None:
    for seed, state in enumerate(ends):
        good = state in ("ok", "collapsed")
        put(tmp_path, make(seed=seed, collapsed=state == "collapsed") if good else ended(state, seed=seed))
    finding = found(tmp_path, {"ends": {"rows": ["glf"], "states": states}}, "states")
    assert finding.verdict == verdict
    assert all(state in finding.numbers for state in ends)


def test_cited_numbers_are_compared_only_under_the_papers_profile_and_fid(tmp_path: Path) -> None:
    below = {"lower_than_cited": {"rows": ["glf"], "table": 4, "cited": ["wgan", "began", "dragan"], "pick": "median"}}
    for name, profile, protocol, metric in [
        ("ours", "lite", None, "fd"),
        ("paper", "paper", INCEPTION, "fid"),
        ("other", "paper", None, "fd"),
    ]:
        lay(tmp_path / name, "glf", seeds(20, 1, 3), metric, profile=profile, protocol=protocol)
    assert found(tmp_path / "paper", below).verdict == GOOD  # the cited FIDs on Fashion are 21.5, 22.9 and 27.7
    assert found(tmp_path / "paper", below).test.endswith("(below 22.9)")
    for name in ("ours", "other"):
        assert found(tmp_path / name, below).verdict == NONE
    lay(tmp_path / "paper", "glf", seeds(26, 1, 3), "fid", profile="paper", protocol=INCEPTION)
    assert found(tmp_path / "paper", below).verdict == BAD


# ---- what does not count as evidence -----------------------------------------------------------------

LOWER = {"lower": {"rows": ["glf"], "than": ["vae"]}}


def test_collapsed_and_diverged_trials_are_no_evidence(tmp_path: Path) -> None:
    lay(tmp_path, "glf", seeds(80, 2, 3))
    lay(tmp_path, "vae", [400.0, 410.0], collapsed=True)
    put(tmp_path, ended("diverged", row="vae", seed=2))
    finding = found(tmp_path, LOWER)
    assert (finding.verdict, finding.test) == (NONE, "no successful trial (VAE)")
    assert "VAE: 2 collapsed, 1 diverged" in finding.numbers


def test_rows_scored_by_the_network_that_trained_them_are_not_compared(tmp_path: Path) -> None:
    for seed, value in enumerate(seeds(80, 2, 3)):
        record = make(seed=seed, metrics={A: evaluation([{"fd": value}])})
        record["config"]["dagger"] = ["efficientnet_lite0"]
        put(tmp_path, record)
    lay(tmp_path, "vae", FAR_APART)
    assert found(tmp_path, LOWER).test == "trained with the network that scores it (†) (GLF)"


def test_two_configurations_are_not_compared(tmp_path: Path) -> None:
    lay(tmp_path, "glf", seeds(80, 2, 3))
    lay(tmp_path, "vae", FAR_APART)
    other = make(seed=3, metrics={A: evaluation([{"fd": 80.0}])})
    other["config"]["with"] = {"beta": 50.0}
    put(tmp_path, other)
    assert found(tmp_path, LOWER).test == "trials with different configurations (GLF)"


def test_a_failed_trial_does_not_count_as_another_configuration(tmp_path: Path) -> None:
    lay(tmp_path, "glf", seeds(80, 2, 3))
    lay(tmp_path, "vae", FAR_APART)
    failed = ended("failed", seed=3)
    del failed["config"]["d"]
    put(tmp_path, failed)
    assert found(tmp_path, LOWER).verdict == GOOD


def test_times_are_compared_separately_for_each_device(tmp_path: Path) -> None:
    put(tmp_path, make(), make(row="vae"))
    for row, device, seconds in (
        ("glf", "EPYC", (90.0, 91.0)),
        ("glf", "H200", (3.0, 3.1)),
        ("vae", "EPYC", (80.0, 81.0)),
        ("vae", "H200", (6.0, 6.1)),
        ("vae", "old", (900.0,)),
    ):
        timings.write(tmp_path, timing(row, *seconds, device=device))
    about = {"name": "it", "says": "So it is", "section": "1", "datasets": ["fashion"], **LOWER}
    findings = claims.evaluate(evidence(tmp_path, about | {"measure": "seconds_per_epoch"}))
    assert {f.place.split(",")[0]: (f.verdict, f.numbers) for f in findings} == {
        "EPYC": (BAD, "GLF 90.5 ± 0.7 (2); VAE 80.5 ± 0.7 (2)"),
        "H200": (GOOD, "GLF 3.05 ± 0.07 (2); VAE 6.05 ± 0.07 (2)"),
        "old": (NONE, "VAE 900 (1)"),
    }


def test_claims_about_time_ignore_the_seconds_of_trials(tmp_path: Path) -> None:
    for seed in range(3):
        put(tmp_path, make(seed=seed, seconds={"train": 1.0 + seed}), make(row="vae", seed=seed))
    told = found(tmp_path, LOWER, "train_seconds")
    assert told.verdict == NONE and told.test.startswith("not timed: `aegen-bench time --profile lite --models glf")


def test_each_protocol_has_its_own_verdict_and_a_claim_may_name_one(tmp_path: Path) -> None:
    lay(tmp_path, "vae", FAR_APART)
    for seed in range(3):
        both = {A: evaluation([{"fd": 80.0 + seed}]), B: evaluation([{"fid": 5.0 + seed}], INCEPTION)}
        put(tmp_path, make(seed=seed, metrics=both))
    about = {"name": "it", "says": "So it is", "section": "1", "measure": "distance", "datasets": ["fashion"]}
    everywhere = list(claims.evaluate(evidence(tmp_path, about | LOWER)))
    assert [(f.place, f.verdict, f.test) for f in everywhere[1:]] == [("paper", NONE, "not measured (VAE)")]
    assert [f.verdict for f in everywhere] == [GOOD, NONE]
    assert [f.verdict for f in claims.evaluate(evidence(tmp_path, about | LOWER, protocol=A))] == [GOOD]
    assert found(tmp_path, LOWER, protocol="paper").test == "not measured (VAE)"
    assert found(tmp_path, LOWER, protocol="stretch").test == "no scores under protocol stretch"


# ---- numbers of a trial ------------------------------------------------------------------------------


def history(root: Path, row: str, seed: int, distances: Sequence[float], nll: float, held_out: float) -> None:
    def terms(value: float) -> dict[str, Any]:
        return {"terms": {"model": {"nll": value}}, "logs": {"posterior_variance": 1e-4}}

    epochs = [
        {"stage": "train", "epoch": i, "images": i, "seconds": 10.0 * i, **terms(nll)}
        for i in range(1, len(distances) + 1)
    ]
    probes = [
        {
            **{name: e[name] for name in ("stage", "epoch", "images", "seconds")},
            **{"metrics": {"fd": fd}, "probe_train": terms(nll), "probe_test": terms(held_out)},
        }
        for e, fd in zip(epochs, distances, strict=True)
    ]
    path = root / "lite" / "fashion" / row / f"seed-{seed}" / "history.json"
    path.write_text(json.dumps({"epochs": epochs, "probes": probes}))


def test_measures_taken_from_histories(tmp_path: Path) -> None:
    steady = [90, 80, 72, 65, 58, 52, 47, 46]
    wild = [90, 60, 95, 50, 99, 45, 80, 47]
    for row, curve, nll in (("glf", steady, 40.0), ("glf_regularized", wild, -30.0)):
        lay(tmp_path, row, [1.0, 2.0, 3.0])
        for seed in range(3):
            history(
                tmp_path, row, seed, [value + seed for value in curve], nll, nll + (1 if row == "glf" else 60) + seed
            )
    than = {"rows": ["glf_regularized"], "than": ["glf"]}
    assert found(tmp_path, {"higher": than}, "fluctuation").verdict == GOOD
    assert found(tmp_path, {"higher": than}, "nll_gap").verdict == GOOD
    assert found(tmp_path, {"between": {"rows": ["glf_regularized"], "high": 0}}, "nll").verdict == GOOD
    assert found(tmp_path, {"between": {"rows": ["glf"], "high": 0}}, "nll").verdict == BAD
    bounds = {"between": {"rows": ["glf"], "low": 3.3e-5, "high": 3e-4}}
    assert found(tmp_path, bounds, "posterior_variance").verdict == GOOD
    for row in ("glf", "glf_regularized"):
        timings.write(tmp_path, timing(row, 9.0, 11.0))
    faster = found(tmp_path, {"lower": {"rows": ["glf"], "than": ["glf_regularized"]}}, "convergence_seconds")
    assert (faster.verdict, faster.numbers) == (GOOD, "GLF 70.0 ± 0.0 (3); GLF, regularized 80.0 ± 0.0 (3)")
    for seed in range(3):
        (tmp_path / f"lite/fashion/glf_regularized/seed-{seed}/history.json").unlink()
    unseen = found(tmp_path, {"lower": {"rows": ["glf"], "than": ["glf_regularized"]}}, "convergence_seconds")
    assert unseen.test == "not probed: `run --set rows.ROW.probe.every=1` (GLF, regularized)"
    (tmp_path / "lite/fashion/glf/seed-1/history.json").unlink()
    assert "GLF 40.0 ± 0.0 (2)" in found(tmp_path, {"between": {"rows": ["glf"], "low": 0}}, "nll").numbers


def test_claims_about_sizes_need_one_trial_and_no_test(tmp_path: Path) -> None:
    put(tmp_path, make())
    small = found(tmp_path, {"between": {"rows": ["glf"], "high": 0.03}}, "flow_share")
    assert (small.verdict, small.numbers, small.test) == (GOOD, "GLF 0.00374 (1)", "no test needed (below 0.03)")
    assert found(tmp_path, {"between": {"rows": ["glf"], "high": 0.003}}, "flow_share").verdict == BAD


# ---- how claims are written and shown ----------------------------------------------------------------

CLAIM: dict[str, Any] = {"name": "it", "says": "x", "section": "1", "measure": "f8", "datasets": ["mnist"], **LOWER}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"lower": None, "lwoer": LOWER["lower"]}, "claim it: unknown key 'lwoer': did you mean 'lower'?"),
        ({"lower": None}, "claim it: a claim has exactly one of lower, higher, within"),
        ({"higher": LOWER["lower"]}, "exactly one of"),
        ({"lower": {"rows": [], "than": ["vae"]}}, "rows"),
        ({"lower": None, "between": {"rows": ["glf"]}}, "between needs low, high or both"),
        ({"lower": None, "between": {"rows": ["glf"], "low": 0}, "measure": "distance"}, "above 0"),
        ({"lower": LOWER["lower"] | {"factor": 0}, "measure": "distance"}, "factor"),
        ({"measure": "states"}, "the measure states belongs to a claim with `ends`"),
        ({"lower": {**LOWER["lower"], "factor": 0.9}}, "compared by its logarithm: not f8"),
        ({"lower": {"rows": ["glf"]}}, "claim it: lower.than: Field required"),
        ({"lower": {"rows": ["glf"], "than": ["vae"], "shar": 1}}, "lower: unknown key 'shar'"),
        ({"section": None}, "claim it: section"),
        ({"measure": "fdd"}, "unknown measure 'fdd'"),
        ({"datasets": "mnist"}, "claim it: datasets"),
    ],
)
def test_an_invalid_claim_gives_one_clear_line(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    path = tmp_path / "published.yaml"
    own = {name: value for name, value in (CLAIM | change).items() if value is not None}
    path.write_text(yaml.safe_dump({**PAPER.content, "claims": [own]}))
    with pytest.raises(UserError) as error:
        claims.load(published.load(path))
    assert fault in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_claims_that_are_not_a_list_or_given_twice_are_reported() -> None:
    with pytest.raises(UserError, match="claims: expected a list, found dict"):
        claims.load(Published(PAPER.path, {"claims": {}}))
    with pytest.raises(UserError, match="there are two claims called it"):
        claims.load(Published(PAPER.path, {"claims": [CLAIM, CLAIM]}))
    with pytest.raises(UserError, match="claim 1: "):
        claims.load(Published(PAPER.path, {"claims": ["glf is better"]}))


def test_the_tables_of_claims_show_verdict_numbers_protocol_and_reason(tmp_path: Path) -> None:
    lay(tmp_path, "glf", seeds(80, 2, 3))
    lay(tmp_path, "vae", FAR_APART)
    own = CLAIM | {"measure": "distance", "datasets": ["mnist", "celeba", "fashion"]}
    known = evidence(tmp_path, own)
    findings = list(claims.evaluate(known))
    short, long = claims.verdicts(known, findings), claims.claims(known, findings)
    assert long.texts() == [
        ["x", "1", "Fashion", "lite", GOOD, GOOD, "GLF 80.0 ± 2.0 (3); VAE 100 ± 2 (3)",
         "one-sided t-test: p = 0.00013 (against VAE)"],
        ["", "", "MNIST, CelebA", "lite", NONE, GOOD, "", "no results on this dataset"],
    ]  # fmt: skip
    assert short.texts() == [["x", "1", "Fashion: supported, from the paper's numbers: supported"]]
    untested = evidence(tmp_path, own | {"datasets": ["mnist"]})
    assert not claims.verdicts(untested, list(claims.evaluate(untested))).lines
    assert short.notes[0].startswith("1 claim: 1 supported")
    assert any("each at 5%" in note for note in short.notes)


def test_a_report_has_claims_for_profiles_with_a_plus_and_none_for_external_images(tmp_path: Path) -> None:
    profile = "lite+train_images=5000"
    for row, value in zip([f"curve_flow_prior_beta{beta}" for beta in (10, 50, 100, 400)], (9, 8, 7, 6), strict=True):
        lay(tmp_path, row, [float(value)], dataset="cifar10", profile=profile)
        put_artefacts(tmp_path / profile / "cifar10" / row / "seed-0", probes=True)
    lay(tmp_path, "mine", [1.0], profile="external")
    text = report.make(tmp_path, ["verdicts"], profile=profile).text()
    [line] = [line for line in text.splitlines() if "the FID falls as beta rises" in line]
    assert "CIFAR-10: supported" in line
    assert "Claims" not in report.make(tmp_path, ["claims"], profile="external").text()
    names = {path.name for path in report.make(tmp_path, ["claims"], profile=profile).write(tmp_path / "out")}
    assert names == {"claims.md", "tables.md", "tables.tex"}
