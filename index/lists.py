"""The inverted lists as numbers: what lies in them, how far away they are, how near their rows can be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.distance import Ids, Places, Reals, Vectors, Weights, kth_least

Bitmap = NDArray[np.uint8]  # one bit per place, lowest bit first
KNOWN_METRICS = 16


@dataclass(frozen=True)
class Lists:
    """`offsets` (n_lists + 1,): list i holds the places offsets[i] … offsets[i+1]−1; none is empty."""

    offsets: Ids
    centroids: Vectors  # (n_lists, d): means of the members
    boxes: Vectors  # (2, n_lists, d): least and greatest value of each latent
    between: Reals  # (d,) variance of the list means
    total: Reals  # (d,) variance of the rows
    needed: int = 0  # lists that a search without a condition needed on a sample; 0: not tried

    @classmethod
    def describe(cls, vectors: Vectors, offsets: Ids) -> Lists:
        """Of `vectors` (n, d) in list order; reads one list at a time."""
        n_lists, dimension = len(offsets) - 1, vectors.shape[1]
        centroids = np.empty((n_lists, dimension))
        squares = np.zeros(dimension)
        boxes = np.empty((2, n_lists, dimension), dtype=np.float32)
        for number, (start, stop) in enumerate(pairwise(offsets.tolist())):
            members = vectors[start:stop].astype(np.float64)
            centroids[number] = members.mean(axis=0)
            squares += ((members - centroids[number]) ** 2).sum(axis=0)
            boxes[0, number], boxes[1, number] = members.min(axis=0), members.max(axis=0)
        sizes = np.diff(offsets)
        mean = np.average(centroids, axis=0, weights=sizes)
        between = np.average((centroids - mean) ** 2, axis=0, weights=sizes)
        return cls(offsets, centroids.astype(np.float32), boxes, between, between + squares / len(vectors))

    def save(self, directory: Path) -> None:
        np.save(directory / "offsets.npy", self.offsets)
        np.save(directory / "centroids.npy", self.centroids)
        np.save(directory / "boxes.npy", self.boxes)
        np.save(directory / "variance.npy", np.stack([self.between, self.total]))
        np.save(directory / "needed.npy", self.needed)

    @classmethod
    def open(cls, directory: Path) -> Lists:
        between, total = np.load(directory / "variance.npy")
        offsets, centroids, boxes = (
            np.load(directory / f"{name}.npy") for name in ("offsets", "centroids", "boxes")
        )
        tried = directory / "needed.npy"
        return cls(offsets, centroids, boxes, between, total, int(np.load(tried)) if tried.exists() else 0)

    def __len__(self) -> int:
        return len(self.centroids)

    @cached_property
    def sizes(self) -> Ids:
        return np.diff(self.offsets)

    def explained(self, weights: Weights) -> float:
        """The share of the weighted variance that lies between lists: at 0 they tell nothing."""
        total = float(self.total @ weights.values)
        return float(self.between @ weights.values) / total if total > 0 else 0.0

    def effective(self, weights: Weights) -> float:
        """How many latents share the weighted variance: where they are many, each list says more."""
        parts = self.total * weights.values
        return float(parts.sum() ** 2 / (parts @ parts)) if parts.any() else 0.0

    @cached_property
    def guide(self) -> Callable[[Weights], tuple[float, float]]:
        """`explained` and `effective`; those of the last metrics asked for are known."""
        return lru_cache(KNOWN_METRICS)(lambda weights: (self.explained(weights), self.effective(weights)))

    def remoteness(self, query: Vectors, weights: Weights) -> Vectors:
        """Squared weighted distance of every list's mean, quickly."""
        weighted: Vectors = weights.single * query
        found: Vectors = self._lengths(weights) - self.centroids @ (2 * weighted)
        found += weighted @ query
        return found

    @cached_property
    def _lengths(self) -> Callable[[Weights], Vectors]:
        """Squared weighted length of every list's mean; those of the last metrics asked for are known."""
        squared = self.centroids**2
        return lru_cache(KNOWN_METRICS)(lambda weights: squared @ weights.single)

    def reach(self, query: Vectors, weights: Weights) -> Vectors:
        """No row of a list is nearer than this: the distance (n_lists,) of its box, rounded down."""
        point = weights.taken(query)
        outside = np.clip(point, weights.taken(self.boxes[0]), weights.taken(self.boxes[1]))
        outside -= point
        outside *= outside
        lowest: Vectors = np.sqrt((outside @ weights.factors.astype(np.float32)) * np.float32(1 - 1e-4))
        return lowest

    def places(self, numbers: Ids) -> Places:
        """The places of all rows in some lists, list by list."""
        return ranges(self.offsets[numbers], self.sizes[numbers])


def ranges(starts: Ids, sizes: Ids) -> Places:
    """The whole numbers from each of `starts` on, as many as its size, one after another."""
    shift = starts - (np.cumsum(sizes) - sizes)
    found: Places = np.arange(sizes.sum()) + np.repeat(shift, sizes)
    return found


@dataclass(frozen=True, slots=True)
class Found:
    """The best places so far with their approximate d², nearest first."""

    places: Places
    squares: Vectors

    @classmethod
    def best(cls, places: Places, squares: Vectors, keep: int) -> Found:
        """The nearest `keep` of some rows in any order."""
        least = np.flatnonzero(squares <= kth_least(squares, keep))
        least = least[np.argsort(squares[least], kind="stable")[:keep]]
        return cls(places[least], squares[least])

    def joined(self, other: Found, k: int) -> Found:
        places = np.concatenate([self.places, other.places])
        squares = np.concatenate([self.squares, other.squares])
        order = np.argsort(squares, kind="stable")[:k]
        return Found(places[order], squares[order])


def visit(
    rounds: Iterable[tuple[Ids, Places]],
    look: Callable[[Ids, Places], Found],
    remoteness: Vectors,
    limit: float,
    k: int,
    keep: int,
) -> tuple[Found, int]:
    """Look into lists, round by round, until `k` rows are found, a whole further round changes none of them,
    and the lists left are `limit` times farther away than the last of these rows.

    Any fixed number of lists fails when the condition is correlated with the vectors; rounds alone fail
    where the query is far from all rows that pass. Returns the best `keep` and how many rows were visited.
    """
    best, visited = Found(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)), 0
    for numbers, places in rounds:
        joined = best.joined(look(numbers, places), keep)
        visited += len(places)
        settled = len(best.places) >= k and np.array_equal(joined.places[:k], best.places[:k])
        best = joined
        if settled and remoteness[numbers[-1]] > limit**2 * best.squares[k - 1]:
            break
    return best, visited
