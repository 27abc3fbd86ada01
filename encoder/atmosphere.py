"""Stellar spectra from parameters, by simple physics: enough that parameters, and only they, shape the lines.

Not a model atmosphere. Lines are where real stars have them; how deep they are follows temperature (Boltzmann
factor), gravity, and abundance in the right direction. Wavelengths are vacuum Ångström, the frame the star's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import fft, special

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

LIGHT = 299_792.458  # km/s
STEP = 3.3e-5  # in ln λ: 9.9 km/s
WAVE: Float64 = 3450.0 * np.exp(STEP * np.arange(30_000))  # (P,) to 9285 Å
STEP_KMS = STEP * LIGHT
SOLAR_THETA = 5040 / 5772
WEAK_LINES = 340
LIMB_DARKENING = 0.6

BALMER = (6564.61, 4862.68, 4341.68, 4102.89, 3971.19, 3890.15, 3836.47, 3798.98, 3771.70)
BALMER_DEPTHS = (2.5, 2.3, 2.1, 1.9, 1.7, 1.5, 1.3, 1.1, 0.9)

# wavelength, optical depth in the Sun, d ln τ / dθ (θ = 5040 K / T), d ln τ / d log g, α element?, wings
STRONG_LINES = (
    (3934.78, 9.0, 1.0, -0.10, True, 0.9), (3969.59, 8.0, 1.0, -0.10, True, 0.9),  # Ca II K, H
    (4227.92, 1.6, 5.0, 0.25, True, 0.6), (4078.86, 0.6, 0.3, -0.35, False, 0.2),  # Ca I, Sr II
    (4046.96, 1.2, 3.0, 0.10, False, 0.3), (4064.74, 1.0, 3.0, 0.10, False, 0.3),  # Fe I
    (4144.99, 1.0, 3.0, 0.10, False, 0.3), (4272.96, 1.1, 3.2, 0.10, False, 0.3),
    (4326.98, 1.2, 3.2, 0.10, False, 0.3), (4384.78, 1.3, 3.2, 0.10, False, 0.3),
    (4405.99, 1.0, 3.2, 0.10, False, 0.3), (4555.31, 0.5, -0.3, -0.35, False, 0.2),  # Ba II last
    (4925.30, 0.6, -0.5, -0.30, False, 0.2), (4958.98, 0.9, 2.8, 0.10, False, 0.2),
    (5019.84, 0.6, -0.5, -0.30, False, 0.2), (5170.47, 0.7, -0.5, -0.30, False, 0.2),  # Fe II
    (5168.76, 1.4, 3.5, 0.40, True, 0.6), (5174.13, 1.8, 3.5, 0.45, True, 0.7),
    (5185.05, 2.1, 3.5, 0.45, True, 0.7),  # Mg b
    (5271.00, 1.3, 3.4, 0.10, False, 0.3), (5329.52, 1.0, 3.2, 0.10, False, 0.3),
    (5407.28, 0.8, 3.2, 0.10, False, 0.2), (5891.58, 2.2, 5.5, 0.35, False, 0.7),
    (5897.56, 1.9, 5.5, 0.35, False, 0.7),  # Na D
    (6123.91, 0.7, 4.5, 0.25, True, 0.3), (6163.88, 0.8, 4.5, 0.30, True, 0.4),
    (6440.86, 0.6, 3.0, 0.15, True, 0.2), (6496.77, 0.6, 3.0, 0.00, False, 0.2),  # Ca I, Fe I
    (6594.74, 0.4, 3.0, 0.00, False, 0.1), (6645.94, 0.2, 4.0, -0.10, False, 0.1),
    (6679.82, 0.4, 3.0, 0.00, False, 0.1), (6719.54, 0.4, 4.0, 0.15, True, 0.1),
    (8500.35, 1.8, 0.8, -0.30, True, 0.5), (8544.44, 2.8, 0.8, -0.30, True, 0.6),
    (8664.52, 2.5, 0.8, -0.30, True, 0.6),  # Ca II triplet
)  # fmt: skip
HELIUM = ((4027.33, 0.5), (4472.76, 0.6), (4923.31, 0.3), (5877.25, 0.7), (6679.99, 0.5))
# band head, width (Å, reddened side positive), strength
TIO = (
    (4762.0, 60, 0.5), (4955.5, 70, 0.8), (5168.6, 80, 1.0), (5449.5, 70, 0.8), (5761.0, 50, 0.5),
    (5848.0, 70, 0.6), (6160.0, 90, 1.1), (6653.0, 70, 0.8), (7055.0, 110, 1.4), (7591.0, 90, 0.9),
    (8434.0, 70, 0.8), (8862.0, 70, 0.7),
)  # fmt: skip
# centre, half width (Å), strength, preferred temperature, d ln τ / d log g
MOLECULES = (
    (4303.0, 11.0, 0.75, 5200.0, 0.0),
    (4200.0, 14.0, 0.35, 4600.0, -0.30),
    (5140.0, 55.0, 0.30, 4000.0, 0.35),
)
# O2 and H2O of our own air: from, to (Å), optical depth at the zenith
TELLURIC = (
    (6280.0, 6310.0, 0.04), (6869.0, 6945.0, 0.35), (7168.0, 7340.0, 0.18), (7594.0, 7700.0, 0.9),
    (8137.0, 8350.0, 0.2), (8950.0, 9285.0, 0.45), (6478.0, 6600.0, 0.02),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stars:
    """Parameters of S stars, each (S,)."""

    teff: Float64  # K
    logg: Float64  # cgs
    feh: Float64  # dex
    alpha: Float64  # [α/Fe], dex
    vsini: Float64  # km/s
    emission: Float64  # of Hα, in units of the continuum; 0 for most

    def __len__(self) -> int:
        return len(self.teff)

    def part(self, which: slice) -> Stars:
        return Stars(
            self.teff[which], self.logg[which], self.feh[which],
            self.alpha[which], self.vsini[which], self.emission[which],
        )  # fmt: skip


@dataclass(frozen=True)
class Physics:
    """Where the lines are and how they answer to parameters; the weak ones are drawn once, by `seed`."""

    seed: int = 20_260

    @cached_property
    def lines(self) -> Float64:
        """(L, 6): the columns of STRONG_LINES, strong and weak."""
        random = np.random.default_rng(self.seed)
        n = WEAK_LINES
        ionised = random.random(n) < 0.2
        weak = np.column_stack((
            3500 + 5600 * random.random(n) ** 1.6,  # crowded in the blue, as in real stars
            random.lognormal(-1.3, 0.7, n),
            np.where(ionised, random.uniform(-1.5, 0.5, n), random.uniform(1.5, 5.0, n)),
            np.where(ionised, random.uniform(-0.4, -0.2, n), random.uniform(0.0, 0.2, n)),
            random.random(n) < 0.35,
            np.full(n, 0.1),
        ))  # fmt: skip
        return np.vstack((np.array(STRONG_LINES, dtype=np.float64), weak))

    @cached_property
    def profiles(self) -> Float32:
        """(L, P): line profiles with peak one, a Gaussian core with Lorentz wings."""
        profiles = np.empty((len(self.lines), len(WAVE)), dtype=np.float32)
        for profile, (centre, *_, wings) in zip(profiles, self.lines, strict=True):
            velocity = LIGHT * np.log(WAVE / centre)
            core = np.exp(-0.5 * (velocity / 12) ** 2)
            profile[:] = (1 - wings / 3) * core + wings / 3 / (1 + (velocity / 60) ** 2)
        return profiles

    @cached_property
    def titanium_oxide(self) -> Float32:
        """(P,): steep to the blue, fading to the red, rough with the lines of the band."""
        depth = np.zeros_like(WAVE)
        for head, width, strength in TIO:
            beyond = WAVE - head
            depth += strength * np.where(beyond > 0, np.exp(-np.abs(beyond) / width), 0.0)
        rough = np.random.default_rng(self.seed + 1).lognormal(0.0, 0.5, len(WAVE))
        return (depth * np.convolve(rough, np.ones(3) / 3, mode="same")).astype(np.float32)

    @cached_property
    def telluric(self) -> Float32:
        """(P,): optical depth of the atmosphere at the zenith."""
        random = np.random.default_rng(self.seed + 2)
        depth = np.zeros_like(WAVE)
        for low, high, strength in TELLURIC:
            inside = (low < WAVE) & (high > WAVE)
            comb = random.gamma(0.6, 1.6, int(inside.sum()))
            depth[inside] += strength * comb * np.exp(-1.5 * (WAVE[inside] - low) / (high - low))
        return depth.astype(np.float32)

    def flux(self, stars: Stars) -> Float32:
        """(S, P): flux at the star, one at 5500 Å in the continuum, with rotation."""
        depth = self.line_depth(stars) @ self.profiles
        depth += _balmer(stars) + _helium(stars) + _molecules(stars)
        cool = np.logaddexp(0.0, (3950 - stars.teff) / 250) * 10 ** (0.3 * stars.feh)
        depth += cool[:, None].astype(np.float32) * self.titanium_oxide
        flux = planck(stars.teff) * np.exp(-depth) + _emission(stars)
        return broadened(flux, rotation(stars.vsini))

    def line_depth(self, stars: Stars) -> Float32:
        """(S, L): central optical depth of every line in every star."""
        _, depth, by_theta, by_logg, is_alpha, _ = self.lines.T
        theta = (5040 / stars.teff - SOLAR_THETA)[:, None]
        abundance = stars.feh[:, None] + is_alpha * stars.alpha[:, None]
        growth = 0.6 * np.log(10) * abundance  # between the linear part and the square root
        exponent = by_theta * theta + by_logg * (stars.logg[:, None] - 4.4) + growth
        ionised_away = np.exp(-((stars.teff / 9000) ** 4))[:, None]
        left = np.where(by_theta < 1.1, np.sqrt(ionised_away), ionised_away)  # ions go later
        strength: Float32 = (depth * np.exp(exponent) * left).astype(np.float32)
        return strength


def planck(teff: Float64) -> Float32:
    """(S, P): Planck's F_λ, one at 5500 Å."""

    def exponent(wave: Float64) -> Float64:
        return np.expm1(1.438777e8 / (wave * teff[:, None]))

    return ((WAVE / 5500) ** -5 * exponent(np.array([5500.0])) / exponent(WAVE)).astype(np.float32)


