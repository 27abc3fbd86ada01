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

from encoder.prepare import LIGHT, Float32, Prepared
from encoder.recipe import GridSpec
from encoder.spectrum import Bool, Float64, Int64

LOWEST, HIGHEST = -2.0, 6.0  # of flux over continuum, minus one: beyond are cosmic rays and zero crossings
FAINTEST = 0.02  # of the median: where the continuum is fainter than this the pixel is bad
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
    """The lengths of the front, in pixels: of the grid (`window`, `shifts`), averaged (`mean_window`)."""

    grid: GridSpec
    window: int
    shifts: int  # looked for on either side; 0: no alignment
    bin: int = 2

    @classmethod
    def of(cls, grid: GridSpec, window_kms: float, align: bool) -> Shape:
        """For a grid; a window is never wider than half of it."""
        step = np.log(grid.stop / grid.start) / grid.pixels * LIGHT
        window = min(window_kms / step, grid.pixels / 2)
        return cls(grid, 2 * int(window / 2) + 1, int(np.ceil(FASTEST / step)) if align else 0)

    @property
    def step_kms(self) -> float:
        return float(np.log(self.grid.stop / self.grid.start)) / self.grid.pixels * LIGHT

    @property
    def pixels(self) -> int:
        """After averaging."""
        return self.grid.pixels // self.bin

    @property
    def mean_window(self) -> int:
        return 2 * (self.window // (2 * self.bin)) + 1


def continuum_normalised(flux: Float64, good: Bool, window: int) -> tuple[Float64, Bool]:
    """Flux over its twice running mean, minus one (N, P), and which pixels are good; bad ones are 0."""
    smooth = _running_mean(np.where(good, flux, 0.0), good.astype(np.float64), window)
    smooth = _running_mean(smooth, np.ones_like(smooth), window)
    level = np.array([np.median(row[ok]) if ok.any() else 1.0 for row, ok in zip(flux, good, strict=True)])
    good = good & (smooth > FAINTEST * np.abs(level)[:, None])
    ratio = np.divide(flux, smooth, out=np.ones_like(flux), where=good) - 1
    return np.clip(ratio, LOWEST, HIGHEST), good


def _running_mean(values: Float64, weight: Float64, window: int) -> Float64:
    """Weighted mean over `window` pixels, fewer at the ends; 0 where no weight is near."""
    half = window // 2
    index = np.arange(values.shape[1])
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, values.shape[1])
    sums = [np.pad(np.cumsum(a, axis=1), ((0, 0), (1, 0))) for a in (values, weight)]
    total, norm = (s[:, high] - s[:, low] for s in sums)
    return np.divide(total, norm, out=np.zeros_like(total), where=norm > 1e-9)


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


def _differences(content: Float64, whole: Int64, part: Float64) -> Float64:
    total = np.pad(np.cumsum(content, axis=1), ((0, 0), (1, 0)))
    at = np.take_along_axis(total, whole, 1) + part * np.take_along_axis(content, whole, 1)
    return np.diff(at, axis=1)


@dataclass(frozen=True)
class Aligner:
    """Velocities by the misfit to the mean and a few components of template spectra, shift by shift."""

    template: Float64  # (1 + components, P) on the grid; the first is the mean
    used: Bool  # (P,) where they are compared
    shifts: int
    step_kms: float

    @cached_property
    def _shifted(self) -> Float64:
        """(2 shifts + 1, components, P): the templates moved to longer wavelengths, 0 where not compared."""
        moves = range(-self.shifts, self.shifts + 1)
        return np.stack([np.where(self.used, np.roll(self.template, move, axis=1), 0.0) for move in moves])

    @cached_property
    def _gram(self) -> Float64:
        gram: Float64 = np.matmul(self._shifted, self._shifted.transpose(0, 2, 1))
        return gram

    def velocity(self, flux: Float64, good: Bool) -> tuple[Float64, Float64]:
        """km/s and explained share of the variance, each (N,), of normalised spectra (N, P)."""
        count = len(flux)
        fit = good & self.used
        masked = np.where(fit, flux, 0.0)
        power = np.einsum("np,np->n", masked, masked)
        moments = np.tensordot(masked, self._shifted, axes=(1, 2))  # (N, S, C)
        explained = np.empty((count, len(self._shifted)))
        for number in range(count):
            gram = self._gram_of(fit[number])
            solved = np.linalg.solve(gram, moments[number][..., None])[..., 0]
            explained[number] = np.einsum("sc,sc->s", moments[number], solved)
        explained /= np.maximum(power, 1e-12)[:, None]
        return self._best(explained)

    def _gram_of(self, fit: Bool) -> Float64:
        """(S, C, C) over the pixels that are good; the fewer of good and bad ones are summed."""
        bad = np.flatnonzero(self.used & ~fit)
        ridge = 1e-6 * np.eye(len(self.template)) * self._gram[0].trace()
        if not bad.size:
            return np.asarray(self._gram + ridge)
        few = bad if 2 * bad.size < self.used.sum() else np.flatnonzero(fit)
        part = self._shifted[:, :, few]
        gram: Float64 = np.matmul(part, part.transpose(0, 2, 1))
        return np.asarray((self._gram - gram if few is bad else gram) + ridge)

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
        kinds, kind = np.unique(good, axis=0, return_inverse=True)
        for number, mask in enumerate(kinds):
            rows = np.flatnonzero(kind.ravel() == number)
            values[rows] = np.linalg.solve(self._gram_of(mask), moments[rows].T).T
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
        velocity, explained = aligner.velocity(*continuum_normalised(flux, good, shape.window))
        velocity = np.where(explained >= EXPLAINED, velocity, 0.0)
    flux, good = averaged(flux, good, velocity / shape.step_kms, shape.bin)
    flux, good = continuum_normalised(flux, good, shape.mean_window)
    return flux, good, velocity, explained
