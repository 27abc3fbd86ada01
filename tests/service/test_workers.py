"""Several processes on one socket and one state database."""

from __future__ import annotations

import os
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.serving import serving

U = "{http://www.ivoa.net/xml/UWS/v1.0}"
JOBS = 8
PATIENCE = 60.0
QUERY = {"LANG": "ADQL", "FORMAT": "csv", "PHASE": "RUN"}


@pytest.fixture(scope="module")
def crew(config_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of two processes that serve the built archive."""
    environment = {**os.environ, "DOPPEL_SERVICE_WORKERS": "2"}
    with serving(config_path, tmp_path_factory.mktemp("crew") / "service.log", environment) as base:
        yield base


def afresh(method: str, url: str, **more: object) -> httpx2.Response:
    """On a connection of its own: whichever process takes it answers."""
    with httpx2.Client(timeout=60) as client:
        return client.request(method, url, **more)  # type: ignore[arg-type]


def processes(base: str) -> set[str]:
    """What the processes that answer say of their beginning, until both have."""
    found: set[str] = set()
    end = time.monotonic() + PATIENCE
    while len(found) < 2 and time.monotonic() < end:
        text = afresh("GET", f"{base}/metrics").text
        found |= set(re.findall(r"^doppel_start_time_seconds (\S+)", text, re.MULTILINE))
    return found


def test_jobs_are_seen_and_done_by_every_process(crew: str) -> None:
    assert len(processes(crew)) == 2
    paths = []
    for number in range(JOBS):
        query = f"SELECT TOP 1 {number} AS n FROM doppel.spectra"
        answer = afresh("POST", f"{crew}/tap/async", data={**QUERY, "QUERY": query})
        assert answer.status_code == 303
        paths.append(answer.headers["location"])
    for number, path in enumerate(paths):
        job = ET.fromstring(afresh("GET", f"{path}?WAIT=30").content)
        while job.findtext(f"{U}phase") in ("QUEUED", "EXECUTING"):
            job = ET.fromstring(afresh("GET", f"{path}?WAIT=30").content)
        assert job.findtext(f"{U}phase") == "COMPLETED"
        assert {afresh("GET", f"{path}/results/result").text for _ in range(6)} == {f"n\r\n{number}\r\n"}
    listed = ET.fromstring(afresh("GET", f"{crew}/tap/async").content)
    assert {path.rpartition("/")[2] for path in paths} <= {ref.get("id") for ref in listed}
    afresh("DELETE", paths[0])
    assert {afresh("GET", paths[0]).status_code for _ in range(6)} == {404}
