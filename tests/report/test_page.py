"""The page: one file, every name as text, and in a browser it sorts, filters and opens."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from records import ended, evaluation, make, put, put_artefacts

from aegen_bench import report
from aegen_bench.report.render import opened, page

PUBLISHED = Path(__file__).parents[2] / "baselines" / "published.yaml"
A = "aaaaaaaaaaaa"
EVIL = "<script>window.evil=1<&\"'"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


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
    [path] = report.write(tmp_path / "results", PUBLISHED, tmp_path / "out", ["html"], ["1", "6", "scores"])
    return path


def test_the_page_is_one_file_that_asks_for_nothing(written: Path) -> None:
    text = written.read_text()
    assert written.name == "report.html" and [p.name for p in written.parent.iterdir()] == ["report.html"]
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|url\(""", text)
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert "Protocol aaaaaaaaaaaa: EfficientNet-Lite0 at 224 px." in text.partition("<footer>")[2]
    assert "5 trials: AMD EPYC, 2 threads, commit unknown" in text


def test_a_cell_of_scores_opens_the_trials_of_its_own_dataset_where_one_name_begins_another(tmp_path: Path) -> None:
    put(tmp_path, make(dataset="mnist"), make(dataset="mnist10k"))
    [path] = report.write(tmp_path, PUBLISHED, tmp_path / "out", ["html"], ["scores"])
    opened = {
        name: set(re.findall(r'data-dataset="(.*?)"', part)) - {""}
        for name, part in re.findall(r'id="(scores-\w+)"(.*?)(?=id="scores-|<footer>)', path.read_text(), re.S)
    }
    assert opened == {"scores-mnist": {"MNIST"}, "scores-mnist10k": {"mnist10k"}}


def test_two_tables_of_times_are_told_apart_by_their_devices(tmp_path: Path) -> None:
    put(tmp_path, make(), make(row="vae", environment={"device": "NVIDIA H200"}))
    [path] = report.write(tmp_path, PUBLISHED, tmp_path / "out", ["html"], ["6"])
    links = re.findall(r'<a href="#table6-device\d">Table 6 <small>(.*?)</small></a>', path.read_text())
    assert links == ["AMD EPYC, 2 threads", "NVIDIA H200"]
    of_trials = re.findall(r'"device": ?"(.*?)"', path.read_text())
    assert of_trials == ["NVIDIA H200", "AMD EPYC, 2 threads"], "of vae and glf"


def test_a_page_of_one_device_names_it_once(written: Path) -> None:
    assert not re.findall(r'"device": ?"', written.read_text())


def test_numbers_have_their_intervals_under_them_and_metrics_an_explanation(tmp_path: Path) -> None:
    """On a log scale from 10 to 1000, 5% to 95% of the width: 100 is in the middle. One seed has no interval."""
    for row, distances in {"vae": [1000.0], "glf": [98.0, 102.0], "aae": [10.0]}.items():
        put(tmp_path, *(make(row=row, seed=i, metrics={A: evaluation([{"fd": x}])}) for i, x in enumerate(distances)))
    put(tmp_path, make(profile="anchors", row="ceiling", metrics={A: evaluation([{"fd": 1e6}])}))
    [path] = report.write(tmp_path, PUBLISHED, tmp_path / "out", ["html"], ["1", "scores"], profile="lite")
    table, scores = (
        path.read_text().partition(f'id="{name}"')[2].partition("</table>")[0] for name in ("table1", "scores-fashion")
    )
    bars = re.findall(r'<i style="left:(.*?)%;width:(.*?)%"></i><b style="left:(.*?)%">', table)
    [one, (low, width, middle), other] = [tuple(map(float, bar)) for bar in bars]
    assert (one, other) == ((95.0, 0.0, 95.0), (5.0, 0.0, 5.0)) and middle == 50.0
    assert low < 50 < low + width
    assert 'title="Fréchet distance between ' in scores


def test_names_from_plugins_are_text(written: Path) -> None:
    text = written.read_text()
    assert "<script>window" not in text and "<img src=x" not in text
    assert "&lt;script&gt;window.evil=1&lt;&amp;" in text


def test_the_same_results_give_the_same_page(written: Path, tmp_path: Path) -> None:
    [again] = report.write(tmp_path / "results", PUBLISHED, tmp_path / "again", ["html"], ["1", "6", "scores"])
    assert again.read_bytes() == written.read_bytes()


def test_grids_too_large_for_the_page_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "INLINE_BYTES", 10)
    lay(tmp_path / "results")
    paths = report.write(tmp_path / "results", PUBLISHED, tmp_path / "out", ["html"], ["1"])
    data = re.search(r'id="data">(.*?)</script>', paths[0].read_text(), re.S)
    assert data
    named = [trial["grid"] for entry in json.loads(data[1])["entries"] for trial in entry["trials"]]
    beside = [one["grid"] for one in json.loads(data[1])["real"]]
    assert beside == ["report-grids/mnist-real.webp", "report-grids/fashion-real.webp"]
    assert len(named) == 5 and all(
        (paths[0].parent / unquote(name)).read_bytes()[8:12] == b"WEBP" for name in [*named, *beside]
    )


