"""The application over the built archive with small limits, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from index.releases import ReleaseHolder
from service.app import create_app
from service.config import Config
from service.limits import Limits
from service.state import State

BASE = "http://archive.example/doppel"
LIMITS = replace(
    Limits(), request_bytes=1_000_000, upload_bytes=500_000, jobs_per_client=10_000, upload_rows=1000
)


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    found = State("", Path(tmp_path_factory.mktemp("state")))
    yield found
    found.close()


@pytest.fixture(scope="session")
def tap(config: Config, holder: ReleaseHolder, state: State) -> Iterator[TestClient]:
    """Redirects are not followed; a bug of the server is raised here."""
    small = replace(config, limits=LIMITS, service=replace(config.service, base_url=BASE))
    with TestClient(create_app(small, holder, state), follow_redirects=False) as found:
        yield found
