"""The vectors of one model in one release: nearest rows under conditions, by any weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.distance import Ids, Reals, Vectors, distances
from index.strategy import Plan, choose

K_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Matches:
    """Rows by (distance, rank of the DID), nearest first."""

    rows: Ids
    distance: Reals
    plan: Plan


class VectorSet:
    """A directory of vectors opened for search; see `build` for what is in it."""

    def __init__(self, rows: Ids, vectors: Vectors, did_rank: NDArray[np.int32]) -> None:
        self.rows, self._vectors, self._did_rank = rows, vectors, did_rank
        self.dimension = int(vectors.shape[1])

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def build(
        cls,
        directory: Path,
        rows: ArrayLike,
        vectors: ArrayLike,
        did_rank: ArrayLike,
        scales: ArrayLike,
        weights: ArrayLike,
    ) -> VectorSet:
        """Write the set of `vectors` (n, d) for ascending `rows` (n,) into `directory`, and open it.

        `did_rank` (n,) orders rows of equal distance; `weights` (d,) is the default metric, as `parse_space`
        gives it. NaN or infinite vectors are refused by row.
        """
        row_numbers = np.asarray(rows, dtype=np.int64)
        matrix = np.asarray(vectors, dtype=np.float32)
        _check(row_numbers, matrix)
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "rows.npy", row_numbers)
        np.save(directory / "vectors.npy", matrix)
        np.save(directory / "did_rank.npy", np.asarray(did_rank, dtype=np.int32))
        return cls.open(directory)

    @classmethod
    def open(cls, directory: Path, segments: Sequence[Path] = ()) -> VectorSet:
        rows, vectors, did_rank = (
            np.load(directory / name, mmap_mode="r") for name in ("rows.npy", "vectors.npy", "did_rank.npy")
        )
        if not len(rows) == len(vectors) == len(did_rank):
            raise ValueError(
                f"{directory}: {len(rows)} rows, {len(vectors)} vectors, {len(did_rank)} ranks: they must agree"
            )
        return cls(rows, vectors, did_rank)

    def vector(self, row: int) -> Vectors | None:
        """The vector (d,) of a row; None where the row has no embedding."""
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            return None
        return np.array(self._vectors[place])

    def search(
        self,
        query: ArrayLike,
        k: int,
        weights: ArrayLike,
        *,
        among: ArrayLike | None = None,
        exclude: int | None = None,
        exact: bool = False,
    ) -> Matches:
        """The `k` nearest rows, of those `among` (any order; rows without a vector do not count)."""
        point, factors = self._checked(query, weights)
        _check_k(k)
        places = self._places(among, exclude)
        return self._answer(places, distances(self._vectors[places], point, factors), k)

    def search_batch(
        self,
        queries: ArrayLike,
        k: int,
        weights: ArrayLike,
        *,
        exclude: Sequence[int | None] = (),
    ) -> list[Matches]:
        """`search` for each row of `queries` (m, d), the m-th of `exclude` left out of the m-th answer."""
        points = np.asarray(queries, dtype=np.float32)
        left_out = exclude or [None] * len(points)
        return [
            self.search(point, k, weights, exclude=row) for point, row in zip(points, left_out, strict=True)
        ]

    def within(
        self,
        query: ArrayLike,
        radius: float,
        weights: ArrayLike,
        *,
        among: ArrayLike | None = None,
        exclude: int | None = None,
    ) -> Matches:
        """All rows with distance ≤ `radius`; always exact."""
        point, factors = self._checked(query, weights)
        places = self._places(among, exclude)
        distance = distances(self._vectors[places], point, factors)
        near = distance <= radius
        answer = self._answer(places[near], distance[near], None)
        plan = Plan(choose(len(self), len(places)), len(self), len(places), len(places), True)
        return Matches(answer.rows, answer.distance, plan)

    def distances(self, query: ArrayLike, weights: ArrayLike) -> Reals:
        """The distance of every row, aligned with `rows`."""
        return distances(self._vectors, *self._checked(query, weights))

    def _places(self, among: ArrayLike | None, exclude: int | None) -> Ids:
        rows = self.rows
        places = np.arange(len(rows), dtype=np.int64)
        if among is not None:
            wanted = np.unique(np.asarray(among, dtype=np.int64))
            places = np.flatnonzero(np.isin(rows, wanted, assume_unique=True))
        if exclude is not None:
            places = places[rows[places] != exclude]
        return places

    def _answer(self, places: Ids, distance: Reals, k: int | None) -> Matches:
        order = np.lexsort((self._did_rank[places], distance))[:k]
        plan = Plan(choose(len(self), len(places)), len(self), len(places), len(places), True)
        return Matches(np.asarray(self.rows[places[order]]), distance[order], plan)

    def _checked(self, query: ArrayLike, weights: ArrayLike) -> tuple[Vectors, Reals]:
        point, factors = np.asarray(query, dtype=np.float32), np.asarray(weights, dtype=np.float64)
        for name, value in (("query", point), ("weights", factors)):
            if value.shape != (self.dimension,):
                raise ValueError(f"{name} has shape {value.shape}; the set holds {self.dimension} dimensions")
        if not np.isfinite(point).all():
            raise ValueError("the query vector is not finite")
        if not np.isfinite(factors).all() or (factors < 0).any() or not factors.any():
            raise ValueError("weights must be finite, not negative, and at least one above zero")
        return point, factors


def _check(rows: Ids, vectors: Vectors) -> None:
    if vectors.ndim != 2 or len(rows) != len(vectors):
        raise ValueError(f"{len(rows)} rows, vectors of shape {vectors.shape}: one vector per row is needed")
    if (np.diff(rows) <= 0).any():
        raise ValueError("rows must be ascending and different")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise ValueError(f"{len(bad)} vectors are not finite; the first is of row {rows[bad[0]]}")


def _check_k(k: int) -> None:
    if not 0 <= k <= K_LIMIT:
        raise ValueError(f"k is {k}; it must lie between 0 and {K_LIMIT}")
