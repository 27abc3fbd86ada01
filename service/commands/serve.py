"""`doppel serve`: one or several processes answer from the published release."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from index.release import OpenRelease, ReleaseError
from index.releases import ReleaseHolder, Releases
from service.commands.common import configured
from service.config import Config, ServiceConfig

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

CONFIG = "DOPPEL_CONFIG"  # how worker processes learn which configuration they serve
BACKLOG = 2048
STILL_SECONDS = 30  # a process that says nothing for so long is replaced; less, and a busy machine's would be


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, default=Path("doppel.toml"), metavar="FILE", help="configuration (doppel.toml)"
    )
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on")
    parser.add_argument("--workers", type=int, help="processes that answer requests")


def main(arguments: argparse.Namespace) -> int:
    chosen = {"HOST": arguments.host, "PORT": arguments.port, "WORKERS": arguments.workers}
    os.environ |= {f"DOPPEL_SERVICE_{key}": str(value) for key, value in chosen.items() if value is not None}
    config = configured(arguments)
    if config.service.workers > 1:
        require_usable(config)
    serve(arguments.config, config.service, listen(config.service))
    return 0


def require_usable(config: Config) -> None:
    """Opens release and state once: what is wrong with them is said here, where the command can still end,
    and not by every process in turn, each of which would be started again."""
    from service.state import State

    OpenRelease.open(Releases(config.releases).current(), config.index.limits).close()
    State(config.state.url, config.base / config.state.directory).close()


def listen(service: ServiceConfig) -> socket.socket:
    """The listening socket; ReleaseError-like sentence where the port is taken."""
    family = socket.AF_INET6 if ":" in service.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((service.host, service.port))
    except OSError as error:
        listening.close()
        raise ReleaseError(_refused(service, error)) from error
    listening.listen(BACKLOG)
    listening.set_inheritable(True)
    return listening


def _refused(service: ServiceConfig, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {service.port} is taken; choose another with --port"
    return f"cannot listen on {service.host}:{service.port}: {error.strerror}"


def serve(path: Path, service: ServiceConfig, listening: socket.socket) -> None:
    """Answers on the socket until the process is told to end."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    os.environ[CONFIG] = str(path.resolve())
    if service.workers > 1:
        Multiprocess(server_config(service.workers), sockets=[listening]).run()
    else:
        uvicorn.Server(server_config(1)).run(sockets=[listening])


def server_config(workers: int) -> uvicorn.Config:
    """How every process answers."""
    import uvicorn

    from service.connections import Connection

    return uvicorn.Config(
        "service.commands.serve:application",
        factory=True,
        http=Connection,
        workers=workers,
        access_log=False,
        log_level="warning",
        proxy_headers=True,
        timeout_graceful_shutdown=10,
        timeout_worker_healthcheck=STILL_SECONDS,
    )


def application(environment: Mapping[str, str] = os.environ) -> Starlette:
    """The application of one process, made from the configuration that the environment names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    return make_application(Config.read(Path(environment[CONFIG]), environment))


def make_application(config: Config) -> Starlette:
    """Release, state and routes together."""
    from service.app import create_app
    from service.state import State

    holder = ReleaseHolder(Releases(config.releases), config.index.limits)
    state = State(config.state.url, config.base / config.state.directory)
    return create_app(config, holder, state)
