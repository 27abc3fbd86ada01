"""Shards of a build: spectra read once and laid out on every model's grid, a few hundred to a file."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from encoder.collection import Collection, CollectionConfig, Entry
from encoder.model_config import ModelConfig
from encoder.prepare import Grid, Prepared, prepare, require_coverage
from encoder.spectrum import Facts, RefusedSpectrum, Spectrum
from index.content import Refusal
from index.rows import Seen
from index.work import write_whole

SHARD_ROWS = 256


@dataclass(slots=True)
class OnGrid:
    """What one model can use of a shard: places in its list of spectra seen, and reasons for the others."""

    of: list[int] = field(default_factory=list)
    prepared: list[Prepared] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Shard:
    """Some rows of one collection after reading."""

    seen: list[Seen] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    models: dict[str, OnGrid] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShardJob:
    """All that a process needs to read a shard: rows of one collection."""

    config: CollectionConfig
    base: Path
    authority: str
    entries: Sequence[Entry]
    models: Sequence[ModelConfig]
    path: Path


def write_shard(job: ShardJob) -> None:
    """Reads the job's rows and writes the shard, all or nothing."""
    save(read_shard(job), job.path)


def read_shard(job: ShardJob) -> Shard:
    """Every row is read, or refused with its reason."""
    collection = Collection.from_config(job.config, job.base, job.authority)
    shard = Shard(models={model.name: OnGrid() for model in job.models})
    grids = {model.name: Grid(model.grid) for model in job.models}
    for entry in job.entries:
        try:
            spectrum = _loaded(collection, entry)
        except RefusedSpectrum as refusal:
            facts = entry.facts
            shard.refused.append(Refusal(facts.collection, facts.spectrum_id, facts.path, str(refusal)))
            continue
        place = len(shard.seen)
        shard.seen.append(Seen(spectrum.facts, spectrum.wave.size, spectrum.em_min, spectrum.em_max))
        for model in job.models:
            _lay_out(spectrum, place, model, grids[model.name], shard.models[model.name])
    return shard


def _loaded(collection: Collection, entry: Entry) -> Spectrum:
    spectrum = collection.load(entry)
    if spectrum.mask.all():
        raise RefusedSpectrum("no valid pixel")
    return spectrum


def _lay_out(spectrum: Spectrum, place: int, model: ModelConfig, grid: Grid, on_grid: OnGrid) -> None:
    name = spectrum.facts.collection
    if model.collections and name not in model.collections:
        on_grid.reasons[place] = f"{name} is not among the collections of {model.name}"
        return
    try:
        prepared = prepare(spectrum, grid)
        require_coverage(prepared, grid, model.min_coverage)
    except RefusedSpectrum as refusal:
        on_grid.reasons[place] = str(refusal)
        return
    on_grid.of.append(place)
    on_grid.prepared.append(prepared)


def save(shard: Shard, path: Path) -> None:
    """One npz file, complete or not there."""
    words = {
        "seen": [asdict(one) for one in shard.seen],
        "refused": [asdict(one) for one in shard.refused],
        "models": {name: {"of": one.of, "reasons": one.reasons} for name, one in shard.models.items()},
    }
    arrays = {"words": np.frombuffer(json.dumps(words).encode(), np.uint8)}
    for name, one in shard.models.items():
        if one.prepared:
            for part in ("flux", "ivar", "mask", "coverage", "scale"):
                arrays[f"{name}.{part}"] = np.array([getattr(prepared, part) for prepared in one.prepared])
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    write_whole(path, content.getvalue())


def load(path: Path) -> Shard:
    """The shard in a file that `save` wrote."""
    with np.load(path) as arrays:
        words = json.loads(arrays["words"].tobytes())
        models = {name: _on_grid(name, told, arrays) for name, told in words["models"].items()}
    seen = [Seen(**{**one, "facts": Facts(**one["facts"])}) for one in words["seen"]]
    return Shard(seen, [Refusal(**one) for one in words["refused"]], models)


def _on_grid(name: str, told: Mapping[str, dict[str, str]], arrays: Mapping[str, np.ndarray]) -> OnGrid:
    of = [int(place) for place in told["of"]]
    reasons = {int(place): reason for place, reason in told["reasons"].items()}
    if not of:
        return OnGrid(reasons=reasons)
    parts = (arrays[f"{name}.{part}"] for part in ("flux", "ivar", "mask", "coverage", "scale"))
    prepared = [
        Prepared(flux, ivar, mask, float(coverage), float(scale))
        for flux, ivar, mask, coverage, scale in zip(*parts, strict=True)
    ]
    return OnGrid(of, prepared, reasons)
