"""The HTML page as it is written: a single file in which all names are escaped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from records import ended, evaluation, make, put, put_artefacts, timing

from aegen_bench import report
from aegen_bench.report.render import opened, page
from aegen_bench.results import timings

A = "aaaaaaaaaaaa"
EVIL = "<script>window.evil=1<&\"'"


def lay(root: Path) -> None:
    records = [
        make(metrics={A: evaluation([{"fd": 90.0}])}),
        make(seed=1, metrics={A: evaluation([{"fd": 94.0}])}),
        make(row="vae", metrics={A: evaluation([{"fd": 1000.5}])}, seconds={"train": 400.0}),
        make(row="mine", dataset="mnist", collapsed=True, metrics={A: evaluation([{"fd": 5.0}])}),
        ended("diverged", row=EVIL, reason="<img src=x onerror=window.evil=1>"),
    ]
    for path in put(root, *records):
        put_artefacts(path.parent)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    lay(tmp_path / "results")
    [path] = report.make(tmp_path / "results", ["1", "6", "scores"]).write(tmp_path / "out", ["html"])
    return path


def test_the_page_is_one_file_that_loads_nothing_else(written: Path) -> None:
    text = written.read_text()
    assert written.name == "report.html" and [p.name for p in written.parent.iterdir()] == ["report.html"]
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|url\(""", text)
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert "Protocol aaaaaaaaaaaa: EfficientNet-Lite0 at 224 px." in text.partition("<footer>")[2]
    assert "5 trials: AMD EPYC, 2 threads, commit unknown" in text


def test_a_cell_of_scores_opens_its_own_dataset_if_one_name_is_a_prefix_of_another(tmp_path: Path) -> None:
    put(tmp_path, make(dataset="mnist"), make(dataset="mnist10k"))
    [path] = report.make(tmp_path, ["scores"]).write(tmp_path / "out", ["html"])
    opened = {
        name: set(re.findall(r'data-dataset="(.*?)"', part)) - {""}
        for name, part in re.findall(r'id="(scores-\w+)"(.*?)(?=id="scores-|<footer>)', path.read_text(), re.S)
    }
    assert opened == {"scores-mnist": {"MNIST"}, "scores-mnist10k": {"mnist10k"}}


def test_a_cell_of_the_matrix_opens_the_trials_of_its_pair(tmp_path: Path) -> None:
    for trunk in ("rae", "vae"):
        for prior in ("gmm", "flow"):
            config = make()["config"] | {"trunk": {"row": trunk}, "prior": prior}
            [path] = put(tmp_path, make(row=f"{trunk}+{prior}", config=config))
            put_artefacts(path.parent)
    [path] = report.make(tmp_path, ["matrix"]).write(tmp_path / "out", ["html"])
    table = path.read_text().partition('id="matrix-fashion"')[2].partition("</table>")[0]
    opens = re.findall(r'data-row="(.*?)" data-dataset="Fashion"', table)
    assert {"RAE + GMM", "RAE + flow", "VAE + GMM", "VAE + flow"} <= set(opens)
    assert path.read_text().count("data:image/webp") == 5, "samples of each pair, and real images"


def test_two_tables_of_times_are_told_apart_by_device_and_timing_id(tmp_path: Path) -> None:
    put(tmp_path, make(), make(row="vae", environment={"device": "NVIDIA H200"}))
    for one in (timing("glf", 9.0), timing("vae", 1.0, device="NVIDIA H200")):
        timings.write(tmp_path, one)
    [path] = report.make(tmp_path, ["6"]).write(tmp_path / "out", ["html"])
    links = re.findall(r'<a href="#table6-timing\d"[^>]*>(?:Table 6 )?<small>(.*?)</small></a>', path.read_text())
    assert [link.partition(", timing ")[0] for link in sorted(links)] == ["EPYC, 2 threads", "NVIDIA H200"]
    of_trials = re.findall(r'"device": ?"(.*?)"', path.read_text())
    assert of_trials == ["NVIDIA H200", "AMD EPYC, 2 threads"], "the devices of vae and glf"


def test_the_chart_of_costs_takes_seconds_only_from_timing_runs(tmp_path: Path) -> None:
    """glf has a timing run, vae only the seconds of its trial; the parameters come from the trials of both."""

    def costs() -> dict[str, Any]:
        [path] = report.make(tmp_path, ["1"]).write(tmp_path / "out", ["html"])
        data = path.read_text().partition('id="data">')[2].partition("</script>")[0]
        return {cost["name"]: cost["values"] for cost in json.loads(data)["costs"]}

    put(tmp_path, make(), make(row="vae"))
    assert costs() == {"parameters": {"fashion": {"glf": [13225141], "vae": [13225141]}}}
    timings.write(tmp_path, timing("glf", 8.0, 9.0))  # two of ten epochs; codes and prior take 3 s, sampling 4 s
    assert costs() | {"parameters": None} == {
        "training, s": {"fashion": {"glf": [83, 93]}},
        "sampling, s": {"fashion": {"glf": [4]}},
        "parameters": None,
    }
    timings.write(tmp_path, timing("vae", 1.0, others=0.5))
    assert costs()["training, s"] == {"fashion": {"glf": [83, 93]}}, "a timing run beside other work does not count"
    timings.write(tmp_path, timing("vae", 1.0, device="NVIDIA H200"))
    assert [name.partition(", timing")[0] for name in costs()] == [
        "training, s (EPYC, 2 threads", "sampling, s (EPYC, 2 threads",
        "training, s (NVIDIA H200", "sampling, s (NVIDIA H200", "parameters",
    ]  # fmt: skip


