"""Works off the queue of jobs: threads in every process, and leases, so that no job is lost or done twice."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, cast

from sqlalchemy import CursorResult, Select, Update, delete, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, aliased

from service.errors import BusyFault, ServiceFault
from service.limits import Limits
from service.respond import Document
from service.state import Job, State

log = logging.getLogger("doppel.jobs")

LEASE_SECONDS = 15.0
LOOK_SECONDS = 1.0  # how often a worker looks for the jobs of other processes
HELD_SECONDS = 0.25  # how often a worker looks whether what it runs was ended through another process
ATTEMPTS = 2
UNREAD = {"synchronize_session": False}  # of updates in sessions that have read nothing before
INTERNAL = "Internal error: it is in the log of the service"
UNREACHABLE = "The state database does not answer; jobs wait for it"


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


ResultFile = tuple[str, str, str | None, int]  # name, media type, name to save it under, bytes
Results = Iterator[tuple[str, Document]]
Execute = Callable[[Job, Path, Stop, ExitStack], Results]  # each result is written before the next is made


class Workers:
    """The threads of one process; `executes` tells by a job's kind what does its work, in one of them."""

    def __init__(self, state: State, limits: Limits, executes: Mapping[str, Execute]) -> None:
        self.state, self.limits, self.executes = state, limits, executes
        self.name = secrets.token_hex(8)  # of this process, as holder of leases
        self.changed = threading.Condition()
        self.awaited = False  # whether a job was queued since the queue was last looked at
        self.running: dict[str, Stop] = {}
        self.closing = threading.Event()
        self.pool = ThreadPoolExecutor(limits.running_jobs, "doppel-job")
        self.slots = threading.Semaphore(limits.running_jobs)
        self.threads: list[threading.Thread] = []

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
        self.slots.release()  # who waits for a place need not wait longer
        for thread in self.threads:
            thread.join()
        for id_ in list(self.running):  # only now: what was just taken is among them
            self.halt(id_)
        self.pool.shutdown()

    def notify(self) -> None:
        """Somebody changed the queue; a job may have come."""
        with self.changed:
            self.awaited = True
            self.changed.notify_all()

    def halt(self, id_: str) -> None:
        """Ends what runs here of a job."""
        running = self.running.get(id_)
        if running is not None:
            running.stop()

    def _hand_out(self) -> None:
        """Gives queued jobs to the pool, never more than it can run."""
        while not self.closing.is_set():
            if not self.slots.acquire(timeout=LOOK_SECONDS):
                continue
            job = None if self.closing.is_set() else self._next()
            if job is None:
                self.slots.release()
                self._wait_for_work()
                continue
            stop = self.running[job.id] = Stop()
            self.pool.submit(self._run, job, stop).add_done_callback(self._done)

    def _next(self) -> Job | None:
        try:
            return self._claim()
        except OperationalError:
            log.exception(UNREACHABLE)
            return None

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
            for id_ in session.scalars(waiting()).all():
                taken = (
                    update(Job)
                    .where(Job.id == id_, Job.phase == "QUEUED")
                    .values(
                        phase="EXECUTING",
                        started=now,
                        worker=self.name,
                        lease=now + LEASE_SECONDS,
                        attempts=Job.attempts + 1,
                    )
                )
                if job := session.scalars(taken.returning(Job), execution_options=UNREAD).first():
                    return job
        return None

    def _run(self, job: Job, stop: Stop) -> None:
        """Whatever happens, the job is told how it ended; a bug goes on to the log."""
        outcome: dict[str, object] = {"phase": "ERROR", "error": INTERNAL, "fault": ServiceFault.fault}
        try:
            outcome = {"phase": "COMPLETED", "results": json.dumps(self._results(job, stop))}
        except ServiceFault as fault:
            outcome = {"phase": "ERROR", "error": str(fault), "fault": fault.fault}
        finally:
            del self.running[job.id]
            if self.closing.is_set() and outcome["phase"] == "ERROR":
                self._finish(job.id, {"phase": "QUEUED", "started": None, "attempts": job.attempts - 1})
            else:
                self._finish(job.id, {**outcome, "ended": time.time()})

    def _results(self, job: Job, stop: Stop) -> list[ResultFile]:
        """Writes the results one after the other; each is told of when all of it is there."""
        directory = self.state.job_directory(job.id)
        directory.mkdir(parents=True, exist_ok=True)
        made: list[ResultFile] = []
        with ExitStack() as stack:
            for name, document in self.executes[job.kind](job, directory, stop, stack):
                size = write_whole(directory / name, document)
                made.append((name, document.media_type, document.filename, size))
        return made

    def _finish(self, id_: str, outcome: dict[str, object]) -> None:
        """Only the holder of the lease says how a job ended: an aborted job stays aborted."""
        with self.state.session() as session:
            kept = changed(
                session,
                update(Job)
                .where(Job.id == id_, Job.phase == "EXECUTING", Job.worker == self.name)
                .values(lease=None, worker=None, **outcome),
            )
            gone = not kept and session.get(Job, id_) is None
        if gone:
            shutil.rmtree(self.state.job_directory(id_), ignore_errors=True)

    def _keep(self) -> None:
        """Stops what was ended through other processes, and from time to time does what keeps jobs going."""
        due = 0.0
        while not self.closing.wait(HELD_SECONDS):
            try:
                if self.running:
                    self.let_go()
                if time.monotonic() >= due:
                    self.renew()
                    self.take_over()
                    self.purge()
                    due = time.monotonic() + LEASE_SECONDS / 5
            except OperationalError:
                log.exception(UNREACHABLE)

    def let_go(self) -> None:
        """Stops what is not ours any more: a job that was aborted or deleted through another process."""
        ids = list(self.running)
        with self.state.session() as session:
            held = set(
                session.scalars(select(Job.id).where(Job.worker == self.name, Job.phase == "EXECUTING"))
            )
        for id_ in ids:
            if id_ not in held:
                self.halt(id_)

    def renew(self) -> None:
        """The leases on what runs here."""
        with self.state.session() as session:
            mine = (Job.worker == self.name, Job.phase == "EXECUTING")
            session.execute(update(Job).where(*mine).values(lease=time.time() + LEASE_SECONDS))

    def take_over(self) -> None:
        """Jobs whose worker is gone run again, and those that lost it twice are told ERROR."""
        lost = (Job.phase == "EXECUTING", Job.lease < time.time())
        with self.state.session() as session:
            again = changed(
                session,
                update(Job)
                .where(*lost, Job.attempts < ATTEMPTS)
                .values(phase="QUEUED", started=None, worker=None, lease=None),
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
                    fault=BusyFault.fault,
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
            self.halt(id_)
            shutil.rmtree(self.state.job_directory(id_), ignore_errors=True)


def write_whole(path: Path, document: Document) -> int:
    """Beside its final name first, so that half a result is never seen; the bytes written."""
    part, size = path.with_name(f"{path.name}.part"), 0
    with part.open("wb") as file:
        for chunk in document.chunks:
            size += file.write(chunk)
    part.replace(path)
    return size


def changed(session: Session, statement: Update) -> int:
    """How many rows an update changed."""
    return cast("CursorResult[Any]", session.execute(statement, execution_options=UNREAD)).rowcount


@cache
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
