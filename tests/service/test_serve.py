"""`doppel serve` as a process: it answers, changes over to what is published, and ends when told to."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

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
