"""`/similar_to`: the spectra most like one of this archive, or like one that is sent; nearest first.

The conditions are those of SSA and come before the search; the reference is left out. Several references are
answered one after the other, in a column `reference`, by one search; UNLIKE or COMBINE make them one query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from index.release import OpenRelease
from registry_metadata.columns import Column
from service.errors import ServiceFault, UsageFault
from service.formats.choose import choose_format
from service.formats.lines import write_lines
from service.formats.stream import Info, Rows
from service.formats.votable import escape
from service.protocols.alike import (
    CANDIDATES,
    Hits,
    Reference,
    combined,
    explained,
    passing,
    reference,
    reranked,
    search,
)
from service.protocols.constraints import Listed
from service.protocols.dali import Params, choose_word, request_params
from service.protocols.descriptors import DEFAULT_NEIGHBOURS, MAX_NEIGHBOURS
from service.protocols.encode import Sent, keep, sent_spectrum
from service.protocols.ready import SHORT, ready_rows, short_answer
from service.protocols.spectra import (
    DISTANCE,
    REPEATS,
    SCORE,
    Form,
    Likeness,
    Spelling,
    Uploads,
    Wanted,
    repeat_shares,
    spelled_columns,
    tree,
)
from service.protocols.ssa import SsaQuery, read_query, result_descriptors
from service.query.run import Question, answer
from service.respond import Document, respond

MAX_REFERENCES = 1000
MAX_ROWS = 100_000  # of all references together
REFERENCE = Column(
    "reference", "char", "*", ucd="meta.ref.ivoid", description="The spectrum that the row is compared with"
)
WHY = (
    Column(
        "latent_shares", "char", "*", description="Parts of the squared distance by latent, largest first"
    ),
    Column("block_shares", "char", "*", description="Parts of the squared distance by block of latents"),
)
OWN = ("ID", "TOP", "REQUEST", "VERSION", "UNLIKE", "COMBINE", "EXPLAIN", "RERANK")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: the query that SSA would make of it for the first reference, and what is beyond SSA."""

    ids: tuple[str, ...]
    unlike: tuple[str, ...]
    combine: bool
    explain: bool
    rerank: bool
    query: SsaQuery

    @property
    def k(self) -> int:
        """Neighbours of each reference at most."""
        top = self.query.wanted.top
        return self.query.maxrec if top is None else min(top, self.query.maxrec)

    @property
    def cut(self) -> bool:
        """Whether more than `k` is an overflow: it was MAXREC that cut, not TOP on purpose."""
        top = self.query.wanted.top
        return top is None or self.query.maxrec < top

    @property
    def plain(self) -> bool:
        """One reference under conditions: a question like every other. Without them the vectors know."""
        alone = len(self.ids) == 1 and not (self.combine or self.rerank)
        return alone and bool(self.query.wanted.conditions)


def flag(params: Params, name: str) -> bool:
    text = params.one(name)
    return text is not None and choose_word(name, text, ("1", "true", "0", "false")) in ("1", "true")


def read(services: Any, release: OpenRelease, params: Params, ids: Sequence[str], uploads: Uploads) -> Asked:
    """TOP or MAXREC say how many, 20 if neither does."""
    unlike = params.all("UNLIKE")
    if len(ids) + len(unlike) > MAX_REFERENCES:
        raise UsageFault(f"ID is given {len(ids)} times; at most {MAX_REFERENCES} are answered at once")
    if rerank := params.one("RERANK"):
        choose_word("RERANK", rerank, ("sigma",))
    top = params.integer("TOP", low=1, high=MAX_NEIGHBOURS)
    if top is None and params.one("MAXREC") is None:
        top = DEFAULT_NEIGHBOURS
    first = comparable(release, ids, params.one("SPACE") or "", uploads)
    pairs = [(name, value) for name, value in params.pairs() if name not in OWN]
    given = Params.of([*pairs, ("SIMILAR_TO", first), *([("TOP", str(top))] if top else [])])
    query = read_query(release, given, services.config.limits, uploads)
    if query.maxrec > MAX_NEIGHBOURS:
        query = replace(query, maxrec=MAX_NEIGHBOURS, limit=f"the limit of {MAX_NEIGHBOURS} neighbours")
    combine = bool(unlike) or flag(params, "COMBINE")
    return Asked(tuple(ids), unlike, combine, flag(params, "EXPLAIN"), rerank is not None, query)


