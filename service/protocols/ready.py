"""Rows of spectra made ready for documents: the text of a spectrum's row does not change while a release does
not, and most of the work of a short answer is writing it.

What is kept are rows, never answers: every question is asked of the engine anew, which says which spectra
answer it and in what order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from encoder.spectrum import Facts
from index.release import OpenRelease
from registry_metadata.columns import Column
from service.formats.lines import row_texts
from service.formats.stream import Info
from service.kept import Kept, once_each
from service.protocols.alike import answered_by, reference, search
from service.protocols.constraints import Cones, Listed
from service.protocols.places import in_cones
from service.protocols.spectra import (
    Form,
    Ranked,
    Spelling,
    Uploads,
    Wanted,
    ranked,
    short_tree,
    spelled_columns,
    tree,
)
from service.query.run import Question, answer, fetch

SHORT = 1000  # rows of the answers that are made from ready rows; longer ones are streamed
SMALL = (
    5000  # spectra of an archive whose identifiers are fetched without a limit, which costs the engine more
)
PAGE = 100  # rows that are made ready together
KEPT = 20_000  # rows of a release, some 1.5 kB each; those not asked for the longest leave first


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of a spectrum without its pixels; metres in vacuum, None where nobody read them."""

    facts: Facts
    em_min: float | None
    em_max: float | None


@dataclass(frozen=True, slots=True)
class Parts:
    """What is kept of an open release; it goes with it."""

    rows: Kept[tuple[str, str, str], str] = field(default_factory=lambda: Kept(KEPT))
    described: Kept[int, Described] = field(default_factory=lambda: Kept(KEPT))


@once_each
def parts(release: OpenRelease) -> Parts:
    return Parts()


def described(release: OpenRelease, rows: Sequence[int]) -> list[Described]:
    """Facts and covered wavelengths of spectra, in the order asked."""

    def read(missing: Sequence[int]) -> dict[int, Described]:
        found = zip(missing, release.described(missing), strict=True)
        return {row: Described(*known) for row, known in found}

    return parts(release).described.all(rows, read)


def ready_rows(release: OpenRelease, dids: Sequence[str], form: Form | None, base_url: str) -> list[str]:
    """The cells of each spectrum's row, in the order asked; `form` as in a question."""
    kind = base_url, form.suffix if form else ""
    return kept_rows(release, dids, kind, partial(made_ready, release, form, base_url))


def kept_rows(
    release: OpenRelease,
    dids: Sequence[str],
    kind: tuple[str, str],
    make: Callable[[Sequence[str]], Mapping[str, str]],
) -> list[str]:
    """The cells of rows of one kind, in the order asked; `make` writes those that are missing, and others
    beside them, by identifier."""

    def missing_rows(missing: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], str]:
        made = make(pages(release, [did for *_, did in missing]))
        return {(*kind, did): text for did, text in made.items()}

    return parts(release).rows.all([(*kind, did) for did in dids], missing_rows)


def pages(release: OpenRelease, dids: Sequence[str]) -> list[str]:
    """These identifiers and those of the spectra around them: rows lie by their place on the sky, and reading
    a page of them costs little more than reading one."""
    rows = [row for row in map(release.row_of, dids) if row is not None]
    starts = sorted({row - row % PAGE for row in rows})
    if len(starts) * PAGE > SHORT:
        return list(dids)
    last = release.rows_given
    return [release.did_of(row) for start in starts for row in range(start, min(start + PAGE, last))]


def made_ready(release: OpenRelease, form: Form | None, base_url: str, dids: Sequence[str]) -> dict[str, str]:
    """The cells of these spectra's rows by identifier, read and written like those of every other answer."""
    wanted = Wanted((Listed("ssa_pubdid", tuple(dids)),), form=form)
    with answer(release, Question(tree(release, wanted)), base_url=base_url) as found:
        batches = Spelling(release, wanted, base_url).batches(found.batches)
        return by_identifier(spelled_columns(release), "ssa_pubDID", batches)


def by_identifier(columns: Sequence[Column], did: str, batches: Iterator[pa.RecordBatch]) -> dict[str, str]:
    """The cells of rows, by what is in the column `did`."""
    place, made = [column.name for column in columns].index(did), dict[str, str]()
    for batch in batches:
        made.update(zip(batch.column(place).to_pylist(), row_texts(columns, batch), strict=True))
    return made


Answered = tuple[Ranked, tuple[Info, ...]]  # which spectra, and how they were found


def short_answer(
    release: OpenRelease, wanted: Wanted, maxrec: int, base_url: str, uploads: Uploads | None, seconds: float
) -> Answered | None:
    """Which spectra answer a question, in order, at most `maxrec`; None where they are more than SHORT."""
    most = min(maxrec, SHORT)
    known = in_places(release, wanted, most) or among_vectors(release, wanted, maxrec, uploads)
    if known is not None:
        return known
    query = short_tree(wanted)
    if wanted.top is None and not wanted.likeness and len(release) <= SMALL:
        query.set("order", None)
        found = fetch(release, Question(query, timeout=seconds), base_url=base_url)
        found.rows.sort()
    else:
        question = Question(query, most, timeout=seconds)
        found = fetch(release, question, base_url=base_url, references=uploads)
    rows, overflow = found.rows[:most], found.overflow or len(found.rows) > most
    if overflow and maxrec > SHORT:
        return None
    return ranked(wanted, rows, overflow), tuple(Info(i.name, i.value, i.text) for i in found.infos)


def in_places(release: OpenRelease, wanted: Wanted, most: int) -> Answered | None:
    """The spectra in a cone, where nothing else is asked; None where the engine is to be asked."""
    match wanted:
        case Wanted(conditions=(Cones() as cones,), likeness=None, top=None):
            dids = in_cones(release, cones, most)
            return None if dids is None else (Ranked(tuple(sorted(dids)), (), False), (answered_by(release),))
    return None


def among_vectors(
    release: OpenRelease, wanted: Wanted, maxrec: int, uploads: Uploads | None
) -> Answered | None:
    """The nearest of all spectra, where nothing else is asked; None where the engine is to be asked."""
    likeness, top = wanted.likeness, wanted.top
    if likeness is None or top is None or wanted.conditions or min(top, maxrec) > SHORT:
        return None
    row = release.row_of(likeness.reference)
    if row is None or likeness.model.vectors.vector(row) is None:
        return None
    around = reference(release, likeness, uploads)
    (found,) = search(release, [around], min(top, maxrec), maxrec < top, None)
    return Ranked(found.dids, found.distances, found.overflow), found.infos
