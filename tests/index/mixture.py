"""Vectors that look like embeddings of stellar spectra, for tests and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

PARAMETERS, CLUSTERS, HIDDEN = 8, 64, 96
CHUNK = 100_000


@dataclass(frozen=True)
class Mixture:
    """Eight parameters from 64 clusters of very unequal weight, bent by a fixed smooth map into d dimensions,
    with noise 0.05 and 1 % of heavy-tailed outliers. `n_queries` further rows are held out."""

    n: int
    d: int
    n_queries: int = 400
    seed: int = 1

    @cached_property
    def _map(self) -> dict[str, NDArray[np.float32]]:
        r = np.random.default_rng(7)
        weight = r.pareto(1.2, CLUSTERS) + 0.2
        drawn = {
            "weight": weight / weight.sum(),
            "mean": r.normal(0, 1.6, (CLUSTERS, PARAMETERS)),
            "spread": 0.25 + 0.7 * r.random((CLUSTERS, PARAMETERS)),
            "inner": r.normal(0, PARAMETERS**-0.5, (PARAMETERS, HIDDEN)),
            "bias": r.normal(0, 0.5, HIDDEN),
            "outer": r.normal(0, HIDDEN**-0.5, (HIDDEN, self.d)),
            "linear": 0.15 * r.normal(0, 1, (PARAMETERS, self.d)),
        }
        return {name: value.astype(np.float32) for name, value in drawn.items()}

    @cached_property
    def _all(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        r, total = np.random.default_rng(self.seed), self.n + self.n_queries
        vectors = np.empty((total, self.d), dtype=np.float32)
        parameters = np.empty((total, PARAMETERS), dtype=np.float32)
        for start in range(0, total, CHUNK):
            rows = slice(start, min(start + CHUNK, total))
            parameters[rows], vectors[rows] = self._draw(r, rows.stop - rows.start)
        return vectors, parameters

    def _draw(self, r: np.random.Generator, n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        m = self._map
        cluster = r.choice(CLUSTERS, size=n, p=m["weight"].astype(float) / m["weight"].sum(dtype=float))
        points = m["mean"][cluster] + r.standard_normal((n, PARAMETERS), np.float32) * m["spread"][cluster]
        vectors = np.tanh(points @ m["inner"] + m["bias"]) @ m["outer"] + points @ m["linear"]
        vectors += np.float32(0.05) * r.standard_normal(vectors.shape, np.float32)
        odd = np.flatnonzero(r.random(n) < 0.01)
        vectors[odd] += 0.3 * r.standard_t(3, (len(odd), self.d)).astype(np.float32)
        return points, vectors

    @property
    def vectors(self) -> NDArray[np.float32]:
        return self._all[0][: self.n]

    @property
    def parameters(self) -> NDArray[np.float32]:
        return self._all[1][: self.n]

    @property
    def queries(self) -> NDArray[np.float32]:
        return self._all[0][self.n :]

    @property
    def query_parameters(self) -> NDArray[np.float32]:
        return self._all[1][self.n :]

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return np.argsort(self.parameters[:, 0])

    @cached_property
    def _uniform(self) -> NDArray[np.float32]:
        return np.random.default_rng(self.seed + 1).random(self.n, dtype=np.float32)

    def passing(self, kind: str, share: float, query: int) -> NDArray[np.int64]:
        """Ascending rows that a condition lets through: `random`, a window of a parameter `inside` which the
        query lies, or a window `outside`, half the set away from it."""
        if kind == "random":
            return np.flatnonzero((self._uniform - 0.618 * query) % 1.0 < share)
        width = max(1, int(share * self.n))
        place = int(np.searchsorted(self.parameters[self._order, 0], self.query_parameters[query, 0]))
        if kind == "outside":
            place = (place + self.n // 2) % self.n
        start = int(np.clip(place - width // 2, 0, self.n - width))
        return np.sort(self._order[start : start + width])
