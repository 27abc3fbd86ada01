"""Vectors in several PostgreSQL servers: asked at once, their answers merged; all of them or none."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

from index.engines.duckdb_engine import EngineError
from index.engines.pgvector import PgVectors
from index.nearest import Matches
from index.strategy import Plan


class VectorShards:
    """Sets of different rows; a shard that does not answer is an error, never a shorter answer.

    Every shard ranks its own `k` nearest, so that the `k` nearest of all are among them.
    """

    def __init__(self, shards: Sequence[PgVectors]) -> None:
        if not shards:
            raise ValueError("there is no shard")
        self._shards = tuple(shards)
        self._threads = ThreadPoolExecutor(len(shards), "doppel-shard")

    def __len__(self) -> int:
        return sum(map(len, self._shards))

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
        """As PgVectors; EngineError, with the shard's number, where one of them fails."""
        asked = [
            self._threads.submit(shard.search, query, k, weights, among=among, exclude=exclude, exact=exact)
            for shard in self._shards
        ]
        answers = []
        for number, future in enumerate(asked):
            try:
                answers.append(future.result())
            except EngineError as error:
                raise EngineError(f"shard {number} of {len(asked)} does not answer: {error}") from error
        return _merged(answers, k)

    def close(self) -> None:
        self._threads.shutdown()
        for shard in self._shards:
            shard.close()


def _merged(answers: Sequence[Matches], k: int) -> Matches:
    """By distance; equal ones by row number, since ranks of DIDs are only known within a shard."""
    rows = np.concatenate([one.rows for one in answers])
    distance = np.concatenate([one.distance for one in answers])
    order = np.lexsort((rows, distance))[:k]
    plans = [one.plan for one in answers]
    plan = Plan(
        max(plans, key=lambda one: one.n_visited).strategy,
        sum(one.n_rows for one in plans),
        sum(one.n_pass for one in plans),
        sum(one.n_visited for one in plans),
        all(one.exact for one in plans),
    )
    return Matches(rows[order], distance[order], plan)
