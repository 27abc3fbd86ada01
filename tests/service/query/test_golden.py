"""Pairs of a query and its answer, or of a query and the reason why it is refused (A01–A36)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from index.release import OpenRelease
from service.errors import UsageFault
from tests.service.query.asking import ask

FIXTURES = Path(__file__).parent / "fixtures"


def pairs(name: str) -> list[tuple[str, str]]:
    blocks = (FIXTURES / name).read_text(encoding="utf-8").split("\n\n")
    found = [block.partition("\n=> ") for block in blocks]
    return [(query.strip(), expected.strip()) for query, arrow, expected in found if arrow]


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if expected == "nan":
        return math.isnan(found)
    if isinstance(expected, float):
        return type(found) is float and math.isclose(found, expected, rel_tol=1e-12, abs_tol=1e-15)
    return type(found) is type(expected) and bool(found == expected)


@pytest.mark.parametrize(("query", "expected"), pairs("answers.txt"))
def test_an_answer_is_as_written(archive: OpenRelease, query: str, expected: str) -> None:
    rows = [list(row) for row in ask(archive, query).rows]
    assert same(rows, json.loads(expected)), rows


@pytest.mark.parametrize(("query", "reason"), pairs("refusals.txt"))
def test_what_is_not_adql_is_refused_with_a_reason(archive: OpenRelease, query: str, reason: str) -> None:
    with pytest.raises(UsageFault) as refused:
        ask(archive, query)
    assert reason in str(refused.value)


def test_there_are_at_least_200_pairs() -> None:
    assert len(pairs("answers.txt")) + len(pairs("refusals.txt")) >= 200