def comparable(release: OpenRelease, ids: Sequence[str], space: str, uploads: Uploads) -> str:
    """The first identifier that can be compared; the fault of the first where none can."""
    faults: list[ServiceFault] = []
    for did in ids:
        try:
            Likeness.of(release, did, space, "ID", uploads)
            return did
        except ServiceFault as fault:
            faults.append(fault)
    if len(ids) > 1:
        raise UsageFault(f"ID: none of the {len(ids)} identifiers can be compared; {faults[0]}")
    raise faults[0]


def references(
    release: OpenRelease, ids: Sequence[str], space: str, uploads: Uploads, strict: bool, name: str = "ID"
) -> tuple[list[Reference], list[Info]]:
    """Vectors to search around. An identifier without one is a fault of the parameter `name` where `strict`,
    else a remark."""
    good: list[Reference] = []
    problems: list[Info] = []
    for did in ids:
        try:
            good.append(reference(release, Likeness.of(release, did, space, name, uploads), uploads, name))
        except ServiceFault as fault:
            if strict:
                raise
            problems.append(Info("not_compared", did, str(fault)))
    return good, problems


def found_by_vectors(
    services: Any, release: OpenRelease, asked: Asked, space: str, uploads: Uploads
) -> tuple[list[Hits], list[Info]]:
    """The hits of every reference in turn, or of all of them as one."""
    strict = asked.combine or len(asked.ids) == 1
    likes, problems = references(release, asked.ids, space, uploads, strict)
    if asked.combine:
        unlikes, _ = references(release, asked.unlike, space, uploads, strict=True, name="UNLIKE")
        likes = [combined(likes, unlikes)]
    if len(likes) * asked.k > MAX_ROWS:
        raise UsageFault(
            f"{len(likes)} references with {asked.k} neighbours are too many; "
            f"{MAX_ROWS} rows are given at once"
        )
    model = asked.query.wanted.model or likes[0].model
    among = passing(release, asked.query.wanted.conditions, model, services.config.limits.sync_seconds)
    k = min(asked.k * CANDIDATES, MAX_NEIGHBOURS) if asked.rerank else asked.k
    hits: dict[str, Hits] = {}
    for name in dict.fromkeys(one.model.name for one in likes):
        group = [one for one in likes if one.model.name == name]
        hits.update((one.reference.name, one) for one in search(release, group, k, asked.cut, among))
    ordered = [hits[one.name] for one in likes]
    return [reranked(release, one, asked.k) if asked.rerank else one for one in ordered], problems


def found_by_query(services: Any, release: OpenRelease, asked: Asked, uploads: Uploads) -> Hits:
    """One reference by the same tree as everywhere."""
    wanted, seconds = asked.query.wanted, services.config.limits.sync_seconds
    assert wanted.likeness is not None  # noqa: S101 (`read` asks for one)
    short = short_answer(release, wanted, asked.query.maxrec, services.base_url, uploads, seconds)
    assert short is not None  # noqa: S101 (MAX_NEIGHBOURS are not more than SHORT)
    order, infos = short
    one = reference(release, wanted.likeness, uploads)
    return Hits(one, order.dids, order.ranking, order.overflow, infos)


def columns_of(release: OpenRelease, asked: Asked) -> tuple[Column, ...]:
    """Distance and share first, then why, then SSA's columns."""
    several = len(asked.ids) > 1 and not asked.combine
    before = (*([REFERENCE] if several else []), DISTANCE, REPEATS, *(WHY if asked.explain else ()), SCORE)
    return (*before, *spelled_columns(release))


def own_cells(release: OpenRelease, hits: Hits, columns: Sequence[Column], asked: Asked) -> list[list[Any]]:
    """Of every hit the values of the columns that are not SSA's, in their order; None is NULL."""
    distances = np.array(hits.distances)
    preset = None if asked.rerank else hits.reference.preset
    shares = repeat_shares(hits.reference.model, preset, distances)
    cells: dict[str, Sequence[Any]] = {
        REFERENCE.name: [hits.reference.name] * len(distances),
        DISTANCE.name: hits.distances,
        REPEATS.name: [None] * len(distances) if shares is None else shares.tolist(),
        SCORE.name: (1 / (1 + distances)).tolist(),
    }
    if asked.explain:
        told = explained(release, hits)
        cells |= {column.name: [texts[place] for texts in told] for place, column in enumerate(WHY)}
    before = columns[: len(columns) - len(spelled_columns(release))]
    return [list(row) for row in zip(*(cells[column.name] for column in before), strict=True)]


def lines(release: OpenRelease, found: Sequence[Hits], asked: Asked, base_url: str) -> Iterator[str]:
    """The cells of all rows, made ready."""
    columns = columns_of(release, asked)
    for hits in found:
        texts = ready_rows(release, hits.dids, asked.query.wanted.form, base_url)
        for own, text in zip(own_cells(release, hits, columns, asked), texts, strict=True):
            yield "".join(f"<TD>{cell(value)}</TD>" for value in own) + text


