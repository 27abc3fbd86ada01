"""The nearest rows of many queries at once, by any weights: every list is read once for all that visit it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from index.distance import Ids, Vectors, Weights
from index.lists import Found, Lists

TOGETHER = 512  # queries


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found for one query: the best rows of its first lists, those of all, how many rows these
    have, and the squared distance of the last list's mean. d² is approximate."""

    first: Found
    best: Found
    visited: int
    last: float

    def settled(self, k: int, limit: float) -> bool:
        """As `index.lists.visit` has it."""
        same = len(self.first.places) >= k and np.array_equal(self.best.places[:k], self.first.places[:k])
        return same and self.last > limit**2 * float(self.best.squares[k - 1])


def look(
    lists: Lists, vectors: Vectors, queries: Vectors, weights: Weights, rounds: tuple[int, int], keep: int
) -> Iterator[Looked]:
    """For each of `queries` (m, d) the best `keep` rows of the nearest lists, those of two `rounds`."""
    for start in range(0, len(queries), TOGETHER):
        yield from _looked(lists, vectors, queries[start : start + TOGETHER], weights, rounds, keep)


def _looked(
    lists: Lists, vectors: Vectors, queries: Vectors, weights: Weights, rounds: tuple[int, int], keep: int
) -> Iterator[Looked]:
    remoteness = np.stack([lists.remoteness(query, weights) for query in queries])
    near = np.argsort(remoteness, axis=1, kind="stable")[:, : sum(rounds)]
    sizes = lists.sizes[near]
    ends = np.cumsum(sizes.ravel()).reshape(sizes.shape)
    squares = _squares(lists, vectors, queries, weights, near, ends - sizes)
    for number, (numbers, end) in enumerate(zip(near, ends, strict=True)):
        places = lists.places(numbers)
        mine = squares[end[-1] - len(places) : end[-1]]
        n_first = len(places) - int(end[-1] - end[rounds[0] - 1])
        first = Found.best(places[:n_first], mine[:n_first], keep)
        yield Looked(
            first, Found.best(places, mine, keep), len(places), float(remoteness[number, numbers[-1]])
        )


def _squares(
    lists: Lists, vectors: Vectors, queries: Vectors, weights: Weights, near: Ids, starts: Ids
) -> Vectors:
    """d² of every query to the rows of its lists, laid out by query and list: those of `near[i, j]` begin at
    `starts[i, j]`."""
    points = weights.taken(queries) * weights.scale
    order = np.argsort(near, axis=None, kind="stable")
    used, begins = np.unique(near.ravel()[order], return_index=True)
    squares = np.empty(int(lists.sizes[near].sum()), dtype=np.float32)
    for number, (begin, end) in zip(used.tolist(), pairwise([*begins.tolist(), len(order)]), strict=True):
        asked = order[begin:end]
        found = _table(lists, vectors, points[asked // near.shape[1]], weights, number)
        for row, start in zip(found, starts.ravel()[asked].tolist(), strict=True):
            squares[start : start + len(row)] = row
    return squares


def _table(lists: Lists, vectors: Vectors, points: Vectors, weights: Weights, number: int) -> Vectors:
    """d² (m, b) between scaled `points` (m, kept) and the rows of one list, taken about its mean."""
    rows = slice(int(lists.offsets[number]), int(lists.offsets[number + 1]))
    middle = weights.taken(lists.centroids[number]) * weights.scale
    members = weights.taken(vectors[rows]) * weights.scale - middle
    points = points - middle
    sums = np.einsum("ij,ij->i", points, points)[:, None] + np.einsum("ij,ij->i", members, members)
    found: Vectors = sums - 2 * (points @ members.T)
    return found
