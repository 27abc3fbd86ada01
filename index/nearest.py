"""What every place of vectors can do, whichever engine keeps them; what it answers, and what it refuses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.distance import LARGEST, Ids, Reals, Vectors, Weights, distances
from index.strategy import Plan

K_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Matches:
    """Rows by (distance, rank of the DID), nearest first."""

    rows: Ids
    distance: Reals
    plan: Plan


@dataclass(frozen=True, slots=True)
class Found:
    """What one part of a set has found, by (distance, rank of the DID)."""

    rows: Ids
    ranks: NDArray[Any]
    distance: Reals
    plan: Plan


class Question(NamedTuple):
    """How many of the nearest are wanted, by which distance, and whether they must be proven to be that."""

    k: int
    metric: Weights
    exact: bool


class Nearest(ABC):
    """The vectors of one model in one release, in one part or several that each find their own nearest.

    Weights (d,) are those of `parse_space`; distances are float64 and the same on every path. A place of
    vectors that can not answer wholly raises EngineError: never is an answer shorter than what it holds.
    What is asked is checked here, and the answers of the parts become one; how a part finds them is left to
    the engine.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension  # latents of every vector

    @cached_property
    def rows(self) -> Ids:
        """Ascending row numbers of all vectors that are not removed."""
        return np.sort(np.concatenate(self._rows()))

    def __len__(self) -> int:
        return len(self.rows)

    @abstractmethod
    def vector(self, row: int) -> Vectors | None:
        """The vector (d,) of a row; None where the row has no embedding."""

    def taken(self, rows: ArrayLike) -> dict[int, Vectors]:
        """The vectors (d,) of those `rows` that have one."""
        found = ((row, self.vector(row)) for row in np.asarray(rows, np.int64).tolist())
        return {row: vector for row, vector in found if vector is not None}

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
        """The `k` nearest rows, of those `among` (any order; rows without a vector do not count).

        `exclude` is left out of the answer. There are never fewer than `k` while `k` rows pass.
        """
        point, metric = point_of(query, self.dimension), Weights.of(weights, self.dimension)
        check_k(k)
        asked = Question(k + (exclude is not None), metric, exact)
        return merged(self._nearest(point, asked, _numbers(among)), k, exclude)

    def search_batch(
        self,
        queries: ArrayLike,
        k: int,
        weights: ArrayLike,
        *,
        exclude: Sequence[int | None] = (),
        exact: bool = False,
    ) -> list[Matches]:
        """`search` for each row of `queries` (m, d), the m-th of `exclude` left out of the m-th answer."""
        points, left_out = points_of(queries, self.dimension, exclude)
        metric = Weights.of(weights, self.dimension)
        check_k(k)
        if not len(points):
            return []
        answers = self._nearest_each(points, Question(k + 1, metric, exact))
        return [merged(found, k, row) for found, row in zip(answers, left_out, strict=True)]

    def within(
        self,
        query: ArrayLike,
        radius: float,
        weights: ArrayLike,
        *,
        among: ArrayLike | None = None,
        exclude: int | None = None,
    ) -> Matches:
        """All rows with distance ≤ `radius`, nearest first; always exact."""
        check_radius(radius)
        point, metric = point_of(query, self.dimension), Weights.of(weights, self.dimension)
        return merged(self._within(point, radius, metric, _numbers(among)), None, exclude)

    def distances(self, query: ArrayLike, weights: ArrayLike) -> Reals:
        """The distance of every row, aligned with `rows`."""
        point, metric = point_of(query, self.dimension), Weights.of(weights, self.dimension)
        result = np.empty(len(self))
        self._fill(result, lambda vectors: distances(vectors, point, metric))
        return result

    def matrix(self) -> Vectors:
        """All vectors (n, d), aligned with `rows`."""
        result = np.empty((len(self), self.dimension), np.float32)
        self._fill(result, lambda vectors: vectors)
        return result

    @abstractmethod
    def _rows(self) -> Sequence[Ids]:
        """Row numbers of every part, in any order."""

    @abstractmethod
    def _nearest(self, point: Vectors, asked: Question, among: Ids | None) -> Sequence[Found]:
        """What every part has nearest to `point` (d,), of all rows if `among` is None."""

    @abstractmethod
    def _nearest_each(self, points: Vectors, asked: Question) -> Iterable[Sequence[Found]]:
        """`_nearest` among all rows for each of `points` (m, d)."""

    @abstractmethod
    def _within(self, point: Vectors, radius: float, metric: Weights, among: Ids | None) -> Sequence[Found]:
        """What every part has within `radius` of `point` (d,)."""

    @abstractmethod
    def _fill(self, result: NDArray[Any], made: Callable[[Vectors], NDArray[Any]]) -> None:
        """Writes what is `made` of some vectors (m, d), m values, to the places of their rows in `rows`."""


def _numbers(among: ArrayLike | None) -> Ids | None:
    return None if among is None else np.asarray(among, dtype=np.int64)


def point_of(query: ArrayLike, dimension: int) -> Vectors:
    """A vector (d,) to search around; ValueError where it is none of a set with these dimensions."""
    point = np.asarray(query, dtype=np.float32)
    if point.shape != (dimension,):
        raise ValueError(f"the query has shape {point.shape}; the set holds {dimension} dimensions")
    if not np.abs(point).max(initial=0) <= LARGEST:
        raise ValueError(f"the query vector has values that are not finite or above {LARGEST:g}")
    return point


def points_of(
    queries: ArrayLike, dimension: int, exclude: Sequence[int | None]
) -> tuple[Vectors, Sequence[int | None]]:
    """The vectors (m, d) of a batch, and the row that each leaves out."""
    points = np.array([point_of(query, dimension) for query in np.asarray(queries)], dtype=np.float32)
    left_out = exclude or [None] * len(points)
    if len(left_out) != len(points):
        raise ValueError(f"{len(left_out)} rows to exclude for {len(points)} queries")
    return points, left_out


def check_k(k: int) -> None:
    if not 0 <= k <= K_LIMIT:
        raise ValueError(f"k is {k}; it must lie between 0 and {K_LIMIT}")


def check_radius(radius: float) -> None:
    if not radius >= 0:
        raise ValueError(f"the radius is {radius}; it must be zero or above")


def different(rows: ArrayLike) -> Ids:
    """Ascending, each once."""
    numbers = np.asarray(rows, dtype=np.int64)
    return numbers if (numbers[1:] > numbers[:-1]).all() else np.unique(numbers)


def merged(parts: Sequence[Found], k: int | None, exclude: int | None) -> Matches:
    """One answer from those of the parts, without `exclude`."""
    rows, distance = parts[0].rows, parts[0].distance
    if len(parts) > 1:
        rows = np.concatenate([part.rows for part in parts])
        distance = np.concatenate([part.distance for part in parts])
        order = np.lexsort((np.concatenate([part.ranks for part in parts]), distance))
        rows, distance = rows[order], distance[order]
    if exclude is not None:
        others = rows != exclude
        rows, distance = rows[others], distance[others]
    return Matches(rows[:k], distance[:k], joined([part.plan for part in parts]))


def joined(plans: Sequence[Plan]) -> Plan:
    """That of the part where most rows passed, with the rows of all."""
    if len(plans) == 1:
        return plans[0]
    return Plan(
        max(plans, key=lambda plan: plan.n_pass).strategy,
        sum(plan.n_rows for plan in plans),
        sum(plan.n_pass for plan in plans),
        sum(plan.n_visited for plan in plans),
        all(plan.exact for plan in plans),
    )
