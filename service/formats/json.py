"""JSON: the columns with their metadata, then the rows as arrays, then how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite, isnan

import pyarrow as pa
import pyarrow.compute as pc

from registry_metadata.columns import Column
from service.errors import ServiceFault
from service.formats.stream import Rows, joined, scalar_texts, slices, typed

PUBLIC = ("name", "datatype", "arraysize", "xtype", "unit", "ucd", "utype", "description")
SPECIAL = r'["\\\x00-\x1f]'


def write_json(rows: Rows) -> Iterator[bytes]:
    """`{"columns": [...], "infos": {...}, "rows": [[...]], "status": "OK" | "OVERFLOW" | "ERROR"}`."""
    infos = {info.name: info.value for info in rows.infos}
    columns = [described(column) for column in rows.columns]
    yield f'{{"columns": {dumps(columns)},\n"infos": {dumps(infos)},\n"rows": ['.encode()
    fault = None
    try:
        for i, batch in enumerate(slices(rows.batches)):
            piece = rows_of_values(rows.columns, batch)
            yield piece if i else piece.lstrip(b",")
    except ServiceFault as late:
        fault = str(late)
    yield f"\n],\n{dumps(ending(rows, fault))[1:]}\n".encode()


def ending(rows: Rows, fault: str | None) -> dict[str, str]:
    if fault is not None:
        return {"status": "ERROR", "message": fault}
    if rows.overflowed():
        return {"status": "OVERFLOW", "message": f"The result was cut by {rows.limit}"}
    return {"status": "OK"}


def dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def described(column: Column) -> dict[str, str]:
    """What a client is told of a column, without what is empty."""
    return {key: value for key in PUBLIC if (value := getattr(column, key))}


def rows_of_values(columns: tuple[Column, ...], batch: pa.RecordBatch) -> bytes:
    """Lines that start with a comma: `,\\n[1, "x", null]`."""
    parts: list[pa.Array | str] = []
    for i, (column, array) in enumerate(zip(columns, batch.columns, strict=True)):
        parts += [", " if i else ",\n[", values(column, array)]
    return joined([*parts, "]"], batch.num_rows)


def values(column: Column, array: pa.Array) -> pa.Array:
    """JSON text of every cell: NULL and NaN are null, an infinity is a string, in arrays too."""
    cells = typed(column, array)
    if column.array:
        return pa.array([dumps(cell_value(cell)) for cell in cells.to_pylist()], pa.string())
    if pa.types.is_string(cells.type):
        text = strings(cells)
    elif pa.types.is_boolean(cells.type):
        text = pc.if_else(cells, "true", "false")
    elif pa.types.is_floating(cells.type):
        text = floats(cells)
    else:
        text = scalar_texts(cells)
    return pc.fill_null(text, "null")


def strings(cells: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring_regex(cells, SPECIAL), min_count=0).as_py():
        return pa.array([None if cell is None else dumps(cell) for cell in cells.to_pylist()], pa.string())
    return pc.binary_join_element_wise('"', cells, '"', "")


def floats(cells: pa.Array) -> pa.Array:
    text = pc.if_else(pc.is_nan(cells), "null", cells.cast(pa.string()))
    return pc.if_else(pc.is_inf(cells), pc.if_else(pc.greater(cells, 0), '"Infinity"', '"-Infinity"'), text)


def cell_value(cell: list[object] | None) -> list[object] | None:
    return None if cell is None else [number(item) for item in cell]


def number(item: object) -> object:
    if not isinstance(item, float) or isfinite(item):
        return item
    return None if isnan(item) else "Infinity" if item > 0 else "-Infinity"


def error_json(message: str, fault: str) -> bytes:
    return dumps({"status": "ERROR", "fault": fault, "message": message}).encode()
