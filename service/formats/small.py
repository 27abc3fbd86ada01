"""TABLEDATA of few rows: one text conversion per datatype in place of several per column."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from registry_metadata.columns import Column

FEW_CELLS = 4000


def is_small(columns: Sequence[Column], batch: pa.RecordBatch) -> bool:
    return bool(batch.num_rows * len(columns) <= FEW_CELLS)


def alike(columns: Sequence[Column], batch: pa.RecordBatch) -> list[list[int]]:
    """Places of columns that are written by the same rule: scalars of one datatype and Arrow type."""
    groups: dict[object, list[int]] = {}
    types = batch.schema.types
    for place, column in enumerate(columns):
        key = place if column.array else (column.datatype, column.arraysize, types[place])
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def end_to_end(batch: pa.RecordBatch, places: Sequence[int]) -> pa.Array:
    """The columns as one, the first on top."""
    if len(places) == 1:
        return batch.column(places[0])
    return pa.concat_arrays([batch.column(place) for place in places])


def rows_of_texts(texts: Sequence[Sequence[str]]) -> bytes:
    """Columns of escaped texts as rows."""
    lines = (f"<TR><TD>{'</TD><TD>'.join(cells)}</TD></TR>\n" for cells in zip(*texts, strict=True))
    return "".join(lines).encode()
