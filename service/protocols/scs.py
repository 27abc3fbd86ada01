"""Simple Cone Search 1.03 over the spectra, with MAXREC and RESPONSEFORMAT as DALI has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlglot import exp
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from registry_metadata.columns import Column
from service.errors import UsageFault
from service.formats.choose import Format, choose_format
from service.formats.lines import write_lines
from service.formats.stream import Info, Remark, Rows
from service.formats.votable import ServiceDescriptor
from service.kept import once_each
from service.limits import Limits
from service.protocols.dali import Params, finite, position, request_params
from service.protocols.descriptors import descriptors
from service.protocols.ready import SHORT, by_identifier, kept_rows
from service.protocols.spectra import TABLE
from service.protocols.where import SPECTRA, column
from service.query import build
from service.query.build import call, literal
from service.query.run import Question, answer, fetch
from service.respond import Document, respond

if TYPE_CHECKING:
    from index.release import OpenRelease

STANDARD = "ivo://ivoa.net/std/ConeSearch"
DID, RA, DEC = "ssa_pubdid", "ra", "dec"
MAIN = {DID: "meta.id;meta.main", RA: "pos.eq.ra;meta.main", DEC: "pos.eq.dec;meta.main"}
BRIEF = (DID, RA, DEC, "ssa_targname", "accref")


@dataclass(frozen=True, slots=True)
class ConeQuery:
    """Degrees, ICRS; a radius of 0 asks for metadata alone."""

    ra: float
    dec: float
    radius: float
    verbosity: int
    maxrec: int
    format: Format

    @classmethod
    def of(cls, params: Params, limits: Limits) -> ConeQuery:
        ra, dec = position("RA, DEC", params.required("RA"), params.required("DEC"))
        radius = finite("SR", params.required("SR"))
        if not 0 <= radius <= 180:
            raise UsageFault(f"SR is out of range: {radius:g}; allowed are 0 to 180 degrees")
        verbosity = params.integer("VERB", low=1, high=3) or 2
        maxrec = params.maxrec(limits.default_rows, limits.max_rows)
        form = choose_format(params.one("RESPONSEFORMAT") or "text/xml")
        return cls(ra, dec, radius, verbosity, maxrec if radius else 0, form)


def selected(release: OpenRelease, verbosity: int) -> list[exp.Expr]:
    known = release.tables[TABLE].columns
    return [column(c.name) for c in known if verbosity > 1 or c.name in BRIEF]


def tree(asked: ConeQuery, columns: list[exp.Expr]) -> exp.Select:
    """The question as a tree, nearest first."""
    separation = call("DISTANCE", column(RA), column(DEC), literal(asked.ra), literal(asked.dec))
    return build.select(
        columns,
        build.table(TABLE, SPECTRA),
        where=build.at_most(separation, asked.radius),
        order_by=[build.ascending(separation.copy()), build.ascending(column(DID))],
    )


def told(known: Column) -> Column:
    """UCDs such that there is one main identifier and one main position (SCS 1.03, 2.2)."""
    if known.name in MAIN:
        return replace(known, ucd=MAIN[known.name])
    ucd = (known.ucd or "").removesuffix(";meta.main") or None
    return replace(known, ucd=ucd)


@once_each
def described(
    release: OpenRelease, base_url: str, verbosity: int
) -> tuple[tuple[Column, ...], tuple[ServiceDescriptor, ...]]:
    """The columns of an answer, and what to do with its identifiers."""
    query = build.select(selected(release, verbosity), build.table(TABLE, SPECTRA))
    with answer(release, Question(query, 0), base_url=base_url) as found:
        columns = tuple(told(one.column) for one in found.columns)
        return columns, tuple(descriptors(found.columns, base_url, release))


def cells(release: OpenRelease, base_url: str, verbosity: int, dids: Sequence[str]) -> dict[str, str]:
    """Of the rows of these spectra, by identifier."""
    query = build.select(
        selected(release, verbosity),
        build.table(TABLE, SPECTRA),
        where=build.one_of(column(DID), dids),
    )
    with answer(release, Question(query), base_url=base_url) as found:
        return by_identifier(described(release, base_url, verbosity)[0], DID, found.batches)


def short(services: Any, release: OpenRelease, asked: ConeQuery) -> tuple[Rows, list[str]] | None:
    """What the document says, and the cells of its rows, which are ready; None where the answer is long."""
    seconds, base_url, most = services.config.limits.sync_seconds, services.base_url, min(asked.maxrec, SHORT)
    if not most or not asked.format.tabledata:
        return None
    found = fetch(release, Question(tree(asked, [column(DID)]), most, timeout=seconds), base_url=base_url)
    if found.overflow and asked.maxrec > SHORT:
        return None
    make = partial(cells, release, base_url, asked.verbosity)
    kind = base_url, f"cone {asked.verbosity}"
    lines = kept_rows(release, [did for (did,) in found.rows], kind, make)
    return rows_of(services, release, asked, iter(()), found.infos, lambda: found.overflow), lines


def rows_of(
    services: Any,
    release: OpenRelease,
    asked: ConeQuery,
    batches: Iterator[pa.RecordBatch],
    remarks: Sequence[Remark],
    overflowed: Callable[[], bool],
) -> Rows:
    columns, _ = described(release, services.base_url, asked.verbosity)
    common = Info("standardID", STANDARD), Info("server_software", "Doppel")
    infos = (*common, *(Info(one.name, one.value, one.text) for one in remarks))
    return Rows(columns, batches, infos, overflowed, "spectra", limit=f"MAXREC={asked.maxrec}")


def search(services: Any, asked: ConeQuery, stack: ExitStack) -> Document:
    release: OpenRelease = stack.enter_context(services.holder.pin())
    _, links = described(release, services.base_url, asked.verbosity)
    ready = short(services, release, asked)
    if ready is not None:
        chunks = write_lines(*ready, links)
    else:
        question = Question(
            tree(asked, selected(release, asked.verbosity)),
            asked.maxrec,
            timeout=services.config.limits.sync_seconds,
        )
        found = stack.enter_context(answer(release, question, base_url=services.base_url))
        rows = rows_of(
            services,
            release,
            asked,
            found.batches,
            found.infos,
            lambda: found.overflow and bool(asked.radius),
        )
        chunks = asked.format.write(rows, links, ())
    return Document(asked.format.media_type, chunks, f"cone.{asked.format.suffix}")


async def scs(request: Request) -> Response:
    services = request.app.state
    asked = ConeQuery.of(await request_params(request), services.config.limits)
    return await respond(request, partial(search, services, asked))


routes: list[BaseRoute] = [Route("/scs", scs, methods=["GET", "POST"])]
