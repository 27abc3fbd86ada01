"""What a release is made of, and its files: catalogue, vectors, models, what was refused, manifest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from encoder.prepare import Prepared
from encoder.recipe import Recipe
from index import identifiers, manifest, rows
from index.catalogue import arrow_schema, as_held, tap_schema
from index.engines.duckdb_catalogue import put_tables, written
from index.engines.duckdb_functions import write_functions
from index.flux import flux_rows, grids_rows
from index.metric import parse_space
from index.strategy import DEFAULT, Limits
from index.stream import Stream, beyond_ascii, in_slices
from index.vectors import VectorSet
from registry_metadata import tables as published
from registry_metadata.columns import Table, to_json

Rows: TypeAlias = pa.Table | Stream
FACTS = "internal.facts"
CATALOGUE = "catalogue.duckdb"
TABLES = "tables.json"


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
    prepared: Iterable[tuple[int, Prepared]] = ()  # what it was made of, with places as those of embeddings


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
    flux: Sequence[str] = ()  # models whose prepared spectra are published
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)  # spaces that have their own, by model


def write_files(directory: Path, root: Path, content: Content) -> str:
    """Everything of a release into an empty directory that will stand below `root`; its id."""
    content = in_sky_order(content)
    counted = [(model, len(model.embeddings.of)) for model in content.models]
    tables = release_tables([model.recipe for model in content.models], content.flux)
    write_functions(directory)
    tables, arrow = _write_rows(directory, content, tables, counted)
    (directory / TABLES).write_text(to_json(tables), encoding="utf-8")
    write_words(directory, root, content, content.refused)
    for model in content.models:
        shutil.copytree(model.directory, directory / "models" / model.recipe.name)
    contents = table_hashes(arrow) | vector_hashes(content)
    for name in (TABLES, *(f"models/{model.recipe.name}/recipe.json" for model in content.models)):
        contents[name] = manifest.file_sha256(directory / name)
    contents["collections"] = manifest.words_hash([content.authority, *content.collections])
    told = manifest.Manifest.of(
        contents,
        files=manifest.record_files(directory),
        rows={name: table.num_rows for name, table in arrow.items()},
        models={model.recipe.name: model.recipe.model_id for model in content.models},
    )
    manifest.write_manifest(directory, told)
    return told.release


def _write_rows(
    directory: Path, content: Content, tables: Sequence[Table], counted: Sequence[tuple[TrainedModel, int]]
) -> tuple[tuple[Table, ...], Mapping[str, Rows]]:
    """Catalogue, identifiers and vectors, the last two beside it; the tables as they are then, their rows."""
    streams = spectra_tables(tables, content)
    with written(directory / CATALOGUE) as database:
        with ThreadPoolExecutor(1) as beside:
            vectors = beside.submit(write_part, directory, content)
            put_tables(database, tables, readers(streams))
            vectors.result()
        few = model_tables(tables, counted) | {table.name: rows for table, rows in content.extra}
        tables = held((*tables, *(table for table, _ in content.extra)), streams | few)
        few |= tap_schema(tables)
        put_tables(database, tables, few)
    return tables, streams | few


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
    models = [
        replace(
            model,
            embeddings=_moved(model.embeddings, place),
            prepared=((int(place[of]), one) for of, one in model.prepared),
        )
        for model in content.models
    ]
    return replace(content, models=models, seen=seen.take(pa.array(order)).combine_chunks())


def as_table(seen: Sequence[rows.Seen] | pa.Table) -> pa.Table:
    return seen if isinstance(seen, pa.Table) else rows.seen_table(seen)


def _moved(embeddings: rows.Embeddings, place: NDArray[np.int64]) -> rows.Embeddings:
    """Embeddings under new row numbers, in their order."""
    of = place[embeddings.of]
    reasons = {int(place[old]): reason for old, reason in embeddings.reasons.items()}
    return replace(embeddings.taken(np.argsort(of), of), reasons=reasons)


def release_tables(recipes: Sequence[Recipe], flux: Sequence[str] = ()) -> tuple[Table, ...]:
    """What a release with these models publishes, and prepared spectra of some; after doppel.spectra."""
    first, *others = published.tables()
    models = [published.model_table(recipe.name, recipe.labels, recipe.latents) for recipe in recipes]
    spectra = [published.flux_table(one.name, one.grid.pixels) for one in recipes if one.name in flux]
    grids = [published.grids_table()] if spectra else []
    return (first, *models, *spectra, *grids, *others)


def held(tables: Sequence[Table], arrow: Mapping[str, Rows]) -> tuple[Table, ...]:
    """The tables as their rows need them, once these were read."""
    return tuple(as_held(one, _beyond_ascii(arrow[one.name])) if one.name in arrow else one for one in tables)


def _beyond_ascii(rows: Rows) -> set[str]:
    return rows.beyond_ascii if isinstance(rows, Stream) else beyond_ascii(rows)


def readers(streams: Mapping[str, Stream]) -> dict[str, pa.RecordBatchReader]:
    """The rows as the engine takes them."""
    return {name: one.reader() for name, one in streams.items()}


def spectra_tables(tables: Sequence[Table], content: Content, first: int = 0) -> dict[str, Stream]:
    """Tables whose rows are the spectra of `content`, in the order of their row numbers, from `first` on."""
    described, seen = {table.name: table for table in tables}, as_table(content.seen)
    reasons = {model.recipe.name: model.embeddings.reasons for model in content.models}
    given = rows.numbered(seen, content.words, reasons, first)
    spectra, obscore = described["doppel.spectra"], described["ivoa.obscore"]
    streams = {
        spectra.name: in_slices(arrow_schema(spectra), given, partial(rows.spectra_rows, spectra)),
        obscore.name: in_slices(arrow_schema(obscore), given, partial(rows.obscore_rows, obscore)),
        FACTS: in_slices(rows.FACTS_SCHEMA, given, rows.facts_rows),
    }
    for model in content.models:
        table = described[f"doppel.{model.recipe.name}"]
        streams[table.name] = _model_stream(table, model, seen["publisher_did"], first)
        if flux := described.get(published.flux_name(model.recipe.name)):
            streams[flux.name] = flux_rows(flux, model.prepared, seen["publisher_did"], first)
    return streams


def _model_stream(table: Table, model: TrainedModel, dids: pa.ChunkedArray, first: int) -> Stream:
    def make(places: pa.Table) -> pa.Table:
        some = model.embeddings.taken(places["place"].to_numpy())
        return rows.model_rows(table, model.recipe, dids, some, first)

    places = pa.table({"place": np.arange(len(model.embeddings.of))})
    return in_slices(arrow_schema(table), places, make)


def model_tables(tables: Sequence[Table], counted: Sequence[tuple[TrainedModel, int]]) -> dict[str, pa.Table]:
    """What is published of the models; beside each how many spectra it embeds."""
    described = {table.name: table for table in tables}
    told = [(model.recipe, count, _report_text(model.directory)) for model, count in counted]
    recipes = [model.recipe for model, _ in counted]
    arrow = {
        "doppel.models": rows.models_rows(described["doppel.models"], told),
        "doppel.latents": rows.latents_rows(described["doppel.latents"], recipes),
    }
    if grids := described.get(published.GRIDS):
        with_flux = [recipe for recipe in recipes if published.flux_name(recipe.name) in described]
        arrow[grids.name] = grids_rows(grids, with_flux)
    return arrow


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


def write_part(directory: Path, content: Content, first: int = 0, limits: Limits = DEFAULT) -> None:
    """Identifiers and vectors of spectra that have row numbers from `first` on."""
    rank = identifiers.write(directory / identifiers.FILE, as_table(content.seen)["publisher_did"])
    for model in content.models:
        of, recipe = model.embeddings.of, model.recipe
        metric, *others = (
            parse_space(space, recipe)
            for space in (recipe.default_preset, *content.lists.get(recipe.name, ()))
        )
        if len(of):
            target = directory / "vectors" / recipe.name
            given = of + first, model.embeddings.vectors, rank[of]
            VectorSet.build(target, *given, metric, others, limits=limits)


def table_hashes(arrow: Mapping[str, Rows]) -> dict[str, str]:
    """Of what tables say, by name, once they are written; a report's timings make no other release."""
    return {name: _hash(name, one) for name, one in arrow.items()}


def _hash(name: str, one: Rows) -> str:
    if not isinstance(one, pa.Table):
        return one.content_hash
    return manifest.content_hash(one.drop_columns(["report"]) if name == "doppel.models" else one)


def vector_hashes(content: Content) -> dict[str, str]:
    """Of vectors, and of the spaces that have lists of their own: with them it is another release."""
    vectors = {
        f"vectors/{model.recipe.name}": manifest.content_hash(
            pa.table({"row": model.embeddings.of, "vector": rows.vector_lists(model.embeddings.vectors)})
        )
        for model in content.models
    }
    return vectors | {
        f"lists/{name}": manifest.content_hash(pa.table({"space": spaces}))
        for name, spaces in content.lists.items()
    }
