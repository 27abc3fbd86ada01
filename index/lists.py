"""The inverted lists as numbers: what lies in them, how far away they are, how near their rows can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.distance import Ids, Places, Reals, Vectors, Weights, squares

Bitmap = NDArray[np.uint8]  # one bit per place, lowest bit first


@dataclass(frozen=True)
class Lists:
    """`offsets` (n_lists + 1,): list i holds the places offsets[i] … offsets[i+1]−1; none is empty."""

    offsets: Ids
    centroids: Vectors  # (n_lists, d): means of the members
    boxes: Vectors  # (2, n_lists, d): least and greatest value of each latent
    between: Reals  # (d,) variance of the list means
    total: Reals  # (d,) variance of the rows

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

    @classmethod
    def open(cls, directory: Path) -> Lists:
        between, total = np.load(directory / "variance.npy")
        offsets, centroids, boxes = (
            np.load(directory / f"{name}.npy") for name in ("offsets", "centroids", "boxes")
        )
        return cls(offsets, centroids, boxes, between, total)

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

    def counts(self, bitmap: Bitmap) -> Ids:
        """How many of the set bits fall into each list."""
        before = np.concatenate([[0], np.cumsum(np.bitwise_count(bitmap), dtype=np.int64)])
        byte, bit = self.offsets >> 3, (self.offsets & 7).astype(np.uint8)
        partial = np.append(bitmap, np.uint8(0))[byte] & ((np.uint8(1) << bit) - np.uint8(1))
        counts: Ids = np.diff(before[byte] + np.bitwise_count(partial))
        return counts

    def remoteness(self, query: Vectors, weights: Weights) -> Vectors:
        """Squared weighted distance of every list's mean."""
        return squares(self.centroids, query, weights)

    def reach(self, query: Vectors, weights: Weights) -> Vectors:
        """No row of a list is nearer than this: the distance (n_lists,) of its box, rounded down."""
        point = weights.taken(query)
        outside = np.maximum(weights.taken(self.boxes[0]) - point, point - weights.taken(self.boxes[1]))
        np.maximum(outside, 0, out=outside)
        outside *= outside
        lowest: Vectors = np.sqrt((outside @ weights.factors.astype(np.float32)) * np.float32(1 - 1e-4))
        return lowest

    def places(self, numbers: Ids) -> Places:
        """The places of all rows in some lists, list by list."""
        sizes = self.sizes[numbers]
        shift = self.offsets[numbers] - (np.cumsum(sizes) - sizes)
        places: Places = np.arange(sizes.sum()) + np.repeat(shift, sizes)
        return places


@dataclass(frozen=True, slots=True)
class Found:
    """The best places so far with their approximate d², nearest first."""

    places: Places
    squares: Vectors

    def joined(self, other: Found, k: int) -> Found:
        places = np.concatenate([self.places, other.places])
        squares = np.concatenate([self.squares, other.squares])
        order = np.argsort(squares, kind="stable")[:k]
        return Found(places[order], squares[order])


def visit(
    order: Ids, first: int, more: int, k: int, keep: int, look: Callable[[Ids], Found]
) -> tuple[Found, int]:
    """Look into lists in `order` until `k` rows are found and a whole further round changes none of them.

    Any fixed number of lists fails when the condition is correlated with the vectors. Returns the
    best `keep` and how many lists were visited.
    """
    best, seen = look(order[:first]), min(first, len(order))
    while seen < len(order):
        joined = best.joined(look(order[seen : seen + more]), keep)
        seen = min(seen + more, len(order))
        settled = len(best.places) >= k and np.array_equal(joined.places[:k], best.places[:k])
        best = joined
        if settled:
            break
    return best, seen
