"""How far a spectrum lies from what a model was trained on, and whether labels may be told there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from encoder.prepare import Float32
from encoder.spectrum import Bool, Float64

NEIGHBOURS = 10
ITSELF = 1e-3  # of the usual distance: so near lies only the training spectrum itself
KEPT = 4000  # training spectra that stand for all
USUAL = 0.99  # of labelled training spectra lie so near to others, and are fitted so well


@dataclass(frozen=True)
class HeldOutDistances:
    """What models that did not see a training spectrum say of it, (M,) each."""

    to_all: Float64  # mean distance to the nearest other training spectra, by the intrinsic block
    to_labelled: Float64  # to the nearest of those with labels
    misfit: Float64  # rms of what star templates leave
    labelled: Bool


@dataclass(frozen=True)
class Reference:
    """Intrinsic latents of training spectra, and what is usual among them."""

    vectors: Float64  # (M, n_axes)
    labelled: Bool  # (M,)
    distances: Float64  # (M,) ascending: of held-out training spectra to the nearest others
    misfits: Float64  # (M,) ascending
    oddness: Float64  # (M,) ascending: the greater rank of a training spectrum in these two
    farthest: float  # from labelled spectra, and the greatest misfit, up to which labels are told
    worst: float

    @classmethod
    def of(cls, vectors: Float64, held: HeldOutDistances) -> Reference:
        """From the training spectra's intrinsic latents (M, n_axes)."""
        chosen = np.linspace(0, len(vectors) - 1, min(len(vectors), KEPT)).astype(int)
        distances, misfits = np.sort(held.to_all), np.sort(held.misfit)
        oddness = np.maximum(_rank(distances, held.to_all), _rank(misfits, held.misfit))
        known = held.labelled if held.labelled.any() else np.ones(len(vectors), dtype=bool)
        farthest, worst = (float(np.quantile(one[known], USUAL)) for one in (held.to_labelled, held.misfit))
        return cls(vectors[chosen], known[chosen], distances, misfits, np.sort(oddness), farthest, worst)

    def judge(self, vectors: Float32, misfit: Float64) -> tuple[Float32, Bool]:
        """Anomaly (N,) and whether labels may be told (N,), of intrinsic latents (N, n_axes).

        The anomaly is the share of training spectra, in percent, that are less odd, by distance or by misfit.
        """
        far: Float64 = cdist(vectors.astype(np.float64), self.vectors)
        distance, labelled = nearest_mean(far), nearest_mean(far[:, self.labelled])
        odd = np.maximum(_rank(self.distances, distance), _rank(self.misfits, misfit))
        anomaly = (100 * _rank(self.oddness, odd)).astype(np.float32)
        return anomaly, (labelled <= self.farthest) & (misfit <= self.worst)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that this reference is, to be kept in one .npz."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Reference:
        """The reverse of `arrays`."""
        values: dict[str, Any] = {one.name: arrays[one.name] for one in fields(cls)}
        return cls(**values | {name: float(values[name]) for name in ("farthest", "worst")})


def nearest_mean(far: Float64) -> Float64:
    """Mean (N,) of the ten smallest distances of each row (N, M), the spectrum itself left out."""
    count = min(NEIGHBOURS + 1, far.shape[1])
    near = np.sort(np.partition(far, count - 1, axis=1)[:, :count], axis=1)
    itself = near[:, 0] < ITSELF * np.maximum(near[:, -1], 1e-12)
    others = np.where(itself[:, None], near[:, 1:], near[:, :-1]) if count > 1 else near
    return np.asarray(others.mean(axis=1))


def _rank(ascending: Float64, values: Float64) -> Float64:
    """Share (N,) of the known values that are smaller."""
    return np.searchsorted(ascending, values) / len(ascending)
