"""UWS jobs: life cycle, fairness, leases, destruction; and a process that is killed in the middle."""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text, update

from service.errors import BusyFault, ForbiddenFault, NotFoundFault, TimeoutFault, UsageFault
from service.jobs import Filter, Jobs
from service.limits import Limits
from service.respond import Document
from service.state import Job, State
from service.workers import Execute, Results, Stop, Workers
from tests import pg
from tests.serving import PATIENCE

LIMITS = Limits(jobs_per_client=5, running_jobs=2)
KIND = "tap"
Make = Callable[..., Jobs]


def quick(job: Job, directory: Path, stop: Stop, stack: ExitStack) -> Results:
    yield "result", Document("text/plain", iter([b"done ", job.id.encode()]), "result.txt")


def endless(job: Job, directory: Path, stop: Stop, stack: ExitStack) -> Results:
    over = threading.Event()
    stop.on_stop(over.set)
    over.wait(PATIENCE)
    raise UsageFault("interrupted")
    yield  # it would be, if it ended


def idle(state: State, limits: Limits = LIMITS, kind: str = KIND) -> Jobs:
    """The jobs of an endpoint of which no worker is at work."""
    return Jobs(kind, state, limits, Workers(state, limits, {kind: quick}))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Of an empty state database: a file, or one in a real server."""
    if request.param == "sqlite":
        return ""
    return pg.database(request.getfixturevalue("pgvector_server"), f"state_{secrets.token_hex(4)}")


@pytest.fixture
def state(url: str, tmp_path: Path) -> Iterator[State]:
    found = State(url, tmp_path / "state")
    yield found
    found.close()


@pytest.fixture
def make(state: State) -> Iterator[Make]:
    made: list[Workers] = []

    def start(execute: Execute = quick, limits: Limits = LIMITS) -> Jobs:
        workers = Workers(state, limits, {KIND: execute})
        workers.start()
        made.append(workers)
        return Jobs(KIND, state, limits, workers)

    yield start
    for workers in made:
        workers.stop()


def until(jobs: Jobs, id_: str, *phases: str) -> Job:
    deadline = time.monotonic() + PATIENCE
    while (job := jobs.get(id_)).phase not in phases:
        assert time.monotonic() < deadline, job.phase
        time.sleep(0.005)
    return job


def ran(jobs: Jobs, phase: str) -> Job:
    """A new job that was started, in the phase that it was waited for."""
    job = jobs.create("me", [], None)
    jobs.run(job.id)
    return until(jobs, job.id, phase)


def test_u02_a_job_goes_from_pending_to_completed(make: Make) -> None:
    jobs = make()
    job = jobs.create("me", [("QUERY", "x")], "run 1")
    assert jobs.get(job.id).phase == "PENDING"
    jobs.run(job.id)
    done = until(jobs, job.id, "COMPLETED")
    assert (jobs.directory(job.id) / "result").read_text() == f"done {job.id}"
    assert json.loads(str(done.results)) == [["result", "text/plain", "result.txt", 5 + len(job.id)]]
    assert done.run_id == "run 1"
    assert done.started is not None
    assert done.ended is not None
    assert done.created - 1 < done.started < done.ended + 1  # a second for a clock that is set meanwhile


def test_u11_a_fault_is_told_and_a_bug_is_not(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    def failing(job: Job, directory: Path, stop: Stop, stack: ExitStack) -> Results:
        if job.run_id == "bug":
            raise RuntimeError("secret /etc/path")
        yield "first", Document("text/plain", iter([b"there"]))
        raise TimeoutFault("longer than 60 s")

    jobs = make(failing)
    late, bug = jobs.create("me", [], None), jobs.create("me", [], "bug")
    for job in (late, bug):
        jobs.run(job.id)
    told = until(jobs, late.id, "ERROR")
    assert (told.error, told.fault) == ("longer than 60 s", "TransientFault")
    assert told.results is None
    assert "secret" not in str(until(jobs, bug.id, "ERROR").error)
    jobs.workers.stop()
    assert "secret" in caplog.text


def test_u15_unknown_jobs_and_illegal_steps(make: Make) -> None:
    jobs = make()
    job = ran(jobs, "COMPLETED")
    with pytest.raises(ForbiddenFault, match="COMPLETED"):
        jobs.run(job.id)
    with pytest.raises(ForbiddenFault):
        jobs.set_parameters(job.id, [("QUERY", "y")])
    jobs.abort(job.id)
    assert jobs.get(job.id).phase == "COMPLETED"
    with pytest.raises(NotFoundFault):
        jobs.get("nothing")


def test_the_jobs_of_two_endpoints_are_apart_and_count_together(state: State) -> None:
    tap, soda = idle(state), idle(state, kind="soda")
    mine, other = tap.create("me", [], None), soda.create("me", [], None)
    assert [job.id for job in tap.listed("me", Filter())] == [mine.id]
    assert [job.id for job in soda.listed("me", Filter())] == [other.id]
    for act in (tap.get, tap.run, tap.abort, tap.delete):
        with pytest.raises(NotFoundFault):
            act(other.id)
    for _ in range(LIMITS.jobs_per_client - 2):
        soda.create("me", [], None)
    with pytest.raises(BusyFault):
        tap.create("me", [], None)


def test_abort_stops_what_runs(make: Make) -> None:
    jobs = make(endless)
    job = ran(jobs, "EXECUTING")
    jobs.abort(job.id)
    assert until(jobs, job.id, "ABORTED").error is None
    other = ran(jobs, "EXECUTING")
    jobs.delete(other.id)
    with pytest.raises(NotFoundFault):
        jobs.get(other.id)


def test_an_abort_from_another_process_stops_what_runs(make: Make, state: State) -> None:
    jobs = make(endless)
    job = ran(jobs, "EXECUTING")
    while job.id not in jobs.workers.running:  # the worker's thread is about to take it
        time.sleep(0.001)
    running = jobs.workers.running[job.id]
    idle(state).abort(job.id)
    jobs.workers.let_go()
    assert running.stopped


def test_t16_parameters_are_set_while_pending(make: Make) -> None:
    jobs = make()
    job = jobs.create("me", [("QUERY", "a"), ("UPLOAD", "t,param:a")], None)
    jobs.set_parameters(job.id, [("QUERY", "b"), ("UPLOAD", "u,param:b")])
    assert jobs.get(job.id).parameters == '[["UPLOAD", "t,param:a"], ["QUERY", "b"], ["UPLOAD", "u,param:b"]]'


def test_u04_u09_duration_and_destruction_are_bounded(make: Make) -> None:
    jobs = make()
    job = jobs.create("me", [], None)
    assert job.duration == LIMITS.async_seconds
    for asked, given in ((10, 10), (10**9, LIMITS.max_async_seconds), (0, LIMITS.max_async_seconds)):
        jobs.set_duration(job.id, asked)
        assert jobs.get(job.id).duration == given
    jobs.set_destruction(job.id, time.time() + 1e9)
    assert jobs.get(job.id).destruction == pytest.approx(job.created + LIMITS.max_retention_seconds)


def test_destruction_removes_job_and_files(make: Make) -> None:
    jobs = make()
    job = ran(jobs, "COMPLETED")
    jobs.set_destruction(job.id, time.time() - 1)
    jobs.workers.purge()
    assert not jobs.directory(job.id).exists()
    with pytest.raises(NotFoundFault):
        jobs.get(job.id)


def test_u13_lists_are_filtered_and_only_the_callers(make: Make) -> None:
    jobs = make()
    mine = [jobs.create("me", [], None) for _ in range(3)]
    jobs.create("you", [], None)
    jobs.run(mine[0].id)
    until(jobs, mine[0].id, "COMPLETED")
    assert [job.id for job in jobs.listed("me", Filter())] == [job.id for job in reversed(mine)]
    assert [job.id for job in jobs.listed("me", Filter(phases=("COMPLETED",)))] == [mine[0].id]
    assert [job.id for job in jobs.listed("me", Filter(last=1))] == [mine[2].id]
    assert [job.id for job in jobs.listed("me", Filter(after=mine[1].created))] == [mine[2].id]


def test_a_client_has_so_many_jobs_and_no_more(make: Make) -> None:
    jobs = make()
    for _ in range(LIMITS.jobs_per_client):
        jobs.create("me", [], None)
    with pytest.raises(BusyFault, match="5 jobs"):
        jobs.create("me", [], None)
    jobs.create("you", [], None)


def test_the_queue_is_fair_between_clients(state: State) -> None:
    jobs = idle(state)
    first = [jobs.create("many", [], None) for _ in range(3)]
    late = jobs.create("few", [], None)
    for job in (*first, late):
        jobs.run(job.id)
    taken = [jobs.workers._claim() for _ in range(3)]
    assert [job.id for job in taken if job] == [first[0].id, late.id, first[1].id]
    waiting = jobs.get(first[2].id)
    assert jobs.quote(waiting) > time.time()


def test_two_workers_never_take_the_same_job(state: State) -> None:
    one, two = idle(state, replace(LIMITS, jobs_per_client=100)), idle(state)
    ids = [one.create("me", [], None).id for _ in range(20)]
    for id_ in ids:
        one.run(id_)
    taken: list[str] = []

    def take(jobs: Jobs) -> None:
        while (job := jobs.workers._claim()) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=take, args=(jobs,)) for jobs in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(ids)


def test_a_lost_job_runs_again_and_then_is_told_error(state: State) -> None:
    jobs = idle(state)
    job = jobs.create("me", [], None)
    jobs.run(job.id)
    for phase in ("QUEUED", "ERROR"):
        assert jobs.workers._claim() is not None
        with state.session() as session:
            session.execute(update(Job).values(lease=time.time() - 1))
        jobs.workers.take_over()
        assert jobs.get(job.id).phase == phase
    assert "ended 2 times" in str(jobs.get(job.id).error)


def run_and_hang(url: str, directory: Path) -> None:
    state = State(url, directory)
    workers = Workers(state, LIMITS, {KIND: endless})
    workers.start()
    jobs = Jobs(KIND, state, LIMITS, workers)
    job = jobs.create("me", [], None)
    jobs.run(job.id)
    threading.Event().wait()


def test_kill_9_loses_no_job(url: str, make: Make, state: State) -> None:
    arguments = url, state.directory
    process = multiprocessing.get_context("spawn").Process(target=run_and_hang, args=arguments)
    process.start()
    watching = idle(state)
    deadline = time.monotonic() + PATIENCE
    while not (found := watching.listed("me", Filter(phases=("EXECUTING",)))):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with state.session() as session:
        session.execute(update(Job).values(lease=time.time() - 1))
    jobs = make()
    jobs.workers.take_over()
    assert until(jobs, found[0].id, "COMPLETED").attempts == 2


def test_a_stopped_process_gives_its_jobs_back(make: Make, state: State) -> None:
    jobs = make(endless)
    job = ran(jobs, "EXECUTING")
    jobs.workers.stop()
    assert jobs.get(job.id).phase == "QUEUED"
    assert until(make(), job.id, "COMPLETED").phase == "COMPLETED"


def test_words_that_a_database_does_not_keep_are_replaced_and_looked_for_in_vain(make: Make) -> None:
    def complaining(job: Job, directory: Path, stop: Stop, stack: ExitStack) -> Results:
        raise UsageFault("QUERY is not known: a\x00b")
        yield

    jobs = make(complaining)
    job = jobs.create("me", [("QUERY", "a\x00b")], "run\x00")
    jobs.run(job.id)
    told = until(jobs, job.id, "ERROR")
    assert (told.error, told.run_id) == ("QUERY is not known: a\ufffdb", "run\ufffd")
    assert json.loads(told.parameters) == [["QUERY", "a\x00b"]]
    with pytest.raises(NotFoundFault):
        jobs.get("a\x00b")


def test_a_database_of_an_earlier_version_gets_what_it_lacks(url: str, state: State, tmp_path: Path) -> None:
    kept = idle(state).create("me", [], None)
    with state.engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs DROP COLUMN kind"))
        connection.execute(text("ALTER TABLE jobs DROP COLUMN results"))
    again = State(url, tmp_path / "state")
    found = idle(again).get(kept.id)
    assert (found.kind, found.results) == (KIND, None)
    again.close()


def test_many_processes_may_make_the_tables_at_once(url: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(lambda _: State(url, tmp_path / "state"), range(8)))
    assert {idle(state).create("me", [], None).phase for state in states[:5]} == {"PENDING"}
    for state in states:
        state.close()


def test_tokens_expire(state: State) -> None:
    token = state.keep_token("a.fits", b"pixels", 60)
    found = state.token(token)
    assert found is not None
    assert (found.name, found.content) == ("a.fits", b"pixels")
    assert state.token(state.keep_token("b.fits", b"", -1)) is None
    assert state.token("unknown") is None