def cell(value: Any) -> str:
    if value is None:
        return ""
    return escape(value) if isinstance(value, str) else repr(value)


def batches(
    release: OpenRelease, found: Sequence[Hits], asked: Asked, base_url: str
) -> Iterator[pa.RecordBatch]:
    """The same rows in Arrow; the spectra's columns are read for some references at a time."""
    columns = columns_of(release, asked)
    names = [column.name for column in columns]
    own = len(columns) - len(spelled_columns(release))
    for part in portions(found):
        dids = list(dict.fromkeys(did for hits in part for did in hits.dids))
        if not dids:
            continue
        known, place = ssa_rows(release, dids, asked.query.wanted.form, base_url)
        rows = [row for hits in part for row in own_cells(release, hits, columns, asked)]
        taken = known.take(pa.array([place[did] for hits in part for did in hits.dids], pa.int64()))
        arrays = [
            pa.array(values, pa.string() if column.datatype == "char" else pa.float64())
            for column, values in zip(columns[:own], zip(*rows, strict=True), strict=True)
        ]
        spectra = [column.combine_chunks() for column in taken.columns]
        yield pa.RecordBatch.from_arrays([*arrays, *spectra], names)


def portions(found: Sequence[Hits]) -> Iterator[list[Hits]]:
    """Consecutive hits, together about SHORT rows."""
    part: list[Hits] = []
    for hits in found:
        part.append(hits)
        if sum(len(one.dids) for one in part) >= SHORT:
            yield part
            part = []
    yield part


def ssa_rows(
    release: OpenRelease, dids: Sequence[str], form: Form | None, base_url: str
) -> tuple[pa.Table, dict[str, int]]:
    """SSA's columns of some spectra, and in which row of them each is."""
    wanted = Wanted((Listed("ssa_pubdid", tuple(dids)),), form=form)
    with answer(release, Question(tree(release, wanted)), base_url=base_url) as found:
        table = pa.Table.from_batches(list(Spelling(release, wanted, base_url).batches(found.batches)))
    held = table.column("ssa_pubDID").to_pylist()
    return table, {did: number for number, did in enumerate(held)}


def remarks(release: OpenRelease, found: Sequence[Hits]) -> tuple[Info, ...]:
    """How it was found, once, and how many spectra nobody could compare."""
    models = dict.fromkeys(hits.reference.model for hits in found)
    left_out = tuple(
        Info(
            "not_embedded",
            str(len(release) - len(model.vectors)),
            f"Spectra of this archive that {model.name} cannot compare; they are in no answer of it",
        )
        for model in models
    )
    return (*found[0].infos, *left_out)


def similar(services: Any, params: Params, sent: Sent | None, stack: ExitStack) -> Document:
    form = choose_format(params.one("RESPONSEFORMAT"))
    ids = list(params.all("ID"))
    told: tuple[Info, ...] = (Info("server_software", "Doppel"),)
    if sent is not None:
        own = services.parsers.read(sent.content, sent.told)
        ids.append(keep(services, sent.told.name, own))
        told = (*told, Info("upload", ids[-1], "; ".join(own.assumed)))
    if not ids:
        raise UsageFault(
            "The parameter ID is missing: a publisher's identifier, or upload:<token>; or send a file"
        )
    release = stack.enter_context(services.holder.pin())
    uploads: Uploads = services.references
    asked = read(services, release, params, list(dict.fromkeys(ids)), uploads)
    problems: list[Info] = []
    if asked.plain:
        found = [found_by_query(services, release, asked, uploads)]
    else:
        found, problems = found_by_vectors(services, release, asked, params.one("SPACE") or "", uploads)
    rows = Rows(
        columns_of(release, asked),
        batches(release, found, asked, services.base_url),
        (*told, *problems, *remarks(release, found)),
        lambda: any(hits.overflow for hits in found),
        "similar",
        "Spectra by likeness",
        asked.query.limit,
    )
    links = result_descriptors(release, services.base_url)
    short = sum(len(hits.dids) for hits in found) <= SHORT
    if form.tabledata and short:
        chunks = write_lines(rows, lines(release, found, asked, services.base_url), links)
    else:
        chunks = form.write(rows, links, ())
    return Document(form.media_type, chunks, f"similar.{form.suffix}")


async def similar_to(request: Request) -> Response:
    params = await request_params(request)
    sent = await sent_spectrum(request, params)
    return await respond(request, partial(similar, request.app.state, params, sent))


routes: list[BaseRoute] = [Route("/similar_to", similar_to, methods=["GET", "POST"])]
