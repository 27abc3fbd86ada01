"""A published table and its columns: what TAP_SCHEMA, FIELDs, SSA and DaCHS are told comes from here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

COMPLEX = ("floatComplex", "doubleComplex")


@dataclass(frozen=True, slots=True)
class Column:
    """One column in VOTable terms; `datatype` and `arraysize` as VOTable spells them."""

    name: str  # as ADQL writes it, lower case
    datatype: str  # boolean, short, int, long, float, double, char, unicodeChar
    arraysize: str | None = None
    xtype: str | None = None
    unit: str | None = None
    ucd: str | None = None
    utype: str | None = None
    description: str = ""
    principal: bool = False
    indexed: bool = False
    std: bool = False
    ssa: str | None = None  # spelling in SSA responses, where the column is part of them
    ssa_utype: str | None = None  # with prefix, where it differs from utype
    did: bool = False  # holds publisher DIDs: links and similarity hang on it
    url: bool = False  # stored below the service's base URL ("/datalink/links?ID=…")

    def __hash__(self) -> int:
        """By what mostly differs: columns are keys of what is written of them, in every answer."""
        return hash((self.name, self.datatype, self.ucd))

    @property
    def text(self) -> bool:
        return self.datatype in ("char", "unicodeChar")

    @property
    def array(self) -> bool:
        """Whether a cell holds several values; a text is one, a complex number two."""
        return self.datatype in COMPLEX or (self.arraysize is not None and not self.text)

    def renamed(self, name: str) -> Column:
        return replace(self, name=name)


@dataclass(frozen=True, slots=True)
class Table:
    """A published table; every physical row carries the hidden column `row_number` besides the listed ones
    where `has_rows` says so."""

    name: str  # doppel.spectra
    description: str
    columns: tuple[Column, ...]
    utype: str | None = None
    kind: str = "table"  # or view
    model: str | None = None  # the model that made the rows, of doppel.<model> and doppel.flux_<model>
    has_rows: bool = False

    @property
    def schema(self) -> str:
        return self.name.partition(".")[0]

    def column(self, name: str) -> Column | None:
        """The column of this name; case does not matter."""
        return next((c for c in self.columns if c.name.lower() == name.lower()), None)

    @property
    def did(self) -> Column | None:
        return next((c for c in self.columns if c.did), None)


def to_json(tables: Iterable[Table]) -> str:
    return json.dumps([asdict(table) for table in tables], indent=1, ensure_ascii=False)


def from_json(text: str) -> tuple[Table, ...]:
    return tuple(
        Table(**{**table, "columns": tuple(Column(**column) for column in table["columns"])})
        for table in json.loads(text)
    )
