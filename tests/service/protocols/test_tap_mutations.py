"""TAP requests that went wrong: parameters, uploads, jobs, paths. Mutated ADQL itself is for query/test_fuzz.

A thirtieth of the campaign, always the same, in every run; `--full` for all 100,000.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from service.state import Job, State
from service.workers import INTERNAL
from tests.service import mutations
from tests.service.campaign import meets_no_bug
from tests.service.mutations import Asked
from tests.service.protocols.test_uws import create

COUNTS = {
    "sync": 70_000,
    "uploads": 12_000,
    "create": 5_000,
    "children": 8_000,
    "paths": 5_000,
}  # 100,000
PART = 30
NAMES = (
    "LANG", "QUERY", "REQUEST", "FORMAT", "RESPONSEFORMAT", "MAXREC", "RUNID", "UPLOAD", "VERSION", "PHASE",
    "ACTION", "DESTRUCTION", "EXECUTIONDURATION", "WAIT", "AFTER", "LAST",
)  # fmt: skip
COLUMNS = "ssa_pubdid, ssa_targname, ra, teff"
QUERIES = (
    f"SELECT TOP 5 {COLUMNS} FROM doppel.spectra WHERE ra > 10 ORDER BY ra",
    "SELECT TOP 3 *, 'Čech & <Co>' AS text FROM doppel.spectra",
    "SELECT table_name, COUNT(*) AS n FROM tap_schema.columns GROUP BY table_name",
    "SELECT TOP 2 z00, embedding FROM doppel.optical",
)
FORMATS = (
    "votable",
    "votable/b2",
    "votable/b",
    "csv",
    "tsv",
    "json",
    "fits",
    "parquet",
    "arrow",
    "html",
    "text",
)
VOTABLE = (
    b'<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
    b'<FIELD name="n" datatype="int"/><FIELD name="a" datatype="char" arraysize="*" unit="m"/>'
    b"<DATA><TABLEDATA><TR><TD>1</TD><TD>x</TD></TR><TR><TD/><TD>y</TD></TR></TABLEDATA></DATA>"
    b"</TABLE></RESOURCE></VOTABLE>"
)
FILES = (VOTABLE, b"n,a\n1,x\n2,y\n", b"n,a\n1.5,2020-01-01\n,\n")
BOUNDARY = "a-boundary"


def forms() -> tuple[dict[str, str], ...]:
    """Requests that are right: every query, every format."""
    plain = [{"LANG": "ADQL", "QUERY": query, "MAXREC": "4"} for query in QUERIES]
    formed = [{"LANG": "ADQL", "QUERY": QUERIES[1], "RESPONSEFORMAT": name} for name in FORMATS]
    return (*plain, *formed)


def uploads(count: int) -> Iterator[Asked]:
    """Tables with bytes changed or cut, in forms with parameters that do not fit."""
    draw = random.Random(count)
    form = {"LANG": "ADQL", "QUERY": "SELECT * FROM TAP_UPLOAD.t", "UPLOAD": "t,param:f"}
    for _ in range(count):
        content = mutations.damaged(draw, draw.choice(FILES))
        pairs = list(form.items())
        if draw.random() < 0.3:
            pairs = mutations.mutated(draw, pairs, NAMES)
        yield Asked("POST", "/tap/sync", b"", multipart(pairs, content), multipart_type(draw))


def multipart(pairs: list[tuple[str, str]], content: bytes) -> bytes:
    """The form as it goes over the wire."""
    parts = [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode(errors="replace")
        for name, value in pairs
    ]
    head = b'Content-Disposition: form-data; name="f"; filename="t"\r\n\r\n'
    bodies = [b"--" + BOUNDARY.encode() + b"\r\n" + part + b"\r\n" for part in (*parts, head + content)]
    return b"".join(bodies) + b"--" + BOUNDARY.encode() + b"--\r\n"


def multipart_type(draw: random.Random) -> str:
    odd = draw.random() < 0.03
    return "multipart/form-data" + ("" if odd else f"; boundary={BOUNDARY}")


def children(path: str, count: int) -> Iterator[Asked]:
    """What a job's children are told."""
    draw = random.Random(count)
    names = ("", "/phase", "/executionduration", "/destruction", "/parameters", "/quote", "/owner", "/error",
             "/results", "/results/result", "/results/x", "/parameters/x", "/nothing")  # fmt: skip
    seeds = (
        {"PHASE": "ABORT"},
        {"EXECUTIONDURATION": "10"},
        {"DESTRUCTION": "2030-01-01T00:00:00"},
        {"QUERY": QUERIES[0]},
        {"WAIT": "0", "PHASE": "PENDING"},
        {"ACTION": "KEEP"},
    )
    for _ in range(count):
        child = path + draw.choice(names) if draw.random() < 0.9 else "/tap/async"
        pairs = [
            (name, "0" if name == "WAIT" else value)
            for name, value in mutations.mutated(draw, list(draw.choice(seeds).items()), NAMES)
            if (name.strip().upper(), value.strip().upper()) != ("ACTION", "DELETE")
        ]
        query = mutations.encoded(draw, pairs)
        if draw.random() < 0.5:
            yield Asked("GET", child, query)
        else:
            yield Asked("POST", child, b"", query, "application/x-www-form-urlencoded")


def requests(kind: str, tap: TestClient, count: int) -> Iterator[Asked]:
    match kind:
        case "sync":
            return mutations.requests("/tap/sync", forms(), NAMES, count, seed=2)
        case "uploads":
            return uploads(count)
        case "create":
            started = tuple({**form, "PHASE": "RUN"} for form in forms())
            made = mutations.requests("/tap/async", started, NAMES, count, seed=3)
            return (Asked("POST", one.path, one.query, one.body, one.content_type) for one in made)
        case "children":
            return children(create(tap), count)
    tables = ("doppel.spectra", "ivoa.obscore", "tap_schema", "doppel.optical")
    return mutations.paths("/tap/tables/", tables, ("", "?detail=min", "/"), count, seed=4)


@pytest.mark.parametrize("kind", COUNTS)
def test_mutated_tap_requests_meet_no_bug(
    tap: TestClient, state: State, kind: str, pytestconfig: pytest.Config
) -> None:
    count = COUNTS[kind] // (1 if pytestconfig.getoption("--full") else PART)
    meets_no_bug(tap.app, requests(kind, tap, count), count)
    with state.session() as session:
        broken = session.scalars(select(Job.parameters).where(Job.error == INTERNAL)).all()
    assert not broken, broken[:3]
