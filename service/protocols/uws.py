"""The job tree of UWS 1.1: the same below every endpoint that has jobs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from registry_metadata.records import document
from service.errors import BusyFault, NotFoundFault, UsageFault
from service.formats.votable import clean
from service.jobs import ACTIVE, PHASES, Filter, Jobs
from service.protocols.dali import Params, choose_word, iso, request_params, timestamp
from service.state import Job
from service.workers import ResultFile

if TYPE_CHECKING:
    from vo_models.uws.models import Parameters

XML = "text/xml"
CONTROL = ("PHASE", "ACTION", "DESTRUCTION", "EXECUTIONDURATION", "WAIT")
UPLOADED = "upload-"  # begins the names of files that came with a job
SOON, LATER = 0.01, 0.25  # seconds between two looks at a job that is waited for
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Tree:
    """Where the jobs of an endpoint are, and what is told of them in its own words."""

    kind: str  # as the state database calls them
    path: str  # below the base URL
    shown: tuple[str, ...]  # parameters that job documents repeat
    error: Callable[[Job], Response]  # what stands at /error

    def jobs(self, request: Request) -> Jobs:
        jobs: Jobs = request.app.state.jobs[self.kind]
        return jobs

    async def job(self, request: Request) -> Job:
        """The job that the path names; NotFoundFault where there is none here."""
        return await run_in_threadpool(self.jobs(request).get, request.path_params["id"])

    def url(self, request: Request) -> str:
        return f"{request.app.state.base_url}{self.path}"

    def job_url(self, request: Request, id_: str) -> str:
        return f"{self.url(request)}/{id_}"


Handler = Callable[[Tree, Request], Coroutine[Any, Any, Response]]


def owner_of(request: Request) -> str:
    """Nobody logs in here: jobs belong to the address they came from."""
    return request.client.host if request.client else "-"


def shown(text: str | None) -> str | None:
    """A client's text without what XML cannot hold."""
    return None if text is None else clean(text)


def see_other(url: str) -> Response:
    return RedirectResponse(url, 303)


def moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


# -- the list ---------------------------------------------------------------------------------------------


async def create(tree: Tree, request: Request) -> Response:
    """A new job; `PHASE=RUN` starts it at once."""
    params = await request_params(request)
    id_ = await run_in_threadpool(create_job, tree.jobs(request), owner_of(request), params)
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
    wanted = list_filter(await request_params(request))
    found = await run_in_threadpool(tree.jobs(request).listed, owner_of(request), wanted)
    return Response(
        await run_in_threadpool(list_document, tree, request, found), headers={"Content-Type": XML}
    )


def list_filter(params: Params) -> Filter:
    phases = tuple(choose_word("PHASE", text, PHASES) for text in params.all("PHASE"))
    after = params.one("AFTER")
    return Filter(
        phases,
        None if after is None else timestamp("AFTER", after).timestamp(),
        params.integer("LAST", low=0),
    )


def list_document(tree: Tree, request: Request, found: Sequence[Job]) -> bytes:
    from vo_models.uws import models as uws
    from vo_models.uws.types import ExecutionPhase

    refs = [
        uws.ShortJobDescription(
            job_id=job.id,
            phase=ExecutionPhase(job.phase),
            run_id=shown(job.run_id),
            creation_time=moment(job.created),
            href=tree.job_url(request, job.id),
        )
        for job in found
    ]
    return document(uws.Jobs(jobref=refs), skip_empty=True)


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
    body = await run_in_threadpool(job_document, tree, request, found)
    return Response(body, headers={"Content-Type": XML})


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


def job_document(tree: Tree, request: Request, job: Job) -> bytes:
    from vo_models.uws import models as uws
    from vo_models.uws.types import ExecutionPhase

    generic: Any = uws.JobSummary
    summary = generic[parameters_class()](
        job_id=job.id,
        run_id=shown(job.run_id),
        owner_id=None,
        phase=ExecutionPhase(job.phase),
        quote=moment(tree.jobs(request).quote(job)) if job.phase == "QUEUED" else None,
        creation_time=moment(job.created),
        start_time=moment(job.started),
        end_time=moment(job.ended),
        execution_duration=job.duration,
        destruction=moment(job.destruction),
        parameters=parameters_model(tree, request, job),
        results=uws.Results(results=result_refs(tree, request, job)),
        error_summary=None
        if job.error is None
        else uws.ErrorSummary(message=clean(job.error), type=error_type(job), has_detail=True),
    )
    return document(summary)


def error_type(job: Job) -> Any:
    """Whether it may go well another time."""
    from vo_models.uws.types import ErrorType

    return ErrorType("transient" if job.fault == BusyFault.fault else "fatal")


def results_of(job: Job) -> list[ResultFile]:
    """What a job that went well has made, in the order in which it was made."""
    return [] if job.results is None else [tuple(told) for told in json.loads(job.results)]


def result_refs(tree: Tree, request: Request, job: Job) -> list[Any]:
    from vo_models.uws.models import ResultReference

    url = f"{tree.job_url(request, job.id)}/results"
    return [
        ResultReference(id=name, href=f"{url}/{name}", size=size, mime_type=media_type)
        for name, media_type, _, size in results_of(job)
    ]


@cache
def parameters_class() -> type[Parameters]:
    """vo-models' parameters as a list: UPLOAD may repeat, and inline files have names of their own."""
    from pydantic import create_model
    from vo_models.uws.models import MultiValuedParameter, Parameters

    fields: Any = {"listed": (MultiValuedParameter | None, None)}
    made: type[Parameters] = create_model("TapParameters", __base__=Parameters, **fields)
    return made


def parameters_model(tree: Tree, request: Request, job: Job) -> Parameters:
    """What was asked; inline files by reference (UWS 1.1, 2.2.3.1.1)."""
    from vo_models.uws.models import Parameter

    listed = [
        Parameter(id=name, value=clean(value))
        for name, value in json.loads(job.parameters)
        if name in tree.shown
    ]
    for path in sorted(tree.jobs(request).directory(job.id).glob(f"{UPLOADED}*")):
        part = path.name.removeprefix(UPLOADED)
        url = f"{tree.job_url(request, job.id)}/parameters/{part}"
        listed.append(Parameter(id=clean(unquote(part)), value=url, by_reference=True))
    return parameters_class().model_construct(listed=listed)  # its __init__ wants a field for every name


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
    body = await run_in_threadpool(parameters_document, tree, request, found)
    return Response(body, headers={"Content-Type": XML})


def parameters_document(tree: Tree, request: Request, found: Job) -> bytes:
    return document(parameters_model(tree, request, found), skip_empty=True)


async def parameter_file(tree: Tree, request: Request) -> Response:
    """An inline upload, as it came."""
    jobs, id_, name = tree.jobs(request), request.path_params["id"], request.path_params["name"]
    await run_in_threadpool(jobs.get, id_)
    path = jobs.directory(id_) / upload_file(name)
    if not path.is_file():
        raise NotFoundFault(f"The job {id_} has no file {name}")
    return FileResponse(path, media_type="application/octet-stream")


async def results(tree: Tree, request: Request) -> Response:
    found = await tree.job(request)
    body = await run_in_threadpool(results_document, tree, request, found)
    return Response(body, headers={"Content-Type": XML})


def results_document(tree: Tree, request: Request, found: Job) -> bytes:
    from vo_models.uws.models import Results

    return document(Results(results=result_refs(tree, request, found)))


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
