"""`doppel serve` in a process of its own, for tests that drive real clients."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

import uvicorn
from starlette.applications import Starlette

from service.commands.serve import listen, server_config
from service.config import ServiceConfig
from service.connections import Connection

PATIENCE = 60.0  # seconds until it must answer; a busy machine is slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(config: Path, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """The base URL of a service of this configuration; its log is written to `log`."""
    with running(config, log, environment) as (base, _):
        yield base


@contextmanager
def running(
    config: Path, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The same with its process, which must end when it is told to."""
    port = free_port()
    command = [sys.executable, "-m", "service.cli", "serve", "--config", str(config), "--port", str(port)]
    with log.open("wb") as stream, _start(command, stream, environment) as process:
        try:
            await_health(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()
            try:
                process.wait(timeout=PATIENCE)
            finally:
                process.kill()


@contextmanager
def in_thread(
    app: Starlette, protocol: type[Connection] = Connection
) -> Iterator[tuple[uvicorn.Server, tuple[str, int]]]:
    """The server of an application as `doppel serve` sets it up, in this process, and its address."""
    told = server_config(1)
    told.app, told.factory, told.http = app, False, protocol
    server, listening = uvicorn.Server(told), listen(ServiceConfig(port=0))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield server, listening.getsockname()
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


def _start(
    command: Sequence[str], stream: IO[bytes], environment: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)


def await_health(base: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        try:
            with urlopen(f"{base}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"the service does not answer; its log:\n{log.read_text(encoding='utf-8')}")
