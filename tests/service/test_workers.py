"""Several processes on one socket and one state database."""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
import ssl
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests import pg
from tests.serving import PATIENCE, running, serving

U = "{http://www.ivoa.net/xml/UWS/v1.0}"
JOBS = 5
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading them for every connection takes long
QUERY = {"LANG": "ADQL", "FORMAT": "csv", "PHASE": "RUN"}
ENDLESS = {
    **QUERY,
    "QUERY": "SELECT COUNT(*) AS n FROM doppel.spectra AS a, doppel.spectra AS b, doppel.spectra AS c, "
    "doppel.spectra AS d, doppel.spectra AS e WHERE SIN(a.ra) * SIN(b.ra) * COS(c.ra) * COS(d.dec) > e.ra",
}
SHORT = {**QUERY, "QUERY": "SELECT TOP 1 1 AS n FROM doppel.spectra"}


@contextmanager
def two_processes(config_path: Path, log: Path, **more: str) -> Iterator[str]:
    """Base URL of a crew that serves the built archive."""
    with serving(config_path, log, {**os.environ, "DOPPEL_SERVICE_WORKERS": "2", **more}) as base:
        yield base


@pytest.fixture(scope="module")
def crew(config_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """With its state in a file."""
    with two_processes(config_path, tmp_path_factory.mktemp("crew") / "service.log") as base:
        yield base


@pytest.fixture(scope="module")
def postgres_crew(
    config_path: Path, pgvector_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """With its state in a server."""
    url = pg.database(pgvector_server, f"crew_{secrets.token_hex(4)}")
    log = tmp_path_factory.mktemp("postgres_crew") / "service.log"
    with two_processes(config_path, log, DOPPEL_STATE_URL=url) as base:
        yield base


def afresh(method: str, url: str, **more: object) -> httpx2.Response:
    """On a connection of its own: whichever process takes it answers."""
    with httpx2.Client(timeout=PATIENCE, verify=NO_CERTIFICATES) as client:
        return client.request(method, url, **more)  # type: ignore[arg-type]


def processes(base: str) -> set[str]:
    """What the processes that answer say of their beginning, until both have; asked all at once, so that one
    alone does not take every connection."""
    found: set[str] = set()
    end = time.monotonic() + PATIENCE
    with ThreadPoolExecutor(8) as pool:
        while len(found) < 2 and time.monotonic() < end:
            for answer in pool.map(lambda _: afresh("GET", f"{base}/metrics"), range(8)):
                found |= set(re.findall(r"^doppel_start_time_seconds (\S+)", answer.text, re.MULTILINE))
    return found


@pytest.mark.parametrize("state", ["crew", "postgres_crew"])
def test_jobs_are_seen_and_done_by_every_process(state: str, request: pytest.FixtureRequest) -> None:
    crew: str = request.getfixturevalue(state)
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


def test_harvesters_are_told_the_same_by_every_process(postgres_crew: str) -> None:
    """Whichever process is asked first notes in the state database since when there are which records."""
    ask = {"verb": "ListIdentifiers", "metadataPrefix": "ivo_vor"}
    with ThreadPoolExecutor(6) as pool:
        texts = list(pool.map(lambda _: afresh("GET", f"{postgres_crew}/oai", params=ask).text, range(6)))
    told = [re.findall(r"<oai:identifier>(.*?)<.*?<oai:datestamp>(.*?)<", text) for text in texts]
    assert len(told[0]) > 3
    assert all(one == told[0] for one in told)


def created(base: str, form: dict[str, str], endpoint: str = "/tap/async") -> str:
    """The path of a new job."""
    answer = afresh("POST", f"{base}{endpoint}", data=form)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].removeprefix(base)


def phase(base: str, path: str) -> str:
    return afresh("GET", f"{base}{path}/phase").text


def began(base: str, path: str) -> str:
    """When a job began to run, once it does."""
    until(base, path, "EXECUTING")
    return ET.fromstring(afresh("GET", f"{base}{path}").content).findtext(f"{U}startTime", "")


def until(base: str, path: str, *phases: str) -> str:
    """The phase of a job when it is one of these."""
    end = time.monotonic() + PATIENCE
    while (now := phase(base, path)) not in phases:
        assert time.monotonic() < end, now
        afresh("GET", f"{base}{path}?WAIT=2&PHASE={now}")
    return now


def test_u04_an_abort_frees_its_place_through_whichever_process_it_comes(crew: str) -> None:
    """Four places in two processes, full of queries that would not end; a fifth job waits its turn."""
    long = [created(crew, ENDLESS) for _ in range(4)]
    for path in long:
        until(crew, path, "EXECUTING")
    fifth = created(crew, SHORT)
    waited = afresh("GET", f"{crew}{fifth}?WAIT=1")
    assert ET.fromstring(waited.content).findtext(f"{U}phase") == "QUEUED"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", afresh("GET", f"{crew}{fifth}/quote").text)
    for path in long[:3]:
        assert afresh("POST", f"{crew}{path}/phase", data={"PHASE": "ABORT"}).status_code == 303
    assert afresh("DELETE", f"{crew}{long[3]}").status_code == 303
    assert until(crew, fifth, "COMPLETED") == "COMPLETED"
    assert {phase(crew, path) for path in long[:3]} == {"ABORTED"}
    again = [created(crew, SHORT) for _ in range(4)]
    assert {until(crew, path, "COMPLETED") for path in again} == {"COMPLETED"}


def test_u09_u11_a_job_ends_at_its_executionduration(crew: str) -> None:
    path = created(crew, {**ENDLESS, "EXECUTIONDURATION": "1"})
    until(crew, path, "ERROR")
    found = ET.fromstring(afresh("GET", f"{crew}{path}").content)
    summary = found.find(f"{U}errorSummary")
    assert summary is not None
    assert summary.get("type") == "transient"
    assert "1 s" in str(summary.findtext(f"{U}message"))


def test_u04_a_job_is_gone_at_its_destruction(crew: str) -> None:
    path = created(crew, {**SHORT, "PHASE": ""})
    assert phase(crew, path) == "PENDING"
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))
    afresh("POST", f"{crew}{path}/destruction", data={"DESTRUCTION": when})
    end = time.monotonic() + PATIENCE
    while afresh("GET", f"{crew}{path}").status_code != 404:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_service_ends_while_all_its_places_are_taken_and_gives_the_jobs_back(
    config_path: Path, tmp_path: Path
) -> None:
    """What is given back is not taken again by the process that ends: nothing would stop it there."""
    with two_processes(config_path, tmp_path / "service.log") as base:
        paths = [created(base, ENDLESS) for _ in range(6)]
        for path in paths[:4]:
            until(base, path, "EXECUTING")
    with sqlite3.connect(tmp_path / "state" / "state.sqlite") as database:
        given = "SELECT phase, worker, started, ended, attempts FROM jobs"
        jobs = database.execute(given).fetchall()
    database.close()
    assert jobs == [("QUEUED", None, None, None, 0)] * 6


