"""One immutable set of vectors in list order, and every way to find the nearest of its rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.distance import (
    BLOCK,
    Ids,
    Places,
    Reals,
    Vectors,
    Weights,
    batch_bounds,
    column_bounds,
    distances,
    inside,
    k_nearest,
    row_bounds,
    squares,
)
from index.lists import Bitmap, Found, Lists, visit
from index.strategy import EXACT, Conditions, Limits, Plan, Strategy, choose

SPARE = 4  # rows fetched beyond k, since the compressed copies may swap neighbours
NOWHERE: Ids = np.empty(0, dtype=np.int64)
WRITTEN = 65_536  # rows written at a time
ARRAYS = ("rows", "vectors", "did_rank", "position")

Mask = NDArray[np.bool_]


class Codes(Protocol):
    """Compressed vectors in lists, searched in the default metric."""

    @property
    def metric(self) -> Weights:
        """That metric."""

    def nearest(self, queries: Vectors, n_lists: int, k: int, bitmap: Bitmap | None) -> tuple[Ids, Ids]:
        """Places (m, k) of the nearest rows in the `n_lists` nearest lists (m, n_lists); −1 for none."""

    def search(self, query: Vectors, lists: Ids, k: int, bitmap: Bitmap | None) -> tuple[Vectors, Ids]:
        """Approximate d² and places (k,) of the nearest rows in `lists`; place −1 for none."""


class Passing:
    """Which places may be found: a mask, or some different places; every one where both are None."""

    def __init__(self, n_rows: int, mask: Mask | None = None, places: Places | None = None) -> None:
        self.n_rows, self._mask, self._places = n_rows, mask, places

    @cached_property
    def mask(self) -> Mask | None:
        if self._places is None:
            return self._mask
        mask = np.zeros(self.n_rows, dtype=np.bool_)
        mask[self._places] = True
        return mask

    @cached_property
    def places(self) -> Places | None:
        return self._places if self._mask is None else np.flatnonzero(self._mask)

    @cached_property
    def count(self) -> int:
        if self._places is not None:
            return len(self._places)
        return self.n_rows if self._mask is None else int(np.count_nonzero(self._mask))

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
    position: Ids  # (last row − first row + 1,)
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
                np.asarray(np.load(directory / f"{name}.npy", mmap_mode="r")) for name in ARRAYS
            )
            lists = Lists.open(directory) if codes else None
            columns = np.asarray(np.load(directory / "columns.npy", mmap_mode="r")) if codes else None
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
        """The places of the live ones among different `rows`, all if None."""
        if rows is None:
            return self.everything
        places = self.places_of(rows)
        if len(places) <= self.limits.subset_rows:
            return Passing(len(self), places=places if self.live is None else places[self.live[places]])
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[places] = True
        if self.live is not None:
            mask &= self.live
        return Passing(len(self), mask)

    def search(self, query: Vectors, k: int, weights: Weights, passing: Passing, exact: bool) -> Hits:
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

    def search_batch(self, queries: Vectors, k: int, weights: Weights, exact: bool) -> list[Hits]:
        """`search` among all rows for each of `queries` (m, d), in one pass where the way allows it."""
        passing = self.everything
        strategy = choose(self._conditions(k, weights, passing, exact), self.limits)
        if strategy is Strategy.LISTS:
            found = self._plain(queries, k, passing)
        elif strategy in (Strategy.SCAN, Strategy.SUBSET, Strategy.COLUMNS):
            found = [(places, len(self)) for places in self._scan(queries, k, weights, passing)]
        else:
            return [self.search(query, k, weights, passing, exact) for query in queries]
        return [
            self._hits(query, weights, places, k, strategy, passing, visited)
            for query, (places, visited) in zip(queries, found, strict=True)
        ]

    def within(self, query: Vectors, radius: float, weights: Weights, passing: Passing) -> Hits:
        """All passing rows with distance ≤ `radius`: lists that cannot hold one are not read."""
        places, visited = self._inside(query, radius, weights, passing)
        strategy = Strategy.SCAN if self.lists is None else Strategy.CERTIFIED
        if passing.count <= self.limits.subset_rows:
            strategy = Strategy.SUBSET if passing.count else Strategy.EMPTY
        hits = self._hits(query, weights, places, None, strategy, passing, visited)
        near = int(np.searchsorted(hits.distance, radius, side="right"))
        return Hits(hits.places[:near], hits.distance[:near], hits.plan)

    def _conditions(self, k: int, weights: Weights, passing: Passing, exact: bool) -> Conditions:
        if self.lists is None or self.codes is None:
            return Conditions(len(self), passing.count, k, exact, listed=False)
        if weights is self.codes.metric or weights.proportional(self.codes.metric):
            return Conditions(len(self), passing.count, k, exact)
        guide = self.lists.explained(weights), self.lists.effective(weights)
        return Conditions(len(self), passing.count, k, exact, True, False, weights.share, *guide)

    def _hits(
        self,
        query: Vectors,
        weights: Weights,
        places: Ids,
        k: int | None,
        strategy: Strategy,
        passing: Passing,
        visited: int,
    ) -> Hits:
        """The true distances of the candidates, in order."""
        distance = distances(self.vectors, query, weights, places)
        order = np.lexsort((self.did_rank[places], distance))[:k]
        plan = Plan(strategy, len(self), passing.count, visited, strategy in EXACT)
        return Hits(places[order], distance[order], plan)

    def _scan(
        self, queries: Vectors, k: int, weights: Weights, passing: Passing, columns: bool = False
    ) -> list[Places]:
        places = passing.places
        if places is not None and len(places) <= min(8 * k, BLOCK):
            return [places] * len(queries)
        if len(queries) > 1:
            return k_nearest(batch_bounds(self.vectors, queries, weights, places), k, len(queries))
        if columns and self.columns is not None:
            return k_nearest(column_bounds(self.columns, queries[0], weights, places), k)
        return k_nearest(row_bounds(self.vectors, queries[0], weights, places), k)

    def _plain(self, queries: Vectors, k: int, passing: Passing) -> list[tuple[Ids, int]]:
        """The nearest lists of each query, as many as the wanted recall needs."""
        lists, codes = self._listed
        wanted = int(np.ceil(self.limits.rows_per_match * k * len(lists) / len(self)))
        n_lists = min(len(lists), max(self.limits.lists_first, wanted))
        places, near = codes.nearest(queries, n_lists, k + SPARE, passing.bitmap)
        visited = lists.sizes[near].sum(axis=1).tolist()
        return [(row[row >= 0], count) for row, count in zip(places, visited, strict=True)]

    def _visited(
        self, query: Vectors, k: int, weights: Weights, passing: Passing, strategy: Strategy
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
            squares, places = codes.search(query, numbers, keep, passing.bitmap)
            full = places >= 0
            return Found(places[full], squares[full])

        def look_into_vectors(numbers: Ids) -> Found:
            return self._nearest_in(passing.keep(lists.places(numbers)), query, weights, keep)

        if strategy is Strategy.COUNTED_LISTS:
            best, n_lists = visit(order, first, first, k, keep, look_into_codes)
        else:
            few = lists.effective(weights) < self.limits.few_latents
            more = self.limits.lists_few_latents if few else self.limits.lists_first
            best, n_lists = visit(order, max(first, more), more, k, keep, look_into_vectors)
        return best.places, int(seen[n_lists - 1])

    def _nearest_in(self, places: Ids, query: Vectors, weights: Weights, keep: int) -> Found:
        near = squares(self.vectors, query, weights, places)
        if len(places) > keep:
            least = np.argpartition(near, keep)[:keep]
            places, near = places[least], near[least]
        order = np.argsort(near, kind="stable")
        return Found(places[order], near[order])

    def _certified(self, query: Vectors, k: int, weights: Weights, passing: Passing) -> tuple[Places, int]:
        """A quick answer bounds the k-th distance; then all that can lie within it is read."""
        places, _ = self._visited(query, k, weights, passing, Strategy.WEIGHTED_LISTS)
        bound = np.sort(distances(self.vectors, query, weights, places))[k - 1 :]
        return self._inside(query, float(bound[0]) if len(bound) else np.inf, weights, passing)

    def _inside(self, query: Vectors, radius: float, weights: Weights, passing: Passing) -> tuple[Ids, int]:
        if self.lists is None or passing.count <= self.limits.subset_rows:
            places = passing.places
        else:
            reached = np.flatnonzero(self.lists.reach(query, weights) <= radius)
            places = passing.keep(self.lists.places(reached))
        count = len(self) if places is None else len(places)
        return inside(row_bounds(self.vectors, query, weights, places), radius), count

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
    position = np.full(last - first + 1, -1, dtype=np.int64)
    position[rows[order] - first] = np.arange(len(rows))
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
