"""What the models without each fold say of it: figures, scales, sigmas, intervals, repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from encoder.evaluate.calibration import coverage_by_snr, intervals, pulls, repeat_pairs, sigma_model
from encoder.evaluate.information import mutual_information
from encoder.evaluate.measures import measure, node_errors
from encoder.evaluate.retrieval import Archive
from encoder.front import Coefficients, Front
from encoder.infer import features, node_value, physical
from encoder.neighbours import HeldOutDistances, nearest_mean
from encoder.prepare import Prepared
from encoder.recipe import Latent
from encoder.spectrum import Float64, Int64
from encoder.training.heads import Head

TESTED = 400  # spectra that shifts are put into
SHIFTED = 250.0  # km/s, at most


@dataclass(frozen=True)
class HeldOut:
    """Held-out embeddings and what follows from them."""

    archive: Archive
    vectors: list[Float64]  # per fold (N, n_latent), NaN where missing
    head: Head
    pairs: Int64  # (n, 2) rows of repeats, both held out
    floor: Float64  # (n_latent,) variance of a latent between repeats
    slope: Float64
    scales: Float64  # (n_latent,)
    intervals: dict[str, Any]
    calibration: dict[str, Any]
    distances: HeldOutDistances

    def figures(
        self, latents: Sequence[Latent], presets: Mapping[str, Mapping[str, float]]
    ) -> dict[str, Any]:
        """All measures of the default metric, and the sorted distances of repeats for each preset."""
        block = self.head.intrinsic
        searched = [vectors[:, block] for vectors in self.vectors]
        return {
            **measure(self.archive, searched),
            "nodes": node_errors(self.archive, *told_labels(self.head, self.vectors)),
            "calibration": self.calibration,
            "repeat_distances": {name: self._repeats(latents, weights) for name, weights in presets.items()},
        }

    def _repeats(self, latents: Sequence[Latent], weights: Mapping[str, float]) -> list[float]:
        weight = np.array([weights.get(latent.name, 0.0) / latent.scale**2 for latent in latents])
        difference = _differences(self.vectors, self.archive.folds, self.pairs)
        return np.sort(np.sqrt(difference**2 @ weight)).round(6).tolist()  # type: ignore[no-any-return]


def held_out(heads: Sequence[Head], found: Coefficients, archive: Archive, chosen: Int64) -> HeldOut:
    """Embed everything by the model of each fold, and calibrate on what that model did not see.

    `found` of all N embedded spectra; the archive may have missing ones after them; `chosen` are the places
    of training spectra.
    """
    inputs, residual = features(found).astype(np.float64), found.residual
    missing = len(archive.folds) - len(inputs)
    vectors = [np.pad(head(inputs), ((0, missing), (0, 0)), constant_values=np.nan) for head in heads]
    named = np.where(np.isin(np.arange(len(archive.keys)), chosen), archive.keys, "")
    pairs = repeat_pairs([key or None for key in named.tolist()])
    head = heads[0]
    floor, slope, pull = _sigmas(head, _differences(vectors, archive.folds, pairs), residual[pairs])
    tables, calibration, errors = _labels(head, vectors, residual, archive, chosen)
    scales = np.ones(head.matrix.shape[1])
    scales[: len(head.labels)] = errors
    scales[-1] = max(float(np.sqrt(floor[-1])), 1.0)
    far = _distances(head, vectors, archive, chosen, found.misfit[chosen])
    calibration |= {"pulls": pull}
    return HeldOut(archive, vectors, head, pairs, floor, slope, scales, tables, calibration, far)


def _distances(
    head: Head, vectors: Sequence[Float64], archive: Archive, chosen: Int64, misfit: Float64
) -> HeldOutDistances:
    """Of each training spectrum to those that the model of its fold was trained on."""
    labelled = np.zeros(len(chosen), dtype=bool)
    for label in head.labels:
        labelled |= np.isfinite(archive.labels[label.name][chosen])
    folds = archive.folds[chosen]
    to_all, to_labelled = np.zeros((2, len(chosen)))
    for fold, embedded in enumerate(vectors):
        mine, known = embedded[chosen][:, head.intrinsic], folds != fold
        if known.all():
            continue
        far: Float64 = cdist(mine[~known], mine[known])
        to_all[~known] = nearest_mean(far)
        near = labelled[known]
        to_labelled[~known] = nearest_mean(far[:, near]) if near.any() else to_all[~known]
    return HeldOutDistances(to_all, to_labelled, misfit, labelled)


def told_labels(head: Head, vectors: Sequence[Float64]) -> tuple[list[Float64], list[str]]:
    """Labels in their units, per fold (N, n_label), and their names."""
    names = [label.name for label in head.labels]
    return [
        np.column_stack([physical(name, one[:, n]) for n, name in enumerate(names)])
        if names
        else np.zeros((len(one), 0))
        for one in vectors
    ], names


def _differences(vectors: Sequence[Float64], folds: Int64, pairs: Int64) -> Float64:
    """Between repeats (n, n_latent), each pair by the model that saw neither."""
    return np.array([vectors[folds[a]][a] - vectors[folds[a]][b] for a, b in pairs.tolist()]).reshape(
        len(pairs), vectors[0].shape[1]
    )


def _sigmas(head: Head, difference: Float64, residual: Float64) -> tuple[Float64, Float64, dict[str, float]]:
    """Floor and slope (n_latent,) of each latent's variance, and the spread of pulls by block.

    Axes of a block have unit scatter in every fold but no fixed order: they share one model.
    """
    floor, slope = np.ones(head.matrix.shape[1]), np.zeros(head.matrix.shape[1])
    if not len(difference):
        return floor, slope, {}
    pull = {}
    blocks = {f"label {label.name}": slice(n, n + 1) for n, label in enumerate(head.labels)}
    blocks |= {"intrinsic": head.intrinsic, "nuisance": head.nuisance, "velocity": slice(-1, None)}
    for name, block in blocks.items():
        columns = difference[:, block]
        power = np.repeat(residual, columns.shape[1], axis=0)
        found = sigma_model(columns.reshape(-1, 1), power)
        floor[block], slope[block] = found[0][0], found[1][0]
        variance = 2 * found[0] + found[1] * np.sum(power**2, axis=1)[:, None]
        pull[name] = round(float(pulls(columns.reshape(-1, 1), variance)[0]), 3)
    return floor, slope, pull


def _labels(
    head: Head, vectors: Sequence[Float64], residual: Float64, archive: Archive, chosen: Int64
) -> tuple[dict[str, Any], dict[str, Any], list[float]]:
    """Interval tables by label, their coverage, and the half width that holds 68 % of all errors."""
    tables, covered, errors = {}, {}, []
    rows, folds, snr = chosen.tolist(), archive.folds[chosen], archive.snr[chosen]
    for number, label in enumerate(head.labels):
        truth = node_value(label.name, archive.labels[label.name][chosen])
        told = np.array([vectors[archive.folds[row]][row, number] for row in rows])
        known = np.isfinite(truth)
        error, noise = (told - truth)[known], residual[chosen][known]
        tables[label.name] = intervals(error, noise)
        covered[label.name] = coverage_by_snr(error, noise, folds[known], snr[known])
        errors.append(float(np.quantile(np.abs(error), 0.68)))
    return tables, {"coverage": covered}, errors


@dataclass(frozen=True)
class VelocityTest:
    """What shifts that were put into spectra do to the latents."""

    leaks: Float64  # (n_latent,) mutual information with the shift, nats
    figures: dict[str, float]


def velocity_test(front: Front, head: Head, prepared: Sequence[Prepared], seed: int) -> VelocityTest:
    """Shift training spectra by known velocities; see which latents tell, and how well the velocity."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(prepared))[:TESTED]).tolist()
    step = front.shape.step_kms / front.shape.bin
    most = max(int(SHIFTED / step), 1)
    moves = rng.integers(-most, most + 1, len(rows))
    still = front([prepared[row] for row in rows])
    moved = front([_moved(prepared[row], move) for row, move in zip(rows, moves.tolist(), strict=True)])
    shift: Float64 = moves * np.float64(step)
    vectors = head(features(moved).astype(np.float64))
    leaks = np.array([mutual_information(column, shift) for column in vectors.T])
    found = (still.velocity != 0) & (moved.velocity != 0)
    error = (moved.velocity - still.velocity - shift)[found]
    spread = float(1.4826 * np.median(np.abs(error))) if found.any() else float("nan")
    return VelocityTest(np.nan_to_num(leaks), {"found": float(found.mean()), "error_kms": spread})


def _moved(one: Prepared, pixels: int) -> Prepared:
    """The spectrum moved to longer wavelengths by whole pixels; what comes in at the end is bad."""
    mask = np.roll(one.mask, pixels)
    mask[slice(0, pixels) if pixels >= 0 else slice(pixels, None)] = True
    flux = np.where(mask, np.float32(0), np.roll(one.flux, pixels))
    return Prepared(flux, np.roll(one.ivar, pixels), mask, float(1 - mask.mean()), one.scale)
