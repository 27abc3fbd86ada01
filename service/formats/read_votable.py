"""Uploaded VOTables, read by astropy, which is told other types of columns where it would misread them."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np
import pyarrow as pa

from index.catalogue import ARROW
from registry_metadata.columns import Column
from service.formats.masked import array_in, array_of, as_needed, nothing_in
from service.formats.sizes import check_size
from service.limits import Limits

if TYPE_CHECKING:
    from astropy.io.votable.tree import Field, TableElement

TAG = re.compile(rb"""<(?:[^>"']|"[^"]*"|'[^']*')*>""")
CHUNK = 65_536  # bytes that are looked at before it is asked whether the data begin
LETTERS = {"char": "unsignedByte", "unicodeChar": "short"}  # of texts, as the numbers that they are in binary
CODINGS = {"char": "utf-8", "unicodeChar": "utf-16-be"}
SERIALIZATIONS = ("TABLEDATA", "BINARY", "BINARY2", "FITS")
BOOLEANS = {  # VOTable 1.4, 6
    **dict.fromkeys(("T", "t", "1", "TRUE", "true", "True"), True),
    **dict.fromkeys(("F", "f", "0", "FALSE", "false", "False"), False),
    **dict.fromkeys(("?", " ", "\0"), None),
}


@dataclass(slots=True)
class Head:
    """The FIELDs of the first TABLE: where their tags begin in the document, and their attributes."""

    places: list[int] = field(default_factory=list)
    fields: list[dict[str, str]] = field(default_factory=list)
    tables: int = 0
    serialization: str = ""  # empty where there are no data


def read_votable(content: bytes, limits: Limits) -> tuple[tuple[Column, ...], pa.Table]:
    """The first TABLE."""
    require_plain(content, limits)
    head = head_of(content)
    others = [stand_in(told, head.serialization) for told in head.fields]
    table = first_table(with_stand_ins(content, head, others))
    columns, arrays = [], []
    for said, told, other in zip(table.fields, head.fields, others, strict=True):
        read = read_column(said, table.array[said.ID], told if other else {})
        column, array = as_needed(*read)
        columns.append(column)
        arrays.append(array)
    return tuple(columns), pa.Table.from_arrays(arrays, names=[column.name for column in columns])


def columns_of(content: bytes, limits: Limits) -> tuple[Column, ...]:
    """What a VOTable without data says of the columns of its first TABLE."""
    require_plain(content, limits)
    return tuple(map(column_of, first_table(content).fields))


def require_plain(content: bytes, limits: Limits) -> None:
    """A document type (where entities are declared) is refused, and more columns than one table may have:
    both before anything is parsed, which takes much longer."""
    if re.search(rb"<!(DOCTYPE|ENTITY)", content, re.IGNORECASE) or b"\0" in content[:64]:
        raise ValueError("a VOTable here has no document type, and is not in UTF-16")
    check_size("", len(re.findall(rb"<(?:\w+:)?FIELD[\s/>]", content)), 0, limits)


def head_of(content: bytes) -> Head:
    """What comes before the data. ValueError where it is no XML."""
    head, parser = Head(), expat.ParserCreate()

    def start(name: str, told: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if name in SERIALIZATIONS and not head.serialization:
            head.serialization = name
        head.tables += name == "TABLE"
        if name == "FIELD" and head.tables == 1:
            head.places.append(parser.CurrentByteIndex)
            head.fields.append(told)

    parser.StartElementHandler = start
    try:
        for begin in range(0, len(content), CHUNK):
            parser.Parse(content[begin : begin + CHUNK])
            if head.serialization:
                break
    except expat.ExpatError as error:
        raise ValueError(f"it is not well-formed XML: {error}") from None
    return head


def stand_in(told: Mapping[str, str], serialization: str) -> dict[str, str] | None:
    """Attributes that make astropy read a column rightly; None where the column's own do.

    It lacks texts of several dimensions and NULLs within arrays of booleans, looks for a single bit in
    another place of its byte, takes an arraysize of 1 for an array, and the length of `2x*` for that of its
    last dimension, while it is the number of elements (VOTable 1.4, 5.3 and 6; TOPCAT agrees).
    """
    kind, size = told.get("datatype", ""), told.get("arraysize", "").strip()
    in_binary = serialization in ("BINARY", "BINARY2")
    single, length = size in ("", "1"), "*" if "*" in size else size
    if serialization not in SERIALIZATIONS or serialization == "FITS":
        return None
    if kind == "bit" and in_binary and "*" in size:
        raise ValueError(
            f"the column {told.get('name', '')} has arrays of bits of varying size ({size}), which are read "
            f"from TABLEDATA only, not from {serialization}"
        )
    if kind == "bit" and in_binary and single:
        return attributes(told, "unsignedByte", "")
    if kind == "boolean" and not single:
        return attributes(told, "unsignedByte", length) if in_binary else attributes(told, "char", "*")
    if kind in LETTERS and "x" in size:
        return attributes(told, LETTERS[kind], length) if in_binary else attributes(told, kind, "*")
    if kind in ARROW and kind not in LETTERS and (size == "1" or ("*" in size and "x" in size)):
        return attributes(told, kind, "" if single else "*")
    return None


def attributes(told: Mapping[str, str], datatype: str, arraysize: str) -> dict[str, str]:
    """Those of a FIELD with another type."""
    return {**told, "datatype": datatype, "arraysize": arraysize}


def with_stand_ins(content: bytes, head: Head, others: Sequence[Mapping[str, str] | None]) -> bytes:
    """The document with other attributes in the tags of those FIELDs."""
    pieces, end = [], 0
    for place, other in zip(head.places, others, strict=True):
        if other is not None and (tag := TAG.match(content, place)):
            name = tag[0].split(None, 1)[0]
            words = "".join(f" {key}={quoteattr(value)}" for key, value in other.items() if value)
            close = b"/>" if tag[0].endswith(b"/>") else b">"
            pieces += [content[end:place], name, words.encode("ascii", "xmlcharrefreplace"), close]
            end = tag.end()
    return b"".join((*pieces, content[end:]))


def first_table(content: bytes) -> TableElement:
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
    return table


def read_column(said: Field, values: Any, told: Mapping[str, str]) -> tuple[Column, pa.Array]:
    """The column and its values; `told` are its own attributes where astropy was given others."""
    column = column_of(said)
    if not told:
        return column, array_of(column, values)
    read_as = column.datatype
    column = replace(column, datatype=told["datatype"], arraysize=arraysize_of(told.get("arraysize")))
    if column.datatype == read_as:
        return column, array_of(column, values)
    return column, translated(column, read_as, values)


def translated(column: Column, read_as: str, values: Any) -> pa.Array:
    """Values that astropy read as numbers or as a text. NULL where all of a cell is masked."""
    cells = zip(np.ma.getdata(values), np.ma.getmaskarray(values), strict=True)
    found = [None if nothing_in(hidden) else cell_of(column, read_as, cell) for cell, hidden in cells]
    return array_in(column, found)


def cell_of(column: Column, read_as: str, cell: Any) -> Any:
    if column.datatype == "bit":
        return bool(cell)  # VOTable sets the first bit of the byte, astropy the fifth
    if column.text:
        kind = ">u2" if column.datatype == "unicodeChar" else "u1"
        text = np.ma.getdata(cell).astype(kind).tobytes().decode(CODINGS[column.datatype], "replace")
        return text.replace("\0", " ").rstrip()
    if read_as == "char":
        return [boolean(column, word) for word in str(cell).split()] or None
    return [boolean(column, chr(letter)) for letter in np.ravel(np.ma.getdata(cell))]


def boolean(column: Column, word: str) -> bool | None:
    if word not in BOOLEANS:
        raise ValueError(f"the column {column.name} has {word!r}, which is no boolean: T, F and ? are")
    return BOOLEANS[word]


def arraysize_of(text: str | None) -> str | None:
    """As a column has it: None for a single value."""
    size = (text or "").strip()
    return None if size in ("", "1") else size


def column_of(said: Field) -> Column:
    return Column(
        name=str(said.name or said.ID),
        datatype=str(said.datatype),
        arraysize=arraysize_of(said.arraysize and str(said.arraysize)),
        xtype=said.xtype or None,
        unit=None if said.unit is None else said.unit.to_string("vounit", deprecations="silent"),
        ucd=said.ucd or None,
        utype=said.utype or None,
        description=(said.description or "").strip(),
    )