HOOK = """
<script>
{
const say = {}, first = () => [...document.querySelectorAll("#table1 tbody tr:first-child td:first-child")];
const names = () => first().filter(td => !td.closest("tbody").hidden).map(td => td.textContent);
const sheets = () => [...document.querySelectorAll("#gallery figcaption")].map(caption => caption.innerText);
say.gallery = sheets();
const curve = [1e12, 5, 4, 3, 3, 2, 2, 2, 1, 1, 1];
say.near = near([{ points: curve.map((y, x) => [x, y]) }], curve);
document.querySelector("#gallery [data-tab=fashion]").click(); say.tab = sheets();
say.front = front("fashion", 0);
const head = document.querySelectorAll("#table1 .sort");
const fashion = [...head].find(button => button.textContent === "Fashion");
fashion.click(); say.up = names();
fashion.click(); say.down = names();
const input = document.getElementById("filter");
input.value = "nobody"; input.dispatchEvent(new Event("input"));
say.nothing = !document.getElementById("nothing").hidden;
input.value = "VAE"; input.dispatchEvent(new Event("input")); say.filtered = names();
input.value = ""; input.dispatchEvent(new Event("input"));
document.querySelector("#table1 [data-row=GLF][data-dataset=Fashion]").click();
const dialog = document.getElementById("opened");
say.open = dialog.open; say.what = document.getElementById("what").textContent;
say.seeds = [...dialog.querySelectorAll("table")[0].tBodies[0].rows].map(row => row.cells[0].textContent);
say.charts = dialog.querySelectorAll("svg path.s0, svg path.s1").length;
const box = dialog.querySelector("svg").getBoundingClientRect();
const corner = {clientX: box.left + 1, clientY: box.top + 1};
dialog.querySelector("svg").dispatchEvent(new PointerEvent("pointermove", corner));
say.hover = dialog.querySelector("figcaption").textContent;
dialog.close();
const evil = [...document.querySelectorAll("#table1 .open")].find(button => button.textContent.includes("script"));
evil.click(); say.what2 = document.getElementById("what").textContent;
say.evil = [window.evil ?? null, dialog.textContent.includes("<img")];
Promise.all([...document.images].map(image => image.decode())).then(() => {
  say.images = [...document.images].map(image => image.naturalWidth > 0);
  document.title = JSON.stringify(say);
});
}
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_in_a_browser_it_sorts_filters_and_opens(written: Path) -> None:
    said = in_browser(written)
    assert said["up"] == ["GLF", "VAE", "mine", EVIL]
    assert said["down"] == ["VAE", "GLF", EVIL, "mine"]  # what has no number, missing and diverged, stays last
    assert said["filtered"] == ["VAE"] and said["nothing"]
    assert said["front"] == ["GLF"], "VAE is worse in distance, and takes longer"
    assert said["near"] == [1, 5], "one wild value does not flatten a curve to a line"
    assert said["gallery"] == ["real images", "mine\n5.00 (1) [1 collapsed]"]  # MNIST comes first
    assert said["tab"] == ["real images", "VAE\n1,000 (1)", "GLF\n92.0 ± 2.8 (2)", f"{EVIL}\ndiverged"]
    assert (said["open"], said["what"], said["seeds"]) == (True, "GLF, Fashion", ["0", "1"])
    assert said["charts"] == 4 and said["hover"] == "train, model: reconstruction: 9 at epoch 1, seed 0"
    assert said["evil"] == [None, True] and said["what2"].startswith(EVIL)
    assert said["images"] == [True] * 5, "of the gallery, and of the cell that is open"


def in_browser(path: Path) -> Any:
    hooked = path.with_name("hooked.html")
    hooked.write_text(path.read_text().replace("</body>", f"{HOOK}</body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    command = [str(CHROMIUM), *flags, f"--user-data-dir={path.parent / 'browser'}", hooked.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout
    title = re.search(r"<title>(.*?)</title>", dom, re.S)
    assert title
    return json.loads(html.unescape(title[1]))


def test_claims_have_a_section_and_their_summary_is_not_said_twice(tmp_path: Path) -> None:
    lay(tmp_path / "results")
    for seed in range(2):
        put(tmp_path / "results", make(row="vae", seed=seed, metrics={A: evaluation([{"fd": 1000.0 + seed}])}))
    names = ["1", "verdicts", "claims"]
    [path] = report.write(tmp_path / "results", PUBLISHED, tmp_path / "out", ["html"], names)
    section = path.read_text().partition('<section id="claims">')[2].partition("</section>")[0]
    assert section.count('<details class="claim">') > 25 and 'id="verdicts"' not in path.read_text()
    first = re.sub(r"<[^>]+>", "", section.partition("<details")[2].partition("</details>")[0])
    assert "GLF 92.0 ± 2.8 (2)" in first and "no trial (WAE-GAN;" in first and "not tested" in first


def test_of_very_many_trials_the_first_seeds_are_drawn_and_all_numbers_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "DRAWN", 8)  # four entries: two seeds of each
    lay(tmp_path / "results")
    put(tmp_path / "results", ended("diverged", seed=2))
    for path in put(tmp_path / "results", make(seed=3, metrics={A: evaluation([{"fd": 97.0}])})):
        put_artefacts(path.parent)
    [path] = report.write(tmp_path / "results", PUBLISHED, tmp_path / "out", ["html"], ["1"])
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
