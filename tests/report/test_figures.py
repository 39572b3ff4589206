"""Figures: drawn from artefacts, byte for byte reproducible, with missing data marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import ended, evaluation, make, put, put_artefacts

from aegen_bench import report, results
from aegen_bench.errors import UserError
from aegen_bench.report import published
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.summary import plan

PUBLISHED = Path(__file__).parents[2] / "baselines" / "published.yaml"
A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def lay(root: Path, *records: dict[str, Any], **options: Any) -> None:
    for path in put(root, *records):
        put_artefacts(path.parent, **options)


def evidence(root: Path) -> Evidence:
    frame = results.load(root)
    return Evidence(root, frame, plan(frame, published.load(PUBLISHED)))


def draw(root: Path, names: str, out: Path) -> list[str]:
    return list(report.draw(root, out, names.split(",")))


def drawn(root: Path, name: str) -> list[Any]:
    """Return the figures as matplotlib objects, whose texts can be read."""
    from aegen_bench.report.figures import catalogue

    return [figure for _, figure in catalogue()[name].draw(evidence(root))]


def texts(figure: Any) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_every_figure_is_found_by_name_and_the_papers_come_first() -> None:
    from aegen_bench.report.figures import catalogue

    assert list(catalogue())[:7] == ["2", "3", "4", "5", "6", "7", "8"]


@pytest.mark.slow
def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    lay(tmp_path / "results", make(), ended("diverged", row="vae"))
    for out in ("one", "two"):
        assert draw(tmp_path / "results", "5,seeds", tmp_path / out) == [
            "figure 5, profile lite: 2 files",
            "figure seeds, profile lite: 2 files",
        ]
    names = sorted(path.name for path in (tmp_path / "one/lite").iterdir())
    assert names == ["figure-seeds-fashion.pdf", "figure-seeds-fashion.png", "figure5.pdf", "figure5.png"]
    for name in names:
        assert (tmp_path / "one/lite" / name).read_bytes() == (tmp_path / "two/lite" / name).read_bytes(), name


def test_figures_can_be_limited_to_some_rows_and_datasets(tmp_path: Path) -> None:
    lay(tmp_path, make(), make(row="vae"), make(dataset="mnist"))
    only = report.Only({"vae": ["vae"]}, ["fashion"])
    five, prd = report.draw(tmp_path, tmp_path / "out", ["5", "prd"], only=only)
    assert "nothing to draw: no trial of glf" in five and prd == "figure prd, profile lite: 2 files"
    assert sorted(path.name for path in (tmp_path / "out/lite").iterdir()) == [
        "figure-prd-fashion.pdf",
        "figure-prd-fashion.png",
    ]


def test_nothing_to_draw_gives_a_line_and_no_file(tmp_path: Path) -> None:
    lay(tmp_path / "results", make(row="vae"))
    lines = draw(tmp_path / "results", "2,3,7", tmp_path / "out")
    assert len(lines) == 3 and all("nothing to draw: no trial of" in line for line in lines)
    assert (
        "--models figure3`" in lines[1] and "`aegen-bench run --profile" in lines[1] and not (tmp_path / "out").exists()
    )
    with pytest.raises(UserError, match="unknown figure '9'"):
        draw(tmp_path / "results", "9", tmp_path / "out")


def test_missing_diverged_failed_and_collapsed_trials_look_different(tmp_path: Path) -> None:
    lay(tmp_path, make(), make(dataset="mnist", collapsed=True), make(row="vae", dataset="digits"))
    put(tmp_path, ended("diverged", dataset="cifar10"), ended("failed", dataset="celeba"))
    [figure] = drawn(tmp_path, "2")
    said = texts(figure)
    assert all(word in said for word in ("MNIST\ncollapsed", "diverged", "failed", "no trial"))
    hatches = {axes.patch.get_hatch() for axes in figure.axes}
    assert len(hatches) == 3  # none, diverged, failed


def test_the_first_successful_seed_is_shown_and_those_before_it_are_mentioned(tmp_path: Path) -> None:
    put(tmp_path, ended("diverged", seed=0))
    lay(tmp_path, make(seed=1), make(seed=2))
    assert "seed 0 diverged; seed 1" in texts(drawn(tmp_path, "5")[0])


def test_a_sweep_shows_where_a_run_diverged_and_which_are_missing(tmp_path: Path) -> None:
    lay(tmp_path, make(row="curve_flow_prior_beta10"), make(row="curve_glf"), probes=True)
    lay(tmp_path, ended("diverged", row="curve_flow_prior_beta50"), epochs=2, probes=True)
    [figure] = drawn(tmp_path, "3")
    fd, entropy, nll = figure.axes
    crosses = [line for axes in (fd, entropy, nll) for line in axes.lines if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == [2, 2, 2]
    assert sum(line.get_linestyle() == "--" for line in nll.lines) == 3  # curves of held-out images, beside training
    [whole] = entropy.child_axes  # the left axis shows the paper's half of the sum, the right axis the sum
    figure.draw_without_rendering()
    assert whole.get_ylim() == pytest.approx([2 * y for y in entropy.get_ylim()])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {r"$\beta$ = 10", r"$\beta$ = 50: diverged", r"$\beta$ = 100: no trial", "GLF"} <= set(legend)


def test_prd_is_a_line_per_row_at_the_mean_over_trials_and_a_band_of_their_range(tmp_path: Path) -> None:
    for seed, share in enumerate((1.0, 0.5)):
        lay(tmp_path, make(seed=seed))
        path = tmp_path / f"lite/fashion/glf/seed-{seed}/artefacts.npz"
        angles = np.linspace(0, np.pi / 2, 1001)
        np.savez(path, prd=(share * np.stack([np.sin(angles), np.cos(angles)])).astype(np.float32))
    [figure] = drawn(tmp_path, "prd")
    [line], [band] = figure.axes[0].lines, figure.axes[0].patches
    assert np.hypot(*line.get_xydata().T) == pytest.approx(0.75) and line.get_label() == "GLF (2)"
    far = np.hypot(*band.get_xy().T)
    assert (far.min(), far.max()) == (pytest.approx(0.5), pytest.approx(1.0))


def test_a_wild_first_epoch_of_a_sweep_does_not_stretch_the_axis(tmp_path: Path) -> None:
    lay(tmp_path, make(row="curve_flow_prior_beta10"), epochs=20)
    path = tmp_path / "lite/fashion/curve_flow_prior_beta10/seed-0/history.json"
    history = json.loads(path.read_text())
    for number, row in enumerate(history["epochs"]):
        row["terms"]["model"]["nll"] = 1e12 if number == 0 else 100.0 - number
        row["logs"]["entropy_paper"] = float(number)
    path.write_text(json.dumps(history))
    [figure] = drawn(tmp_path, "3")
    _, entropy, nll = figure.axes
    assert nll.get_ylim() == pytest.approx((81 - 0.05 * 18, 99 + 0.05 * 18))
    assert "up to 1e+12" in texts(figure)
    assert entropy.get_ylim()[0] < 0 < 19 < entropy.get_ylim()[1]


@pytest.mark.slow
def test_an_unreadable_file_is_reported_and_the_rest_is_drawn(tmp_path: Path) -> None:
    for row in ("glf", "curve_glf", "curve_flow_prior_beta10"):
        lay(tmp_path, make(row=row), make(row=row, dataset="mnist"))
    (tmp_path / "lite/mnist/glf/seed-0/artefacts.npz").write_bytes(b"PK no zip")
    (tmp_path / "lite/mnist/curve_glf/seed-0/history.json").write_text("{")
    lines = draw(tmp_path, "2,3", tmp_path / "out")
    assert lines[:2] == ["figure 2, profile lite: 2 files", "figure 3, profile lite: 4 files"]
    assert [line.partition(": ")[0] for line in lines[2:]] == ["skipped", "skipped"]


def test_a_sweep_of_final_distances_has_a_point_per_seed_and_says_what_diverged(tmp_path: Path) -> None:
    for seed, fd in enumerate((10.0, 14.0)):
        put(tmp_path, make(row="curve_rae_gmm_gamma0.5", seed=seed, metrics={A: evaluation([{"fd": fd}])}))
    put(tmp_path, make(row="curve_rae_gmm_gamma2", metrics={A: evaluation([{"fd": 20.0}])}))
    put(tmp_path, ended("diverged", row="curve_rae_gmm_gamma1"))
    [figure] = drawn(tmp_path, "rae_gamma")
    mean, *points = figure.axes[0].lines
    assert [tuple(p) for p in mean.get_xydata()] == [(0.5, 12.0), (2.0, 20.0)]
    assert [list(line.get_ydata()) for line in points] == [[10.0, 14.0], [], [20.0]]
    assert "diverged" in texts(figure)


def test_a_sweep_of_any_row_is_drawn_against_its_values(tmp_path: Path) -> None:
    for value in ("0", "1e-3", "0.5"):
        put(tmp_path, make(row=f"mine_weight{value}", metrics={A: evaluation([{"fd": 10.0 + float(value)}])}))
    put(tmp_path, make(row="mine_other1"), make(row="curve_vae_beta.."), make(row="glf"))
    [figure] = drawn(tmp_path, "sweeps")
    [axes] = figure.axes
    assert [tuple(p) for p in axes.lines[0].get_xydata()] == [(0.0, 10.0), (0.001, 10.001), (0.5, 10.5)]
    assert axes.get_xlabel() == "weight" and "Fashion, profile lite, protocol lite" in texts(figure).replace("\n", " ")
    assert drawn(tmp_path, "vae_beta") == []  # curve_vae_beta.. has the name of such a row but no value


def test_rows_without_images_have_no_panel_and_long_names_are_wrapped(tmp_path: Path) -> None:
    lay(tmp_path, make(), make(row="a_row_with_a_very_long_name and more words " * 3))
    put(tmp_path, make(row="vae"))
    [figure] = drawn(tmp_path, "samples")
    figure.draw_without_rendering()
    titles = [axes.title for axes in figure.axes]
    assert len(titles) == 2 and "Without samples: VAE" in texts(figure) and "no images" not in texts(figure)
    boxes = [title.get_window_extent() for title in titles]
    assert boxes[0].x1 <= boxes[1].x0, "titles must not overlap"


def test_external_images_have_no_figures(tmp_path: Path) -> None:
    put(tmp_path, make(profile="external"))
    with pytest.raises(UserError, match="figures are drawn of trials"):
        draw(tmp_path, "2", tmp_path / "out")


@pytest.mark.slow
def test_the_matrix_is_a_heat_map_with_numbers_and_leading_priors(tmp_path: Path) -> None:
    for trunk in ("rae", "vae"):
        put(tmp_path, make(row=trunk))
        for prior, level in (("gmm", 10.0), ("flow", 2000.0)):
            config = make()["config"] | {"trunk": {"row": trunk}, "prior": prior}
            for seed in (0, 1):
                scored = {A: evaluation([{"fd": level + seed}])}
                put(tmp_path, make(row=f"{trunk}+{prior}", seed=seed, metrics=scored, config=config))
    [figure] = drawn(tmp_path, "matrix")
    [axes] = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["reconstruction", "GMM", "flow"]
    assert {"10.5", "2,000", "missing"} <= set(texts(figure).split("\n"))
    assert [patch.get_x() for patch in axes.patches] == [pytest.approx(0.56)] * 2, "GMM leads on both trunks"
