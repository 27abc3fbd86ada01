"""VOTable 1.4: streams result tables with their service descriptors, and says errors. Escapes every value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from registry_metadata.columns import Column
from service.errors import ServiceFault, UsageFault
from service.formats.binary import base64_stream, encode_batch
from service.formats.small import alike, end_to_end, is_small, rows_of_texts
from service.formats.stream import NULLS, Info, Rows, fixed_length, holds, joined, slices, texts

Serialization = Literal["BINARY2", "BINARY", "TABLEDATA"]

MEDIA_TYPE = "application/x-votable+xml"
HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
)
FORBIDDEN = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x{fffe}\x{ffff}]"  # in XML 1.0
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
COOSYS = '<COOSYS ID="ICRS" system="ICRS"/>\n'
TIMESYS = {
    "MJD": '<TIMESYS ID="MJD" timeorigin="MJD-origin" timescale="UTC" refposition="TOPOCENTER"/>\n',
    "UTC": '<TIMESYS ID="UTC" timescale="UTC" refposition="TOPOCENTER"/>\n',
}


@dataclass(frozen=True, slots=True)
class InputParam:
    """A PARAM of a service descriptor or of a service's self-description; `ref` is a column's name."""

    name: str
    datatype: str = "char"
    arraysize: str | None = "*"
    value: str = ""
    ref: str | None = None
    unit: str | None = None
    ucd: str | None = None
    utype: str | None = None
    xtype: str | None = None
    description: str = ""
    minimum: str | None = None
    maximum: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceDescriptor:
    """How to call a service with values of the table (DataLink 1.1, 4)."""

    id: str
    name: str
    description: str
    access_url: str
    standard_id: str | None = None
    content_type: str | None = None
    params: tuple[InputParam, ...] = ()
    utype: str = "adhoc:service"  # or adhoc:this, for the service that answers


def clean(text: str) -> str:
    """Without the characters that XML 1.0 forbids."""
    return text if text.isascii() and text.isprintable() else _FORBIDDEN.sub("", text)


def escape(text: str) -> str:
    return clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def attribute(text: str) -> str:
    escaped = escape(text).replace('"', "&quot;")
    return escaped.replace("\n", "&#10;").replace("\t", "&#9;").replace("\r", "&#13;")


def tag(name: str, attributes: Mapping[str, str | None], content: str = "") -> str:
    """An element; attributes that are None are left out, `content` is XML already."""
    words = "".join(f' {key}="{attribute(value)}"' for key, value in attributes.items() if value is not None)
    return f"<{name}{words}>{content}</{name}>\n" if content else f"<{name}{words}/>\n"


def info_element(info: Info) -> str:
    return tag("INFO", {"name": info.name, "value": info.value, "ucd": info.ucd}, escape(info.text))


def description_element(text: str) -> str:
    return f"<DESCRIPTION>{escape(text)}</DESCRIPTION>" if text else ""


@lru_cache(maxsize=256)
def field_ids(columns: tuple[Column, ...]) -> tuple[str, ...]:
    """An XML name for every column: its own name where that is one, made unique without regard to case."""
    ids: list[str] = []
    taken = {"icrs", *(name.lower() for name in TIMESYS)}
    for column in columns:
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", column.name)
        name = name if re.match(r"[A-Za-z_]", name) else f"_{name}"
        stem, count = name, 1
        while name.lower() in taken:
            count += 1
            name = f"{stem}_{count}"
        ids.append(name)
        taken.add(name.lower())
    return tuple(ids)


def frame_of(column: Column) -> str | None:
    """The COOSYS or TIMESYS that a column's values are in."""
    ucd = (column.ucd or "").lower()
    if ucd.startswith(("pos.eq", "pos.outline")) or (ucd == "pos" and column.xtype):
        return "ICRS"
    if column.xtype == "timestamp":
        return "UTC"
    if column.unit == "d" and re.match(r"time\.(epoch|start|end)", ucd):
        return "MJD"
    return None


def declared_null(column: Column, serialization: Serialization) -> int | None:
    """The number that stands for NULL; of bytes in arrays none does, since they need all of theirs."""
    needed = column.datatype != "unsignedByte" if column.array else serialization == "BINARY"
    return NULLS.get(column.datatype) if needed else None


@lru_cache(maxsize=4096)
def field_element(column: Column, id_: str, serialization: Serialization) -> str:
    content = description_element(column.description)
    if (null := declared_null(column, serialization)) is not None:
        content += f'<VALUES null="{null}"/>'
    attributes = {
        "ID": id_,
        "name": clean(column.name),
        "datatype": column.datatype,
        "arraysize": column.arraysize,
        "unit": column.unit,
        "ucd": column.ucd,
        "utype": column.utype,
        "xtype": column.xtype,
        "ref": frame_of(column),
    }
    return tag("FIELD", attributes, content)


