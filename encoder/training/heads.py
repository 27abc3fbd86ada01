"""From coefficients to latents: an affine map, and for `blocks` a network beside it; all numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoder.infer import node_value
from encoder.recipe import Label
from encoder.spectrum import Float64
from encoder.training.linear import Axes

LABELS = (
    Label("teff", "K", "phys.temperature.effective;meta.modelled", "Effective temperature"),
    Label("logg", "", "phys.gravity;meta.modelled", "Surface gravity, log10 of cm/s2"),
    Label("feh", "", "phys.abund.Fe;meta.modelled", "Iron abundance [Fe/H] in dex"),
)
FEWEST_LABELS = 60  # spectra with a label, for a node of it
PENALTIES = 10.0 ** np.arange(-4, 3.1, 0.5)
CLEAN = 6.0  # robust sigmas: labels that disagree more with the spectrum do not teach
ROUNDS = 3

Layers = tuple[tuple[Float64, Float64], ...]  # weights (in, out) and bias (out,), ReLU between


@dataclass(frozen=True)
class Head:
    """vectors = features @ matrix + bias, plus the network's outputs in the columns `network_columns`."""

    matrix: Float64  # (K + 2, n_latent)
    bias: Float64  # (n_latent,)
    labels: tuple[Label, ...]
    n_axes: int
    n_nuisance: int
    layers: Layers = ()
    network_columns: tuple[int, ...] = ()
    sigma_floor: Float64 | None = None  # (n_latent,) variance of a noiseless repeat
    sigma_slope: Float64 | None = None  # (n_latent,) variance per squared residual

    def __call__(self, features: Float64) -> Float64:
        """Latents (N, n_latent) of features (N, K + 2)."""
        vectors = features @ self.matrix + self.bias
        if self.layers:
            vectors[:, list(self.network_columns)] += forward(self.layers, features[:, :-2])
        return vectors

    @property
    def intrinsic(self) -> slice:
        """The columns of the intrinsic block."""
        return slice(len(self.labels), len(self.labels) + self.n_axes)

    @property
    def nuisance(self) -> slice:
        return slice(self.intrinsic.stop, self.intrinsic.stop + self.n_nuisance)


def forward(layers: Layers, values: Float64) -> Float64:
    """The network's outputs (N, out)."""
    for number, (weight, bias) in enumerate(layers):
        values = values @ weight + bias
        if number < len(layers) - 1:
            values = np.maximum(values, 0.0)
    return values


def fit_head(values: Float64, axes: Axes, targets: dict[str, Float64]) -> Head:
    """The affine head: ridge regression for labels, axes for intrinsic and nuisance, the velocity."""
    labels = tuple(label for label in LABELS if label.name in targets)
    maps = [ridge(values, node_value(label.name, targets[label.name])) for label in labels]
    directions = np.vstack([*(weight for weight, _ in maps), axes.intrinsic, axes.nuisance])  # (L - 1, K)
    matrix = np.zeros((values.shape[1] + 2, len(directions) + 1))
    matrix[:-2, :-1] = directions.T
    matrix[-2, -1] = 1.0  # the velocity
    bias = np.concatenate(([offset for _, offset in maps], np.zeros(len(directions) + 1 - len(maps))))
    return Head(matrix, bias, labels, len(axes.intrinsic), len(axes.nuisance))


def known_labels(targets: dict[str, Float64]) -> dict[str, Float64]:
    """Those labels (N,), NaN where unknown, that enough spectra have."""
    return {name: values for name, values in targets.items() if np.isfinite(values).sum() >= FEWEST_LABELS}


def ridge(values: Float64, target: Float64) -> tuple[Float64, float]:
    """Weights (K,) and offset of a ridge regression; its penalty by leave-one-out, its outliers left out."""
    use = np.isfinite(target)
    for _ in range(ROUNDS):
        weight, offset = _ridge(values[use], target[use])
        error = values @ weight + offset - target
        spread = 1.4826 * np.nanmedian(np.abs(error))
        use = np.isfinite(target) & (np.abs(error) <= CLEAN * spread)
    return weight, offset


def _ridge(values: Float64, target: Float64) -> tuple[Float64, float]:
    centre, level = values.mean(axis=0), float(target.mean())
    left, size, right = np.linalg.svd(values - centre, full_matrices=False)
    moment = left.T @ (target - level)
    errors = []
    for penalty in PENALTIES:
        kept = size**2 / (size**2 + penalty)
        leverage = (left**2) @ kept + 1 / len(target)
        errors.append(np.mean(((target - level - left @ (kept * moment)) / (1 - leverage)) ** 2))
    best = PENALTIES[int(np.argmin(errors))]
    weight = right.T @ (size / (size**2 + best) * moment)
    return weight, level - float(centre @ weight)


def label_targets(rows: list[dict[str, float]]) -> dict[str, NDArray[np.float64]]:
    """Label name → values (N,), NaN where a spectrum has none."""
    return {label.name: np.array([row.get(label.name, np.nan) for row in rows]) for label in LABELS}
