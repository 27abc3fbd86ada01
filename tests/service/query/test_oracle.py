"""Another parser as judge: CDS's ADQL library, which TOPCAT and STILTS carry; it knows ADQL 2.0 (A10–A17)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from service.errors import UsageFault
from service.query.check import check
from service.query.parse import parse_adql
from tests.clients import missing
from tests.service.query.test_golden import pairs

JAR = Path("/usr/share/java/adql.jar")
JUDGE = """
import json, sys, jpype
jpype.startJVM("-Xss8m", classpath=[sys.argv[1]])
parser = jpype.JClass("adql.parser.ADQLParser")
def judged(query):
    try:
        parser().parseQuery(query)
    except jpype.JException as error:
        return str(error.getMessage())
print("@" + json.dumps([judged(query) for query in json.load(sys.stdin)]))
"""
NEW = re.compile(  # in ADQL 2.1, or in vector mathematics
    r"OFFSET|ILIKE|WITH|UNION|EXCEPT|INTERSECT|CAST|COALESCE|LOWER|UPPER|IN_UNIT|BITWISE|ivo_healpix_center"
    r"|\[|arr_|(GROUP|ORDER) BY \w*[.(]|(POINT|CIRCLE|POLYGON|BOX|REGION|DISTANCE)\s*\(|\(SELECT",
    re.IGNORECASE,
)
OURS_ALONE_REFUSES = {  # an older rule of the library, or a table or function that is looked up only later
    "SELECT model FROM doppel.models; SELECT model FROM doppel.models": "one query at a time",
    "SELECT model FROM doppel.models;;": "one query at a time",
    "SELECT pg_sleep(10) FROM doppel.models": "it takes any name for a user's function",
    "SELECT read_csv('/etc/passwd') FROM doppel.models": "it takes any name for a user's function",
    "SELECT getenv('HOME') FROM doppel.models": "it takes any name for a user's function",
    "SELECT latent_distance(ssa_pubdid) FROM doppel.spectra": "it does not know how many arguments there are",
    "SELECT * FROM release.doppel.models": "no catalogue is published",
}


def judgements(queries: list[str]) -> list[str | None]:
    """Of each query why the library refuses it; None where it is accepted."""
    if not JAR.exists():
        missing("Debian's package adql-java is not installed")
    done = subprocess.run(
        [sys.executable, "-c", JUDGE, str(JAR)],
        input=json.dumps(queries),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found: list[str | None] = json.loads(done.stdout.partition("@")[2])
    return found


def ours(query: str) -> str | None:
    try:
        check(parse_adql(query))
    except UsageFault as fault:
        return str(fault)
    return None


def golden(name: str) -> list[str]:
    lines = [query.split("\n") for query, _ in pairs(name)]
    return ["\n".join(line for line in query if not line.startswith("--")) for query in lines]


def test_what_the_library_accepts_is_accepted() -> None:
    queries = golden("answers.txt") + golden("refusals.txt")
    told = judgements(queries)
    alone = {query for query, reason in zip(queries, told, strict=True) if reason is None and ours(query)}
    assert alone == set(OURS_ALONE_REFUSES)
    assert sum(reason is None for reason in told) > 60


def test_what_is_answered_though_the_library_refuses_it_is_newer_than_the_library() -> None:
    queries = golden("answers.txt")
    refused = [
        query for query, reason in zip(queries, judgements(queries), strict=True) if reason is not None
    ]
    assert [query for query in refused if not NEW.search(query)] == []
