"""Fit the linear part of a model: templates, principal components, axes that repeats of an object agree on.

The steps and their constants are those that five folds by object measured on real spectra; the evaluation's
report says what they give on yours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from encoder.continuum import continuum_normalised
from encoder.front import Aligner, Front, Shape, aligned, averaged
from encoder.spectrum import Bool, Float64, Int64

TEMPLATE_COMPONENTS = 10
MOST_TEMPLATES = 500  # spectra; more do not change the templates
MARGIN = 0.015  # of the range, left out at both ends when velocities are sought; at least FASTEST
OUTSIDE_STAR = ((5870.0, 5915.0), (6275.0, 6325.0), (6860.0, 6960.0))  # Å: Na D, O2, O2: not of the star
GAP_ROUNDS = 8  # of filling gaps by the components
PIXELS_PER_COMPONENT = 8  # a narrow grid holds fewer components
COMPONENTS_PER_AXIS = 3
NOISE_QUANTILE = 0.5

VIEWS = 3  # per spectrum and kind
BLUR = (0.5, 2.0)  # sigma, pixels after averaging
SHIFT = 26.0  # km/s
LEGENDRE = ((1, 0.06), (2, 0.04), (3, 0.03), (5, 0.02), (8, 0.015))  # order, rms of ln response
SNR = (15.0, 120.0)
WIDEST_GAP = 1 / 6  # of the range
MOST_GAPS = 3

JOINT_WEIGHT, RESPONSE_WEIGHT = 0.3, 0.5  # of the scatter of views, beside that of pairs
CLIP = 0.9  # deviations longer than this quantile are shortened to it
SHRINKAGE = 0.02
NUISANCE = 8  # axes of the nuisance block


@dataclass(frozen=True)
class Rest:
    """Training spectra at rest: normalised and averaged (N, Q), with their good pixels."""

    flux: Float64
    good: Bool


def fit_aligner(shape: Shape, flux: Float64, good: Bool) -> Aligner | None:
    """Templates from spectra (N, P) whose velocity is taken out; None where the shape wants no alignment."""
    if not shape.shifts:
        return None
    chosen = np.linspace(0, len(flux) - 1, min(len(flux), MOST_TEMPLATES)).astype(int)
    still = averaged(flux[chosen], good[chosen], np.zeros(len(chosen)), shape.bin)
    normalised, seen = continuum_normalised(*still, shape.window)
    mean, basis, _ = principal(normalised, seen, min(TEMPLATE_COMPONENTS, len(chosen) - 1), rounds=2)
    wave = np.geomspace(shape.grid.start, shape.grid.stop, shape.pixels)
    margin = max(int(MARGIN * shape.pixels), shape.shifts + 1)
    used = np.ones(shape.pixels, dtype=bool)
    used[:margin] = used[-margin:] = False
    for low, high in OUTSIDE_STAR:
        used &= (wave < low) | (wave > high)
    return Aligner(np.vstack((mean, basis)), used, shape.shifts, shape.step_kms)


def at_rest(shape: Shape, aligner: Aligner | None, flux: Float64, good: Bool) -> tuple[Rest, Float64]:
    """Training spectra as the front sees them, and the velocities (N,) taken out."""
    parts = [
        aligned(shape, aligner, flux[at : at + 256], good[at : at + 256]) for at in range(0, len(flux), 256)
    ]
    normalised, seen, velocity, *_ = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Rest(normalised, seen), velocity


def principal(flux: Float64, good: Bool, count: int, rounds: int) -> tuple[Float64, Float64, Float64]:
    """Mean (Q,), components (count, Q) and their variances; gaps are filled by the components in rounds."""
    weight = good.sum(axis=0)
    mean = np.where(good, flux, 0.0).sum(axis=0) / np.maximum(weight, 1)
    filled = np.where(good, flux, mean)
    for _ in range(rounds):
        mean = filled.mean(axis=0)
        basis, variance = _components(filled - mean, count)
        filled = np.where(good, flux, mean + (filled - mean) @ basis.T @ basis)
    return mean, basis, variance


def _components(centred: Float64, count: int) -> tuple[Float64, Float64]:
    """Leading components (count, Q) and variances, from the smaller of the two covariances."""
    n, pixels = centred.shape
    if n < pixels:
        values, vectors = eigh(centred @ centred.T, subset_by_index=(n - count, n - 1))
        vectors = centred.T @ (vectors / np.sqrt(np.maximum(values, 1e-12)))
    else:
        values, vectors = eigh(centred.T @ centred, subset_by_index=(pixels - count, pixels - 1))
    basis = vectors[:, ::-1].T
    basis *= np.sign(basis[np.arange(count), np.argmax(np.abs(basis), axis=1)])[:, None]
    return basis, np.maximum(values[::-1], 1e-12) / n


def fit_front(shape: Shape, aligner: Aligner | None, rest: Rest, components: int) -> Front:
    """Principal components of the training spectra, at their natural scale."""
    count = min(components, shape.pixels // PIXELS_PER_COMPONENT, len(rest.flux) - 1)
    mean, basis, variance = principal(rest.flux, rest.good, count, GAP_ROUNDS)
    centred = np.where(rest.good, rest.flux - mean, 0.0)
    left = np.where(rest.good, centred - centred @ basis.T @ basis, 0.0)
    count_good = rest.good.sum(axis=1)
    noise = np.sum(left**2, axis=1)[count_good > 0] / count_good[count_good > 0]
    unit = float(np.sqrt(variance.mean()))
    return Front(shape, mean, basis, float(np.quantile(noise, NOISE_QUANTILE)) / variance, unit, aligner)


def components_of(front: Front, rest: Rest) -> Float64:
    """(N, K)"""
    return front.project(rest.flux, rest.good)[0]


def joint_view(front: Front, rest: Rest, rng: np.random.Generator) -> Rest:
    """Each spectrum as another instrument might have seen it: blurred, shifted, tilted, noisy, with gaps."""
    count, pixels = len(rest.flux), rest.flux.shape[1]
    step = front.shape.step_kms
    seen = _blurred(rest, rng.uniform(BLUR[0], BLUR[1], count), rng.normal(0, SHIFT / step, count))
    seen *= _response(count, pixels, rng)
    seen += rng.normal(size=seen.shape) / rng.uniform(SNR[0], SNR[1], count)[:, None]
    return Rest(*continuum_normalised(seen, rest.good & ~_gaps(count, pixels, rng), front.shape.window))


def response_view(front: Front, rest: Rest, rng: np.random.Generator) -> Rest:
    """Each spectrum through another response, nothing else changed."""
    seen = (1 + rest.flux) * _response(len(rest.flux), rest.flux.shape[1], rng)
    return Rest(*continuum_normalised(seen, rest.good, front.shape.window))


def _blurred(rest: Rest, sigma: Float64, shift: Float64) -> Float64:
    """Flux over continuum (N, Q), blurred by a Gaussian, moved to longer wavelengths; bad pixels are 1."""
    pad = 64
    flux = np.pad(np.where(rest.good, 1 + rest.flux, 1.0), ((0, 0), (pad, pad)), mode="reflect")
    frequency = 2 * np.pi * np.fft.rfftfreq(flux.shape[1])
    turn = -0.5 * (sigma[:, None] * frequency) ** 2 - 1j * frequency * shift[:, None]
    seen: Float64 = np.fft.irfft(np.fft.rfft(flux, axis=1) * np.exp(turn), n=flux.shape[1], axis=1)
    return seen[:, pad:-pad]


def _response(count: int, pixels: int, rng: np.random.Generator) -> Float64:
    """Smooth responses (N, Q) around 1."""
    place = np.linspace(-1, 1, pixels)
    shapes = np.stack([np.polynomial.Legendre.basis(order)(place) for order, _ in LEGENDRE])
    shapes *= np.array([rms for _, rms in LEGENDRE])[:, None] / shapes.std(axis=1, keepdims=True)
    return np.exp(rng.normal(size=(count, len(LEGENDRE))) @ shapes)


def _gaps(count: int, pixels: int, rng: np.random.Generator) -> Bool:
    """One to three gaps per spectrum (N, Q), True in the gap."""
    place = np.arange(pixels)
    gaps = np.zeros((count, pixels), dtype=bool)
    number = rng.integers(1, MOST_GAPS + 1, count)
    for gap in range(MOST_GAPS):
        start = rng.uniform(0, pixels, count)[:, None]
        width = rng.uniform(0, WIDEST_GAP * pixels, count)[:, None]
        gaps |= (place >= start) & (place < start + width) & (gap < number)[:, None]
    return gaps


@dataclass(frozen=True)
class Views:
    """How views of spectra differ from them: deviations (VIEWS * N, K), and whose they are (VIEWS * N,)."""

    joint: Float64
    response: Float64
    of: Int64


def deviations(front: Front, rest: Rest, values: Float64, rng: np.random.Generator) -> Views:
    """Three joint and three response views of every training spectrum."""
    joint = [components_of(front, joint_view(front, rest, rng)) - values for _ in range(VIEWS)]
    response = [components_of(front, response_view(front, rest, rng)) - values for _ in range(VIEWS)]
    return Views(np.vstack(joint), np.vstack(response), np.tile(np.arange(len(values)), VIEWS))


def pair_deviations(values: Float64, keys: Sequence[str | None]) -> Float64:
    """Coefficients of objects seen more than once, minus the object's mean (n, K), scaled to be unbiased."""
    groups: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        if key:
            groups.setdefault(key, []).append(row)
    parts = [
        (values[rows] - values[rows].mean(axis=0)) * np.sqrt(len(rows) / (len(rows) - 1))
        for rows in groups.values()
        if len(rows) > 1
    ]
    return np.vstack(parts) if parts else np.zeros((0, values.shape[1]))


