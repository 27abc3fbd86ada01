"""The continuum that every model divides by: a twice running mean. Pure functions on arrays."""

from __future__ import annotations

import numpy as np

from encoder.spectrum import Bool, Float64

LIGHT = 299_792.458  # km/s
WINDOW_KMS = 19_000.0  # width of the running mean where a model does not say otherwise
LOWEST, HIGHEST = -2.0, 6.0  # of flux over continuum, minus one: beyond are cosmic rays and zero crossings
FAINTEST = 0.02  # of the mean absolute flux: where the continuum is fainter than this the pixel is bad


def window_pixels(window_kms: float, step_kms: float, pixels: int) -> int:
    """Odd number of pixels that a window spans, never more than half of them all."""
    return 2 * int(min(window_kms / step_kms, pixels / 2) / 2) + 1


def continuum(flux: Float64, good: Bool, window: int) -> tuple[Float64, Bool]:
    """The twice running mean (N, P) of what is good, and the good pixels where it stands above zero."""
    weight = good.astype(np.float64)
    flux = flux * weight
    counts = _window_sums(np.ones((1, flux.shape[1])), window)
    smooth = (
        _window_sums(_mean(_window_sums(flux, window), _weights(weight, counts, window)), window) / counts
    )
    level = np.abs(flux).sum(axis=1) / np.maximum(weight.sum(axis=1), 1)
    return smooth, good & (smooth > FAINTEST * level[:, None])


def continuum_normalised(flux: Float64, good: Bool, window: int) -> tuple[Float64, Bool]:
    """Flux over its continuum, minus one (N, P), and which pixels are good; bad ones are 0."""
    smooth, seen = continuum(flux, good, window)
    ratio = np.divide(flux, smooth, out=np.ones_like(smooth), where=seen)
    ratio -= 1
    return np.clip(ratio, LOWEST, HIGHEST, out=ratio), seen


def _weights(weight: Float64, counts: Float64, window: int) -> Float64:
    """Good pixels (N, P) in each window."""
    total = np.repeat(counts, len(weight), axis=0)
    gaps = weight.min(axis=1) < 1
    total[gaps] = _window_sums(weight[gaps], window)
    return total


def _mean(total: Float64, weight: Float64) -> Float64:
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-9)


def _window_sums(values: Float64, window: int) -> Float64:
    """Sums (N, P) over `window` pixels around each, fewer at the ends."""
    half, (rows, pixels) = window // 2, values.shape
    total = np.zeros((rows, pixels + 2 * half + 1))
    np.cumsum(values, axis=1, out=total[:, half + 1 : half + 1 + pixels])
    total[:, half + 1 + pixels :] = total[:, half + pixels, None]
    return total[:, 2 * half + 1 :] - total[:, :pixels]
