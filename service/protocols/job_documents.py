"""Where an endpoint's jobs are, and what is told of them: the documents of UWS 1.1."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from registry_metadata.records import document
from service.errors import BusyFault
from service.formats.votable import clean
from service.jobs import Jobs
from service.state import Job
from service.workers import ResultFile

if TYPE_CHECKING:
    from vo_models.uws.models import Parameters

UPLOADED = "upload-"  # begins the names of files that came with a job


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


def parameters_document(tree: Tree, request: Request, found: Job) -> bytes:
    return document(parameters_model(tree, request, found), skip_empty=True)


def results_document(tree: Tree, request: Request, found: Job) -> bytes:
    from vo_models.uws.models import Results

    return document(Results(results=result_refs(tree, request, found)))


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


def error_type(job: Job) -> Any:
    """Whether it may go well another time."""
    from vo_models.uws.types import ErrorType

    return ErrorType("transient" if job.fault == BusyFault.fault else "fatal")


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


def shown(text: str | None) -> str | None:
    """A client's text without what XML cannot hold."""
    return None if text is None else clean(text)


def moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
