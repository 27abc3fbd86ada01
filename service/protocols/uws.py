"""The job tree of UWS 1.1: the same below every endpoint that has jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from service.errors import ForbiddenFault, NotFoundFault, UsageFault
from service.jobs import ACTIVE, PHASES, Filter, Jobs
from service.protocols.dali import Params, choose_word, client_of, iso, request_params, timestamp
from service.protocols.job_documents import (
    UPLOADED,
    Tree,
    job_document,
    list_document,
    parameters_document,
    results_document,
    results_of,
)
from service.state import Job

CONTROL = ("PHASE", "ACTION", "DESTRUCTION", "EXECUTIONDURATION", "WAIT")
SOON, LATER = 0.01, 0.25  # seconds between two looks at a job that is waited for
PIECE = 1 << 20

Subject = TypeVar("Subject", Job, Sequence[Job])
Handler = Callable[[Tree, Request], Coroutine[Any, Any, Response]]


def see_other(url: str) -> Response:
    return RedirectResponse(url, 303)


async def told(
    document: Callable[[Tree, Request, Subject], bytes], tree: Tree, request: Request, found: Subject
) -> Response:
    """A document about one job or several, made in a thread."""
    body = await run_in_threadpool(document, tree, request, found)
    return Response(body, headers={"Content-Type": "text/xml"})


# -- the list ---------------------------------------------------------------------------------------------


async def create(tree: Tree, request: Request) -> Response:
    """A new job; `PHASE=RUN` starts it at once."""
    params = await request_params(request)
    id_ = await run_in_threadpool(create_job, tree.jobs(request), client_of(request), params)
    return see_other(tree.job_url(request, id_))


def create_job(jobs: Jobs, owner: str, params: Params) -> str:
    phase = phase_asked(params)
    if phase == "ABORT":
        raise UsageFault("PHASE=ABORT ends a job that exists; a new one takes PHASE=RUN or none")
    job = jobs.create(owner, job_parameters(params), params.one("RUNID"))
    keep_files(jobs.directory(job.id), params)
    set_controls(jobs, job.id, params)
    if phase == "RUN":
        jobs.run(job.id)
    return job.id


def job_parameters(params: Params) -> list[tuple[str, str]]:
    return [(name, value) for name, value in params.pairs() if name not in CONTROL]


def phase_asked(params: Params) -> str | None:
    text = params.one("PHASE")
    return None if text is None else choose_word("PHASE", text, ("RUN", "ABORT"))


def keep_files(directory: Path, params: Params) -> None:
    """The inline uploads, until the job is destroyed."""
    for name, part in params.files.items():
        directory.mkdir(parents=True, exist_ok=True)
        copy(part, directory / upload_file(name))


def copy(part: UploadFile, path: Path) -> None:
    part.file.seek(0)
    with path.open("wb") as target:
        while piece := part.file.read(PIECE):
            target.write(piece)


def upload_file(name: str) -> str:
    """A file name that no part's name can leave its directory with."""
    return UPLOADED + quote(name, safe="")[:200]


def set_controls(jobs: Jobs, id_: str, params: Params) -> None:
    seconds = params.integer("EXECUTIONDURATION", low=0)
    if seconds is not None:
        jobs.set_duration(id_, seconds)
    when = params.one("DESTRUCTION")
    if when is not None:
        jobs.set_destruction(id_, timestamp("DESTRUCTION", when).timestamp())


async def job_list(tree: Tree, request: Request) -> Response:
    """The client's jobs. Pages of other sites in its browser are not told: who knows a job's name has it."""
    if asked_elsewhere(request):
        raise ForbiddenFault(
            "Jobs are not listed for pages of other sites; a job itself is told to who knows it"
        )
    wanted = list_filter(await request_params(request))
    found = await run_in_threadpool(tree.jobs(request).listed, client_of(request), wanted)
    return await told(list_document, tree, request, found)


def asked_elsewhere(request: Request) -> bool:
    """Whether a browser asks for a page that is not ours (its header Origin; RFC 6454)."""
    origin = request.headers.get("origin")
    ours = (request.headers.get("host"), urlsplit(request.app.state.base_url).netloc)
    return origin is not None and urlsplit(origin).netloc not in ours


def list_filter(params: Params) -> Filter:
    phases = tuple(choose_word("PHASE", text, PHASES) for text in params.all("PHASE"))
    after = params.one("AFTER")
    return Filter(
        phases,
        None if after is None else timestamp("AFTER", after).timestamp(),
        params.integer("LAST", low=0),
    )


# -- one job ----------------------------------------------------------------------------------------------


async def job(tree: Tree, request: Request) -> Response:
    """The whole job; `WAIT` blocks while it is under way (UWS 1.1, 2.2.1.2)."""
    params = await request_params(request)
    if request.method == "POST":
        return await post_job(tree, request, params)
    found = await tree.job(request)
    seconds = params.integer("WAIT", low=-1)
    if seconds is not None:
        found = await waited(tree.jobs(request), found, seconds, params.one("PHASE"))
    return await told(job_document, tree, request, found)


async def waited(jobs: Jobs, found: Job, seconds: int, phase: str | None) -> Job:
    """The job when its phase is no longer the one it had, or the time is over."""
    before = found.phase
    if before not in ACTIVE or (phase is not None and phase.upper() != before):
        return found
    most = jobs.limits.waiting_seconds
    deadline = time.monotonic() + (most if seconds < 0 else min(seconds, most))
    pause = SOON
    while found.phase == before and (left := deadline - time.monotonic()) > 0:
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.3, LATER)
        found = await run_in_threadpool(jobs.get, found.id)
    return found


