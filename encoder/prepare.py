"""From a spectrum on its own pixels to a model's grid: flux is conserved, gaps stay gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from encoder.continuum import FAINTEST, LIGHT, WINDOW_KMS, continuum, window_pixels
from encoder.recipe import GridSpec
from encoder.spectrum import Bool, Float64, RefusedSpectrum, Spectrum

Float32 = NDArray[np.float32]

HALF_COVERED = 0.5  # a pixel of the grid is bad where good flux covers less of it
WIDEST = 2.0  # a pixel reaches at most so many half steps to its nearer neighbour: beyond is a gap


@dataclass(frozen=True)
class Grid:
    """Pixels of equal steps in ln λ, vacuum Ångström."""

    spec: GridSpec

    @cached_property
    def edges(self) -> Float64:
        """(pixels + 1,)"""
        return np.geomspace(self.spec.start, self.spec.stop, self.spec.pixels + 1)

    @cached_property
    def wave(self) -> Float64:
        """Centres, (pixels,)"""
        return np.sqrt(self.edges[1:] * self.edges[:-1])

    @property
    def step_kms(self) -> float:
        """Width of a pixel, km/s."""
        return float(np.log(self.spec.stop / self.spec.start)) / self.spec.pixels * LIGHT


@dataclass(frozen=True, slots=True)
class Prepared:
    """A spectrum on a grid, arrays (P,): flux of median 1 over good pixels, 0 where `mask` (True is bad)."""

    flux: Float32
    ivar: Float32  # of that flux; 0 where masked, all 0 where the archive gives no errors
    mask: Bool
    coverage: float  # share of the grid's pixels that are good
    scale: float = 1.0  # the archive's flux in one unit of this


def prepare(spectrum: Spectrum, grid: Grid) -> Prepared:
    """The spectrum on the grid; nothing is interpolated over what is bad or missing.

    Raises RefusedSpectrum where no pixel of the grid is covered.
    """
    flux, variance, covered = _rebin(spectrum, grid)
    good = covered >= HALF_COVERED
    if not good.any():
        raise RefusedSpectrum(f"covers nothing of {_range(grid)}")
    scale = float(np.median(np.abs(flux[good]))) or 1.0
    with np.errstate(divide="ignore", over="ignore"):
        ivar = np.where(good & (variance > 0), scale**2 / variance, 0.0)
    most = np.finfo(np.float32).max
    return Prepared(
        flux=np.where(good, flux / scale, 0.0).astype(np.float32),
        ivar=np.minimum(ivar, most).astype(np.float32),
        mask=~good,
        coverage=float(good.mean()),
        scale=scale,
    )


def require_coverage(prepared: Prepared, grid: Grid, min_coverage: float) -> None:
    """Raises RefusedSpectrum where too little of the grid is covered, or mostly by noise about zero."""
    if prepared.coverage < min_coverage:
        raise RefusedSpectrum(_needs("covers {share} of {range}", prepared.coverage, grid, min_coverage))
    if (share := _above_zero(prepared, grid)) < min_coverage:
        raise RefusedSpectrum(
            _needs("flux stands above zero in {share} of {range}", share, grid, min_coverage)
        )


def _above_zero(prepared: Prepared, grid: Grid) -> float:
    """Share of the grid's pixels that are good and where the continuum stands above zero."""
    good, level = ~prepared.mask, np.abs(prepared.flux).sum() / max(np.count_nonzero(~prepared.mask), 1)
    if np.min(prepared.flux, where=good, initial=np.inf) > FAINTEST * level:
        return prepared.coverage  # then every mean of them is
    window = window_pixels(WINDOW_KMS, grid.step_kms, grid.spec.pixels)
    return float(continuum(prepared.flux[None].astype(np.float64), good[None], window)[1].mean())


def _needs(what: str, share: float, grid: Grid, min_coverage: float) -> str:
    told = what.format(share=f"{math.floor(100 * share)} %", range=_range(grid))
    return f"{told}, needs {100 * min_coverage:.0f} %"


