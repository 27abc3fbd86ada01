# ruff: noqa: S608 (SQL of our own fragments)
"""Tables of this query that the vectors fill: the distances that it looks up, and pairs of neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.query.scope import Source
from service.query.value import Value

if TYPE_CHECKING:
    from index.release import Model


@dataclass(frozen=True, slots=True)
class Target:
    """What is compared with: a vector of one model under one metric; `row` where it is a spectrum of ours."""

    ref: str
    model: Model
    space: str
    weights: NDArray[np.float64]
    vector: NDArray[np.float32]
    row: int | None


@dataclass(eq=False, slots=True)
class Lookup:
    """A table (r, distance) or (did, distance) of this query; what is not in it has the distance NULL."""

    name: str
    target: Target
    did: Value
    by_row: bool
    radius: float | None = None
    table: pa.Table | None = None

    @property
    def key(self) -> str:
        source = source_of(self.did)
        return f"{source.row}" if self.by_row and source is not None else self.did.sql

    @property
    def column(self) -> str:
        return "r" if self.by_row else "did"

    @property
    def sql(self) -> str:
        return f"(SELECT {self.name}.distance FROM {self.name} WHERE {self.name}.{self.column} = {self.key})"

    def bounded(self, value: object) -> None:
        """A condition of WHERE says that only rows up to this distance matter."""
        if isinstance(value, int | float) and value >= 0 and self.table is None:
            self.radius = value if self.radius is None else min(self.radius, value)


@dataclass(frozen=True, slots=True)
class Pairs:
    """The k nearest of every reference in a column: a table (did, ref)."""

    name: str
    did: Value
    ref: Value

    def joined(self, may_change: Callable[[Source | None], bool]) -> str | None:
        """The condition as a join with the table, where the source of `did` may be joined to it."""
        source = source_of(self.did)
        if source is None or source.joined or not may_change(source) or source_of(self.ref) is source:
            return None
        source.joined = f"JOIN {self.name} ON {self.name}.did = {self.did.sql}"
        source.keys.append(f"{self.name}.ref AS p0")
        return f"({source.alias}.p0 = {self.ref.sql})"


def source_of(value: Value) -> Source | None:
    return value.field.source if value.field is not None else None


def mentions(text: str, name: str) -> bool:
    """Names end with a number: near1 is not part of near10."""
    place = text.find(name)
    while place >= 0:
        if not text[place + len(name) : place + len(name) + 1].isdigit():
            return True
        place = text.find(name, place + 1)
    return False
