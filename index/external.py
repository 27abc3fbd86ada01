"""Vectors made elsewhere, as a model without an encoder: a Parquet file matched to the spectra by column."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import dataset, parquet

from encoder.model_config import EXTERNAL, ModelConfig
from encoder.recipe import NO_GRID, Latent, Recipe
from index.content import Refusal, TrainedModel
from index.distance import LARGEST, usable
from index.rows import Embeddings, nothing

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

DIMENSIONS = (1, 1024)
PAIRS = (20, 5000)  # of repeats: fewer tell no scale, more are not looked at


class ExternalError(ValueError):
    """The vectors cannot be used; the message says which file, and why."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a file of vectors holds."""

    path: Path
    ids: pa.Array  # text
    collections: pa.Array | None
    vectors: Float32  # (n, d)
    sigmas: Float32 | None  # (n, d)


def read_vectors(path: Path, only: pa.ChunkedArray | None = None) -> Given:
    """A Parquet of `spectrum_id`, `vector` (lists of one length), `sigma` and `collection` where known.

    Several in a directory are one. The rows of some identifiers alone where `only` names them.
    """
    try:
        table = parquet.read_table(path) if only is None else _rows_of(path, only)
    except (pa.ArrowException, OSError) as error:
        raise ExternalError(f"{path.name} cannot be read as Parquet: {error}") from error
    for name in ("spectrum_id", "vector"):
        if name not in table.column_names:
            raise ExternalError(f"{path.name} has no column {name}; it has: {', '.join(table.column_names)}")
    vectors = _matrix(path, table, "vector")
    sigmas = _matrix(path, table, "sigma") if "sigma" in table.column_names else None
    if sigmas is not None and sigmas.shape != vectors.shape:
        raise ExternalError(
            f"{path.name}: sigma has {sigmas.shape[1]} values where vector has {vectors.shape[1]}"
        )
    named = "collection" in table.column_names
    return Given(
        path, _texts(table, "spectrum_id"), _texts(table, "collection") if named else None, vectors, sigmas
    )


def _rows_of(path: Path, only: pa.ChunkedArray) -> pa.Table:
    """The rows of some spectra; of files and row groups without any no vector is read."""
    files = dataset.dataset(path, format="parquet")
    if "spectrum_id" not in files.schema.names:
        return files.schema.empty_table()
    parts = [files.schema.empty_table()]
    for group in (group for file in files.get_fragments() for group in file.split_by_row_group()):
        ids = group.to_table(columns=["spectrum_id"])["spectrum_id"].cast(pa.string())
        wanted = pc.is_in(ids, only.combine_chunks())
        if pc.any(wanted).as_py():
            parts.append(group.to_table(schema=files.schema).filter(wanted))
    return pa.concat_tables(parts)


def _texts(table: pa.Table, name: str) -> pa.Array:
    return table[name].cast(pa.string()).combine_chunks()


def _matrix(path: Path, table: pa.Table, name: str) -> Float32:
    """(n, d) of a column of lists, NaN where there is none; ExternalError where their lengths differ."""
    kind, rows = table[name].type, table[name].combine_chunks()
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or not pa.types.is_floating(kind.value_type):
        raise ExternalError(f"{path.name}: {name} is {kind}; it must hold lists of floats")
    if not len(rows):
        return np.empty((0, 0), np.float32)
    held = rows.drop_null() if rows.null_count else rows
    lengths = pc.unique(pc.list_value_length(held)).to_pylist()
    if len(lengths) != 1:
        raise ExternalError(f"{path.name}: {name} must have one length in all rows; there are {lengths[:5]}")
    low, high = DIMENSIONS
    if not low <= lengths[0] <= high:
        raise ExternalError(f"{path.name}: {name} has {lengths[0]} values; allowed: {low} to {high}")
    flat = pc.list_flatten(held).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):  # a number beyond float32 is none that can be used
        values = np.ascontiguousarray(flat, np.float32).reshape(len(held), lengths[0])
    if held is rows:
        return values
    matrix = np.full((len(rows), lengths[0]), np.nan, np.float32)
    matrix[rows.is_valid().to_numpy(zero_copy_only=False)] = values
    return matrix


