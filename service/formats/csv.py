"""Comma- and tab-separated values (TAP 1.1, 3.2; RFC 4180)."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from registry_metadata.columns import Column
from service.formats.stream import Rows, joined, slices, texts

NEEDS_QUOTES = r'[",\r\n]'


def write_csv(rows: Rows, header: bool = True) -> Iterator[bytes]:
    """NULL is an empty cell, an empty text `""`."""
    if header:
        yield (",".join(quoted_name(column.name) for column in rows.columns) + "\r\n").encode()
    for batch in slices(rows.batches):
        cells = [
            pc.fill_null(quoted(text) if column.text or column.array else text, "")
            for column, text in columns_as_text(rows, batch)
        ]
        yield lines(cells, ",", "\r\n", batch.num_rows)


def write_tsv(rows: Rows, header: bool = True) -> Iterator[bytes]:
    """Tabs and line ends inside values become spaces: the format knows no quotes."""
    if header:
        yield ("\t".join(column.name.replace("\t", " ") for column in rows.columns) + "\n").encode()
    for batch in slices(rows.batches):
        cells = [
            pc.fill_null(flat(text) if column.text else text, "")
            for column, text in columns_as_text(rows, batch)
        ]
        yield lines(cells, "\t", "\n", batch.num_rows)


def columns_as_text(rows: Rows, batch: pa.RecordBatch) -> Iterator[tuple[Column, pa.Array]]:
    for column, array in zip(rows.columns, batch.columns, strict=True):
        yield column, texts(column, array, "null")


def lines(cells: list[pa.Array], separator: str, end: str, rows: int) -> bytes:
    return joined([pc.binary_join_element_wise(*cells, pa.scalar(separator)), end], rows)


def quoted_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(c in name for c in '",\r\n') else name


def quoted(text: pa.Array) -> pa.Array:
    must = pc.or_(pc.match_substring_regex(text, NEEDS_QUOTES), pc.equal(text, ""))
    if not pc.any(must, min_count=0).as_py():
        return text
    inside = pc.replace_substring(text, '"', '""')
    return pc.if_else(must, pc.binary_join_element_wise('"', inside, '"', ""), text)


def flat(text: pa.Array) -> pa.Array:
    if not pc.any(pc.match_substring_regex(text, r"[\t\r\n]"), min_count=0).as_py():
        return text
    return pc.replace_substring_regex(text, r"[\t\r\n]+", " ")