def _range(grid: Grid) -> str:
    return f"{grid.spec.start:g}–{grid.spec.stop:g} Å"


def _rebin(spectrum: Spectrum, grid: Grid) -> tuple[Float64, Float64, Float64]:
    """Mean flux, its variance and the share of good flux, each (pixels,), from running integrals.

    A pixel of the archive that is split between two of the grid gives each the same flux density and its
    share of the information, so that neither flux nor inverse variance is made or lost.
    """
    near = slice(*_overlap(spectrum.wave, grid.edges))
    good = ~spectrum.mask[near]
    edges, flux, inverse, good = _with_gaps(
        spectrum.wave[near], spectrum.flux[near], spectrum.ivar[near], good
    )
    width = np.diff(edges) * good
    at = _places(edges, grid.edges)
    covered = np.diff(_integral(width, *at))
    safe = np.where(covered > 0, covered, 1.0)
    mean = np.diff(_integral(width * flux, *at)) / safe
    if not inverse.any():
        return mean, np.zeros_like(mean), covered / np.diff(grid.edges)
    variance = np.divide(width * width, inverse, out=np.zeros_like(width), where=inverse > 0)
    return mean, np.diff(_integral(variance, *at)) / safe**2, covered / np.diff(grid.edges)


def _overlap(wave: Float64, edges: Float64) -> tuple[int, int]:
    """First and last pixel that may touch the grid, with one neighbour at either end."""
    first, last = np.searchsorted(wave, (edges[0], edges[-1]))
    return max(int(first) - 2, 0), min(int(last) + 2, wave.size)


def _with_gaps(
    wave: Float64, flux: Float64, ivar: Float64, good: Bool
) -> tuple[Float64, Float64, Float64, Bool]:
    """Pixel edges (n + 1,) half way between centres; between centres too far apart lies a bad pixel."""
    if wave.size < 2:
        return np.zeros(1), flux[:0], ivar[:0], good[:0]
    step = np.diff(wave)
    before, after = np.concatenate((step[:1], step)), np.concatenate((step, step[-1:]))
    reach = WIDEST * np.minimum(before, after) / 2
    edges = np.concatenate((wave[:1] - step[0] / 2, wave[:-1] + step / 2, wave[-1:] + step[-1] / 2))
    gaps = np.flatnonzero(step / 2 > np.minimum(reach[:-1], reach[1:]) * (1 + 1e-9)) + 1
    if not gaps.size:
        return edges, flux, ivar, good
    edges[0], edges[-1] = wave[0] - reach[0] / WIDEST, wave[-1] + reach[-1] / WIDEST
    opens = wave[gaps - 1] + np.minimum(reach[gaps - 1], step[gaps - 1] / 2)
    closes = wave[gaps] - np.minimum(reach[gaps], step[gaps - 1] / 2)
    edges[gaps] = closes
    return (
        np.insert(edges, gaps, opens),
        np.insert(flux, gaps, 0.0),
        np.insert(ivar, gaps, 0.0),
        np.insert(good, gaps, False),
    )


def _places(edges: Float64, wanted: Float64) -> tuple[NDArray[np.intp], Float64]:
    """In which pixel each wanted wavelength lies, and how far into it (0 to 1)."""
    if edges.size < 2:
        return np.zeros(wanted.size, dtype=np.intp), np.zeros(wanted.size)
    pixel = np.clip(np.searchsorted(edges, wanted, side="right") - 1, 0, edges.size - 2)
    return pixel, np.clip((wanted - edges[pixel]) / (edges[pixel + 1] - edges[pixel]), 0.0, 1.0)


def _integral(content: Float64, pixel: NDArray[np.intp], share: Float64) -> Float64:
    """Running sum of what the pixels hold, up to the places asked for."""
    if not content.size:
        return np.zeros(pixel.size)
    total = np.concatenate(([0.0], np.cumsum(content)))
    return total[pixel] + share * content[pixel]
