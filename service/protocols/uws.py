"""The job tree of UWS 1.1, below /tap/async."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from registry_metadata.records import document
from service.errors import NotFoundFault, UsageFault
from service.formats.votable import MEDIA_TYPE, clean, error_document
from service.jobs import ACTIVE, PHASES, Filter, Jobs
from service.protocols.dali import Params, choose_word, iso, request_params, timestamp
from service.state import Job

if TYPE_CHECKING:
    from vo_models.uws.models import Parameters

XML = "text/xml"
CONTROL = ("PHASE", "ACTION", "DESTRUCTION", "EXECUTIONDURATION", "WAIT")
SHOWN = ("REQUEST", "LANG", "QUERY", "FORMAT", "RESPONSEFORMAT", "MAXREC", "RUNID", "VERSION", "UPLOAD")
UPLOADED = "upload-"  # begins the names of files that came with a job
SOON, LATER = 0.01, 0.25  # seconds between two looks at a job that is waited for
PIECE = 1 << 20


def jobs_of(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


def owner_of(request: Request) -> str:
    """Nobody logs in here: jobs belong to the address they came from."""
    return request.client.host if request.client else "-"


def job_url(request: Request, id_: str) -> str:
    return f"{request.app.state.base_url}/tap/async/{id_}"


def shown(text: str | None) -> str | None:
    """A client's text without what XML cannot hold."""
    return None if text is None else clean(text)


def see_other(url: str) -> Response:
    return RedirectResponse(url, 303)


def moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


# -- the list ---------------------------------------------------------------------------------------------


async def create(request: Request) -> Response:
    """A new job; `PHASE=RUN` starts it at once."""
    params = await request_params(request)
    id_ = await run_in_threadpool(create_job, jobs_of(request), owner_of(request), params)
    return see_other(job_url(request, id_))


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


async def job_list(request: Request) -> Response:
    wanted = list_filter(await request_params(request))
    found = await run_in_threadpool(jobs_of(request).listed, owner_of(request), wanted)
    return Response(await run_in_threadpool(list_document, request, found), headers={"Content-Type": XML})


def list_filter(params: Params) -> Filter:
    phases = tuple(choose_word("PHASE", text, PHASES) for text in params.all("PHASE"))
    after = params.one("AFTER")
    return Filter(
        phases,
        None if after is None else timestamp("AFTER", after).timestamp(),
        params.integer("LAST", low=0),
    )


def list_document(request: Request, found: Sequence[Job]) -> bytes:
    from vo_models.uws import models as uws
    from vo_models.uws.types import ExecutionPhase

    refs = [
        uws.ShortJobDescription(
            job_id=job.id,
            phase=ExecutionPhase(job.phase),
            run_id=shown(job.run_id),
            creation_time=moment(job.created),
            href=job_url(request, job.id),
        )
        for job in found
    ]
    return document(uws.Jobs(jobref=refs), skip_empty=True)


# -- one job ----------------------------------------------------------------------------------------------


async def job(request: Request) -> Response:
    """The whole job; `WAIT` blocks while it is under way (UWS 1.1, 2.2.1.2)."""
    params = await request_params(request)
    id_ = request.path_params["id"]
    if request.method == "POST":
        return await post_job(request, params)
    found = await run_in_threadpool(jobs_of(request).get, id_)
    seconds = params.integer("WAIT", low=-1)
    if seconds is not None:
        found = await waited(request, found, seconds, params.one("PHASE"))
    body = await run_in_threadpool(job_document, request, found)
    return Response(body, headers={"Content-Type": XML})


async def waited(request: Request, found: Job, seconds: int, phase: str | None) -> Job:
    """The job when its phase is no longer the one it had, or the time is over."""
    jobs, before = jobs_of(request), found.phase
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


async def post_job(request: Request, params: Params) -> Response:
    action = params.one("ACTION")
    if action is None:
        raise UsageFault("A job takes ACTION=DELETE; its parameters go to /parameters, its phase to /phase")
    choose_word("ACTION", action, ("DELETE",))
    return await delete(request)


async def delete(request: Request) -> Response:
    await run_in_threadpool(jobs_of(request).delete, request.path_params["id"])
    return see_other(f"{request.app.state.base_url}/tap/async")


def job_document(request: Request, job: Job) -> bytes:
    from vo_models.uws import models as uws
    from vo_models.uws.types import ErrorType, ExecutionPhase

    generic: Any = uws.JobSummary
    summary = generic[parameters_class()](
        job_id=job.id,
        run_id=shown(job.run_id),
        owner_id=None,
        phase=ExecutionPhase(job.phase),
        quote=moment(jobs_of(request).quote(job)) if job.phase == "QUEUED" else None,
        creation_time=moment(job.created),
        start_time=moment(job.started),
        end_time=moment(job.ended),
        execution_duration=job.duration,
        destruction=moment(job.destruction),
        parameters=parameters_model(request, job),
        results=uws.Results(results=result_refs(request, job)),
        error_summary=None
        if job.error is None
        else uws.ErrorSummary(message=clean(job.error), type=ErrorType(job.error_kind), has_detail=True),
    )
    return document(summary)


def result_refs(request: Request, job: Job) -> list[Any]:
    from vo_models.uws.models import ResultReference

    if job.phase != "COMPLETED":
        return []
    url = f"{job_url(request, job.id)}/results/result"
    return [ResultReference(id="result", href=url, size=job.size, mime_type=job.media_type)]


