"""The linear front of every model: continuum, velocity, principal components. Numpy only.

Recipe: align to a basis of star templates, average pixels in pairs, divide by the twice running mean, project
on principal components at their natural scale by masked ridge least squares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder.continuum import LIGHT, continuum_normalised, window_pixels
from encoder.prepare import Float32, Prepared
from encoder.recipe import GridSpec
from encoder.spectrum import Bool, Float64, Int64

FASTEST = 500.0  # km/s; velocities are looked for up to here
EXPLAINED = 0.5  # of a spectrum's variance: the templates must fit so much before their velocity is believed
BATCH = 256  # spectra worked on at once


@dataclass(frozen=True)
class Coefficients:
    """What the front finds in N spectra."""

    values: Float64  # (N, K)
    residual: Float64  # (N,) rms of what the components leave, in units of the continuum
    velocity: Float64  # (N,) km/s that was taken out; 0 where none was found
    explained: Float64  # (N,) share of the variance that the templates explain at that velocity
    coverage: Float64  # (N,) share of good pixels


@dataclass(frozen=True)
class Shape:
    """The lengths of the front, in pixels after `bin` of the grid's are averaged into one."""

    grid: GridSpec
    window: int  # of the running mean
    shifts: int  # looked for on either side; 0: no alignment
    bin: int = 2

    @classmethod
    def of(cls, grid: GridSpec, window_kms: float, align: bool) -> Shape:
        """For a grid; a window is never wider than half of it."""
        shape = cls(grid, 1, 0)
        shifts = int(np.ceil(FASTEST / shape.step_kms)) if align else 0
        return cls(grid, window_pixels(window_kms, shape.step_kms, shape.pixels), shifts)

    @property
    def pixels(self) -> int:
        """After averaging."""
        return self.grid.pixels // self.bin

    @property
    def step_kms(self) -> float:
        """Of a pixel after averaging."""
        return float(np.log(self.grid.stop / self.grid.start)) * LIGHT * self.bin / self.grid.pixels


def averaged(flux: Float64, good: Bool, shift: Float64, bin_: int) -> tuple[Float64, Bool]:
    """Spectra (N, P) moved to shorter wavelengths by `shift` pixels (N,), then `bin_` pixels made one.

    Flux-conserving, as the first rebinning is; a pixel less than half covered is bad.
    """
    pixels = flux.shape[1]
    places = np.arange(pixels // bin_ + 1) * float(bin_) + shift[:, None]
    whole = np.clip(np.floor(places).astype(np.int64), 0, pixels - 1)
    part = np.clip(places - whole, 0.0, 1.0)
    weight = good.astype(np.float64)
    mean, covered = (_differences(content, whole, part) for content in (flux * weight, weight))
    ok = covered >= bin_ / 2
    return np.divide(mean, covered, out=np.zeros_like(mean), where=ok), ok


def _integral(content: Float64) -> Float64:
    """Running sums (N, P + 1) that begin with 0."""
    total = np.zeros((content.shape[0], content.shape[1] + 1))
    np.cumsum(content, axis=1, out=total[:, 1:])
    return total


def _differences(content: Float64, whole: Int64, part: Float64) -> Float64:
    at = np.take_along_axis(_integral(content), whole, 1) + part * np.take_along_axis(content, whole, 1)
    return np.diff(at, axis=1)


@dataclass(frozen=True)
class Aligner:
    """Velocities by the misfit to the mean and a few components of template spectra, shift by shift."""

    template: Float64  # (C, Q) the mean, then components; normalised, averaged
    used: Bool  # (Q,) where they are compared
    shifts: int
    step_kms: float

    @cached_property
    def _shifted(self) -> Float64:
        """(S, C, Q), S = 2 shifts + 1: the templates moved to longer wavelengths, 0 where not compared."""
        moves = range(-self.shifts, self.shifts + 1)
        return np.stack([np.where(self.used, np.roll(self.template, move, axis=1), 0.0) for move in moves])

    @cached_property
    def _flat(self) -> Float64:
        return np.ascontiguousarray(self._shifted.reshape(-1, self.template.shape[1]).T)

    @cached_property
    def _gram(self) -> Float64:
        gram = self._products(np.flatnonzero(self.used))
        return np.asarray(gram + 1e-6 * gram[0].trace() * np.eye(len(self.template)))

    def _products(self, pixels: NDArray[np.intp]) -> Float64:
        """(S, C, C) over the given pixels."""
        part = self._shifted[:, :, pixels]
        return np.asarray(np.matmul(part, part.transpose(0, 2, 1)))

    def velocity(self, flux: Float64, good: Bool) -> tuple[Float64, Float64]:
        """km/s and explained share of the variance, each (N,), of normalised, averaged spectra (N, Q)."""
        fit = good & self.used
        masked = np.where(fit, flux, 0.0)
        power = np.einsum("nq,nq->n", masked, masked)
        moments = (masked @ self._flat).reshape(len(flux), *self._gram.shape[:2], 1)
        gram = self._gram[None] if fit[:, self.used].all() else np.stack([self._gram_of(one) for one in fit])
        solved = np.linalg.solve(np.broadcast_to(gram, (len(flux), *self._gram.shape)), moments)
        explained = np.sum(moments * solved, axis=(2, 3)) / np.maximum(power, 1e-12)[:, None]
        return self._best(explained)

    def _gram_of(self, fit: Bool) -> Float64:
        """(S, C, C) over the pixels that are good; the fewer of good and bad ones are summed."""
        bad = np.flatnonzero(self.used & ~fit)
        if 2 * bad.size < np.count_nonzero(self.used):
            return self._gram - self._products(bad) if bad.size else self._gram
        gram = self._products(np.flatnonzero(fit))
        return np.asarray(gram + 1e-6 * self._gram[0].trace() * np.eye(len(self.template)))

    def _best(self, explained: Float64) -> tuple[Float64, Float64]:
        """The best shift, refined by the parabola through it and its neighbours."""
        rows = np.arange(len(explained))
        best = np.clip(np.argmax(explained, axis=1), 1, explained.shape[1] - 2)
        before, at, after = (explained[rows, best + move] for move in (-1, 0, 1))
        bend = before - 2 * at + after
        fraction = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, 1.0), 0.0)
        shift = best - self.shifts + np.clip(fraction, -1.0, 1.0)
        return shift * self.step_kms, at


