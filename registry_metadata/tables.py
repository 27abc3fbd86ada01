"""Reads the published tables out of tables.toml and makes those of the models."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

from registry_metadata.columns import Column, Table
from registry_metadata.reserved import RESERVED

GRIDS = "doppel.grids"


class LabelWords(Protocol):
    """What a predicted label tells of itself."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def ucd(self) -> str: ...
    @property
    def description(self) -> str: ...


class LatentWords(Protocol):
    """What a latent tells of itself."""

    @property
    def name(self) -> str: ...
    @property
    def block(self) -> str: ...
    @property
    def label(self) -> str | None: ...
    @property
    def description(self) -> str: ...
    @property
    def mutual_information(self) -> Mapping[str, float]: ...


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema of TAP_SCHEMA."""

    name: str
    description: str
    utype: str | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A foreign key that is told to clients; `columns` maps referring to referred names."""

    id: str
    from_table: str
    target_table: str
    columns: Mapping[str, str]
    description: str


@cache
def document() -> Mapping[str, Any]:
    """All of tables.toml."""
    return tomllib.loads(files("registry_metadata").joinpath("tables.toml").read_text(encoding="utf-8"))


def schemas() -> tuple[Schema, ...]:
    """In the order in which clients should show them."""
    return tuple(Schema(**schema) for schema in document()["schema"])


def tables() -> tuple[Table, ...]:
    """All but the tables of models, doppel.spectra first."""
    return tuple(
        Table(**{**table, "columns": tuple(Column(**column) for column in table["columns"])})
        for table in document()["table"]
    )


def model_table(name: str, labels: Sequence[LabelWords], latents: Sequence[LatentWords]) -> Table:
    """`doppel.<name>`: predictions with intervals, latents with errors, anomaly, the whole vector."""
    patterns = document()["model"]
    columns = [Column(**column) for column in patterns["first"]]
    for label in labels:
        columns += _label_columns(patterns["label"], label)
    for latent in latents:
        columns += _latent_columns(patterns["latent"], latent)
    anomaly, embedding = (Column(**column) for column in patterns["last"])
    columns += [anomaly, Column(**{**_words(embedding), "arraysize": str(len(latents))})]
    return Table(
        f"doppel.{name}",
        patterns["description"].format(name=name),
        tuple(columns),
        model=name,
        has_rows=True,
    )


def flux_table(name: str, pixels: int) -> Table:
    """`doppel.flux_<name>`: the spectra on the model's grid."""
    pattern, words = document()["flux"], {"name": name, "pixels": str(pixels)}
    columns = tuple(Column(**_filled(column, words)) for column in pattern["columns"])
    description = pattern["description"].format(**words)
    return Table(flux_name(name), description, columns, model=name, has_rows=True)


def flux_name(model: str) -> str:
    return f"doppel.flux_{model}"


def grids_table() -> Table:
    """`doppel.grids`: the wavelengths of the tables of prepared spectra, once."""
    pattern = document()["grids"]
    return Table(GRIDS, pattern["description"], tuple(Column(**column) for column in pattern["columns"]))


def _words(column: Column) -> dict[str, Any]:
    return {field: getattr(column, field) for field in Column.__dataclass_fields__}


def _label_columns(patterns: Sequence[Mapping[str, Any]], label: LabelWords) -> Iterator[Column]:
    words = {
        "name": label.name,
        "ucd": label.ucd.removesuffix(";meta.modelled"),
        "description": label.description,
    }
    for pattern in patterns:
        yield Column(**_filled(pattern, words), unit=label.unit or None)


def _latent_columns(patterns: Sequence[Mapping[str, Any]], latent: LatentWords) -> Iterator[Column]:
    words = {"name": latent.name, "description": latent_description(latent)}
    for pattern in patterns:
        yield Column(**_filled(pattern, words))


def _filled(pattern: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    return {k: v.format(**words) if isinstance(v, str) else v for k, v in pattern.items()}


def latent_description(latent: LatentWords) -> str:
    """`Intrinsic latent; 0.81 nat with feh, 0.31 with teff`, "unnamed" where the evaluation knows nothing."""
    if latent.description:
        return latent.description
    if latent.label:
        return f"{latent.block.capitalize()} latent, trained on {latent.label}"
    told = sorted(latent.mutual_information.items(), key=lambda pair: -pair[1])
    known = ", ".join(f"{value:.2f} nat with {label}" for label, value in told[:3] if value >= 0.1)
    return f"{latent.block.capitalize()} latent; {known or 'unnamed'}"


def keys(tables: Iterable[Table]) -> tuple[Key, ...]:
    """The declared keys, and those from the tables of models to the spectra, of grids to models."""
    return (*_declared_keys(), *(key for table in tables for key in _keys_of(table)))


def _declared_keys() -> Iterator[Key]:
    for key in document()["key"]:
        yield Key(key["id"], key["from"], key["target"], key["columns"], key["description"])


def _keys_of(table: Table) -> Iterator[Key]:
    """Of a table that depends on the configuration."""
    own = table.name.partition(".")[2]
    if table.model:
        words = document()["flux" if table.name == flux_name(table.model) else "model"]["key"]
        yield Key(f"{own}_spectra", table.name, "doppel.spectra", {"ssa_pubdid": "ssa_pubdid"}, words)
    elif table.name == GRIDS:
        words = document()["grids"]["key"]
        yield Key(f"{own}_models", table.name, "doppel.models", {"model": "model"}, words)


def quoted(name: str) -> str:
    """The name as a query must write it: delimited where it is a reserved word (TAP 1.1, 4.2)."""
    return f'"{name}"' if name.upper() in RESERVED else name
