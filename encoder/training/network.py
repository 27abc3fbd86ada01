"""The small network of `blocks`: label nodes and nuisance from coefficients, beside the fixed intrinsic axes.

It is trained by reconstructing one observation of an object from its own nuisance and from the intrinsic axes
and labels of another (a repeat, or a view), so that nuisance learns what repeats differ in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from encoder.evaluate.calibration import repeat_pairs
from encoder.infer import node_value
from encoder.spectrum import Float64
from encoder.training.heads import Head, Layers
from encoder.training.material import Material

Arrays = dict[str, NDArray[np.generic]]

WIDTH = 192
DECODER_WIDTH = 128
BATCH = 256
RATE, DECAY = 2e-3, 1e-3
KL_WEIGHT, LABEL_WEIGHT = 0.02, 2.0
VIEWS_PER_EPOCH = 3  # observations of each spectrum that an epoch sees
REPEAT_SHARE = 0.25  # of a batch: real repeats, the rest are views
SAVED_EVERY = 100  # batches, a second or two
DROPPED = 0.1  # of the first layer's inputs, so that no single component carries a label


@dataclass(frozen=True)
class Examples:
    """Observations for training: coefficients (M, K) of spectra and views, and whose they are (M,)."""

    values: Tensor
    of: Tensor
    targets: Tensor  # (N, n_label) standardised, NaN where unknown
    fixed: Tensor  # (N, n_axes) intrinsic axes
    repeats: Tensor  # (R, 2) pairs of spectra, both ways


class Blocks(nn.Module):
    """Encoder to label nodes and nuisance (mean, log variance); decoder back to coefficients."""

    def __init__(self, width: int, labels: int, axes: int, nuisance: int) -> None:
        super().__init__()
        self.labels, self.nuisance = labels, nuisance
        self.drop = nn.Dropout(DROPPED)
        self.layers = nn.ModuleList(
            [nn.Linear(width, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, labels + nuisance)]
        )
        self.spread = nn.Linear(WIDTH, nuisance)
        self.decoder = nn.Sequential(
            nn.Linear(labels + axes + nuisance, DECODER_WIDTH), nn.ReLU(), nn.Linear(DECODER_WIDTH, width)
        )

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Label nodes (B, n_label), nuisance means and log variances (B, n_nuisance)."""
        hidden = functional.relu(self.layers[0](self.drop(values)))
        hidden = functional.relu(self.layers[1](hidden))
        out = self.layers[2](hidden)
        return out[:, : self.labels], out[:, self.labels :], self.spread(hidden).clamp(-8, 4)


def train_network(head: Head, material: Material, epochs: int, seed: int, saved: Path) -> Arrays:
    """Weights of the network, as arrays; one thread, equal for equal input and seed.

    The state is kept in `saved` every few seconds, so that a killed run goes on from there.
    """
    torch.set_num_threads(1)
    centre, scale = standard(head, material)
    examples = _examples(head, material, centre, scale)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Blocks(material.values.shape[1], len(head.labels), head.n_axes, head.n_nuisance)
        _fit(model, examples, epochs, np.random.default_rng(seed), saved)
    model.eval()
    saved.unlink(missing_ok=True)
    arrays: Arrays = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    return arrays | {"centre": centre, "scale": scale}


def standard(head: Head, material: Material) -> tuple[Float64, Float64]:
    """Centre and scale (n_label,) of the label nodes."""
    nodes = [node_value(label.name, material.labels[label.name]) for label in head.labels]
    return np.array([np.nanmean(node) for node in nodes]), np.array([np.nanstd(node) for node in nodes])


def with_network(head: Head, arrays: Mapping[str, NDArray[np.generic]]) -> Head:
    """The head whose label nodes and nuisance are the network's; the labels in their own units again."""
    columns = [*range(len(head.labels)), *range(head.nuisance.start, head.nuisance.stop)]
    matrix, bias = head.matrix.copy(), head.bias.copy()
    matrix[:, columns], bias[columns] = 0.0, 0.0
    layers = [
        (np.asarray(arrays[f"layers.{n}.weight"], dtype=np.float64).T, np.asarray(arrays[f"layers.{n}.bias"]))
        for n in range(3)
    ]
    scale = np.concatenate((arrays["scale"], np.ones(head.n_nuisance)))
    centre = np.concatenate((arrays["centre"], np.zeros(head.n_nuisance)))
    last_weight, last_bias = layers[-1]
    final: Layers = (*layers[:-1], (last_weight * scale, last_bias * scale + centre))
    return replace(head, matrix=matrix, bias=bias, layers=final, network_columns=tuple(columns))


