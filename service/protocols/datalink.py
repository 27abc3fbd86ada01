"""`/datalink/links`: what there is for a spectrum, row by row (DataLink 1.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from encoder.collection import NO_READER
from encoder.spectrum import Facts
from index.release import OpenRelease
from index.rows import exposure_limits
from registry_metadata.columns import Column
from service.errors import ServiceFault, UsageFault
from service.formats.lines import write_lines
from service.formats.spectrum import CSV, FITS, VOTABLE
from service.formats.stream import Info, Rows
from service.formats.votable import InputParam, ServiceDescriptor, error_document, escape
from service.kept import once_each
from service.protocols import derived
from service.protocols.dali import Interval, MediaType, Params, request_params
from service.protocols.derived import covers
from service.protocols.descriptors import (
    ALIKE,
    DATALINK,
    DATALINK_TYPE,
    SODA,
    SODA_ID,
    cutouts,
    identifier,
    similar,
    soda_params,
)
from service.protocols.products import ORIGINAL, product_url, quoted
from service.protocols.ready import described
from service.respond import Document, respond

SIMILAR = "http://doppel.example/rdf/similarity#similar"  # the same on every installation, for ever
MAX_IDS = 2000
JOBS = "cutouts"  # no row names them: Aladin Lite and TOPCAT would call them like a simple service


def _text(name: str, ucd: str | None, description: str) -> Column:
    return Column(name, "char", "*", ucd=ucd, description=description)


COLUMNS = (
    _text("ID", "meta.id;meta.main", "Publisher's identifier, as it was asked for"),
    _text("access_url", "meta.ref.url", "Where it is had"),
    _text("service_def", "meta.ref", "The service descriptor in this document that tells how it is had"),
    _text("error_message", "meta.code.error", "Why it is not had"),
    _text("description", "meta.note", "What it is"),
    _text("semantics", "meta.code", "How it relates to the spectrum"),
    _text("content_type", "meta.code.mime", "Media type of what is had"),
    Column("content_length", "long", unit="byte", ucd="phys.size;meta.file", description="Its size"),
    _text("content_qualifier", None, "What kind of product it is, a term of the IVOA's product-type"),
    _text("local_semantics", "meta.id.assoc", "Which of this service's kinds of link it is"),
    _text("link_auth", "meta.code", "Whether it needs authentication"),
    Column("link_authorized", "boolean", ucd="meta.code", description="Whether the caller may have it"),
)
NAMES = ("id", *(column.name for column in COLUMNS[1:]))  # of Link's attributes, by column


@dataclass(frozen=True, slots=True)
class Link:
    """One row; exactly one of `access_url`, `service_def`, `error_message` is given (L05)."""

    id: str
    semantics: str
    description: str
    content_type: str
    access_url: str | None = None
    service_def: str | None = None
    error_message: str | None = None
    content_length: int | None = None
    content_qualifier: str | None = None
    local_semantics: str | None = None
    link_auth: str | None = "false"
    link_authorized: bool | None = True


@dataclass(frozen=True, slots=True)
class Links:
    """Rows of all identifiers, in the order asked, and the descriptors that they name."""

    rows: tuple[Link, ...]
    descriptors: tuple[ServiceDescriptor, ...]
    cut: bool = False  # there were more identifiers than are answered at once


def find_links(release: OpenRelease, ids: Sequence[str], base_url: str, uri: str = SIMILAR) -> Links:
    """Links of every identifier; an unknown one is a row that says so (DataLink 1.1, 3.2.4)."""
    if not ids:
        return Links((), this_service(base_url))
    rows = release.rows_of(ids[:MAX_IDS])
    held = [row for row in rows if row is not None]
    known = dict(zip(held, described(release, held), strict=True))
    links: list[Link] = []
    services: list[ServiceDescriptor] = []
    shared = shared_services(release, base_url)
    about = {one.id: one.description for one in shared}
    for number, (did, row) in enumerate(zip(ids, rows, strict=False), 1):
        if row is None:
            links.append(unknown(did))
            continue
        facts, low, high = known[row].facts, known[row].em_min, known[row].em_max
        if facts.layout == NO_READER or low is None or high is None:
            links.append(absent(did))
        else:
            services.append(cutout_service(facts, (low, high), base_url, f"cutout_{number}"))
            links += spectrum_links(facts, did, base_url, services[-1].id)
            if any(covers(model, (low, high)) for model in derived.decoding(release).values()):
                links += derived_links(did, facts.publisher_did, base_url, about)
        links += similar_links(did, facts.publisher_did, base_url, uri, about["similar"])
    named = {link.service_def for link in links} | ({JOBS} if services else set())
    services += [one for one in shared if one.id in named]
    return Links(tuple(links), tuple(services), cut=len(ids) > MAX_IDS)


@once_each
def shared_services(release: OpenRelease, base_url: str) -> tuple[ServiceDescriptor, ...]:
    """Those that take the identifier of a row, made once for a release."""
    return (
        cutouts(base_url, "ID"),
        *derived.services(base_url, "ID", release),
        similar(base_url, "ID", release),
    )


def unknown(did: str) -> Link:
    return Link(
        did,
        "#this",
        "No such spectrum in this archive",
        VOTABLE,
        error_message=f"NotFoundFault: No spectrum has the identifier {did}",
        link_auth=None,
        link_authorized=None,
    )


def absent(did: str) -> Link:
    """A spectrum of which the archive has the facts alone."""
    words = "NotFoundFault: the archive gives no file of this spectrum"
    return Link(
        did, "#this", "No file here", VOTABLE, error_message=words, link_auth=None, link_authorized=None
    )


def spectrum_links(facts: Facts, did: str, base_url: str, cutout: str) -> Iterator[Link]:
    """`#this` in every format, VOTable first; preview; cutout. `did` is the client's word."""
    known = facts.publisher_did
    yield _file(did, known, base_url, ".vot", "VOTable, vacuum wavelengths")
    yield _file(did, known, base_url, ".fits", "FITS table, vacuum wavelengths")
    yield _file(did, known, base_url, ".csv", "CSV, vacuum wavelengths")
    yield _original(did, facts, base_url)
    yield Link(
        did,
        "#preview",
        "Plot of the spectrum",
        "image/png",
        product_url(base_url, known, ".png"),
        local_semantics="preview",
    )
    yield Link(
        did,
        "#cutout",
        "Part of the spectrum, in another format or normalised",
        VOTABLE,
        service_def=cutout,
        content_qualifier="#spectrum",
        local_semantics="cutout",
    )


