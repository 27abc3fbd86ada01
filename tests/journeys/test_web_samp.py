"""The page sends to TOPCAT by the hub's Web Profile: without a hub, against the user's will, and with it."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.journeys.test_browser import complaints, every, neighbours, one, open_first_example
from tests.samp import until
from tests.topcat import Topcat

CONSENT = "SAMP Hub Security"
WEB_HUB = 21012


@pytest.fixture
def page(browser: Any, live: str) -> Any:
    """A spectrum with its neighbours."""
    browser.get(f"{live}/")
    browser.get_log("browser")
    open_first_example(browser)
    return browser


def send(page: Any, kind: str) -> None:
    one(page, f"button[data-send={kind}]").click()


def said(page: Any) -> str:
    return str(one(page, "#samp [role=status]").text)


def hub_is_free() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", WEB_HUB)) != 0


def test_m01_without_a_hub_the_page_says_what_to_start(page: Any) -> None:
    assert hub_is_free(), f"another program has the port of the web profile, {WEB_HUB}"
    send(page, "table")
    until(lambda: "No SAMP hub answers" in said(page), "hint")
    assert one(page, "button[data-send=table]").is_enabled()


def test_m01_the_hub_asks_its_user_who_may_say_no(page: Any, topcat: Topcat) -> None:
    before = topcat.tables()
    send(page, "table")
    until(lambda: "Waiting for your consent" in said(page), "notice of the question")
    topcat.wait("click", CONSENT, "No")
    until(lambda: said(page).startswith("The hub said no"), "refusal on the page")
    assert topcat.tables() == before


def test_m02_the_neighbours_arrive_in_topcat_once_its_user_agrees(page: Any, topcat: Topcat) -> None:
    shown = neighbours(page)
    send(page, "table")
    topcat.wait("click", CONSENT, "Yes")
    until(lambda: said(page) == "topcat has loaded it.", "success on the page")
    until(lambda: topcat.tables(), "table in TOPCAT")
    assert topcat.rows() == len(shown)
    assert [cell for cell in topcat.cells() if cell in shown] == shown
    send(page, "spectra")
    until(lambda: "No program on the hub takes spectra" in said(page), "hint")
    assert complaints(page) == []
    assert len(every(page, "#samp button")) == 2
