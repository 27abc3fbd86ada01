"""Mutated queries: each is answered or refused in plain words; nothing else happens."""

from __future__ import annotations

import random
import re

import pytest

from index.release import OpenRelease
from registry_metadata.reserved import RESERVED
from service.errors import TimeoutFault, UsageFault
from service.query.functions import FUNCTIONS
from tests.service.query.asking import ask
from tests.service.query.test_golden import pairs

TOKEN = re.compile(r"'[^']*'|\"[^\"]*\"|[A-Za-z_]\w*|\d+\.?\d*|\s+|.")
SEEDED, ALL = 400, 100_000
LEAKS = re.compile(r"/home|\.py|Traceback|duckdb|\$\d|release\.|near\d|\bc\d\b|\bt\d\.", re.IGNORECASE)
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


def mutated(draw: random.Random, queries: list[str], words: list[str]) -> str:
    tokens = TOKEN.findall(draw.choice(queries))
    for _ in range(draw.choice((1, 1, 2))):
        place = draw.randrange(len(tokens)) if tokens else 0
        match draw.randrange(6):
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
    return "".join(tokens)


def test_mutated_queries_are_answered_or_refused(archive: OpenRelease, pytestconfig: pytest.Config) -> None:
    """The default is a seeded part, `--full` the whole campaign."""
    draw = random.Random(20261121)
    queries = [query for name in ("answers.txt",) * 6 + ("refusals.txt",) for query, _ in pairs(name)]
    words = sorted(
        {*RESERVED, *FUNCTIONS, "model", "latents", "doppel.models", "ssa_pubdid", "doppel.spectra"}
    )
    answered = refused = slow = 0
    for _ in range(ALL if pytestconfig.getoption("--full") else SEEDED):
        query = mutated(draw, queries, words)
        try:
            ask(archive, query, 50, timeout=5.0)
            answered += 1
        except TimeoutFault:  # a product of large tables, ended at its limit
            slow += 1
        except UsageFault as fault:
            refused += 1
            told = " ".join(str(fault).split())
            leaks = [found for found in LEAKS.findall(told) if found not in " ".join(query.split())]
            assert told, query
            assert not leaks, (query, told)
    print(f"{answered} answered, {refused} refused, {slow} ended at their limit of time")
    assert answered > 0
    assert slow * 1000 < answered + refused
    assert refused > answered
