"""The float32 bounds hold, and a distance does not depend on its company."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from index.distance import (
    BLOCK,
    GROUP,
    TINY,
    UNIT,
    Weights,
    batch_bounds,
    column_blocks,
    distances,
    inside,
    k_nearest,
    k_nearest_each,
    kth_least,
    row_blocks,
    squares,
)

R = np.random.default_rng(2)
N, D = 9000, 24
SPREADS = R.lognormal(0, 3, D)  # natural values: Kelvin beside dex
VECTORS = (R.normal(50, 1, (N, D)) * SPREADS).astype(np.float32)
VECTORS[4000:4010] = VECTORS[77]  # a tie
QUERIES = (R.normal(50, 1, (5, D)) * SPREADS).astype(np.float32)
QUERIES[0] = VECTORS[77]
WEIGHTS = [Weights(SPREADS**-2), Weights(R.lognormal(0, 2, D)), Weights(np.r_[np.zeros(D - 2), 1.0, 3.0])]
PLACES = np.flatnonzero(R.random(N) < 0.6)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_distance_does_not_depend_on_its_company(weights: Weights) -> None:
    whole = distances(VECTORS, QUERIES[1], weights)
    for rows in (slice(5, 6), slice(BLOCK - 1, BLOCK + 2), slice(8990, None), PLACES):
        np.testing.assert_array_equal(distances(VECTORS[rows], QUERIES[1], weights), whole[rows])


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("places", [None, PLACES, PLACES[:0]])
def test_quick_squares_err_as_little_as_is_said(weights: Weights, places: NDArray[np.int64] | None) -> None:
    columns, true = np.ascontiguousarray(VECTORS.T), distances(VECTORS, QUERIES[0], weights) ** 2
    for blocks in (
        [squares(VECTORS, QUERIES[0], weights, places)],
        row_blocks(VECTORS, QUERIES[0], weights, places),
        column_blocks(columns, QUERIES[0], weights, places),
    ):
        found = np.concatenate([np.empty(0), *(block.copy() for block in blocks)])
        np.testing.assert_allclose(
            found, true if places is None else true[places], rtol=(D + 8) * UNIT, atol=float(TINY)
        )


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("places", [None, PLACES])
def test_bounds_enclose_the_distance(weights: Weights, places: NDArray[np.int64] | None) -> None:
    for where, low, high in batch_bounds(VECTORS, QUERIES, weights, places):
        for query, least, most in zip(QUERIES, low, high, strict=True):
            true = distances(VECTORS[where], query, weights) ** 2
            assert (least <= true).all()
            assert (true <= most).all()


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_sieve_keeps_the_nearest_with_all_ties(weights: Weights) -> None:
    each = k_nearest_each(batch_bounds(VECTORS, QUERIES, weights), 9, 5)
    for query, places in zip(QUERIES, each, strict=True):
        column = distances(VECTORS, query, weights)
        nearest = set(np.flatnonzero(column <= np.sort(column)[8]).tolist())
        blocks = np.array_split(np.concatenate(list(row_blocks(VECTORS, query, weights))), 7)
        alone = k_nearest(blocks, 9, D)
        assert nearest <= set(places.tolist()) & set(alone.tolist())
        assert max(len(places), len(alone)) < 200


def test_the_sieve_keeps_all_rows_where_they_are_fewer_than_wanted() -> None:
    blocks = row_blocks(VECTORS[:5], QUERIES[1], WEIGHTS[0])
    assert k_nearest(blocks, 9, D).tolist() == [0, 1, 2, 3, 4]


def test_the_sieve_keeps_all_inside_a_radius() -> None:
    column = distances(VECTORS, QUERIES[2], WEIGHTS[0])
    radius = float(np.sort(column)[30])
    found = inside(row_blocks(VECTORS, QUERIES[2], WEIGHTS[0]), radius, D)
    assert set(np.flatnonzero(column <= radius).tolist()) <= set(found.tolist())
    assert len(found) < 40


@pytest.mark.parametrize("n", [3, 10, 10 * GROUP - 1, 10 * GROUP, 50 * GROUP + 17])
def test_a_limit_keeps_the_least_and_little_besides(n: int) -> None:
    values = R.random(n).astype(np.float32)
    kept = np.sort(values[values <= kth_least(values, 10)])
    np.testing.assert_array_equal(kept[:10], np.sort(values)[:10])
    assert len(kept) < 40
