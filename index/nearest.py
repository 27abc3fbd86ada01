"""What every place of vectors can do, whichever engine keeps them; what it answers, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.distance import LARGEST, Ids, Reals, Vectors
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


class Nearest(Protocol):
    """The vectors of one model in one release.

    Weights (d,) are those of `parse_space`; distances are float64 and the same on every path. A place of
    vectors that can not answer wholly raises EngineError: never is an answer shorter than what it holds.
    """

    @property
    def dimension(self) -> int:
        """Latents of every vector."""

    @property
    def rows(self) -> Ids:
        """Ascending row numbers of all vectors."""

    def __len__(self) -> int: ...

    def vector(self, row: int) -> Vectors | None:
        """The vector (d,) of a row; None where the row has no embedding."""

    def taken(self, rows: ArrayLike) -> dict[int, Vectors]:
        """The vectors (d,) of those `rows` that have one."""

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
        """The `k` nearest rows, of those `among`, without `exclude`; never fewer while as many pass."""

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

    def distances(self, query: ArrayLike, weights: ArrayLike) -> Reals:
        """The distance of every row, aligned with `rows`."""

    def matrix(self) -> Vectors:
        """All vectors (n, d), aligned with `rows`."""


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
