"""Encodes collections with published models, without adding them to a release: one Parquet file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from encoder.collection import Collection, Entry
from encoder.infer import Encoded
from encoder.prepare import Prepared, prepare, require_coverage
from encoder.spectrum import Facts, RefusedSpectrum, Spectrum
from index.content import Refusal
from index.metric import parse_space
from index.release import Model

CHUNK = 256
SCHEMA = pa.schema(
    [
        ("publisher_did", pa.string()),
        ("spectrum_id", pa.string()),
        ("collection", pa.string()),
        ("model", pa.string()),
        ("model_id", pa.string()),
        ("vector", pa.list_(pa.float32())),  # in which the default metric is plain Euclidean
        ("anomaly", pa.float32()),
        ("labels", pa.map_(pa.string(), pa.float32())),
    ]
)


def encode_collections(
    collections: Sequence[Collection],
    models: Sequence[Model],
    out: Path,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> tuple[int, list[Refusal]]:
    """One row per spectrum and model that encodes it; the number of rows, and what was refused and why."""
    refused: list[Refusal] = []
    rows = 0
    models = [model for model in models if model.encodes]
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with parquet.ParquetWriter(unfinished, SCHEMA) as writer:
            for spectra in _chunks(collections, refused, progress):
                for model in models:
                    table = _table(model, spectra, refused)
                    writer.write_table(table)
                    rows += table.num_rows
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return rows, refused


def _chunks(
    collections: Sequence[Collection], refused: list[Refusal], progress: Callable[[str, int, int], None]
) -> Iterator[list[Spectrum]]:
    for collection in collections:
        entries = list(collection.entries())
        for start in range(0, len(entries), CHUNK):
            yield list(_loaded(collection, entries[start : start + CHUNK], refused))
            progress(f"encode {collection.name}", min(start + CHUNK, len(entries)), len(entries))


def _loaded(collection: Collection, entries: Sequence[Entry], refused: list[Refusal]) -> Iterator[Spectrum]:
    for entry in entries:
        try:
            yield collection.load(entry)
        except RefusedSpectrum as refusal:
            refused.append(_refusal(entry.facts, str(refusal)))


def _refusal(facts: Facts, reason: str) -> Refusal:
    return Refusal(facts.collection, facts.spectrum_id, facts.path, reason)


def _table(model: Model, spectra: Sequence[Spectrum], refused: list[Refusal]) -> pa.Table:
    facts: list[Facts] = []
    prepared: list[Prepared] = []
    grid = model.encoder.grid
    for spectrum in spectra:
        try:
            one = prepare(spectrum, grid)
            require_coverage(one, grid, model.recipe.min_coverage)
        except RefusedSpectrum as refusal:
            refused.append(_refusal(spectrum.facts, f"model {model.name}: {refusal}"))
            continue
        facts.append(spectrum.facts)
        prepared.append(one)
    if not prepared:
        return SCHEMA.empty_table()
    return _rows(model, facts, model.encoder.encode(prepared))


def _rows(model: Model, facts: Sequence[Facts], encoded: Encoded) -> pa.Table:
    weights = parse_space(model.recipe.default_preset, model.recipe)
    used = weights > 0
    vectors = encoded.vectors[:, used] * np.sqrt(weights[used])
    names = [label.name for label in model.recipe.labels]
    rows = [
        {
            "publisher_did": one.publisher_did,
            "spectrum_id": one.spectrum_id,
            "collection": one.collection,
            "model": model.name,
            "model_id": model.recipe.model_id,
            "vector": vector.tolist(),
            "anomaly": float(anomaly),
            "labels": [
                (name, value) for name, value in zip(names, labels.tolist(), strict=True) if value == value
            ],
        }
        for one, vector, anomaly, labels in zip(facts, vectors, encoded.anomaly, encoded.labels, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)
