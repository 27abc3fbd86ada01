"""A build: collections are read, models trained, spectra embedded, a release written, published.

Every step leaves its output whole in the work directory, named by a hash of all that went into it. So a
build that was killed goes on where it stopped, one with nothing new does nothing, one with a new collection
reads that alone.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from encoder.collection import CollectionConfig
from encoder.model_config import EXTERNAL, ModelConfig
from index.content import Content, Refusal, TrainedModel
from index.embed import embed
from index.external import ExternalError, external_model
from index.facts import read_facts
from index.manifest import Manifest
from index.metric import parse_space
from index.reading import Spectra, read
from index.releases import Releases
from index.rows import Words, seen_table
from index.settings import BuildPlan
from index.sources import collections_of, list_entries, require_different, work_key
from index.training import train
from index.work import BuildError, Clock, Progress, Work, write_whole

Tables = Sequence[tuple[pa.Table, Sequence[Refusal]]]  # of facts alone, and what was refused of them


@dataclass(frozen=True, slots=True)
class Report:
    """What a build did."""

    release: str
    new: bool  # whether anything was done
    read: Mapping[str, int]  # spectra, by collection
    refused: Sequence[Refusal]
    embedded: Mapping[str, int]  # spectra, by model
    seconds: Mapping[str, float] = field(default_factory=dict)  # by step


def build(plan: BuildPlan, progress: Progress = lambda step, done, total: None) -> Report:
    """Builds and publishes the release of a plan; BuildError or CollectionError where that cannot be done."""
    with Work.locked(plan.work) as work:
        return _build(plan, work, progress)


def _build(plan: BuildPlan, work: Work, progress: Progress) -> Report:
    entries = list_entries(plan)
    tables = [read_facts(one) for one in collections_of(plan, read=False)]
    done = work.path("report", work_key(plan, entries), ".json")
    if (finished := _finished(done, plan)) is not None:
        return finished
    clock = Clock()
    with clock("read"):
        spectra = read(plan, entries, work, progress)
    if not any(len(table) for table, _ in tables):
        spectra.require_any()
    seen = all_seen(spectra, tables)
    refused = [*spectra.refused, *(refusal for _, refusals in tables for refusal in refusals)]
    models = []
    for config in plan.models:
        model, strangers = _model(config, plan, spectra, seen, work, clock, progress)
        models.append(model)
        refused += strangers
    with clock("release"):
        release = _release(plan, seen, models, refused, progress)
    report = _report(release, seen, refused, models, clock.seconds)
    write_whole(done, json.dumps(asdict(report)).encode())
    work.sweep()
    return report


def _finished(path: Path, plan: BuildPlan) -> Report | None:
    """The report of the same build, where its release still exists and the published one was built whole."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    releases = Releases(plan.releases)
    if told["release"] not in releases.list() or Manifest.read(releases.current()).changed:
        return None
    refused = [Refusal(**refusal) for refusal in told["refused"]]
    return Report(**{**told, "new": False, "refused": refused, "seconds": {}})


def all_seen(spectra: Spectra, tables: Tables) -> pa.Table:
    """Every spectrum by column: first those that were read, then those that are only told of."""
    seen = pa.concat_tables([seen_table(spectra.seen), *(table for table, _ in tables)])
    counts = pc.value_counts(seen["publisher_did"])
    require_different(counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist())
    return seen


def _model(
    config: ModelConfig,
    plan: BuildPlan,
    spectra: Spectra,
    seen: pa.Table,
    work: Work,
    clock: Clock,
    progress: Progress,
) -> tuple[TrainedModel, list[Refusal]]:
    """A model with what it makes of the spectra, and vectors that belong to none of them."""
    if config.kind == EXTERNAL:
        with clock(f"match {config.name}"):
            return _external(config, plan, seen, work)
    with clock(f"train {config.name}"):
        directory = train(config, spectra, work, progress)
    with clock(f"embed {config.name}"):
        model = embed(config.name, directory, spectra, work, progress)
    tell_unread(model, range(len(spectra.seen), len(seen)))
    return model, []


def tell_unread(model: TrainedModel, places: Iterable[int]) -> None:
    """Spectra without files have no embedding by a model that reads them."""
    model.embeddings.reasons.update(dict.fromkeys(places, "the archive gives no file of this spectrum"))


def _external(
    config: ModelConfig, plan: BuildPlan, seen: pa.Table, work: Work
) -> tuple[TrainedModel, list[Refusal]]:
    directory = work.path("external", config.name)
    shutil.rmtree(directory, ignore_errors=True)
    try:
        return external_model(config, plan.base, seen, directory)
    except ExternalError as error:
        raise BuildError(str(error)) from error


def _release(
    plan: BuildPlan,
    seen: pa.Table,
    models: Sequence[TrainedModel],
    refused: Sequence[Refusal],
    progress: Progress,
) -> str:
    progress("release", 0, 1)
    content = content_of(plan, seen, models, refused)
    releases = Releases(plan.releases, plan.database, plan.vectors)
    release = releases.write(content)
    releases.publish(release)
    progress("release", 1, 1)
    return release


def content_of(
    plan: BuildPlan, seen: pa.Table, models: Sequence[TrainedModel], refused: Sequence[Refusal]
) -> Content:
    """What a release of the plan's collections is made of; BuildError where a space has no meaning."""
    lists = {config.name: config.lists for config in plan.models if config.lists}
    for model in models:
        for space in lists.get(model.recipe.name, ()):
            try:
                parse_space(space, model.recipe)
            except ValueError as error:
                raise BuildError(f"[[model]] {model.recipe.name} lists {space!r}: {error}") from error
    return Content(
        authority=plan.archive.authority,
        words={config.name: _words(config, plan) for config in plan.collections},
        seen=seen,
        models=models,
        refused=refused,
        collections=[asdict(config) for config in plan.collections],
        base=plan.base,
        flux=[config.name for config in plan.models if config.publish_flux],
        lists=lists,
    )


def _words(config: CollectionConfig, plan: BuildPlan) -> Words:
    return Words(
        publisher=config.publisher or plan.publisher,
        data_source=config.data_source,
        creator=config.creator or None,
        published=plan.archive.published or None,
        reference=config.reference or None,
    )


def _report(
    release: str,
    seen: pa.Table,
    refused: Sequence[Refusal],
    models: Sequence[TrainedModel],
    seconds: Mapping[str, float],
) -> Report:
    return Report(
        release=release,
        new=True,
        read=dict(Counter(seen["collection"].to_pylist())),
        refused=refused,
        embedded={model.recipe.name: len(model.embeddings.of) for model in models},
        seconds=seconds,
    )
