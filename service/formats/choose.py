"""Which writer answers: RESPONSEFORMAT's names and media types (DALI 4.3.3, TAPRegExt 2.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module

from service.errors import UsageFault
from service.formats.csv import write_csv, write_tsv
from service.formats.json import write_json
from service.formats.stream import Rows
from service.formats.votable import InputParam, Serialization, ServiceDescriptor, write_votable
from service.protocols.dali import MediaType

Writer = Callable[[Rows, Sequence[ServiceDescriptor], Sequence[InputParam]], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a table; `media_type` is what the answer's Content-Type says."""

    name: str
    media_type: str
    suffix: str
    write: Writer
    aliases: tuple[str, ...] = ()
    ivo_id: str | None = None  # TAPRegExt's word for it
    error: str = "votable"  # the form of an error document: votable, json or text
    description: str = ""

    @property
    def tabledata(self) -> bool:
        return self.name in ("votable", "votable-td")


def votable(serialization: Serialization) -> Writer:
    def write(
        rows: Rows, descriptors: Sequence[ServiceDescriptor], params: Sequence[InputParam]
    ) -> Iterator[bytes]:
        return write_votable(rows, serialization=serialization, descriptors=descriptors, params=params)

    return write


def plain(writer: Callable[[Rows], Iterator[bytes]]) -> Writer:
    """A writer of a format that has no place for descriptors."""

    def write(
        rows: Rows, descriptors: Sequence[ServiceDescriptor], params: Sequence[InputParam]
    ) -> Iterator[bytes]:
        return writer(rows)

    return write


def late(module: str, name: str) -> Callable[[Rows], Iterator[bytes]]:
    """A writer whose module is imported when it is first asked for."""

    def write(rows: Rows) -> Iterator[bytes]:
        writer: Callable[[Rows], Iterator[bytes]] = getattr(import_module(f"service.formats.{module}"), name)
        return writer(rows)

    return write


VOTABLE = "application/x-votable+xml"
REGEXT = "ivo://ivoa.net/std/TAPRegExt#output-votable-"

FORMATS: tuple[Format, ...] = (
    Format(
        "votable", VOTABLE, "vot", votable("TABLEDATA"), ("text/xml", "application/xml", "votable/td", "td")
    ),
    Format(
        "votable-td",
        f"{VOTABLE};serialization=tabledata",
        "vot",
        votable("TABLEDATA"),
        (f"{VOTABLE};serialization=tabledata",),
        f"{REGEXT}td",
    ),
    Format(
        "votable-b2",
        f"{VOTABLE};serialization=binary2",
        "vot",
        votable("BINARY2"),
        ("votable/b2", "vodml", "binary2"),
        f"{REGEXT}binary2",
    ),
    Format(
        "votable-b",
        f"{VOTABLE};serialization=binary",
        "vot",
        votable("BINARY"),
        ("votable/b", "binary"),
        f"{REGEXT}binary",
    ),
    Format("csv", "text/csv;header=present", "csv", plain(write_csv), ("text/csv",), error="text"),
    Format(
        "csv-bare",
        "text/csv;header=absent",
        "csv",
        plain(partial(write_csv, header=False)),
        error="text",
    ),
    Format("tsv", "text/tab-separated-values", "tsv", plain(write_tsv), error="text"),
    Format("json", "application/json", "json", plain(write_json), error="json"),
    Format("fits", "application/fits", "fits", plain(late("fits", "write_fits")), ("image/fits",)),
    Format(
        "parquet",
        "application/vnd.apache.parquet",
        "parquet",
        plain(late("arrow", "write_parquet")),
        ("application/x-parquet",),
    ),
    Format(
        "arrow",
        "application/vnd.apache.arrow.stream",
        "arrows",
        plain(late("arrow", "write_arrow")),
    ),
    Format("html", "text/html", "html", plain(late("text", "write_html")), error="text"),
    Format("text", "text/plain", "txt", plain(late("text", "write_text")), error="text"),
)


def _names() -> dict[MediaType, Format]:
    return {
        MediaType.parse(name): known
        for known in FORMATS
        for name in (known.name, known.media_type, *known.aliases)
    }


NAMES = _names()


def choose_format(text: str | None) -> Format:
    """The format that a client names; VOTable where it names none. The answer carries the media type it asked
    for (`text/xml` is answered as `text/xml`)."""
    asked = MediaType.parse(text or "votable")
    known = NAMES.get(asked) or _without_strange_parameters(asked)
    if known is None:
        words = ", ".join(f.name for f in FORMATS)
        raise UsageFault(f"No such output format here: {text}; known are {words} and their media types")
    if "/" in asked.essence and asked.essence.startswith(("text/", "application/")):
        return replace(known, media_type=_content_type(text or "", known))
    return known


def _without_strange_parameters(asked: MediaType) -> Format | None:
    """`text/csv; charset=utf-8` is text/csv; a serialization that we lack stays unknown."""
    if asked.parameter("serialization") or asked.parameter("content"):
        return None
    header = tuple(pair for pair in asked.parameters if pair[0] == "header")
    return NAMES.get(MediaType(asked.essence, header))


def _content_type(text: str, known: Format) -> str:
    asked = MediaType.parse(text)
    same = asked.essence == MediaType.parse(known.media_type).essence
    return known.media_type if same else asked.essence
