"""Words and scales of latents, and the presets made of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from encoder.evaluate.information import mutual_information
from encoder.infer import LOGARITHMIC
from encoder.recipe import Latent
from encoder.spectrum import Float64
from encoder.training.heads import Head

LEAK = 0.3  # nats with the velocity: a latent that tells more is no part of `physics`
SHOWN = 0.1  # nats: less is not worth a word
NAMES = {"teff": "Teff", "logg": "log g", "feh": "[Fe/H]", "velocity": "velocity"}
WORDS = {
    "label": "predicted {label}",
    "intrinsic": "intrinsic axis: repeats of one object agree on it",
    "nuisance": "nuisance axis: repeats of one object differ in it (instrument, atmosphere, noise)",
    "velocity": "velocity that was found in the wavelengths as stored, km/s; 0 where none was found",
}


def latents_of(
    head: Head, vectors: Float64, labels: Mapping[str, Float64], scales: Float64, leaks: Float64
) -> tuple[Latent, ...]:
    """Every latent with its scale and what it tells.

    `vectors` (N, n_latent) and `labels` (N,) are of the training spectra; `leaks` (n_latent,) is the mutual
    information of each latent with shifts that were put into spectra.
    """
    blocks = [
        *("label" for _ in head.labels),
        *["intrinsic"] * head.n_axes,
        *["nuisance"] * head.n_nuisance,
        "velocity",
    ]
    described = []
    for number, block in enumerate(blocks):
        told = {name: mutual_information(vectors[:, number], values) for name, values in labels.items()}
        told = {name: round(nats, 3) for name, nats in told.items() if np.isfinite(nats)}
        told["velocity"] = round(float(leaks[number]), 3)
        label = head.labels[number].name if block == "label" else "velocity" if block == "velocity" else None
        count = {name: int(np.isfinite(values).sum()) for name, values in labels.items()}
        text = _description(block, label, told, count)
        described.append(Latent(f"z{number:02d}", block, float(scales[number]), label, text, told))  # type: ignore[arg-type]
    return tuple(described)


def _description(block: str, label: str | None, told: Mapping[str, float], count: Mapping[str, int]) -> str:
    shown = NAMES.get(label or "", label or "")
    start = WORDS[block].format(label=f"log10 of {shown} in K" if label in LOGARITHMIC else shown)
    known = sorted(((nats, name) for name, nats in told.items() if nats >= SHOWN), reverse=True)
    if not known:
        return f"{start}; tells less than {SHOWN} nat of any label: no known meaning"
    parts = [f"{nats:.2f} nat with {NAMES.get(name, name)}{_of(count.get(name))}" for nats, name in known]
    return f"{start}; mutual information {', '.join(parts)}"


def _of(count: int | None) -> str:
    return f" ({count} spectra)" if count else " (shifts put in)"


def presets_of(latents: tuple[Latent, ...]) -> dict[str, dict[str, float]]:
    """Named weights; a preset whose block a model does not have is left out."""
    of = {
        "physics": [
            latent
            for latent in latents
            if latent.block == "intrinsic" and latent.mutual_information["velocity"] <= LEAK
        ],
        "parameters": [latent for latent in latents if latent.block == "label"],
        "velocity": [latent for latent in latents if latent.block == "velocity"],
        "instrument": [latent for latent in latents if latent.block == "nuisance"],
        "all": list(latents),
    }
    if not of["physics"]:
        of["physics"] = [latent for latent in latents if latent.block == "intrinsic"]
    return {name: {latent.name: 1.0 for latent in members} for name, members in of.items() if members}
