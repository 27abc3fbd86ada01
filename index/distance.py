"""The one distance, weighted L2 in float64, and float32 bounds of it that say which rows need it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BLOCK = 4096  # rows at a time
CACHED = 65_536  # numbers that stay in the cache while they are worked on
UNIT = float(np.finfo(np.float32).eps)  # twice the rounding error of one float32 operation
TINY = np.float32(1e-30)  # covers the squares that float32 loses to zero
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
    buffer = np.empty((max(CACHED // dimension, 16), dimension), dtype=np.float32)
    for rows in _blocks(n, len(buffer)):
        offsets = buffer[: rows.stop - rows.start]
        if places is None:
            np.subtract(vectors[rows], query, out=offsets)
        else:
            np.take(vectors, places[rows], axis=0, out=offsets, mode="clip")
            offsets -= query
        offsets *= offsets
        np.dot(offsets, weights.single, out=result[rows])
    return result


def row_bounds(
    vectors: Vectors,
    query: Vectors,
    weights: Weights,
    places: Places | None = None,
    near: Callable[..., Vectors] = squares,
) -> Iterator[Bounds]:
    """Bounds of d² between `query` (d,) and the rows of `vectors` (n, d) at `places`, all rows if None.

    `near` computes d², as exactly as `squares`.
    """
    error = np.float32((len(query) + 8) * UNIT)
    for rows in _blocks(len(vectors) if places is None else len(places), 4 * BLOCK):
        where = np.arange(rows.start, rows.stop) if places is None else places[rows]
        sums = near(
            vectors[rows] if places is None else vectors, query, weights, None if places is None else where
        )
        slack = sums * error + TINY
        yield where, (sums - slack)[None], (sums + slack)[None]


def batch_bounds(
    vectors: Vectors, queries: Vectors, weights: Weights, places: Places | None = None
) -> Iterator[Bounds]:
    """The same for all `queries` (m, d) at once, by ‖y‖² − 2 y·p + ‖p‖² in float32.

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


def column_bounds(
    columns: Vectors, query: Vectors, weights: Weights, places: Places | None = None
) -> Iterator[Bounds]:
    """The same for one query from `columns` (d, n): reads only the latents that carry weight."""
    error = np.float32((len(weights.kept) + 8) * UNIT)
    for rows in _blocks(columns.shape[1] if places is None else len(places), 4 * BLOCK):
        where = np.arange(rows.start, rows.stop) if places is None else places[rows]
        sums = np.zeros((1, len(where)), dtype=np.float32)
        for column, scale in zip(weights.kept, weights.scale, strict=True):
            values = columns[column, rows] if places is None else columns[column].take(where)
            offsets = values - query[column]
            offsets *= scale
            offsets *= offsets
            sums += offsets
        slack = sums * error + TINY
        yield where, sums - slack, sums + slack


def k_nearest(bounds: Iterable[Bounds], k: int, n_queries: int = 1) -> list[Places]:
    """For each query the places that can be among its `k` nearest, ties included: few more than k."""
    best = np.full((n_queries, k), np.inf, dtype=np.float32)  # the k least upper bounds so far
    found: list[tuple[NDArray[np.intp], Places, Vectors]] = []
    for places, low, high in bounds:
        which, where = np.nonzero(low <= best.max(axis=1, keepdims=True))
        if len(which) == 0:
            continue
        found.append((which, places[where], low[which, where]))
        touched = np.unique(which) if n_queries > 1 else slice(None)
        both = np.concatenate([best[touched], high[touched]], axis=1)
        both.partition(k - 1, axis=1)
        best[touched] = both[:, :k]
    limit = best.max(axis=1)
    asked, places, low = (np.concatenate(parts) for parts in zip(*found, strict=True))
    kept = low <= limit[asked]
    asked, places = asked[kept], places[kept]
    return [places[asked == query] for query in range(n_queries)]


def inside(bounds: Iterable[Bounds], radius: float) -> Places:
    """The places whose distance from the one query can be at most `radius`."""
    limit = radius * radius * (1 + UNIT)
    found = [places[low[0] <= limit] for places, low, _ in bounds]
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _blocks(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
