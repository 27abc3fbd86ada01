"""Spectra as a page draws them: on the model's grid, all on one wavelength axis, thinned for a screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder.prepare import Grid, Prepared, prepare
from encoder.recipe import GridSpec
from encoder.spectrum import Float64, RefusedSpectrum, Spectrum

POINTS = 1400  # more than a wide screen has pixels for the plot


@dataclass(frozen=True, slots=True)
class Curve:
    """Flux over its median, (points,); NaN where nothing good was observed."""

    did: str
    label: str
    flux: Float64


@dataclass(frozen=True, slots=True)
class Plot:
    """Curves over one axis, vacuum Ångström; `undrawn` says what is missing and why."""

    wave: Float64
    curves: tuple[Curve, ...]
    undrawn: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """What plots.js reads; null where there is no flux."""
        return {
            "wave": [round(float(wave), 2) for wave in self.wave],
            "curves": [
                {"did": curve.did, "label": curve.label, "flux": _numbers(curve.flux)}
                for curve in self.curves
            ],
        }


def _numbers(flux: Float64) -> list[float | None]:
    return [None if np.isnan(value) else float(f"{value:.4g}") for value in flux]


def thinned_axis(spec: GridSpec) -> Float64:
    """Mean wavelength of each group of grid pixels."""
    axis: Float64 = _grouped(Grid(spec).wave, spec).mean(axis=1)
    return axis


def thinned(prepared: Prepared, spec: GridSpec) -> Float64:
    """Mean flux of each group of pixels, NaN where none of them is good."""
    good = ~_grouped(prepared.mask, spec)
    total = (_grouped(prepared.flux.astype(np.float64), spec) * good).sum(axis=1)
    counts = good.sum(axis=1)
    mean: Float64 = np.divide(total, counts, out=np.full(counts.size, np.nan), where=counts > 0)
    return mean


def _grouped(values: NDArray[Any], spec: GridSpec) -> NDArray[Any]:
    """(pixels,) as (groups, pixels per group); up to a group of pixels at the red end is not shown."""
    size = -(-spec.pixels // POINTS)
    return values[: spec.pixels // size * size].reshape(-1, size)


def draw(spec: GridSpec, wanted: Iterable[tuple[str, str]], spectrum_of: Callable[[str], Spectrum]) -> Plot:
    """The spectra of (DID, label) pairs; one that can not be drawn is named, with the reason."""
    curves, undrawn = [], []
    for did, label in wanted:
        try:
            prepared = prepare(spectrum_of(did), Grid(spec))
        except (RefusedSpectrum, OSError) as error:
            undrawn.append(f"{label} is not drawn: {error}")
            continue
        curves.append(Curve(did, label, thinned(prepared, spec)))
    return Plot(thinned_axis(spec), tuple(curves), tuple(undrawn))
