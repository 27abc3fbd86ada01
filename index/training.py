"""Models of a build: the only meeting with the trainer, which needs torch; the running service needs none."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from encoder.model_config import ModelConfig
from encoder.spectrum import Facts
from index.reading import Spectra, read, wanted
from index.settings import BuildPlan
from index.sources import list_entries, trained_models
from index.work import BuildError, Progress, Work, digest


def train(model: ModelConfig, spectra: Spectra, work: Work, progress: Progress) -> Path:
    """The directory of the trained model; it is there whole or not at all."""
    directory = work.path(f"model-{model.name}", digest(model.training, spectra.keys))
    if directory.exists():
        return directory
    if not spectra.prepared(model.name):
        commonest = Counter(spectra.reasons(model.name).values()).most_common(1)[0][0]
        raise BuildError(f"model {model.name}: no spectrum can be embedded; most often: {commonest}")
    unfinished = work.path(".unfinished", directory.name)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    with _trainer(model):
        from encoder.training.train import train

        train(
            model,
            spectra.prepared(model.name),
            spectra.facts(model.name),
            directory=unfinished,
            workdir=work.path("steps", model.name),
            progress=lambda what: progress(f"train {model.name}: {what}", 0, 0),
            missing=spectra.missing(model),
        )
    unfinished.replace(directory)
    return directory


def evaluate(
    plan: BuildPlan, names: Sequence[str] = (), progress: Progress = lambda step, done, total: None
) -> dict[str, dict[str, Any]]:
    """Figures of models (all, or those of these names) beside the baselines, by five folds, per model.

    Spectra that can not be read or embedded count as misses. Steps are kept, as those of a build are.
    """
    with Work.locked(plan.work) as work:
        entries = list_entries(plan)
        spectra = read(plan, entries, work, progress)
        spectra.require_any()
        refused = {(one.collection, one.spectrum_id) for one in spectra.refused}
        facts = [entry.facts for listed in entries.values() for entry in listed]
        unread = [one for one in facts if (one.collection, one.spectrum_id) in refused]
        return {
            model.name: _evaluated(model, spectra, unread, work.path("folds", model.name), progress)
            for model in trained_models(plan)
            if not names or model.name in names
        }


def _evaluated(
    model: ModelConfig, spectra: Spectra, unread: Sequence[Facts], steps: Path, progress: Progress
) -> dict[str, Any]:
    with _trainer(model):
        from encoder.training import folds

        return folds.evaluate(
            model,
            spectra.prepared(model.name),
            spectra.facts(model.name),
            workdir=steps,
            progress=lambda what: progress(f"evaluate {model.name}: {what}", 0, 0),
            missing=[*spectra.missing(model), *(one for one in unread if wanted(model, one))],
        )


@contextmanager
def _trainer(model: ModelConfig) -> Iterator[None]:
    """What may be wrong with training, as a BuildError."""
    try:
        from encoder.training.train import TrainingError
    except ModuleNotFoundError as error:
        raise BuildError(f"training needs {error.name}: pip install 'doppel[encoder]'") from error
    try:
        yield
    except TrainingError as error:
        raise BuildError(f"model {model.name}: {error}") from error
