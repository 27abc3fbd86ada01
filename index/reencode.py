"""Whether a release's models still give its vectors: a sample of spectra read and encoded anew."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from encoder.prepare import prepare
from encoder.spectrum import RefusedSpectrum
from index.release import Model, OpenRelease

TOLERANCE = 1e-3  # of a latent's scale: another processor rounds elsewhere


def differences(release: OpenRelease, n: int, seed: int = 0) -> tuple[list[str], int]:
    """What differs among `n` embedded spectra of each model, one sentence each, and how many were encoded.

    So many are drawn of what was built and of every later segment. Models whose vectors were made elsewhere
    are left out.
    """
    found: list[str] = []
    encoded = 0
    for model in release.models.values():
        if not model.encodes:
            continue
        rows = model.vectors.rows
        for part in np.split(rows, np.searchsorted(rows, release.later_starts)):
            draw = np.random.default_rng(seed).choice(part, min(n, len(part)), replace=False)
            found += [problem for row in np.sort(draw).tolist() for problem in _problems(release, model, row)]
            encoded += len(draw)
    return found, encoded


def _problems(release: OpenRelease, model: Model, row: int) -> Iterator[str]:
    did, stored = release.did_of(row), np.asarray(model.vectors.vector(row))
    try:
        anew = model.encoder.encode([prepare(release.spectrum(row), model.encoder.grid)]).vectors[0]
    except RefusedSpectrum as reason:
        yield f"{model.name}: {did} cannot be encoded anew: {reason}"
        return
    scale = np.array([latent.scale for latent in model.recipe.latents])
    off = np.abs(anew - stored) / scale
    if not (off <= TOLERANCE * np.maximum(1.0, np.abs(stored) / scale)).all():
        worst = int(np.argmax(off))
        name = model.recipe.latents[worst].name
        yield f"{model.name}: {did} is another vector now: {name} is off by {off[worst]:.2g} of its scale"
