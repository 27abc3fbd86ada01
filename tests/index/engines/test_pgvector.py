"""Vectors in PostgreSQL: what a server is asked under which condition, and how releases come and go there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from index.distance import Weights
from index.engines.engine import EngineError
from index.engines.pgvector import FORCED, Asked, PgPart
from index.engines.pgvector_load import SCHEMA, VectorReleases
from index.engines.vector_server import VectorServer, servers
from index.engines.vector_shards import VectorShards
from index.strategy import Limits, Strategy
from tests import pg
from tests.index.mixture import Mixture
from tests.index.on_servers import MODEL, RELEASE, loaded, source

N, D, K = 2000, 8, 10
DATA = Mixture(N, D, n_queries=10)
METRIC = np.r_[np.linspace(0.25, 4.0, D - 1), 0.0]
ROWS = 3 * np.arange(N)
SURVEYS = ["miles", 'o\'higgins "x"']  # names that must be quoted


@pytest.fixture(scope="module")
def uri(pgvector_server: str) -> str:
    return pg.database(pgvector_server, "pgvector")


@pytest.fixture(scope="module")
def vectors(uri: str) -> Iterator[VectorShards]:
    """Counts as a large set does: the graph answers beyond 100 rows."""
    given = source(ROWS, DATA.vectors, np.arange(N)[::-1], METRIC, SURVEYS)
    with closing(loaded([uri], given, Limits(subset_rows=100))) as opened:
        yield opened


@pytest.fixture(scope="module")
def part(vectors: VectorShards, uri: str) -> Iterator[PgPart]:
    with closing(VectorServer(uri)) as server:
        yield PgPart.open(server, RELEASE, MODEL, Limits(subset_rows=100))


def plan_of(part: PgPart, among: np.ndarray | None, strategy: Strategy) -> str:
    """What the server says that it will do."""
    asked = Asked(K, Weights.of(METRIC, D), part.passing(among), strategy)
    query, values = part.statement(DATA.queries[:1], asked)
    with part.server.reading(FORCED if strategy is Strategy.GRAPH else {}) as cursor:
        cursor.execute(b"EXPLAIN (VERBOSE, COSTS OFF) " + query.as_bytes(), values)
        return "\n".join(line for (line,) in cursor.fetchall())


@pytest.mark.parametrize("strategy", [Strategy.GRAPH, Strategy.SCAN, Strategy.SUBSET])
@pytest.mark.parametrize("survey", [0, 1])
def test_a_condition_on_one_survey_touches_its_partition_alone(
    part: PgPart, strategy: Strategy, survey: int
) -> None:
    whole = ROWS[survey::2]
    for among in (whole, whole[:500]):
        plan = plan_of(part, among, strategy)
        assert f'1/1.{survey}"' in plan
        assert f'1/1.{1 - survey}"' not in plan


def test_few_rows_are_taken_first_and_many_are_met_on_the_way_through_the_graphs(part: PgPart) -> None:
    few = plan_of(part, ROWS[:60], Strategy.SUBSET)
    assert "CTE passing" in few
    assert "halfvec" not in few
    for among in (None, ROWS[:1500]):
        many = plan_of(part, among, Strategy.GRAPH)
        assert "Merge Append" in many
        assert many.count("Index Scan using") == 2
        assert ("get_bit" in many) == (among is not None)


def test_many_rows_of_one_distance_come_in_the_order_of_their_dids(pgvector_server: str) -> None:
    """More than are fetched beyond k: the radius is asked for."""
    same = np.zeros((300, 4), np.float32)
    given = source(np.arange(300), same, np.arange(300)[::-1], np.ones(4), ["one"])
    with closing(loaded([pg.database(pgvector_server, "ties")], given)) as vectors:
        for weights in (np.ones(4), np.array([3.0, 0.0, 1e-9, 2.0])):
            found = vectors.search(np.ones(4), 5, weights, among=np.arange(250))
            assert found.rows.tolist() == [249, 248, 247, 246, 245]
            assert found.plan.exact
        assert len(vectors.within(np.zeros(4), 0.0, np.ones(4)).rows) == 300


def test_neighbours_that_float32_cannot_tell_apart_come_in_true_order(pgvector_server: str) -> None:
    """Far from zero the server's distances are noise; the bound of its arithmetic knows."""
    draw = np.random.default_rng(2)
    close = (1e6 + draw.normal(size=(2000, 4))).astype(np.float32)
    given = source(np.arange(2000), close, np.arange(2000), np.full(4, 0.3), ["one"])
    query = np.full(4, 1e6, np.float32)
    squares = (np.full(4, 0.3) * (close.astype(np.float64) - query) ** 2).sum(axis=1)
    with closing(loaded([pg.database(pgvector_server, "close")], given)) as vectors:
        found = vectors.search(query, 20, np.full(4, 0.3), exact=True)
    np.testing.assert_array_equal(found.rows, np.lexsort((np.arange(2000), squares))[:20])


