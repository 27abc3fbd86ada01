"""Simple Cone Search 1.03 over the spectra, with MAXREC and RESPONSEFORMAT as DALI has them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlglot import exp
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from registry_metadata.columns import Column
from service.errors import UsageFault
from service.formats.choose import Format, choose_format
from service.formats.stream import Info, Rows
from service.limits import Limits
from service.protocols.dali import Params, finite, position, request_params
from service.protocols.descriptors import descriptors
from service.protocols.spectra import TABLE
from service.protocols.where import SPECTRA, column
from service.query import build
from service.query.build import call, literal
from service.query.run import Question, answer
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


def tree(release: OpenRelease, asked: ConeQuery) -> exp.Select:
    """The question as a tree: columns by verbosity, nearest first."""
    known = release.tables[TABLE].columns
    wanted = [c for c in known if asked.verbosity > 1 or c.name in BRIEF]
    separation = call("DISTANCE", column(RA), column(DEC), literal(asked.ra), literal(asked.dec))
    return build.select(
        [column(c.name) for c in wanted],
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


def search(services: Any, asked: ConeQuery, stack: ExitStack) -> Document:
    release: OpenRelease = stack.enter_context(services.holder.pin())
    seconds = services.config.limits.sync_seconds
    question = Question(tree(release, asked), asked.maxrec, timeout=seconds)
    found = stack.enter_context(answer(release, question, base_url=services.base_url, references=None))
    rows = Rows.of(found, [told(one.column) for one in found.columns], name="spectra")
    infos = (Info("standardID", STANDARD), Info("server_software", "Doppel"), *rows.infos)
    overflowed = rows.overflowed if asked.radius else lambda: False
    rows = replace(rows, infos=infos, overflowed=overflowed, limit=f"MAXREC={asked.maxrec}")
    links = descriptors(found.columns, services.base_url, release)
    return Document(
        asked.format.media_type, asked.format.write(rows, links, ()), f"cone.{asked.format.suffix}"
    )


async def scs(request: Request) -> Response:
    services = request.app.state
    asked = ConeQuery.of(await request_params(request), services.config.limits)
    return await respond(request, partial(search, services, asked))


routes: list[BaseRoute] = [Route("/scs", scs, methods=["GET", "POST"])]
