"""The page in a real browser (headless Chromium): clicks, typing, narrow screens and dark mode."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from records import evaluation, make, put, timing
from test_comparisons import crossed
from test_page import EVIL, A, lay

from aegen_bench import report
from aegen_bench.results import timings

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver"),
]
DIALOG = "document.getElementById('opened')"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    lay(root / "results")
    for seed in range(3):  # a larger distance than GLF with every seed, but slower only according to its timing run
        worse = make(row="vae", seed=seed, metrics={A: evaluation([{"fd": 1000.5 + seed}])}, seconds={"train": 1.0})
        put(root / "results", worse)
    for one in (timing("glf", 9.0, 9.1), timing("vae", 15.0, 15.2), timing("glf", 8.0, 8.3, dataset="mnist")):
        timings.write(root / "results", one)
    names = ["1", "6", "scores", "claims"]
    [path] = report.make(root / "results", names).write(root / "out", ["html"])
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


class Browser:
    """A tab that shows the page on a screen of a given width, in light or dark mode."""

    def __init__(self, driver: Any, page: Path) -> None:
        self.driver, self.page = driver, page

    def show(self, where: str = "", *, width: int = 1200, dark: bool = False) -> None:
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")  # otherwise a new fragment would not load the page again
        self.driver.get(self.page.as_uri() + where)

    def __call__(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(f"return {script}", *arguments)

    def all(self, css: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", css))

    def click(self, css: str, text: str | None = None) -> None:
        element = next(one for one in self.all(css) if text is None or one.text.split("\n")[0] == text)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def type(self, text: str) -> None:
        field = self.all("#filter")[0]
        field.clear()
        field.send_keys(text or " \b")

    def rows(self) -> list[str]:
        """Return the names of the visible rows of Table 1, in the order shown."""
        names = self.all("#table1 tbody tr:first-child td:first-child")
        return [str(one.text) for one in names if one.is_displayed()]


@pytest.fixture
def browser(chromium: Any, page: Path) -> Iterator[Browser]:
    tab = Browser(chromium, page)
    tab.show()
    chromium.get_log("browser")
    yield tab
    assert [one["message"] for one in chromium.get_log("browser") if one["level"] == "SEVERE"] == []


def test_the_page_opens_with_samples_of_one_dataset_at_a_time(browser: Browser) -> None:
    def captions() -> list[str]:
        return [str(one.text) for one in browser.all("#gallery figcaption")]

    assert captions() == ["real images\ntest split", "mine\n5.00 (1) [1 collapsed]"]  # MNIST comes first
    browser.click("#gallery [role=tab]", "Fashion")
    assert captions()[0] == "real images\ntest split" and captions()[1].startswith("VAE\n1,002 ± 1 (3)")
    assert captions()[2:] == ["GLF\n92.0 ± 2.8 (2)", f"{EVIL}\ndiverged"]
    assert all(browser("arguments[0].naturalWidth > 0", one) for one in browser.all("#gallery img"))


def test_a_click_on_a_header_sorts_and_rows_without_a_number_stay_last(browser: Browser) -> None:
    [fashion] = [one for one in browser.all("#table1 .sort") if one.text.startswith("Fashion")]
    fashion.click()
    assert browser.rows() == ["GLF", "VAE", "mine", EVIL], "the first click sorts in ascending order"
    fashion.click()
    assert browser.rows() == ["VAE", "GLF", EVIL, "mine"], "the second click reverses the order"


def test_the_filter_hides_rows_and_says_when_nothing_is_left(browser: Browser) -> None:
    nothing = browser.all("#nothing")[0]
    browser.type("vae")
    assert browser.rows() == ["VAE"] and not nothing.is_displayed()
    browser.type("nobody")
    assert browser.rows() == [] and nothing.is_displayed()
    browser.type("")
    assert len(browser.rows()) == 4 and not nothing.is_displayed()


def test_a_click_on_a_cell_shows_its_seeds_and_a_link_to_share(browser: Browser) -> None:
    browser.click("#table1 [data-row=GLF][data-dataset=Fashion]")
    assert browser(f"{DIALOG}.open") and browser.all("#what")[0].text == "GLF, Fashion"
    assert [one.text for one in browser.all("#content table:first-of-type tbody td:first-child")][:2] == ["0", "1"]
    assert browser("location.hash") == "#GLF/Fashion"
    shared = browser.all("#link")[0].get_attribute("href")
    browser.click("#opened form button")
    assert not browser(f"{DIALOG}.open") and browser("location.hash") == ""
    assert shared == f"{browser.page.as_uri()}#GLF/Fashion"
    browser.show("#GLF/Fashion")
    assert browser(f"{DIALOG}.open") and browser.all("#what")[0].text == "GLF, Fashion"


def test_the_name_of_a_row_stays_text_wherever_it_is_shown(browser: Browser) -> None:
    browser.click("#table1 .open", EVIL)
    assert browser.all("#what")[0].text.startswith(EVIL) and "<img" in browser(f"{DIALOG}.textContent")
    assert browser("window.evil ?? null") is None


def test_curves_show_the_value_under_the_pointer_and_one_wild_value_does_not_flatten_them(browser: Browser) -> None:
    browser.click("#table1 [data-row=GLF][data-dataset=Fashion]")
    chart = browser.all("#content svg")[0]
    webdriver.ActionChains(browser.driver).move_to_element_with_offset(chart, -120, -55).perform()
    assert browser.all("#content figcaption")[0].text == "train, model: reconstruction: 9 at epoch 1, seed 0"
    curve = [1e12, 5, 4, 3, 3, 2, 2, 2, 1, 1, 1]
    points = [{"points": [[x, y] for x, y in enumerate(curve)]}]
    assert browser("near(arguments[0], arguments[1])", points, curve) == [1, 5]


def test_unbeaten_methods_are_filled_in_the_plot_of_quality_against_cost(browser: Browser) -> None:
    browser.click("#gallery [role=tab]", "Fashion")
    assert [one.get_attribute("data-row") for one in browser.all("#front g.in")] == ["GLF"]
    assert [one.get_attribute("data-row") for one in browser.all("#front g.out")] == ["VAE"]
    assert "training, s, log scale" in browser("document.querySelector('#front svg').textContent")
    browser.click("#front g.in circle")
    assert browser.all("#what")[0].text == "GLF, Fashion"
    browser.click("#opened form button")
    browser.click("#cost option", "parameters")
    assert "parameters, log scale" in browser("document.querySelector('#front svg').textContent")


def test_claims_are_cards_that_can_be_filtered_by_verdict(browser: Browser) -> None:
    def verdicts() -> set[str]:
        return {one.get_attribute("data-verdicts").strip() for one in browser.all(".claim") if one.is_displayed()}

    everything = verdicts()
    assert len(everything) > 1
    browser.click(".show button", "not tested")
    assert verdicts() == {"not-tested"}
    browser.click(".show button", "all")
    assert verdicts() == everything
    card = browser.all(".claim")[0]
    card.click()
    assert card.find_element("css selector", "dl").is_displayed()


def test_metrics_are_explained_under_the_pointer(browser: Browser) -> None:
    tips = [one.get_attribute("title") or "" for one in browser.all("#scores-fashion th")]
    assert tips[0] == "" and len(tips) > 1 and all(len(tip) > 20 for tip in tips[1:]), "all columns but the names"


def test_the_matrix_is_a_grid_whose_best_pairs_are_darkest(chromium: Any, tmp_path: Path) -> None:
    put(tmp_path / "results", *crossed())
    [path] = report.make(tmp_path / "results", ["matrix"]).write(tmp_path / "out", ["html"])
    matrix = Browser(chromium, path)
    matrix.show()
    cells = matrix.all("section[id^=matrix] td.heat")
    heat = {
        float(one.get_attribute("data-value")): matrix("arguments[0].style.getPropertyValue('--heat')", one)
        for one in cells
    }
    assert len(cells) == 6 and heat[min(heat)] == "45%" and heat[max(heat)] == "0%"
    assert len({matrix("getComputedStyle(arguments[0]).backgroundColor", one) for one in cells}) > 3


@pytest.mark.parametrize("width", [1200, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_screen_and_dark_mode_is_dark(browser: Browser, width: int, dark: bool) -> None:
    browser.show(width=width, dark=dark)
    assert browser("document.documentElement.scrollWidth") <= width
    red, green, blue = browser("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")[:3]
    assert (max(red, green, blue) < 60) is dark
    assert float(browser("getComputedStyle(document.querySelector('.bar')).height").removesuffix("px")) > 2
    browser.driver.execute_script("scrollTo(0, 2000)")
    assert browser.all("#filter")[0].location_once_scrolled_into_view["y"] >= 0
    browser.show("#GLF/Fashion", width=width, dark=dark)
    assert browser(f"{DIALOG}.getBoundingClientRect().right") <= width


def test_the_plot_of_costs_needs_no_samples(chromium: Any, tmp_path: Path) -> None:
    for row, value in (("glf", 90.0), ("vae", 200.0)):
        put(tmp_path / "results", make(row=row, metrics={A: evaluation([{"fd": value}])}))
        timings.write(tmp_path / "results", timing(row, value / 10))
    [path] = report.make(tmp_path / "results", ["1"]).write(tmp_path / "out", ["html"])
    tab = Browser(chromium, path)
    tab.show()
    assert tab.all("#front")[0].is_displayed() and not tab.all("#gallery")[0].is_displayed()
