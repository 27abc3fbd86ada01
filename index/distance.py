"""The one distance, weighted L2 in float64, and float32 bounds of it that say which rows need it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BLOCK = 4096  # rows at a time
CACHED = 32_768  # numbers that stay in the cache while they are worked on
GROUP = 64  # numbers of which one is the least
UNIT = float(np.finfo(np.float32).eps)  # twice the rounding error of one float32 operation
TINY = np.float32(1e-30)  # covers the squares that float32 loses to zero
MOST = float(np.finfo(np.float32).max)
LARGEST = 1e9  # of a value; with HEAVIEST squares stay within float32
HEAVIEST = 1e16  # of a weight

Vectors = NDArray[np.float32]
Reals = NDArray[np.float64]
Ids = NDArray[np.int64]
Places = NDArray[np.signedinteger[Any]]
Bounds = tuple[Places, Vectors, Vectors]  # places (b,); lowest and highest possible d² (m, b)


class Weights:
    """Weights (d,) of a squared distance, checked, with what every search derives from them."""

    def __init__(self, values: Reals) -> None:
        if not ((values >= 0) & (values <= HEAVIEST)).all() or not values.any():
            raise ValueError(f"weights must lie between 0 and {HEAVIEST:g}, and at least one above zero")
        self.values = values
        self.kept = np.flatnonzero(values)
        self.factors = values[self.kept]
        self.scale = np.sqrt(self.factors).astype(np.float32)
        self.single = values.astype(np.float32)
        self.share = len(self.kept) / len(values)
        self.ones = bool((self.factors == 1).all())
        self.uniform = bool((values == values[0]).all())

    @classmethod
    def of(cls, values: ArrayLike, dimension: int) -> Weights:
        array = np.asarray(values, dtype=np.float64)
        if array.shape != (dimension,):
            raise ValueError(f"the weights have shape {array.shape}; the set holds {dimension} dimensions")
        return _weights(array.tobytes())

    def taken(self, vectors: Vectors) -> Vectors:
        """The columns (n, kept) of `vectors` (n, d) that carry weight."""
        return vectors if self.share == 1 else vectors.take(self.kept, axis=-1)

    def proportional(self, other: Weights) -> bool:
        """The same metric as `other` up to a factor."""
        mine, theirs = self.values * other.values.sum(), other.values * self.values.sum()
        return bool((np.abs(mine - theirs) <= 1e-6 * theirs).all())


@lru_cache(maxsize=256)
def _weights(values: bytes) -> Weights:
    return Weights(np.frombuffer(values, dtype=np.float64))


def distances(vectors: Vectors, query: Vectors, weights: Weights, places: Places | None = None) -> Reals:
    """sqrt(Σ w (q − z)²) of the rows of `vectors` (n, d) at `places`, all if None; `query` (d,).

    A row's number does not depend on which other rows are asked with it, so every path of a search
    gives bit-equal distances.
    """
    centre = weights.taken(query).astype(np.float64)
    if places is not None and len(places) <= BLOCK:
        return np.sqrt(_sums(vectors.take(places, axis=0), centre, weights))
    result = np.empty(len(vectors) if places is None else len(places))
    for rows in _blocks(len(result), BLOCK):
        block = vectors[rows] if places is None else vectors.take(places[rows], axis=0)
        result[rows] = _sums(block, centre, weights)
    return np.sqrt(result, out=result)


def _sums(block: Vectors, centre: Reals, weights: Weights) -> Reals:
    """d² (b,) of the rows of `block` (b, d) from `centre` (kept,)."""
    parts = np.subtract(weights.taken(block), centre, dtype=np.float64, order="C")
    parts *= parts
    if not weights.ones:
        parts *= weights.factors
    sums: Reals = np.add.reduce(parts, axis=1)
    return sums


def usable(vectors: Vectors) -> NDArray[np.bool_]:
    """Which rows (n,) of `vectors` hold finite values up to LARGEST alone."""
    found = np.empty(len(vectors), np.bool_)
    for rows in _blocks(len(vectors), BLOCK):
        np.all(np.abs(vectors[rows]) <= LARGEST, axis=1, out=found[rows])
    return found


def squares(vectors: Vectors, query: Vectors, weights: Weights, places: Places | None = None) -> Vectors:
    """d² (n,) of the rows at `places`, all if None, quickly in float32: relative error (d + 8) UNIT."""
    n, dimension = len(vectors) if places is None else len(places), len(query)
    result = np.empty(n, dtype=np.float32)
    buffer = np.empty((min(max(n, 1), max(CACHED // dimension, 16)), dimension), dtype=np.float32)
    repeated = np.tile(query, (len(buffer), 1))  # short rows are slow to subtract one from many
    for rows in _blocks(n, len(buffer)):
        offsets, point = buffer[: rows.stop - rows.start], repeated[: rows.stop - rows.start]
        if places is None:
            np.subtract(vectors[rows], point, out=offsets)
        else:
            np.take(vectors, places[rows], axis=0, out=offsets, mode="clip")
            offsets -= point
        offsets *= offsets
        np.dot(offsets, weights.single, out=result[rows])
    return result


def row_blocks(
    vectors: Vectors,
    query: Vectors,
    weights: Weights,
    places: Places | None = None,
    near: Callable[..., Vectors] = squares,
) -> Iterator[Vectors]:
    """d² of the rows of `vectors` (n, d) at `places`, all if None, some (b,) after others: as `near` computes
    them, as exactly as `squares`."""
    for rows in _blocks(len(vectors) if places is None else len(places), CACHED):
        if places is None:
            yield near(vectors[rows], query, weights)
        else:
            yield near(vectors, query, weights, places[rows])


def column_blocks(
    columns: Vectors, query: Vectors, weights: Weights, places: Places | None = None
) -> Iterator[Vectors]:
    """The same from `columns` (d, n): reads only the latents that carry weight; a block is overwritten by the
    next."""
    n_rows = columns.shape[1] if places is None else len(places)
    buffers = np.empty((2, min(n_rows, CACHED)), dtype=np.float32)
    for rows in _blocks(n_rows, CACHED):
        sums, others = buffers[:, : rows.stop - rows.start]
        for column, scale in zip(weights.kept.tolist(), weights.scale, strict=True):
            offsets = sums if column == weights.kept[0] else others
            if places is None:
                np.subtract(columns[column, rows], query[column], out=offsets)
            else:
                np.take(columns[column], places[rows], out=offsets, mode="clip")
                offsets -= query[column]
            offsets *= scale
            offsets *= offsets
            if offsets is others:
                sums += others
        yield sums


def k_nearest(blocks: Iterable[Vectors], k: int, dimension: int) -> Places:
    """Where in `blocks`, as if they were one, the `k` nearest can be, ties included: few more than k."""
    where, near = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    limit, seen = MOST, 0
    for block in blocks:
        found = np.flatnonzero(block <= (limit if seen else _beyond(kth_least(block, k), dimension)))
        if len(found):
            where, near = np.concatenate([where, found + seen]), np.concatenate([near, block[found]])
            limit = _beyond(kth_least(near, k), dimension)
            kept = near <= limit
            where, near = where[kept], near[kept]
        seen += len(block)
    return where


def inside(blocks: Iterable[Vectors], radius: float, dimension: int) -> Places:
    """Where in `blocks`, as if they were one, the distance can be at most `radius`."""
    limit = _beyond(radius * radius, dimension)
    found, seen = [np.empty(0, dtype=np.int64)], 0
    for block in blocks:
        found.append(np.flatnonzero(block <= limit) + seen)
        seen += len(block)
    return np.concatenate(found)


def _beyond(square: float, dimension: int) -> float:
    """What d² in float32 does not exceed where the true one is no greater than where it came out `square`."""
    return min(square * (1 + 3 * (dimension + 8) * UNIT) + 3 * float(TINY), MOST)


def kth_least(values: Vectors, k: int) -> float:
    """Not less than the k-th least of `values` (n,), and seldom much more: that of the least of every group.

    Infinite where they are fewer.
    """
    n_groups = len(values) // GROUP
    if n_groups >= k:
        values = values[: n_groups * GROUP].reshape(GROUP, n_groups).min(axis=0)
    return float(np.partition(values, k - 1)[k - 1]) if k <= len(values) else np.inf


def batch_bounds(
    vectors: Vectors, queries: Vectors, weights: Weights, places: Places | None = None
) -> Iterator[Bounds]:
    """Bounds of d² between `queries` (m, d) and the rows of `vectors` (n, d) at `places`, all rows if None,
    by ‖y‖² − 2 y·p + ‖p‖² in float32.

    y and p are taken about the mean of the queries; the error is below (2 d + 16) UNIT (‖y‖² + ‖p‖²).
    """
    taken = weights.taken(queries)
    centre = taken.mean(axis=0, dtype=np.float64).astype(np.float32)
    points = (taken - centre) * weights.scale  # (m, kept)
    lengths = np.einsum("ij,ij->i", points, points)[:, None]
    error = np.float32((2 * len(weights.kept) + 16) * UNIT)
    n_rows = len(vectors) if places is None else len(places)
    for rows in _blocks(n_rows, max(BLOCK // len(queries), 256)):
        where = np.arange(rows.start, rows.stop) if places is None else places[rows]
        block = vectors[rows] if places is None else vectors.take(where, axis=0)
        offsets = weights.taken(block) - centre
        offsets *= weights.scale
        sizes = np.einsum("ij,ij->i", offsets, offsets)[None] + lengths
        slack = sizes * error + TINY
        sizes -= 2 * (points @ offsets.T)
        yield where, sizes - slack, sizes + slack


def k_nearest_each(bounds: Iterable[Bounds], k: int, n_queries: int) -> list[Places]:
    """For each query the places that can be among its `k` nearest, ties included: few more than k."""
    best = np.full((n_queries, k), np.inf, dtype=np.float32)  # the k least upper bounds so far
    found: list[tuple[NDArray[np.intp], Places, Vectors]] = []
    for places, low, high in bounds:
        which, where = np.nonzero(low <= best.max(axis=1, keepdims=True))
        if len(which) == 0:
            continue
        found.append((which, places[where], low[which, where]))
        touched = np.unique(which)
        both = np.concatenate([best[touched], high[touched]], axis=1)
        both.partition(k - 1, axis=1)
        best[touched] = both[:, :k]
    limit = best.max(axis=1)
    asked, places, low = (np.concatenate(parts) for parts in zip(*found, strict=True))
    kept = low <= limit[asked]
    asked, places = asked[kept], places[kept]
    return [places[asked == query] for query in range(n_queries)]


def _blocks(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
