"""`doppel serve` as a process: it answers, changes over to what is published, and ends when told to."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
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

from index.release import OpenRelease
from index.releases import ReleaseHolder, Releases
from service.app import create_app
from service.config import Config
from service.state import State
from tests import synthetic
from tests.serving import in_thread

PATIENCE = 120  # seconds until a busy machine has started or changed over


@pytest.fixture
def served(config_path: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, Releases]]:
    """The process, its base URL, and the releases it serves from."""
    shutil.copy(config_path, tmp_path)
    shutil.copytree(config_path.parent / "releases", tmp_path / "releases", symlinks=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "service.cli", "serve", "--config", str(tmp_path / config_path.name)]
    with subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL) as process:
        yield process, f"http://127.0.0.1:{port}", Releases(tmp_path / "releases")
        process.terminate()
        process.wait(PATIENCE)


def served_release(base: str) -> str:
    """The release that answers now; an error where none does."""
    with urllib.request.urlopen(f"{base}/health", timeout=PATIENCE) as answer:
        return str(json.load(answer)["release"])


def wait_until_up(base: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            served_release(base)
        except OSError:
            time.sleep(0.1)
        else:
            return


def wait_for(base: str, release: str) -> None:
    """Asks until this release answers; a request that fails on the way is an error."""
    deadline = time.monotonic() + PATIENCE
    while served_release(base) != release:
        assert time.monotonic() < deadline, f"{release} is not served"


def test_a_running_service_changes_over_and_back(
    served: tuple[subprocess.Popen[bytes], str, Releases], release: OpenRelease, tmp_path: Path
) -> None:
    process, base, releases = served
    wait_until_up(base)
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


SLOW = (
    f"SELECT COUNT(*) FROM {', '.join(f'doppel.spectra AS {name}' for name in 'abcdef')}"
    " WHERE a.ra + b.ra + c.ra + d.ra + e.ra + f.ra > 1"
)


def test_slow_queries_leave_the_service_to_others(
    config: Config, holder: ReleaseHolder, state: State
) -> None:
    """One place for synchronous queries: the second waits for the first, all else is answered."""
    limits = replace(config.limits, sync_queries=1, sync_seconds=3)
    ended: list[bytes] = []

    def ask(address: tuple[str, int], query: str) -> None:
        ended.append(answered(address, f"/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': query})}"))

    with in_thread(create_app(replace(config, limits=limits), holder, state)) as (_, address):
        asking = []
        for running, query in enumerate((SLOW, "SELECT TOP 1 * FROM doppel.models"), 1):
            asking.append(threading.Thread(target=ask, args=(address, query)))
            asking[-1].start()
            while running_requests(address) < running:
                assert ended == []
                time.sleep(0.01)
        assert b"<capability" in answered(address, "/tap/capabilities")
        assert ended == []
        for thread in asking:
            thread.join(PATIENCE)
    assert b"longer than the limit of 3 s" in ended[0]
    assert b'value="OK"' in ended[1]


def running_requests(address: tuple[str, int]) -> int:
    """Besides the one that asks."""
    told = re.search(rb"^doppel_requests_running (\d+)", answered(address, "/metrics"), re.MULTILINE)
    assert told
    return int(told[1]) - 1


def answered(address: tuple[str, int], path: str) -> bytes:
    connection = HTTPConnection(*address, timeout=PATIENCE)
    connection.request("GET", path)
    with closing(connection):
        return connection.getresponse().read()


def test_a_late_fault_cuts_what_has_no_word_for_it(
    config: Config, holder: ReleaseHolder, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    """CSV can not say that it is not whole; the connection does, and the log in one line."""
    short = replace(config, limits=replace(config.limits, sync_seconds=1))
    many = ", ".join(f"doppel.spectra AS {name}" for name in "abcd")
    asked = {"LANG": "ADQL", "QUERY": f"SELECT a.ssa_pubdid, b.ra FROM {many}", "RESPONSEFORMAT": "csv"}
    with in_thread(create_app(short, holder, state)) as (_, address), pytest.raises(IncompleteRead):
        answered(address, f"/tap/sync?{urlencode(asked | {'MAXREC': '20000000'})}")
    assert "an answer of /tap/sync was cut: the query ran longer than the limit of 1 s" in caplog.text
    assert "Traceback" not in caplog.text
