"""The links and lines that give the answer of a page in other clients."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

VOTABLE = "application/x-votable+xml"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the same answer: what to copy, and what to open in a browser."""

    id: str
    label: str
    content: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """The question of the page: the k nearest to a reference in a space."""

    reference: str  # a publisher DID or upload:<token>
    k: int
    space: str  # model:preset, with weights where given


def adql(question: Question) -> str:
    """The same question for TAP: nearest first, the reference left out, ties by identifier."""
    reference = question.reference.replace("'", "''")
    space = question.space.replace("'", "''")
    return (
        f"SELECT TOP {question.k} ssa_pubdid, ssa_targname, spectral_class, teff, logg, feh,\n"
        f"  latent_distance(ssa_pubdid, '{reference}', '{space}') AS dist\n"
        f"FROM doppel.spectra\n"
        f"WHERE ssa_pubdid <> '{reference}'\n"
        f"ORDER BY dist, ssa_pubdid"
    )


def ways(question: Question, base: str) -> list[Way]:
    query = adql(question)
    tap = f"{base}/tap/sync?{urlencode({'LANG': 'ADQL', 'RESPONSEFORMAT': 'csv', 'QUERY': query})}"
    asked = {"TOP": question.k, "SPACE": question.space}
    ssa = f"{base}/ssa?{urlencode({'REQUEST': 'queryData', 'SIMILAR_TO': question.reference, **asked})}"
    similar = f"{base}/similar_to?{urlencode({'ID': question.reference, **asked})}"
    found = [
        Way("adql", "ADQL, for TOPCAT and every TAP client", query, tap),
        Way("curl", "curl", _curl(query, base)),
        Way("pyvo", "Python with pyvo", _pyvo(query, base)),
        Way("ssa", "SSA, for SPLAT-VO and other spectrum clients", ssa, ssa),
        Way("similar_to", "Service of this archive", similar, similar),
    ]
    if not question.reference.startswith("upload:"):
        links = f"{base}/datalink/links?{urlencode({'ID': question.reference})}"
        found.append(Way("datalink", "DataLink: files, preview and services of this spectrum", links, links))
    return found


def _curl(query: str, base: str) -> str:
    quoted = query.replace("'", "'\\''")
    return f"curl {base}/tap/sync -d LANG=ADQL -d RESPONSEFORMAT=csv --data-urlencode 'QUERY={quoted}'"


def _pyvo(query: str, base: str) -> str:
    return (
        "import pyvo\n"
        f'archive = pyvo.dal.TAPService("{base}/tap")\n'
        f'print(archive.search("""\n{query}\n""").to_table())'
    )
