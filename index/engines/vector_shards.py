"""Vectors on one PostgreSQL server or several: asked at once, the answers merged; all of them or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.distance import Ids, Vectors, Weights
from index.engines.engine import EngineError
from index.engines.pgvector import LIMITS, PgPart
from index.engines.vector_server import SPARE, VectorServer
from index.nearest import Found, Nearest, Question, different
from index.strategy import Limits

Answer = TypeVar("Answer")


class VectorShards(Nearest):
    """Every server finds its own nearest, so that those of all are among them.

    A server that does not answer, or has another release, is an EngineError that names it.
    """

    def __init__(self, parts: Sequence[PgPart]) -> None:
        super().__init__(parts[0].layout.dimension)
        self.parts = tuple(parts)
        self._threads = ThreadPoolExecutor(SPARE * len(parts), "doppel-shard")

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
        """Known without a list of the rows."""
        return sum(map(len, self.parts))

    def vector(self, row: int) -> Vectors | None:
        return self.parts[row % len(self.parts)].taken(np.array([row])).get(row)

    def taken(self, rows: ArrayLike) -> dict[int, Vectors]:
        asked, found = np.asarray(rows, np.int64), dict[int, Vectors]()
        for vectors in self._every(lambda part: part.taken(asked)):
            found |= vectors
        return found

    def _rows(self) -> Sequence[Ids]:
        return [part.rows for part in self.parts]

    def _nearest(self, point: Vectors, asked: Question, among: Ids | None) -> Sequence[Found]:
        k, metric, exact = asked
        rows = None if among is None else different(among)
        return self._every(lambda part: part.search(point[None], k, metric, part.passing(rows), exact)[0])

    def _nearest_each(self, points: Vectors, asked: Question) -> Iterable[Sequence[Found]]:
        k, metric, exact = asked
        answers = self._every(lambda part: part.search(points, k, metric, part.everything, exact))
        return zip(*answers, strict=True)

    def _within(self, point: Vectors, radius: float, metric: Weights, among: Ids | None) -> Sequence[Found]:
        rows = None if among is None else different(among)
        return self._every(lambda part: part.within(point, radius, metric, part.passing(rows)))

    def _fill(self, result: NDArray[Any], made: Callable[[Vectors], NDArray[Any]]) -> None:
        """Every vector comes here: quick enough for a million, and no way for a hundred millions."""
        places = self.rows  # made once, before the threads ask for it

        def fill(part: PgPart) -> None:
            for rows, vectors in part.blocks():
                result[np.searchsorted(places, rows)] = made(vectors)

        self._every(fill)

    def _every(self, ask: Callable[[PgPart], Answer]) -> list[Answer]:
        """The answers of all parts, asked at the same time; the first failure else."""
        first, *others = self.parts
        waiting = [self._threads.submit(ask, part) for part in others]
        return [ask(first), *(future.result() for future in waiting)]

    def close(self) -> None:
        self._threads.shutdown()
        for part in self.parts:
            part.server.close()
