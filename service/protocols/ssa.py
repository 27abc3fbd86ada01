"""`/ssa`: Simple Spectral Access 1.1, one row per spectrum, in the format that FORMAT asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from index.release import OpenRelease
from registry_metadata.columns import Column
from service.errors import UsageFault
from service.formats.choose import choose_format
from service.formats.lines import write_lines
from service.formats.spectrum import CSV, FITS, VOTABLE
from service.formats.stream import Info, Rows
from service.formats.votable import ServiceDescriptor
from service.kept import once_each
from service.limits import Limits
from service.protocols.constraints import conditions
from service.protocols.dali import Params, choose_word, request_params
from service.protocols.descriptors import descriptors
from service.protocols.ready import ready_rows, short_answer
from service.protocols.spectra import (
    TABLE,
    Form,
    Likeness,
    Ranked,
    Spelling,
    Uploads,
    Wanted,
    answer_columns,
    overflow_of,
    repeat_shares,
    scores,
    space_model,
    spelled_columns,
    tree,
)
from service.protocols.ssa_metadata import MAX_TOP, inputs, metadata_columns
from service.query.run import Question, answer
from service.respond import Document, respond

STANDARD = "ivo://ivoa.net/std/SSA"
BOOLEANS = ("true", "false", "t", "f", "1", "0")  # in any case, as TABLEDATA spells them
DEFAULT_NEIGHBOURS = 1000  # rows of a SIMILAR_TO without TOP and MAXREC

COMPLIANT = Form(VOTABLE, ".vot")
FORMS: Mapping[str, Form] = {
    **dict.fromkeys(
        ("all", "compliant", "votable", "xml", VOTABLE, "text/xml", "application/xml"), COMPLIANT
    ),
    **dict.fromkeys(("text/x-votable+xml", "text/xml;x-votable", "spectrum/votable"), COMPLIANT),
    **dict.fromkeys(("fits", FITS, "image/fits", "spectrum/fits"), Form(FITS, ".fits", 17.0, 11_520.0)),
    **dict.fromkeys(("csv", CSV), Form(CSV, ".csv", 30.0, 30.0)),
    "native": Form("", ".orig"),
    **dict.fromkeys(("graphic", "image/png", "image/*"), Form("image/png", ".png", 0.0, 60_000.0)),
    "image/svg+xml": Form("image/svg+xml", ".svg", 30.0, 20_000.0),
}


def chosen_form(text: str | None) -> Form | None:
    """The compliant format where it is in the list, else the first that there is; None where there is none:
    then nothing is found (SSA 1.1, 4.1.1.5)."""
    if text is None:
        return COMPLIANT
    words = [re.sub(r"\s", "", word).lower() for word in text.split(",")]
    found = [FORMS[word] for word in words if word in FORMS]
    return COMPLIANT if COMPLIANT in found else next(iter(found), None)


@dataclass(frozen=True, slots=True)
class SsaQuery:
    """A request, checked as far as that needs the release's tables."""

    wanted: Wanted
    maxrec: int
    limit: str
    nothing: bool = False  # no product has the format asked for


def check_operation(params: Params) -> None:
    """REQUEST, VERSION and COMPRESS (SSA 1.1, 8.8.2, 8.2.4 and 4.1.2); all may be left out."""
    operation = params.one("REQUEST")
    if operation is not None and operation.strip().lower() != "querydata":
        raise UsageFault(f"REQUEST is not known here: {operation}; allowed is queryData")
    version = params.one("VERSION")
    if version is not None and not re.fullmatch(r"\s*1(\.[01]\d?)?\s*", version):
        raise UsageFault(f"VERSION {version} of SSA is not spoken here; 1.1 is")
    choose_word("COMPRESS", params.one("COMPRESS") or "true", BOOLEANS)


def read_query(
    release: OpenRelease, params: Params, limits: Limits, uploads: Uploads | None = None
) -> SsaQuery:
    """UsageFault where a parameter that is known here has a value that cannot be read (S09)."""
    check_operation(params)
    reference, space = params.one("SIMILAR_TO"), params.one("SPACE") or ""
    likeness = Likeness.of(release, reference, space, "SIMILAR_TO", uploads) if reference else None
    model = likeness.model if likeness else space_model(release, space)
    form = chosen_form(params.one("FORMAT"))
    spectra = release.tables[TABLE]
    found = conditions(params, spectra, release.tables[f"doppel.{model.name}"])
    top = params.integer("TOP", low=1)
    usual = DEFAULT_NEIGHBOURS if likeness else limits.default_rows
    asked = params.integer("MAXREC", low=0)
    maxrec = params.maxrec(usual, limits.max_rows)
    limit = f"MAXREC={asked}" if asked is not None else f"the default MAXREC of {usual} rows"
    top = None if top is None else min(top, MAX_TOP)
    wanted = Wanted(found, likeness, model, top, None if form is COMPLIANT else form)
    return SsaQuery(wanted, maxrec, limit, nothing=form is None)


