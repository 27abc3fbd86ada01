"""Mutated queries: each is answered or refused in plain words; nothing else happens."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from index.release import OpenRelease
from registry_metadata.columns import Column
from registry_metadata.reserved import RESERVED
from service.errors import TimeoutFault, UsageFault
from service.query.functions import FUNCTIONS
from tests.service.query.asking import Asked, ask
from tests.service.query.test_golden import pairs

TOKEN = re.compile(r"'[^']*'|<=|>=|<>|\|\||\"[^\"]*\"|[A-Za-z_]\w*|\d+\.?\d*|\s+|.")
SEEDED, ALL, PARTS = 400, 100_000, 10
MAXREC, LIMIT = 50, 60.0  # seconds, of which the slowest takes one; a slow machine is no bug
CHANCE = re.compile(r"\b(TOP|OFFSET|RAND)\b", re.IGNORECASE)  # which rows, or what they hold
LEAKS = re.compile(
    r"/home|\.py|Traceback|duckdb|postgres|libpq|SQLSTATE|adql\.|\$\d|release\.|near\d|\bc\d\b|\bt\d\.",
    re.IGNORECASE,
)
NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "7",
    "10",
    "-1",
    "0.5",
    "1e3",
    "-2.5",
    "90",
    "180",
    "360",
    "1e-9",
    "2147483648",
    "1e300",
]
SIGNS = ["=", "<", ">", "<=", ">=", "<>", "+", "-", "*", "/", "||"]
ODD = [
    "'",
    '"',
    ";",
    "--",
    "(",
    ")",
    "''",
    "\x00",
    "\n",
    "é",
    "1e999",
    "9" * 40,
    "$1",
    "?",
    "::",
    "[",
    "*",
    ",",
]


def kind(word: str) -> str:
    if word[0].isalpha():
        return "name"
    if word[0].isdigit():
        return "number"
    return word if word in "'(),." else "sign"


def exchange(draw: random.Random, tokens: list[str], queries: list[str]) -> None:
    """A token for one of its kind, so that many queries stay ADQL."""
    places = [
        place for place, token in enumerate(tokens) if not token.isspace() and token.upper() not in RESERVED
    ]
    if not places:
        return
    place = draw.choice(places)
    if kind(tokens[place]) == "number":
        tokens[place] = draw.choice(NUMBERS)
    elif tokens[place] in SIGNS:
        tokens[place] = draw.choice(SIGNS)
    else:
        others = TOKEN.findall(draw.choice(queries)) + tokens * 2
        tokens[place] = draw.choice([other for other in others if kind(other) == kind(tokens[place])])


def mutated(draw: random.Random, queries: list[str], words: list[str]) -> str:
    tokens = TOKEN.findall(draw.choice(queries))
    for _ in range(draw.choice((1, 1, 2))):
        place = draw.randrange(len(tokens)) if tokens else 0
        match draw.randrange(12):
            case 0:
                tokens[place : place + 1] = []
            case 1:
                tokens.insert(place, f" {draw.choice(words)} ")
            case 2:
                tokens[place] = draw.choice([token for token in tokens if token[0].isalpha()] or words)
            case 3:
                tokens.insert(place, draw.choice(ODD))
            case 4:
                tokens[place:place] = tokens[place : place + draw.randint(1, 6)]
            case 5:
                other = TOKEN.findall(draw.choice(queries))
                start = draw.randrange(len(other))
                tokens[place : place + 3] = other[start : start + draw.randint(1, 8)]
            case _:
                exchange(draw, tokens, queries)
    return "".join(tokens)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a query: its answer, the words of a refusal, or neither at the limit of time."""

    answer: Asked | None = None
    refusal: str = ""

    @property
    def kind(self) -> str:
        return "answered" if self.answer is not None else "refused" if self.refusal else "slow"


