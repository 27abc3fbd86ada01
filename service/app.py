"""The web application: every route, every middleware and every fault handler in lists, given to Starlette."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route

from index.engines.vector_server import ServerMissing
from service.errors import ServiceFault
from service.faults import BodyLimit, http_fault, internal_error, server_missing, service_fault, state_missing
from service.jobs import Jobs
from service.parsers import Parsers
from service.protocols import (
    capabilities,
    datalink,
    derived,
    encode,
    examples,
    moc,
    oai,
    products,
    scs,
    similar,
    soda,
    ssa,
    tap,
    vosi,
)
from service.turns import Turns
from service.watch import Metrics, Watch, health, metrics
from service.web import pages
from service.workers import Workers

if TYPE_CHECKING:
    from index.releases import ReleaseHolder
    from service.config import Config
    from service.state import State

LOOK_SECONDS = 2.0  # how often a newly published release is looked for

ROUTES: list[BaseRoute] = [
    *ssa.routes,
    *similar.routes,
    *scs.routes,
    *datalink.routes,
    *soda.routes,
    *products.routes,
    *tap.routes,
    *vosi.routes,
    *examples.routes,
    *capabilities.routes,
    *derived.routes,
    *encode.routes,
    *oai.routes,
    *moc.routes,
    *pages.routes,
    Route("/health", health),
    Route("/metrics", metrics),
]
"""They are tried in this order: first what programs ask for all the time."""


def create_app(config: Config, holder: ReleaseHolder, state: State) -> Starlette:
    """Serves the release that `holder` has; `state` keeps jobs and tokens. Neither is closed here."""
    counts = Metrics()
    app = Starlette(
        routes=ROUTES,
        middleware=[
            Middleware(Watch, metrics=counts),
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["GET", "HEAD", "POST", "DELETE"],
                allow_headers=["*"],
                expose_headers=["Location", "Content-Disposition", "Retry-After"],
            ),
            Middleware(BodyLimit, limit=config.limits.request_bytes),
        ],
        exception_handlers={
            ServiceFault: service_fault,
            ServerMissing: server_missing,
            OperationalError: state_missing,
            HTTPException: http_fault,
            404: pages.nothing_here,
            Exception: internal_error,
        },
        lifespan=lifespan,
    )
    app.state.config = config
    app.state.holder = holder
    app.state.state = state
    app.state.metrics = counts
    app.state.base_url = config.service.url
    app.state.parsers = Parsers()
    app.state.references = partial(encode.upload_vectors, state)
    executes = {tap.KIND: partial(tap.execute, app.state), soda.KIND: partial(soda.execute, app.state)}
    app.state.sync_queries = Turns(config.limits.sync_queries, config.limits.sync_share)
    app.state.workers = Workers(state, config.limits, executes)
    app.state.jobs = {kind: Jobs(kind, state, config.limits, app.state.workers) for kind in executes}
    return app


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Looks for new releases (at SIGHUP at once), and runs the jobs of the state database, while serving."""
    wake = asyncio.Event()
    loop = asyncio.get_running_loop()
    if threading.current_thread() is threading.main_thread():
        loop.add_signal_handler(signal.SIGHUP, wake.set)
    watcher = asyncio.create_task(follow_releases(app, wake))
    app.state.workers.start()
    try:
        yield
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
        await run_in_threadpool(app.state.workers.stop)
        app.state.parsers.close()


async def follow_releases(app: Starlette, wake: asyncio.Event) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), LOOK_SECONDS)
        wake.clear()
        await run_in_threadpool(app.state.holder.refresh)