def _examples(head: Head, material: Material, centre: Float64, scale: Float64) -> Examples:
    views, values = material.views, material.values
    seen = np.vstack((values, values[views.of] + views.joint, values[views.of] + views.response))
    of = np.concatenate((np.arange(len(values)), views.of, views.of))
    nodes = [node_value(label.name, material.labels[label.name]) for label in head.labels]
    targets = (np.column_stack(nodes) - centre) / scale if nodes else np.zeros((len(values), 0))
    axes = values @ head.matrix[:-2, head.intrinsic]
    pairs = repeat_pairs(material.keys)
    return Examples(
        torch.tensor(seen, dtype=torch.float32),
        torch.tensor(of),
        torch.tensor(targets, dtype=torch.float32),
        torch.tensor(axes / axes.std(axis=0), dtype=torch.float32),
        torch.tensor(np.vstack((pairs, pairs[:, ::-1]))),
    )


def _fit(model: Blocks, examples: Examples, epochs: int, rng: np.random.Generator, saved: Path) -> None:
    steps = epochs * -(-VIEWS_PER_EPOCH * len(examples.targets) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    model.train()
    parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
    first = _resumed(parts, rng, saved)
    for step in range(first, steps):
        if step > first and step % SAVED_EVERY == 0:
            _save(parts, rng, step, saved)
        seen, other = _batch(examples, rng)
        optimiser.zero_grad()
        loss = _loss(model, examples, seen, other)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def _save(parts: Mapping[str, Any], rng: np.random.Generator, step: int, path: Path) -> None:
    """All that the next steps depend on, under the path only when it is whole."""
    state = {name: part.state_dict() for name, part in parts.items()}
    numbers = json.dumps(rng.bit_generator.state)
    torch.save({**state, "step": step, "numpy": numbers, "torch": torch.get_rng_state()}, f"{path}.part")
    Path(f"{path}.part").replace(path)


def _resumed(parts: Mapping[str, Any], rng: np.random.Generator, path: Path) -> int:
    """The step to go on from; 0 where nothing was saved."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    rng.bit_generator.state = json.loads(state["numpy"])
    torch.set_rng_state(state["torch"])
    return int(state["step"])


def _batch(examples: Examples, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Rows of observations (B,), and for each a spectrum (B,) of the same object that it is rebuilt from."""
    of, repeats = examples.of.numpy(), examples.repeats.numpy()
    real = int(REPEAT_SHARE * BATCH) if len(repeats) else 0
    seen = rng.integers(0, len(of), BATCH)
    other = of[seen]
    if real:
        chosen = repeats[rng.integers(0, len(repeats), real)]
        seen[:real], other[:real] = chosen[:, 0], chosen[:, 1]
    return torch.from_numpy(seen), torch.from_numpy(other)


def _loss(model: Blocks, examples: Examples, seen: Tensor, other: Tensor) -> Tensor:
    values = examples.values[seen]
    labels, mean, spread = model(values)
    told = model(examples.values[other])[0]
    nuisance = mean + torch.randn_like(mean) * torch.exp(0.5 * spread)
    rebuilt = model.decoder(torch.cat((told, examples.fixed[other], nuisance), dim=1))
    kl = 0.5 * (mean**2 + spread.exp() - 1 - spread).sum(dim=1).mean()
    loss = functional.smooth_l1_loss(rebuilt, values) + KL_WEIGHT * kl
    total: Tensor = loss + LABEL_WEIGHT * _label_loss(labels, examples.targets[examples.of[seen]])
    return total


def _label_loss(labels: Tensor, targets: Tensor) -> Tensor:
    """Smooth L1 over known labels, linear beyond half a standard deviation: wrong labels pull weakly."""
    known = torch.isfinite(targets)
    wanted = torch.where(known, targets, labels.detach())
    error = functional.smooth_l1_loss(labels, wanted, reduction="sum", beta=0.1)
    mean: Tensor = error / known.sum().clamp(min=1)
    return mean
