"""Reads tables that people upload: VOTable, FITS, Parquet, CSV; told apart by their first bytes."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry_metadata.columns import Column
from service.errors import TooLargeFault, UsageFault
from service.formats.stream import ARROW, COMPLEX, TEXT, fixed_length, is_array
from service.limits import Limits

if TYPE_CHECKING:
    from astropy.io.votable.tree import Field
    from astropy.table import Table

Uploaded = tuple[tuple[Column, ...], pa.Table]
DATATYPES = {
    pa.bool_(): "boolean",
    pa.int8(): "short",
    pa.uint8(): "unsignedByte",
    pa.int16(): "short",
    pa.uint16(): "int",
    pa.int32(): "int",
    pa.uint32(): "long",
    pa.int64(): "long",
    pa.float16(): "float",
    pa.float32(): "float",
    pa.float64(): "double",
}
NUMPY = {
    "b1": "boolean",
    "u1": "unsignedByte",
    "i2": "short",
    "i4": "int",
    "i8": "long",
    "f4": "float",
    "f8": "double",
    "c8": "floatComplex",
    "c16": "doubleComplex",
}


def read_table(content: bytes, name: str, limits: Limits) -> Uploaded:
    """Columns and rows of an upload; the names of the Arrow table's columns are those of the columns."""
    reader = reader_of(content)
    try:
        columns, table = reader(content, limits)
    except (ValueError, TypeError, KeyError, IndexError, OSError, EOFError, pa.ArrowException) as error:
        raise UsageFault(f"The upload {name} cannot be read: {first_line(error)}") from None
    check_size(name, len(columns), table.num_rows, limits)
    check_names(name, columns)
    return columns, table


def reader_of(content: bytes) -> Callable[[bytes, Limits], Uploaded]:
    start = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<"):
        return read_votable
    if start.startswith(b"SIMPLE"):
        return read_fits
    if start.startswith(b"PAR1"):
        return read_parquet
    return read_csv


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


def check_size(name: str, columns: int, rows: int, limits: Limits) -> None:
    for count, most, what in (
        (columns, limits.upload_columns, "columns"),
        (rows, limits.upload_rows, "rows"),
    ):
        if count > most:
            raise TooLargeFault(f"The upload {name} has {count} {what}: at most {most} are allowed")


def check_names(name: str, columns: tuple[Column, ...]) -> None:
    names = [column.name for column in columns]
    for one in names:
        if names.count(one) > 1:
            raise UsageFault(f"The upload {name} has two columns named {one}")
    if not names:
        raise UsageFault(f"The upload {name} has no columns")


def read_votable(content: bytes, limits: Limits) -> Uploaded:
    """The first TABLE. A document type (where entities are declared) is refused."""
    if re.search(rb"<!(DOCTYPE|ENTITY)", content[:100_000], re.IGNORECASE):
        raise ValueError("a document type is not allowed in a VOTable")
    from astropy.io import votable

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            document = votable.parse(io.BytesIO(content), verify="ignore", invalid="mask")
        except votable.exceptions.VOWarning as problem:  # astropy raises some of its warnings
            raise ValueError(str(problem)) from None
    table = next(iter(document.iter_tables()), None)
    if table is None:
        raise ValueError("there is no TABLE in it")
    columns = tuple(column_of(field) for field in table.fields)
    arrays = [
        array_of(column, table.array[field.ID]) for column, field in zip(columns, table.fields, strict=True)
    ]
    columns = tuple(unicode_where_needed(c, a) for c, a in zip(columns, arrays, strict=True))
    return columns, pa.Table.from_arrays(arrays, names=[column.name for column in columns])


def column_of(field: Field) -> Column:
    arraysize = None if field.arraysize in (None, "", "1") else str(field.arraysize)
    return Column(
        name=str(field.name or field.ID),
        datatype=str(field.datatype),
        arraysize=arraysize,
        xtype=field.xtype or None,
        unit=None if field.unit is None else field.unit.to_string("vounit", deprecations="silent"),
        ucd=field.ucd or None,
        utype=field.utype or None,
        description=(field.description or "").strip(),
    )


def unicode_where_needed(column: Column, array: pa.Array) -> Column:
    """char is ASCII: what holds other letters is told as unicodeChar."""
    if column.datatype != "char" or pc.all(pc.string_is_ascii(array), min_count=0).as_py():
        return column
    return replace(column, datatype="unicodeChar")