def derived_links(did: str, known: str, base_url: str, about: Mapping[str, str]) -> Iterator[Link]:
    """What a model makes of the spectrum: as a file, and as services in the words of their descriptors."""
    for kind, text, url, service in (
        ("reconstruction", derived.SEEN, derived.reconstruction_url(base_url, known), None),
        ("reconstruct", about["reconstruction"], None, "reconstruction"),
        ("traversal", about["traversal"], None, "traversal"),
    ):
        yield Link(
            did,
            "#derivation",
            text,
            VOTABLE,
            url,
            service,
            content_qualifier="#spectrum",
            local_semantics=kind,
        )


def similar_links(did: str, known: str, base_url: str, uri: str, about: str) -> Iterator[Link]:
    """Likeness as a service for those that call services, as a page for those that open links (L22)."""
    yield Link(did, uri, about, VOTABLE, service_def="similar", local_semantics="similar_to")
    page = f"{base_url}/?id={quoted(known)}"
    yield Link(did, uri, f"{ALIKE}: a page", "text/html", page, local_semantics="similar_to_page")


PRODUCT_TYPES = {".vot": VOTABLE, ".fits": FITS, ".csv": CSV}


def _file(did: str, known: str, base_url: str, suffix: str, words: str) -> Link:
    return Link(
        did,
        "#this",
        f"The spectrum as {words}",
        PRODUCT_TYPES[suffix],
        product_url(base_url, known, suffix),
        content_qualifier="#spectrum",
        local_semantics=suffix[1:],
    )


def _original(did: str, facts: Facts, base_url: str) -> Link:
    place = f"; this spectrum is {facts.locator} in it" if facts.locator else ""
    return Link(
        did,
        "#this",
        f"The archive's original file{place}",
        facts.media_type,
        product_url(base_url, facts.publisher_did, ORIGINAL),
        content_length=facts.size,
        content_qualifier="#spectrum",
        local_semantics="original",
    )


