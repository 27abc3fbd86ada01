"""Asynchronous jobs (UWS 1.1): a queue in the state database, workers in every process, leases on jobs."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import CursorResult, Select, Update, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from service.errors import BusyFault, ForbiddenFault, NotFoundFault, ServiceFault
from service.limits import Limits
from service.respond import Document
from service.state import Job, State

log = logging.getLogger("doppel.jobs")

ACTIVE = ("PENDING", "QUEUED", "EXECUTING")
FINAL = ("COMPLETED", "ERROR", "ABORTED", "ARCHIVED")
PHASES = (*ACTIVE, *FINAL, "UNKNOWN", "HELD", "SUSPENDED")
LEASE_SECONDS = 15.0
LOOK_SECONDS = 1.0  # how often a worker looks for the jobs of other processes
ATTEMPTS = 2
SOME_JOBS = 20  # as many of the last ones tell how long a job takes
INTERNAL = "Internal error: it is in the log of the service"


class Stop:
    """Ends a running job from another thread; what `on_stop` gets is called once, also when it comes late."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: list[Callable[[], None]] = []
        self.stopped = False

    def on_stop(self, end: Callable[[], None]) -> None:
        with self._lock:
            if not self.stopped:
                self._ends.append(end)
                return
        end()

    def stop(self) -> None:
        with self._lock:
            ends, self._ends, self.stopped = self._ends, [], True
        for end in ends:
            end()


Execute = Callable[[Job, Path, Stop, ExitStack], Document]


@dataclass(frozen=True, slots=True)
class Filter:
    """What a job list shows (UWS 1.1, 2.2.2.1)."""

    phases: tuple[str, ...] = ()
    after: float | None = None
    last: int | None = None


