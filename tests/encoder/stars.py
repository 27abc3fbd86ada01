"""Small stars seen by two instruments, for tests of models: line depths follow the labels."""

from __future__ import annotations

import numpy as np

from encoder.continuum import LIGHT
from encoder.prepare import Grid, Prepared, prepare
from encoder.recipe import GridSpec
from encoder.spectrum import Facts, Spectrum

GRID = GridSpec(4000.0, 6000.0, 768)
OBJECTS = 90


def stars(seed: int = 0, objects: int = OBJECTS) -> tuple[list[Prepared], list[Facts]]:
    """Every object in `north` (at rest) and `south` (moving, tilted, noisier), on GRID."""
    rng = np.random.default_rng(seed)
    lines = rng.uniform(4000, 6000, 120)
    response = rng.normal(size=(120, 3))
    physics = rng.normal(size=(objects, 3))
    prepared, facts = [], []
    for number, state in enumerate(physics):
        depth = 0.3 / (1 + np.exp(-(response @ state)))
        labels = {"teff": 5500 * 10 ** (0.08 * state[0]), "feh": 0.3 * state[1]}
        for collection in ("north", "south"):
            velocity = 0.0 if collection == "north" else float(rng.normal(0, 60))
            one = _observed(lines, depth, velocity, collection == "south", rng)
            name = f"{collection}-{number}"
            known = Facts(
                name, collection, f"ivo://doppel.test/{name}", f"{name}.fits", object_key=f"star{number}",
                object_class="star", wave_frame="rest" if collection == "north" else "heliocentric",
                labels=labels | {"rv": velocity},
            )  # fmt: skip
            prepared.append(prepare(Spectrum(*one, known), Grid(GRID)))
            facts.append(known)
    return prepared, facts


def _observed(lines, depth, velocity, south, rng):  # type: ignore[no-untyped-def]
    wave = np.arange(3980.0, 6020.0, 1.3 if south else 0.9)
    width = 3.0 if south else 2.5
    centre = lines * (1 + velocity / LIGHT)
    flux = 1 - (depth * np.exp(-0.5 * ((wave[:, None] - centre) / width) ** 2)).sum(axis=1).clip(0, 0.95)
    flux *= np.exp(rng.normal(0, 0.1) * (wave - 5000) / 1000) * 100
    noise = 100 / rng.uniform(40, 200)
    flux += rng.normal(0, noise, wave.size)
    mask = np.zeros(wave.size, dtype=bool)
    return wave, flux, np.full(wave.size, noise**-2), mask
