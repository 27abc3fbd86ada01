"""What a release consists of, by checksum: written once, checked by `doppel verify`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

MANIFEST = "manifest.json"
CHECKSUM = "manifest.sha256"
FORMAT_VERSION = 2
HASHED_ROWS = 65_536
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of the release."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`contents` are hashes of ordered rows, by table or `vectors/<model>`; the release id hashes these."""

    release: str
    format: int
    code: str
    files: Mapping[str, FileRecord]
    contents: Mapping[str, str]
    rows: Mapping[str, int]
    models: Mapping[str, str]  # name → model_id

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
    digest = hashlib.sha256()
    whole = rows.combine_chunks()
    with pa.ipc.new_stream(_Digest(digest), whole.schema) as stream:
        stream.write_table(whole, max_chunksize=HASHED_ROWS)
    return digest.hexdigest()


class _Digest:
    """A file that only remembers the hash of what is written to it."""

    closed = False

    def __init__(self, digest: hashlib._Hash) -> None:
        self._digest = digest

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def release_id(contents: Mapping[str, str]) -> str:
    """Twelve hexadecimal digits that name the content."""
    told = json.dumps(dict(contents), sort_keys=True).encode()
    return hashlib.sha256(told).hexdigest()[:12]


def content_files(directory: Path) -> list[str]:
    """Relative names of all files of a release except the manifest's own two."""
    found = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    return sorted(name for name in found if name not in (MANIFEST, CHECKSUM))


def record_files(directory: Path) -> dict[str, FileRecord]:
    return {
        name: FileRecord(file_sha256(directory / name), (directory / name).stat().st_size)
        for name in content_files(directory)
    }


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
        if _changed(directory, name, manifest)
    ]
    if manifest.release != release_id(manifest.contents):
        found.append("the release id does not match its contents")
    return found


def _changed(directory: Path, name: str, manifest: Manifest) -> bool:
    record, path = manifest.files[name], directory / name
    return path.stat().st_size != record.size or file_sha256(path) != record.sha256


def sync_tree(directory: Path) -> None:
    """Puts every file and directory below on the disk for good."""
    for path in [*directory.rglob("*"), directory]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
