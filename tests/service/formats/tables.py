"""A table with every datatype, for the tests of all writers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from registry_metadata.columns import Column
from service.formats.stream import Info, Rows

COLUMNS = (
    Column("flag", "boolean", description="yes < no"),
    Column("small", "unsignedByte"),
    Column("count", "short"),
    Column("year", "int", unit="yr"),
    Column("big", "long"),
    Column("flux", "float", unit="W.m**-2", ucd="phot.flux"),
    Column("mjd", "double", unit="d", ucd="time.epoch"),
    Column("name", "char", "*", ucd="meta.id", did=True),
    Column("object", "unicodeChar", "*"),
    Column("code", "char", "4"),
    Column("place", "double", "2", xtype="point", unit="deg", ucd="pos.eq"),
    Column("spectrum", "float", "*"),
    Column("pair", "int", "2"),
)
DATA: dict[str, list[Any]] = {
    "flag": [True, False, None, True],
    "small": [0, 254, None, 7],
    "count": [-32767, 32767, None, 0],
    "year": [1, -(2**31) + 1, None, 2000],
    "big": [2**53 + 1, -(2**62), None, 0],
    "flux": [1.5, math.inf, None, -math.inf],
    "mjd": [51544.123456789, -0.1, None, 1e300],
    "name": ['ivo://a/b?c&d<e>"f"', "", None, "tab\tand\nline, comma"],
    "object": ["α Cen", "O'Neill", None, "χ² 日本"],
    "code": ["abcd", "xy", None, ""],
    "place": [[10.5, -20.25], [0.0, 90.0], None, [359.9, 0.0]],
    "spectrum": [[1.0, 2.5], [], None, [math.nan, 3.0, 4.0]],
    "pair": [[1, 2], [3, 4], None, [5, 6]],
}
TYPES = {
    "flag": pa.bool_(),
    "small": pa.uint8(),
    "count": pa.int16(),
    "year": pa.int32(),
    "big": pa.int64(),
    "flux": pa.float32(),
    "mjd": pa.float64(),
    "place": pa.list_(pa.float64(), 2),
    "spectrum": pa.list_(pa.float32()),
    "pair": pa.list_(pa.int32(), 2),
}


def batch(names: Iterable[str] = tuple(DATA)) -> pa.RecordBatch:
    names = list(names)
    return pa.RecordBatch.from_arrays([pa.array(DATA[n], TYPES.get(n, pa.string())) for n in names], names)


def rows(*, overflow: bool = False, repeat: int = 1) -> Rows:
    infos = (Info("query", 'SELECT "a" FROM b WHERE c < 1 & d\x07'),)
    return Rows(COLUMNS, iter([batch()] * repeat), infos, lambda: overflow, limit="MAXREC=4")
