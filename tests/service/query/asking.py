"""Ask a release, and read the whole answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from index.release import OpenRelease
from registry_metadata.columns import Column
from service.query.context import References
from service.query.run import Question, Upload, answer

BASE = "http://archive.example"


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer, read to its end."""

    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]
    overflow: bool
    infos: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def column(self, name: str) -> list[Any]:
        return [row[self.names.index(name)] for row in self.rows]


def ask(
    release: OpenRelease,
    query: Any,
    maxrec: int | None = None,
    uploads: Mapping[str, Upload] | None = None,
    references: References | None = None,
    **more: Any,
) -> Asked:
    question = Question(query, maxrec, uploads or {}, **more)
    with answer(release, question, base_url=BASE, references=references) as found:
        batches = list(found.batches)
        rows = [row for batch in batches for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)]
        for batch in batches:
            assert batch.schema.names == [column.column.name for column in found.columns]
        infos = {info.name: info.value for info in found.infos}
        return Asked(tuple(c.column for c in found.columns), rows, found.overflow, infos)


def upload(columns: Mapping[str, tuple[str, list[Any]]]) -> Upload:
    """`{"name": (datatype, values)}` → a table of the request."""
    kinds = {"int": pa.int32(), "long": pa.int64(), "double": pa.float64(), "char": pa.string()}
    described = tuple(
        Column(name, datatype, "*" if datatype == "char" else None) for name, (datatype, _) in columns.items()
    )
    arrays = [pa.array(values, kinds[datatype]) for datatype, values in columns.values()]
    return Upload(described, pa.Table.from_arrays(arrays, names=list(columns)))