class Jobs:
    """The jobs of one state database. `execute` does the work of one; it is called in a worker's thread."""

    def __init__(self, state: State, limits: Limits, execute: Execute) -> None:
        self.state, self.limits, self.execute = state, limits, execute
        self.name = secrets.token_hex(8)  # of this process, as holder of leases
        self.changed = threading.Condition()
        self.awaited = False  # whether a job was queued since the queue was last looked at
        self.running: dict[str, Stop] = {}
        self.closing = threading.Event()
        self.pool = ThreadPoolExecutor(limits.running_jobs, "doppel-job")
        self.slots = threading.Semaphore(limits.running_jobs)
        self.threads: list[threading.Thread] = []

    # -- what clients do ------------------------------------------------------------------------------

    def create(self, owner: str, parameters: Sequence[tuple[str, str]], run_id: str | None) -> Job:
        """A PENDING job; BusyFault where the client has too many already."""
        now = time.time()
        job = Job(
            id=secrets.token_hex(12),
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
            return existing(session, id_)

    def listed(self, owner: str, wanted: Filter) -> Sequence[Job]:
        """The caller's own jobs, the newest first; archived ones only where they are asked for."""
        with self.state.session() as session:
            return session.scalars(listing(owner, wanted)).all()

    def set_parameters(self, id_: str, parameters: Sequence[tuple[str, str]]) -> None:
        """Replaces the parameters named, UPLOAD adds up; only while PENDING (UWS 2.2.3; DALI 2.1)."""
        with self.state.session() as session:
            job = existing(session, id_)
            if job.phase != "PENDING":
                raise ForbiddenFault(f"Parameters are set while a job is PENDING; this one is {job.phase}")
            old = [tuple(pair) for pair in json.loads(job.parameters)]
            new = {name for name, _ in parameters} - {"UPLOAD"}
            job.parameters = json.dumps([*(p for p in old if p[0] not in new), *parameters])

    def set_duration(self, id_: str, seconds: int) -> None:
        """At most the hard limit; 0 means as long as that (UWS 2.1.4)."""
        most = self.limits.max_async_seconds
        with self.state.session() as session:
            existing(session, id_).duration = min(seconds, most) if seconds > 0 else most

    def set_destruction(self, id_: str, when: float) -> None:
        with self.state.session() as session:
            job = existing(session, id_)
            job.destruction = min(when, job.created + self.limits.max_retention_seconds)

    def run(self, id_: str) -> None:
        """Puts a PENDING job into the queue; a job that runs or waits already is left as it is."""
        with self.state.session() as session:
            job = existing(session, id_)
            if job.phase in ("QUEUED", "EXECUTING"):
                return
            if job.phase != "PENDING":
                raise ForbiddenFault(f"A job is run from PENDING; this one is {job.phase}")
            job.phase, job.queued = "QUEUED", time.time()
        with self.changed:
            self.awaited = True
            self.changed.notify_all()

    def abort(self, id_: str) -> None:
        """Ends a job that is not over yet; one that is stays as it is."""
        with self.state.session() as session:
            job = existing(session, id_)
            if job.phase in ACTIVE:
                job.phase, job.ended = "ABORTED", time.time()
        self._stop(id_)
        self.notify()

    def delete(self, id_: str) -> None:
        """Removes a job with its files; a running one is stopped."""
        with self.state.session() as session:
            session.delete(existing(session, id_))
        self._stop(id_)
        shutil.rmtree(self.directory(id_), ignore_errors=True)
        self.notify()

    def directory(self, id_: str) -> Path:
        """Where the files of a job lie: its inline uploads, `result`."""
        return self.state.directory / "jobs" / id_

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

    # -- the workers ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to work off the queue."""
        self.threads = [
            threading.Thread(target=self._hand_out, name="doppel-queue", daemon=True),
            threading.Thread(target=self._keep, name="doppel-leases", daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Gives running jobs back to the queue, for another process or the next start."""
        self.closing.set()
        self.notify()
        for id_ in list(self.running):
            self._stop(id_)
        for thread in self.threads:
            thread.join()
        self.pool.shutdown()

    def notify(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def _stop(self, id_: str) -> None:
        running = self.running.get(id_)
        if running is not None:
            running.stop()

    def _hand_out(self) -> None:
        """Gives queued jobs to the pool, never more than it can run."""
        while not self.closing.is_set():
            if not self.slots.acquire(timeout=LOOK_SECONDS):
                continue
            job = self._claim()
            if job is None:
                self.slots.release()
                self._wait_for_work()
                continue
            stop = self.running[job.id] = Stop()
            self.pool.submit(self._run, job, stop).add_done_callback(self._done)

    def _wait_for_work(self) -> None:
        """Until a job is queued here, or it is time to look for those of other processes."""
        with self.changed:
            if not self.closing.is_set() and not self.awaited:
                self.changed.wait(LOOK_SECONDS)
            self.awaited = False

    def _done(self, run: Future[None]) -> None:
        self.slots.release()
        if run.exception() is not None:
            log.error("Internal error in a job", exc_info=run.exception())

    def _claim(self) -> Job | None:
        """The next job, now this process's own: of the client with the fewest running, the oldest."""
        now = time.time()
        with self.state.session() as session:
            candidates = session.scalars(waiting()).all()
            for id_ in candidates:
                taken = changed(
                    session,
                    update(Job)
                    .where(Job.id == id_, Job.phase == "QUEUED")
                    .values(
                        phase="EXECUTING",
                        started=now,
                        worker=self.name,
                        lease=now + LEASE_SECONDS,
                        attempts=Job.attempts + 1,
                    ),
                )
                if taken:
                    return session.get(Job, id_)
        return None

    def _run(self, job: Job, stop: Stop) -> None:
        """Whatever happens, the job is told how it ended; a bug goes on to the log."""
        outcome: dict[str, object] = {"phase": "ERROR", "error": INTERNAL, "error_kind": "fatal"}
        try:
            outcome = self._result(job, stop)
        except ServiceFault as fault:
            kind = "transient" if fault.fault == "TransientFault" else "fatal"
            outcome = {"phase": "ERROR", "error": str(fault), "error_kind": kind}
        finally:
            del self.running[job.id]
            if self.closing.is_set() and outcome["phase"] == "ERROR":
                outcome = {"phase": "QUEUED"}
            self._finish(job.id, outcome)

    def _result(self, job: Job, stop: Stop) -> dict[str, object]:
        """Writes the result beside its final name first, so that half a result is never seen."""
        directory = self.directory(job.id)
        directory.mkdir(parents=True, exist_ok=True)
        part, size = directory / "result.part", 0
        with ExitStack() as stack:
            document = self.execute(job, directory, stop, stack)
            with part.open("wb") as file:
                for chunk in document.chunks:
                    size += file.write(chunk)
        part.replace(directory / "result")
        return {
            "phase": "COMPLETED",
            "media_type": document.media_type,
            "filename": document.filename,
            "size": size,
        }

    def _finish(self, id_: str, outcome: dict[str, object]) -> None:
        """Only the holder of the lease says how a job ended: an aborted job stays aborted."""
        with self.state.session() as session:
            kept = changed(
                session,
                update(Job)
                .where(Job.id == id_, Job.phase == "EXECUTING", Job.worker == self.name)
                .values(ended=time.time(), lease=None, worker=None, **outcome),
            )
            known = session.get(Job, id_) is not None
        if not kept and not known:
            shutil.rmtree(self.directory(id_), ignore_errors=True)
        self.notify()

    def _keep(self) -> None:
        """Renews leases, takes up what other processes left, removes what is past its destruction."""
        while not self.closing.wait(LEASE_SECONDS / 5):
            self.renew()
            self.take_over()
            self.purge()

    def renew(self) -> None:
        """Our leases; a job that was aborted or deleted through another process is stopped."""
        ids = list(self.running)
        now = time.time()
        with self.state.session() as session:
            mine = (Job.worker == self.name, Job.phase == "EXECUTING")
            session.execute(update(Job).where(*mine).values(lease=now + LEASE_SECONDS))
            held = set(session.scalars(select(Job.id).where(*mine)))
        for id_ in ids:
            if id_ not in held:
                self._stop(id_)

    def take_over(self) -> None:
        """Jobs whose worker is gone run again, and those that lost it twice are told ERROR."""
        lost = (Job.phase == "EXECUTING", Job.lease < time.time())
        with self.state.session() as session:
            again = changed(
                session,
                update(Job)
                .where(*lost, Job.attempts < ATTEMPTS)
                .values(phase="QUEUED", worker=None, lease=None),
            )
            session.execute(
                update(Job)
                .where(*lost)
                .values(
                    phase="ERROR",
                    ended=time.time(),
                    worker=None,
                    lease=None,
                    error=f"The server ended {ATTEMPTS} times while this job ran",
                    error_kind="transient",
                )
            )
        if again:
            self.notify()

    def purge(self) -> None:
        """Destroys jobs at their time."""
        with self.state.session() as session:
            over = session.scalars(select(Job.id).where(Job.destruction < time.time())).all()
            session.execute(delete(Job).where(Job.id.in_(over)))
        for id_ in over:
            self._stop(id_)
            shutil.rmtree(self.directory(id_), ignore_errors=True)


def changed(session: Session, statement: Update) -> int:
    """How many rows an update changed."""
    return cast("CursorResult[Any]", session.execute(statement)).rowcount


def existing(session: Session, id_: str) -> Job:
    job = session.get(Job, id_)
    if job is None:
        raise NotFoundFault(f"There is no job {id_}")
    return job


def listing(owner: str, wanted: Filter) -> Select[Job]:
    query = select(Job).where(Job.owner == owner).order_by(Job.created.desc())
    if wanted.phases:
        query = query.where(Job.phase.in_(wanted.phases))
    else:
        query = query.where(Job.phase != "ARCHIVED")
    if wanted.after is not None:
        query = query.where(Job.created > wanted.after)
    return query if wanted.last is None else query.limit(wanted.last)


def waiting() -> Select[str]:
    """Queued jobs in the order in which they are taken: fair between clients, then by time."""
    other = aliased(Job)
    busy = (
        select(func.count())
        .where(other.owner == Job.owner, other.phase == "EXECUTING")
        .correlate(Job)
        .scalar_subquery()
    )
    return select(Job.id).where(Job.phase == "QUEUED").order_by(busy, Job.queued).limit(10)
