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
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsyrk

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
    misfit: Float64  # (N,) rms of what the templates leave of it; the residual where there are none
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
    weight = good.astype(np.float64)
    mean, covered = (_summed(content, shift, bin_) for content in (flux * weight, weight))
    ok = covered >= bin_ / 2
    return np.divide(mean, covered, out=np.zeros_like(mean), where=ok), ok


def _summed(content: Float64, shift: Float64, bin_: int) -> Float64:
    """Sums (N, P // bin) over `bin_` pixels from `shift` pixels on; nothing lies beyond the ends."""
    count = content.shape[1] // bin_
    if not shift.any():
        return np.asarray(content[:, : count * bin_].reshape(-1, count, bin_).sum(axis=2))
    whole = np.floor(shift).astype(np.int64)
    part = (shift - whole)[:, None]
    moved = _moved(content, whole, count * bin_ + 1)
    inside = sum(moved[:, at : count * bin_ : bin_] for at in range(1, bin_))
    return (1 - part) * moved[:, : count * bin_ : bin_] + inside + part * moved[:, bin_::bin_]


def _moved(content: Float64, whole: Int64, pixels: int) -> Float64:
    """Pixels (N, `pixels`) from `whole` (N,) on, 0 beyond the ends."""
    moved = np.zeros((len(content), pixels))
    for row, start in enumerate(whole.tolist()):
        low, high = max(start, 0), min(start + pixels, content.shape[1])
        if low < high:
            moved[row, low - start : high - start] = content[row, low:high]
    return moved


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

    @cached_property
    def _factor(self) -> Float64:
        """(S, C, C): inverse of the lower Cholesky factor of the whole Gram matrices."""
        return np.asarray(np.linalg.inv(np.linalg.cholesky(self._gram)))

    def velocity(self, flux: Float64, good: Bool) -> tuple[Float64, Float64, Float64]:
        """km/s, explained share of the variance, rms of the rest, each (N,), of averaged spectra (N, Q)."""
        fit = good & self.used
        masked = np.where(fit, flux, 0.0)
        power = np.einsum("nq,nq->n", masked, masked)
        moments = (masked @ self._flat).reshape(len(flux), *self._gram.shape[:2])  # (N, S, C)
        explained = np.sum(np.einsum("scd,nsd->nsc", self._factor, moments) ** 2, axis=2)
        for row in np.flatnonzero(fit.sum(axis=1) < np.count_nonzero(self.used)).tolist():
            solved = np.linalg.solve(self._gram_of(fit[row]), moments[row, :, :, None])
            explained[row] = np.sum(moments[row] * solved[:, :, 0], axis=1)
        velocity, share = self._best(explained / np.maximum(power, 1e-12)[:, None])
        left = power * np.clip(1 - share, 0.0, 1.0) / np.maximum(fit.sum(axis=1), 1)
        return velocity, share, np.sqrt(left)

    def _gram_of(self, fit: Bool) -> Float64:
        """(S, C, C) over the pixels that are good; the fewer of good and bad ones are summed."""
        bad = np.flatnonzero(self.used & ~fit)
        if 2 * bad.size < np.count_nonzero(self.used):
            return self._gram - self._products(bad)
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
            return Coefficients(np.zeros((0, len(self.basis))), *[nothing] * 5)
        return Coefficients(
            *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Coefficients))
        )

    def _of(self, prepared: Sequence[Prepared]) -> Coefficients:
        flux, good, velocity, explained, misfit = aligned(self.shape, self.aligner, *stacked(prepared))
        values, residual = self.project(flux, good)
        misfit = residual if self.aligner is None else misfit
        return Coefficients(values, residual, velocity, explained, misfit, good.mean(axis=1))

    def project(self, flux: Float64, good: Bool) -> tuple[Float64, Float64]:
        """Masked ridge least squares of normalised spectra (N, Q): coefficients (N, K), rms (N,)."""
        centred = np.where(good, flux - self.mean, 0.0)
        moments = centred @ self.basis.T
        values = moments / (1 + self.ridge)
        for rows in _alike(good):
            if not good[rows[0]].all():
                values[rows] = self._solved(good[rows[0]], moments[rows])
        left = np.where(good, centred - values @ self.basis, 0.0)
        residual = np.sqrt(np.sum(left**2, axis=1) / np.maximum(good.sum(axis=1), 1))
        return values / self.unit, residual

    @cached_property
    def _columns(self) -> Float64:
        """The basis (Q, K), pixel by pixel."""
        return np.ascontiguousarray(self.basis.T)

    def _solved(self, good: Bool, moments: Float64) -> Float64:
        """Ridge least squares (n, K) over good pixels; the fewer of good and bad ones are summed."""
        if 2 * good.sum() < good.size:
            return _cholesky(np.diag(self.ridge), 1.0, self._columns[good], moments)
        bad, diagonal = self._columns[~good], 1 + self.ridge
        if 2 * len(bad) > len(diagonal):
            return _cholesky(np.diag(diagonal), -1.0, bad, moments)
        whole, scaled = moments / diagonal, bad / np.sqrt(diagonal)  # few bad pixels: Woodbury
        missed = _cholesky(np.eye(len(bad)), -1.0, scaled.T, whole @ bad.T)
        return np.asarray(whole + missed @ bad / diagonal)

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


def _cholesky(start: Float64, sign: float, rows: Float64, moments: Float64) -> Float64:
    """Solution (n, K) of (start + sign * rows.T @ rows) x = moments (n, K), a positive definite system."""
    gram = dsyrk(sign, rows.T, beta=1.0, c=start)  # its upper half
    factor = cho_factor(gram, overwrite_a=True, check_finite=False)
    return np.asarray(cho_solve(factor, moments.T, check_finite=False).T)


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
) -> tuple[Float64, Bool, Float64, Float64, Float64]:
    """Normalised, averaged (N, Q), at rest; good pixels; velocity, explained share, misfit (N,)."""
    velocity, explained, misfit = np.zeros((3, len(flux)))
    if aligner is not None:
        still = averaged(flux, good, velocity, shape.bin)
        velocity, explained, misfit = aligner.velocity(*continuum_normalised(*still, shape.window))
        velocity = np.where(explained >= EXPLAINED, velocity, 0.0)
    moved = averaged(flux, good, velocity * (shape.bin / shape.step_kms), shape.bin)
    return *continuum_normalised(*moved, shape.window), velocity, explained, misfit
