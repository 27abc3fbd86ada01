"""Steps of a training run that are kept as they are done, so that a killed run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoder.model_config import ModelConfig
from encoder.prepare import Prepared
from encoder.spectrum import Facts

Arrays = dict[str, NDArray[np.generic]]
Progress = Callable[[str], None]

VERSION = 6  # of the steps; a new one forgets those of the old


def digest_of(config: ModelConfig, prepared: Sequence[Prepared], facts: Sequence[Facts]) -> str:
    """Changes with the settings, the pixels, and the facts that training uses."""
    found = hashlib.sha256(json.dumps([VERSION, config.training]).encode())
    for one, known in zip(prepared, facts, strict=True):
        found.update(np.ascontiguousarray(one.flux).tobytes())
        found.update(np.packbits(one.mask).tobytes())
        used = [known.spectrum_id, known.collection, known.object_key, known.object_class, known.wave_frame]
        found.update(json.dumps([*used, sorted(known.labels.items())]).encode())
    return found.hexdigest()[:16]


class Steps:
    """Finished steps under `workdir/<digest>`; a step is arrays, written whole or not at all."""

    def __init__(self, workdir: Path, digest: str, progress: Progress) -> None:
        self.directory, self.progress = workdir / digest, progress
        self.directory.mkdir(parents=True, exist_ok=True)

    def step(self, name: str, make: Callable[[], Mapping[str, NDArray[np.generic]]]) -> Arrays:
        """The arrays of a step: read where it is done, else made and kept."""
        path = self.directory / f"{name}.npz"
        if path.exists():
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        self.progress(name.replace("-", " "))
        arrays = dict(make())
        write_arrays(path, arrays)
        return arrays


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """One .npz under its final name only when it is whole."""
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
