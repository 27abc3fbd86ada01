"""`doppel serve` in a process of its own, for tests that drive real clients."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import uvicorn
from starlette.types import ASGIApp

from service.commands.serve import listen, server_config
from service.config import ServiceConfig
from service.connections import Connection

PATIENCE = 300.0  # seconds until it must answer; a busy machine is slow
PORTS = range(22_000, 32_000)


def free_port() -> int:
    """A port of the loopback that nobody has. It is none of those that a system gives to whoever does not
    care, so that nobody is given it before it is used."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no port from {PORTS[0]} to {PORTS[-1]} is free")


@contextmanager
def serving(config: Path, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """The base URL of a service of this configuration; its log is written to `log`, its state beside that."""
    with running(config, log, environment) as (base, _):
        yield base


@contextmanager
def running(
    config: Path, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The same with its process, which must end when it is told to."""
    port = free_port()
    command = [sys.executable, "-m", "service.cli", "serve", "--config", str(config), "--port", str(port)]
    own = {**(environment or os.environ), "DOPPEL_STATE_DIRECTORY": str(log.with_name("state"))}
    with (
        log.open("wb") as stream,
        subprocess.Popen(command, stdout=stream, stderr=stream, env=own) as process,
    ):
        try:
            await_health(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}", process
        finally:
            finish(process)


@contextmanager
def in_thread(
    app: ASGIApp, protocol: type[Connection] = Connection
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
        assert not thread.is_alive()


def finish(process: subprocess.Popen[bytes]) -> None:
    """Tells a process to end, and waits until it has; one that does not is killed, and an error."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    finally:
        process.kill()


def await_health(base: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        try:
            with urlopen(f"{base}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"the service does not answer; its log:\n{log.read_text(encoding='utf-8')}")
