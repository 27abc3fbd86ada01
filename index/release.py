"""The handle that an open release is: its tables, models, and the way from identifiers to rows and files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from encoder.collection import Collection, CollectionConfig, CollectionError
from encoder.model_config import EXTERNAL
from encoder.recipe import Recipe
from encoder.spectrum import Facts, RefusedSpectrum, Spectrum
from index import manifest
from index.content import CATALOGUE
from index.engines.columns import in_pieces
from index.engines.duckdb_engine import DuckDBEngine
from index.engines.engine import DEFAULT_LIMITS, Engine, EngineLimits
from index.nearest import Nearest
from index.rows import FACTS_SCHEMA, facts_of
from index.segments import Parts
from registry_metadata.columns import Table, from_json

if TYPE_CHECKING:
    from encoder.infer import Encoder
    from index.engines.vector_server import VectorServer


class ReleaseError(Exception):
    """A release is not there, not sound or can not be written; the message is for people."""


def tables_of(path: Path) -> Sequence[Table]:
    """What the release in this directory publishes."""
    return from_json((path / "tables.json").read_text(encoding="utf-8"))


def _require_known(path: Path) -> None:
    """ReleaseError where the release is of a format that this version does not read."""
    told = json.loads((path / manifest.MANIFEST).read_text(encoding="utf-8"))
    if told["format"] not in manifest.READABLE:
        readable = " and ".join(map(str, manifest.READABLE))
        raise ReleaseError(
            f"{path} has format {told['format']}, this program reads {readable}; doppel build makes one"
        )


def _engine(path: Path, names: Sequence[str], limits: EngineLimits) -> Engine:
    """Where the tables of the release in this directory are read."""
    if not limits.database:
        return DuckDBEngine(path / CATALOGUE, limits)
    from index.engines.postgres_load import PostgresReleases

    return PostgresReleases(limits.database).engine(path.name, names)


def _servers(limits: EngineLimits) -> Sequence[VectorServer]:
    """Where the vectors are; none: in the files of the release."""
    if not limits.vectors:
        return ()
    from index.engines.vector_server import servers

    return servers(limits.vectors, limits.patience)


class Model:
    """One model of an open release; index and network are opened when first asked for."""

    def __init__(self, release: OpenRelease, name: str, servers: Sequence[VectorServer] = ()) -> None:
        self.name, self._release, self._servers = name, release, servers
        self.directory = release.path / "models" / name
        self.recipe = Recipe.read(self.directory / "recipe.json")

    @cached_property
    def vectors(self) -> Nearest:
        """In the files of the release; or on servers, EngineError where one is missing."""
        if not self._servers:
            return self._release.parts.vectors(self.name, self._release.dids_of)
        from index.engines.vector_shards import VectorShards

        return VectorShards.open(self._servers, self._release.id, self.name)

    @property
    def encodes(self) -> bool:
        """Whether other spectra can be embedded too; not by a model whose vectors were made elsewhere."""
        return self.recipe.kind != EXTERNAL

    @cached_property
    def encoder(self) -> Encoder:
        """RefusedSpectrum where the model can not embed other spectra."""
        if not self.encodes:
            raise RefusedSpectrum(
                f"the vectors of {self.name} were made elsewhere: it embeds no other spectra"
            )
        from encoder.infer import Encoder

        return Encoder.open(self.directory)

    @cached_property
    def report(self) -> Mapping[str, Any]:
        """The evaluation, as `doppel evaluate` shows it."""
        told: dict[str, Any] = json.loads((self.directory / "report.json").read_text(encoding="utf-8"))
        return told

    def repeat_distances(self, preset: str) -> NDArray[np.float64]:
        """Ascending distances between spectra of one object under a preset; empty where none are known."""
        return np.array(self.report.get("repeat_distances", {}).get(preset, ()), np.float64)


class OpenRelease:
    """A release in use: its tables, models, engine, and the way from identifiers to rows and files."""

    def __init__(self, path: Path, limits: EngineLimits = DEFAULT_LIMITS) -> None:
        self.path = path
        self.manifest = manifest.Manifest.read(path)
        self.id = self.manifest.release
        self.tables: Mapping[str, Table] = {table.name: table for table in tables_of(path)}
        self._servers = _servers(limits)
        self.models: Mapping[str, Model] = {
            table.model: Model(self, table.model, self._servers)
            for table in self.tables.values()
            if table.model
        }
        self._reached: dict[str, Collection] = {}
        self.parts = Parts.of(path, self.manifest)
        self._identifiers = self.parts.identifiers()
        self.engine = _engine(path, list(self.tables), limits)  # last: where a file is damaged, none is open

    @classmethod
    def open(cls, path: Path, limits: EngineLimits = DEFAULT_LIMITS) -> OpenRelease:
        """ReleaseError where the directory is not a release, is damaged, or is of another format."""
        try:
            _require_known(path)
            return cls(path, limits)
        except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
            raise ReleaseError(f"{path} is not a release, or is damaged: {error}") from error

    def __len__(self) -> int:
        """How many spectra it has; more row numbers, where some were removed."""
        return self.rows_given - len(self.parts.removed)

    @property
    def rows_given(self) -> int:
        """How many row numbers were given, from 0 on."""
        return len(self._identifiers)

    @property
    def later_starts(self) -> Sequence[int]:
        """The first row of every segment that was appended."""
        return self._identifiers.starts[1:]

    def model(self, name: str) -> Model:
        """The model of this name; ReleaseError with those that there are."""
        if name not in self.models:
            raise ReleaseError(f"no model {name!r} in release {self.id}; there are: {', '.join(self.models)}")
        return self.models[name]

    def row_of(self, did: str) -> int | None:
        """The row of a publisher DID; a space is also read as the plus sign that it may have been."""
        row = self._identifiers.row_of(did)
        return self._identifiers.row_of(did.replace(" ", "+")) if row is None and " " in did else row

    def rows_of(self, dids: Iterable[str]) -> list[int | None]:
        asked = list(dids)
        rows = self._identifiers.rows_of(asked)
        return [
            self.row_of(did) if row is None and " " in did else row
            for did, row in zip(asked, rows, strict=True)
        ]

    def known(self, dids: pa.ChunkedArray) -> pa.ChunkedArray:
        """Which of many DIDs are here, letter for letter: truth values."""
        return self._identifiers.known(dids)

    def strange_ids(self, collection: str, ids: pa.ChunkedArray) -> NDArray[np.int64]:
        """Ascending places of those `ids` that no spectrum of a collection has; NULL is nobody's."""
        sql = (
            "SELECT place FROM (SELECT spectrum_id FROM release.internal.facts WHERE collection = $1) AS held"
            " RIGHT JOIN asked USING (spectrum_id) WHERE held.spectrum_id IS NULL"
        )
        asked = pa.table({"spectrum_id": ids.cast(pa.string()), "place": np.arange(len(ids))})
        found = self.engine.table(sql, [collection], {"asked": in_pieces(asked)})
        return np.sort(np.asarray(found["place"], np.int64))

    def did_of(self, row: int) -> str:
        return self._identifiers.did_of(row)

    def dids_of(self, rows: ArrayLike) -> pa.ChunkedArray:
        """The DIDs of many rows at once, in their order."""
        return self._identifiers.dids_of(rows)

    def facts_of(self, row: int) -> Facts:
        """What the archive states about the spectrum in this row."""
        return facts_of(self._internal([row])[0])

    def described(self, rows: Sequence[int]) -> list[tuple[Facts, float | None, float | None]]:
        """Facts and covered wavelengths (metres in vacuum) of each row, in the order asked."""
        known = {one["row_number"]: one for one in self._internal(rows)}
        return [(facts_of(known[row]), known[row]["em_min"], known[row]["em_max"]) for row in rows]

    def facts(self, row: int) -> dict[str, object]:
        """The same as a dictionary, the labels beside the rest."""
        told = asdict(self.facts_of(row))
        labels: dict[str, object] = told.pop("labels")
        return told | labels

    def no_embedding(self, row: int, model: str) -> str | None:
        """Why the model left this spectrum out; None where it did not."""
        reasons: dict[str, str] = json.loads(self._internal([row])[0]["reasons"])
        return reasons.get(model)

    def _internal(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Rows of internal.facts; few enough to be listed in the statement."""
        listed = ", ".join(str(int(row)) for row in rows) or "NULL"
        names = ", ".join(f'"{name}"' for name in self._fact_names)
        sql = f"SELECT {names} FROM release.internal.facts WHERE row_number IN ({listed})"  # noqa: S608 (numbers)
        return [dict(zip(self._fact_names, row, strict=True)) for row in self.engine.rows(sql)]

    @cached_property
    def _fact_names(self) -> list[str]:
        """Columns of internal.facts that are known here and that the release has."""
        held = self.engine.table("SELECT * FROM release.internal.facts LIMIT 0").column_names
        return [name for name in FACTS_SCHEMA.names if name in held]

    @cached_property
    def _origins(self) -> Mapping[str, Any]:
        told: Mapping[str, Any] = json.loads((self.path / "collections.json").read_text(encoding="utf-8"))
        return told

    @property
    def authority(self) -> str:
        """The IVOA authority that identifiers of our making begin with."""
        authority: str = self._origins["authority"]
        return authority

    @cached_property
    def collections(self) -> Mapping[str, CollectionConfig]:
        """What the release was built from, by name."""
        return {one["name"]: CollectionConfig.from_table(one) for one in self._origins["collections"]}

    def collection(self, name: str) -> Collection:
        """Where its files lie now; RefusedSpectrum while they are not there."""
        if name not in self._reached:
            base = (self.path.parent / self._origins["base"]).resolve()
            try:
                found = Collection.from_config(self.collections[name], base, self.authority)
            except (CollectionError, OSError) as error:
                raise RefusedSpectrum(str(error)) from error
            self._reached[name] = found
        return self._reached[name]

    def spectrum(self, row: int) -> Spectrum:
        """The pixels, from the original file; RefusedSpectrum where it can no longer be read."""
        facts = self.facts_of(row)
        return self.collection(facts.collection).load(facts)

    def original(self, row: int) -> Path:
        """The original file; RefusedSpectrum where it can no longer be read."""
        facts = self.facts_of(row)
        return self.collection(facts.collection).original(facts)

    def close(self) -> None:
        self.engine.close()
        for server in self._servers:
            server.close()
