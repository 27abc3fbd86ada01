"""How far a spectrum lies from what a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from encoder.prepare import Float32
from encoder.spectrum import Float64

NEIGHBOURS = 10
ITSELF = 1e-3  # of the usual distance: so near lies only the training spectrum itself
KEPT = 4000  # training spectra that stand for all
FARTHEST = 0.995  # quantile of the training spectra's distances beyond which no labels are given


@dataclass(frozen=True)
class Reference:
    """Latents of training spectra, and what is usual among them."""

    vectors: Float64  # (M, n_latent), divided by `spread`
    spread: Float64  # (n_latent,) of the training spectra
    distances: Float64  # (M,) ascending: mean distance of a training spectrum to its nearest others
    residuals: Float64  # (M,) ascending: rms residual of a training spectrum
    oddness: Float64  # (M,) ascending: the greater rank of a training spectrum in these two
    farthest: float  # labels are given up to this distance

    @classmethod
    def of(cls, vectors: Float64, residuals: Float64) -> Reference:
        """From the training spectra's latents (M, n_latent) and residuals (M,)."""
        chosen = np.linspace(0, len(vectors) - 1, min(len(vectors), KEPT)).astype(int)
        vectors, residuals = vectors[chosen], residuals[chosen]
        low, high = np.quantile(vectors, [0.16, 0.84], axis=0)
        spread = np.where(high > low, (high - low) / 2, 1.0)
        scaled = vectors / spread
        distances = _to_neighbours(scaled, scaled)
        ranks = [_rank(np.sort(values), values) for values in (distances, residuals)]
        oddness = np.sort(np.maximum(*ranks))
        farthest = float(np.quantile(distances, FARTHEST))
        return cls(scaled, spread, np.sort(distances), np.sort(residuals), oddness, farthest)

    def distance(self, vectors: Float32) -> Float64:
        """Mean distance (N,) over all latents to the nearest ten training spectra, itself left out."""
        return _to_neighbours(vectors.astype(np.float64) / self.spread, self.vectors)

    def percentile(self, distance: Float64, residual: Float64) -> Float32:
        """Share (N,) of training spectra, in percent, that are less odd, by distance or by residual."""
        odd = np.maximum(_rank(self.distances, distance), _rank(self.residuals, residual))
        return (100 * _rank(self.oddness, odd)).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that this reference is, to be kept in one .npz."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Reference:
        """The reverse of `arrays`."""
        vectors, spread, distances, residuals, oddness, farthest = (arrays[one.name] for one in fields(cls))
        return cls(vectors, spread, distances, residuals, oddness, float(farthest))


def _to_neighbours(scaled: Float64, known: Float64) -> Float64:
    far: Float64 = cdist(scaled, known)
    count = min(NEIGHBOURS + 1, len(known))
    near = np.sort(np.partition(far, count - 1, axis=1)[:, :count], axis=1)
    itself = near[:, 0] < ITSELF * np.maximum(near[:, -1], 1e-12)
    others = np.where(itself[:, None], near[:, 1:], near[:, :-1]) if count > 1 else near
    return np.asarray(others.mean(axis=1))


def _rank(ascending: Float64, values: Float64) -> Float64:
    """Share (N,) of the known values that are smaller."""
    return np.searchsorted(ascending, values) / len(ascending)
