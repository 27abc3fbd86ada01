"""One immutable set of vectors in list order, and every way to find the nearest of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.arrays import let_go
from index.distance import (
    BLOCK,
    Ids,
    Places,
    Reals,
    Vectors,
    Weights,
    batch_bounds,
    column_blocks,
    distances,
    inside,
    k_nearest,
    k_nearest_each,
    row_blocks,
    squares,
)
from index.lists import Bitmap, Found, Lists, visit
from index.many import look
from index.nearest import different
from index.passing import Mask, Passing
from index.strategy import EXACT, Conditions, Limits, Plan, Strategy, choose

SPARSE = 0.25  # of the rows of visited lists pass: they are compared one by one, not by their codes
MORE = 16  # and half of k are asked for besides where rows are removed
KEPT = 0.75  # of these at least must be left, else lists are visited by counting
SPARE = 4  # rows fetched beyond k, since the compressed copies may swap neighbours
FEW = 0.15  # of the rows are known by their places, more by a mask
NOWHERE: Ids = np.empty(0, dtype=np.int64)
TRIED, SAMPLE, K_TRIED = (16, 24, 32, 48, 64, 96, 128, 192, 256), 96, 11  # a row is its own nearest
ARRAYS = ("rows", "vectors", "did_rank", "position")


class Codes(Protocol):
    """Compressed vectors in lists, searched in the default metric."""

    @property
    def metric(self) -> Weights:
        """That metric."""

    def nearest(self, queries: Vectors, n_lists: int, k: int) -> tuple[Ids, Ids]:
        """Places (m, k) of the nearest rows in the `n_lists` nearest lists (m, n_lists); −1 for none."""

    def search(self, query: Vectors, lists: Ids, k: int, bitmap: Bitmap | None) -> tuple[Vectors, Ids]:
        """Approximate d² and places (k,) of the nearest rows in `lists`; place −1 for none."""

    def squares(self, vectors: Vectors, query: Vectors, weights: Weights, places: Ids) -> Vectors:
        """d² (n,) of the rows of `vectors` at `places`, as quick as `index.distance.squares` and as exact."""


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
    others: Sequence[Part] = ()  # the same rows in lists that were made for other metrics

    @classmethod
    def open(cls, directory: Path, limits: Limits, codes: Codes | None) -> Part:
        """Map the arrays that `save_arrays` wrote; lists come with `codes`."""
        try:
            rows, vectors, did_rank, position = (
                np.asarray(np.load(directory / f"{name}.npy", mmap_mode="r")) for name in ARRAYS
            )
            lists = Lists.open(directory) if codes else None
            columns = np.asarray(np.load(directory / "columns.npy", mmap_mode="r")) if codes else None
        except (OSError, EOFError, ValueError) as failure:
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
        return replace(self, live=live, others=[other.without(removed) for other in self.others])

    def for_metric(self, weights: Weights) -> Part:
        """This part, or another of the same rows whose lists tell more about distances by these weights."""
        if not self.others or (self.codes is not None and weights.proportional(self.codes.metric)):
            return self
        return max((self, *self.others), key=lambda part: part._listed[0].guide(weights)[0])

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def first_row(self) -> int:
        return int(self.rows.min()) if len(self) else 0

    @cached_property
    def last_row(self) -> int:
        return self.first_row + len(self.position) - 1

    @cached_property
    def _findable(self) -> Mask | None:
        """By row number (last row + 1,), which rows have a vector and are not removed; None: all of them."""
        if self.live is None and self.first_row == 0 and len(self.position) == len(self):
            return None
        mask = np.zeros(self.last_row + 1, dtype=np.bool_)
        mask[self.rows if self.live is None else self.rows[self.live]] = True
        return mask

    @cached_property
    def everything(self) -> Passing:
        return Passing(self.rows, by_row=None if self.live is None else self._findable)

    def place_of(self, row: int) -> int | None:
        """The place of a row that has a vector here and is not removed."""
        if not self.first_row <= row <= self.last_row:
            return None
        place = int(self.position[row - self.first_row])
        return place if place >= 0 and (self.live is None or self.live[place]) else None

    def places_of(self, rows: Ids) -> Places:
        """Places of those `rows` that have a vector here."""
        offsets = self._within(rows) - self.first_row
        places = self.position[offsets[offsets >= 0]]
        return places[places >= 0]

    def _within(self, rows: Ids) -> Ids:
        """Those of `rows` up to the last of this part; a negative number is a huge unsigned one."""
        if not len(rows) or int(rows.view(np.uint64).max()) <= self.last_row:
            return rows
        return rows[(rows >= 0) & (rows <= self.last_row)]

    def passing(self, rows: Ids | None) -> Passing:
        """Those of `rows` (in any order, repeated or not) that are here and not removed; all if None."""
        if rows is None:
            return self.everything
        if len(rows) <= max(self.limits.subset_rows, FEW * len(self)):
            return self._few(different(rows))
        mask = np.zeros(self.last_row + 1, dtype=np.bool_)
        mask[self._within(rows)] = True
        if self._findable is not None:
            mask &= self._findable
        passing = Passing(self.rows, by_row=mask)
        return passing if passing.count > self.limits.subset_rows else self._few(np.flatnonzero(mask))

    def _few(self, rows: Ids) -> Passing:
        places = self.places_of(rows)
        return Passing(self.rows, places if self.live is None else places[self.live[places]])

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
                places, visited = self._plain(query[None], k)[0]
                if self.live is not None and len(places) < KEPT * self._asked(k):
                    strategy = Strategy.COUNTED_LISTS
                    places, visited = self._visited(query, k, weights, passing, strategy)
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
        if strategy is Strategy.LISTS and self.live is None:
            found = self._plain(queries, k)
        elif strategy in (Strategy.SCAN, Strategy.SUBSET, Strategy.COLUMNS):
            found = [(places, len(self)) for places in self._scan(queries, k, weights, passing)]
        elif strategy is Strategy.WEIGHTED_LISTS and self.live is None:
            found = self._weighted(queries, k, weights)
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
        n_rows = passing.count if passing is self.everything else len(self)
        if self.lists is None or self.codes is None:
            return Conditions(n_rows, passing.count, k, exact, listed=False)
        if weights is self.codes.metric or weights.proportional(self.codes.metric):
            return Conditions(n_rows, passing.count, k, exact)
        shares = weights.share, *self.lists.guide(weights)
        return Conditions(n_rows, passing.count, k, exact, True, False, *shares)

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
            return k_nearest_each(batch_bounds(self.vectors, queries, weights, places), k, len(queries))
        if columns and self.columns is not None:
            blocks = column_blocks(self.columns, queries[0], weights, places)
        else:
            blocks = self._blocks(queries[0], weights, places)
        found = k_nearest(blocks, k, self.vectors.shape[1])
        return [found if places is None else places[found]]

    def _blocks(self, query: Vectors, weights: Weights, places: Places | None) -> Iterator[Vectors]:
        """d² of the rows at `places`, all if None, in float32."""
        near = squares if self.codes is None or places is None else self.codes.squares
        return row_blocks(self.vectors, query, weights, places, near)

    def _plain(self, queries: Vectors, k: int) -> list[tuple[Ids, int]]:
        """The nearest lists of each query, as many as the wanted recall needs.

        Where rows are removed, more are asked for and those left out: what is left is as if they had never
        been, as long as it is enough.
        """
        lists, codes = self._listed
        asked = self._asked(k)
        wanted = self.limits.rows_per_match * asked * len(lists) // len(self) + 1
        n_lists = min(len(lists), max(max(self.limits.lists_plain, lists.needed) + asked // 10, wanted))
        places, near = codes.nearest(queries, n_lists, asked + SPARE)
        visited = [int(lists.sizes[numbers].sum()) for numbers in near]
        return [(self._alive(full(row)), count) for row, count in zip(places, visited, strict=True)]

    def lists_needed(self) -> int:
        """How many lists give the wanted recall on a sample of the rows: the more latents vary independently,
        the farther neighbours are scattered over lists."""
        lists, codes = self._listed
        queries = self.vectors[np.linspace(0, len(self) - 1, SAMPLE).astype(np.int64)]
        exact = [self.search(query, K_TRIED, codes.metric, self.everything, True) for query in queries]
        let_go(self.vectors)
        for n_lists in (n for n in TRIED if n < len(lists)):
            found, _ = codes.nearest(queries, n_lists, K_TRIED + SPARE)
            shares = [
                np.mean(
                    np.sort(distances(self.vectors, query, codes.metric, full(row)))[:K_TRIED]
                    <= hits.distance[-1]
                )
                for query, row, hits in zip(queries, found, exact, strict=True)
            ]
            if np.mean(shares) >= self.limits.recall and min(shares) >= self.limits.worst:
                return n_lists
        return len(lists)

    def _asked(self, k: int) -> int:
        return k if self.live is None else k + k // 2 + MORE

    def _alive(self, places: Ids) -> Ids:
        return places if self.live is None else places[self.live[places]]

    def _visited(
        self, query: Vectors, k: int, weights: Weights, passing: Passing, strategy: Strategy
    ) -> tuple[Ids, int]:
        """Lists with passing rows by the distance of their means, until a round changes nothing."""
        lists, codes = self._listed
        weighted = strategy is Strategy.WEIGHTED_LISTS
        metric = weights if weighted else codes.metric
        remoteness = lists.remoteness(query, metric)
        order = np.argsort(remoteness)
        keep = k + SPARE

        def best_in(numbers: Ids, places: Places) -> Found:
            if weighted or len(places) < SPARSE * lists.sizes[numbers].sum():
                return Found.best(places, codes.squares(self.vectors, query, metric, places), keep)
            near, found = codes.search(query, numbers, keep, passing.bitmap(places))
            found = full(found)
            return Found(found, near[: len(found)])

        first = more = max(self.limits.lists_first, lists.needed)
        if weighted:
            first, more = self._weighted_rounds(weights)
        rounds = passing.rounds(lists, order, first, more, self._wanted(k))
        best, visited = visit(rounds, best_in, remoteness, self.limits.farther, k, keep)
        return best.places, visited

    def _wanted(self, k: int) -> int:
        """Passing rows to see before the first look at an answer."""
        return max(self.limits.rows_first, self.limits.rows_per_match * k)

    def _weighted_rounds(self, weights: Weights) -> tuple[int, int]:
        """Lists before the first look at an answer by own weights, and further lists at a time."""
        _, shared = self._listed[0].guide(weights)
        first = next(n_lists for least, n_lists in self.limits.weighted if shared >= least)
        return first, first // 2

    def _weighted(self, queries: Vectors, k: int, weights: Weights) -> list[tuple[Places, int]]:
        """`_visited` for many: two rounds together; who is not settled then goes on alone."""
        lists, _ = self._listed
        rounds = self._weighted_rounds(weights)
        enough = 2 * self.limits.rows_per_match * k * len(lists) <= rounds[0] * len(self)
        if not enough or sum(rounds) > len(lists):
            ways = (
                self._visited(query, k, weights, self.everything, Strategy.WEIGHTED_LISTS)
                for query in queries
            )
            return list(ways)
        looked = look(lists, self.vectors, queries, weights, rounds, k + SPARE)
        return [
            (one.best.places, one.visited)
            if one.settled(k, self.limits.farther)
            else self._visited(query, k, weights, self.everything, Strategy.WEIGHTED_LISTS)
            for query, one in zip(queries, looked, strict=True)
        ]

    def _certified(self, query: Vectors, k: int, weights: Weights, passing: Passing) -> tuple[Places, int]:
        """The first round bounds the k-th distance; then all that can lie within it is read."""
        lists, codes = self._listed
        order = np.argsort(lists.remoteness(query, weights))
        _, places = next(passing.rounds(lists, order, self.limits.lists_first, 0, self._wanted(k)))
        near = Found.best(places, codes.squares(self.vectors, query, weights, places), k)
        found = distances(self.vectors, query, weights, near.places)
        return self._inside(query, float(found.max()) if len(found) == k else np.inf, weights, passing)

    def _inside(self, query: Vectors, radius: float, weights: Weights, passing: Passing) -> tuple[Ids, int]:
        if self.lists is None or passing.count <= self.limits.subset_rows:
            places = passing.places
        else:
            reached = np.flatnonzero(self.lists.reach(query, weights) <= radius)
            places, _ = passing.within(self.lists, reached)
        found = inside(self._blocks(query, weights, places), radius, len(query))
        return (found, len(self)) if places is None else (places[found], len(places))

    @property
    def _listed(self) -> tuple[Lists, Codes]:
        if self.lists is None or self.codes is None:
            raise TypeError("this part has no lists")
        return self.lists, self.codes


def full(places: Ids) -> Ids:
    """The places that were found: −1 stands in the last ones where there are fewer."""
    return places if not len(places) or places[-1] >= 0 else places[places >= 0]