# --- descriptors ---


def cutout_service(facts: Facts, band: Interval, base_url: str, id_: str) -> ServiceDescriptor:
    """SODA for one spectrum, with the wavelengths and times that it covers (SODA 1.0, 4.2)."""
    start, stop = exposure_limits(facts)
    time = None if start is None or stop is None else (start, stop)
    return ServiceDescriptor(
        id=id_,
        name=id_.replace("_", " ").capitalize(),  # names are unique in a document
        description="Part of the spectrum, in another format or normalised",
        access_url=f"{base_url}/soda/sync",
        standard_id=SODA,
        params=soda_params(identifier(value=facts.publisher_did, ucd=SODA_ID), band, time),
    )


def this_service(base_url: str) -> tuple[ServiceDescriptor, ...]:
    """What the answer without identifiers says of the service itself (DataLink 1.1, 4.4; 1.0 by its name)."""
    params = (
        InputParam("ID", ucd="meta.id;meta.main", description="Publisher's identifiers, as many as you like"),
        InputParam("RESPONSEFORMAT", ucd="meta.code.mime", options=(DATALINK_TYPE, "text/xml")),
    )
    url, words = f"{base_url}/datalink/links", "Links of the spectra with these identifiers"
    return (
        ServiceDescriptor("links", "links", words, url, DATALINK, DATALINK_TYPE, params, "adhoc:this"),
        ServiceDescriptor("this", "this", words, url, DATALINK, DATALINK_TYPE, params),
    )


# --- HTTP ---


def media_type(text: str | None) -> str:
    """The type to answer with: the standard's own, or the VOTable type that was asked for (L06, D12)."""
    if text is None:
        return DATALINK_TYPE
    asked = MediaType.parse(text)
    if asked.essence in ("votable", VOTABLE) and asked.parameter("serialization") in (None, "tabledata"):
        return DATALINK_TYPE
    if asked.essence in ("text/xml", "application/xml"):
        return asked.essence
    raise UsageFault(f"RESPONSEFORMAT is not known here: {text}; links are told as {DATALINK_TYPE}")


def as_rows(found: Links) -> Rows:
    """What the document says besides its rows."""
    return Rows(
        COLUMNS,
        iter(()),
        (Info("standardID", DATALINK),),
        lambda: found.cut,
        "links",
        "What there is for the spectra",
        f"the limit of {MAX_IDS} identifiers at once; ask again for the others",
    )


def line(link: Link) -> str:
    """The cells of a row of TABLEDATA."""
    return f"<TD>{'</TD><TD>'.join(map(cell, cells(link)))}</TD>"


cells = attrgetter(*NAMES)


@lru_cache(maxsize=8192, typed=True)
def cell(value: str | int | bool | None) -> str:
    """Most cells are the same for every spectrum, and an identifier is in all of its own rows."""
    if value is None or isinstance(value, bool):
        return {None: "", True: "T", False: "F"}[value]
    return escape(value) if isinstance(value, str) else str(value)


def document(release: OpenRelease, params: Params, base_url: str, uri: str = SIMILAR) -> Document:
    """The answer to one request."""
    if params.one("REQUEST") not in (None, "getLinks"):
        raise UsageFault(f"REQUEST is not known here: {params.one('REQUEST')}; only getLinks is")
    told = media_type(params.one("RESPONSEFORMAT"))
    found = find_links(release, params.all("ID"), base_url, uri)
    return Document(told, write_lines(as_rows(found), map(line, found.rows), found.descriptors))


async def get_links(request: Request) -> Response:
    state = request.app.state
    try:
        params = await request_params(request)

        def work(stack: ExitStack) -> Document:
            release = stack.enter_context(state.holder.pin())
            return document(release, params, state.base_url, state.config.registry.similarity_uri)

        return await respond(request, work)
    except ServiceFault as fault:
        body = error_document(f"{fault.fault}: {fault}", infos=[Info("standardID", DATALINK)])
        return Response(body, fault.status, {"Content-Type": DATALINK_TYPE})


routes: list[BaseRoute] = [Route("/datalink/links", get_links, methods=["GET", "POST"])]
