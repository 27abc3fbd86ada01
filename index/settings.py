"""Sections of the configuration as frozen dataclasses: one way to read, to document, to override a key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from encoder.collection import CollectionConfig
from encoder.model_config import ModelConfig
from index.engines.engine import EngineLimits

Section = TypeVar("Section")


class SettingError(ValueError):
    """A key of the configuration is wrong; the message names it, its value and what is allowed."""


def setting(default: Any, doc: str) -> Any:
    """A key with its default and one line about it."""
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True)
class ArchiveConfig:
    """`[archive]`: whose spectra these are, and where what is built of them goes."""

    authority: str = field(metadata={"doc": "the IVOA authority that identifiers of spectra begin with"})
    releases: str = setting("releases", "directory of the releases, relative to this file")
    work: str = setting("work", "directory for unfinished builds, relative to this file")
    workers: int = setting(0, "processes that read spectra; 0: as many as there are processors")
    published: str = setting("", "date of publication, ISO 8601; told of every spectrum")

    def __post_init__(self) -> None:
        try:
            datetime.fromisoformat(self.published or "2000-01-01")
        except ValueError:
            raise SettingError(f"[archive] published is no date as 2026-11-21: {self.published!r}") from None


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """`[index]`: where tables and vectors are, and what the engine may take of the machine."""

    engine: str = setting("duckdb", "duckdb: in the release itself; postgres: in a PostgreSQL database")
    database: str = setting("", "postgres: postgresql://user@host/name of the database")
    vectors: str = setting(
        "files",
        "files: in the release; database: beside the tables, with pgvector; or URLs of PostgreSQL servers, "
        "with spaces between them, for a part each",
    )
    patience: float = setting(30.0, "seconds after which a server of vectors is told as missing")
    memory: str = setting("2GB", "duckdb: memory for queries; more goes to a temporary directory")
    threads: int = setting(2, "duckdb: threads for queries")

    def __post_init__(self) -> None:
        if self.engine not in ("duckdb", "postgres"):
            raise SettingError(f"[index] engine must be duckdb or postgres, not {self.engine!r}")
        if (self.engine == "postgres") != bool(self.database):
            raise SettingError('[index] database goes with engine = "postgres": set both or neither')
        if self.vectors == "database" and not self.database:
            raise SettingError('[index] vectors = "database" goes with engine = "postgres"')
        words = self.vectors.split()
        if self.vectors not in ("files", "database") and not all("://" in word for word in words or [""]):
            raise SettingError("[index] vectors must be files, database, or URLs with spaces between them")
        if not self.patience > 0:
            raise SettingError(f"[index] patience must be above zero seconds, not {self.patience:g}")

    @property
    def limits(self) -> EngineLimits:
        return EngineLimits(self.memory, self.threads, self.database, self.servers, self.patience)

    @property
    def servers(self) -> tuple[str, ...]:
        """URLs of the servers with vectors; none where they are in the files of the release."""
        return {"files": (), "database": (self.database,)}.get(self.vectors, tuple(self.vectors.split()))


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a build needs to know; paths are relative to `base`."""

    base: Path
    archive: ArchiveConfig
    collections: tuple[CollectionConfig, ...]
    models: tuple[ModelConfig, ...]
    publisher: str = ""
    database: str = ""
    vectors: tuple[str, ...] = ()

    @property
    def releases(self) -> Path:
        return self.base / self.archive.releases

    @property
    def work(self) -> Path:
        return self.base / self.archive.work


def read_section(kind: type[Section], name: str, table: Mapping[str, object]) -> Section:
    """The section `[name]` with checked keys and types; SettingError where something is wrong."""
    hints = get_type_hints(kind)
    known = {key.name: key for key in fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise SettingError(f"[{name}] has no key {key!r}{meant(key, known)}")
    for key, one in known.items():
        if one.default is MISSING and one.default_factory is MISSING and key not in table:
            raise SettingError(f"[{name}] needs {key}: {one.metadata.get('doc', '')}")
    return kind(**{key: _typed(f"[{name}] {key}", hints[key], value) for key, value in table.items()})


def _typed(where: str, kind: type, value: object) -> object:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise SettingError(f"{where} must be {_WORDS[kind]}, not {value!r}")
    return value


_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def from_text(kind: type, text: str) -> object:
    """The value that an environment variable gives; ValueError where it is none of its type."""
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    return kind(text)


def meant(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'port'?`, or what is allowed."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; allowed: {', '.join(names)}"