def external_model(
    config: ModelConfig, base: Path, seen: pa.Table, directory: Path
) -> tuple[TrainedModel, list[Refusal]]:
    """The model of `config`, its files in the new `directory`, and the vectors that belong to no spectrum.

    `seen` are the spectra by column (`SEEN_SCHEMA`). ExternalError where nothing can be made of the file.
    """
    given = read_vectors(base / config.vectors)
    places, refused = _matched(config, given, seen)
    embeddings = _embeddings(given, places)
    if not len(embeddings.of):
        some = "no vector" if (places < 0).all() else f"no vector of finite numbers up to {LARGEST:g}"
        raise ExternalError(f"model {config.name}: {given.path.name} has {some} of a spectrum of the archive")
    objects = seen["object_key"].take(pa.array(embeddings.of))
    recipe = _recipe(config, given, embeddings.vectors, objects)
    _write(directory, recipe, embeddings.vectors, objects)
    return TrainedModel(directory, recipe, embeddings), refused


def more_vectors(config: ModelConfig, base: Path, seen: pa.Table, recipe: Recipe) -> Embeddings:
    """The vectors of these spectra, for a model that is published already.

    ExternalError also where they have another length than those of the `recipe`.
    """
    given = read_vectors(base / config.vectors, seen["spectrum_id"])
    if not len(given.ids):
        return nothing(recipe, dict.fromkeys(range(len(seen)), f"{given.path.name} has no vector of it"))
    if given.vectors.shape[1] != len(recipe.latents):
        raise ExternalError(
            f"model {config.name}: {given.path.name} has vectors of {given.vectors.shape[1]} values, the"
            f" published model has {len(recipe.latents)}; doppel build publishes it with the new ones"
        )
    places, _ = _matched(config, given, seen)
    return _embeddings(given, places)


def _matched(config: ModelConfig, given: Given, seen: pa.Table) -> tuple[Int64, list[Refusal]]:
    """For each spectrum the place (n,) of its vector or −1; vectors of no spectrum are refused by name."""
    names, ids = seen["collection"].combine_chunks(), seen["spectrum_id"].combine_chunks()
    if given.collections is not None:
        keys, wanted = _joined(given.collections, given.ids), _joined(names, ids)
    else:
        keys, wanted = given.ids, ids
    mine = pc.is_in(names, pa.array(config.collections)) if config.collections else None
    wanted = wanted if mine is None else pc.if_else(mine, wanted, None)
    for what, texts in ((given.path.name, keys), ("the archive", wanted.drop_null())):
        if pc.count_distinct(texts, mode="all").as_py() < len(texts):
            raise ExternalError(
                f"model {config.name}: {what} has {_twice(texts)} twice; "
                "a column `collection` beside spectrum_id tells equal names apart"
            )
    places = pc.fill_null(pc.index_in(wanted, keys, skip_nulls=True), -1).to_numpy().astype(np.int64)
    strange = np.setdiff1d(np.arange(len(keys)), places)
    owners = given.collections
    reason = f"model {config.name}: a vector of no spectrum of the archive"
    refused = [
        Refusal(
            "" if owners is None else owners[n].as_py() or "",
            given.ids[n].as_py() or "",
            config.vectors,
            reason,
        )
        for n in strange.tolist()
    ]
    return places, refused


