"""What SODA makes of a spectrum: a part of it, its flux over its median, less resolution, the rest frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from encoder.spectrum import Bool, Float64, Spectrum
from index.rows import exposure_limits
from service.errors import UsageFault

Interval = tuple[float, float]
Area = Callable[[float, float], bool]  # whether a position (ra, dec in degrees) is in it
LOWEST_R, HIGHEST_R = 1.0, 1e6
FWHM = 2 * math.sqrt(2 * math.log(2))  # of a Gaussian, in sigmas
MAX_KERNEL = 50_000_000  # pixels times pixels under the kernel


@dataclass(frozen=True, slots=True)
class Cutout:
    """What is asked of a spectrum; None asks nothing."""

    band: Interval | None = None  # metres
    time: Interval | None = None  # MJD
    area: Area | None = None
    relative: bool = False  # flux divided by its median
    redshift: float | None = None  # wavelengths divided by 1 + redshift
    resolution: float | None = None  # smoothed to this resolving power

    def of(self, spectrum: Spectrum) -> Spectrum | None:
        """What is left of the spectrum; None where nothing is (SODA 1.0, 5.1).

        Time and place are those of the whole exposure: they hit or miss.
        """
        facts = spectrum.facts
        if self.time and not _during(exposure_limits(facts), self.time):
            return None
        if self.area and (facts.ra is None or facts.dec is None or not self.area(facts.ra, facts.dec)):
            return None
        if self.resolution is not None:
            spectrum = smoothed(spectrum, self.resolution)
        keep = inside_band(spectrum.wave, self.band)
        if not (keep & ~spectrum.mask).any():
            return None
        wave, flux = spectrum.wave[keep], spectrum.flux[keep]
        ivar, mask = spectrum.ivar[keep], spectrum.mask[keep]
        part = Spectrum(wave, flux, ivar, mask, spectrum.facts)
        return at_rest(relative(part) if self.relative else part, self.redshift)


def inside_band(wave: Float64, band: Interval | None) -> Bool:
    """Which pixels have their centre in the band (metres); the nearest one where the band is narrower than a
    pixel: a single wavelength has a pixel too (SODA 1.0, 3.3.5)."""
    if band is None:
        return np.ones(len(wave), bool)
    metres = wave * 1e-10
    keep: Bool = (metres >= band[0]) & (metres <= band[1])
    middle = (band[0] + band[1]) / 2
    if not keep.any() and len(wave) > 1 and math.isfinite(middle):
        nearest = int(np.argmin(np.abs(metres - middle)))
        keep[nearest] = abs(metres[nearest] - middle) <= np.gradient(metres)[nearest] / 2
    return keep


def _during(exposure: tuple[float, float] | tuple[None, None], time: Interval) -> bool:
    start, stop = exposure
    return start is not None and stop is not None and start <= time[1] and stop >= time[0]


# --- on the sphere ---


def within(lon: float, lat: float, radius: float, ra: float, dec: float) -> bool:
    """Whether a position is in a circle; degrees."""
    return separation(ra, dec, lon, lat) <= radius


def between(west: float, east: float, south: float, north: float, ra: float, dec: float) -> bool:
    """Whether a position is in a range of longitudes, through 0 where it runs down, and of latitudes."""
    turned = west <= ra <= east if west <= east else ra >= west or ra <= east
    return turned and south <= dec <= north


def separation(ra: float, dec: float, ra2: float, dec2: float) -> float:
    """Degrees between two positions in degrees."""
    a, b, c, d = map(math.radians, (ra, dec, ra2, dec2))
    half = math.sin((d - b) / 2) ** 2 + math.cos(b) * math.cos(d) * math.sin((c - a) / 2) ** 2
    return math.degrees(2 * math.asin(math.sqrt(min(half, 1.0))))


def inside(corners: Sequence[float], ra: float, dec: float) -> bool:
    """Whether the polygon's corners, seen from the position, go once around it; less than half a sphere."""
    bearings = [bearing(ra, dec, lon, lat) for lon, lat in zip(corners[::2], corners[1::2], strict=True)]
    turns = [
        math.remainder(after - before, 2 * math.pi)
        for before, after in zip(bearings, [*bearings[1:], bearings[0]], strict=True)
    ]
    near = separation(ra, dec, corners[0], corners[1]) < 90
    return near and abs(sum(turns)) > math.pi