def array_of(column: Column, values: Any) -> pa.Array:
    """An Arrow array from astropy's masked array: NULL where it is masked or NaN."""
    mask = np.ma.getmaskarray(values)
    data = np.ma.getdata(values)
    if column.datatype in TEXT:
        return text_array(data, mask)
    if is_array(column):
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
        None if np.all(hidden) and np.size(hidden) else flat_cell(column, cell, hidden)
        for cell, hidden in zip(data, mask, strict=True)
    ]
    base = ARROW[column.datatype]
    count = fixed_length(column)
    kind = pa.list_(base) if count is None else pa.list_(base, count)
    return pa.array(cells, kind)


def flat_cell(column: Column, cell: Any, hidden: Any) -> list[Any]:
    inner: Any = np.ma.masked_array(np.ma.getdata(cell), mask=np.ma.getmaskarray(cell)).ravel()
    if column.datatype in COMPLEX:
        part = np.float32 if column.datatype == "floatComplex" else np.float64
        inner = np.ma.getdata(inner).view(part)
    values: list[Any] = inner.tolist()
    return values


def read_fits(content: bytes, limits: Limits) -> Uploaded:
    """The first binary or ASCII table extension, with its TUCDs and TUTYPs."""
    from astropy.table import Table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = Table.read(io.BytesIO(content), format="fits")
    found = [fits_column(table, i, name) for i, name in enumerate(table.colnames, 1)]
    arrays = [array_of(column, table[column.name]) for column in found]
    columns = tuple(unicode_where_needed(c, a) for c, a in zip(found, arrays, strict=True))
    return columns, pa.Table.from_arrays(arrays, names=[column.name for column in columns])


def fits_column(table: Table, i: int, name: str) -> Column:
    values = table[name]
    kind = values.dtype if values.dtype != object else np.result_type(*[np.asarray(cell) for cell in values])
    datatype = "char" if kind.kind in "SU" else NUMPY[kind.newbyteorder("=").str.lstrip("<>|=")]
    shape = "x".join(map(str, reversed(values.shape[1:]))) or None
    arraysize = "*" if datatype == "char" or values.dtype == object else shape
    unit = None if values.unit is None else values.unit.to_string("vounit", deprecations="silent")
    ucd, utype = (table.meta.get(f"{key}{i}") for key in ("TUCD", "TUTYP"))
    return Column(
        name, datatype, arraysize, unit=unit, ucd=ucd, utype=utype, description=values.description or ""
    )


def read_parquet(content: bytes, limits: Limits) -> Uploaded:
    """Sizes are looked at before anything is unpacked."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(content))
    told = file.metadata
    check_size("", told.num_columns, told.num_rows, limits)
    size = sum(told.row_group(i).total_byte_size for i in range(told.num_row_groups))
    if size > 10 * limits.upload_bytes:
        raise TooLargeFault(
            f"The upload unpacks to {size} bytes: at most {10 * limits.upload_bytes} are allowed"
        )
    return from_arrow(file.read())


def read_csv(content: bytes, limits: Limits) -> Uploaded:
    """A header line, then rows; separated by commas or tabs; types are those that all values have."""
    from pyarrow import csv

    tabs = b"\t" in content.split(b"\n", 1)[0]
    table = csv.read_csv(
        pa.BufferReader(content),
        parse_options=csv.ParseOptions(delimiter="\t" if tabs else ",", newlines_in_values=True),
        convert_options=csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
    )
    return from_arrow(table)


def from_arrow(table: pa.Table) -> Uploaded:
    """Columns by Arrow's types; field metadata of ours and of VOParquet is taken where it is there."""
    table = table.combine_chunks()
    columns, arrays = [], []
    for field, values in zip(table.schema, table.columns, strict=True):
        array = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], field.type)
        column, array = described(field.name, array)
        told = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        columns.append(replace(column, **{key: told[key] for key in ("unit", "ucd", "utype") if key in told}))
        arrays.append(array)
    return tuple(columns), pa.Table.from_arrays(arrays, names=[column.name for column in columns])


def described(name: str, array: pa.Array) -> tuple[Column, pa.Array]:
    """A column's datatype by its Arrow type; other types become text."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        base = DATATYPES.get(kind.value_type)
        if base is None:
            raise TypeError(f"the column {name} has lists of {kind.value_type}, which VOTable lacks")
        size = str(kind.list_size) if pa.types.is_fixed_size_list(kind) else "*"
        return Column(name, base, size), array.cast(pa.list_(ARROW[base]))
    if kind in DATATYPES:
        return Column(name, DATATYPES[kind]), array.cast(ARROW[DATATYPES[kind]])
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        text = pc.strftime(array.cast(pa.timestamp("ms")), format="%Y-%m-%dT%H:%M:%S")
        return Column(name, "char", "*", xtype="timestamp"), text
    text = array.cast(pa.string())
    return unicode_where_needed(Column(name, "char", "*"), text), text
