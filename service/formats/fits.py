"""FITS binary tables. The header tells the number of rows and the width of texts, so rows wait in a file."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from registry_metadata.columns import COMPLEX, Column
from service.formats.arrow import arrow_schema, record_batch
from service.formats.binary import encode_batch
from service.formats.stream import NULLS, Rows, fixed_length, slices

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


def write_fits(rows: Rows) -> Iterator[bytes]:
    """A primary HDU and one BINTABLE. Arrays of varying size become as long as the longest, filled with
    NULLs of their type; letters outside ASCII become `?` (FITS 4.0, 7.3.3), which the header tells."""
    with tempfile.TemporaryFile() as spool:
        count, widths, lost = spooled(rows, spool)
        columns = [fixed(column, width) for column, width in zip(rows.columns, widths, strict=True)]
        yield headers(rows, columns, count, lost)
        size = 0
        for batch in slices(iter(pa.ipc.open_stream(spool))):
            data = encode_batch(columns, filled(columns, batch), flags=False)
            size += len(data)
            yield data
        yield bytes(-size % BLOCK)


def spooled(rows: Rows, spool: IO[bytes]) -> tuple[int, list[int], list[str]]:
    """Writes the rows to the file; their number, the widest value of each column, and the columns with
    letters that FITS does not have."""
    count, widths, schema = 0, [1] * len(rows.columns), arrow_schema(rows)
    lost: dict[str, None] = {}
    with pa.ipc.new_stream(spool, schema) as writer:
        for batch in rows.batches:
            whole = record_batch(rows, schema, batch)
            writer.write_batch(whole)
            count += whole.num_rows
            for i, (column, array) in enumerate(zip(rows.columns, whole.columns, strict=True)):
                widths[i] = max(widths[i], widest(column, array))
                if not is_plain(column, array):
                    lost[column.name] = None
    spool.seek(0)
    return count, widths, list(lost)


def is_plain(column: Column, array: pa.Array) -> bool:
    """Whether FITS can hold the texts as they are."""
    return not column.text or bool(pc.all(pc.string_is_ascii(array), min_count=0).as_py())


def widest(column: Column, array: pa.Array) -> int:
    """Letters of the longest text, numbers of the longest array."""
    if column.text:
        return pc.max(pc.utf8_length(array)).as_py() or 1
    if column.array and fixed_length(column) is None:
        return pc.max(pc.list_value_length(array)).as_py() or 1
    return 1


def fixed(column: Column, width: int) -> Column:
    """The column with the size that it has in the file."""
    if column.text:
        return replace(column, datatype="char", arraysize=str(width))
    if column.datatype == "bit":
        column = replace(column, datatype="boolean")
    if column.array and fixed_length(column) is None:
        return replace(column, arraysize=str(width // 2 if column.datatype in COMPLEX else width))
    return column


def filled(columns: Sequence[Column], batch: pa.RecordBatch) -> pa.RecordBatch:
    """Arrays of varying size brought to the size of their column, texts to ASCII."""
    arrays = [fitting(column, array) for column, array in zip(columns, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=[str(i) for i in range(len(arrays))])


def fitting(column: Column, array: pa.Array) -> pa.Array:
    if column.array and pa.types.is_list(array.type):
        return padded_lists(array, fixed_length(column) or 1)
    if not is_plain(column, array):
        return pc.replace_substring_regex(array, r"[^\x00-\x7f]", "?")
    return array


def padded_lists(array: pa.Array, count: int) -> pa.Array:
    """Lists of `count` elements; the missing ones are NULL."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    places: npt.NDArray[np.int64] = np.full((len(array), count), -1, np.int64)
    places[np.arange(count) < lengths[:, None]] = np.arange(int(lengths.sum()))
    taken = array.flatten().take(pa.array(places.ravel(), mask=places.ravel() < 0))
    return pa.FixedSizeListArray.from_arrays(taken, count)


def headers(rows: Rows, columns: Sequence[Column], count: int, lost: Sequence[str]) -> bytes:
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
        for i, (column, width) in enumerate(zip(columns, widths, strict=True), 1):
            describe(header, i, column, width)
        ended(header, rows)
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
    if column.datatype in NULLS:
        header[f"TNULL{i}"] = NULLS[column.datatype]


def ended(header: dict[str, object], rows: Rows) -> None:
    """How the query went: it is over when the header is written."""
    overflow = rows.overflowed()
    header["QSTATUS"] = "OVERFLOW" if overflow else "OK"
    if overflow:
        header["QMESSAGE"] = ascii_text(f"The result was cut by {rows.limit}")
    for info in rows.infos:
        header["HISTORY"] = ascii_text(f"{info.name}: {info.text or info.value}")


def ascii_text(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)
