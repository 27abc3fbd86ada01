"""How well a spectrum finds its own object again, and how well neighbours tell labels.

Every value is taken over held-out objects: `vectors[k]` is the embedding of all spectra by the model that did
not see fold k, and a query asks in the embedding of its own fold. Rows without an embedding are NaN: misses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoder.prepare import Float32
from encoder.spectrum import Bool, Facts, Float64, Int64

FOLDS = 5
NEIGHBOURS = 10


def fold_of(facts: Facts) -> int:
    """By the object, so that no spectrum of a training object is ever judged."""
    key = facts.object_key or facts.spectrum_id
    return int(hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest(), 16) % FOLDS


@dataclass(frozen=True)
class Archive:
    """What is known of N spectra, as arrays."""

    keys: NDArray[np.str_]  # empty where the object is unknown
    collections: NDArray[np.str_]
    classes: NDArray[np.str_]
    folds: Int64
    labels: dict[str, Float64]
    snr: Float64  # NaN where unknown

    @classmethod
    def of(cls, facts: Sequence[Facts]) -> Archive:
        return cls(
            np.array([one.object_key or "" for one in facts], dtype=np.str_),
            np.array([one.collection for one in facts], dtype=np.str_),
            np.array([one.object_class or "" for one in facts], dtype=np.str_),
            np.array([fold_of(one) for one in facts], dtype=np.int64),
            {
                name: np.array([one.labels.get(name, np.nan) for one in facts])
                for name in ("teff", "logg", "feh", "rv")
            },
            np.array([np.nan if one.snr is None else one.snr for one in facts], dtype=np.float64),
        )


@dataclass(frozen=True)
class Ranks:
    """Rank (n,) at which each search met its object, infinite for a miss; and the object of each."""

    rank: Float64
    objects: NDArray[np.str_]

    @property
    def reciprocal(self) -> Float64:
        return 1 / self.rank

    def figures(self) -> dict[str, float]:
        """Mean reciprocal rank, recall and counts; the error by resampling objects."""
        if not len(self.rank):
            return {"queries": 0, "objects": 0}
        return {
            "mrr": float(self.reciprocal.mean()),
            "mrr_error": resampled_error(self.reciprocal, self.objects),
            "recall_1": float(np.mean(self.rank <= 1)),
            "recall_5": float(np.mean(self.rank <= 5)),
            "queries": len(self.rank),
            "objects": len(np.unique(self.objects)),
        }


def resampled_error(values: Float64, objects: NDArray[np.str_], draws: int = 200) -> float:
    """Standard error of the mean of `values` (n,) when objects are drawn anew."""
    _, of = np.unique(objects, return_inverse=True)
    total, count = np.bincount(of, values), np.bincount(of)
    drawn = np.random.default_rng(0).integers(0, len(total), (draws, len(total)))
    return float(np.std(total[drawn].sum(axis=1) / count[drawn].sum(axis=1)))


def distances(archive: Archive, vectors: Sequence[Float64]) -> Float32:
    """Squared, of every row to all (N, N) in the embedding of the row's fold; infinite without one."""
    far = np.empty((len(archive.keys), len(archive.keys)), dtype=np.float32)
    for fold, embedded in enumerate(vectors):
        rows = archive.folds == fold
        square = np.sum(embedded**2, axis=1)
        cross_term = embedded[rows] @ embedded.T
        far[rows] = np.maximum(square[rows, None] + square - 2 * cross_term, 0)
    far[np.isnan(far)] = np.inf
    return far


def cross(archive: Archive, far: Float32, libraries: Sequence[str], mixed: bool) -> Ranks:
    """A star of one library looks for itself in another; `mixed` leaves its own library in, to distract."""
    ranks, objects = [], []
    for row in np.flatnonzero(np.isin(archive.collections, libraries) & (archive.keys != "")).tolist():
        same = archive.keys == archive.keys[row]
        for library in libraries:
            wanted = same & (archive.collections == library)
            if library == archive.collections[row] or not wanted.any():
                continue
            among = ~same if mixed else ~same & (archive.collections != archive.collections[row])
            ranks.append(_rank(far[row], wanted, among))
            objects.append(archive.keys[row])
    return Ranks(np.array(ranks, dtype=np.float64), np.array(objects, dtype=np.str_))


def same(archive: Archive, far: Float32, chosen: Bool) -> Ranks:
    """Another spectrum of the object inside one collection, for the `chosen` rows (N,)."""
    ranks, objects = [], []
    for row in np.flatnonzero(chosen & (archive.keys != "")).tolist():
        alike = archive.keys == archive.keys[row]
        wanted = alike & (archive.collections == archive.collections[row])
        wanted[row] = False
        if wanted.any():
            ranks.append(_rank(far[row], wanted, ~alike))
            objects.append(archive.keys[row])
    return Ranks(np.array(ranks, dtype=np.float64), np.array(objects, dtype=np.str_))


def _rank(far: Float32, wanted: Bool, among: Bool) -> float:
    best = far[wanted].min()
    return 1.0 + float(np.count_nonzero(far[among] <= best)) if np.isfinite(best) else np.inf


def neighbour_errors(archive: Archive, far: Float32, label: str, queries: Bool, gallery: Bool) -> Float64:
    """Errors (n,) of a label told by the ten nearest of other objects, weighted by distance."""
    values = archive.labels[label]
    known = gallery & np.isfinite(values)
    errors = []
    for row in np.flatnonzero(queries & np.isfinite(values)).tolist():
        among = np.flatnonzero(known & (archive.keys != archive.keys[row]) & np.isfinite(far[row]))
        if among.size:
            near = _nearest(far[row], among)
            weight = 1 / np.maximum(np.sqrt(far[row, near]), 1e-9)
            errors.append(np.average(values[near], weights=weight) - values[row])
    return np.array(errors)


def purity(archive: Archive, far: Float32) -> float:
    """Share of the ten nearest in other collections that have the same coarse class."""
    shares = []
    for row in np.flatnonzero(archive.classes != "").tolist():
        among = np.flatnonzero((archive.collections != archive.collections[row]) & np.isfinite(far[row]))
        if among.size:
            near = _nearest(far[row], among)
            shares.append(np.mean(archive.classes[near] == archive.classes[row]))
    return float(np.mean(shares)) if shares else float("nan")


def _nearest(far: Float32, among: Int64) -> Int64:
    return among[np.argsort(far[among], kind="stable")[:NEIGHBOURS]]