@cache
def parameters_class() -> type[Parameters]:
    """vo-models' parameters as a list: UPLOAD may repeat, and inline files have names of their own."""
    from pydantic import create_model
    from vo_models.uws.models import MultiValuedParameter, Parameters

    fields: Any = {"listed": (MultiValuedParameter | None, None)}
    made: type[Parameters] = create_model("TapParameters", __base__=Parameters, **fields)
    return made


def parameters_model(request: Request, job: Job) -> Parameters:
    """What was asked; inline files by reference (UWS 1.1, 2.2.3.1.1)."""
    from vo_models.uws.models import Parameter

    listed = [
        Parameter(id=name, value=clean(value)) for name, value in json.loads(job.parameters) if name in SHOWN
    ]
    for path in sorted(jobs_of(request).directory(job.id).glob(f"{UPLOADED}*")):
        part = path.name.removeprefix(UPLOADED)
        url = f"{job_url(request, job.id)}/parameters/{part}"
        listed.append(Parameter(id=clean(unquote(part)), value=url, by_reference=True))
    return parameters_class().model_construct(listed=listed)  # its __init__ wants a field for every name


# -- the children of a job --------------------------------------------------------------------------------


async def phase(request: Request) -> Response:
    return await control(request, "PHASE")


async def duration(request: Request) -> Response:
    return await control(request, "EXECUTIONDURATION")


async def destruction(request: Request) -> Response:
    return await control(request, "DESTRUCTION")


async def control(request: Request, name: str) -> Response:
    """A value of the job: read as text, or set by POST, which leads back to the job."""
    jobs, id_ = jobs_of(request), request.path_params["id"]
    if request.method == "POST":
        params = await request_params(request)
        params.required(name)
        await run_in_threadpool(set_control, jobs, id_, name, params)
        return see_other(job_url(request, id_))
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


async def quoted(request: Request) -> Response:
    """When the job will be over; empty where nobody knows."""
    jobs = jobs_of(request)
    found = await run_in_threadpool(jobs.get, request.path_params["id"])
    when = await run_in_threadpool(jobs.quote, found) if found.phase == "QUEUED" else None
    return PlainTextResponse("" if when is None else iso(datetime.fromtimestamp(when, UTC)))


async def owner(request: Request) -> Response:
    await run_in_threadpool(jobs_of(request).get, request.path_params["id"])
    return PlainTextResponse("")


async def error(request: Request) -> Response:
    found = await run_in_threadpool(jobs_of(request).get, request.path_params["id"])
    if found.error is None:
        raise NotFoundFault(f"The job {found.id} has no error")
    return Response(error_document(found.error), headers={"Content-Type": MEDIA_TYPE})


async def parameters(request: Request) -> Response:
    jobs, id_ = jobs_of(request), request.path_params["id"]
    if request.method == "POST":
        params = await request_params(request)
        await run_in_threadpool(jobs.set_parameters, id_, job_parameters(params))
        await run_in_threadpool(keep_files, jobs.directory(id_), params)
        return see_other(job_url(request, id_))
    found = await run_in_threadpool(jobs.get, id_)
    body = await run_in_threadpool(parameters_document, request, found)
    return Response(body, headers={"Content-Type": XML})


def parameters_document(request: Request, found: Job) -> bytes:
    return document(parameters_model(request, found), skip_empty=True)


async def parameter_file(request: Request) -> Response:
    """An inline upload, as it came."""
    jobs, id_, name = jobs_of(request), request.path_params["id"], request.path_params["name"]
    await run_in_threadpool(jobs.get, id_)
    path = jobs.directory(id_) / upload_file(name)
    if not path.is_file():
        raise NotFoundFault(f"The job {id_} has no file {name}")
    return FileResponse(path, media_type="application/octet-stream")


async def results(request: Request) -> Response:
    found = await run_in_threadpool(jobs_of(request).get, request.path_params["id"])
    body = await run_in_threadpool(results_document, request, found)
    return Response(body, headers={"Content-Type": XML})


def results_document(request: Request, found: Job) -> bytes:
    from vo_models.uws.models import Results

    return document(Results(results=result_refs(request, found)))


async def result(request: Request) -> Response:
    jobs = jobs_of(request)
    found = await run_in_threadpool(jobs.get, request.path_params["id"])
    if found.phase != "COMPLETED":
        raise NotFoundFault(f"The job {found.id} has no result: it is {found.phase}")
    headers = {"Content-Type": str(found.media_type)}
    if found.filename:
        headers["Content-Disposition"] = f'inline; filename="{found.filename}"'
    return FileResponse(jobs.directory(found.id) / "result", headers=headers)


GET_POST = ["GET", "POST"]
routes: list[BaseRoute] = [
    Route("/tap/async", job_list),
    Route("/tap/async", create, methods=["POST"]),
    Route("/tap/async/{id}", job, methods=GET_POST),
    Route("/tap/async/{id}", delete, methods=["DELETE"]),
    Route("/tap/async/{id}/phase", phase, methods=GET_POST),
    Route("/tap/async/{id}/executionduration", duration, methods=GET_POST),
    Route("/tap/async/{id}/destruction", destruction, methods=GET_POST),
    Route("/tap/async/{id}/quote", quoted),
    Route("/tap/async/{id}/owner", owner),
    Route("/tap/async/{id}/error", error),
    Route("/tap/async/{id}/parameters", parameters, methods=GET_POST),
    Route("/tap/async/{id}/parameters/{name:path}", parameter_file),
    Route("/tap/async/{id}/results", results),
    Route("/tap/async/{id}/results/result", result),
]