def _hydrogen(teff: Float64) -> Float64:
    """(S,): how strong the Balmer lines are; one at 9000 K."""
    ratio = np.log(teff / 9000)
    strength: Float64 = np.exp(-0.5 * (ratio / np.where(ratio < 0, 0.27, 0.45)) ** 2)
    return strength


def _balmer(stars: Stars) -> Float32:
    """(S, P): the Balmer lines, wide by pressure in hot dwarfs, and the jump."""
    strength = _hydrogen(stars.teff)
    width = (110 + 650 * strength * 10 ** (0.2 * (stars.logg - 4)))[:, None]
    depth = np.where(WAVE < 3646, 0.8 * strength[:, None] ** 2, 0.0).astype(np.float32)
    for centre, peak in zip(BALMER, BALMER_DEPTHS, strict=True):
        near = slice(*np.searchsorted(WAVE, [centre * 0.96, centre * 1.04]))
        velocity = LIGHT * np.log(WAVE[near] / centre)
        depth[:, near] += (peak * strength[:, None] / (1 + (velocity / width) ** 2)).astype(np.float32)
    return depth


def _helium(stars: Stars) -> Float32:
    strength = np.exp(-0.5 * (np.log(stars.teff / 20_000) / 0.25) ** 2)[:, None]
    profile = sum(peak * np.exp(-0.5 * (LIGHT * np.log(WAVE / centre) / 40) ** 2) for centre, peak in HELIUM)
    return (strength * profile).astype(np.float32)


