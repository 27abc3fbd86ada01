"""Back from latents to flux: what a model sees of a spectrum, and what changes along a latent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder.continuum import continuum
from encoder.front import Front, averaged, stacked
from encoder.prepare import Float32, Prepared
from encoder.spectrum import Float64


@dataclass(frozen=True)
class Decoder:
    """Coefficients that usually go with latents: least squares over the training spectra."""

    centre: Float64  # (n_latent,) means of the training spectra
    spread: Float64  # (n_latent,) their standard deviations
    usual: Float64  # (K,) mean coefficients
    joint: Float64  # (n_latent, K) all latents known; per spread
    single: Float64  # (n_latent, K) one latent known, the others following as they do in the training set

    def coefficients(self, vectors: Float32) -> Float64:
        """Coefficients (N, K) expected of vectors (N, n_latent)."""
        return np.asarray(self.usual + ((vectors - self.centre) / self.spread) @ self.joint)

    def along(self, latent: int, steps: Float64, vector: Float32 | None = None) -> Float64:
        """Coefficients (S, K) where one latent lies `steps` (S,) of its spreads from a vector (n_latent,),
        else from the mean; the other latents follow as they do among the training spectra."""
        start = self.usual if vector is None else self.coefficients(vector[None])[0]
        return np.asarray(start + steps[:, None] * self.single[latent])

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that this decoder is, to be kept in one .npz."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Decoder:
        """The reverse of `arrays`."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def flux_of(front: Front, coefficients: Float64) -> Float32:
    """Flux over continuum (N, P) on the model's grid, at rest, of coefficients (N, K); 1 is the continuum."""
    seen = 1 + front.mean + coefficients * front.unit @ front.basis
    return _on_grid(front, seen, np.zeros(len(seen)))


def fitted(front: Front, prepared: Sequence[Prepared], coefficients: Float64, velocity: Float64) -> Float32:
    """What the coefficients (N, K) say of these spectra (N, P), in their units and with their continuum.

    `velocity` (N,) km/s is what the front took out; it is put in again. NaN where there is no continuum.
    """
    flux, good = stacked(prepared)
    moved = averaged(flux, good, velocity * (front.shape.bin / front.shape.step_kms), front.shape.bin)
    level, _ = continuum(*moved, front.shape.window)
    seen = 1 + front.mean + coefficients * front.unit @ front.basis
    return _on_grid(front, np.where(level > 0, level * seen, np.nan), velocity)


def _on_grid(front: Front, seen: Float64, velocity: Float64) -> Float32:
    """Averaged pixels (N, Q) at rest, read off at the grid's pixels (N, P), moved by `velocity` (N,)."""
    shape = front.shape
    place = (np.arange(shape.grid.pixels) + 0.5) / shape.bin - 0.5
    known = np.arange(shape.pixels)
    rows = [
        np.interp(place - move, known, one)
        for one, move in zip(seen, (velocity / shape.step_kms).tolist(), strict=True)
    ]
    return np.array(rows, dtype=np.float32).reshape(len(seen), shape.grid.pixels)
