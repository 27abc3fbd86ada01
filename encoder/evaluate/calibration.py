"""Intervals that hold what they promise: split conformal for labels, pulls of repeats for sigmas."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import nnls

from encoder.spectrum import Bool, Float64, Int64

FEWEST = 100  # held-out spectra in a bin
MOST_BINS = 4
LEVELS = {"68": 0.68, "90": 0.90}
SNR_LIMITS = (20.0, 50.0, 100.0)
FEWEST_SHOWN = 20  # held-out spectra, for a share of them to mean something
CLIP = 0.95  # squared differences beyond this quantile are shortened: variables and wrong names


def intervals(error: Float64, residual: Float64) -> dict[str, Any]:
    """Half widths of the 68 and 90 % intervals of a label, by bins of the residual (noise and misfit).

    From errors (n,) of held-out objects; `residual` in the answer are the limits between the bins.
    """
    bins = int(np.clip(len(error) // FEWEST, 1, MOST_BINS))
    limits = np.quantile(residual, np.arange(1, bins) / bins)
    place = np.searchsorted(limits, residual)
    table: dict[str, Any] = {"residual": limits.tolist()}
    for name, level in LEVELS.items():
        table[name] = [_conformal(np.abs(error[place == number]), level) for number in range(bins)]
    return table


def _conformal(error: Float64, level: float) -> float:
    """The ceil((n + 1) level)-th smallest error: covers a new one with at least this probability."""
    rank = min(int(np.ceil((len(error) + 1) * level)), len(error))
    return float(np.sort(error)[rank - 1])


def coverage(table: dict[str, Any], error: Float64, residual: Float64) -> dict[str, Float64]:
    """Whether errors (n,) lie inside the intervals, by level: 1 or 0."""
    place = np.searchsorted(np.asarray(table["residual"]), residual)
    return {name: (np.abs(error) <= np.asarray(table[name])[place]).astype(float) for name in LEVELS}


def coverage_by_snr(error: Float64, residual: Float64, folds: Int64, snr: Float64) -> dict[str, Any]:
    """Share of errors (n,) inside intervals that the other folds make, by level; in all, and by S/N (n,)."""
    inside = {name: np.full(len(error), np.nan) for name in LEVELS}
    for fold in np.unique(folds):
        held = folds == fold
        if np.count_nonzero(~held) >= FEWEST_SHOWN:
            table = intervals(error[~held], residual[~held])
            for name, found in coverage(table, error[held], residual[held]).items():
                inside[name][held] = found
    told: dict[str, Any] = {"all": _shares(inside, np.ones(len(error), dtype=bool))}
    for low, high in itertools.pairwise((0.0, *SNR_LIMITS, np.inf)):
        chosen = (snr >= low) & (snr < high)
        if np.count_nonzero(chosen) >= FEWEST_SHOWN:
            told[f"S/N {low:g} to {high:g}" if np.isfinite(high) else f"S/N from {low:g}"] = _shares(
                inside, chosen
            )
    return told


def _shares(inside: Mapping[str, Float64], chosen: Bool) -> dict[str, float]:
    count = int(np.count_nonzero(chosen & np.isfinite(inside["68"])))
    shares = {name: round(float(np.nanmean(one[chosen])), 3) for name, one in inside.items()} if count else {}
    return {**shares, "spectra": count}


def repeat_pairs(keys: list[str | None]) -> Int64:
    """Every two spectra (n, 2) of one object, rows ascending."""
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        if key:
            rows.setdefault(key, []).append(row)
    pairs = [(a, b) for group in rows.values() for at, a in enumerate(group) for b in group[at + 1 :]]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def sigma_model(difference: Float64, residual: Float64) -> tuple[Float64, Float64]:
    """Variance of one spectrum's latents as floor + slope * residual², each (n_latent,).

    `difference` (n, n_latent) between repeats, `residual` (n, 2) of both; their pulls then have unit spread.
    """
    squares = difference**2
    squares = np.minimum(squares, np.quantile(squares, CLIP, axis=0))
    power = np.sum(residual**2, axis=1)
    design = np.column_stack((np.full(len(power), 2.0), power))
    fitted = np.array([nnls(design, column)[0] for column in squares.T])
    floor, slope = fitted.T
    pull = squares / (2 * floor + slope * power[:, None]).clip(1e-12)
    grow = np.mean(pull, axis=0)
    return np.maximum(floor * grow, 1e-12), slope * grow


def pulls(difference: Float64, variance: Float64) -> Float64:
    """Robust spread (n_latent,) of differences over their sigma; 1 where sigma is right."""
    ratio = difference / np.sqrt(variance)
    low, high = np.quantile(ratio, [0.16, 0.84], axis=0)
    return np.asarray((high - low) / 2)
