"""What a release is made of, and its files: catalogue, vectors, models, what was refused, manifest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from encoder.recipe import Recipe
from index import identifiers, manifest, rows
from index.catalogue import as_held, tap_schema
from index.engines.duckdb_catalogue import write_catalogue
from index.metric import parse_space
from index.vectors import VectorSet
from registry_metadata import tables as published
from registry_metadata.columns import Table, to_json

FACTS = "internal.facts"
CATALOGUE = "catalogue.duckdb"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row of a catalogue that could not be used, and why."""

    collection: str
    spectrum_id: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model's directory, its recipe, and what it made of the spectra."""

    directory: Path
    recipe: Recipe
    embeddings: rows.Embeddings


@dataclass(frozen=True, slots=True)
class Content:
    """All that a release is made of. `collections` are configuration tables with paths below `base`; `words`
    are what the collections say of themselves, by name."""

    authority: str
    words: Mapping[str, rows.Words]
    seen: Sequence[rows.Seen] | pa.Table  # or the table that `rows.seen_table` makes of them
    models: Sequence[TrainedModel]
    refused: Sequence[Refusal] = ()
    collections: Sequence[Mapping[str, Any]] = ()
    base: Path = Path()
    extra: Sequence[tuple[Table, pa.Table]] = ()  # tables of the archive's own, published as they are


def write_files(directory: Path, root: Path, content: Content) -> str:
    """Everything of a release into an empty directory that will stand below `root`; its id."""
    content = in_sky_order(content)
    counted = [(model, len(model.embeddings.of)) for model in content.models]
    tables = release_tables([model.recipe for model in content.models])
    arrow = spectra_tables(tables, content) | model_tables(tables, counted)
    arrow |= {table.name: held for table, held in content.extra}
    tables += tuple(table for table, _ in content.extra)
    tables = tuple(as_held(table, arrow[table.name]) if table.name in arrow else table for table in tables)
    arrow |= tap_schema(tables)
    write_catalogue(directory / CATALOGUE, tables, arrow)
    (directory / "tables.json").write_text(to_json(tables), encoding="utf-8")
    write_words(directory, root, content, content.refused)
    for model in content.models:
        shutil.copytree(model.directory, directory / "models" / model.recipe.name)
    write_part(directory, content)
    contents = table_hashes(arrow) | vector_hashes(content)
    for name in (f"models/{model.recipe.name}/recipe.json" for model in content.models):
        contents[name] = manifest.file_sha256(directory / name)
    told = manifest.Manifest.of(
        contents,
        files=manifest.record_files(directory),
        rows={name: table.num_rows for name, table in arrow.items()},
        models={model.recipe.name: model.recipe.model_id for model in content.models},
    )
    manifest.write_manifest(directory, told)
    return told.release


def write_words(directory: Path, root: Path, content: Content, refused: Sequence[Refusal]) -> None:
    """Where the originals are, and what was refused."""
    (directory / "collections.json").write_text(_collections_json(content, root), encoding="utf-8")
    (directory / "refused.json").write_text(
        json.dumps([asdict(refusal) for refusal in refused], indent=1, ensure_ascii=False),
        encoding="utf-8",
    )


def in_sky_order(content: Content) -> Content:
    """The same content, its spectra by column, in the order of their row numbers."""
    seen = as_table(content.seen)
    order = rows.sky_order(seen)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    models = [replace(model, embeddings=_moved(model.embeddings, place)) for model in content.models]
    return replace(content, models=models, seen=seen.take(pa.array(order)).combine_chunks())


def as_table(seen: Sequence[rows.Seen] | pa.Table) -> pa.Table:
    return seen if isinstance(seen, pa.Table) else rows.seen_table(seen)


def _moved(embeddings: rows.Embeddings, place: NDArray[np.int64]) -> rows.Embeddings:
    """Embeddings under new row numbers, in their order."""
    of = place[embeddings.of]
    order = np.argsort(of)
    arrays = ("vectors", "sigmas", "labels", "lo68", "hi68", "lo90", "hi90", "anomaly")
    return replace(
        embeddings,
        of=of[order],
        reasons={int(place[old]): reason for old, reason in embeddings.reasons.items()},
        **{name: getattr(embeddings, name)[order] for name in arrays},
    )


def release_tables(recipes: Sequence[Recipe]) -> tuple[Table, ...]:
    """What a release with these models publishes; the models' tables stand after doppel.spectra."""
    first, *others = published.tables()
    models = [published.model_table(recipe.name, recipe.labels, recipe.latents) for recipe in recipes]
    return (first, *models, *others)


def spectra_tables(tables: Sequence[Table], content: Content, first: int = 0) -> dict[str, pa.Table]:
    """Tables whose rows are the spectra of `content`, in the order of their row numbers, from `first` on."""
    described, seen = {table.name: table for table in tables}, as_table(content.seen)
    given = rows.numbered(seen, content.words, first)
    arrow = {
        "doppel.spectra": rows.spectra_rows(described["doppel.spectra"], given),
        "ivoa.obscore": rows.obscore_rows(described["ivoa.obscore"], given),
        FACTS: rows.facts_rows(given, {m.recipe.name: m.embeddings.reasons for m in content.models}),
    }
    for model in content.models:
        name = f"doppel.{model.recipe.name}"
        arrow[name] = rows.model_rows(
            described[name], model.recipe, seen["publisher_did"], model.embeddings, first
        )
    return arrow


def model_tables(tables: Sequence[Table], counted: Sequence[tuple[TrainedModel, int]]) -> dict[str, pa.Table]:
    """What is published of the models; beside each how many spectra it embeds."""
    described = {table.name: table for table in tables}
    told = [(model.recipe, count, _report_text(model.directory)) for model, count in counted]
    recipes = [model.recipe for model, _ in counted]
    return {
        "doppel.models": rows.models_rows(described["doppel.models"], told),
        "doppel.latents": rows.latents_rows(described["doppel.latents"], recipes),
    }


def _report_text(directory: Path) -> str:
    """The report without what is long and for machines only."""
    report = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    return json.dumps(
        {name: value for name, value in report.items() if name != "repeat_distances"}, ensure_ascii=False
    )


def _collections_json(content: Content, root: Path) -> str:
    """Where the originals are, from the directory of the releases on, so that both can move together."""
    base = os.path.relpath(content.base, root)
    return json.dumps(
        {"base": base, "authority": content.authority, "collections": list(content.collections)},
        indent=1,
        ensure_ascii=False,
    )


def write_part(directory: Path, content: Content, first: int = 0) -> None:
    """Identifiers and vectors of spectra that have row numbers from `first` on."""
    rank = identifiers.write(directory / identifiers.FILE, as_table(content.seen)["publisher_did"])
    for model in content.models:
        of = model.embeddings.of
        if len(of):
            weights = parse_space(model.recipe.default_preset, model.recipe)
            target = directory / "vectors" / model.recipe.name
            VectorSet.build(target, of + first, model.embeddings.vectors, rank[of], weights)


def table_hashes(arrow: Mapping[str, pa.Table]) -> dict[str, str]:
    """Of what tables say, by name; a report's timings do not make another release."""
    return {
        name: manifest.content_hash(table.drop_columns(["report"]) if name == "doppel.models" else table)
        for name, table in arrow.items()
    }


def vector_hashes(content: Content) -> dict[str, str]:
    return {
        f"vectors/{model.recipe.name}": manifest.content_hash(
            pa.table({"row": model.embeddings.of, "vector": rows.vector_lists(model.embeddings.vectors)})
        )
        for model in content.models
    }
