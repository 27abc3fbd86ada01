"""A build: collections are read, models trained, spectra embedded, a release written, published.

Every step leaves its output whole in the work directory, named by a hash of all that went into it. So a
build that was killed goes on where it stopped, one with nothing new does nothing, one with a new collection
reads that alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from encoder.collection import NO_READER, Collection, CollectionConfig, Entry
from encoder.infer import Encoder
from encoder.model_config import EXTERNAL, ModelConfig
from encoder.prepare import Prepared
from encoder.spectrum import Facts
from index import manifest
from index.content import Content, Refusal, TrainedModel
from index.external import ExternalError, external_model
from index.facts import read_facts
from index.release import Releases
from index.rows import Embeddings, Seen, Words, seen_table
from index.settings import BuildPlan
from index.shards import SHARD_ROWS, Shard, ShardJob, load, write_shard, write_whole

Int64 = NDArray[np.int64]
Progress = Callable[[str, int, int], None]  # step, done, of how many; 0 where that is not known

BUILD_FORMAT = 4  # changes when the same input gives other work files


class BuildError(Exception):
    """The build as a whole cannot go on; the message says why."""


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
    with _Work.locked(plan.work) as work:
        return _build(plan, work, progress)


def _build(plan: BuildPlan, work: _Work, progress: Progress) -> Report:
    entries = list_entries(plan)
    tables = [read_facts(one) for one in _collections(plan, read=False)]
    done = work.path("report", work_key(plan, entries), ".json")
    if (finished := _finished(done, plan)) is not None:
        return finished
    clock = _Clock()
    with clock("read"):
        read = _read(plan, entries, work, progress)
    seen = _all_seen(read, tables)
    refused = [refusal for one in read for refusal in one.shard.refused]
    refused += [refusal for _, refusals in tables for refusal in refusals]
    models = []
    for model in plan.models:
        if model.kind == EXTERNAL:
            with clock(f"match {model.name}"):
                trained, strangers = _external(model, plan, seen, work)
            refused += strangers
        else:
            with clock(f"train {model.name}"):
                directory = _train(model, read, work, progress)
            with clock(f"embed {model.name}"):
                trained = _embed(model, directory, read, work, progress)
            _tell_unread(trained, sum(len(one.shard.seen) for one in read), len(seen))
        models.append(trained)
    with clock("release"):
        release = _release(plan, seen, models, refused, progress)
    report = _report(release, seen, refused, models, clock.seconds)
    write_whole(done, json.dumps(asdict(report)).encode())
    work.sweep()
    return report


class _Work:
    """The work directory: finished outputs of steps, named by what went into them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._used: set[Path] = set()

    @classmethod
    @contextmanager
    def locked(cls, root: Path) -> Iterator[_Work]:
        """One build at a time; BuildError where another is running."""
        root.mkdir(parents=True, exist_ok=True)
        with (root / ".lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BuildError(f"another build is running in {root}") from None
            yield cls(root)

    def path(self, kind: str, key: str, suffix: str = "") -> Path:
        """Where an output is, or will be; what this build asks for survives its sweep."""
        path = self.root / f"{kind}-{key}{suffix}"
        self._used.add(path)
        return path

    def sweep(self) -> None:
        """Removes what this build has not used."""
        for path in self.root.iterdir():
            if path.is_dir() and path not in self._used:
                shutil.rmtree(path)
            elif path not in self._used and path.name != ".lock":
                path.unlink()


def digest(*parts: object) -> str:
    """Sixteen hexadecimal digits for values that JSON can write."""
    told = json.dumps([BUILD_FORMAT, version("doppel"), *parts], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


class _Clock:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._step, self._since = "", 0.0

    def __call__(self, step: str) -> _Clock:
        self._step, self._since = step, time.monotonic()
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.seconds[self._step] = round(time.monotonic() - self._since, 2)


def _collections(plan: BuildPlan, *, read: bool) -> list[Collection]:
    """Those whose files are read, or those that are tables of facts alone."""
    return [
        Collection.from_config(one, plan.base, plan.archive.authority)
        for one in plan.collections
        if (one.reader != NO_READER) == read
    ]


def _trained_models(plan: BuildPlan) -> tuple[ModelConfig, ...]:
    return tuple(model for model in plan.models if model.kind != EXTERNAL)


def _settings(model: ModelConfig) -> dict[str, Any]:
    """What a model that is trained here depends on."""
    return {name: value for name, value in asdict(model).items() if name not in ("vectors", "scales")}


def list_entries(plan: BuildPlan) -> dict[str, list[Entry]]:
    """Every row of every collection that is read, by its name; a DID in two collections is refused."""
    entries = {one.name: list(one.entries()) for one in _collections(plan, read=True)}
    counts = Counter(entry.facts.publisher_did for listed in entries.values() for entry in listed)
    twice = [did for did, count in counts.items() if count > 1]
    if twice:
        raise BuildError(f"{len(twice)} identifiers are in two collections, among them {twice[0]}")
    return entries


def work_key(plan: BuildPlan, entries: Mapping[str, Sequence[Entry]]) -> str:
    """A hash of the plan and of all facts, sizes of files included: equal key, equal release."""
    archive = (plan.archive.authority, plan.archive.published, plan.publisher)
    sections = [[asdict(one) for one in plan.collections], [asdict(one) for one in plan.models]]
    files = [one.table() for one in _collections(plan, read=False)]
    files += [plan.base / model.vectors for model in plan.models if model.kind == EXTERNAL]
    facts = [digest(*map(asdict, listed)) for listed in entries.values()]
    hashes = [manifest.file_sha256(path) for path in files]
    return digest(manifest.FORMAT_VERSION, archive, sections, facts, hashes)


def _finished(path: Path, plan: BuildPlan) -> Report | None:
    """The report of the same build, where its release still exists."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if told["release"] not in Releases(plan.releases).list():
        return None
    refused = [Refusal(**refusal) for refusal in told["refused"]]
    return Report(**{**told, "new": False, "refused": refused, "seconds": {}})


@dataclass(frozen=True, slots=True)
class _Read:
    """A shard and the key of all that it was made from."""

    key: str
    shard: Shard


def _read(
    plan: BuildPlan, entries: Mapping[str, Sequence[Entry]], work: _Work, progress: Progress
) -> list[_Read]:
    jobs = list(_jobs(plan, entries, work))
    missing = [job for job in jobs if not job.path.exists()]
    total = sum(len(job.entries) for job in jobs)
    done = total - sum(len(job.entries) for job in missing)
    progress("read", done, total)
    for job in _carried_out(missing, plan.archive.workers or os.cpu_count() or 1):
        done += len(job.entries)
        progress("read", done, total)
    return [_Read(job.path.stem, load(job.path)) for job in jobs]


def _jobs(plan: BuildPlan, entries: Mapping[str, Sequence[Entry]], work: _Work) -> Iterator[ShardJob]:
    layouts = [
        (model.name, asdict(model.grid), model.min_coverage, model.collections)
        for model in _trained_models(plan)
    ]
    for config in plan.collections:
        listed = entries.get(config.name, [])
        for start in range(0, len(listed), SHARD_ROWS):
            rows = listed[start : start + SHARD_ROWS]
            key = digest(asdict(config), layouts, *map(asdict, rows))
            path = work.path("shard", key, ".npz")
            yield ShardJob(config, plan.base, plan.archive.authority, rows, _trained_models(plan), path)


def _carried_out(jobs: Sequence[ShardJob], workers: int) -> Iterator[ShardJob]:
    """The jobs as they are done, each by one of some processes."""
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            write_shard(job)
            yield job
        return
    try:
        with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn")) as pool:
            running = {pool.submit(write_shard, job): job for job in jobs}
            for future in as_completed(running):
                future.result()
                yield running[future]
    except BrokenProcessPool as error:
        raise BuildError("a process that read spectra was killed, perhaps for want of memory") from error


def _require_spectra(shards: Sequence[Shard]) -> None:
    if not any(shard.seen for shard in shards):
        reasons = Counter(refusal.reason for shard in shards for refusal in shard.refused)
        for commonest, count in reasons.most_common(1):
            raise BuildError(f"no spectrum could be read; {count} were refused because: {commonest}")
        raise BuildError("no spectrum is read: every collection has the reader none")


def _all_seen(read: Sequence[_Read], tables: Sequence[tuple[pa.Table, Sequence[Refusal]]]) -> pa.Table:
    """Every spectrum by column: first those that were read, then those that are only told of."""
    shards = [one.shard for one in read]
    if not any(len(table) for table, _ in tables):
        _require_spectra(shards)
    seen = pa.concat_tables([seen_table(_seen(shards)), *(table for table, _ in tables)])
    counts = pc.value_counts(seen["publisher_did"])
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if twice:
        raise BuildError(f"{len(twice)} identifiers are in two collections, among them {twice[0]}")
    return seen


def _tell_unread(model: TrainedModel, read: int, total: int) -> None:
    """Spectra without files have no embedding by a model that reads them."""
    reason = "the archive gives no file of this spectrum"
    model.embeddings.reasons.update(dict.fromkeys(range(read, total), reason))


def _external(
    model: ModelConfig, plan: BuildPlan, seen: pa.Table, work: _Work
) -> tuple[TrainedModel, list[Refusal]]:
    directory = work.path("external", model.name)
    shutil.rmtree(directory, ignore_errors=True)
    try:
        return external_model(model, plan.base, seen, directory)
    except ExternalError as error:
        raise BuildError(str(error)) from error


def _seen(shards: Sequence[Shard]) -> list[Seen]:
    return [one for shard in shards for one in shard.seen]


def _firsts(shards: Sequence[Shard]) -> list[int]:
    """For each shard, the place of its first spectrum in the list of all that were seen."""
    return [0, *accumulate(len(shard.seen) for shard in shards)][:-1]


def _places(shards: Sequence[Shard], model: str) -> Int64:
    """Places of the spectra that a model can use, in the list of all that were seen."""
    starts = zip(_firsts(shards), shards, strict=True)
    return np.array([first + place for first, shard in starts for place in shard.models[model].of], np.int64)


def _reasons(shards: Sequence[Shard], model: str) -> dict[int, str]:
    """Why a model can not use the others, by their places."""
    starts = zip(_firsts(shards), shards, strict=True)
    return {
        first + place: reason
        for first, shard in starts
        for place, reason in shard.models[model].reasons.items()
    }


def _train(model: ModelConfig, read: Sequence[_Read], work: _Work, progress: Progress) -> Path:
    """The directory of the trained model; it is there whole or not at all."""
    directory = work.path(f"model-{model.name}", digest(_settings(model), [one.key for one in read]))
    if directory.exists():
        return directory
    shards = [one.shard for one in read]
    prepared = [one for shard in shards for one in shard.models[model.name].prepared]
    if not prepared:
        commonest = Counter(_reasons(shards, model.name).values()).most_common(1)[0][0]
        raise BuildError(f"model {model.name}: no spectrum can be embedded; most often: {commonest}")
    unfinished = work.path(".unfinished", directory.name)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    _trained(model, shards, prepared, unfinished, work.path("steps", model.name), progress)
    unfinished.replace(directory)
    return directory


def _trained(
    model: ModelConfig,
    shards: Sequence[Shard],
    prepared: Sequence[Prepared],
    directory: Path,
    steps: Path,
    progress: Progress,
) -> None:
    """Only here and in `evaluate` the index meets the trainer, which needs torch; the service does not."""
    with _training(model):
        from encoder.training.train import train

        train(
            model,
            prepared,
            _facts(model, shards),
            directory=directory,
            workdir=steps,
            progress=lambda what: progress(f"train {model.name}: {what}", 0, 0),
            missing=_missing(model, shards),
        )


@contextmanager
def _training(model: ModelConfig) -> Iterator[None]:
    """What may be wrong with training, as a BuildError."""
    try:
        from encoder.training.train import TrainingError
    except ModuleNotFoundError as error:
        raise BuildError(f"training needs {error.name}: pip install 'doppel[encoder]'") from error
    try:
        yield
    except TrainingError as error:
        raise BuildError(f"model {model.name}: {error}") from error


def _facts(model: ModelConfig, shards: Sequence[Shard]) -> list[Facts]:
    seen = _seen(shards)
    return [seen[place].facts for place in _places(shards, model.name).tolist()]


def _missing(model: ModelConfig, shards: Sequence[Shard]) -> list[Facts]:
    """Spectra that the model should hold and that its grid does not suit."""
    seen = _seen(shards)
    return [seen[place].facts for place in _reasons(shards, model.name) if _wanted(model, seen[place].facts)]


def evaluate(
    plan: BuildPlan, names: Sequence[str] = (), progress: Progress = lambda step, done, total: None
) -> dict[str, dict[str, Any]]:
    """Figures of models (all, or those of these names) beside the baselines, by five folds, per model.

    Spectra that can not be read or embedded count as misses. Steps are kept, as those of a build are.
    """
    with _Work.locked(plan.work) as work:
        entries = list_entries(plan)
        shards = [one.shard for one in _read(plan, entries, work, progress)]
        _require_spectra(shards)
        refused = {(one.collection, one.spectrum_id) for shard in shards for one in shard.refused}
        facts = [entry.facts for listed in entries.values() for entry in listed]
        unread = [one for one in facts if (one.collection, one.spectrum_id) in refused]
        return {
            model.name: _evaluated(model, shards, unread, work.path("folds", model.name), progress)
            for model in _trained_models(plan)
            if not names or model.name in names
        }


def _evaluated(
    model: ModelConfig, shards: Sequence[Shard], unread: Sequence[Facts], steps: Path, progress: Progress
) -> dict[str, Any]:
    with _training(model):
        from encoder.training import folds

        return folds.evaluate(
            model,
            [one for shard in shards for one in shard.models[model.name].prepared],
            _facts(model, shards),
            workdir=steps,
            progress=lambda what: progress(f"evaluate {model.name}: {what}", 0, 0),
            missing=[*_missing(model, shards), *(one for one in unread if _wanted(model, one))],
        )


def _wanted(model: ModelConfig, facts: Facts) -> bool:
    return not model.collections or facts.collection in model.collections


def _embed(
    model: ModelConfig, directory: Path, read: Sequence[_Read], work: _Work, progress: Progress
) -> TrainedModel:
    encoder = Encoder.open(directory)
    shards = [one.shard for one in read]
    parts = []
    for number, one in enumerate(read, start=1):
        if one.shard.models[model.name].of:
            parts.append(
                _encoded(
                    encoder, one, model.name, work.path("embedded", digest(directory.name, one.key), ".npz")
                )
            )
        progress(f"embed {model.name}", number, len(read))
    embeddings = _embeddings(_places(shards, model.name), parts, _reasons(shards, model.name))
    return TrainedModel(directory, encoder.recipe, embeddings)


def _encoded(encoder: Encoder, read: _Read, model: str, path: Path) -> Mapping[str, NDArray[np.float32]]:
    """The arrays of `Encoded` for one shard, kept in a file."""
    if not path.exists():
        content = io.BytesIO()
        np.savez(content, **asdict(encoder.encode(read.shard.models[model].prepared)))
        write_whole(path, content.getvalue())
    with np.load(path) as arrays:
        return dict(arrays)


def _embeddings(
    places: Int64, parts: Sequence[Mapping[str, NDArray[np.float32]]], reasons: dict[int, str]
) -> Embeddings:
    def joined(name: str) -> NDArray[np.float32]:
        return np.concatenate([part[name] for part in parts])

    return Embeddings(
        of=places,
        vectors=joined("vectors"),
        sigmas=joined("sigmas"),
        labels=joined("labels"),
        lo68=joined("label_lo68"),
        hi68=joined("label_hi68"),
        lo90=joined("label_lo90"),
        hi90=joined("label_hi90"),
        anomaly=joined("anomaly"),
        reasons=reasons,
    )


def _release(
    plan: BuildPlan,
    seen: pa.Table,
    models: Sequence[TrainedModel],
    refused: Sequence[Refusal],
    progress: Progress,
) -> str:
    progress("release", 0, 1)
    content = Content(
        authority=plan.archive.authority,
        words={config.name: _words(config, plan) for config in plan.collections},
        seen=seen,
        models=models,
        refused=refused,
        collections=[asdict(config) for config in plan.collections],
        base=plan.base,
    )
    releases = Releases(plan.releases, plan.database)
    release = releases.write(content)
    releases.publish(release)
    progress("release", 1, 1)
    return release


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
