"""VOSI 1.1 below /tap: capabilities, availability, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from index.manifest import MANIFEST
from registry_metadata.columns import Column, Table
from registry_metadata.records import STANDARD_FEATURES, Feature, OutputFormat, TapFacts, capabilities
from registry_metadata.records import document as xml
from registry_metadata.tables import Key, Schema, keys, quoted, schemas
from service.errors import NotFoundFault
from service.formats.choose import FORMATS
from service.formats.votable import escape, tag
from service.limits import Limits
from service.query.functions import declared_udfs
from service.watch import Metrics

if TYPE_CHECKING:
    from index.release import OpenRelease

XML = "text/xml"
UPLOADS = ("upload-inline", "upload-http", "upload-https")
ROOT = (
    'xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" '
    'xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)


async def capabilities_document(request: Request) -> Response:
    state = request.app.state
    body = await run_in_threadpool(capabilities, tap_facts(state.base_url, state.config.limits))
    return Response(body, headers={"Content-Type": XML, **last_modified(request)})


def last_modified(request: Request) -> dict[str, str]:
    """When the tables or the service became what they are (VOSI 1.1, 3.1)."""
    state = request.app.state
    with state.holder.pin() as release:
        published = (release.path / MANIFEST).stat().st_mtime
    return {"Last-Modified": formatdate(max(published, state.metrics.started), usegmt=True)}


def tap_facts(base_url: str, limits: Limits) -> TapFacts:
    return TapFacts(
        url=f"{base_url}/tap",
        features=[
            *STANDARD_FEATURES,
            *(Feature("udf", udf.form, udf.description) for udf in declared_udfs()),
        ],
        formats=[OutputFormat(f.media_type, (f.name, *f.aliases), f.ivo_id) for f in FORMATS],
        uploads=UPLOADS,
        retention=(limits.retention_seconds, limits.max_retention_seconds),
        duration=(limits.async_seconds, limits.max_async_seconds),
        rows=(limits.default_rows, limits.max_rows),
        upload_rows=limits.upload_rows,
        upload_bytes=limits.upload_bytes,
    )


async def availability(request: Request) -> Response:
    body = await run_in_threadpool(availability_document, request.app.state.metrics)
    return Response(body, headers={"Content-Type": XML})


def availability_document(metrics: Metrics) -> bytes:
    from vo_models.vosi.availability.models import Availability

    since = datetime.fromtimestamp(int(metrics.started), UTC)
    return xml(Availability(available=True, up_since=since), skip_empty=True)


async def tables(request: Request) -> Response:
    """The table set of the published release; `detail=min` leaves the columns out."""
    brief = request.query_params.get("detail", "max").lower() == "min"
    body = await run_in_threadpool(table_set, request, brief)
    return Response(body, headers={"Content-Type": XML, **last_modified(request)})


async def table(request: Request) -> Response:
    return Response(
        await run_in_threadpool(one_table, request, request.path_params["name"]),
        headers={"Content-Type": XML},
    )


def table_set(request: Request, brief: bool) -> bytes:
    with request.app.state.holder.pin() as release:
        known = declared_keys(release)
        body = "".join(
            schema_element(schema, release.tables, known, brief)
            for schema in schemas()
            if any(table.schema.lower() == schema.name.lower() for table in release.tables.values())
        )
    return document("tableset", "", body)


def one_table(request: Request, name: str) -> bytes:
    """One table with its columns; a schema's name gives its tables (as CADC's services do)."""
    with request.app.state.holder.pin() as release:
        found = release.tables.get(name.lower())
        if found is not None:
            return document("table", *table_words(found, declared_keys(release), brief=False))
        for schema in schemas():
            if schema.name.lower() == name.lower():
                body = schema_element(schema, release.tables, declared_keys(release), brief=False)
                return document("schema", "", body.removeprefix("<schema>").removesuffix("</schema>\n"))
    raise NotFoundFault(f"There is no table {name}; /tap/tables lists them all")


def declared_keys(release: OpenRelease) -> Sequence[Key]:
    return keys(release.tables.values())


def document(root: str, attributes: str, body: str) -> bytes:
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    return f"{head}<vosi:{root} {ROOT}{attributes}>\n{body}</vosi:{root}>\n".encode()


def element(name: str, text: str | None) -> str:
    return f"<{name}>{escape(text)}</{name}>\n" if text else ""


def schema_element(schema: Schema, known: Mapping[str, Table], declared: Sequence[Key], brief: bool) -> str:
    parts = [
        element("name", schema.name),
        element("description", schema.description),
        element("utype", schema.utype),
    ]
    for table in known.values():
        if table.schema.lower() == schema.name.lower():
            attributes, body = table_words(table, declared, brief)
            parts.append(f"<table{attributes}>\n{body}</table>\n")
    return f"<schema>{''.join(parts)}</schema>\n"


def table_words(table: Table, declared: Sequence[Key], brief: bool) -> tuple[str, str]:
    """Attributes and content of a table element."""
    parts = [
        element("name", table.name),
        element("description", table.description),
        element("utype", table.utype),
    ]
    if not brief:
        parts += [column_element(column) for column in table.columns]
        parts += [key_element(key) for key in declared if key.from_table.lower() == table.name.lower()]
    return f' type="{table.kind}"', "".join(parts)


def column_element(column: Column) -> str:
    kind = {
        "xsi:type": "vs:VOTableType",
        "arraysize": column.arraysize,
        "extendedType": column.xtype,
    }
    flags = [name for name in ("indexed", "principal") if getattr(column, name)]
    body = (
        element("name", quoted(column.name))
        + element("description", column.description)
        + element("unit", column.unit)
        + element("ucd", column.ucd)
        + element("utype", column.utype)
        + tag("dataType", kind, column.datatype)
        + "".join(element("flag", flag) for flag in flags)
    )
    return f'<column std="{"true" if column.std else "false"}">\n{body}</column>\n'


def key_element(key: Key) -> str:
    pairs = "".join(
        f"<fkColumn>{element('fromColumn', here)}{element('targetColumn', there)}</fkColumn>\n"
        for here, there in key.columns.items()
    )
    described = element("description", key.description)
    return f"<foreignKey>{element('targetTable', key.target_table)}{pairs}{described}</foreignKey>\n"


routes: list[BaseRoute] = [
    Route("/tap/capabilities", capabilities_document),
    Route("/tap/availability", availability),
    Route("/tap/tables", tables),
    Route("/tap/tables/{name:path}", table),
]