def outcome(archive: OpenRelease, query: str) -> Outcome:
    """All else than an answer and a refusal in plain words is a failure."""
    try:
        return Outcome(ask(archive, query, MAXREC, timeout=LIMIT))
    except TimeoutFault:  # a product of large tables, ended at its limit
        return Outcome()
    except UsageFault as fault:
        told = " ".join(str(fault).split())
        leaks = [found for found in LEAKS.findall(told) if found not in " ".join(query.split())]
        assert told, query
        assert not leaks, (query, told)
        return Outcome(refusal=told)


def campaign(part: int, n: int) -> Iterator[str]:
    draw = random.Random(20261121 + part)
    queries = [query for name in ("answers.txt",) * 6 + ("refusals.txt",) for query, _ in pairs(name)]
    words = sorted(
        {*RESERVED, *FUNCTIONS, "model", "latents", "doppel.models", "ssa_pubdid", "doppel.spectra"}
    )
    return (mutated(draw, queries, words) for _ in range(n))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All parts with `--full`; else the first stands for them."""
    if "part" in metafunc.fixturenames:
        metafunc.parametrize("part", range(PARTS if metafunc.config.getoption("--full") else 1))


def size(pytestconfig: pytest.Config, seeded: int) -> int:
    """How many queries of a part are asked."""
    return ALL // PARTS if pytestconfig.getoption("--full") else seeded


def contents(archive: OpenRelease) -> list[list[tuple[Any, ...]]]:
    return [ask(archive, f"SELECT * FROM {table}").rows for table in ("doppel.models", "doppel.optical")]


def test_mutated_queries_are_answered_or_refused(
    archives: Callable[[str], OpenRelease], pytestconfig: pytest.Config, part: int
) -> None:
    """On the embedded engine; nothing is written."""
    archive = archives("duckdb")
    before = contents(archive)
    told = Counter(outcome(archive, query).kind for query in campaign(part, size(pytestconfig, ALL // 10)))
    print(dict(told))
    assert told["refused"] > told["answered"] > 0
    assert told["slow"] * 1000 < told.total()
    assert contents(archive) == before


@pytest.mark.parametrize("server", ["pgvector", "q3c"])
def test_servers_answer_mutated_queries_as_the_embedded_engine(
    archives: Callable[[str], OpenRelease], pytestconfig: pytest.Config, server: str, part: int
) -> None:
    """The same rows, or a refusal from both; where rows are cut or chance decides, as many rows."""
    ours, theirs = archives("duckdb"), archives(server)
    before = contents(theirs)
    told: Counter[str] = Counter()
    differing = []
    for query in campaign(part, size(pytestconfig, SEEDED)):
        one, other = outcome(ours, query), outcome(theirs, query)
        told[other.kind] += 1
        if "slow" in (one.kind, other.kind) or agree(query, one, other):
            continue
        differing.append((query, one, other))
    print(dict(told), len(differing))
    assert told["refused"] > told["answered"] > 0
    assert told["slow"] * 1000 < told.total()
    assert contents(theirs) == before
    assert differing == []


def agree(query: str, one: Outcome, other: Outcome) -> bool:
    if one.answer is None or other.answer is None:
        return one.kind == other.kind
    if [described(column) for column in one.answer.columns] != [
        described(column) for column in other.answer.columns
    ]:
        return False
    if len(one.answer.rows) != len(other.answer.rows):
        return False
    if one.answer.overflow or CHANCE.search(query):
        return True
    found, wanted = (sorted(map(rounded, answer.rows), key=repr) for answer in (one.answer, other.answer))
    return found == wanted


def described(column: Column) -> tuple[str, str, str | None]:
    return column.name, column.datatype, column.arraysize


def rounded(value: Any) -> Any:
    """Numbers to nine digits: sums differ in the last of them by the order of the rows."""
    if isinstance(value, tuple | list):
        return tuple(map(rounded, value))
    if isinstance(value, float):
        return float(f"{value:.9g}") + 0.0 if math.isfinite(value) else str(value)
    return value
