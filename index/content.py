"""What a release is made of, and its files: catalogue, vectors, models, what was refused, manifest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from encoder.prepare import Prepared
from encoder.recipe import Recipe
from index import identifiers, manifest, rows
from index.catalogue import as_held, tap_schema
from index.engines.duckdb_catalogue import write_catalogue
from index.engines.duckdb_functions import write_functions
from index.flux import FluxRows, grids_rows
from index.metric import parse_space
from index.strategy import DEFAULT, Limits
from index.vectors import VectorSet
from registry_metadata import tables as published
from registry_metadata.columns import Table, to_json

Rows: TypeAlias = pa.Table | FluxRows
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
    arrow: dict[str, Rows] = spectra_tables(tables, content) | model_tables(tables, counted)
    arrow |= {table.name: held for table, held in content.extra}
    tables += tuple(table for table, _ in content.extra)
    tables = held(tables, arrow)
    arrow |= tap_schema(tables)
    write_functions(directory)
    (directory / TABLES).write_text(to_json(tables), encoding="utf-8")
    write_words(directory, root, content, content.refused)
    for model in content.models:
        shutil.copytree(model.directory, directory / "models" / model.recipe.name)
    contents = _write_rows(directory, content, tables, arrow)
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
    directory: Path, content: Content, tables: Sequence[Table], arrow: Mapping[str, Rows]
) -> dict[str, str]:
    """Catalogue, identifiers and vectors; the hashes of their contents. All at once: each takes long."""
    settled = {name: one for name, one in arrow.items() if isinstance(one, pa.Table)}
    with ThreadPoolExecutor(2) as beside:
        vectors = beside.submit(write_part, directory, content)
        hashes = beside.submit(table_hashes, settled)
        write_catalogue(directory / CATALOGUE, tables, readable(arrow))
        vectors.result()
        streamed = table_hashes({name: arrow[name] for name in arrow.keys() - settled.keys()})
        return hashes.result() | streamed | vector_hashes(content)


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
    order = np.argsort(of)
    arrays = ("vectors", "sigmas", "labels", "lo68", "hi68", "lo90", "hi90", "anomaly")
    return replace(
        embeddings,
        of=of[order],
        reasons={int(place[old]): reason for old, reason in embeddings.reasons.items()},
        **{name: getattr(embeddings, name)[order] for name in arrays},
    )


def release_tables(recipes: Sequence[Recipe], flux: Sequence[str] = ()) -> tuple[Table, ...]:
    """What a release with these models publishes, and prepared spectra of some; after doppel.spectra."""
    first, *others = published.tables()
    models = [published.model_table(recipe.name, recipe.labels, recipe.latents) for recipe in recipes]
    spectra = [published.flux_table(one.name, one.grid.pixels) for one in recipes if one.name in flux]
    grids = [published.grids_table()] if spectra else []
    return (first, *models, *spectra, *grids, *others)


def held(tables: Sequence[Table], arrow: Mapping[str, Rows]) -> tuple[Table, ...]:
    """The tables as their rows need them; prepared spectra have the identifiers of doppel.spectra."""
    texts = {
        name: one if isinstance(one, pa.Table) else arrow["doppel.spectra"] for name, one in arrow.items()
    }
    return tuple(as_held(table, texts[table.name]) if table.name in texts else table for table in tables)


def readable(arrow: Mapping[str, Rows]) -> dict[str, pa.Table | pa.RecordBatchReader]:
    """The rows as the engine takes them."""
    return {name: one if isinstance(one, pa.Table) else one.reader() for name, one in arrow.items()}


def spectra_tables(tables: Sequence[Table], content: Content, first: int = 0) -> dict[str, Rows]:
    """Tables whose rows are the spectra of `content`, in the order of their row numbers, from `first` on."""
    described, seen = {table.name: table for table in tables}, as_table(content.seen)
    given = rows.numbered(seen, content.words, first)
    arrow: dict[str, Rows] = {
        "doppel.spectra": rows.spectra_rows(described["doppel.spectra"], given),
        "ivoa.obscore": rows.obscore_rows(described["ivoa.obscore"], given),
        FACTS: rows.facts_rows(given, {m.recipe.name: m.embeddings.reasons for m in content.models}),
    }
    for model in content.models:
        name = f"doppel.{model.recipe.name}"
        arrow[name] = rows.model_rows(
            described[name], model.recipe, seen["publisher_did"], model.embeddings, first
        )
        if table := described.get(published.flux_name(model.recipe.name)):
            arrow[table.name] = FluxRows(table, model.prepared, seen["publisher_did"], first)
    return arrow


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