def param_element(param: InputParam, ids: Mapping[str, str]) -> str:
    return referring_param(param, ids.get(param.ref, param.ref) if param.ref else None)


@lru_cache(maxsize=4096)
def referring_param(param: InputParam, ref: str | None) -> str:
    """A PARAM; `ref` is the ID of the FIELD whose values it takes."""
    bounds = tag("MIN", {"value": param.minimum}) if param.minimum is not None else ""
    bounds += tag("MAX", {"value": param.maximum}) if param.maximum is not None else ""
    bounds += "".join(tag("OPTION", {"value": option}) for option in param.options)
    attributes = {
        "name": param.name,
        "datatype": param.datatype,
        "arraysize": param.arraysize,
        "value": param.value,
        "ref": ref,
        "unit": param.unit,
        "ucd": param.ucd,
        "utype": param.utype,
        "xtype": param.xtype,
    }
    values = f"<VALUES>{bounds}</VALUES>" if bounds else ""
    return tag("PARAM", attributes, description_element(param.description) + values)


def descriptor_element(descriptor: ServiceDescriptor, ids: Mapping[str, str]) -> str:
    """A top-level RESOURCE that clients turn into a call (DataLink 1.1, 4.1)."""
    refs = tuple((one.ref, ids[one.ref]) for one in descriptor.params if one.ref and one.ref in ids)
    return referring_element(descriptor, refs) if refs else service_element(descriptor, {})


@lru_cache(maxsize=256)
def referring_element(descriptor: ServiceDescriptor, refs: tuple[tuple[str, str], ...]) -> str:
    """One that takes values of columns is the same in every answer that has them."""
    return service_element(descriptor, dict(refs))


def service_element(descriptor: ServiceDescriptor, ids: Mapping[str, str]) -> str:
    fixed = {
        "accessURL": descriptor.access_url,
        "standardID": descriptor.standard_id,
        "contentType": descriptor.content_type,
    }
    content = description_element(descriptor.description) + "\n"
    content += "".join(
        tag("PARAM", {"name": name, "datatype": "char", "arraysize": "*", "value": value})
        for name, value in fixed.items()
        if value is not None
    )
    params = "".join(param_element(param, ids) for param in descriptor.params)
    content += tag("GROUP", {"name": "inputParams"}, "\n" + params)
    attributes = {
        "type": "meta",
        "utype": descriptor.utype,
        "ID": descriptor.id,
        "name": descriptor.name,
    }
    return tag("RESOURCE", attributes, content)


def status(word: str, text: str = "") -> Info:
    return Info("QUERY_STATUS", word, text)


def head(rows: Rows, params: Sequence[InputParam], serialization: Serialization) -> str:
    """Everything before the data."""
    parts = [HEAD, '<RESOURCE type="results">\n']
    parts += [info_element(info) for info in (status("OK"), *rows.infos)]
    parts.append(systems(rows.columns))
    parts += [param_element(param, {}) for param in params]
    parts.append(f'<TABLE name="{attribute(rows.name)}">\n')
    parts.append(description_element(rows.description))
    parts += [fields(rows.columns, serialization), "<DATA>"]
    return "".join(parts)


@lru_cache(maxsize=256)
def systems(columns: tuple[Column, ...]) -> str:
    """What the columns' values are measured in."""
    frames = {frame_of(column) for column in columns}
    times = "".join(text for name, text in TIMESYS.items() if name in frames)
    return (COOSYS if "ICRS" in frames else "") + times


@lru_cache(maxsize=256)
def fields(columns: tuple[Column, ...], serialization: Serialization) -> str:
    return "".join(
        field_element(column, id_, serialization)
        for column, id_ in zip(columns, field_ids(columns), strict=True)
    )


def tail(end: Sequence[Info], rows: Rows, descriptors: Sequence[ServiceDescriptor]) -> str:
    """Everything after the data."""
    ids = dict(zip((column.name for column in rows.columns), field_ids(rows.columns), strict=True))
    parts = ["</DATA>\n</TABLE>\n", *map(info_element, end), "</RESOURCE>\n"]
    parts += [descriptor_element(descriptor, ids) for descriptor in descriptors]
    return "".join((*parts, "</VOTABLE>\n"))


def write_votable(
    rows: Rows,
    *,
    serialization: Serialization = "BINARY2",
    descriptors: Sequence[ServiceDescriptor] = (),
    params: Sequence[InputParam] = (),
) -> Iterator[bytes]:
    """The document in pieces. A fault after the first row is told by a last INFO (DALI 5.4.2)."""
    yield head(rows, params, serialization).encode()
    end: list[Info] = []
    if serialization == "TABLEDATA":
        yield b"<TABLEDATA>\n"
        yield from told(table_data(rows), end)
        yield b"</TABLEDATA>"
    else:
        yield f'<{serialization}><STREAM encoding="base64">'.encode()
        yield from base64_stream(told(binary(rows, serialization), end))
        yield f"</STREAM></{serialization}>".encode()
    if not end and rows.overflowed():
        end = [status("OVERFLOW", f"The result was cut by {rows.limit}")]
    yield tail(end, rows, descriptors).encode()


