"""Spectra that are only rows: facts and structured vectors, for tests that need no pixels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from encoder.prepare import Prepared
from encoder.recipe import GridSpec, Label, Latent, Recipe
from encoder.spectrum import Facts
from index.content import Content, Refusal, TrainedModel
from index.rows import Embeddings, Seen, Words

LABELS = (
    Label("teff", "K", "phys.temperature.effective", "Effective temperature"),
    Label("logg", "", "phys.gravity", "Surface gravity, log10 of cm/s2"),
    Label("feh", "", "phys.abund.Fe", "Iron abundance [Fe/H] in dex"),
)


def recipe(name: str = "optical", intrinsic: int = 5) -> Recipe:
    """Three label nodes, some intrinsic latents, two nuisances, a velocity."""
    blocks = ["label"] * 3 + ["intrinsic"] * intrinsic + ["nuisance"] * 2 + ["velocity"]
    latents = tuple(
        Latent(
            f"z{number:02d}",
            block,  # type: ignore[arg-type]
            scale=0.5 + 0.1 * number,
            label=LABELS[number].name if block == "label" else None,
            mutual_information={"teff": 0.4} if block == "intrinsic" else {},
        )
        for number, block in enumerate(blocks)
    )
    by_block = {
        block: {latent.name: 1.0 for latent in latents if latent.block == block}
        for block in ("label", "intrinsic", "nuisance", "velocity")
    }
    presets = {
        "physics": by_block["intrinsic"],
        "parameters": by_block["label"],
        "velocity": by_block["velocity"],
        "instrument": by_block["nuisance"],
        "all": {latent.name: 1.0 for latent in latents},
    }
    return Recipe(
        name,
        f"{name}-0001",
        "linear",
        GridSpec(3800.0, 7000.0, 512),
        0.5,
        latents,
        presets,
        "physics",
        LABELS,
    )


def seen(n: int = 300, seed: int = 7) -> list[Seen]:
    """`n` spectra, two of each object; every tenth has no position, one identifier has a plus sign."""
    draw = np.random.default_rng(seed)
    return [_seen(number, draw) for number in range(n)]


def _seen(number: int, draw: np.random.Generator) -> Seen:
    placed = number % 10 != 9
    spectrum_id = f"syn-{number:04d}" + ("+x" if number == 5 else "")
    position = (float(draw.uniform(0, 360)), float(draw.uniform(-30, 60))) if placed else (None, None)
    facts = Facts(
        spectrum_id=spectrum_id,
        collection="first" if number % 2 else "second",
        publisher_did=f"ivo://doppel.example/{'first' if number % 2 else 'second'}?{spectrum_id}",
        path=f"spectra/{spectrum_id}.fits",
        object=f"HD {1000 + number // 2}",
        object_key=f"HD{1000 + number // 2}",
        object_class="star",
        spectral_class="G2 V" if number % 3 else "K0 III",
        ra=position[0],
        dec=position[1],
        date_obs="2014-03-28T18:38:06" if number % 4 else "2014-03-28",
        exposure=600.0,
        telescope="A telescope",
        snr=float(draw.uniform(5, 200)),
        resolving_power=1800.0,
        flux_calibration="RELATIVE",
        labels={} if number % 7 == 0 else {"teff": 5000.0 + 10 * number, "logg": 4.0, "feh": -0.1},
    )
    return Seen(facts, 2000, 3.7e-7, 9.1e-7 if number % 5 else 4.2e-7)


def embeddings(spectra: list[Seen], model: Recipe, seed: int = 11) -> Embeddings:
    """Repeats of one object lie near each other; every fifth spectrum is outside the grid."""
    draw = np.random.default_rng(seed)
    of = np.array([row for row in range(len(spectra)) if row % 5], np.int64)
    n, d = len(of), len(model.latents)
    objects = draw.normal(size=(len(spectra), d))
    vectors = (objects[of // 2] + 0.1 * draw.normal(size=(n, d))).astype(np.float32)
    labels = (np.array([5500.0, 4.0, 0.0]) + vectors[:, :3] * np.array([500.0, 0.5, 0.3])).astype(np.float32)
    labels[::13] = np.nan
    width = np.array([100.0, 0.2, 0.1], np.float32)
    reasons = {row: "covers 31 % of 3800–7000 Å, needs 50 %" for row in range(len(spectra)) if row % 5 == 0}
    return Embeddings(
        of=of,
        vectors=vectors,
        sigmas=np.full((n, d), 0.1, np.float32),
        labels=labels,
        lo68=labels - width,
        hi68=labels + width,
        lo90=labels - 2 * width,
        hi90=labels + 2 * width,
        anomaly=draw.uniform(0, 100, n).astype(np.float32),
        reasons=reasons,
    )


def model_directory(directory: Path, model: Recipe) -> Path:
    """Recipe and report of a model without weights."""
    directory.mkdir(parents=True)
    (directory / "recipe.json").write_text(model.to_json(), encoding="utf-8")
    report = {"n": 1, "repeat_distances": {name: [0.1, 0.2, 0.5, 1.0] for name in model.presets}}
    (directory / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return directory


def prepared(of: Sequence[int], pixels: int, seed: int = 3) -> list[tuple[int, Prepared]]:
    """Flux about a line in absorption; every second spectrum has a gap, every third no errors."""
    draw, found = np.random.default_rng(seed), []
    line = 1 - 0.5 * np.exp(-0.5 * ((np.arange(pixels) / pixels - 0.4) / 0.02) ** 2)
    for place in of:
        mask = np.zeros(pixels, bool)
        mask[: pixels // 4] = place % 2 == 0
        flux = np.where(mask, 0, line * draw.normal(1, 0.1, pixels))
        ivar = np.where(mask | (place % 3 == 0), 0, 100.0)
        arrays = flux.astype(np.float32), ivar.astype(np.float32), mask
        found.append((place, Prepared(*arrays, float((~mask).mean()), 2.0 + place)))
    return found


def content(directory: Path, n: int = 300) -> Content:
    """Two models, `optical` and `halpha`, on the same synthetic spectra; `optical` publishes their flux."""
    spectra = seen(n)
    models = [
        TrainedModel(model_directory(directory / model.name, model), model, embeddings(spectra, model, seed))
        for seed, model in enumerate([recipe("optical"), recipe("halpha", intrinsic=3)], start=11)
    ]
    words = {name: Words("Doppel tests") for name in ("first", "second")}
    refused = [Refusal("first", "syn-9999", "spectra/syn-9999.fits", "no valid pixel")]
    of = models[0].embeddings.of.tolist()
    models[0] = replace(models[0], prepared=prepared(of, models[0].recipe.grid.pixels))
    return Content(
        "doppel.example", words, spectra, models, refused, (), directory, flux=[models[0].recipe.name]
    )