def test_a_page_of_one_device_names_it_once(written: Path) -> None:
    assert not re.findall(r'"device": ?"', written.read_text())


def test_numbers_have_their_intervals_under_them_and_metrics_an_explanation(tmp_path: Path) -> None:
    """The log scale from 10 to 1000 spans 5% to 95% of the width, so 100 is in the middle. One seed has no interval."""
    for row, distances in {"vae": [1000.0], "glf": [98.0, 102.0], "aae": [10.0]}.items():
        put(tmp_path, *(make(row=row, seed=i, metrics={A: evaluation([{"fd": x}])}) for i, x in enumerate(distances)))
    put(tmp_path, make(profile="anchors", row="ceiling", metrics={A: evaluation([{"fd": 1e6}])}))
    [path] = report.make(tmp_path, ["1", "scores"], profile="lite").write(tmp_path / "out", ["html"])
    table, scores = (
        path.read_text().partition(f'id="{name}"')[2].partition("</table>")[0] for name in ("table1", "scores-fashion")
    )
    bars = re.findall(r'<i style="left:(.*?)%;width:(.*?)%"></i><b style="left:(.*?)%">', table)
    [one, (low, width, middle), other] = [tuple(map(float, bar)) for bar in bars]
    assert (one, other) == ((95.0, 0.0, 95.0), (5.0, 0.0, 5.0)) and middle == 50.0
    assert low < 50 < low + width
    assert 'title="Fréchet distance between ' in scores


def test_names_from_plugins_are_escaped(written: Path) -> None:
    text = written.read_text()
    assert "<script>window" not in text and "<img src=x" not in text
    assert "&lt;script&gt;window.evil=1&lt;&amp;" in text


def test_the_same_results_give_the_same_page(written: Path, tmp_path: Path) -> None:
    [again] = report.make(tmp_path / "results", ["1", "6", "scores"]).write(tmp_path / "again", ["html"])
    assert again.read_bytes() == written.read_bytes()


def test_grids_too_large_for_the_page_are_written_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "INLINE_BYTES", 10)
    lay(tmp_path / "results")
    paths = report.make(tmp_path / "results", ["1"]).write(tmp_path / "out", ["html"])
    data = re.search(r'id="data">(.*?)</script>', paths[0].read_text(), re.S)
    assert data
    named = [trial["grid"] for entry in json.loads(data[1])["entries"] for trial in entry["trials"]]
    beside = [one["grid"] for one in json.loads(data[1])["real"]]
    assert beside == ["report-grids/mnist-real.webp", "report-grids/fashion-real.webp"]
    assert len(named) == 5 and all(
        (paths[0].parent / unquote(name)).read_bytes()[8:12] == b"WEBP" for name in [*named, *beside]
    )


def test_claims_have_a_section_and_their_summary_is_not_repeated(tmp_path: Path) -> None:
    lay(tmp_path / "results")
    for seed in range(2):
        put(tmp_path / "results", make(row="vae", seed=seed, metrics={A: evaluation([{"fd": 1000.0 + seed}])}))
    names = ["1", "verdicts", "claims"]
    [path] = report.make(tmp_path / "results", names).write(tmp_path / "out", ["html"])
    section = path.read_text().partition('<section id="claims">')[2].partition("</section>")[0]
    assert section.count('<details class="claim"') > 25 and 'id="verdicts"' not in path.read_text()
    first = re.sub(r"<[^>]+>", "", section.partition("<details")[2].partition("</details>")[0])
    assert "GLF 92.0 ± 2.8 (2)" in first and "no trial (WAE-GAN;" in first and "not tested" in first


def test_of_very_many_trials_only_the_first_seeds_are_drawn_but_all_numbers_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "DRAWN", 8)  # for four entries, that is two seeds each
    lay(tmp_path / "results")
    put(tmp_path / "results", ended("diverged", seed=2))
    for path in put(tmp_path / "results", make(seed=3, metrics={A: evaluation([{"fd": 97.0}])})):
        put_artefacts(path.parent)
    [path] = report.make(tmp_path / "results", ["1"]).write(tmp_path / "out", ["html"])
    data = json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(), re.S)[1])  # type: ignore[index]
    [glf] = [entry for entry in data["entries"] if (entry["row"], entry["dataset"]) == ("glf", "fashion")]
    assert [one["seed"] for one in glf["trials"]] == [0, 1, 2, 3]
    assert (
        ["curves" in one for one in glf["trials"]]
        == ["grid" in one for one in glf["trials"]]
        == [True, True, False, False]
    )
    assert [one["numbers"].get(A) for one in glf["trials"]] == [[90, 0.011], [94, 0.011], None, [97, 0.011]]
    assert data["columns"][A] == ["fd", "reconstruction_mse"]
    assert glf["trials"][2]["reason"] == "loss is nan"


def test_the_chart_of_costs_reads_the_distance_wherever_it_is_among_the_numbers(tmp_path: Path) -> None:
    """The distance failed in the first trial, so that other numbers come first."""
    first = make(metrics={A: evaluation([{"f8": 0.5, "f1_8": 0.5}])})
    put(tmp_path, first, make(seed=1, metrics={A: evaluation([{"fd": 90.0, "f8": 0.5, "f1_8": 0.5}])}))
    [chapter] = report.make(tmp_path, ["1"]).chapters
    protocol, place = opened.distance(chapter.evidence)
    assert place > 0 and opened.columns(chapter.evidence)[protocol][place] == "fd"
