"""A short query can not make a text or a plan that takes all memory; what people join is joined."""

from __future__ import annotations

import pytest

from service.errors import UsageFault
from service.query.check import check
from service.query.parse import parse_adql

TWICE = "SELECT s || s AS s FROM"


def chain(length: int) -> str:
    """Each query of WITH joins the text of the one before to itself."""
    more = "".join(f", a{i} AS ({TWICE} a{i - 1})" for i in range(1, length))
    return f"WITH a0 AS (SELECT 'x' AS s FROM doppel.models){more} SELECT s FROM a{length - 1}"


def nest(depth: int) -> str:
    inner = "(SELECT 'x' AS s FROM doppel.models) AS t"
    for place in range(depth):
        inner = f"({TWICE} {inner}) AS t{place}"
    return f"SELECT s FROM {inner}"


MANY = " || ".join(["s"] * 150)
FIRST = "SELECT 'x' AS s FROM doppel.spectra"


@pytest.mark.parametrize(
    "query",
    [
        chain(16),
        nest(15),
        f"WITH z AS ({FIRST}), a AS (SELECT {MANY} AS s FROM z) SELECT {MANY} AS t FROM a",
        f"{chain(9)} UNION SELECT (SELECT {MANY} AS s FROM a8) AS s FROM doppel.models",
    ],
    ids=["WITH", "derived tables", "many twice", "a scalar query"],
)
def test_texts_that_would_grow_without_bound_are_refused(query: str) -> None:
    with pytest.raises(UsageFault, match=r"\|\| could join more than 500 texts"):
        check(parse_adql(query))


def test_constants_that_would_grow_without_bound_are_refused() -> None:
    long = chain(7).replace("'x'", f"'{'x' * 200_000}'")
    with pytest.raises(UsageFault, match="constants to more than 10000000 characters"):
        check(parse_adql(long))
    check(parse_adql(long.replace("x" * 200_000, "x" * 100_000)))


@pytest.mark.parametrize(
    "query",
    [
        chain(9),
        nest(8),
        f"SELECT {MANY} AS s FROM a",
        " UNION ".join([f"SELECT {MANY} AS s FROM a"] * 5),
        f"SELECT a.s || b.s AS s FROM (SELECT {MANY} AS s FROM a) AS a, a AS b",
    ],
    ids=["WITH", "derived tables", "many", "unions", "a join"],
)
def test_what_people_join_is_joined(query: str) -> None:
    check(parse_adql(query))


def doubled(length: int, word: str) -> str:
    """Each query of WITH takes the one before twice."""
    more = "".join(
        f", a{i} AS (SELECT x.s FROM a{i - 1} AS x {word} a{i - 1} AS y)"
        if word == ","
        else f", a{i} AS (SELECT s FROM a{i - 1} {word} SELECT s FROM a{i - 1})"
        for i in range(1, length)
    )
    return f"WITH a0 AS (SELECT model AS s FROM doppel.models){more} SELECT s FROM a{length - 1}"


@pytest.mark.parametrize("word", [",", "UNION ALL"])
def test_tables_that_would_double_without_end_are_refused(word: str) -> None:
    check(parse_adql(doubled(7, word)))
    with pytest.raises(UsageFault, match="more than 100 tables take part"):
        check(parse_adql(doubled(9, word)))
