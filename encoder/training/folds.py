"""Five folds by object, everything trained anew on the other four: models and baselines side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from encoder.continuum import continuum_normalised
from encoder.evaluate.measures import measure, node_errors, paired
from encoder.evaluate.retrieval import FOLDS, Archive
from encoder.front import Shape, averaged, stacked
from encoder.infer import features
from encoder.model_config import ModelConfig
from encoder.prepare import Prepared
from encoder.spectrum import Facts, Float64, Int64
from encoder.training import linear
from encoder.training.checkpoint import Arrays, Progress, Steps, digest_of
from encoder.training.heldout import told_labels
from encoder.training.train import fit_front, fitted_head, material_of, training_rows

PCA_SHOWN = 16  # at natural scale: whitened they find half as much (cross MRR 0.20 for 0.36)
LDA_COMPONENTS, LDA_AXES = 64, 40
LDA_SHRINKAGE = 0.1
BASELINE = "lda"


def evaluate(
    config: ModelConfig,
    prepared: Sequence[Prepared],
    facts: Sequence[Facts],
    *,
    workdir: Path,
    progress: Progress,
    missing: Sequence[Facts] = (),
) -> dict[str, Any]:
    """Figures of `linear`, of `config.kind` and of the baselines on the same held-out objects.

    Arguments as of `train`. Unlike in the report of a build, components and templates too are found anew
    without each fold. Differences are paired by search, against whitened components with LDA (`lda`).
    """
    steps = Steps(workdir, digest_of(config, prepared, facts), progress)
    archive = Archive.of([*facts, *missing])
    chosen = training_rows(config, prepared, facts)
    folds = [
        _fold(config, steps, prepared, facts, chosen[archive.folds[chosen] != fold], f"fold-{fold + 1}")
        for fold in range(FOLDS)
    ]

    def of_all(kind: str) -> list[Float64]:
        missed = ((0, len(missing)), (0, 0))
        return [np.pad(fold[kind].astype(np.float64), missed, constant_values=np.nan) for fold in folds]

    progress("compare")
    kinds = dict.fromkeys(("raw", "pca", BASELINE, "linear", config.kind))
    rows = {kind: measure(archive, of_all(kind)) for kind in kinds}
    names = folds[0]["labels"].tolist()
    for kind in ("linear", config.kind):
        rows[kind]["nodes"] = node_errors(archive, of_all(f"{kind} labels"), names)
    return {
        "model": config.name,
        "folds": FOLDS,
        "spectra": len(prepared),
        "missing": len(missing),
        "rows": rows,
        "paired": {
            kind: paired(archive, of_all(kind), of_all(BASELINE)) for kind in kinds if kind != BASELINE
        },
    }


def _raw(config: ModelConfig, prepared: Sequence[Prepared]) -> Float64:
    """Continuum-normalised pixels of unit length, so that L2 is the cosine; bad pixels count as continuum."""
    shape = Shape.of(config.grid, config.window, False)
    parts = []
    for at in range(0, len(prepared), 256):
        flux, good = stacked(prepared[at : at + 256])
        seen = averaged(flux, good, np.zeros(len(flux)), shape.bin)
        normalised, good = continuum_normalised(*seen, shape.window)
        parts.append(np.where(good, normalised, 0.0))
    pixels = np.concatenate(parts)
    return np.asarray(pixels / np.linalg.norm(pixels, axis=1, keepdims=True).clip(1e-12))


def _fold(
    config: ModelConfig,
    steps: Steps,
    prepared: Sequence[Prepared],
    facts: Sequence[Facts],
    chosen: Int64,
    name: str,
) -> Arrays:
    """All spectra by models trained on the chosen: vectors by kind, `<kind> labels`, names in `labels`."""

    def make() -> Arrays:
        inside = Steps(steps.directory, name, steps.progress)
        front = fit_front(config, inside, prepared, facts, chosen)
        found = front(prepared)
        material = material_of(config, inside, front, prepared, facts, chosen, found.values)
        arrays: Arrays = {
            "raw": _raw(config, prepared),
            "pca": found.values[:, :PCA_SHOWN],
            BASELINE: lda(found.values, material.values, material.keys),
        }
        for kind in ("linear", config.kind):
            head = fitted_head(replace(config, kind=kind), inside, f"head-{kind}", material)
            vectors = head(features(found).astype(np.float64))
            (told,), names = told_labels(head, [vectors])
            arrays |= {kind: vectors[:, head.intrinsic], f"{kind} labels": told, "labels": np.array(names)}
        return arrays

    return steps.step(name, make)


def lda(values: Float64, training: Float64, keys: Sequence[str | None]) -> Float64:
    """Whitened leading components and discriminant axes from repeats: the baseline to beat (N, LDA_AXES)."""
    count = min(LDA_COMPONENTS, training.shape[1])
    centre, spread = training[:, :count].mean(axis=0), training[:, :count].std(axis=0)
    white, known = ((part[:, :count] - centre) / spread for part in (values, training))
    deviation = linear.pair_deviations(known, keys)
    within = deviation.T @ deviation / max(len(deviation), 1)
    within = (1 - LDA_SHRINKAGE) * within + LDA_SHRINKAGE * np.eye(count) * max(within.trace(), 1e-9) / count
    size, vectors = np.linalg.eigh(within)
    axes = vectors[:, :LDA_AXES] / np.sqrt(size[:LDA_AXES])
    return np.asarray(white @ axes)