@dataclass(frozen=True, slots=True)
class Known:
    """A column of the answer, for the descriptors."""

    column: Column
    did: bool


def infos(params: Params) -> tuple[Info, ...]:
    """Protocol and request (SSA 1.1, 4.2; DALI 5.4.3)."""
    asked = tuple(Info(f"INPUT:{name}", value) for name, value in params.pairs() if len(value) < 2000)
    return (
        Info("SERVICE_PROTOCOL", "1.1", "SSAP"),
        Info("standardID", STANDARD),
        Info("server_software", "Doppel"),
        *asked,
    )


def find(
    services: Any,
    release: OpenRelease,
    query: SsaQuery,
    told: Sequence[Info],
    uploads: Uploads | None,
    stack: ExitStack,
) -> Rows:
    """The answer's rows; what is open is left in the stack."""
    seconds = services.config.limits.sync_seconds
    question = Question(tree(release, query.wanted), 0 if query.nothing else query.maxrec, timeout=seconds)
    found = stack.enter_context(answer(release, question, base_url=services.base_url, references=uploads))
    spelling = Spelling(release, query.wanted, services.base_url)
    overflowed: Callable[[], bool] = overflow_of(spelling, lambda: found.overflow and not query.nothing)
    remarks = tuple(Info(i.name, i.value, i.text) for i in found.infos)
    return Rows(
        spelling.columns,
        spelling.batches(found.batches),
        (*told, *remarks),
        overflowed,
        "spectra",
        limit=query.limit,
    )


def query_data(services: Any, params: Params, stack: ExitStack) -> Document:
    release = stack.enter_context(services.holder.pin())
    form = choose_format(params.one("RESPONSEFORMAT"))
    uploads: Uploads = services.references
    if (params.one("FORMAT") or "").strip().lower() == "metadata":
        check_operation(Params.of((n, v) for n, v in params.pairs() if n in ("REQUEST", "VERSION")))
        rows = Rows(metadata_columns(release), iter(()), infos(params), name="spectra")
        return Document(form.media_type, form.write(rows, (), inputs(release, services.config.limits)))
    query = read_query(release, params, services.config.limits, uploads)
    links = result_descriptors(release, services.base_url)
    ready = short(services, release, query, infos(params), uploads) if form.tabledata else None
    if ready is not None:
        chunks = write_lines(*ready, links)
    else:
        rows = find(services, release, query, infos(params), uploads, stack)
        chunks = form.write(rows, links, ())
    return Document(form.media_type, chunks, f"ssa.{form.suffix}")


@once_each
def result_descriptors(release: OpenRelease, base_url: str) -> tuple[ServiceDescriptor, ...]:
    """What a table of spectra tells clients to do with its identifiers; made once per release."""
    columns = [Known(c, c.name == "ssa_pubDID") for c in spelled_columns(release)]
    return tuple(descriptors(columns, base_url, release))


def short(
    services: Any, release: OpenRelease, query: SsaQuery, told: Sequence[Info], uploads: Uploads | None
) -> tuple[Rows, list[str]] | None:
    """What the document says, and the cells of its rows, which are ready; None where the answer is long."""
    if query.nothing or not query.maxrec:
        return None
    seconds, wanted = services.config.limits.sync_seconds, query.wanted
    found = short_answer(release, wanted, query.maxrec, services.base_url, uploads, seconds)
    if found is None:
        return None
    order, remarks = found
    lines = ready_rows(release, order.dids, wanted.form, services.base_url)
    rows = Rows(
        answer_columns(release, wanted),
        iter(()),
        (*told, *remarks),
        lambda: order.overflow,
        "spectra",
        limit=query.limit,
    )
    return rows, ranked_lines(wanted, order, lines)


def ranked_lines(wanted: Wanted, order: Ranked, lines: list[str]) -> list[str]:
    """The cells with score, distance and share around them, where the answer has these columns."""
    if not order.ranking:
        return lines
    ranking = np.array(order.ranking, np.float64)
    first = [
        f"<TD>{score!r}</TD>{line}"
        for score, line in zip(scores(wanted, ranking).tolist(), lines, strict=True)
    ]
    if wanted.likeness is None:
        return first
    shares = repeat_shares(wanted.likeness.model, wanted.likeness.preset, ranking)
    last = [""] * len(lines) if shares is None else [repr(share) for share in shares.tolist()]
    return [
        f"{line}<TD>{d!r}</TD><TD>{share}</TD>"
        for line, d, share in zip(first, ranking.tolist(), last, strict=True)
    ]


async def ssa(request: Request) -> Response:
    params = await request_params(request)
    return await respond(request, partial(query_data, request.app.state, params))


routes: list[BaseRoute] = [Route("/ssa", ssa, methods=["GET", "POST"])]
