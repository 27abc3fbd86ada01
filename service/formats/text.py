"""For people: an HTML page, and text in columns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from registry_metadata.columns import Column
from service.errors import ServiceFault
from service.formats.csv import flat, lines
from service.formats.stream import Rows, joined, slices, texts
from service.formats.votable import attribute, cells, escape

STYLE = (
    "body{font-family:sans-serif;margin:1em}table{border-collapse:collapse;font-size:85%}"
    "th,td{border:1px solid #ccc;padding:.2em .5em;text-align:left;vertical-align:top}"
    "th{background:#eef;position:sticky;top:0}small{color:#555;font-weight:normal}.fault{color:#b00}"
)
WIDEST = 40  # letters of a column of text, where no value in the first piece is wider
LINK = r"^https?://\S+$"


def write_html(rows: Rows) -> Iterator[bytes]:
    """A page with one table, links clickable; the last line says how it ended."""
    yield page_head(rows).encode()
    end = None
    try:
        for batch in slices(rows.batches):
            yield html_rows(rows, batch)
    except ServiceFault as fault:
        end = f"The result ends here by a fault: {fault}"
    if end is None and rows.overflowed():
        end = f"There are more rows: the result was cut by {rows.limit}."
    note = f'<p class="fault">{escape(end)}</p>' if end else "<p>All rows are here.</p>"
    yield f"</tbody></table>{note}</body></html>\n".encode()


def page_head(rows: Rows) -> str:
    infos = "".join(
        f"<dt>{escape(info.name)}</dt><dd>{escape(info.value)} <small>{escape(info.text)}</small></dd>"
        for info in rows.infos
    )
    heads = "".join(
        f'<th title="{attribute(column.description)}">{escape(column.name)}<br>'
        f"<small>{escape(column.unit or '')}</small></th>"
        for column in rows.columns
    )
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(rows.name)}</title>'
        f"<style>{STYLE}</style></head><body><details><summary>About this result</summary><dl>{infos}</dl>"
        f"</details><table><thead><tr>{heads}</tr></thead><tbody>\n"
    )


def html_rows(rows: Rows, batch: pa.RecordBatch) -> bytes:
    parts: list[pa.Array | str] = []
    for i, (column, array) in enumerate(zip(rows.columns, batch.columns, strict=True)):
        parts += ["</td><td>" if i else "<tr><td>", linked(column, cells(column, array))]
    return joined([*parts, "</td></tr>\n"], batch.num_rows)


def linked(column: Column, text: pa.Array) -> pa.Array:
    """Addresses as links; their quotes are written so that they stay inside the attribute."""
    if not column.text:
        return text
    address = pc.replace_substring(text, '"', "&quot;")
    anchor = pc.binary_join_element_wise('<a href="', address, '">', text, "</a>", "")
    return pc.if_else(pc.match_substring_regex(text, LINK), anchor, text)


def write_text(rows: Rows) -> Iterator[bytes]:
    """Columns as wide as their widest value in the first piece, two spaces between them."""
    pieces = slices(rows.batches)
    first = next(pieces, None)
    widths = [max(len(column.name), 1) for column in rows.columns]
    if first is not None:
        widths = [max(w, widest(t)) for w, t in zip(widths, plain_cells(rows, first), strict=True)]
    yield (
        line([column.name for column in rows.columns], widths) + line(["-" * w for w in widths], widths)
    ).encode()
    for batch in chain([first] if first is not None else [], pieces):
        padded = [
            pc.utf8_rpad(text, width=width, padding=" ")
            for text, width in zip(plain_cells(rows, batch), widths, strict=True)
        ]
        yield lines(padded, "  ", "\n", batch.num_rows)


def plain_cells(rows: Rows, batch: pa.RecordBatch) -> list[pa.Array]:
    found = []
    for column, array in zip(rows.columns, batch.columns, strict=True):
        text = pc.fill_null(texts(column, array, "null"), "")
        found.append(flat(text) if column.text or column.array else text)
    return found


def widest(text: pa.Array) -> int:
    return min(pc.max(pc.utf8_length(text)).as_py() or 1, WIDEST)


def line(words: list[str], widths: list[int]) -> str:
    return "  ".join(word.ljust(width) for word, width in zip(words, widths, strict=True)) + "\n"