def _joined(collections: pa.Array, ids: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(collections, ids, "\n")


def _twice(texts: pa.Array) -> str:
    counts = pc.value_counts(texts)
    found = counts.filter(pc.greater(counts.field("counts"), 1))
    return repr(found[0]["values"].as_py())


def _recipe(config: ModelConfig, given: Given, vectors: Float32, objects: pa.ChunkedArray) -> Recipe:
    d = vectors.shape[1]
    scales = _scatter(config, vectors, objects) if config.scales == "repeats" else np.ones(d)
    words = f"made elsewhere ({given.path.name})"
    latents = tuple(
        Latent(f"z{n:02d}", "intrinsic", float(scales[n]), description=f"Value {n} of a vector {words}")
        for n in range(d)
    )
    all_of_them = {latent.name: 1.0 for latent in latents}
    digest = hashlib.sha256(given.vectors.tobytes()).hexdigest()[:8]
    return Recipe(
        name=config.name,
        model_id=f"{config.name}-{digest}",
        kind=EXTERNAL,
        grid=NO_GRID,
        min_coverage=0.0,
        latents=latents,
        presets={"physics": all_of_them, "all": all_of_them},
        default_preset="physics",
        settings={"vectors": given.path.name, "scales": config.scales},
    )


def _pairs(objects: pa.ChunkedArray) -> tuple[Int64, Int64]:
    """Places of two spectra of one object, neighbours in the order of the archive."""
    codes = objects.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64)
    order = np.argsort(codes, kind="stable")
    same = np.flatnonzero((codes[order][1:] == codes[order][:-1]) & (codes[order][1:] >= 0))[: PAIRS[1]]
    return order[same], order[same + 1]


def _scatter(config: ModelConfig, vectors: Float32, objects: pa.ChunkedArray) -> NDArray[np.float64]:
    """Standard deviation (d,) of a value between repeats of one object, from pairs."""
    one, other = _pairs(objects)
    if len(one) < PAIRS[0]:
        raise ExternalError(
            f"model {config.name}: {len(one)} pairs of spectra of one object_key are too few for "
            f'scales = "repeats"; it needs {PAIRS[0]}'
        )
    scatter = np.sqrt(np.mean((vectors[one].astype(np.float64) - vectors[other]) ** 2, axis=0) / 2)
    if not scatter.all():
        raise ExternalError(
            f"model {config.name}: value {int(np.argmin(scatter))} is the same in all repeats"
        )
    found: NDArray[np.float64] = scatter
    return found


def _write(directory: Path, recipe: Recipe, vectors: Float32, objects: pa.ChunkedArray) -> None:
    """Recipe, report and card."""
    one, other = _pairs(objects)
    scale = np.array([latent.scale for latent in recipe.latents])
    distance = np.sqrt((((vectors[one].astype(np.float64) - vectors[other]) / scale) ** 2).sum(axis=1))
    report = {
        "n": len(vectors),
        "repeat_distances": dict.fromkeys(recipe.presets, np.sort(distance).tolist()),
    }
    directory.mkdir(parents=True)
    (directory / "recipe.json").write_text(recipe.to_json(), encoding="utf-8")
    (directory / "report.json").write_text(json.dumps(report), encoding="utf-8")
    card = f"# {recipe.name}\n\n{len(vectors)} vectors made elsewhere; not evaluated here.\n"
    (directory / "card.md").write_text(card, encoding="utf-8")


def _embeddings(given: Given, places: Int64) -> Embeddings:
    """Of spectra (n,) by the `places` of their vectors or −1; no labels, no anomaly, sigmas where given."""
    held = np.append(usable(given.vectors), False)
    of = np.flatnonzero(held[places])
    missing = f"{given.path.name} has no vector of it"
    unusable = f"its vector is NULL, or not of finite numbers up to {LARGEST:g}"
    reasons = {int(row): missing if places[row] < 0 else unusable for row in np.flatnonzero(~held[places])}
    vectors = given.vectors[places[of]]
    sigmas = np.full_like(vectors, np.nan) if given.sigmas is None else given.sigmas[places[of]]
    if given.sigmas is not None:
        sigmas[~((sigmas > 0) & (sigmas <= LARGEST))] = np.nan  # no error is zero, or less
    none, nan = np.empty((len(of), 0), np.float32), np.full(len(of), np.nan, np.float32)
    return Embeddings(of, vectors, sigmas, none, none, none, none, none, nan, reasons)
