"""`doppel serve` as a process: it answers, changes over to what is published, and ends when told to."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from urllib.parse import urlencode

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from index.engines.watchdog import STOPPER
from index.release import OpenRelease
from index.releases import ReleaseHolder, Releases
from service.app import create_app
from service.config import Config
from service.state import State
from service.workers import Stop
from tests import synthetic
from tests.serving import PATIENCE, in_thread, running


@pytest.fixture
def served(config_path: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, Releases]]:
    """The process, its base URL, and the releases it serves from."""
    shutil.copy(config_path, tmp_path)
    shutil.copytree(config_path.parent / "releases", tmp_path / "releases", symlinks=True)
    with running(tmp_path / config_path.name, tmp_path / "service.log") as (base, process):
        yield process, base, Releases(tmp_path / "releases")


def served_release(base: str) -> str:
    """The release that answers now; an error where none does."""
    with urllib.request.urlopen(f"{base}/health", timeout=PATIENCE) as answer:
        return str(json.load(answer)["release"])


def wait_for(base: str, release: str) -> None:
    """Asks until this release answers; a request that fails on the way is an error."""
    deadline = time.monotonic() + PATIENCE
    while served_release(base) != release:
        assert time.monotonic() < deadline, f"{release} is not served"
        time.sleep(0.05)


def test_a_running_service_changes_over_and_back(
    served: tuple[subprocess.Popen[bytes], str, Releases], release: OpenRelease, tmp_path: Path
) -> None:
    process, base, releases = served
    assert served_release(base) == release.id
    other = releases.write(synthetic.content(tmp_path / "trained", 20))
    releases.publish(other)
    process.send_signal(signal.SIGHUP)
    wait_for(base, other)
    releases.rollback()
    wait_for(base, release.id)  # by itself, without a signal


def test_no_answer_waits_for_a_delayed_acknowledgement(
    config: Config, holder: ReleaseHolder, state: State
) -> None:
    """Small segments leave at once (TCP_NODELAY), on a connection that is kept alive."""
    with in_thread(create_app(config, holder, state)) as (server, address):
        connection = HTTPConnection(*address, timeout=PATIENCE)
        for _ in range(2):
            connection.request("GET", "/tap/sync?LANG=ADQL&QUERY=SELECT+TOP+1+*+FROM+doppel.models")
            assert connection.getresponse().read().endswith(b"</VOTABLE>\n")
        (kept,) = server.server_state.connections
        accepted = kept.transport.get_extra_info("socket")
        assert accepted.getpeername() == connection.sock.getsockname()
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.close()


class Stoppable:
    """An application whose synchronous queries end when they are told to, as a job's does that is aborted;
    what tells them so is kept in the order in which they came."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.stops: list[Stop] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") == "/tap/sync":
            self.stops.append(Stop())
            STOPPER.set(self.stops[-1].on_stop)
        await self.app(scope, receive, send)


SLOW = (
    f"SELECT COUNT(*) FROM {', '.join(f'doppel.spectra AS {name}' for name in 'abcdef')}"
    " WHERE a.ra + b.ra + c.ra + d.ra + e.ra + f.ra > 1"
)


def test_slow_queries_leave_the_service_to_others(
    config: Config, holder: ReleaseHolder, state: State
) -> None:
    """One place for synchronous queries: the second waits for the first, all else is answered."""
    limits = replace(config.limits, sync_queries=1, sync_seconds=1000)
    app = Stoppable(create_app(replace(config, limits=limits), holder, state))
    ended: list[bytes] = []

    def ask(address: tuple[str, int], query: str) -> None:
        ended.append(answered(address, f"/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': query})}"))

    with in_thread(app) as (_, address):
        asking = []
        for running, query in enumerate((SLOW, "SELECT TOP 1 * FROM doppel.models"), 1):
            asking.append(threading.Thread(target=ask, args=(address, query)))
            asking[-1].start()
            while running_requests(address) < running:
                assert ended == []
                time.sleep(0.01)
        assert b"<capability" in answered(address, "/tap/capabilities")
        assert ended == []
        app.stops[0].stop()
        for thread in asking:
            thread.join(PATIENCE)
    assert b"longer than the limit of 1000 s" in ended[0]
    assert b'value="OK"' in ended[1]


def test_slow_queries_of_one_client_leave_places_to_others(
    config: Config, holder: ReleaseHolder, state: State
) -> None:
    """Of two places one client has one, however many slow queries it sends."""
    limits = replace(config.limits, sync_queries=2, sync_share=1, sync_seconds=1000)
    app = Stoppable(create_app(replace(config, limits=limits), holder, state))
    slow = f"/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': SLOW})}"
    quick = f"/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': 'SELECT TOP 1 * FROM doppel.models'})}"
    with in_thread(app) as (_, address):
        asking = [threading.Thread(target=answered, args=(address, slow)) for _ in range(3)]
        for running, thread in enumerate(asking, 1):
            thread.start()
            while running_requests(address) < running:
                time.sleep(0.01)
        assert b'value="OK"' in answered(address, quick, "127.0.0.2")
        assert all(thread.is_alive() for thread in asking)
        for stop in app.stops:
            stop.stop()
        for thread in asking:
            thread.join(PATIENCE)


def running_requests(address: tuple[str, int]) -> int:
    """Besides the one that asks."""
    told = re.search(rb"^doppel_requests_running (\d+)", answered(address, "/metrics"), re.MULTILINE)
    assert told
    return int(told[1]) - 1


def answered(address: tuple[str, int], path: str, client: str = "127.0.0.1") -> bytes:
    """The body, as a client of this address gets it."""
    connection = HTTPConnection(*address, timeout=PATIENCE, source_address=(client, 0))
    connection.request("GET", path)
    with closing(connection):
        return connection.getresponse().read()


def test_a_late_fault_cuts_what_has_no_word_for_it(
    config: Config, holder: ReleaseHolder, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    """CSV can not say that it is not whole; the connection does, and the log in one line."""
    app = Stoppable(create_app(config, holder, state))
    many = ", ".join(f"doppel.spectra AS {name}" for name in "abcd")
    asked = {"LANG": "ADQL", "QUERY": f"SELECT a.ssa_pubdid, b.ra FROM {many}", "RESPONSEFORMAT": "csv"}
    with in_thread(app) as (_, address):
        connection = HTTPConnection(*address, timeout=PATIENCE)
        connection.request("GET", f"/tap/sync?{urlencode(asked | {'MAXREC': '20000000'})}")
        with closing(connection), connection.getresponse() as answer:
            assert answer.read(12) == b"ssa_pubdid,r"
            app.stops[0].stop()
            with pytest.raises(IncompleteRead):
                answer.read()
    assert "an answer of /tap/sync was cut: the query ran longer than the limit of 60 s" in caplog.text
    assert "Traceback" not in caplog.text
