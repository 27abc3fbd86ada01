"""Apply a published model: prepared spectra in, latents, labels with intervals and anomaly out. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder import decode
from encoder.decode import Decoder
from encoder.front import Coefficients, Front
from encoder.neighbours import Reference
from encoder.prepare import Float32, Grid, Prepared
from encoder.recipe import Recipe
from encoder.spectrum import Bool, Float64

NETWORK, RECIPE = "encoder.onnx", "recipe.json"
BASIS, REFERENCE, DECODER = "basis.npz", "reference.npz", "decoder.npz"
LOGARITHMIC = frozenset({"teff"})  # labels whose node holds log10 of the value
LEVELS = ("68", "90")


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a model makes of N spectra; latents at natural scale (the recipe has the metric's)."""

    vectors: Float32  # (N, n_latent)
    sigmas: Float32  # (N, n_latent)
    labels: Float32  # (N, n_label), NaN where the spectrum lies outside what the labels were learnt on
    label_lo68: Float32  # (N, n_label), as all intervals
    label_hi68: Float32
    label_lo90: Float32
    label_hi90: Float32
    anomaly: Float32  # (N,) percentile among the training spectra, 0 to 100


class Encoder:
    """A model opened from its directory; safe to share between threads."""

    def __init__(self, directory: Path) -> None:
        self.recipe = Recipe.read(directory / RECIPE)
        self.front = Front.of(read_arrays(directory / BASIS))
        self.reference = Reference.of_arrays(read_arrays(directory / REFERENCE))
        self.grid = Grid(self.recipe.grid)
        self._directory = directory
        self._network = (directory / NETWORK).read_bytes()

    @classmethod
    def open(cls, directory: Path) -> Encoder:
        """The model in `directory` (recipe.json, basis.npz, reference.npz, decoder.npz, encoder.onnx)."""
        return cls(directory)

    @cached_property
    def decoder(self) -> Decoder:
        """Read when it is first asked for: encoding does without."""
        return Decoder.of_arrays(read_arrays(self._directory / DECODER))

    @cached_property
    def _session(self) -> Any:
        """One thread: the service runs many requests side by side."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(self._network, options, providers=["CPUExecutionProvider"])

    def encode(self, prepared: Sequence[Prepared]) -> Encoded:
        """Latents and labels of spectra prepared on `self.grid`."""
        found = self.front(prepared)
        vectors, sigmas = self._session.run(["vectors", "sigmas"], {"features": features(found)})
        anomaly, known = self.reference.judge(vectors[:, self._intrinsic], found.misfit)
        return Encoded(vectors, sigmas, *self._labels(vectors, found.residual, known), anomaly)

    @cached_property
    def _intrinsic(self) -> list[int]:
        return [number for number, one in enumerate(self.recipe.latents) if one.block == "intrinsic"]

    def fitted(self, prepared: Sequence[Prepared]) -> Float32:
        """What the model's components hold of each spectrum (N, P), to be drawn over `Prepared.flux`.

        In the units, with the continuum and at the velocity of the spectrum, also in its gaps; NaN where it
        has no continuum above zero. What is missing from it, the model does not see.
        """
        found = self.front(prepared)
        return decode.fitted(self.front, prepared, found.values, found.velocity)

    def reconstruct(self, vectors: Float32) -> Float32:
        """Flux over continuum (N, P) on `self.grid`, at rest, that goes with vectors (N, n_latent)."""
        return decode.flux_of(self.front, self.decoder.coefficients(vectors))

    def traverse(self, latent: str, steps: Sequence[float], vector: Float32 | None = None) -> Float32:
        """Flux over continuum (S, P), at rest, as one latent goes `steps` (S,) of its spreads from a vector
        (n_latent,), else from the mean; the others follow. Raises KeyError for an unknown latent."""
        far = np.asarray(steps, dtype=np.float64)
        return decode.flux_of(self.front, self.decoder.along(self.place(latent), far, vector))

    def along(self, latent: str, steps: Sequence[float], vector: Float32 | None = None) -> Float64:
        """Where `traverse` goes: the latent's values (S,), those of a label node in the label's unit."""
        at = self.place(latent)
        start = self.decoder.centre[at] if vector is None else float(vector[at])
        values = start + np.asarray(steps, dtype=np.float64) * self.decoder.spread[at]
        return physical(self.recipe.latents[at].label or "", values)

    def place(self, latent: str) -> int:
        """Of a latent in the vector; KeyError where the model has none of this name."""
        return {one.name: number for number, one in enumerate(self.recipe.latents)}[latent]

    def _labels(
        self, vectors: Float32, residual: Float64, known: Bool
    ) -> tuple[Float32, Float32, Float32, Float32, Float32]:
        """Labels and their bounds (lo68, hi68, lo90, hi90), each (N, n_label)."""
        at = {one.label: number for number, one in enumerate(self.recipe.latents) if one.block == "label"}
        shape = (len(vectors), len(self.recipe.labels))
        values, lo68, hi68, lo90, hi90 = (np.full(shape, np.nan, dtype=np.float32) for _ in range(5))
        for number, label in enumerate(self.recipe.labels):
            node = vectors[known, at[label.name]].astype(np.float64)
            half68, half90 = half_widths(self.recipe.settings["intervals"][label.name], residual[known])
            values[known, number] = physical(label.name, node)
            for bound, half in ((lo68, -half68), (hi68, half68), (lo90, -half90), (hi90, half90)):
                bound[known, number] = physical(label.name, node + half)
        return values, lo68, hi68, lo90, hi90


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz; nothing in it can be code."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def features(found: Coefficients) -> Float32:
    """The network's input (N, K + 2): coefficients, velocity in km/s, rms residual."""
    return np.column_stack((found.values, found.velocity, found.residual)).astype(np.float32)


def physical(label: str, node: Float64) -> Float64:
    """A label in its unit from the value of its node."""
    return 10.0 ** np.clip(node, -30, 30) if label in LOGARITHMIC else node


def node_value(label: str, value: Float64) -> Float64:
    """The value of a label's node, the reverse of `physical`; NaN stays."""
    return np.log10(np.where(value > 0, value, np.nan)) if label in LOGARITHMIC else value


def half_widths(table: Mapping[str, Any], residual: Float64) -> Float64:
    """Half widths (2, N) of the 68 and 90 % intervals, by the bin of the residual."""
    place = np.searchsorted(np.asarray(table["residual"]), residual)
    return np.stack([np.asarray(table[level])[place] for level in LEVELS])
