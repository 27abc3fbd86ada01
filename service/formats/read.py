"""Reads tables that people upload: VOTable, FITS, Parquet, CSV; told apart by their first bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.catalogue import ARROW
from registry_metadata.columns import Column
from service.errors import UsageFault
from service.formats.masked import array_of, unicode_where_needed
from service.formats.read_votable import columns_of, read_votable
from service.formats.sizes import check_size, check_unpacked
from service.limits import Limits

if TYPE_CHECKING:
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


UNREADABLE = (
    ValueError, TypeError, KeyError, IndexError, OSError, EOFError, RecursionError, pa.ArrowException,
)  # fmt: skip
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT96": 12}  # bytes of Parquet's values; others have 8
DESCRIBED = ("unit", "ucd", "utype", "xtype", "description")
WIDEST = 16  # bytes of a FITS value, which a complex number has
VOPARQUET = b"IVOA.VOTable-Parquet.content"


def read_table(content: bytes, name: str, limits: Limits) -> Uploaded:
    """Columns and rows of an upload; the names of the Arrow table's columns are those of the columns."""
    reader = reader_of(content)
    try:
        columns, table = reader(content, limits)
    except UNREADABLE as error:
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


def check_names(name: str, columns: tuple[Column, ...]) -> None:
    names = [column.name for column in columns]
    for one in names:
        if names.count(one) > 1:
            raise UsageFault(f"The upload {name} has two columns named {one}")
    if not names:
        raise UsageFault(f"The upload {name} has no columns")


def read_fits(content: bytes, limits: Limits) -> Uploaded:
    """The first binary or ASCII table extension, with its TUCDs, TUTYPs and TXTYPs.

    Sizes are looked at before anything is unpacked: rows may be empty, or share one place of the heap.
    """
    from astropy.io import fits
    from astropy.table import Table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(io.BytesIO(content), disable_image_compression=True) as hdus:
            found = next((hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)), None)
            if found is None:
                raise ValueError("there is no table in it")
            check_size("", found.header["TFIELDS"], found.header["NAXIS2"], limits)
            check_unpacked(heap_bytes(found), limits)
            table = Table.read(found)
    described = [fits_column(table, i, name) for i, name in enumerate(table.colnames, 1)]
    arrays = [array_of(column, table[column.name]) for column in described]
    columns = tuple(unicode_where_needed(c, a) for c, a in zip(described, arrays, strict=True))
    return columns, pa.Table.from_arrays(arrays, names=[column.name for column in columns])


def heap_bytes(hdu: Any) -> int:
    """What its columns of variable length unpack to at most, by their descriptors (FITS 4.0, 7.3.5)."""
    names = [one.name for one in hdu.columns if getattr(one.format, "format", "") in ("P", "Q")]
    rows: Any = hdu.data.view(np.ndarray) if names else {}
    return sum(int(rows[name][:, 0].clip(0).sum(dtype=np.int64)) * WIDEST for name in names)


def fits_column(table: Table, i: int, name: str) -> Column:
    values = table[name]
    kind = values.dtype if values.dtype != object else np.result_type(*[np.asarray(cell) for cell in values])
    datatype = "char" if kind.kind in "SU" else NUMPY[kind.newbyteorder("=").str.lstrip("<>|=")]
    shape = "x".join(map(str, reversed(values.shape[1:]))) or None
    arraysize = "*" if datatype == "char" or values.dtype == object else shape
    unit = None if values.unit is None else values.unit.to_string("vounit", deprecations="silent")
    ucd, utype, xtype = (table.meta.get(f"{key}{i}") for key in ("TUCD", "TUTYP", "TXTYP"))
    told = values.description or ""
    return Column(name, datatype, arraysize, xtype, unit=unit, ucd=ucd, utype=utype, description=told)


def read_parquet(content: bytes, limits: Limits) -> Uploaded:
    """Sizes are looked at before anything is unpacked; texts are kept as dictionaries until theirs is known.

    Columns are described by the metadata of fields, as ours are, or by VOParquet's VOTable.
    """
    import pyarrow.parquet as pq

    told = pq.read_metadata(pa.BufferReader(content))
    check_size("", told.num_columns, told.num_rows, limits)
    groups = [told.row_group(i) for i in range(told.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    check_unpacked(sum(group.total_byte_size for group in groups), limits)
    check_unpacked(sum(one.num_values * WIDTHS.get(one.physical_type, 8) for one in chunks), limits)
    texts = {one.path_in_schema for one in chunks if one.physical_type == "BYTE_ARRAY"}
    table = pq.ParquetFile(pa.BufferReader(content), read_dictionary=sorted(texts)).read()
    check_unpacked(sum(map(text_bytes, table.columns)), limits)
    return from_arrow(table, voparquet_columns(table.schema.metadata or {}, limits))


def text_bytes(column: pa.ChunkedArray) -> int:
    """What a column of texts takes when it is no dictionary any more."""
    if not pa.types.is_dictionary(column.type):
        return 0
    sizes = (pc.sum(pc.binary_length(one.dictionary).take(one.indices)).as_py() for one in column.chunks)
    return sum(size or 0 for size in sizes)


def voparquet_columns(metadata: Mapping[bytes, bytes], limits: Limits) -> Mapping[str, Column]:
    """What the VOTable in a Parquet file's metadata (VOParquet 1.0) says of columns."""
    header = metadata.get(VOPARQUET)
    columns = columns_of(header, limits) if header else ()
    return {column.name: column for column in columns}


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


def from_arrow(table: pa.Table, known: Mapping[str, Column] = MappingProxyType({})) -> Uploaded:
    """Columns by Arrow's types, described by the metadata of their fields or as `known` from elsewhere."""
    table = table.combine_chunks()
    columns, arrays = [], []
    for field, values in zip(table.schema, table.columns, strict=True):
        array = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], field.type)
        column, array = described(field.name, array)
        columns.append(replace(column, **said_of(field, known.get(field.name))))
        arrays.append(array)
    return tuple(columns), pa.Table.from_arrays(arrays, names=[column.name for column in columns])


def said_of(field: pa.Field, known: Column | None) -> dict[str, Any]:
    told = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    said = {key: told.get(key) or getattr(known, key, None) for key in DESCRIBED}
    return {key: value for key, value in said.items() if value}


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
