"""`/similar_to`: the spectra most like one of this archive, or like one that is sent; nearest first.

The conditions are those of SSA and come before the search; the reference is left out. Several references are
answered one after the other, in a column `reference`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from index.release import OpenRelease
from registry_metadata.columns import Column
from service.errors import ServiceFault, UsageFault
from service.formats.choose import choose_format
from service.formats.stream import Info, Rows
from service.protocols.dali import Params, request_params
from service.protocols.descriptors import DEFAULT_NEIGHBOURS, MAX_NEIGHBOURS, descriptors
from service.protocols.encode import KEPT_SECONDS, PREFIX, Sent, sent_spectrum
from service.protocols.spectra import NEAR, SHARE, Likeness, Uploads
from service.protocols.ssa import Known, SsaQuery, find, read_query
from service.respond import Document, respond

MAX_REFERENCES = 1000
REFERENCE = Column(
    "reference", "char", "*", ucd="meta.ref.ivoid", description="The spectrum that the row is compared with"
)


@dataclass(frozen=True, slots=True)
class Batch:
    """What to compare with, one after the other; and why some identifiers cannot be."""

    references: tuple[str, ...]
    problems: tuple[Info, ...] = ()


def references(release: OpenRelease, ids: Sequence[str], space: str, uploads: Uploads) -> Batch:
    """Identifiers that can be compared. One alone that cannot is a fault, among others it is a remark."""
    if len(ids) > MAX_REFERENCES:
        raise UsageFault(f"ID is given {len(ids)} times; at most {MAX_REFERENCES} are answered at once")
    good: list[str] = []
    problems: list[Info] = []
    for did in ids:
        try:
            Likeness.of(release, did, space, "ID", uploads)
            good.append(did)
        except ServiceFault as fault:
            if len(ids) == 1:
                raise
            problems.append(Info("not_compared", did, str(fault)))
    if not good:
        raise UsageFault(f"ID: none of the {len(ids)} identifiers can be compared; {problems[0].text}")
    return Batch(tuple(good), tuple(problems))


def query_for(
    services: Any, release: OpenRelease, params: Params, reference: str, uploads: Uploads
) -> SsaQuery:
    """SSA's query with the reference in SIMILAR_TO; TOP or MAXREC say how many, 20 if neither does."""
    top = params.integer("TOP", low=1, high=MAX_NEIGHBOURS)
    if top is None and params.one("MAXREC") is None:
        top = DEFAULT_NEIGHBOURS
    pairs = [
        (name, value) for name, value in params.pairs() if name not in ("ID", "TOP", "REQUEST", "VERSION")
    ]
    asked = Params.of([*pairs, ("SIMILAR_TO", reference), *([("TOP", str(top))] if top else [])])
    query = read_query(release, asked, services.config.limits, uploads)
    return replace(query, maxrec=min(query.maxrec, MAX_NEIGHBOURS))


def nearest(
    services: Any,
    release: OpenRelease,
    params: Params,
    ids: Sequence[str],
    told: Sequence[Info],
    stack: ExitStack,
) -> Rows:
    """Distance and share first, then SSA's columns; every reference's rows in turn."""
    uploads: Uploads = services.references
    batch = references(release, ids, params.one("SPACE") or "", uploads)
    first = query_for(services, release, params, batch.references[0], uploads)
    rows = find(services, release, first, (*told, *batch.problems), uploads, stack)
    several = len(ids) > 1
    columns = ordered(rows.columns, several)
    cut: list[bool] = []

    def batches() -> Iterator[pa.RecordBatch]:
        yield from arranged(rows, columns, batch.references[0])
        cut.append(rows.overflowed())
        for reference in batch.references[1:]:
            with ExitStack() as own:
                query = query_for(services, release, params, reference, uploads)
                more = find(services, release, query, (), uploads, own)
                yield from arranged(more, columns, reference)
                cut.append(more.overflowed())

    return Rows(
        columns, batches(), rows.infos, lambda: any(cut), "similar", "Spectra by likeness", first.limit
    )


def ordered(columns: Sequence[Column], several: bool) -> tuple[Column, ...]:
    known = {column.name: column for column in columns}
    first = [known.pop(name) for name in (NEAR, SHARE)]
    return (*([REFERENCE] if several else []), *first, *known.values())


def arranged(rows: Rows, columns: Sequence[Column], reference: str) -> Iterator[pa.RecordBatch]:
    """The batches with their columns in this order."""
    names = [column.name for column in columns]
    for batch in rows.batches:
        cells = dict(zip(batch.schema.names, batch.columns, strict=True))
        cells[REFERENCE.name] = pa.array([reference] * batch.num_rows, pa.string())
        yield pa.RecordBatch.from_arrays([cells[name] for name in names], names)


def similar(services: Any, params: Params, sent: Sent | None, stack: ExitStack) -> Document:
    form = choose_format(params.one("RESPONSEFORMAT"))
    ids = list(params.all("ID"))
    told: tuple[Info, ...] = (Info("server_software", "Doppel"),)
    if sent is not None:
        own = services.parsers.read(sent.content, sent.told)
        token = services.state.keep_token(sent.told.name, own.to_bytes(), KEPT_SECONDS)
        ids.append(f"{PREFIX}{token}")
        told = (*told, Info("upload", ids[-1], "; ".join(own.assumed)))
    if not ids:
        raise UsageFault(
            "The parameter ID is missing: a publisher's identifier, or upload:<token>; or send a file"
        )
    release = stack.enter_context(services.holder.pin())
    rows = nearest(services, release, params, ids, told, stack)
    known = [Known(c, c.name == "ssa_pubDID") for c in rows.columns]
    found = descriptors(known, services.base_url, release)
    return Document(form.media_type, form.write(rows, found, ()), f"similar.{form.suffix}")


async def similar_to(request: Request) -> Response:
    params = await request_params(request)
    sent = await sent_spectrum(request, params)
    return await respond(request, partial(similar, request.app.state, params, sent))


routes: list[BaseRoute] = [Route("/similar_to", similar_to, methods=["GET", "POST"])]
