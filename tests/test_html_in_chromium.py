"""report.html as people see it: in a real browser, wide and narrow, light, dark and printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from distbench.report.html_style import PAGE_COLOURS
from distbench.resolving import resolve
from distbench.simulation.cluster import Cluster, SlowRank
from distbench.simulation.simulate import simulate
from tests.chromium import PROGRAM, WHY_NOT, Page, chromium
from tests.test_html import page_of, write_hostile_run

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=WHY_NOT)
DESKTOP, PHONE = (1280, 900), (390, 844)
PAPER = (688, 1000)  # A4 without its margins, at 96 dots per inch
CUT_OFF = (
    "[...document.querySelectorAll('.scroll, .chart, pre')]"
    ".filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.ariaLabel)"
)
WIDTH = "document.documentElement.scrollWidth"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser that shows the report of a simulated study with a slow rank."""
    folder = tmp_path_factory.mktemp("chromium")
    overrides = {"sizes": (1, 2, 4, 8), "steps": 30, "output": str(folder / "run")}
    config = resolve(overrides, on_gpu=True, world_size=8)
    simulate(Cluster(ranks=8, ranks_per_node=4, slow_rank=(SlowRank(5, 1.05),)), config)
    path = folder / "report.html"
    path.write_text(page_of(folder / "run"))
    with chromium() as page:
        page.look(*DESKTOP)
        page.open(path)
        yield page


def picture(page: Page, path: Path, whole: bool = False) -> Any:
    """What the window shows, as rows × columns × red, green and blue from 0 to 1."""
    path.write_bytes(page.screenshot(whole))
    return matplotlib.image.imread(path)[:, :, :3]


def colours(image: Any) -> int:
    """How many different colours an image has, each of red, green and blue in 16 shades."""
    shades = (image * 15).astype(int)
    return len(np.unique(shades @ np.array([256, 16, 1])))


def test_it_asks_for_nothing_and_nothing_goes_wrong(browser: Page) -> None:
    assert [address.rpartition("/")[2] for address in browser.requests()] == ["report.html"]
    assert browser.complaints() == []


def test_it_looks_like_something(browser: Page, tmp_path: Path) -> None:
    browser.look(*DESKTOP)
    image = picture(browser, tmp_path / "desktop.png", whole=True)
    assert image.shape[1] == DESKTOP[0]
    assert image.shape[0] > 4000
    assert colours(image) > 100


@pytest.mark.parametrize("window", [DESKTOP, PHONE, (320, 568)])
def test_the_page_itself_never_scrolls_sideways(browser: Page, window: tuple[int, int]) -> None:
    browser.look(*window)
    assert browser.value(WIDTH) == window[0]


def test_every_chart_is_drawn_and_can_be_read_on_a_phone(browser: Page) -> None:
    browser.look(*PHONE)
    charts = (
        "[...document.querySelectorAll('figure svg')].map(chart => chart.getBoundingClientRect())"
    )
    widths = browser.value(f"{charts}.map(box => box.width)")
    assert len(widths) >= 6
    assert min(widths) >= 600, "narrower, and 11 points become too small"
    assert min(browser.value(f"{charts}.map(box => box.height)")) > 100


def test_the_dark_theme_is_dark_and_as_rich(browser: Page, tmp_path: Path) -> None:
    browser.look(*DESKTOP)
    light = picture(browser, tmp_path / "light.png")
    browser.look(*DESKTOP, dark=True)
    dark = picture(browser, tmp_path / "dark.png")
    assert np.median(light) > 0.9
    assert np.median(dark) < 0.2
    assert colours(dark) > 50


def test_paper_is_white_whatever_the_theme(browser: Page) -> None:
    ink = "getComputedStyle(document.documentElement).getPropertyValue('--ink')"
    browser.look(*PAPER, dark=True)
    assert browser.value(ink) == PAGE_COLOURS["ink"][1]
    browser.look(*PAPER, dark=True, media="print")
    assert browser.value(ink) == PAGE_COLOURS["ink"][0]
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"


def test_it_prints(browser: Page) -> None:
    browser.look(*DESKTOP)
    printed = browser.pdf()
    assert printed.startswith(b"%PDF")
    assert len(printed) > 50_000


def test_nothing_is_cut_off_on_paper(browser: Page) -> None:
    browser.look(*PAPER, media="print")
    assert browser.value(CUT_OFF) == []
    assert browser.value(WIDTH) == PAPER[0]


def test_names_of_any_length_break_no_page(tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(page_of(write_hostile_run(tmp_path / "run")))
    with chromium() as page:
        page.open(path)
        for window in (DESKTOP, PHONE):
            page.look(*window)
            assert page.value(WIDTH) == window[0]
        page.look(*PAPER, media="print")
        assert page.value(CUT_OFF) == []
        assert page.value("document.scripts.length") == 0
        assert [address.rpartition("/")[2] for address in page.requests()] == ["hostile.html"]
        assert page.complaints() == []


def test_text_in_charts_follows_the_theme(browser: Page) -> None:
    browser.look(*DESKTOP, dark=True)
    fill = "getComputedStyle(document.querySelector('figure svg')).fill"
    assert browser.value(fill) == "rgb(231, 234, 238)"
    browser.look(*DESKTOP)
    assert browser.value(fill) == "rgb(0, 0, 0)"
