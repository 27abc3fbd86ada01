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
    native = data.astype(data.dtype.newbyteorder("=")).reshape(-1)
    array = pa.array(np.ascontiguousarray(native), mask=mask.reshape(-1))
    return without_nan(array).cast(ARROW[column.datatype])


def without_nan(array: pa.Array) -> pa.Array:
    """NaN is NULL."""
    if not pa.types.is_floating(array.type):
        return array
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)


def text_array(data: Any, mask: Any) -> pa.Array:
    if mask.ndim > 1:
        mask = mask.all(axis=tuple(range(1, mask.ndim)))
        data = [text_of(cell) for cell in data]
    return pa.array(
        [None if hidden else text_of(cell) for cell, hidden in zip(data, mask, strict=True)], pa.string()
    )


def text_of(cell: object) -> str:
    """A text; of an array of them one, in which each has its width (those of FITS with TDIM)."""
    if isinstance(cell, np.ndarray):
        width = cell.dtype.itemsize // (4 if cell.dtype.kind == "U" else 1)
        return "".join(text_of(part).ljust(width) for part in cell.ravel().tolist()).rstrip()
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
    mask = np.ma.getmaskarray(cell) | hidden
    inner: Any = np.ma.masked_array(np.ma.getdata(cell), mask=mask).ravel()
    inner = inner.astype(inner.dtype.newbyteorder("="))
    if column.datatype in COMPLEX:
        part = np.float32 if column.datatype == "floatComplex" else np.float64
        inner = np.ma.getdata(inner).view(part)
    values: list[Any] = inner.tolist()
    return values


def as_needed(column: Column, array: pa.Array) -> tuple[Column, pa.Array]:
    """The column as its values need it: char is ASCII, so that other letters need unicodeChar; among bytes no
    number stands for NULL, so that arrays with NULLs in them need short."""
    if column.datatype == "char" and not pc.all(pc.string_is_ascii(array), min_count=0).as_py():
        return replace(column, datatype="unicodeChar"), array
    if column.datatype == "unsignedByte" and column.array and array.flatten().null_count:
        column = replace(column, datatype="short")
        return column, array_in(column, array.to_pylist())
    return column, array
