"""Asynchronous jobs (UWS 1.1) in the state database: what the clients of an endpoint do with theirs."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from service.errors import BusyFault, ForbiddenFault, NotFoundFault
from service.limits import Limits
from service.state import Job, State
from service.workers import Workers

ACTIVE = ("PENDING", "QUEUED", "EXECUTING")
FINAL = ("COMPLETED", "ERROR", "ABORTED", "ARCHIVED")
PHASES = (*ACTIVE, *FINAL, "UNKNOWN", "HELD", "SUSPENDED")
SOME_JOBS = 20  # as many of the last ones tell how long a job takes


@dataclass(frozen=True, slots=True)
class Filter:
    """What a job list shows (UWS 1.1, 2.2.2.1)."""

    phases: tuple[str, ...] = ()
    after: float | None = None
    last: int | None = None


class Jobs:
    """The jobs of one endpoint, as its clients see them; `kind` tells them from those of others."""

    def __init__(self, kind: str, state: State, limits: Limits, workers: Workers) -> None:
        self.kind, self.state, self.limits, self.workers = kind, state, limits, workers

    def create(self, owner: str, parameters: Sequence[tuple[str, str]], run_id: str | None) -> Job:
        """A PENDING job; BusyFault where the client has too many already, of all kinds together."""
        now = time.time()
        job = Job(
            id=secrets.token_hex(12),
            kind=self.kind,
            owner=owner,
            phase="PENDING",
            run_id=run_id,
            created=now,
            destruction=now + self.limits.retention_seconds,
            duration=self.limits.async_seconds,
            parameters=json.dumps(list(parameters)),
        )
        with self.state.session() as session:
            count = session.scalar(select(func.count()).where(Job.owner == owner)) or 0
            if count >= self.limits.jobs_per_client:
                raise BusyFault(
                    f"You have {count} jobs, as many as are allowed: delete some, or wait for the end of some"
                )
            session.add(job)
        return job

    def get(self, id_: str) -> Job:
        with self.state.session() as session:
            return self._existing(session, id_)

    def listed(self, owner: str, wanted: Filter) -> Sequence[Job]:
        """The caller's own jobs, the newest first; archived ones only where they are asked for."""
        with self.state.session() as session:
            return session.scalars(listing(self.kind, owner, wanted)).all()

    def set_parameters(self, id_: str, parameters: Sequence[tuple[str, str]]) -> None:
        """Replaces the parameters named, UPLOAD adds up; only while PENDING (UWS 2.2.3; DALI 2.1)."""
        with self.state.session() as session:
            job = self._existing(session, id_)
            if job.phase != "PENDING":
                raise ForbiddenFault(f"Parameters are set while a job is PENDING; this one is {job.phase}")
            old = [tuple(pair) for pair in json.loads(job.parameters)]
            new = {name for name, _ in parameters} - {"UPLOAD"}
            job.parameters = json.dumps([*(p for p in old if p[0] not in new), *parameters])

    def set_duration(self, id_: str, seconds: int) -> None:
        """At most the hard limit; 0 means as long as that (UWS 2.1.4)."""
        most = self.limits.max_async_seconds
        with self.state.session() as session:
            self._existing(session, id_).duration = min(seconds, most) if seconds > 0 else most

    def set_destruction(self, id_: str, when: float) -> None:
        with self.state.session() as session:
            job = self._existing(session, id_)
            job.destruction = min(when, job.created + self.limits.max_retention_seconds)

    def run(self, id_: str) -> None:
        """Puts a PENDING job into the queue; a job that runs or waits already is left as it is."""
        with self.state.session() as session:
            job = self._existing(session, id_)
            if job.phase in ("QUEUED", "EXECUTING"):
                return
            if job.phase != "PENDING":
                raise ForbiddenFault(f"A job is run from PENDING; this one is {job.phase}")
            job.phase, job.queued = "QUEUED", time.time()
        self.workers.notify()

    def abort(self, id_: str) -> None:
        """Ends a job that is not over yet; one that is stays as it is."""
        with self.state.session() as session:
            job = self._existing(session, id_)
            if job.phase in ACTIVE:
                job.phase, job.ended = "ABORTED", time.time()
        self.workers.halt(id_)

    def delete(self, id_: str) -> None:
        """Removes a job with its files; a running one is stopped."""
        with self.state.session() as session:
            session.delete(self._existing(session, id_))
        self.workers.halt(id_)
        shutil.rmtree(self.directory(id_), ignore_errors=True)

    def directory(self, id_: str) -> Path:
        """Where the files of a job lie: its inline uploads, its results."""
        return self.state.job_directory(id_)

    def _existing(self, session: Session, id_: str) -> Job:
        job = session.get(Job, id_)
        if job is None or job.kind != self.kind:
            raise NotFoundFault(f"There is no job {id_}")
        return job

    def quote(self, job: Job) -> float:
        """When a waiting job will be over, by the queue before it and what the last jobs took."""
        with self.state.session() as session:
            ahead = session.scalar(
                select(func.count()).where(
                    (Job.phase == "EXECUTING") | ((Job.phase == "QUEUED") & (Job.queued <= (job.queued or 0)))
                )
            )
            times = session.execute(
                select(Job.started, Job.ended)
                .where(Job.phase == "COMPLETED")
                .order_by(Job.ended.desc())
                .limit(SOME_JOBS)
            ).all()
        spent = [ended - started for started, ended in times if ended and started]
        each = max(sum(spent) / len(spent), 1.0) if spent else 1.0
        return time.time() + each * (1 + (ahead or 0) / self.limits.running_jobs)


def listing(kind: str, owner: str, wanted: Filter) -> Select[Job]:
    query = select(Job).where(Job.kind == kind, Job.owner == owner).order_by(Job.created.desc())
    if wanted.phases:
        query = query.where(Job.phase.in_(wanted.phases))
    else:
        query = query.where(Job.phase != "ARCHIVED")
    if wanted.after is not None:
        query = query.where(Job.created > wanted.after)
    return query if wanted.last is None else query.limit(wanted.last)