def bearing(ra: float, dec: float, ra2: float, dec2: float) -> float:
    """Radians from north over east, at which the second position is seen from the first."""
    a, b, c, d = map(math.radians, (ra, dec, ra2, dec2))
    east = math.sin(c - a) * math.cos(d)
    return math.atan2(east, math.cos(b) * math.sin(d) - math.sin(b) * math.cos(d) * math.cos(c - a))


# --- the flux ---


def relative(spectrum: Spectrum) -> Spectrum:
    """The flux divided by the median of its absolute value over valid pixels."""
    scale = float(np.median(np.abs(spectrum.flux[~spectrum.mask]))) or 1.0
    facts = replace(spectrum.facts, flux_unit="relative", flux_calibration="RELATIVE")
    return Spectrum(spectrum.wave, spectrum.flux / scale, spectrum.ivar * scale**2, spectrum.mask, facts)


def smoothed(spectrum: Spectrum, resolution: float) -> Spectrum:
    """At a lower resolving power: a Gaussian in ln wavelength, less what the spectrum has already (before a
    cut, so that edges have their neighbours). UsageFault where the spectrum has no more than is asked for.

    Pixels keep their places; masked ones give nothing, so that they stay masked and reach no others.
    """
    own = spectrum.facts.resolving_power
    if own is not None and own <= resolution:
        raise UsageFault(
            f"SPECRP: the spectrum has a resolving power of {own:g}, which is not above {resolution:g}"
        )
    width = 1 / resolution**2 - (1 / own**2 if own else 0.0)
    sigma = math.sqrt(width) / FWHM
    weight = np.where(spectrum.mask, 0.0, np.gradient(spectrum.wave))
    flux, squares, total = _convolved(np.log(spectrum.wave), sigma, weight, spectrum)
    good = ~spectrum.mask & (total > 0)
    known = good & (squares > 0)
    ivar = np.divide(total**2, squares, out=np.zeros_like(total), where=known)
    facts = replace(spectrum.facts, resolving_power=resolution)
    return Spectrum(
        spectrum.wave,
        np.divide(flux, total, out=np.zeros_like(flux), where=good),
        ivar if spectrum.has_errors else np.zeros_like(ivar),
        ~good,
        facts,
    )


def _convolved(
    place: Float64, sigma: float, weight: Float64, spectrum: Spectrum
) -> tuple[Float64, Float64, Float64]:
    """Sums (N,) of kernel times flux, of its square times variance, and of the kernel, over 4 sigma."""
    low = np.searchsorted(place, place - 4 * sigma, side="left")
    high = np.searchsorted(place, place + 4 * sigma, side="right")
    if int((high - low).sum()) > MAX_KERNEL:
        raise UsageFault(
            "SPECRP is too coarse for so many pixels; cut by BAND elsewhere or ask for more resolution"
        )
    good = ~spectrum.mask & (spectrum.ivar > 0)
    variance = np.divide(1.0, spectrum.ivar, out=np.zeros(len(place)), where=good)
    sums = np.zeros((3, len(place)))
    for at, (first, last) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        part = slice(first, last)
        kernel = np.exp(-0.5 * ((place[part] - place[at]) / sigma) ** 2) * weight[part]
        sums[:, at] = kernel @ spectrum.flux[part], kernel**2 @ variance[part], kernel.sum()
    return sums[0], sums[1], sums[2]


def at_rest(spectrum: Spectrum, redshift: float | None) -> Spectrum:
    """Wavelengths divided by 1 + redshift; the flux is left as it is."""
    if redshift is None:
        return spectrum
    facts = replace(spectrum.facts, wave_frame="rest")
    return replace(spectrum, wave=spectrum.wave / (1 + redshift), facts=facts)
