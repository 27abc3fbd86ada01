"""TAP 1.1: what a query is, answering it at once, and doing it as a job."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from index.engines.watchdog import STOPPER
from service.errors import UsageFault
from service.formats.choose import Format, choose_format
from service.formats.stream import Info, Rows
from service.formats.votable import MEDIA_TYPE, error_document
from service.limits import Limits
from service.protocols import uws
from service.protocols.dali import Params, client_of, request_params
from service.protocols.descriptors import descriptors
from service.protocols.job_documents import Tree
from service.protocols.uws import upload_file
from service.query.run import Question, answer
from service.respond import Document, respond
from service.uploads import UploadRef, read_uploads, upload_refs

if TYPE_CHECKING:
    from index.release import OpenRelease
    from service.state import Job
    from service.workers import Results, Stop

LANGUAGES = ("ADQL", "ADQL-2.0", "ADQL-2.1")
STANDARD = "ivo://ivoa.net/std/TAP"


@dataclass(frozen=True, slots=True)
class TapQuery:
    """One query, checked as far as that needs no tables."""

    query: str
    maxrec: int
    format: Format
    uploads: tuple[UploadRef, ...]
    seconds: float
    limit: str  # what cuts the rows

    @classmethod
    def of(cls, params: Params, limits: Limits, seconds: float) -> TapQuery:
        """UsageFault where a parameter is missing or wrong (TAP 1.1, 2.7)."""
        check_request(params)
        check_language(params.required("LANG"))
        return cls(
            query=params.required("QUERY"),
            maxrec=params.maxrec(limits.default_rows, limits.max_rows),
            format=choose_format(params.one("RESPONSEFORMAT", "FORMAT")),
            uploads=upload_refs(params.all("UPLOAD"), limits),
            seconds=seconds,
            limit=row_limit(params, limits),
        )


def check_request(params: Params) -> None:
    """REQUEST is TAP 1.0's: doQuery or nothing."""
    asked = params.one("REQUEST")
    if asked is not None and asked.lower() != "doquery":
        raise UsageFault(f"REQUEST is not known here: {asked}; allowed is doQuery, or nothing")


def check_language(language: str) -> None:
    if language.upper() not in LANGUAGES:
        raise UsageFault(f"Unknown query language: LANG={language}; known are {', '.join(LANGUAGES)}")


def row_limit(params: Params, limits: Limits) -> str:
    """Which limit it is that cuts a result, as OVERFLOW says it."""
    asked = params.integer("MAXREC", low=0)
    if asked is None:
        return f"the default MAXREC of {limits.default_rows} rows; up to {limits.max_rows} may be asked for"
    if asked > limits.max_rows:
        return f"the hard limit of {limits.max_rows} rows"
    return f"MAXREC={asked}"


async def sync(request: Request) -> Response:
    """A query answered in the same response."""
    params = await request_params(request)
    services = request.app.state
    asked = TapQuery.of(params, services.config.limits, services.config.limits.sync_seconds)
    async with services.sync_queries.turn(client_of(request)):  # threads are left for all else
        return await respond(request, partial(run_query, services, asked, partial(inline_part, params)))


def inline_part(params: Params, name: str) -> bytes:
    """The part of the request that an upload refers to by `param:<name>`."""
    part = params.files.get(name)
    if part is not None:
        part.file.seek(0)
        return part.file.read()
    text = params.one(name)
    if text is None:
        raise UsageFault(f"UPLOAD refers to the part {name}, which the request does not have")
    return text.encode()


def execute(services: Any, job: Job, directory: Path, stop: Stop, stack: ExitStack) -> Results:
    """A job's query: its parameters are checked only now (T16)."""
    limits = services.config.limits
    params = Params.of([(name, value) for name, value in json.loads(job.parameters)])
    asked = TapQuery.of(params, limits, job.duration or limits.max_async_seconds)
    before = STOPPER.set(stop.on_stop)
    stack.callback(STOPPER.reset, before)
    yield "result", run_query(services, asked, partial(kept_part, params, directory), stack)


def kept_part(params: Params, directory: Path, name: str) -> bytes:
    """An inline upload that came when the job was made."""
    path = directory / upload_file(name)
    return path.read_bytes() if path.is_file() else inline_part(params, name)


def run_query(
    services: Any, asked: TapQuery, open_part: Callable[[str], bytes], stack: ExitStack
) -> Document:
    """Pins the release, runs the query and begins its document. What is open is left in the stack."""
    release: OpenRelease = stack.enter_context(services.holder.pin())
    uploads = read_uploads(asked.uploads, open_part, services.config.limits)
    question = Question(asked.query, asked.maxrec, uploads, timeout=asked.seconds)
    found = stack.enter_context(
        answer(release, question, base_url=services.base_url, references=services.references)
    )
    rows = Rows.of(found, limit=asked.limit)
    rows = replace(rows, infos=(*request_infos(services, asked), *rows.infos))
    links = descriptors(found.columns, services.base_url, release)
    chunks = asked.format.write(rows, links, ())
    return Document(asked.format.media_type, chunks, f"result.{asked.format.suffix}")


def request_infos(services: Any, asked: TapQuery) -> tuple[Info, ...]:
    """What was asked, by which standard, of whom (DALI 5.4.3)."""
    return (
        Info("standardID", STANDARD),
        Info("query", asked.query),
        Info("server_software", "Doppel"),
        Info("publisher", services.config.registry.publisher, ucd="meta.curation"),
    )


def job_error(job: Job) -> Response:
    return Response(error_document(str(job.error), str(job.fault)), headers={"Content-Type": MEDIA_TYPE})


KIND = "tap"  # of its jobs
ASYNC = Tree(
    KIND,
    "/tap/async",
    ("REQUEST", "LANG", "QUERY", "FORMAT", "RESPONSEFORMAT", "MAXREC", "RUNID", "VERSION", "UPLOAD"),
    job_error,
)
routes: list[BaseRoute] = [Route("/tap/sync", sync, methods=["GET", "POST"]), *uws.routes(ASYNC)]
