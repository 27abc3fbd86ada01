"""One immutable set of vectors in list order, and every way to find the nearest of its rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.distance import (
    Ids,
    Reals,
    Vectors,
    column_bounds,
    distances,
    inside,
    k_nearest,
    row_bounds,
)
from index.lists import Bitmap, Found, Lists, visit
from index.strategy import EXACT, Conditions, Limits, Plan, Strategy, choose

SPARE = 8  # rows fetched beyond k, since the compressed copies may swap neighbours
NOWHERE: Ids = np.empty(0, dtype=np.int64)
WRITTEN = 65_536  # rows written at a time
ARRAYS = ("rows", "vectors", "did_rank", "position")

Mask = NDArray[np.bool_]
Places = NDArray[np.signedinteger[Any]]


class Codes(Protocol):
    """Compressed vectors in lists, searched in the default metric."""

    @property
    def weights(self) -> Reals:
        """That metric (d,)."""

    def near_lists(self, queries: Vectors, n_lists: int) -> Ids:
        """The lists (m, n_lists) nearest to each query."""

    def search(self, queries: Vectors, lists: Ids, k: int, bitmap: Bitmap | None) -> tuple[Vectors, Ids]:
        """Approximate d² and places (m, k) of the nearest rows in `lists` (m, p); place −1 for none."""


@dataclass(frozen=True)
class Passing:
    """Which places may be found; every one where `mask` is None."""

    n_rows: int
    mask: Mask | None = None

    @cached_property
    def count(self) -> int:
        return self.n_rows if self.mask is None else int(np.count_nonzero(self.mask))

    @cached_property
    def places(self) -> Ids | None:
        return None if self.mask is None else np.flatnonzero(self.mask)

    @cached_property
    def bitmap(self) -> Bitmap | None:
        return None if self.mask is None else np.packbits(self.mask, bitorder="little")

    def keep(self, places: Ids) -> Ids:
        return places if self.mask is None else places[self.mask[places]]


@dataclass(frozen=True, slots=True)
class Hits:
    """Places by (distance, rank of the DID), and how they were found."""

    places: Ids
    distance: Reals
    plan: Plan


@dataclass(frozen=True)
class Part:
    """Arrays by place (list order); `position` maps a row number, less the first, to its place or −1."""

    rows: Ids  # (n,)
    vectors: Vectors  # (n, d)
    did_rank: NDArray[Any]  # (n,) of any ordered number
    position: NDArray[np.int32]  # (last row − first row + 1,)
    limits: Limits
    lists: Lists | None = None
    columns: Vectors | None = None  # (d, n)
    codes: Codes | None = None
    live: Mask | None = None  # False for removed rows

    @classmethod
    def open(cls, directory: Path, limits: Limits, codes: Codes | None) -> Part:
        """Map the arrays that `save_arrays` wrote; lists come with `codes`."""
        try:
            rows, vectors, did_rank, position = (
                np.load(directory / f"{name}.npy", mmap_mode="r") for name in ARRAYS
            )
            lists = Lists.open(directory) if codes else None
            columns = np.load(directory / "columns.npy", mmap_mode="r") if codes else None
        except (OSError, ValueError) as failure:
            raise ValueError(f"{directory}: a file cannot be read: {failure}") from failure
        shapes = {"rows": len(rows), "vectors": len(vectors), "ranks": len(did_rank)}
        if columns is not None and lists is not None:
            shapes |= {"column rows": columns.shape[1], "rows in lists": int(lists.offsets[-1])}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"{directory}: the files do not belong together: {shapes}")
        return cls(rows, vectors, did_rank, position, limits, lists, columns, codes)

    def without(self, removed: Ids) -> Part:
        """The same, but the `removed` rows are never found."""
        gone = self.places_of(removed)
        if not len(gone):
            return self
        live = np.ones(len(self), dtype=np.bool_)
        live[gone] = False
        return replace(self, live=live)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def first_row(self) -> int:
        return int(self.rows.min()) if len(self) else 0

    @cached_property
    def everything(self) -> Passing:
        return Passing(len(self), self.live)

    def places_of(self, rows: Ids) -> Places:
        """Places of those `rows` that have a vector here."""
        offsets = rows - self.first_row
        if len(offsets) and (offsets.min() < 0 or offsets.max() >= len(self.position)):
            offsets = offsets[(offsets >= 0) & (offsets < len(self.position))]
        places = self.position[offsets]
        return places[places >= 0] if len(places) and places.min() < 0 else places

    def passing(self, rows: Ids | None) -> Passing:
        if rows is None:
            return self.everything
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[self.places_of(rows)] = True
        if self.live is not None:
            mask &= self.live
        return Passing(len(self), mask)

    def search(self, query: Vectors, k: int, weights: Reals, passing: Passing, exact: bool) -> Hits:
        """The `k` nearest of the rows that pass."""
        strategy = choose(self._conditions(k, weights, passing, exact), self.limits)
        match strategy:
            case Strategy.EMPTY:
                places, visited = NOWHERE, 0
            case Strategy.COLUMNS:
                places, visited = self._scan(query[None], k, weights, passing, columns=True)[0], passing.count
            case Strategy.SUBSET | Strategy.SCAN:
                places, visited = self._scan(query[None], k, weights, passing)[0], passing.count
            case Strategy.LISTS:
                places, visited = self._plain(query[None], k, passing)[0]
            case Strategy.COUNTED_LISTS | Strategy.WEIGHTED_LISTS:
                places, visited = self._visited(query, k, weights, passing, strategy)
            case Strategy.CERTIFIED:
                places, visited = self._certified(query, k, weights, passing)
        if len(places) < min(k, passing.count):  # the lists visited hold too few
            strategy, visited = Strategy.SCAN, passing.count
            places = self._scan(query[None], k, weights, passing)[0]
        return self._hits(query, weights, places, k, strategy, passing, visited)

    def search_batch(self, queries: Vectors, k: int, weights: Reals, exact: bool) -> list[Hits]:
        """`search` among all rows for each of `queries` (m, d), in one pass where the way allows it."""
        passing = self.everything
        strategy = choose(self._conditions(k, weights, passing, exact), self.limits)
        if strategy is Strategy.LISTS:
            found = self._plain(queries, k, passing)
        elif strategy in (Strategy.SCAN, Strategy.SUBSET, Strategy.COLUMNS) and len(queries):
            found = [(places, len(self)) for places in self._scan(queries, k, weights, passing)]
        else:
            return [self.search(query, k, weights, passing, exact) for query in queries]
        return [
            self._hits(query, weights, places, k, strategy, passing, visited)
            for query, (places, visited) in zip(queries, found, strict=True)
        ]

    def within(self, query: Vectors, radius: float, weights: Reals, passing: Passing) -> Hits:
        """All passing rows with distance ≤ `radius`: lists that cannot hold one are not read."""
        places, visited = self._inside(query, radius, weights, passing)
        strategy = Strategy.SCAN if self.lists is None else Strategy.CERTIFIED
        if passing.count <= self.limits.subset_rows:
            strategy = Strategy.SUBSET if passing.count else Strategy.EMPTY
        hits = self._hits(query, weights, places, None, strategy, passing, visited)
        near = int(np.searchsorted(hits.distance, radius, side="right"))
        return Hits(hits.places[:near], hits.distance[:near], hits.plan)

    def _conditions(self, k: int, weights: Reals, passing: Passing, exact: bool) -> Conditions:
        if self.lists is None or self.codes is None:
            return Conditions(len(self), passing.count, k, exact, listed=False)
        return Conditions(
            len(self),
            passing.count,
            k,
            exact,
            default_metric=_proportional(weights, self.codes.weights),
            kept=np.count_nonzero(weights) / len(weights),
            explained=self.lists.explained(weights),
        )

    def _hits(
        self,
        query: Vectors,
        weights: Reals,
        places: Ids,
        k: int | None,
        strategy: Strategy,
        passing: Passing,
        visited: int,
    ) -> Hits:
        """The true distances of the candidates, in order."""
        distance = distances(self.vectors[places], query, weights)
        order = np.lexsort((self.did_rank[places], distance))[:k]
        plan = Plan(strategy, len(self), passing.count, visited, strategy in EXACT)
        return Hits(places[order], distance[order], plan)

    def _scan(
        self, queries: Vectors, k: int, weights: Reals, passing: Passing, columns: bool = False
    ) -> list[Ids]:
        if columns and self.columns is not None and len(queries) == 1:
            return k_nearest(column_bounds(self.columns, queries[0], weights, passing.places), k)
        return k_nearest(row_bounds(self.vectors, queries, weights, passing.places), k, len(queries))

    def _plain(self, queries: Vectors, k: int, passing: Passing) -> list[tuple[Ids, int]]:
        """The nearest lists of each query, as many as the wanted recall needs."""
        lists, codes = self._listed
        near = codes.near_lists(queries, min(len(lists), self._first(k, len(self) / len(lists))))
        _, places = codes.search(queries, near, k + SPARE, passing.bitmap)
        visited = lists.sizes[near].sum(axis=1).tolist()
        return [(row[row >= 0], count) for row, count in zip(places, visited, strict=True)]

    def _visited(
        self, query: Vectors, k: int, weights: Reals, passing: Passing, strategy: Strategy
    ) -> tuple[Ids, int]:
        """Lists with passing rows by the distance of their means, until a round changes nothing."""
        lists, codes = self._listed
        counts = lists.sizes if passing.bitmap is None else lists.counts(passing.bitmap)
        filled = np.flatnonzero(counts)
        order = filled[np.argsort(lists.remoteness(query, weights)[filled], kind="stable")]
        seen = np.cumsum(counts[order])
        wanted = max(self.limits.rows_first, self.limits.rows_per_match * k)
        first = max(self.limits.lists_first, int(np.searchsorted(seen, wanted)) + 1)
        keep = k + SPARE

        def look_into_codes(numbers: Ids) -> Found:
            squares, places = codes.search(query[None], numbers[None], keep, passing.bitmap)
            full = places[0] >= 0
            return Found(places[0][full], squares[0][full])

        def look_into_vectors(numbers: Ids) -> Found:
            return self._nearest_in(passing.keep(lists.places(numbers)), query, weights, keep)

        if strategy is Strategy.COUNTED_LISTS:
            best, n_lists = visit(order, first, first, k, keep, look_into_codes)
        else:
            first = max(first, self.limits.lists_more)
            best, n_lists = visit(order, first, self.limits.lists_more, k, keep, look_into_vectors)
        return best.places, int(seen[n_lists - 1])

    def _nearest_in(self, places: Ids, query: Vectors, weights: Reals, keep: int) -> Found:
        factors = weights.astype(np.float32)
        offsets = self.vectors[places]
        offsets -= query
        offsets *= offsets
        squares = offsets @ factors
        if len(places) > keep:
            least = np.argpartition(squares, keep)[:keep]
            places, squares = places[least], squares[least]
        order = np.argsort(squares, kind="stable")
        return Found(places[order], squares[order])

    def _certified(self, query: Vectors, k: int, weights: Reals, passing: Passing) -> tuple[Ids, int]:
        """A quick answer bounds the k-th distance; then all that can lie within it is read."""
        quick = self.search(query, k, weights, passing, exact=False)
        return self._inside(query, float(quick.distance[-1]), weights, passing)

    def _inside(self, query: Vectors, radius: float, weights: Reals, passing: Passing) -> tuple[Ids, int]:
        if self.lists is None or passing.count <= self.limits.subset_rows:
            places = passing.places
        else:
            reached = np.flatnonzero(self.lists.reach(query, weights) <= radius)
            places = passing.keep(self.lists.places(reached))
        count = len(self) if places is None else len(places)
        return inside(row_bounds(self.vectors, query[None], weights, places), radius), count

    def _first(self, k: int, mean_size: float) -> int:
        wanted = self.limits.rows_per_match * k
        return max(self.limits.lists_first, int(np.ceil(wanted / mean_size)))

    @property
    def _listed(self) -> tuple[Lists, Codes]:
        if self.lists is None or self.codes is None:
            raise TypeError("this part has no lists")
        return self.lists, self.codes


def save_arrays(
    directory: Path, rows: Ids, vectors: Vectors, did_rank: NDArray[Any], order: Ids, listed: bool
) -> None:
    """Write the arrays of a part in list order; `order` (n,) is the index in `rows` at every place.

    A part with lists finds their offsets.npy there, and gets what is to be known of them, and its columns.
    """
    first, last = (int(rows[0]), int(rows[-1])) if len(rows) else (0, -1)
    position = np.full(last - first + 1, -1, dtype=np.int32)
    position[rows[order] - first] = np.arange(len(rows), dtype=np.int32)
    np.save(directory / "position.npy", position)
    np.save(directory / "rows.npy", rows[order])
    np.save(directory / "did_rank.npy", did_rank[order])
    sorted_vectors = _copied(directory / "vectors.npy", vectors, order)
    if listed:
        _transposed(directory / "columns.npy", sorted_vectors)
        Lists.describe(sorted_vectors, np.load(directory / "offsets.npy")).save(directory)


def _copied(path: Path, vectors: Vectors, order: Ids) -> Vectors:
    """Rows in `order`, written a block at a time and mapped."""
    if not len(vectors):
        np.save(path, vectors)
        return vectors
    copy = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=vectors.shape)
    for start in range(0, len(order), WRITTEN):
        copy[start : start + WRITTEN] = vectors[order[start : start + WRITTEN]]
    copy.flush()
    return copy


def _transposed(path: Path, vectors: Vectors) -> None:
    copy = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=vectors.shape[::-1])
    for start in range(0, len(vectors), WRITTEN):
        copy[:, start : start + WRITTEN] = vectors[start : start + WRITTEN].T
    copy.flush()


def _proportional(weights: Reals, others: Reals) -> bool:
    """The same metric up to a factor."""
    return bool(np.allclose(weights * others.sum(), others * weights.sum(), rtol=1e-6, atol=0.0))
