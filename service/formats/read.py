"""Reads tables that people upload: VOTable, FITS, Parquet, CSV; told apart by their first bytes."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index.catalogue import ARROW
from registry_metadata.columns import Column
from service.errors import UsageFault
from service.formats.fits import LETTERS
from service.formats.masked import array_of, as_needed, without_nan
from service.formats.read_votable import arraysize_of, columns_of, read_votable
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
    pa.uint64(): "long",  # those that are larger are refused
    pa.float16(): "float",
    pa.float32(): "float",
    pa.float64(): "double",
}
NUMPY = {
    "b1": "boolean",
    "i1": "short",
    "u1": "unsignedByte",
    "i2": "short",
    "u2": "int",
    "u4": "long",
    "u8": "long",
    "i4": "int",
    "i8": "long",
    "f4": "float",
    "f8": "double",
    "c8": "floatComplex",
    "c16": "doubleComplex",
}


HEAP = {letter: datatype for datatype, (letter, _) in LETTERS.items()} | {"L": "boolean", "A": "char"}
UNREADABLE = (
    ValueError, TypeError, KeyError, IndexError, OSError, EOFError, RecursionError, pa.ArrowException,
)  # fmt: skip
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT96": 12}  # bytes of Parquet's values; others have 8
DIGITS = 15  # of a decimal number, which a double has too
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
            unknown = unknown_logicals(found)
            letters = [re.sub(r"^\d*[PQ](\w).*", r"\1", str(one.format)) for one in found.columns]
    named = enumerate(zip(table.colnames, letters, strict=True), 1)
    described = [fits_column(table, i, name, letter) for i, (name, letter) in named]
    return uploaded(
        as_needed(column, array_of(column, np.ma.array(table[column.name], mask=unknown[column.name])))
        if column.name in unknown
        else as_needed(column, array_of(column, table[column.name]))
        for column in described
    )


def unknown_logicals(hdu: Any) -> Mapping[str, npt.NDArray[np.bool_]]:
    """Where logical columns (L) hold neither T nor F but a NULL, which astropy reads as false."""
    names = [one.name for one in hdu.columns if getattr(one.format, "format", "") == "L"]
    letters: Any = hdu.data.view(np.ndarray) if names else {}
    return {name: ~np.isin(letters[name], (ord("T"), ord("F"))) for name in names}


def heap_bytes(hdu: Any) -> int:
    """What its columns of variable length unpack to at most, by their descriptors (FITS 4.0, 7.3.5)."""
    names = [one.name for one in hdu.columns if getattr(one.format, "format", "") in ("P", "Q")]
    rows: Any = hdu.data.view(np.ndarray) if names else {}
    return sum(int(rows[name][:, 0].clip(0).sum(dtype=np.int64)) * WIDEST for name in names)


def fits_column(table: Table, i: int, name: str, letter: str) -> Column:
    """Column `i`, counted from 1; `letter` tells the type of what is in the heap."""
    values = table[name]
    if values.dtype == object:
        datatype = HEAP[letter]
    else:
        kind = values.dtype.newbyteorder("=")
        datatype = "char" if kind.kind in "SU" else NUMPY[kind.str.lstrip("<>|=")]
    shape = "x".join(map(str, reversed(values.shape[1:])))
    arraysize = "*" if datatype == "char" or values.dtype == object else arraysize_of(shape)
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
    if re.search(rb"[\0-\x08\x0e-\x1f]", content[:1024]):
        raise ValueError("it is neither VOTable, FITS nor Parquet, and no CSV in UTF-8")
    table = csv.read_csv(
        pa.BufferReader(content),
        parse_options=csv.ParseOptions(delimiter="\t" if tabs else ",", newlines_in_values=True),
        convert_options=csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
    )
    return from_arrow(table)


def from_arrow(table: pa.Table, known: Mapping[str, Column] = MappingProxyType({})) -> Uploaded:
    """Columns by Arrow's types, described by the metadata of their fields or as `known` from elsewhere."""
    table = table.combine_chunks()
    found = []
    for field, values in zip(table.schema, table.columns, strict=True):
        array = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], field.type)
        column, array = as_needed(*described(field.name, array))
        found.append((replace(column, **said_of(field, known.get(field.name))), array))
    return uploaded(found)


def uploaded(found: Iterable[tuple[Column, pa.Array]]) -> Uploaded:
    columns, arrays = zip(*found, strict=True)
    return columns, pa.Table.from_arrays(arrays, names=[column.name for column in columns])


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
        return described_lists(name, array)
    if kind in DATATYPES:
        return Column(name, DATATYPES[kind]), without_nan(array).cast(ARROW[DATATYPES[kind]])
    if pa.types.is_decimal(kind) and kind.precision <= DIGITS:
        return Column(name, "double"), array.cast(pa.float64())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Column(name, "char", "*", xtype="timestamp"), timestamp_texts(array)
    if pa.types.is_nested(kind) or pa.types.is_duration(kind):
        raise TypeError(f"the column {name} is of type {kind}, which VOTable lacks")
    text = array.cast(pa.string())
    return Column(name, "char", "*"), text


def described_lists(name: str, array: pa.Array) -> tuple[Column, pa.Array]:
    """A column of arrays; VOTable knows none of one element each."""
    inner = array.type.value_type
    inner = inner.value_type if pa.types.is_dictionary(inner) else inner
    base = DATATYPES.get(inner)
    if base is None:
        raise TypeError(f"the column {name} has lists of {inner}, which VOTable lacks")
    count = array.type.list_size if pa.types.is_fixed_size_list(array.type) else 1
    return Column(name, base, str(count) if count > 1 else "*"), array.cast(pa.list_(ARROW[base]))


def timestamp_texts(array: pa.Array) -> pa.Array:
    """Times in UTC, with as many places of a second as they have."""
    for unit in ("s", "ms", "us", "ns"):
        with suppress(pa.ArrowInvalid):
            return pc.strftime(array.cast(pa.timestamp(unit)), format="%Y-%m-%dT%H:%M:%S")
    raise ValueError(f"{array.type} holds times that have no place between the years 1678 and 2262")