def scatter(deviation: Float64) -> Float64:
    """Second moments (K, K), the longest deviations shortened."""
    length = np.linalg.norm(deviation, axis=1)
    most = np.quantile(length, CLIP)
    clipped = deviation * np.minimum(1.0, most / np.maximum(length, 1e-12))[:, None]
    moments: Float64 = clipped.T @ clipped / len(clipped)
    return moments


@dataclass(frozen=True)
class Axes:
    """Directions in coefficients, of unit scatter between repeats."""

    intrinsic: Float64  # (n_axes, K), smallest scatter between repeats for their spread first
    nuisance: Float64  # (n_nuisance, K), largest first


def fit_axes(values: Float64, keys: Sequence[str | None], views: Views, count: int) -> Axes:
    """Axes by scatter within objects over scatter of all."""
    count = min(count, max(values.shape[1] // COMPONENTS_PER_AXIS, 2))
    within, total = within_scatter(values, keys, views), np.cov(values.T)
    _, vectors = eigh(within, total + 1e-9 * np.eye(len(total)) * total.trace())
    axes = vectors.T / np.sqrt(np.einsum("ka,kl,la->a", vectors, within, vectors))[:, None]
    axes *= np.sign(axes[np.arange(len(axes)), np.argmax(np.abs(axes), axis=1)])[:, None]
    return Axes(axes[:count], axes[: -min(NUISANCE, len(axes) - count) - 1 : -1])


def within_scatter(values: Float64, keys: Sequence[str | None], views: Views) -> Float64:
    """Scatter (K, K) of repeats and views, shrunk towards a sphere."""
    pairs, joint, response = pair_deviations(values, keys), scatter(views.joint), scatter(views.response)
    within = scatter(pairs) if len(pairs) > 1 else joint
    size = within.trace()
    within = within + JOINT_WEIGHT * size * joint / joint.trace()
    within = within + RESPONSE_WEIGHT * size * response / response.trace()
    sphere = np.eye(len(within)) * within.trace() / len(within)
    return np.asarray((1 - SHRINKAGE) * within + SHRINKAGE * sphere)
