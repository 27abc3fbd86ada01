"""FITS binary tables. The header tells the number of rows and the width of texts, so rows wait in a file."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from registry_metadata.columns import COMPLEX, Column
from service.errors import UsageFault
from service.formats.arrow import arrow_schema, record_batch
from service.formats.binary import encode_batch
from service.formats.stream import NULLS, Rows, fixed_length, holds, slices

BLOCK = 2880
LETTERS = {
    "boolean": ("L", 1),
    "bit": ("L", 1),
    "unsignedByte": ("B", 1),
    "short": ("I", 2),
    "int": ("J", 4),
    "long": ("K", 8),
    "float": ("E", 4),
    "double": ("D", 8),
    "floatComplex": ("C", 8),
    "doubleComplex": ("M", 16),
    "char": ("A", 1),
    "unicodeChar": ("A", 1),
}


WIDER = {"unsignedByte": "short", "short": "int", "int": "long"}


@dataclass(slots=True)
class Seen:
    """What the values of a column need of its place in the file."""

    column: Column
    width: int = 1  # letters of the longest text, numbers of the longest array
    plain: bool = True  # FITS has all of its letters
    nulls: bool = False
    taken: bool = False  # a value is the number that would stand for NULL

    def add(self, array: pa.Array) -> None:
        column = self.column
        open_array = column.array and fixed_length(column) is None
        if column.text:
            self.width = max(self.width, pc.max(pc.utf8_length(array)).as_py() or 1)
            self.plain = self.plain and is_plain(column, array)
        elif open_array:
            self.width = max(self.width, pc.max(pc.list_value_length(array)).as_py() or 1)
        if column.datatype in NULLS:
            self.nulls = self.nulls or open_array or has_nulls(column, array)
            self.taken = self.taken or holds(column, array, NULLS[column.datatype])

    @property
    def in_file(self) -> Column:
        """The column with the type and size that it has in the file."""
        column = self.column
        if column.text:
            return replace(column, datatype="char", arraysize=str(self.width))
        if column.datatype == "bit":
            column = replace(column, datatype="boolean")
        if self.nulls and self.taken:
            if column.datatype not in WIDER:
                raise UsageFault(
                    f"the column {column.name} holds {NULLS[column.datatype]}, which stands for NULL in FITS"
                )
            column = replace(column, datatype=WIDER[column.datatype])
        if column.array and fixed_length(column) is None:
            return replace(
                column, arraysize=str(self.width // 2 if column.datatype in COMPLEX else self.width)
            )
        return column


def has_nulls(column: Column, array: pa.Array) -> bool:
    return bool(array.null_count or (column.array and array.flatten().null_count))


def write_fits(rows: Rows) -> Iterator[bytes]:
    """A primary HDU and one BINTABLE. Arrays of varying size become as long as the longest, filled with
    NULLs of their type; letters outside ASCII become `?` (FITS 4.0, 7.3.3), which the header tells."""
    with tempfile.TemporaryFile() as spool:
        count, seen = spooled(rows, spool)
        columns = [one.in_file for one in seen]
        yield headers(rows, columns, count, seen)
        written = [as_bytes(column) for column in columns]
        size = 0
        for batch in slices(iter(pa.ipc.open_stream(spool))):
            data = encode_batch(written, filled(columns, batch), flags=False)
            size += len(data)
            yield data
        yield bytes(-size % BLOCK)


def spooled(rows: Rows, spool: IO[bytes]) -> tuple[int, list[Seen]]:
    """Writes the rows to the file; their number, and what was seen of each column."""
    count, seen, schema = 0, list(map(Seen, rows.columns)), arrow_schema(rows)
    with pa.ipc.new_stream(spool, schema) as writer:
        for batch in rows.batches:
            whole = record_batch(rows, schema, batch)
            writer.write_batch(whole)
            count += whole.num_rows
            for one, array in zip(seen, whole.columns, strict=True):
                one.add(array)
    spool.seek(0)
    return count, seen


def is_plain(column: Column, array: pa.Array) -> bool:
    """Whether FITS can hold the texts as they are."""
    return not column.text or bool(pc.all(pc.string_is_ascii(array), min_count=0).as_py())


def as_bytes(column: Column) -> Column:
    """Logical values are the letters T and F, and a byte of 0 where there is none (FITS 4.0, 7.3.3)."""
    return replace(column, datatype="unsignedByte") if column.datatype == "boolean" else column


def filled(columns: Sequence[Column], batch: pa.RecordBatch) -> pa.RecordBatch:
    """Arrays of varying size brought to the size of their column, texts to ASCII."""
    arrays = [fitting(column, array) for column, array in zip(columns, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=[str(i) for i in range(len(arrays))])


def fitting(column: Column, array: pa.Array) -> pa.Array:
    if column.array and (pa.types.is_list(array.type) or column.datatype == "boolean"):
        array = padded_lists(array, fixed_length(column) or 1)
    if column.datatype == "boolean":
        return logical(array)
    if not is_plain(column, array):
        return pc.replace_substring_regex(array, r"[^\x00-\x7f]", "?")
    return array


def logical(array: pa.Array) -> pa.Array:
    """T, F or 0 as bytes, in lists as in single values."""
    if not pa.types.is_boolean(array.type):
        return pa.FixedSizeListArray.from_arrays(logical(array.flatten()), array.type.list_size)
    return pc.fill_null(
        pc.if_else(array, pa.scalar(ord("T"), pa.uint8()), pa.scalar(ord("F"), pa.uint8())), 0
    )


def padded_lists(array: pa.Array, count: int) -> pa.Array:
    """Lists of `count` elements; the missing ones are NULL."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    places: npt.NDArray[np.int64] = np.full((len(array), count), -1, np.int64)
    places[np.arange(count) < lengths[:, None]] = np.arange(int(lengths.sum()))
    taken = array.flatten().take(pa.array(places.ravel(), mask=places.ravel() < 0))
    return pa.FixedSizeListArray.from_arrays(taken, count)


