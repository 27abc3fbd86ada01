"""Vectors in PostgreSQL against those of the release: the same rows in the same order where exact."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from index.engines.pgvector import PgVectors
from index.strategy import Strategy
from index.vectors import VectorSet
from tests import pg
from tests.index.mixture import Mixture

N, D, K = 3000, 12, 10
DATA = Mixture(N, D, n_queries=20)
METRIC = np.linspace(0.25, 4.0, D)
ROWS = 3 * np.arange(N)  # row numbers have gaps: not every spectrum has an embedding
RANKS = np.arange(N, dtype=np.int32)[::-1].copy()
OTHER = np.where(np.arange(D) % 3, 1.0, 0.0)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> VectorSet:
    directory = tmp_path_factory.mktemp("vectors")
    return VectorSet.build(directory / "v", ROWS, DATA.vectors, RANKS, METRIC)


@pytest.fixture(scope="module")
def table(pgvector_server: str) -> tuple[str, str]:
    database = pg.database(pgvector_server, "vectors")
    PgVectors.build(database, "public.vectors", ROWS, DATA.vectors, RANKS, METRIC).close()
    return database, "public.vectors"


@pytest.fixture(scope="module")
def vectors(table: tuple[str, str]) -> Iterator[PgVectors]:
    """Counts as a large set does: the graph answers beyond 100 rows."""
    opened = PgVectors(*table, METRIC, subset_rows=100)
    yield opened
    opened.close()


@pytest.mark.parametrize("weights", [METRIC, OTHER], ids=["default", "other"])
@pytest.mark.parametrize("kind", ["", "random", "inside", "outside"])
@pytest.mark.parametrize("share", [0.5, 0.02])
def test_exact_answers_are_those_of_the_release(
    vectors: PgVectors, reference: VectorSet, kind: str, share: float, weights: np.ndarray
) -> None:
    for number, query in enumerate(DATA.queries[:8]):
        among = ROWS[DATA.passing(kind, share, number)] if kind else None
        found = vectors.search(query, K, weights, among=among, exact=True)
        wanted = reference.search(query, K, weights, among=among, exact=True)
        assert found.plan.exact
        assert found.plan.n_pass == wanted.plan.n_pass
        np.testing.assert_array_equal(found.rows, wanted.rows)
        np.testing.assert_array_equal(found.distance, wanted.distance)


@pytest.mark.parametrize("kind", ["", "random", "inside", "outside"])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_the_graph_finds_nearly_all_under_conditions_of_every_kind(
    vectors: PgVectors, reference: VectorSet, kind: str, share: float
) -> None:
    right = 0
    for number, query in enumerate(DATA.queries):
        among = ROWS[DATA.passing(kind, share, number)] if kind else None
        found = vectors.search(query, K, METRIC, among=among)
        assert found.plan.strategy is Strategy.GRAPH
        assert not found.plan.exact
        assert len(found.rows) == K
        wanted = reference.search(query, K, METRIC, among=among, exact=True)
        right += len(np.intersect1d(found.rows, wanted.rows))
    assert right >= 0.95 * K * len(DATA.queries)


def test_few_rows_are_compared_one_by_one_and_none_give_none(vectors: PgVectors) -> None:
    found = vectors.search(
        DATA.queries[0], K, METRIC, among=[*ROWS[:7], 1, 10**9]
    )  # the last two are not there
    assert (found.plan.strategy, len(found.rows), found.plan.exact) == (Strategy.SUBSET, 7, True)
    assert not len(vectors.search(DATA.queries[0], K, METRIC, among=[]).rows)


def test_the_reference_itself_is_left_out(vectors: PgVectors) -> None:
    assert vectors.search(DATA.vectors[4], 3, METRIC).rows[0] == ROWS[4]
    assert ROWS[4] not in vectors.search(DATA.vectors[4], 3, METRIC, exclude=int(ROWS[4])).rows
