"""What a release consists of, by checksum: written once, checked by `doppel verify`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

MANIFEST = "manifest.json"
CHECKSUM = "manifest.sha256"
FORMAT_VERSION = 3
READABLE = (2, 3)  # formats: the first knew no segments
HASHED_ROWS = 65_536
PIECE = 1 << 20
HASHING = 2  # pieces at once


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of the release; `sha256` of a large one is that of the digests of its `pieces`.

    So that a copy of a large file of which little was changed has not to be hashed whole.
    """

    sha256: str
    size: int
    pieces: Sequence[str] = ()

    @classmethod
    def of(cls, path: Path, like: Path | None = None, known: FileRecord | None = None) -> FileRecord:
        """What the file is; where its pieces are those of the file `like`, `known` says their digests."""
        size, digests = path.stat().st_size, known.pieces if known is not None else ()
        if size <= PIECE:
            return cls(file_sha256(path), size)
        with path.open("rb") as mine, (like or path).open("rb") as other:

            def digest(number: int) -> str:
                piece = os.pread(mine.fileno(), PIECE, number * PIECE)
                if number < len(digests) and piece == os.pread(other.fileno(), PIECE, number * PIECE):
                    return digests[number]
                return hashlib.sha256(piece).hexdigest()

            with ThreadPoolExecutor(HASHING) as pool:
                pieces = list(pool.map(digest, range(-(-size // PIECE))))
        return cls(hashlib.sha256("".join(pieces).encode()).hexdigest(), size, pieces)

    def is_of(self, path: Path) -> bool:
        """Whether the file is still as it was."""
        if path.stat().st_size != self.size:
            return False
        return (FileRecord.of(path).sha256 if self.pieces else file_sha256(path)) == self.sha256


@dataclass(frozen=True, slots=True)
class Manifest:
    """`contents` are hashes of ordered rows, by table or `vectors/<model>`, and of what tables, models and
    collections say of themselves; the release id hashes these."""

    release: str
    format: int
    code: str
    files: Mapping[str, FileRecord]
    contents: Mapping[str, str]
    rows: Mapping[str, int]
    models: Mapping[str, str]  # name → model_id
    segments: int = 0  # of later appends
    removed: int = 0  # spectra that are in the files and in no answer

    @classmethod
    def of(
        cls,
        contents: Mapping[str, str],
        files: Mapping[str, FileRecord],
        rows: Mapping[str, int],
        models: Mapping[str, str],
        segments: int = 0,
        removed: int = 0,
    ) -> Manifest:
        """The manifest that this program writes of a release with these contents."""
        release, code = release_id(contents), version("doppel")
        return cls(release, FORMAT_VERSION, code, files, contents, rows, models, segments, removed)

    @property
    def changed(self) -> bool:
        """Whether something was appended or removed since the release was built as a whole."""
        return bool(self.segments or self.removed)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        told = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        return cls(
            **{**told, "files": {name: FileRecord(**record) for name, record in told["files"].items()}}
        )


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_hash(rows: pa.Table) -> str:
    """Of the ordered rows in batches of fixed length: how they came together does not matter."""
    found = ContentHash()
    for batch in rows.combine_chunks().to_batches(HASHED_ROWS):
        found.add(batch)
    return found.hexdigest


class ContentHash:
    """The hash of rows that pass by, in batches of fixed length."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=32)

    def add(self, batch: pa.RecordBatch) -> None:
        settled = _settled(batch)
        with pa.ipc.new_stream(_Digest(self._digest), settled.schema) as stream:
            stream.write_batch(settled)

    @property
    def hexdigest(self) -> str:
        """Of the batches so far."""
        return self._digest.hexdigest()


def _settled(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Zeros where values are NULL, and truth values beside: what lies beneath a NULL is left to chance."""
    columns = {}
    for name in rows.column_names:
        values, kind = rows[name], rows.schema.field(name).type
        if values.null_count and (pa.types.is_primitive(kind) or pa.types.is_fixed_size_list(kind)):
            columns[f"{name} is told"] = pc.is_valid(values)
            values = pc.fill_null(values, _zero(kind))
        columns[name] = values
    return pa.record_batch(columns)


def _zero(kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_fixed_size_list(kind):
        return pa.scalar([0] * kind.list_size, kind)
    return pa.scalar(0).cast(kind)


class _Digest:
    """A file that only remembers the hash of what is written to it."""

    closed = False

    def __init__(self, digest: hashlib.blake2b) -> None:
        self._digest = digest

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def release_id(contents: Mapping[str, str]) -> str:
    """Twelve hexadecimal digits that name the content."""
    return words_hash(dict(contents))[:12]


def words_hash(told: object) -> str:
    """Of what JSON can write."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def content_files(directory: Path) -> list[str]:
    """Relative names of all files of a release except the manifest's own two."""
    found = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    return sorted(name for name in found if name not in (MANIFEST, CHECKSUM))


def record_files(directory: Path, old: Path | None = None) -> dict[str, FileRecord]:
    """Of all files; those that are files of the release `old` too have the records that it gives."""
    known = {} if old is None else Manifest.read(old).files

    def record(name: str) -> FileRecord:
        if old is None or name not in known:
            return FileRecord.of(directory / name)
        if (old / name).samefile(directory / name):
            return known[name]
        return FileRecord.of(directory / name, old / name, known[name])

    return {name: record(name) for name in content_files(directory)}


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """The manifest and beside it its own checksum, in the form of sha256sum."""
    (directory / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    checksum = file_sha256(directory / MANIFEST)
    (directory / CHECKSUM).write_text(f"{checksum}  {MANIFEST}\n", encoding="ascii")


def problems(directory: Path) -> list[str]:
    """What is not as the manifest says, one sentence each; an empty list is a sound release."""
    try:
        expected = (directory / CHECKSUM).read_text(encoding="ascii")
        if expected != f"{file_sha256(directory / MANIFEST)}  {MANIFEST}\n":
            return [f"{MANIFEST} does not match {CHECKSUM}"]
        manifest = Manifest.read(directory)
    except (OSError, ValueError) as error:
        return [f"the manifest cannot be read: {error}"]
    present = set(content_files(directory))
    found = [f"{name} is missing" for name in sorted(manifest.files.keys() - present)]
    found += [f"{name} is not in the manifest" for name in sorted(present - manifest.files.keys())]
    found += [
        f"{name} has changed"
        for name in sorted(present & manifest.files.keys())
        if not manifest.files[name].is_of(directory / name)
    ]
    if manifest.release != release_id(manifest.contents):
        found.append("the release id does not match its contents")
    return found


def sync_tree(directory: Path) -> None:
    """Puts every file and directory below on the disk for good."""
    for path in [*directory.rglob("*"), directory]:
        sync(path)


def sync(path: Path) -> None:
    """Puts a file or a directory on the disk for good."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
