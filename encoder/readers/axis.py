"""From the pixels of a file to strictly ascending vacuum Ångström with a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoder.spectrum import Bool, Float64, RefusedSpectrum

Pixels = NDArray[np.generic]

ANGSTROM = {
    "angstrom": 1.0, "angstroms": 1.0, "a": 1.0, "aa": 1.0, "ang": 1.0, "å": 1.0, "0.1nm": 1.0,
    "nm": 10.0, "nanometer": 10.0, "nanometers": 10.0,
    "um": 1e4, "µm": 1e4, "μm": 1e4, "micron": 1e4, "microns": 1e4, "micrometer": 1e4,
    "m": 1e10,
}  # fmt: skip

AIR_STARTS = 2000.0  # Å; shorter wavelengths are given in vacuum by convention
KNOTS = 1024
MOST_RUNS = 40  # echelle orders and joined ranges make runs of ascending wavelengths; noise makes thousands


@dataclass(frozen=True, slots=True)
class Raw:
    """What a layout's reader found: arrays of one length (N,), in the file's own units and order."""

    wave: Pixels
    flux: Pixels
    error: Pixels | None = None  # one standard deviation
    ivar: Pixels | None = None  # inverse variance; the file has this or `error`, not both
    bad: Bool | None = None  # flagged by the archive
    wave_unit: str = ""  # where the file states it; so the next two
    medium: str = ""
    frame: str = ""


def angstrom_per(unit: str) -> float:
    """Ångström in one `unit`; refuses a unit that is no wavelength."""
    factor = ANGSTROM.get(unit.strip().lower())
    if factor is None:
        raise RefusedSpectrum(f"wavelength unit {unit!r} is unknown; allowed: Angstrom, nm, um, m")
    return factor


def refractive_index(wave_vacuum: Float64) -> Float64:
    """Of standard dry air (15 °C, 101 325 Pa, 0.045 % CO2): Morton 2000, ApJS 130, 403, equation 8.

    It is Birch & Downs 1994, which the IAU's standard adopted after Edlén; s is in 1/µm of vacuum.
    """
    s2 = (1e4 / wave_vacuum) ** 2
    return 1 + 8.34254e-5 + 2.406147e-2 / (130 - s2) + 1.5998e-4 / (38.9 - s2)


def air_to_vacuum(wave_air: Float64) -> Float64:
    """Vacuum Å of air Å: vacuum = air * n(vacuum), solved in two rounds; below 2000 Å nothing changes.

    The index is so smooth that 1024 knots between the ends carry it to 1e-5 Å (0.001 km/s), ten times
    faster for a spectrum of 300,000 pixels than all of them.
    """
    low, high = max(AIR_STARTS, float(wave_air.min())), max(AIR_STARTS, float(wave_air.max()))
    knots = np.geomspace(low, high, KNOTS)
    index = refractive_index(knots * refractive_index(knots))
    vacuum: Float64 = np.interp(wave_air, knots, index, left=1.0)
    vacuum *= wave_air
    return vacuum


def vacuum_to_air(wave_vacuum: Float64) -> Float64:
    """Air Å of vacuum Å, the reverse of `air_to_vacuum`."""
    above = wave_vacuum >= air_to_vacuum(np.array([AIR_STARTS]))[0]
    return np.where(
        above, wave_vacuum / refractive_index(np.where(above, wave_vacuum, AIR_STARTS)), wave_vacuum
    )


def ordered(raw: Raw, unit: str, medium: str | None) -> tuple[Float64, Float64, Float64, Bool]:
    """`(wave, flux, ivar, mask)` of one length: vacuum Å, strictly ascending, bad pixels masked with ivar 0.

    Pixels without a wavelength are dropped. Nothing is interpolated. A medium that is not stated is taken
    as vacuum. Refuses wavelengths in disorder and spectra without a valid pixel.
    """
    factor = angstrom_per(unit)
    wave = np.array(raw.wave, dtype=np.float64)
    flux = np.array(raw.flux, dtype=np.float64)
    if wave.shape != flux.shape or wave.ndim != 1:
        raise RefusedSpectrum(f"wavelength and flux differ in shape: {wave.shape} and {flux.shape}")
    if factor != 1:
        wave *= factor
    ivar, bad = _weights(raw, flux)
    mask = bad | ~np.isfinite(flux) | (flux == 0)  # zero is padding in several archives
    placed = np.isfinite(wave) & (wave > 0)
    if not placed.all():
        wave, flux, ivar, mask = wave[placed], flux[placed], ivar[placed], mask[placed]
    if mask.all():
        raise RefusedSpectrum("no valid pixel: all are flagged, zero, not finite or without a usable error")
    flux[mask] = 0
    ivar[mask] = 0
    wave, flux, ivar, mask = _ascending(wave, flux, ivar, mask)
    return (air_to_vacuum(wave) if medium == "air" else wave), flux, ivar, mask


def _weights(raw: Raw, flux: Float64) -> tuple[Float64, Bool]:
    """Inverse variance, and which pixels it or the archive's flags call bad.

    A column of errors without one usable value says nothing, and is left out. Arrays are changed in place
    where they are ours: of a spectrum of 300,000 pixels a copy costs more than a calculation.
    """
    bad = np.zeros(flux.shape, dtype=bool) if raw.bad is None else raw.bad
    given = raw.error if raw.ivar is None else raw.ivar
    if given is None:
        return np.zeros(flux.shape), bad
    if given.shape != flux.shape:
        raise RefusedSpectrum(f"flux and its errors differ in shape: {flux.shape} and {given.shape}")
    values = np.array(given, dtype=np.float64)
    useless = ~(np.isfinite(values) & (values > 0))
    if useless.all():
        return np.zeros(flux.shape), bad
    values[useless] = 1
    if raw.ivar is None:
        values *= values
        np.reciprocal(values, out=values)
    return values, bad | useless


def _ascending(
    wave: Float64, flux: Float64, ivar: Float64, mask: Bool
) -> tuple[Float64, Float64, Float64, Bool]:
    """Sorted by wavelength; pixels of equal wavelength, as at the joins of orders, become one."""
    if np.all(wave[1:] > wave[:-1]):
        return wave, flux, ivar, mask
    steps = np.diff(wave)
    runs = 1 + min(int(np.count_nonzero(steps < 0)), int(np.count_nonzero(steps > 0)))
    if runs > min(MOST_RUNS, max(2, wave.size // 8)):
        raise RefusedSpectrum(f"wavelengths are in disorder: {runs} ascending pieces in {wave.size} pixels")
    order = np.argsort(wave, kind="stable")
    wave, flux, ivar, mask = wave[order], flux[order], ivar[order], mask[order]
    starts = np.flatnonzero(np.concatenate(([True], np.diff(wave) > 0)))
    if starts.size == wave.size:
        return wave, flux, ivar, mask
    return _joined(wave, flux, ivar, mask, starts)


def _joined(
    wave: Float64, flux: Float64, ivar: Float64, mask: Bool, starts: NDArray[np.intp]
) -> tuple[Float64, Float64, Float64, Bool]:
    """Pixels of one wavelength averaged: valid ones only, by inverse variance where there are errors."""
    weight = np.where(mask, 0.0, ivar if np.any(ivar > 0) else 1.0)
    total = np.add.reduceat(weight, starts)
    valid = total > 0
    mean = np.add.reduceat(weight * flux, starts) / np.where(valid, total, 1.0)
    return wave[starts], mean, np.add.reduceat(ivar, starts), ~valid
