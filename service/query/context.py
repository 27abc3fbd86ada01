"""What one query carries while it is made: its release, parameters, tables of its own, remarks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from registry_metadata.columns import Column
from service.query.engine import told

if TYPE_CHECKING:
    from index.release import OpenRelease

MARKER = re.compile(r"\$(\d+)")
References = Callable[["OpenRelease", str], Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class Upload:
    """A table of the request: the n-th of `columns` describes the n-th column of `table`."""

    columns: tuple[Column, ...]
    table: pa.Table


@dataclass(frozen=True, slots=True)
class Info:
    """A remark on how the answer came about."""

    name: str
    value: str
    text: str = ""


@dataclass(eq=False, slots=True)
class Context:
    """`references` gives the vectors (n_latent,) of an uploaded spectrum by model, from its token; it raises
    a UsageFault where the token is not known."""

    release: OpenRelease
    base_url: str
    uploads: Mapping[str, Upload]
    references: References | None = None
    exact: bool = False
    timeout: float | None = None
    started: float = field(default_factory=time.monotonic)
    params: list[object] = field(default_factory=list)
    tables: dict[str, pa.Table] = field(default_factory=dict)
    conditions: int = 0  # read so far
    weights: dict[str, int] = field(default_factory=dict)  # of columns of queries, by their SQL
    ctes: list[str] = field(default_factory=list)
    infos: list[Info] = field(default_factory=list)
    _bound: dict[tuple[type, object], str] = field(default_factory=dict)
    _aliases: int = 0

    def bind(self, value: object) -> str:
        """The parameter that stands for a constant; equal constants share one: expressions compare."""
        key = (type(value), value)
        found = self._bound.get(key)
        if found is None:
            self.params.append(value)
            found = self._bound[key] = f"${len(self.params)}"
        return found

    def bind_list(self, values: Sequence[object]) -> str:
        """The parameter that stands for a list of constants."""
        self.params.append(list(values))
        return f"${len(self.params)}"

    def alias(self) -> str:
        """A new name for a source."""
        self._aliases += 1
        return f"t{self._aliases}"

    @property
    def left(self) -> float | None:
        """Seconds that remain of the limit."""
        if self.timeout is None:
            return None
        return max(self.timeout - (time.monotonic() - self.started), 0.01)

    def prepared(self, sql: str) -> tuple[str, list[object]]:
        """The statement with its parameters numbered from 1, those that it does not use left out."""
        order: dict[str, int] = {}
        text = MARKER.sub(lambda found: f"${order.setdefault(found[1], len(order) + 1)}", sql)
        return text, [self.params[int(number) - 1] for number in order]

    def run(self, sql: str) -> pa.Table:
        """A question of the planner, answered whole."""
        text, params = self.prepared(self.with_common(sql))
        tables = self.used(text)
        with told(self.timeout):
            return self.release.engine.table(text, params, tables, self.left)

    def used(self, sql: str) -> dict[str, pa.Table]:
        """The tables of this query that the statement names."""
        return {name: table for name, table in self.tables.items() if name in sql}

    def with_common(self, sql: str) -> str:
        return f"WITH {', '.join(self.ctes)} {sql}" if self.ctes else sql