@dataclass(frozen=True)
class Front:
    """From prepared spectra to coefficients."""

    shape: Shape
    mean: Float64  # (Q,) Q pixels after averaging
    basis: Float64  # (K, Q) orthonormal rows
    ridge: Float64  # (K,) of the least squares: variance of a pixel's noise over variance of the component
    unit: float  # coefficients are divided by it
    aligner: Aligner | None = None

    def __call__(self, prepared: Sequence[Prepared]) -> Coefficients:
        """Coefficients of any number of spectra; batches bound the memory."""
        parts = [self._of(prepared[at : at + BATCH]) for at in range(0, len(prepared), BATCH)]
        if not parts:
            nothing = np.zeros(0)
            return Coefficients(np.zeros((0, len(self.basis))), nothing, nothing, nothing, nothing)
        return Coefficients(
            *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Coefficients))
        )

    def _of(self, prepared: Sequence[Prepared]) -> Coefficients:
        flux, good, velocity, explained = aligned(self.shape, self.aligner, *stacked(prepared))
        values, residual = self.project(flux, good)
        return Coefficients(values, residual, velocity, explained, good.mean(axis=1))

    def project(self, flux: Float64, good: Bool) -> tuple[Float64, Float64]:
        """Masked ridge least squares of normalised spectra (N, Q): coefficients (N, K), rms (N,)."""
        centred = np.where(good, flux - self.mean, 0.0)
        moments = centred @ self.basis.T
        values = np.empty_like(moments)
        for rows in _alike(good):
            values[rows] = np.linalg.solve(self._gram_of(good[rows[0]]), moments[rows].T).T
        left = np.where(good, centred - values @ self.basis, 0.0)
        residual = np.sqrt(np.sum(left**2, axis=1) / np.maximum(good.sum(axis=1), 1))
        return values / self.unit, residual

    def _gram_of(self, good: Bool) -> Float64:
        """(K, K) over good pixels, with the ridge; the fewer of good and bad ones are summed."""
        ridge = np.diag(self.ridge)
        if 2 * good.sum() < good.size:
            part = self.basis[:, good]
            return part @ part.T + ridge
        part = self.basis[:, ~good]
        return np.eye(len(self.basis)) - part @ part.T + ridge

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that this front is, to be kept in one .npz."""
        grid, shape = self.shape.grid, self.shape
        aligner: dict[str, NDArray[np.generic]] = {}
        if self.aligner is not None:
            aligner = {"template": self.aligner.template, "used": self.aligner.used}
        return {
            "grid": np.array([grid.start, grid.stop, grid.pixels], dtype=np.float64),
            "lengths": np.array([shape.window, shape.shifts, shape.bin]),
            "mean": self.mean,
            "basis": self.basis,
            "ridge": self.ridge,
            "unit": np.array(self.unit),
            **aligner,
        }

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Front:
        """The reverse of `arrays`."""
        start, stop, pixels = arrays["grid"].tolist()
        window, shifts, bin_ = arrays["lengths"].tolist()
        shape = Shape(GridSpec(start, stop, int(pixels)), window, shifts, bin_)
        aligner = None
        if "template" in arrays:
            aligner = Aligner(arrays["template"], arrays["used"], shifts, shape.step_kms)
        return cls(shape, arrays["mean"], arrays["basis"], arrays["ridge"], float(arrays["unit"]), aligner)


def _alike(good: Bool) -> list[list[int]]:
    """Rows (N, Q) that are equal, together."""
    groups: dict[bytes, list[int]] = {}
    for row, packed in enumerate(np.packbits(good, axis=1)):
        groups.setdefault(packed.tobytes(), []).append(row)
    return list(groups.values())


def stacked(prepared: Sequence[Prepared]) -> tuple[Float64, Bool]:
    """Flux (N, P) and which pixels are good."""
    flux: Float32 = np.stack([one.flux for one in prepared])
    return flux.astype(np.float64), ~np.stack([one.mask for one in prepared])


def aligned(
    shape: Shape, aligner: Aligner | None, flux: Float64, good: Bool
) -> tuple[Float64, Bool, Float64, Float64]:
    """Normalised, averaged (N, Q), at rest; good pixels; velocity (N,); explained share (N,)."""
    velocity, explained = np.zeros(len(flux)), np.zeros(len(flux))
    if aligner is not None:
        still = averaged(flux, good, velocity, shape.bin)
        velocity, explained = aligner.velocity(*continuum_normalised(*still, shape.window))
        velocity = np.where(explained >= EXPLAINED, velocity, 0.0)
    moved = averaged(flux, good, velocity * (shape.bin / shape.step_kms), shape.bin)
    return *continuum_normalised(*moved, shape.window), velocity, explained
