"""A VOTable out of rows that are text already, and the text of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from registry_metadata.columns import Column
from service.formats.stream import Rows
from service.formats.votable import ServiceDescriptor, cells, head, status, tail


def row_texts(columns: Sequence[Column], batch: pa.RecordBatch) -> list[str]:
    """The cells of every row, `<TD>…</TD><TD>…</TD>`, as TABLEDATA has them."""
    texts = (cells(column, array).to_pylist() for column, array in zip(columns, batch.columns, strict=True))
    return [f"<TD>{'</TD><TD>'.join(row)}</TD>" for row in zip(*texts, strict=True)]


def write_lines(
    rows: Rows, lines: Iterable[str], descriptors: Sequence[ServiceDescriptor]
) -> Iterator[bytes]:
    """The document; `lines` are the cells of its rows, `rows` tells the rest and has no batches."""
    body = "</TR>\n<TR>".join(lines)
    end = [status("OVERFLOW", f"The result was cut by {rows.limit}")] if rows.overflowed() else []
    before = (head(rows, (), "TABLEDATA"), "<TABLEDATA>\n")
    data = f"<TR>{body}</TR>\n" if body else ""
    yield "".join((*before, data, "</TABLEDATA>", tail(end, rows, descriptors))).encode()
