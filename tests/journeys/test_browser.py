"""The page as people use it, in headless Chromium: search, click, see the picture, compare with TAP."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.samp import until
from tests.serving import PATIENCE


@pytest.fixture
def page(browser: Any, live: str) -> Any:
    """The start page; what an earlier test left in the logs is forgotten."""
    browser.get(f"{live}/")
    browser.get_log("browser")
    browser.get_log("performance")
    return browser


def one(page: Any, css: str) -> Any:
    return page.find_element("css selector", css)


def every(page: Any, css: str) -> list[Any]:
    found: list[Any] = page.find_elements("css selector", css)
    return found


@contextmanager
def next_page(page: Any) -> Iterator[None]:
    """What is done in it leads to another page, which is there, whole, afterwards."""
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.ui import WebDriverWait

    whole = "return !window.left && document.readyState === 'complete'"
    page.execute_script("window.left = true")
    yield
    between = WebDriverWait(page, PATIENCE, ignored_exceptions=[WebDriverException])  # one page and the next
    between.until(lambda _: page.execute_script(whole))


def drawn(page: Any, name: str) -> int:
    """How many curves or points the plot says it has drawn, once it has."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(page, PATIENCE).until(lambda _: one(page, f"#{name}").get_attribute("data-drawn"))
    return int(one(page, f"#{name}").get_attribute("data-drawn"))


def tap(live: str, query: str) -> list[dict[str, str]]:
    asked = urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": query})
    with urlopen(f"{live}/tap/sync?{asked}", timeout=PATIENCE) as answer:
        return list(csv.DictReader(io.StringIO(answer.read().decode())))


def neighbours(page: Any) -> list[str]:
    return [row.get_attribute("data-did") for row in every(page, "#neighbour-table tbody tr")]


def open_first_example(page: Any) -> None:
    with next_page(page):
        one(page, ".chips a").click()


def complaints(page: Any) -> list[str]:
    return [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]


def test_search_choose_and_see_the_spectrum_over_its_neighbours(page: Any, live: str) -> None:
    (star,) = tap(live, "SELECT TOP 1 ssa_pubdid, ssa_targname FROM doppel.spectra WHERE teff IS NOT NULL")
    with next_page(page):
        one(page, "input[name=q]").send_keys(star["ssa_targname"] + "\n")
    hits = every(page, "#hit-table tbody a")
    if hits:  # several spectra of this object
        with next_page(page):
            hits[0].click()
    assert star["ssa_targname"] in one(page, "h1").text
    shown = neighbours(page)
    assert len(shown) == 10
    assert drawn(page, "plot") == 11
    lines = every(page, "#plot .scatterlayer .trace")
    assert len(lines) == 11
    assert complaints(page) == []


def test_the_query_that_the_page_shows_gives_the_same_neighbours_through_tap(page: Any, live: str) -> None:
    open_first_example(page)
    shown = neighbours(page)
    rows = tap(live, one(page, "#adql").text)
    assert [row["ssa_pubdid"] for row in rows] == shown
    page_distances = [float(row.text) for row in every(page, "#neighbour-table tbody td:nth-child(6)")]
    assert page_distances == pytest.approx([float(row["dist"]) for row in rows], abs=6e-4)


def test_a_neighbour_is_the_next_query_and_the_space_stays(page: Any) -> None:
    from selenium.webdriver.support.ui import Select

    open_first_example(page)
    Select(one(page, "select[name=space]")).select_by_index(2)
    with next_page(page):
        one(page, "form.search button").click()
    space = Select(one(page, "select[name=space]")).first_selected_option.get_attribute("value")
    nearest = one(page, "#neighbour-table tbody a")
    name = nearest.text
    with next_page(page):
        nearest.click()
    assert name in one(page, "h1").text
    assert Select(one(page, "select[name=space]")).first_selected_option.get_attribute("value") == space


def test_offset_can_be_taken_away(page: Any) -> None:
    open_first_example(page)
    drawn(page, "plot")
    first = "return document.getElementById('plot').data.map(t => t.y.filter(v => v !== null)[0])"

    def spread() -> float:
        levels = page.execute_script(first)
        return float(max(levels) - min(levels))

    apart = spread()
    one(page, "#offset").click()
    until(lambda: spread() < apart, "plot without offsets")


def test_a_point_of_the_map_is_a_spectrum(page: Any) -> None:
    assert drawn(page, "map") > 100
    target = page.execute_script("return document.getElementById('map').data[1].customdata[0]")
    page.get(page.current_url.rstrip("/") + target)
    assert drawn(page, "plot") >= 1


def test_an_own_spectrum_is_uploaded_and_compared(page: Any, live: str, tmp_path: Path) -> None:
    (star,) = tap(
        live, "SELECT TOP 1 ssa_pubdid, accref FROM doppel.spectra WHERE teff > 5000 ORDER BY ssa_pubdid"
    )
    file = tmp_path / "mine.vot"
    with urlopen(star["accref"], timeout=PATIENCE) as answer:
        file.write_bytes(answer.read())
    one(page, "input[type=file]").send_keys(str(file))
    with next_page(page):
        one(page, "form[method=post] button").click()
    assert neighbours(page)[0] == star["ssa_pubdid"]
    assert drawn(page, "plot") == 11


def test_nothing_is_loaded_from_elsewhere(page: Any, live: str) -> None:
    page.get_log("performance")
    open_first_example(page)
    drawn(page, "plot")
    asked = [
        entry["message"] for entry in page.get_log("performance") if "requestWillBeSent" in entry["message"]
    ]
    urls = [part.split('"')[0] for message in asked for part in message.split('"url":"')[1:]]
    assert any("plotly" in url for url in urls)
    assert [url for url in urls if not url.startswith((live, "data:", "blob:"))] == []


def test_a_phone_shows_it_without_sideways_scrolling(page: Any) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        open_first_example(page)
        drawn(page, "plot")
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