async def post_job(tree: Tree, request: Request, params: Params) -> Response:
    action = params.one("ACTION")
    if action is None:
        raise UsageFault("A job takes ACTION=DELETE; its parameters go to /parameters, its phase to /phase")
    choose_word("ACTION", action, ("DELETE",))
    return await delete(tree, request)


async def delete(tree: Tree, request: Request) -> Response:
    await run_in_threadpool(tree.jobs(request).delete, request.path_params["id"])
    return see_other(tree.url(request))


# -- the children of a job --------------------------------------------------------------------------------


async def phase(tree: Tree, request: Request) -> Response:
    return await control(tree, request, "PHASE")


async def duration(tree: Tree, request: Request) -> Response:
    return await control(tree, request, "EXECUTIONDURATION")


async def destruction(tree: Tree, request: Request) -> Response:
    return await control(tree, request, "DESTRUCTION")


async def control(tree: Tree, request: Request, name: str) -> Response:
    """A value of the job: read as text, or set by POST, which leads back to the job."""
    jobs, id_ = tree.jobs(request), request.path_params["id"]
    if request.method == "POST":
        params = await request_params(request)
        params.required(name)
        await run_in_threadpool(set_control, jobs, id_, name, params)
        return see_other(tree.job_url(request, id_))
    found = await run_in_threadpool(jobs.get, id_)
    words = {
        "PHASE": found.phase,
        "EXECUTIONDURATION": str(found.duration),
        "DESTRUCTION": iso(datetime.fromtimestamp(found.destruction, UTC)),
    }
    return PlainTextResponse(words[name])


def set_control(jobs: Jobs, id_: str, name: str, params: Params) -> None:
    if name != "PHASE":
        jobs.get(id_)
        set_controls(jobs, id_, params)
    elif phase_asked(params) == "RUN":
        jobs.run(id_)
    else:
        jobs.abort(id_)


async def quoted(tree: Tree, request: Request) -> Response:
    """When the job will be over; empty where nobody knows."""
    jobs = tree.jobs(request)
    found = await run_in_threadpool(jobs.get, request.path_params["id"])
    when = await run_in_threadpool(jobs.quote, found) if found.phase == "QUEUED" else None
    return PlainTextResponse("" if when is None else iso(datetime.fromtimestamp(when, UTC)))


async def owner(tree: Tree, request: Request) -> Response:
    await tree.job(request)
    return PlainTextResponse("")


async def error(tree: Tree, request: Request) -> Response:
    found = await tree.job(request)
    if found.error is None:
        raise NotFoundFault(f"The job {found.id} has no error")
    return tree.error(found)


async def parameters(tree: Tree, request: Request) -> Response:
    jobs, id_ = tree.jobs(request), request.path_params["id"]
    if request.method == "POST":
        params = await request_params(request)
        await run_in_threadpool(jobs.set_parameters, id_, job_parameters(params))
        await run_in_threadpool(keep_files, jobs.directory(id_), params)
        return see_other(tree.job_url(request, id_))
    found = await run_in_threadpool(jobs.get, id_)
    return await told(parameters_document, tree, request, found)


async def parameter_file(tree: Tree, request: Request) -> Response:
    """An inline upload, as it came."""
    jobs, id_, name = tree.jobs(request), request.path_params["id"], request.path_params["name"]
    await run_in_threadpool(jobs.get, id_)
    path = jobs.directory(id_) / upload_file(name)
    if not path.is_file():
        raise NotFoundFault(f"The job {id_} has no file {name}")
    return FileResponse(path, media_type="application/octet-stream")


async def results(tree: Tree, request: Request) -> Response:
    return await told(results_document, tree, request, await tree.job(request))


async def result(tree: Tree, request: Request) -> Response:
    found, name = await tree.job(request), request.path_params["name"]
    for known, media_type, filename, _ in results_of(found):
        if known == name:
            headers = {"Content-Type": media_type}
            if filename:
                headers["Content-Disposition"] = f'inline; filename="{filename}"'
            return FileResponse(tree.jobs(request).directory(found.id) / name, headers=headers)
    raise NotFoundFault(f"The job {found.id} has no result {name}: it is {found.phase}")


GET, POST, DELETE = ["GET"], ["POST"], ["DELETE"]
GET_POST = [*GET, *POST]
HANDLERS: tuple[tuple[str, Handler, list[str]], ...] = (
    ("", job_list, GET),
    ("", create, POST),
    ("/{id}", job, GET_POST),
    ("/{id}", delete, DELETE),
    ("/{id}/phase", phase, GET_POST),
    ("/{id}/executionduration", duration, GET_POST),
    ("/{id}/destruction", destruction, GET_POST),
    ("/{id}/quote", quoted, GET),
    ("/{id}/owner", owner, GET),
    ("/{id}/error", error, GET),
    ("/{id}/parameters", parameters, GET_POST),
    ("/{id}/parameters/{name:path}", parameter_file, GET),
    ("/{id}/results", results, GET),
    ("/{id}/results/{name}", result, GET),
)


def routes(tree: Tree) -> list[BaseRoute]:
    """Everything below the list of jobs."""
    return [
        Route(f"{tree.path}{path}", partial(handler, tree), methods=methods)
        for path, handler, methods in HANDLERS
    ]
