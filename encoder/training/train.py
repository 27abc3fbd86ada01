"""Train one model and write its directory: front, head, calibration, held-out report."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from encoder.evaluate.report import card, write_report
from encoder.evaluate.retrieval import FOLDS, Archive
from encoder.front import Coefficients, Front, Shape, stacked
from encoder.infer import BASIS, DECODER, NETWORK, RECIPE, REFERENCE, features
from encoder.model_config import ModelConfig
from encoder.neighbours import Reference
from encoder.prepare import Prepared
from encoder.recipe import Recipe
from encoder.spectrum import Facts, Float64, Int64
from encoder.training import linear
from encoder.training.checkpoint import Arrays, Progress, Steps, digest_of, write_arrays
from encoder.training.decoder import fit_decoder
from encoder.training.describe import latents_of, presets_of
from encoder.training.export import onnx_bytes
from encoder.training.heads import Head, fit_head, known_labels, label_targets
from encoder.training.heldout import HeldOut, held_out, velocity_test
from encoder.training.linear import Views
from encoder.training.material import Material

FEWEST = 30  # spectra to train on
FEWEST_VALUES = 50  # of the flux: about two from each pixel of the archive's that is wider than the grid's


class TrainingError(Exception):
    """There is not enough to train on; the message says what is missing."""


def train(
    config: ModelConfig,
    prepared: Sequence[Prepared],
    facts: Sequence[Facts],
    *,
    directory: Path,
    workdir: Path,
    progress: Progress,
    missing: Sequence[Facts] = (),
) -> Recipe:
    """Train on the spectra that `config` names and write the model into `directory`.

    `prepared` and `facts` are all spectra that the model will embed, in one order; `missing` are those that
    the grid does not cover: they count as misses in the report. Steps are kept in `workdir`, so that a killed
    run goes on. Equal input and seed give equal files. Raises TrainingError where there is too little.
    """
    steps = Steps(workdir, digest_of(config, prepared, facts), progress)
    chosen = training_rows(config, prepared, facts)
    front = fit_front(config, steps, prepared, facts, chosen)
    found = Coefficients(**steps.step("coefficients", lambda: vars(front(prepared))))  # type: ignore[arg-type]
    material = material_of(config, steps, front, prepared, facts, chosen, found.values)
    head = fitted_head(config, steps, "head", material)
    archive = Archive.of([*facts, *missing])
    folds = archive.folds[chosen]
    heads = [
        fitted_head(config, steps, f"head-without-fold-{fold + 1}", material.part(folds != fold))
        for fold in range(FOLDS)
    ]
    progress("judging on held-out objects")
    judged = held_out(heads, found, archive, chosen)
    return _write(config, directory, front, head, found, judged, facts, chosen, prepared)


def training_rows(config: ModelConfig, prepared: Sequence[Prepared], facts: Sequence[Facts]) -> Int64:
    """Places of the spectra of the wanted collections and class that are not a few pixels wide."""
    rows = [
        row
        for row, one in enumerate(facts)
        if (not config.collections or one.collection in config.collections)
        and (not config.object_class or one.object_class == config.object_class)
        and np.unique(prepared[row].flux).size >= FEWEST_VALUES
    ]
    if len(rows) < FEWEST:
        what = f"of class {config.object_class!r} " if config.object_class else ""
        raise TrainingError(
            f"model {config.name}: {len(rows)} spectra {what}cover "
            f"{config.grid.start:g}–{config.grid.stop:g} Å; training needs {FEWEST}"
        )
    return np.array(rows, dtype=np.int64)


def fit_front(
    config: ModelConfig,
    steps: Steps,
    prepared: Sequence[Prepared],
    facts: Sequence[Facts],
    chosen: Int64,
) -> Front:
    """Templates and components of the chosen spectra."""

    def make() -> Arrays:
        shape = Shape.of(config.grid, config.window, config.align)
        flux, good = stacked([prepared[row] for row in chosen.tolist()])
        templates = _template_rows([facts[row] for row in chosen.tolist()])
        aligner = linear.fit_aligner(shape, flux[templates], good[templates])
        rest, _ = linear.at_rest(shape, aligner, flux, good)
        return linear.fit_front(shape, aligner, rest, config.components).arrays()

    return Front.of(steps.step("components", make))


def _template_rows(facts: Sequence[Facts]) -> list[int]:
    """Spectra of the largest collection at rest; of the largest at all where none is at rest."""
    resting = [row for row, one in enumerate(facts) if one.wave_frame == "rest"]
    rows = resting if len(resting) >= FEWEST else list(range(len(facts)))
    names = [facts[row].collection for row in rows]
    largest = max(sorted(set(names)), key=names.count)
    return [row for row, name in zip(rows, names, strict=True) if name == largest]


def material_of(
    config: ModelConfig,
    steps: Steps,
    front: Front,
    prepared: Sequence[Prepared],
    facts: Sequence[Facts],
    chosen: Int64,
    values: Float64,
) -> Material:
    """Coefficients, names, labels and views of the chosen spectra; `values` (N, K) are of all."""
    values, rows = values[chosen], chosen.tolist()

    def make() -> Arrays:
        rest, _ = linear.at_rest(front.shape, front.aligner, *stacked([prepared[row] for row in rows]))
        views = linear.deviations(front, rest, values, np.random.default_rng(config.seed))
        return {"joint": views.joint, "response": views.response, "of": views.of}

    views = Views(**steps.step("views", make))  # type: ignore[arg-type]
    labels = known_labels(label_targets([dict(facts[row].labels) for row in rows]))
    return Material(values, [facts[row].object_key for row in rows], labels, views)


def fitted_head(config: ModelConfig, steps: Steps, name: str, material: Material) -> Head:
    """The head of this material, its network trained where the kind has one."""
    axes = linear.fit_axes(material.values, material.keys, material.views, config.axes)
    head = fit_head(material.values, axes, material.labels)
    if config.kind == "linear":
        return head
    from encoder.training.network import train_network, with_network

    saved = steps.directory / f"{name}.state"
    arrays = steps.step(name, lambda: train_network(head, material, config.epochs, config.seed, saved))
    return with_network(head, arrays)


def _write(
    config: ModelConfig,
    directory: Path,
    front: Front,
    head: Head,
    found: Coefficients,
    judged: HeldOut,
    facts: Sequence[Facts],
    chosen: Int64,
    prepared: Sequence[Prepared],
) -> Recipe:
    """The model's files; the model's id is told by the bytes of its weights."""
    head = replace(head, sigma_floor=judged.floor, sigma_slope=judged.slope)
    vectors = head(features(found).astype(np.float64)[chosen])
    velocity = velocity_test(front, head, [prepared[row] for row in chosen.tolist()], config.seed)
    labels = label_targets([dict(facts[row].labels) for row in chosen.tolist()])
    latents = latents_of(head, vectors, labels, judged.scales, velocity.leaks)
    presets = presets_of(latents)
    directory.mkdir(parents=True, exist_ok=True)
    write_arrays(directory / BASIS, front.arrays())
    write_arrays(directory / REFERENCE, Reference.of(vectors[:, head.intrinsic], judged.distances).arrays())
    write_arrays(directory / DECODER, fit_decoder(vectors, found.values[chosen]).arrays())
    network = onnx_bytes(head)
    (directory / NETWORK).write_bytes(network)
    weights = hashlib.sha256(network + (directory / BASIS).read_bytes()).hexdigest()
    recipe = Recipe(
        name=config.name,
        model_id=f"{config.name}-{weights[:12]}",
        kind=config.kind,
        grid=config.grid,
        min_coverage=config.min_coverage,
        latents=latents,
        presets=presets,
        default_preset="physics",
        labels=head.labels,
        settings={"intervals": judged.intervals, "seed": config.seed, "window_kms": config.window},
    )
    (directory / RECIPE).write_text(recipe.to_json(), encoding="utf-8")
    report = write_report(directory, recipe, judged.figures(latents, presets), velocity.figures, len(chosen))
    (directory / "card.md").write_text(card(recipe, report), encoding="utf-8")
    return recipe
