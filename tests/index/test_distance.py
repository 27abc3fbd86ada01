"""The float32 bounds hold, and a distance does not depend on its company."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from index.distance import (
    BLOCK,
    Weights,
    batch_bounds,
    column_bounds,
    distances,
    inside,
    k_nearest,
    row_bounds,
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
@pytest.mark.parametrize("places", [None, PLACES])
def test_bounds_enclose_the_distance(weights: Weights, places: NDArray[np.int64] | None) -> None:
    columns = np.ascontiguousarray(VECTORS.T)
    ways = [
        row_bounds(VECTORS, QUERIES[0], weights, places),
        column_bounds(columns, QUERIES[0], weights, places),
        batch_bounds(VECTORS, QUERIES, weights, places),
    ]
    for bounds in ways:
        for where, low, high in bounds:
            for query, least, most in zip(QUERIES, low, high, strict=False):
                squares = distances(VECTORS[where], query, weights) ** 2
                assert (least <= squares).all()
                assert (squares <= most).all()


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_sieve_keeps_the_nearest_with_all_ties(weights: Weights) -> None:
    found = k_nearest(row_bounds(VECTORS, QUERIES[0], weights), 5)[0]
    assert {77, *range(4000, 4010)} <= set(found.tolist())
    for query, places in zip(QUERIES, k_nearest(batch_bounds(VECTORS, QUERIES, weights), 9, 5), strict=True):
        column = distances(VECTORS, query, weights)
        assert set(np.flatnonzero(column <= np.sort(column)[8]).tolist()) <= set(places.tolist())
        assert len(places) < 200


def test_the_sieve_keeps_all_inside_a_radius() -> None:
    column = distances(VECTORS, QUERIES[2], WEIGHTS[0])
    radius = float(np.sort(column)[30])
    found = inside(row_bounds(VECTORS, QUERIES[2], WEIGHTS[0]), radius)
    assert set(np.flatnonzero(column <= radius).tolist()) <= set(found.tolist())
    assert len(found) < 40
