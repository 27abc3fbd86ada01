"""Spectra that are new in the collections, and spectra to be withdrawn: a release made of the published one.

Models are those of the published release: nothing is trained, and what it holds is not read again. The next
build merges all; what is in the catalogues then is in its release.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from encoder.collection import Entry
from encoder.model_config import EXTERNAL, ModelConfig
from encoder.recipe import GridSpec, Recipe
from index.build import Report, all_seen, content_of, tell_unread
from index.content import Refusal, TrainedModel
from index.embed import embed
from index.external import ExternalError, more_vectors
from index.facts import read_facts
from index.reading import Spectra, read
from index.release import Model, OpenRelease
from index.releases import Releases
from index.rows import SEEN_SCHEMA, nothing
from index.settings import BuildPlan
from index.sources import collections_of, list_entries
from index.work import BuildError, Clock, Progress, Work
from registry_metadata.tables import flux_name


@dataclass(frozen=True, slots=True)
class Removal:
    """What a removal did."""

    release: str
    removed: Sequence[str]  # identifiers
    left: int  # spectra


def append(plan: BuildPlan, progress: Progress = lambda step, done, total: None) -> Report:
    """Publishes the release with those spectra of the collections that it has not; BuildError else.

    Spectra that it has are left as they are; those whose file has changed since are refused by name.
    """
    with _published(plan) as (work, releases, release):
        _require_same(plan, release)
        clock = Clock()
        with clock("list"):
            entries, changed = _new_entries(plan, release)
            tables = [read_facts(one, release) for one in collections_of(plan, read=False)]
        with clock("read"):
            spectra = read(plan, entries, work, progress)
        seen = all_seen(spectra, tables)
        refused = [*spectra.refused, *(refusal for _, refusals in tables for refusal in refusals)]
        if not len(seen):
            return Report(release.id, False, {}, [*refused, *changed], {})
        with clock("embed"):
            models = [
                _model(one, plan, release.models[one.name], spectra, seen, work, progress)
                for one in plan.models
            ]
        with clock("release"):
            name = releases.change(release.id, content_of(plan, seen, models, refused))
            releases.publish(name)
    return Report(
        release=name,
        new=True,
        read=dict(Counter(seen["collection"].to_pylist())),
        refused=[*refused, *changed],
        embedded={model.recipe.name: len(model.embeddings.of) for model in models},
        seconds=clock.seconds,
    )


def remove(plan: BuildPlan, dids: Sequence[str]) -> Removal:
    """Publishes the release without these spectra; BuildError where one of them is not in it."""
    with _published(plan) as (_, releases, release):
        _require_same(plan, release)
        rows = release.rows_of(dids)
        if strange := [did for did, row in zip(dids, rows, strict=True) if row is None]:
            raise BuildError(
                f"{len(strange)} of {len(dids)} spectra are not in release {release.id}, among them"
                f" {strange[0]}; nothing was removed"
            )
        gone = np.unique(np.array(rows, np.int64))
        if len(gone) == len(release):
            raise BuildError(f"these are all {len(gone)} spectra of release {release.id}; one must stay")
        models = [
            TrainedModel(model.directory, model.recipe, nothing(model.recipe, {}))
            for model in release.models.values()
        ]
        content = content_of(plan, SEEN_SCHEMA.empty_table(), models, [])
        name = releases.change(release.id, content, gone)
        releases.publish(name)
        return Removal(name, release.dids_of(gone).to_pylist(), len(release) - len(gone))


@contextmanager
def _published(plan: BuildPlan) -> Iterator[tuple[Work, Releases, OpenRelease]]:
    """The published release, open, while nobody else builds or changes it."""
    releases = Releases(plan.releases, plan.database, plan.vectors)
    with Work.locked(plan.work) as work, closing(OpenRelease.open(releases.current())) as release:
        yield work, releases, release


def _require_same(plan: BuildPlan, release: OpenRelease) -> None:
    """BuildError where the configuration has come so far from the release that only a build can follow."""
    reasons = [*_other_models(plan, release), *_other_collections(plan, release)]
    if reasons:
        raise BuildError(f"{reasons[0]}; doppel build makes a release of the configuration as it is")


def _other_models(plan: BuildPlan, release: OpenRelease) -> Iterator[str]:
    configured, published = {model.name: model for model in plan.models}, release.models
    for name in sorted(configured.keys() ^ published.keys()):
        here, there = ("the configuration", "the release")[:: 1 if name in configured else -1]
        yield f"{here} has a model {name}, {there} has none"
    for name in sorted(configured.keys() & published.keys()):
        yield from _other_recipe(configured[name], published[name].recipe)
        if configured[name].publish_flux != (flux_name(name) in release.tables):
            here, there = ("the configuration", "the release")[:: 1 if configured[name].publish_flux else -1]
            yield f"{here} publishes the flux of model {name}, {there} does not"


def _other_recipe(model: ModelConfig, recipe: Recipe) -> Iterator[str]:
    if model.kind != recipe.kind:
        yield f"model {model.name} is {model.kind} in the configuration and {recipe.kind} in the release"
    elif model.kind != EXTERNAL and (model.grid, model.min_coverage) != (recipe.grid, recipe.min_coverage):
        here, there = _words(model.grid, model.min_coverage), _words(recipe.grid, recipe.min_coverage)
        yield f"model {model.name} has {here} in the configuration and {there} in the release"


def _words(grid: GridSpec, coverage: float) -> str:
    return f"{grid.pixels} pixels of {grid.start:g}–{grid.stop:g} Å, {coverage:.0%} of them filled,"


def _other_collections(plan: BuildPlan, release: OpenRelease) -> Iterator[str]:
    if plan.archive.authority != release.authority:
        yield (
            f"[archive] authority is {plan.archive.authority} in the configuration"
            f" and {release.authority} in the release"
        )
    for name in sorted(release.collections.keys() - {one.name for one in plan.collections}):
        yield f"the release has a collection {name}, the configuration has none"


def _new_entries(plan: BuildPlan, release: OpenRelease) -> tuple[dict[str, list[Entry]], list[Refusal]]:
    """Rows that the release has not, by collection; and refusals of those whose file is another now."""
    sizes = _sizes(release) if collections_of(plan, read=True) else {}
    listed = list_entries(plan, sizes)
    new: dict[str, list[Entry]] = {name: [] for name in listed}
    changed = []
    for name, entries in listed.items():
        for entry in entries:
            did = entry.facts.publisher_did
            if did not in sizes:
                new[name].append(entry)
            elif not entry.refused and entry.facts.size != sizes[did]:
                changed.append(_changed(entry, sizes[did]))
    return new, changed


def _sizes(release: OpenRelease) -> dict[str, int | None]:
    """Bytes of the original file of every spectrum, by its identifier."""
    held = release.engine.table("SELECT publisher_did, size FROM release.internal.facts")
    return dict(zip(*(column.to_pylist() for column in held.columns), strict=True))


def _changed(entry: Entry, size: int | None) -> Refusal:
    facts = entry.facts
    reason = f"the release has it with a file of {size} bytes, now there are {facts.size}; remove it first"
    return Refusal(facts.collection, facts.spectrum_id, facts.path, reason)


def _model(
    config: ModelConfig,
    plan: BuildPlan,
    published: Model,
    spectra: Spectra,
    seen: pa.Table,
    work: Work,
    progress: Progress,
) -> TrainedModel:
    """A published model with what it makes of the new spectra."""
    if config.kind == EXTERNAL:
        try:
            embeddings = more_vectors(config, plan.base, seen, published.recipe)
        except ExternalError as error:
            raise BuildError(str(error)) from error
        return TrainedModel(published.directory, published.recipe, embeddings)
    model = embed(config.name, published.directory, spectra, work, progress)
    tell_unread(model, range(len(spectra.seen), len(seen)))
    return model
