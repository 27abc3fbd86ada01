"""Programs that several journeys drive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients import require
from tests.serving import PATIENCE, free_port
from tests.topcat import Topcat, running

ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--window-size=1200,1400",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a window."""
    chromium, driver = require("chromium"), require("chromedriver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver, free_port()))
    opened.set_page_load_timeout(PATIENCE)
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def topcat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topcat]:
    """TOPCAT with its hub, in a home of its own."""
    home = tmp_path_factory.mktemp("topcat")
    with running(home, home / "topcat.log") as started:
        yield started
