"""Vectors on one PostgreSQL server or several: asked at once, the answers merged; all of them or an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from index.distance import Ids, Reals, Vectors, Weights, distances
from index.engines.engine import EngineError
from index.engines.pgvector import LIMITS, PgPart
from index.engines.vector_server import SPARE, VectorServer
from index.nearest import Found, Matches, check_k, check_radius, different, merged, point_of, points_of
from index.strategy import Limits

Answer = TypeVar("Answer")


class VectorShards:
    """As index.nearest.Nearest says; every server finds its own nearest, so that those of all are among them.

    A server that does not answer, or has another release, is an EngineError that names it.
    """

    def __init__(self, parts: Sequence[PgPart]) -> None:
        self.parts = tuple(parts)
        self._threads = ThreadPoolExecutor(SPARE * len(parts), "doppel-shard")
        self.dimension = parts[0].layout.dimension

    @classmethod
    def open(
        cls, servers: Sequence[VectorServer], release: str, model: str, limits: Limits = LIMITS
    ) -> VectorShards:
        """EngineError, and no session stays, where one has not its part of the release."""
        try:
            return cls([PgPart.open(server, release, model, limits) for server in servers])
        except EngineError:
            for server in servers:
                server.close()
            raise

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @cached_property
    def rows(self) -> Ids:
        """Ascending row numbers of all vectors."""
        return np.sort(np.concatenate([part.rows for part in self.parts]))

    def vector(self, row: int) -> Vectors | None:
        return self.parts[row % len(self.parts)].taken(np.array([row])).get(row)

    def taken(self, rows: ArrayLike) -> dict[int, Vectors]:
        asked, found = np.asarray(rows, np.int64), dict[int, Vectors]()
        for vectors in self._every(lambda part: part.taken(asked)):
            found |= vectors
        return found

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
        point, metric = point_of(query, self.dimension)[None], Weights.of(weights, self.dimension)
        check_k(k)
        rows, wanted = None if among is None else different(among), k + (exclude is not None)
        found = self._every(lambda part: part.search(point, wanted, metric, part.passing(rows), exact)[0])
        return merged(found, k, exclude)

    def search_batch(
        self,
        queries: ArrayLike,
        k: int,
        weights: ArrayLike,
        *,
        exclude: Sequence[int | None] = (),
        exact: bool = False,
    ) -> list[Matches]:
        points, left_out = points_of(queries, self.dimension, exclude)
        metric = Weights.of(weights, self.dimension)
        check_k(k)
        answers = self._every(lambda part: part.search(points, k + 1, metric, part.everything, exact))
        return [merged(found, k, row) for *found, row in zip(*answers, left_out, strict=True)]

    def within(
        self,
        query: ArrayLike,
        radius: float,
        weights: ArrayLike,
        *,
        among: ArrayLike | None = None,
        exclude: int | None = None,
    ) -> Matches:
        check_radius(radius)
        point, metric = point_of(query, self.dimension), Weights.of(weights, self.dimension)
        rows = None if among is None else different(among)
        found: list[Found] = self._every(lambda part: part.within(point, radius, metric, part.passing(rows)))
        return merged(found, None, exclude)

    def distances(self, query: ArrayLike, weights: ArrayLike) -> Reals:
        """Every vector comes here: quick enough for a million, and no way for a hundred millions."""
        point, metric = point_of(query, self.dimension), Weights.of(weights, self.dimension)
        result = np.empty(len(self))

        def fill(part: PgPart) -> None:
            for rows, vectors in part.blocks():
                result[np.searchsorted(self.rows, rows)] = distances(vectors, point, metric)

        self._every(fill)
        return result

    def matrix(self) -> Vectors:
        result = np.empty((len(self), self.dimension), np.float32)

        def fill(part: PgPart) -> None:
            for rows, vectors in part.blocks():
                result[np.searchsorted(self.rows, rows)] = vectors

        self._every(fill)
        return result

    def _every(self, ask: Callable[[PgPart], Answer]) -> list[Answer]:
        """The answers of all parts, asked at the same time; the first failure else."""
        first, *others = self.parts
        waiting = [self._threads.submit(ask, part) for part in others]
        return [ask(first), *(future.result() for future in waiting)]

    def close(self) -> None:
        self._threads.shutdown()
        for part in self.parts:
            part.server.close()
