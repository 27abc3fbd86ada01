"""What the archive answers to a question that came by SAMP: neighbours, asked of the running service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np

from service.errors import NotFoundFault, ServiceFault, UsageFault
from service.samp_messages import Dids, File, Place, Question, dids_of_table
from service.similar_client import FILE_PART, SECONDS, Client

if TYPE_CHECKING:
    from pyvo.dal import DALResults

SCHEMES = ("http", "https", "file")
MAX_BYTES = 100_000_000
NEAR = 60 / 3600  # degrees around a position in which its spectrum must lie
NEAREST = """
SELECT TOP 1 ssa_pubdid, DISTANCE(ssa_location, POINT({ra!r}, {dec!r})) AS apart
FROM doppel.spectra
WHERE DISTANCE(ssa_location, POINT({ra!r}, {dec!r})) < {near!r}
ORDER BY apart, ssa_pubdid
"""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Nearest spectra: the address of the table, its rows as text, and the utypes of its columns."""

    url: str
    title: str
    rows: Sequence[Mapping[str, str]]
    utypes: Mapping[str, str]
    positions: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Archive:
    """The running service below `client.base`, asked for `k` neighbours in `space`."""

    client: Client
    k: int
    space: str

    def answer(self, question: Question) -> Neighbours:
        """ServiceFault in words for people where there is no answer."""
        if isinstance(question, Dids):
            return self.neighbours(question.dids)
        if isinstance(question, Place):
            return self.neighbours((self.nearest_to(question),))
        return self.of_file(question)

    def neighbours(self, references: Sequence[str]) -> Neighbours:
        asked = [("ID", reference) for reference in references]
        asked += [("TOP", str(self.k)), *([("SPACE", self.space)] if self.space else [])]
        url = f"{self.client.base}/similar_to?{urlencode(asked)}"
        found = self.client.table(url, {}, {})
        return Neighbours(url, title(references), texts(found), utypes(found), positions(found))

    def nearest_to(self, place: Place) -> str:
        """The identifier of the spectrum nearest to a position."""
        query = NEAREST.format(ra=place.ra, dec=place.dec, near=NEAR)
        found = self.client.table(f"{self.client.base}/tap/sync", {"LANG": "ADQL", "QUERY": query}, {})
        if not len(found):
            raise NotFoundFault(f"no spectrum within {60 * NEAR:g}′ of {place.ra:.5f} {place.dec:+.5f}")
        return str(found["ssa_pubdid"][0])

    def of_file(self, question: File) -> Neighbours:
        """By its identifier where the archive knows it, else by the pixels of the file."""
        if question.did:
            try:
                return self.neighbours((question.did,))
            except ServiceFault:
                if not question.url:
                    raise
        found = self.client.table(
            f"{self.client.base}/similar_to", {"TOP": 1}, {FILE_PART: ("spectrum", fetched(question.url))}
        )
        return self.neighbours((upload_of(found),))

    def dids(self, url: str) -> tuple[str, ...]:
        """The identifiers in the table at an address."""
        return dids_of_table(fetched(url))


def fetched(url: str) -> bytes:
    """What a program on this desktop offers: such addresses are mostly of this machine."""
    if url.partition(":")[0].lower() not in SCHEMES:
        raise UsageFault(f"{url} can not be read; addresses begin with {', '.join(SCHEMES)}")
    try:
        with urlopen(Request(url), timeout=SECONDS) as stream:  # noqa: S310  (scheme checked above)
            content: bytes = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageFault(f"{url} can not be read: {error}") from None
    if len(content) > MAX_BYTES:
        raise UsageFault(f"{url} is larger than {MAX_BYTES // 1_000_000} MB")
    return content


def upload_of(found: DALResults) -> str:
    """The token under which the service keeps the file that was sent."""
    infos = [info for resource in found.votable.resources for info in resource.infos]
    return next(str(info.value) for info in infos if info.name == "upload")


def title(references: Sequence[str]) -> str:
    if len(references) > 1:
        return f"Likes of {len(references)} spectra"
    return f"Likes of {references[0].rpartition('?')[2]}"


def texts(found: DALResults) -> list[dict[str, str]]:
    """Every cell as text, empty for NULL, as SAMP sends values."""
    return [{name: text(record[name]) for name in found.fieldnames} for record in found]


def text(cell: Any) -> str:
    if cell is None or np.ma.is_masked(cell):
        return ""
    if isinstance(cell, np.ndarray):
        return " ".join(repr(value) for value in cell.tolist())
    value = cell.item() if isinstance(cell, np.generic) else cell
    return "" if isinstance(value, float) and np.isnan(value) else str(value)


def utypes(found: DALResults) -> dict[str, str]:
    return {field.name: field.utype or "" for field in found.resultstable.fields}


def positions(found: DALResults) -> list[tuple[float, float]]:
    """ICRS degrees per row; NaN where the archive has none."""
    cells: list[Any] = [np.ma.asarray(record["ssa_location"], float) for record in found]
    places: list[Any] = [np.ma.filled(cell, np.nan) for cell in cells]
    return [(float(place[0]), float(place[1])) if place.size == 2 else (np.nan, np.nan) for place in places]