def _molecules(stars: Stars) -> Float32:
    """(S, P): CH, CN and MgH."""
    depth = np.zeros((len(stars), len(WAVE)), dtype=np.float32)
    for centre, half, peak, warmth, by_logg in MOLECULES:
        strength = peak * np.exp(-0.5 * (np.log(stars.teff / warmth) / 0.13) ** 2)
        strength *= 10 ** (0.6 * stars.feh) * np.exp(by_logg * (stars.logg - 4.4))
        depth += np.outer(strength, np.exp(-(((WAVE - centre) / half) ** 4))).astype(np.float32)
    return depth


def _emission(stars: Stars) -> Float32:
    """(S, P): Hα of Be stars, two peaks for those that turn fast."""
    velocity = LIGHT * np.log(WAVE / BALMER[0])
    apart = (0.5 * stars.vsini)[:, None]
    peaks = np.zeros((len(stars), len(WAVE)), dtype=np.float32)
    near = np.abs(velocity) < 3000
    for side in (-1, 1):
        peaks[:, near] += np.exp(-0.5 * ((velocity[near] + side * apart) / 80) ** 2)
    at_line = planck(stars.teff)[:, np.searchsorted(WAVE, BALMER[0])]
    return peaks * (0.5 * stars.emission * at_line)[:, None].astype(np.float32)


def frequencies() -> Float64:
    """(F,): angular, per km/s."""
    angular: Float64 = 2 * np.pi * fft.rfftfreq(len(WAVE), STEP_KMS)
    return angular


def rotation(vsini: Float64) -> Float64:
    """(S, F): what rotation does in frequency, for a limb-darkened disk (Gray 2005, chapter 18)."""
    x = np.maximum(frequencies() * vsini[:, None], 1e-3)
    uniform = 2 * special.j1(x) / x
    dark = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    weight = 2 * LIMB_DARKENING / 3
    transfer: Float64 = ((1 - LIMB_DARKENING) * uniform + weight * dark) / (1 - LIMB_DARKENING + weight)
    return transfer


def resolution(resolving_power: float) -> Float64:
    """(F,): what a spectrograph does in frequency: a Gaussian of FWHM c/R."""
    sigma = LIGHT / resolving_power / 2.3548
    transfer: Float64 = np.exp(-0.5 * (frequencies() * sigma) ** 2)
    return transfer


def shift(velocity: Float64) -> NDArray[np.complex64]:
    """(S, F): a move to longer wavelengths by velocities (S,), km/s."""
    kms = LIGHT * np.log1p(velocity / LIGHT)
    phases: NDArray[np.complex64] = np.exp((-1j * frequencies() * kms[:, None]).astype(np.complex64))
    return phases


def broadened(flux: Float32, transfer: NDArray[np.generic]) -> Float32:
    """(S, P): `flux` with its frequencies multiplied by `transfer`."""
    changed = fft.rfft(flux, axis=-1) * transfer.astype(np.complex64, copy=False)
    result: Float32 = fft.irfft(changed, n=flux.shape[-1], axis=-1)
    return result