def test_cutouts_are_made_by_every_process(crew: str) -> None:
    query = {**SHORT, "QUERY": "SELECT TOP 1 ssa_pubdid FROM doppel.optical"}
    did = afresh("POST", f"{crew}/tap/sync", data=query).text.split()[1]
    jobs = [created(crew, {"ID": did, "FORMAT": "csv", "PHASE": "RUN"}, "/soda/async") for _ in range(JOBS)]
    made = afresh("GET", f"{crew}/soda/sync", params={"ID": did, "FORMAT": "csv"}).text
    assert made.startswith("wavelength,flux,")
    for path in jobs:
        until(crew, path, "COMPLETED")
        assert afresh("GET", f"{crew}{path}/results/result").text == made


@contextmanager
def killed(config_path: Path, directory: Path, environment: dict[str, str]) -> Iterator[str]:
    """A service that is killed in the end, and whose leases then have run out."""
    with running(config_path, directory / "service.log", environment) as (base, process):
        yield base
        process.kill()
        process.wait()
    with sqlite3.connect(directory / "state" / "state.sqlite") as database:
        database.execute("UPDATE jobs SET lease = 0 WHERE phase = 'EXECUTING'")
    database.close()


def test_kill_9_loses_no_job_and_none_is_stuck(config_path: Path, tmp_path: Path) -> None:
    """A job is run again after the first loss and told ERROR after the second; others are as they were."""
    environment = {**os.environ, "DOPPEL_LIMITS_JOBS_PER_CLIENT": "4"}
    with killed(config_path, tmp_path, environment) as base:
        long, done = created(base, ENDLESS), created(base, SHORT)
        pending = created(base, {"LANG": "ADQL", "RUNID": "later"})
        cut = created(base, {}, "/soda/async")
        refused = afresh("POST", f"{base}/tap/async", data=SHORT)
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
        until(base, done, "COMPLETED")
        first = began(base, long)
    with killed(config_path, tmp_path, environment) as base:
        end = time.monotonic() + PATIENCE
        while began(base, long) in ("", first):  # the service that was killed is still noted as who runs it
            assert time.monotonic() < end
            time.sleep(0.05)
        assert afresh("GET", f"{base}{done}/results/result").text == "n\r\n1\r\n"
        query = {"QUERY": SHORT["QUERY"], "FORMAT": "csv"}
        assert afresh("POST", f"{base}{pending}/parameters", data=query).status_code == 303
        afresh("POST", f"{base}{pending}/phase", data={"PHASE": "RUN"})
        until(base, pending, "COMPLETED")
    with running(config_path, tmp_path / "service.log", environment) as (base, _):
        until(base, long, "ERROR")
        told = afresh("GET", f"{base}{long}").text
        assert "ended 2 times while this job ran" in told
        assert "<uws:runId>later</uws:runId>" in afresh("GET", f"{base}{pending}").text
        assert phase(base, cut) == "PENDING"