def test_values_beyond_float16_are_searched_too(pgvector_server: str) -> None:
    wide = np.linspace(-9e8, 9e8, 200, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    given = source(np.arange(200), wide, np.arange(200), np.ones(3), ["one"])
    with closing(loaded([pg.database(pgvector_server, "wide")], given, Limits(subset_rows=1))) as vectors:
        assert vectors.search(wide[150], 1, np.ones(3), exact=True).rows[0] == 150
        assert len(vectors.search(wide[150], 3, np.ones(3)).rows) == 3


def test_a_model_without_any_vector_is_a_set_too(pgvector_server: str) -> None:
    given = source([], np.empty((0, 3)), [], np.ones(3), ["one"])
    with closing(loaded([pg.database(pgvector_server, "empty")], given)) as vectors:
        assert len(vectors) == len(vectors.rows) == len(vectors.matrix()) == 0
        assert vectors.search(np.zeros(3), 5, np.ones(3)).plan.strategy is Strategy.EMPTY


def test_a_release_that_is_not_there_is_told_with_what_brings_it(vectors: VectorShards, uri: str) -> None:
    with (
        closing(VectorServer(uri)) as server,
        pytest.raises(
            EngineError, match=r"vectors server 1 of 1 .* has no vectors_optical 1/1 of release other"
        ),
    ):
        PgPart.open(server, "other", MODEL)


def test_views_show_one_release_and_only_others_are_dropped(pgvector_server: str) -> None:
    uri = pg.database(pgvector_server, "life")
    first, second = (source(np.arange(n), np.ones((n, 2)), np.arange(n), [1, 1], ["s"]) for n in (3, 4))
    with closing(VectorReleases.of([uri])) as releases, closing(VectorServer(uri)) as reader:

        def shown() -> int:
            with reader.reading() as cursor:
                cursor.execute(f'SELECT count(*) FROM {SCHEMA}."{MODEL}"')
                ((count,),) = cursor.fetchall()
            return count

        for release, given in (("one", first), ("two", second), ("two", first)):  # twice is once
            releases.load_model(release, MODEL, given)
        releases.publish("one", [MODEL])
        assert shown() == 3
        releases.publish("two", [MODEL])
        assert shown() == 4
        with pytest.raises(EngineError, match="publishes release two"):
            releases.drop("two")
        opened = VectorShards.open(servers([uri]), "two", MODEL)
        releases.drop("one")
        with closing(opened):
            assert len(opened.search([1, 1], 9, [1, 1]).rows) == 4


def test_a_failed_load_leaves_nothing(pgvector_server: str) -> None:
    uri = pg.database(pgvector_server, "failed")
    bad = source([1, 1], np.ones((2, 2)), [0, 1], [1, 1], ["s"])
    with closing(VectorReleases.of([uri])) as releases:
        with pytest.raises(EngineError, match="unique index"):
            releases.load_model("x", MODEL, bad)
        releases.load_model("x", MODEL, source([1, 2], np.ones((2, 2)), [0, 1], [1, 1], ["s"]))


@pytest.mark.parametrize("uri", ["postgresql://u:secret@127.0.0.1:1/d", "postgresql://u:secret@host:x y/d"])
def test_no_error_has_the_password(uri: str) -> None:
    with closing(VectorServer(uri, patience=2.0)) as server, pytest.raises(EngineError) as told:
        PgPart.open(server, RELEASE, MODEL)
    texts = [str(error) for error in (told.value, told.value.__cause__) if error]
    assert all("secret" not in text for text in texts)
    assert "vectors server 1 of 1" in texts[0]