def headers(rows: Rows, columns: Sequence[Column], count: int, seen: Sequence[Seen]) -> bytes:
    """Both headers, padded to blocks."""
    from astropy.io import fits

    header = fits.Header()
    widths = [(fixed_length(column) or 1) for column in columns]
    for key, value in (("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2)):
        header[key] = value
    header["NAXIS1"] = sum(column_bytes(c, w) for c, w in zip(columns, widths, strict=True))
    header["NAXIS2"], header["PCOUNT"], header["GCOUNT"] = count, 0, 1
    header["TFIELDS"], header["EXTNAME"] = len(columns), rows.name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # long values continue on cards of their own
        for i, (column, width, one) in enumerate(zip(columns, widths, seen, strict=True), 1):
            describe(header, i, column, width)
            if one.nulls:
                header[f"TNULL{i}"] = NULLS[column.datatype]
        ended(header, rows)
        lost = [one.column.name for one in seen if not one.plain]
        if lost:
            header["COMMENT"] = ascii_text(
                f"? stands for letters that FITS does not have in: {', '.join(lost)}"
            )
    primary: str = fits.PrimaryHDU().header.tostring(padding=True)
    table: str = header.tostring(padding=True)
    return (primary + table).encode("ascii")


def column_bytes(column: Column, width: int) -> int:
    elements = width // 2 if column.datatype in COMPLEX else width
    return elements * LETTERS[column.datatype][1]


def describe(header: dict[str, object], i: int, column: Column, width: int) -> None:
    """TTYPE and its like for one column; TUCD, TUTYP and TXTYP as TOPCAT writes and reads them."""
    elements = width // 2 if column.datatype in COMPLEX else width
    letter = LETTERS[column.datatype][0]
    words = {
        "TTYPE": column.name,
        "TFORM": f"{elements if letter == 'A' or elements > 1 else ''}{letter}",
        "TUNIT": column.unit,
        "TUCD": column.ucd,
        "TUTYP": column.utype,
        "TXTYP": column.xtype,
        "TCOMM": column.description,
    }
    for key, value in words.items():
        if value:
            header[f"{key}{i}"] = ascii_text(value)


def ended(header: dict[str, object], rows: Rows) -> None:
    """How the query went: it is over when the header is written."""
    overflow = rows.overflowed()
    header["QSTATUS"] = "OVERFLOW" if overflow else "OK"
    if overflow:
        header["QMESSAGE"] = ascii_text(f"The result was cut by {rows.limit}")
    for info in rows.infos:
        header["HISTORY"] = ascii_text(f"{info.name}: {info.value}")


def ascii_text(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)
