"""The one distance, weighted L2 in float64, and float32 bounds of it that say which rows need it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

BLOCK = 4096  # rows at a time: temporaries stay in the cache
UNIT = float(np.finfo(np.float32).eps)  # twice the rounding error of one float32 operation
TINY = 1e-30  # covers the squares that float32 loses to zero

Vectors = NDArray[np.float32]
Reals = NDArray[np.float64]
Ids = NDArray[np.int64]
Bounds = tuple[Ids, Vectors, Vectors]  # places (b,); lowest and highest possible d² (m, b)


def distances(vectors: Vectors, query: Vectors, weights: Reals) -> Reals:
    """sqrt(Σ w (q − z)²) of every row; `vectors` (n, d), `query` and `weights` (d,), result (n,).

    A row's number does not depend on which other rows are asked with it, so every path of a search
    gives bit-equal distances.
    """
    kept = np.flatnonzero(weights)
    centre, factors = query[kept].astype(np.float64), weights[kept]
    result = np.empty(len(vectors))
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        if len(kept) < len(weights):
            block = block.take(kept, axis=1)
        squares = np.subtract(block, centre, dtype=np.float64, order="C")
        squares *= squares
        squares *= factors
        result[start : start + BLOCK] = squares.sum(axis=1)
    return np.sqrt(result, out=result)


def row_bounds(
    vectors: Vectors, queries: Vectors, weights: Reals, places: Ids | None = None
) -> Iterator[Bounds]:
    """Bounds of d² between all `queries` (m, d) and the rows of `vectors` at `places` (all rows if None).

    ‖y‖² − 2 y·p + ‖p‖² in float32 about the mean of the queries, so that a single query has p = 0;
    its rounding error is below (2 d + 16) UNIT (‖y‖² + ‖p‖²).
    """
    kept = np.flatnonzero(weights)
    scale = np.sqrt(weights[kept]).astype(np.float32)
    centre = queries[:, kept].mean(axis=0, dtype=np.float64).astype(np.float32)
    points = (queries[:, kept] - centre) * scale  # (m, kept)
    lengths = np.einsum("ij,ij->i", points, points)[:, None]
    error = np.float32((2 * len(kept) + 16) * UNIT)
    for rows in _blocks(len(vectors) if places is None else len(places), BLOCK // len(queries)):
        block = vectors[rows] if places is None else vectors.take(places[rows], axis=0)
        if len(kept) < len(weights):
            block = block.take(kept, axis=1)
        offsets = block - centre
        offsets *= scale
        sizes = np.einsum("ij,ij->i", offsets, offsets)[None] + lengths
        slack = sizes * error + np.float32(TINY)
        if len(queries) > 1:
            sizes -= 2 * (points @ offsets.T)
        where = np.arange(rows.start, rows.stop) if places is None else places[rows]
        yield where, sizes - slack, sizes + slack


def column_bounds(
    columns: Vectors, query: Vectors, weights: Reals, places: Ids | None = None
) -> Iterator[Bounds]:
    """The same for one query from `columns` (d, n): reads only the latents that carry weight."""
    kept = np.flatnonzero(weights)
    scale = np.sqrt(weights).astype(np.float32)
    error = np.float32((len(kept) + 8) * UNIT)
    for rows in _blocks(columns.shape[1] if places is None else len(places), 4 * BLOCK):
        where = np.arange(rows.start, rows.stop) if places is None else places[rows]
        sums = np.zeros((1, len(where)), dtype=np.float32)
        for column in kept:
            offsets = (columns[column, rows] if places is None else columns[column].take(where)) - query[
                column
            ]
            offsets *= scale[column]
            offsets *= offsets
            sums += offsets
        slack = sums * error + np.float32(TINY)
        yield where, sums - slack, sums + slack


def k_nearest(bounds: Iterable[Bounds], k: int, n_queries: int = 1) -> list[Ids]:
    """For each query the places that can be among its `k` nearest, ties included: few more than k."""
    best = np.full((n_queries, k), np.inf, dtype=np.float32)  # the k least upper bounds so far
    found: list[tuple[NDArray[np.intp], Ids, Vectors]] = []
    for places, low, high in bounds:
        which, where = np.nonzero(low <= best.max(axis=1, keepdims=True))
        found.append((which, places[where], low[which, where]))
        touched = np.unique(which)
        both = np.concatenate([best[touched], high[touched]], axis=1)
        best[touched] = np.partition(both, k - 1, axis=1)[:, :k]
    limit = best.max(axis=1)
    asked, places, low_bound = (np.concatenate(parts) for parts in zip(*found, strict=True))
    kept = low_bound <= limit[asked]
    asked, places = asked[kept], places[kept]
    return [places[asked == query] for query in range(n_queries)]


def inside(bounds: Iterable[Bounds], radius: float) -> Ids:
    """The places whose distance from the one query can be at most `radius`."""
    limit = radius * radius * (1 + UNIT)
    found = [places[low[0] <= limit] for places, low, _ in bounds]
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _blocks(length: int, size: int) -> Iterator[slice]:
    size = max(size, 256)
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
