"""Programs of other people that tests drive: skipped with a reason where one is missing, required in CI."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def require(program: str) -> str:
    """The path of a program; without it the test is skipped, or fails where DOPPEL_REQUIRE_CLIENTS is 1."""
    return shutil.which(program) or missing(f"{program} is not installed here")


def missing(reason: str) -> NoReturn:
    """Skips the test for the stated reason, or fails it where DOPPEL_REQUIRE_CLIENTS is 1."""
    if os.environ.get("DOPPEL_REQUIRE_CLIENTS") == "1":
        pytest.fail(f"{reason}, and DOPPEL_REQUIRE_CLIENTS asks for it")
    pytest.skip(reason)