def told(chunks: Iterable[bytes], end: list[Info]) -> Iterator[bytes]:
    """The chunks; a fault on the way becomes an INFO in `end`."""
    try:
        yield from chunks
    except ServiceFault as fault:
        end.append(status("ERROR", str(fault)))


def binary(rows: Rows, serialization: Serialization) -> Iterator[bytes]:
    return (
        encode_batch(rows.columns, batch, serialization == "BINARY2")
        for batch in distinct(rows, serialization)
    )


def table_data(rows: Rows) -> Iterator[bytes]:
    return (rows_of_cells(rows.columns, batch) for batch in distinct(rows, "TABLEDATA"))


def distinct(rows: Rows, serialization: Serialization) -> Iterator[pa.RecordBatch]:
    """The batches, while no value is the number that stands for NULL: UsageFault where one is."""
    found = [(i, column, declared_null(column, serialization)) for i, column in enumerate(rows.columns)]
    declared = [(i, column, null) for i, column, null in found if null is not None]
    lacking = [i for i, column, _ in found if serialization == "BINARY" and lacks_null(column)]
    for batch in slices(rows.batches):
        for i, column, null in declared:
            if holds(column, batch.column(i), null):
                raise ambiguous(column, f"holds {null}, which stands for NULL", serialization)
        for i in lacking:
            if batch.column(i).null_count:
                raise ambiguous(rows.columns[i], "has a NULL, for which there is no word", serialization)
        yield batch


def lacks_null(column: Column) -> bool:
    """Whether BINARY has no value that would tell a NULL."""
    open_array = column.array and fixed_length(column) is None
    return not open_array and (
        column.datatype == "bit" or (column.datatype == "unsignedByte" and column.array)
    )


def ambiguous(column: Column, what: str, serialization: Serialization) -> UsageFault:
    return UsageFault(
        f"the column {column.name} {what} in {serialization}; RESPONSEFORMAT=parquet or json tells them apart"
    )


def rows_of_cells(columns: Sequence[Column], batch: pa.RecordBatch) -> bytes:
    if is_small(columns, batch):
        return few_rows(columns, batch)
    parts: list[pa.Array | str] = []
    for i, (column, array) in enumerate(zip(columns, batch.columns, strict=True)):
        parts += ["</TD><TD>" if i else "<TR><TD>", cells(column, array)]
    return joined([*parts, "</TD></TR>\n"], batch.num_rows)


def few_rows(columns: Sequence[Column], batch: pa.RecordBatch) -> bytes:
    """The same bytes with a call of Arrow per datatype instead of several per column."""
    found: list[list[str]] = [[]] * len(columns)
    count = batch.num_rows
    for places in alike(columns, batch):
        flat = cells(columns[places[0]], end_to_end(batch, places)).to_pylist()
        for number, place in enumerate(places):
            found[place] = flat[number * count : (number + 1) * count]
    return rows_of_texts(found)


def cells(column: Column, array: pa.Array) -> pa.Array:
    """Escaped text of every value; NULL is an empty cell, or one full of nulls where its size is fixed
    (VOTable 1.4, 6)."""
    text = texts(column, array)
    if column.text:
        text = escaped(text)
    return pc.fill_null(text, null_cell(column)) if text.null_count else text


def null_cell(column: Column) -> str:
    count = fixed_length(column)
    if column.text or count is None or column.datatype in ("bit", "unsignedByte"):
        return ""
    if column.datatype in NULLS:
        return " ".join([str(NULLS[column.datatype])] * count) if column.array else ""
    return " ".join(["?" if column.datatype == "boolean" else "NaN"] * count)


def escaped(text: pa.Array) -> pa.Array:
    """`escape` for a whole column, which rarely needs it."""
    if not pc.any(pc.match_substring_regex(text, rf"[&<>]|{FORBIDDEN}"), min_count=0).as_py():
        return text
    text = pc.replace_substring_regex(text, FORBIDDEN, "")
    for plain, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = pc.replace_substring(text, plain, entity)
    return text


def error_document(message: str, fault: str = "", infos: Sequence[Info] = ()) -> bytes:
    """A VOTable that only says what went wrong (DALI 5.2); the kind of fault comes as a second INFO."""
    kind = [Info("FAULT", fault)] if fault else []
    body = "".join(info_element(info) for info in (status("ERROR", message), *kind, *infos))
    return f'{HEAD}<RESOURCE type="results">\n{body}</RESOURCE>\n</VOTABLE>\n'.encode()
