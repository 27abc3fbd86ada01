"""The configuration file `doppel.toml`: sections that the packages define, joined, checked, overridden."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from encoder.collection import CollectionConfig
from encoder.model_config import ModelConfig
from encoder.recipe import NO_GRID
from index.settings import (
    ArchiveConfig,
    BuildPlan,
    IndexConfig,
    SettingError,
    from_text,
    meant,
    read_section,
    setting,
)
from registry_metadata.reserved import RESERVED
from service.limits import Limits, StateConfig

PREFIX = "DOPPEL_"


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, the key and what is allowed."""


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """`[service]`: where it listens and how it is reached."""

    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(8080, "port to listen on")
    base_url: str = setting("", "how the world reaches the service; empty: http://host:port")
    workers: int = setting(1, "processes that answer requests")
    title: str = setting("Doppel", "name that people see")

    @property
    def url(self) -> str:
        """The base URL without a slash at its end."""
        return (self.base_url or f"http://{self.host}:{self.port}").rstrip("/")


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """`[registry]`: what is told to the registries of the VO."""

    publisher: str = setting("Doppel", "who publishes the archive")
    short_name: str = setting("Doppel", "at most 16 characters")
    description: str = setting("Spectra, and those that look like them", "one paragraph about the archive")
    contact_name: str = setting("", "whom to ask; empty: the publisher")
    contact_email: str = setting("", "where to ask; empty: postmaster@ the authority")
    reference_url: str = setting("", "a page about the archive; empty: the service's own")
    subjects: str = setting(
        "spectroscopy, virtual-observatories", "concepts of http://www.ivoa.net/rdf/uat, with commas"
    )
    page: int = setting(100, "records in one answer of /oai")
    similarity_uri: str = setting(
        "http://doppel.example/rdf/similarity#similar",
        "semantics of links to similar spectra; leave it, so that it is the same everywhere",
    )


@dataclass(frozen=True, slots=True)
class Config:
    """The whole of one file; paths in it are relative to `base`, the file's directory."""

    base: Path
    archive: ArchiveConfig
    collections: tuple[CollectionConfig, ...]
    models: tuple[ModelConfig, ...]
    index: IndexConfig = field(default_factory=IndexConfig)
    service: ServiceConfig = field(default_factory=ServiceConfig)
    state: StateConfig = field(default_factory=StateConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def read(cls, path: Path, environment: Mapping[str, str] | None = None) -> Config:
        """The configuration in `path`, `DOPPEL_<SECTION>_<KEY>` variables overriding it; ConfigError else."""
        document = _document(path)
        try:
            _override(document, os.environ if environment is None else environment)
            return cls(base=path.resolve().parent, **_sections(document))
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from error

    @property
    def plan(self) -> BuildPlan:
        """What a build needs of it."""
        return BuildPlan(
            self.base,
            self.archive,
            self.collections,
            self.models,
            self.registry.publisher,
            self.index.database,
            self.index.servers,
        )

    @property
    def releases(self) -> Path:
        return self.base / self.archive.releases


def read_collections(path: Path) -> tuple[CollectionConfig, ...]:
    """The `[[collection]]` tables of a file that has nothing else; ConfigError else."""
    document = _document(path)
    try:
        for name in document:
            if name != "collection":
                raise SettingError(f"only [[collection]] may be here, not {name!r}")
        tables = document.get("collection", [])
        collections = tuple(CollectionConfig.from_table(table) for table in tables)
        _once("collection", [collection.name for collection in collections])
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    return collections


SECTIONS: Mapping[str, type] = {
    "archive": ArchiveConfig,
    "index": IndexConfig,
    "service": ServiceConfig,
    "state": StateConfig,
    "registry": RegistryConfig,
    "limits": Limits,
}
LISTS = ("collection", "model")


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _sections(document: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in document.items():
        if name not in SECTIONS and name not in LISTS:
            raise SettingError(f"there is no section [{name}]{meant(name, [*SECTIONS, *LISTS])}")
        if not isinstance(value, list if name in LISTS else dict):
            raise SettingError(
                f"write {'[[' if name in LISTS else '['}{name}{']]' if name in LISTS else ']'}"
            )
    sections: dict[str, Any] = {
        name: read_section(kind, name, document.get(name, {})) for name, kind in SECTIONS.items()
    }
    collections = tuple(CollectionConfig.from_table(table) for table in document.get("collection", ()))
    models = tuple(ModelConfig.from_table(table, RESERVED) for table in document.get("model", ()))
    _once("collection", [collection.name for collection in collections])
    _once("model", [model.name.lower() for model in models])
    _known_collections(models, [collection.name for collection in collections])
    return {**sections, "collections": collections, "models": models}


def _once(kind: str, names: list[str]) -> None:
    if not names:
        raise SettingError(f"there is no [[{kind}]]")
    for name in names:
        if names.count(name) > 1:
            raise SettingError(f"[[{kind}]] {name} is there {names.count(name)} times")


def _known_collections(models: tuple[ModelConfig, ...], names: list[str]) -> None:
    for model in models:
        for name in model.collections:
            if name not in names:
                raise SettingError(f"[[model]] {model.name}: no collection {name!r}{meant(name, names)}")


def _override(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    """DOPPEL_SERVICE_PORT=8081 is `port = 8081` in `[service]`; other DOPPEL_ variables are not ours."""
    for variable, text in environment.items():
        section, _, key = variable.removeprefix(PREFIX).lower().partition("_")
        if not variable.startswith(PREFIX) or section not in SECTIONS or not key:
            continue
        hints = get_type_hints(SECTIONS[section])
        known = {one.name for one in fields(SECTIONS[section])}
        if key not in known:
            raise SettingError(f"{variable}: [{section}] has no key {key!r}{meant(key, known)}")
        try:
            document.setdefault(section, {})[key] = from_text(hints[key], text)
        except (ValueError, KeyError):
            raise SettingError(f"{variable}: {text!r} is no {hints[key].__name__}") from None


def reference() -> str:
    """Every section and key with its default and meaning, as TOML; what has no default is commented out."""
    parts = [_described(f"[{name}]", kind) for name, kind in SECTIONS.items()]
    parts[1:1] = [_described("[[collection]]", CollectionConfig), _described("[[model]]", ModelConfig)]
    return "\n".join(parts)


def _described(head: str, kind: type) -> str:
    lines = [head]
    for one in fields(kind):
        absent = (one.default is MISSING and one.default_factory is MISSING) or one.default == NO_GRID
        value = "…" if absent else _toml(one.default)
        lines.append(f"{'# ' if absent else ''}{one.name} = {value}  # {one.metadata['doc']}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return {(): "[]", MISSING: "{}"}[value] if value in ((), MISSING) else repr(value)
