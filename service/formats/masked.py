"""Arrow arrays from the masked arrays of astropy, which reads VOTable and FITS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.catalogue import ARROW
from registry_metadata.columns import COMPLEX, Column
from service.formats.stream import fixed_length


def array_of(column: Column, values: Any) -> pa.Array:
    """An Arrow array from astropy's masked array: NULL where it is masked or NaN."""
    mask = np.ma.getmaskarray(values)
    data = np.ma.getdata(values)
    if column.text:
        return text_array(data, mask)
    if column.array:
        return list_array(column, data, mask)
    array = pa.array(np.ascontiguousarray(data.astype(data.dtype.newbyteorder("="))), mask=mask.reshape(-1))
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    return array.cast(ARROW[column.datatype])


def text_array(data: Any, mask: Any) -> pa.Array:
    if mask.ndim > 1:
        mask = mask.all(axis=tuple(range(1, mask.ndim)))
        data = ["".join(map(str, np.ravel(cell))) for cell in data]
    return pa.array(
        [None if hidden else text_of(cell) for cell, hidden in zip(data, mask, strict=True)], pa.string()
    )


def text_of(cell: object) -> str:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)


def list_array(column: Column, data: Any, mask: Any) -> pa.Array:
    """Lists; a complex number becomes two, an array of several dimensions is laid end to end."""
    cells = [
        None if nothing_in(hidden) else flat_cell(column, cell, hidden)
        for cell, hidden in zip(data, mask, strict=True)
    ]
    return array_in(column, cells)


def nothing_in(hidden: Any) -> bool:
    """Whether the mask of a cell hides all of it."""
    return bool(np.all(hidden) and np.size(hidden))


def array_in(column: Column, cells: Sequence[Any]) -> pa.Array:
    """Values of a column, in the Arrow type of its datatype."""
    base = ARROW[column.datatype]
    if not column.array:
        return pa.array(cells, base)
    count = fixed_length(column)
    return pa.array(cells, pa.list_(base) if count is None else pa.list_(base, count))


def flat_cell(column: Column, cell: Any, hidden: Any) -> list[Any]:
    inner: Any = np.ma.masked_array(np.ma.getdata(cell), mask=np.ma.getmaskarray(cell)).ravel()
    if column.datatype in COMPLEX:
        part = np.float32 if column.datatype == "floatComplex" else np.float64
        inner = np.ma.getdata(inner).view(part)
    values: list[Any] = inner.tolist()
    return values


def unicode_where_needed(column: Column, array: pa.Array) -> Column:
    """char is ASCII: what holds other letters is told as unicodeChar."""
    if column.datatype != "char" or pc.all(pc.string_is_ascii(array), min_count=0).as_py():
        return column
    return replace(column, datatype="unicodeChar")
