"""A release made of another: spectra appended in a segment of their own, or taken out; files are shared.

Only the catalogue is copied, since its rows change: queries then read one table, as after a build. Vectors,
identifiers, models and earlier segments are the same files under two names.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from index import manifest
from index.catalogue import tap_schema
from index.content import (
    CATALOGUE,
    TABLES,
    Content,
    Refusal,
    as_table,
    held,
    in_sky_order,
    model_tables,
    readers,
    spectra_tables,
    table_hashes,
    vector_hashes,
    write_part,
    write_words,
)
from index.engines.duckdb_catalogue import change_tables, put_tables, written
from index.engines.duckdb_functions import write_functions
from index.identifiers import FILE, Identifiers
from index.strategy import Limits
from index.vectors import VectorSet
from registry_metadata.columns import from_json, to_json

SEGMENTS = "segments"
REMOVED = "removed.npy"  # ascending row numbers
LISTED = Limits(subset_rows=1000)  # beyond it a segment has lists, since it is searched with every question
REWRITTEN = frozenset({CATALOGUE, REMOVED, TABLES, "collections.json", "refused.json"})

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Parts:
    """Where spectra of a release lie: its own directory and those of its segments, the oldest first."""

    directories: Sequence[Path]
    removed: Int64  # row numbers that are in the files and in no answer

    @classmethod
    def of(cls, release: Path, told: manifest.Manifest) -> Parts:
        segments = [release / SEGMENTS / str(number + 1) for number in range(told.segments)]
        removed = np.load(release / REMOVED) if told.removed else np.empty(0, np.int64)
        return cls([release, *segments], removed)

    def identifiers(self) -> Identifiers:
        return Identifiers([directory / FILE for directory in self.directories], self.removed)

    def vectors(self, model: str, dids_of: Callable[[Int64], pa.ChunkedArray]) -> VectorSet:
        """The model's vectors in all parts; segments of which it embeds nothing have none."""
        first, *segments = (directory / "vectors" / model for directory in self.directories)
        return VectorSet.open(first, [one for one in segments if one.is_dir()], self.removed, dids_of)


def write_changed(directory: Path, old: Path, content: Content, removed: ArrayLike = ()) -> str:
    """The release in `old` with the spectra of `content` and without the rows `removed`; its id.

    Into an empty directory that will stand beside `old`. The models of `content` are those of `old`.
    """
    told, content = manifest.Manifest.read(old), in_sky_order(content)
    parts = Parts.of(old, told)
    first, gone = len(parts.identifiers()), np.union1d(parts.removed, np.asarray(removed, np.int64))
    _share(old, directory, told)
    write_functions(directory)
    more = len(as_table(content.seen)) > 0
    with ThreadPoolExecutor(1) as beside:  # what waits for the disk
        copied = beside.submit(_copy, old / CATALOGUE, directory / CATALOGUE)
        beside.submit(manifest.sync, directory / CATALOGUE)
        name = f"{SEGMENTS}/{told.segments + 1}"
        hashes = _write_segment(directory, name, content, first) if more else {}
        copied.result()
        changed, rows = _change_tables(directory, old, content, first, gone)
    if len(gone):
        np.save(directory / REMOVED, gone)
        hashes[REMOVED] = manifest.content_hash(pa.table({"row": gone}))
    _write_words(directory, old, content)
    new = manifest.Manifest.of(
        {**told.contents, **hashes, **changed},
        files=manifest.record_files(directory, old),
        rows={**told.rows, **rows},
        models=told.models,
        segments=told.segments + more,
        removed=len(gone),
    )
    manifest.write_manifest(directory, new)
    return new.release


def _write_segment(directory: Path, name: str, content: Content, first: int) -> dict[str, str]:
    """The segment, whose rows are numbered from `first` on; hashes of its vectors."""
    (directory / name).mkdir(parents=True)
    write_part(directory / name, content, first, LISTED)
    return {f"{name}/{one}": value for one, value in vector_hashes(content).items()}


def _share(old: Path, directory: Path, told: manifest.Manifest) -> None:
    """The files that stay, as second names of the same; copies where the file system knows no such names."""
    for name in sorted(told.files.keys() - REWRITTEN):
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(old / name, target)
        except OSError:
            shutil.copyfile(old / name, target)


def _copy(source: Path, target: Path) -> None:
    """Within the kernel, where it can: a file system that can share blocks does."""
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            left = os.fstat(reader.fileno()).st_size
            while left:
                left -= os.copy_file_range(reader.fileno(), writer.fileno(), left)
    except (AttributeError, OSError):  # no such call in this system, or not between these files
        shutil.copyfile(source, target)


def _change_tables(
    directory: Path, old: Path, content: Content, first: int, gone: Int64
) -> tuple[dict[str, str], dict[str, int]]:
    """Changes the copied catalogue and writes tables.json; hashes of what is new, and rows by table."""
    before = tuple(from_json((old / TABLES).read_text(encoding="utf-8")))
    more = spectra_tables(before, content, first)
    with written(directory / CATALOGUE) as database:
        rows = change_tables(database, readers(more), gone)
        tables = held(before, more)
        counted = [(model, rows[f"doppel.{model.recipe.name}"]) for model in content.models]
        instead = model_tables(tables, counted) | (tap_schema(tables) if tables != before else {})
        put_tables(database, tables, instead)
    (directory / TABLES).write_text(to_json(tables), encoding="utf-8")
    hashes = {f"{name}, rows from {first} on": value for name, value in table_hashes(more).items()}
    told = table_hashes(instead) | {TABLES: manifest.file_sha256(directory / TABLES)}
    return (hashes if len(as_table(content.seen)) else {}) | told, rows


def _write_words(directory: Path, old: Path, content: Content) -> None:
    """With what was refused before and was not tried again."""
    before = [Refusal(**one) for one in json.loads((old / "refused.json").read_text(encoding="utf-8"))]
    tried = {(one.collection, one.spectrum_id) for one in content.refused}
    kept = [one for one in before if (one.collection, one.spectrum_id) not in tried]
    write_words(directory, old.parent, content, [*kept, *content.refused])
