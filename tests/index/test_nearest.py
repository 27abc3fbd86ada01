"""One contract for every way to search: sets without lists, with them, with segments, on servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from index.nearest import Nearest
from index.strategy import Strategy
from tests import pg
from tests.index import on_servers
from tests.index.places import (
    DATA,
    DEFAULT,
    EXACT,
    RANKS,
    ROWS,
    SMALL,
    WEIGHTS,
    brute,
    flat,
    listed,
    recall,
    segmented,
)


@pytest.fixture(
    scope="module",
    params=[flat, listed, segmented, 2],
    ids=lambda place: getattr(place, "__name__", f"postgres {place}"),
)
def vectors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nearest]:
    """A number is that of the PostgreSQL databases that the vectors lie in."""
    if not isinstance(request.param, int):
        yield request.param(tmp_path_factory.mktemp("vectors"))
        return
    server = request.getfixturevalue("pgvector_server")
    uris = [pg.database(server, f"contract-{request.param}-{number}") for number in range(request.param)]
    given = on_servers.source(ROWS, DATA.vectors, RANKS, DEFAULT, ["miles", "stelib", "miles", "indo-us"])
    with closing(on_servers.loaded(uris, given, SMALL)) as opened:
        yield opened


def test_a_spectrum_is_its_own_nearest_neighbour(vectors: Nearest) -> None:
    matches = vectors.search(DATA.vectors[7], 3, DEFAULT)
    assert matches.rows[0] == ROWS[7]
    assert matches.distance[0] == 0.0
    assert (np.diff(matches.distance) >= 0).all()


@WEIGHTS
def test_exact_answers_are_those_of_brute_force(vectors: Nearest, weights: NDArray[np.float64]) -> None:
    for query in DATA.queries[:10]:
        matches = vectors.search(query, 10, weights, exact=True)
        np.testing.assert_array_equal(matches.rows, brute(query, 10, weights))
        assert matches.plan.exact


@WEIGHTS
def test_exact_answers_hold_under_a_condition(vectors: Nearest, weights: NDArray[np.float64]) -> None:
    for number, query in enumerate(DATA.queries[:5]):
        among = ROWS[DATA.passing("outside", 0.3, number)]
        matches = vectors.search(query, 10, weights, among=among, exact=True)
        np.testing.assert_array_equal(matches.rows, brute(query, 10, weights, among))
        assert matches.plan.n_pass == len(among)


@WEIGHTS
def test_quick_answers_lose_little(vectors: Nearest, weights: NDArray[np.float64]) -> None:
    recalls = [
        recall(vectors.search(query, 10, weights).rows, brute(query, 10, weights)) for query in DATA.queries
    ]
    assert np.mean(recalls) >= 0.99
    assert min(recalls) >= 0.9


@pytest.mark.parametrize("share", [0.5, 0.1, 0.03, 0.01, 0.001])
@pytest.mark.parametrize("kind", ["random", "inside", "outside"])
def test_filtered_recall_in_fifteen_cells(vectors: Nearest, kind: str, share: float) -> None:
    recalls = []
    for number, query in enumerate(DATA.queries):
        among = ROWS[DATA.passing(kind, share, number)]
        rows = vectors.search(query, 10, DEFAULT, among=among).rows
        assert np.isin(rows, among).all()
        assert len(rows) == min(10, len(among))
        recalls.append(recall(rows, brute(query, 10, DEFAULT, among)))
    assert np.mean(recalls) >= 0.995
    assert min(recalls) >= 0.9


@WEIGHTS
@EXACT
def test_never_fewer_than_k_while_k_pass(vectors: Nearest, weights: NDArray[np.float64], exact: bool) -> None:
    for k in (1, 300, 2500, DATA.n, DATA.n + 10):
        matches = vectors.search(DATA.queries[0], k, weights, exact=exact)
        assert len(matches.rows) == len(np.unique(matches.rows)) == min(k, DATA.n)
    among = ROWS[DATA.passing("outside", 0.2, 0)]
    assert len(vectors.search(DATA.queries[0], 3000, weights, among=among).rows) == 3000


@WEIGHTS
def test_every_path_gives_bit_equal_distances(vectors: Nearest, weights: NDArray[np.float64]) -> None:
    query = DATA.queries[1]
    column = dict(zip(vectors.rows.tolist(), vectors.distances(query, weights).tolist(), strict=True))
    answers = [
        vectors.search(query, 20, weights),
        vectors.search(query, 20, weights, exact=True),
        vectors.search(query, 20, weights, among=ROWS[DATA.passing("random", 0.01, 0)]),
        vectors.search_batch(DATA.queries[:3], 20, weights)[1],
        vectors.within(query, sorted(column.values())[50], weights),
    ]
    for matches in answers:
        assert matches.distance.tolist() == [column[row] for row in matches.rows.tolist()]


def test_rows_and_distances_are_aligned_in_order_of_rows(vectors: Nearest) -> None:
    np.testing.assert_array_equal(vectors.rows, ROWS)
    assert len(vectors) == DATA.n
    assert vectors.distances(DATA.vectors[11], DEFAULT)[11] == 0.0


@WEIGHTS
def test_the_excluded_reference_is_left_out_and_replaced(
    vectors: Nearest, weights: NDArray[np.float64]
) -> None:
    query = DATA.vectors[42]
    whole = vectors.search(query, 6, weights, exact=True)
    others = vectors.search(query, 5, weights, exclude=int(ROWS[42]), exact=True)
    np.testing.assert_array_equal(others.rows, whole.rows[whole.rows != ROWS[42]][:5])


@WEIGHTS
@EXACT
def test_a_batch_answers_as_single_searches_do(
    vectors: Nearest, weights: NDArray[np.float64], exact: bool
) -> None:
    queries, left_out = DATA.vectors[:12], [*ROWS[:11].tolist(), None]
    batch = vectors.search_batch(queries, 10, weights, exclude=left_out, exact=exact)
    for query, row, matches in zip(queries, left_out, batch, strict=True):
        single = vectors.search(query, 10, weights, exclude=row, exact=exact)
        np.testing.assert_array_equal(matches.rows, single.rows)
        np.testing.assert_array_equal(matches.distance, single.distance)
    assert vectors.search_batch(np.empty((0, DATA.d)), 10, weights) == []


@WEIGHTS
def test_within_a_radius_are_the_rows_of_brute_force(vectors: Nearest, weights: NDArray[np.float64]) -> None:
    among = ROWS[DATA.passing("inside", 0.4, 2)]
    query = DATA.queries[2]
    column = vectors.distances(query, weights)
    for size in (1, 10, 1000):
        radius = float(np.sort(column)[size - 1])
        matches = vectors.within(query, radius, weights)
        assert set(matches.rows.tolist()) == set(ROWS[column <= radius].tolist())
        assert matches.plan.exact
        near = vectors.within(query, radius, weights, among=among)
        assert set(near.rows.tolist()) == set(matches.rows.tolist()) & set(among.tolist())
    assert len(vectors.within(DATA.vectors[3], 0.0, DEFAULT, exclude=int(ROWS[3])).rows) == 0


def test_rows_without_a_vector_do_not_count(vectors: Nearest) -> None:
    matches = vectors.search(DATA.queries[0], 10, DEFAULT, among=np.arange(-3, 50))
    assert set(matches.rows.tolist()) <= set(ROWS.tolist())
    assert matches.plan.n_pass == 15
    assert vectors.vector(6) is None
    assert vectors.vector(10**9) is None
    vector = vectors.vector(int(ROWS[19_999]))
    assert vector is not None
    np.testing.assert_array_equal(vector, DATA.vectors[19_999])
    several = vectors.taken([int(ROWS[19_999]), 6, 10**9, 5])
    assert list(map(int, sorted(several))) == [5, int(ROWS[19_999])]
    np.testing.assert_array_equal(several[5], DATA.vectors[0])


def test_the_order_of_the_condition_and_repeated_rows_do_not_matter(vectors: Nearest) -> None:
    among = ROWS[DATA.passing("inside", 0.2, 0)]
    shuffled = np.random.default_rng(0).permutation(np.concatenate([among, among]))
    ordered = vectors.search(DATA.queries[0], 10, DEFAULT, among=among)
    other = vectors.search(DATA.queries[0], 10, DEFAULT, among=shuffled)
    np.testing.assert_array_equal(ordered.rows, other.rows)
    assert ordered.plan == other.plan


def test_nothing_passes_and_nothing_is_asked(vectors: Nearest) -> None:
    nothing = vectors.search(DATA.queries[0], 10, DEFAULT, among=[])
    assert (len(nothing.rows), nothing.plan.strategy) == (0, Strategy.EMPTY)
    assert len(vectors.search(DATA.queries[0], 0, DEFAULT).rows) == 0
    assert len(vectors.within(DATA.queries[0], 1.0, DEFAULT, among=[]).rows) == 0


@pytest.mark.parametrize(
    ("query", "k", "weights", "complaint"),
    [
        (np.zeros(15), 5, np.ones(16), r"query has shape \(15,\)"),
        (np.full(16, np.nan), 5, np.ones(16), "not finite"),
        (np.zeros(16), -1, np.ones(16), "k is -1"),
        (np.zeros(16), 10**9, np.ones(16), "between 0 and 100000"),
        (np.zeros(16), 5, np.zeros(16), "at least one above zero"),
        (np.zeros(16), 5, -np.ones(16), "between 0 and"),
        (np.zeros(16), 5, np.full(16, np.nan), "between 0 and"),
        (np.zeros(16), 5, np.ones(3), r"weights have shape \(3,\)"),
    ],
)
def test_bad_questions_are_refused(
    vectors: Nearest, query: ArrayLike, k: int, weights: ArrayLike, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        vectors.search(query, k, weights)


def test_a_radius_below_zero_and_a_short_list_of_exclusions_are_refused(vectors: Nearest) -> None:
    with pytest.raises(ValueError, match="radius is -1"):
        vectors.within(DATA.queries[0], -1.0, DEFAULT)
    with pytest.raises(ValueError, match="2 rows to exclude for 3 queries"):
        vectors.search_batch(DATA.queries[:3], 5, DEFAULT, exclude=[1, 2])
