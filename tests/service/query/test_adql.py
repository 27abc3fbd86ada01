"""ADQL 2.1 clause by clause (A02–A44): answers of known rows, beside numpy, astropy and Python."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import astropy.units as u
import numpy as np
import pytest

from index.release import OpenRelease
from registry_metadata.reserved import RESERVED
from service.errors import UsageFault
from service.query.check import check
from service.query.functions import declared_udfs
from service.query.parse import parse_adql
from tests.service.query.asking import Asked, ask, upload

ADQL_WORDS = (
    "ABS ACOS AREA ASIN ATAN ATAN2 BIGINT BOX CEILING CENTROID CIRCLE CONTAINS COORD1 COORD2 COORDSYS COS COT"
    " DEGREES DISTANCE EXP FLOOR ILIKE INTERSECTS IN_UNIT LOG LOG10 MOD OFFSET PI POINT POLYGON POWER RADIANS"
    " REGION RAND ROUND SIN SQRT TOP TAN TRUNCATE"
)
NUMBERS = [-3.75, -1.0, -0.5, 0.0, 0.25, 1.0, 2.5, 1e-3, 123456.789, None]
TEXTS = ["HD 1", "hd 2", "Ünal", "a_b", "50%", "", None]
LEFT = [(1, "a"), (2, "b"), (2, "c"), (3, None), (None, "e")]
RIGHT = [(2, 10), (3, 30), (3, 31), (4, 40), (None, 50)]
CATALOGUE = {  # of the IVOA's user-defined functions
    "ivo_hasword", "ivo_hashlist_has", "ivo_nocasematch", "ivo_interval_overlaps", "ivo_interval_has",
    "ivo_string_agg", "ivo_histogram", "ivo_healpix_index", "ivo_healpix_center",
}  # fmt: skip
SIGNATURE = re.compile(r"[A-Za-z][A-Za-z0-9_]*\s*\((\w+ [A-Z ]+)(, \w+ [A-Z ]+)*\)\s*->\s*[A-Z ]+")
TABLES = {
    "n": upload({"i": ("int", list(range(len(NUMBERS)))), "x": ("double", NUMBERS)}),
    "s": upload({"i": ("int", list(range(len(TEXTS)))), "t": ("char", TEXTS)}),
    "l": upload({"k": ("int", [k for k, _ in LEFT]), "a": ("char", [a for _, a in LEFT])}),
    "r": upload({"k": ("int", [k for k, _ in RIGHT]), "b": ("int", [b for _, b in RIGHT])}),
}


def asked(archive: OpenRelease, query: str) -> Asked:
    return ask(archive, query, uploads=TABLES)


def rows(archive: OpenRelease, query: str) -> list[tuple[Any, ...]]:
    return sorted(asked(archive, query).rows, key=repr)


def one(archive: OpenRelease, values: str) -> tuple[Any, ...]:
    (row,) = asked(archive, f"SELECT TOP 1 {values} FROM doppel.models").rows
    return row


def refused(query: str) -> str:
    with pytest.raises(UsageFault) as fault:
        check(parse_adql(query))
    return str(fault.value)


def accepted(query: str) -> None:
    check(parse_adql(query))


def test_a02_regular_identifiers_begin_with_a_letter() -> None:
    accepted("SELECT model AS a1_b FROM doppel.models AS Z_9")
    for name in ("_a", "1a", "a$b", "é", "a#"):
        assert "line 1, column" in refused(f"SELECT model AS {name} FROM doppel.models")
        accepted(f'SELECT model AS "{name}" FROM doppel.models')


def test_a03_reserved_words_are_names_only_between_quotes() -> None:
    assert set(ADQL_WORDS.split()) <= set(RESERVED)
    for word in sorted(RESERVED):
        for spelt in (word, word.lower()):
            assert "line 1, column" in refused(f"SELECT model AS {spelt} FROM doppel.models")
            assert refused(f"SELECT m.{spelt} FROM doppel.models AS m")
            accepted(f'SELECT "{spelt}" FROM doppel.models AS "{spelt}"')


def test_a05_literals_and_comments(archive: OpenRelease) -> None:
    assert one(archive, "'it''s', '''', '', 1., .5, 1E-7, 1e-7, 0.5e+2 -- '\n") == (
        "it's", "'", "", 1.0, 0.5, 1e-7, 1e-7, 50.0,
    )  # fmt: skip
    assert one(archive, "-- 'a\n 'b' -- c ''\n || 'c'") == ("bc",)


def test_a06_operators_and_none_but_them(archive: OpenRelease) -> None:
    assert one(archive, "7 + 2, 7 - 2, 7 * 2, 7 / 2, 7 / 2., 'a' || 'b', -7, +7, 2 + 3 * 4") == (
        9, 5, 14, 3, 3.5, "ab", -7, 7, 14,
    )  # fmt: skip
    for sign, right in (("=", 1), ("<>", 2), ("!=", 2), ("<", 2), ("<=", 1), (">", 0), (">=", 1)):
        assert rows(archive, f"SELECT x FROM TAP_UPLOAD.n WHERE x = 1.0 AND 1 {sign} {right}") == [(1.0,)]
    for wrong in ("5 % 2", "x::INTEGER", "x ^ 2", "CASE WHEN x > 1 THEN 1 END", "SUM(x) OVER (ORDER BY x)",
                  "x & 1", "~1", "'a' ~ 'b'", "ROW(1, 2)", "ARRAY[1]", "INTERVAL '1' DAY",
                  "x := 1"):  # fmt: skip
        assert refused(f"SELECT {wrong} FROM TAP_UPLOAD.n")
    for tail in (
        "LIMIT 1",
        "FETCH FIRST 1 ROWS ONLY",
        "FOR UPDATE",
        "WINDOW w AS (ORDER BY x)",
        "QUALIFY 1=1",
    ):
        assert refused(f"SELECT x FROM TAP_UPLOAD.n {tail}")


INNER = [(a, b) for k, a in LEFT for other, b in RIGHT if k is not None and k == other]
LEFT_ALONE = [(a, None) for k, a in LEFT if k not in {2, 3}]
RIGHT_ALONE = [(None, b) for k, b in RIGHT if k not in {2, 3}]
BELOW = [(a, b) for k, a in LEFT for other, b in RIGHT if k is not None and other is not None and k < other]
EVERY = [(a, b) for _, a in LEFT for _, b in RIGHT]


def full(pairs: list[Any]) -> list[Any]:
    """What a FULL JOIN makes of the pairs that meet its condition."""
    left = [(a, None) for _, a in LEFT if a not in {a for a, _ in pairs}]
    return [*pairs, *left, *((None, b) for _, b in RIGHT if b not in {b for _, b in pairs})]


JOINS = {
    "TAP_UPLOAD.l, TAP_UPLOAD.r WHERE l.k = r.k": INNER,
    "TAP_UPLOAD.l JOIN TAP_UPLOAD.r ON l.k = r.k": INNER,
    "TAP_UPLOAD.l INNER JOIN TAP_UPLOAD.r USING (k)": INNER,
    "TAP_UPLOAD.l NATURAL JOIN TAP_UPLOAD.r": INNER,
    "TAP_UPLOAD.l LEFT JOIN TAP_UPLOAD.r ON l.k = r.k": INNER + LEFT_ALONE,
    "TAP_UPLOAD.l NATURAL LEFT OUTER JOIN TAP_UPLOAD.r": INNER + LEFT_ALONE,
    "TAP_UPLOAD.l RIGHT OUTER JOIN TAP_UPLOAD.r USING (k)": INNER + RIGHT_ALONE,
    "TAP_UPLOAD.l FULL JOIN TAP_UPLOAD.r ON l.k = r.k": INNER + LEFT_ALONE + RIGHT_ALONE,
    "TAP_UPLOAD.l NATURAL FULL OUTER JOIN TAP_UPLOAD.r": INNER + LEFT_ALONE + RIGHT_ALONE,
    "TAP_UPLOAD.l FULL JOIN TAP_UPLOAD.r ON l.k < r.k": full(BELOW),
    "TAP_UPLOAD.l FULL JOIN TAP_UPLOAD.r ON l.k = r.k AND l.k <> r.k": full([]),
    "TAP_UPLOAD.l FULL JOIN TAP_UPLOAD.r ON l.k = r.k OR l.k < r.k": full(INNER + BELOW),
    "TAP_UPLOAD.l FULL JOIN (SELECT k AS o, b FROM TAP_UPLOAD.r) AS q ON 1 = 1": full(EVERY),
    "(TAP_UPLOAD.l JOIN TAP_UPLOAD.n ON n.x = 1) FULL JOIN TAP_UPLOAD.r ON l.k < r.k": full(BELOW),
    "TAP_UPLOAD.l FULL JOIN (TAP_UPLOAD.r JOIN TAP_UPLOAD.n ON n.x = 1) ON l.k < r.k": full(BELOW),
    "(TAP_UPLOAD.l JOIN TAP_UPLOAD.r ON l.k = r.k)": INNER,
    "TAP_UPLOAD.l JOIN (SELECT k AS other, b FROM TAP_UPLOAD.r WHERE b < 31) AS q ON l.k = q.other": [
        pair for pair in INNER if pair[1] < 31
    ],
}


@pytest.mark.parametrize("join", JOINS)
def test_a11_joins(archive: OpenRelease, join: str) -> None:
    assert rows(archive, f"SELECT a, b FROM {join}") == sorted(JOINS[join], key=repr)


@pytest.mark.parametrize(
    ("joins", "known"),
    [
        ("TAP_UPLOAD.l JOIN (TAP_UPLOAD.r JOIN TAP_UPLOAD.n ON l.k = n.i) ON l.k = r.k", "r, n"),
        ("TAP_UPLOAD.l, TAP_UPLOAD.r JOIN TAP_UPLOAD.n ON l.k = n.i", "r, n"),
        ("TAP_UPLOAD.l, TAP_UPLOAD.r JOIN TAP_UPLOAD.n ON EXISTS (SELECT x FROM TAP_UPLOAD.s WHERE i = l.k)",
         "s, r, n"),
    ],
)  # fmt: skip
def test_a11_an_on_names_what_it_joins(archive: OpenRelease, joins: str, known: str) -> None:
    """SQL-92, 7.5: neither what stands before a comma, nor outside of the parentheses."""
    with pytest.raises(UsageFault, match=f"there is no table l in this JOIN; it has {known}"):
        asked(archive, f"SELECT r.b FROM {joins}")


def test_a11_a_query_in_from_needs_a_name() -> None:
    assert "needs a name" in refused("SELECT x FROM (SELECT x FROM TAP_UPLOAD.n)")


PREDICATES: dict[str, Callable[[float | None], bool | None]] = {
    "x = 1": lambda x: x == 1,
    "x BETWEEN -1 AND 1": lambda x: x is not None and -1 <= x <= 1,
    "x NOT BETWEEN -1 AND 1": lambda x: x is not None and not -1 <= x <= 1,
    "x IN (0, 1, 2.5)": lambda x: x in (0, 1, 2.5),
    "x NOT IN (0, 1)": lambda x: x is not None and x not in (0, 1),
    "x IN (SELECT k FROM TAP_UPLOAD.r)": lambda x: x in (2, 3, 4),
    "x IS NULL": lambda x: x is None,
    "x IS NOT NULL AND NOT x < 0": lambda x: x is not None and x >= 0,
    "EXISTS (SELECT k FROM TAP_UPLOAD.l WHERE l.k = n.x + 1)": lambda x: x in (0, 1),
    "NOT EXISTS (SELECT k FROM TAP_UPLOAD.l WHERE l.k = n.x + 1)": lambda x: x not in (0, 1),
    "1 = CONTAINS(POINT(x, 0), CIRCLE(0, 0, 1)) OR x > 1000": lambda x: (
        x is not None and (abs(x) <= 1 or x > 1000)
    ),
}


@pytest.mark.parametrize("predicate", PREDICATES)
def test_a12_predicates(archive: OpenRelease, predicate: str) -> None:
    wanted = sorted(((x,) for x in NUMBERS if PREDICATES[predicate](x)), key=repr)
    assert rows(archive, f"SELECT x FROM TAP_UPLOAD.n WHERE {predicate}") == wanted


LIKE = {"t LIKE 'hd%'": ["hd 2"], "t LIKE '_nal'": ["Ünal"], "t LIKE 'a_b'": ["a_b"], "t LIKE '50%'": ["50%"],
        "t NOT LIKE '%d%'": ["HD 1", "Ünal", "a_b", "50%", ""], "t = ''": [""]}  # fmt: skip


@pytest.mark.parametrize("predicate", LIKE)
def test_a12_like(archive: OpenRelease, predicate: str) -> None:
    wanted = sorted((text,) for text in LIKE[predicate])
    assert sorted(rows(archive, f"SELECT t FROM TAP_UPLOAD.s WHERE {predicate}")) == wanted


def test_a12_there_is_no_truth_value(archive: OpenRelease) -> None:
    for wrong in ("x", "1", "CONTAINS(POINT(x, 0), CIRCLE(0, 0, 1))", "NOT x", "TRUE", "(x = 1) = 1"):
        with pytest.raises(UsageFault):
            asked(archive, f"SELECT x FROM TAP_UPLOAD.n WHERE {wrong}")


def test_a13_aggregates(archive: OpenRelease) -> None:
    known = np.array([b for _, b in RIGHT] + [10, 10], float)
    more = upload({"b": ("double", [*known.tolist(), None])})
    select = "COUNT(*), COUNT(b), COUNT(DISTINCT b), SUM(b), SUM(DISTINCT b), AVG(b), AVG(DISTINCT b), MIN(b)"
    found = ask(
        archive, f"SELECT {select}, MAX(b), MAX(DISTINCT b) FROM TAP_UPLOAD.m", uploads={"m": more}
    ).rows
    distinct = np.unique(known)
    assert found == [
        (8, 7, 5, known.sum(), distinct.sum(), known.mean(), distinct.mean(), known.min(), known.max(), 50.0)
    ]
    assert rows(archive, "SELECT COUNT(*), SUM(x), MIN(x) FROM TAP_UPLOAD.n WHERE x > 1e9") == [
        (0, None, None)
    ]


MATHEMATICS: dict[str, Callable[[float], float]] = {
    "ABS(x)": abs, "CEILING(x)": math.ceil, "FLOOR(x)": math.floor, "DEGREES(x)": math.degrees,
    "RADIANS(x)": math.radians, "EXP(x / 1000)": lambda x: math.exp(x / 1000),
    "LOG(x * x + 1)": lambda x: math.log(x * x + 1), "LOG10(x * x + 1)": lambda x: math.log10(x * x + 1),
    "MOD(x, 2.5)": lambda x: math.fmod(x, 2.5), "PI() * x": lambda x: math.pi * x,
    "POWER(x, 3)": lambda x: x**3, "SQRT(ABS(x))": lambda x: math.sqrt(abs(x)),
    "ACOS(x / 1e6)": lambda x: math.acos(x / 1e6), "ASIN(x / 1e6)": lambda x: math.asin(x / 1e6),
    "ATAN(x)": math.atan, "ATAN2(x, -2)": lambda x: math.atan2(x, -2),
    "COS(x)": math.cos, "SIN(x)": math.sin, "TAN(x)": math.tan,
}  # fmt: skip


def test_a14_mathematics(archive: OpenRelease) -> None:
    found = asked(archive, f"SELECT x, {', '.join(MATHEMATICS)} FROM TAP_UPLOAD.n").rows
    assert len(found) == len(NUMBERS)
    for x, *values in found:
        if x is None:
            assert set(values) == {None}
        else:
            wanted = [function(x) for function in MATHEMATICS.values()]
            assert values == pytest.approx(wanted, rel=1e-12, abs=1e-12), x


def test_a15_functions_that_engines_mean_otherwise(archive: OpenRelease) -> None:
    calls = (
        "LOG(10), LOG10(1000), ROUND(2.567, 2), ROUND(-2.5), ROUND(1234.5, -2), TRUNCATE(-2.567, 1)",
        "TRUNCATE(1299.9, -2), COT(0.5), RAND(3), RAND(3), RAND(4), MOD(-7, 3), -7 / 2",
    )
    found = one(archive, ", ".join(calls))
    wanted = (math.log(10), 3.0, 2.57, -3.0, 1200.0, -2.5, 1200.0, 1 / math.tan(0.5))
    assert found[:8] == pytest.approx(wanted, rel=1e-12)
    assert found[8] == found[9] != found[10]
    assert all(0 <= number < 1 for number in found[8:11])
    assert found[11:] == (-1, -3)
    drawn = [value for (value,) in asked(archive, "SELECT RAND() FROM TAP_UPLOAD.n").rows]
    assert len(set(drawn)) == len(drawn)
    assert all(0 <= number < 1 for number in drawn)


def test_a16_null_is_a_value(archive: OpenRelease) -> None:
    values = "NULL, COALESCE(NULL, 3), CAST(NULL AS INTEGER), NULL + 1, 'a' || CAST(NULL AS VARCHAR)"
    assert one(archive, values) == (None, 3, None, None, None)
    assert rows(archive, "SELECT x FROM TAP_UPLOAD.n WHERE x = NULL OR x IN (NULL)") == []


def test_a21_regions_with_and_without_their_system(archive: OpenRelease) -> None:
    circles = (
        "CIRCLE(1, 2, 3)",
        "CIRCLE('ICRS', 1, 2, 3)",
        "CIRCLE(POINT(1, 2), 3)",
        "CIRCLE('', POINT('ICRS', 1, 2), 3)",
    )
    assert one(archive, ", ".join(circles)) == ([1.0, 2.0, 3.0],) * 4
    corners = ("1, 2, 3, 4, 5, 0", "'ICRS', 1, 2, 3, 4, 5, 0", "POINT(1, 2), POINT(3, 4), POINT(5, 0)",
               "'UNKNOWNFRAME', POINT(1, 2), POINT(3, 4), POINT('', 5, 0)")  # fmt: skip
    assert (
        one(archive, ", ".join(f"POLYGON({each})" for each in corners))
        == ([1.0, 2.0, 3.0, 4.0, 5.0, 0.0],) * 4
    )
    boxes = ("10, 10, 2, 4", "'ICRS', 10, 10, 2, 4", "POINT(10, 10), 2, 4", "'ICRS', POINT(10, 10), 2, 4")
    assert (
        one(archive, ", ".join(f"BOX({each})" for each in boxes))
        == ([9.0, 8.0, 11.0, 8.0, 11.0, 12.0, 9.0, 12.0],) * 4
    )
    assert one(archive, "POINT(1, 2), POINT('ICRS', 1, 2)") == ([1.0, 2.0],) * 2
    with pytest.raises(UsageFault, match="coordinate system"):
        one(archive, "POINT('FK4', 1, 2)")


def test_a26_text_functions(archive: OpenRelease) -> None:
    found = dict(
        zip(TEXTS, asked(archive, "SELECT LOWER(t), UPPER(t) FROM TAP_UPLOAD.s ORDER BY i").rows, strict=True)
    )
    assert found == {text: (None, None) if text is None else (text.lower(), text.upper()) for text in TEXTS}
    assert rows(archive, "SELECT t FROM TAP_UPLOAD.s WHERE t ILIKE 'HD _'") == [("HD 1",), ("hd 2",)]
    assert len(rows(archive, "SELECT t FROM TAP_UPLOAD.s WHERE t NOT ILIKE 'HD _'")) == len(TEXTS) - 3


def test_a27_common_tables(archive: OpenRelease) -> None:
    query = (
        "WITH big AS (SELECT k, b FROM TAP_UPLOAD.r WHERE b > 30),"
        " bigger(z) AS (SELECT b FROM big WHERE b > 31)"
        " SELECT z, (SELECT COUNT(*) FROM big) AS n FROM bigger"
    )
    assert rows(archive, query) == [(40, 3), (50, 3)]
    for wrong in ("SELECT a FROM (WITH q AS (SELECT a FROM TAP_UPLOAD.l) SELECT a FROM q) AS p",
                  "SELECT a FROM TAP_UPLOAD.l UNION (WITH q AS (SELECT a FROM TAP_UPLOAD.l) SELECT a FROM q)",
                  "WITH RECURSIVE q AS (SELECT a FROM TAP_UPLOAD.l) SELECT a FROM q",
                  "WITH q AS (SELECT a FROM q) SELECT a FROM q"):  # fmt: skip
        with pytest.raises(UsageFault):
            asked(archive, wrong)


def test_a28_sets(archive: OpenRelease) -> None:
    left, right = "SELECT k FROM TAP_UPLOAD.l", "SELECT k FROM TAP_UPLOAD.r"
    ours, theirs = [k for k, _ in LEFT], [k for k, _ in RIGHT]

    def counted(query: str, wanted: list[int | None]) -> None:
        assert rows(archive, query) == sorted(((k,) for k in wanted), key=repr), query

    counted(f"{left} UNION {right}", [1, 2, 3, 4, None])
    counted(f"{left} UNION ALL {right}", ours + theirs)
    counted(f"{left} EXCEPT {right}", [1])
    counted(f"{left} EXCEPT ALL {right}", [1, 2])
    counted(f"{right} INTERSECT {left}", [2, 3, None])
    counted(f"{left} INTERSECT ALL {left}", ours)
    counted(f"{left} WHERE k = 1 UNION {right} INTERSECT {right} WHERE k = 4", [1, 4])  # INTERSECT first
    counted(f"{left} EXCEPT {left} WHERE k = 1 UNION {left} WHERE k = 1", [1, 2, 3, None])  # left to right
    counted(f"(SELECT TOP 1 k FROM TAP_UPLOAD.l ORDER BY k DESC) UNION ALL ({right} WHERE k = 4)", [3, 4])
    found = asked(
        archive, "SELECT em_min AS w FROM ivoa.obscore UNION SELECT em_max FROM ivoa.obscore"
    ).columns[0]
    assert (found.name, found.unit) == ("w", "m")
    for wrong in ("SELECT k, a FROM TAP_UPLOAD.l UNION SELECT k FROM TAP_UPLOAD.r",
                  "SELECT a FROM TAP_UPLOAD.l UNION SELECT b FROM TAP_UPLOAD.r"):  # fmt: skip
        with pytest.raises(UsageFault):
            asked(archive, wrong)


CASTS = {
    "CAST('12' AS INTEGER)": (12, "int"), "CAST(' -7 ' AS SMALLINT)": (-7, "short"),
    "CAST('9007199254740993' AS BIGINT)": (9007199254740993, "long"), "CAST('1.5' AS INTEGER)": (1, "int"),
    "CAST('-1e3' AS BIGINT)": (-1000, "long"), "CAST(-1.9 AS INTEGER)": (-1, "int"),
    "CAST('0.5' AS REAL)": (0.5, "float"), "CAST('2.5e-3' AS DOUBLE PRECISION)": (0.0025, "double"),
    "CAST(3 AS DOUBLE PRECISION)": (3.0, "double"), "CAST(42 AS VARCHAR)": ("42", "char"),
    "CAST('abcdef' AS VARCHAR(3))": ("abc", "char"), "CAST('ab' AS CHAR(4))": ("ab  ", "char"),
    "CAST('abc' AS CHAR)": ("a", "char"), "CAST('2014-03-28' AS TIMESTAMP)": ("2014-03-28T00:00:00", "char"),
    "CAST('2014-03-28 18:38:06.25Z' AS TIMESTAMP)": ("2014-03-28T18:38:06.25", "char"),
    "CAST('1 -2' AS POINT)": ([1.0, -2.0], "double"), "CAST('1 2 3' AS CIRCLE)": ([1.0, 2.0, 3.0], "double"),
    "CAST('1 2 3 4 5 6' AS POLYGON)": ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "double"),
}  # fmt: skip
NO_CASTS = ("'abc' AS INTEGER", "'1_000' AS INTEGER", "'0x1F' AS BIGINT", "'' AS DOUBLE PRECISION",
            "'now' AS TIMESTAMP", "'epoch' AS TIMESTAMP", "'2014-13-01' AS TIMESTAMP", "5 AS TIMESTAMP",
            "1e30 AS INTEGER", "'40000' AS SMALLINT", "'1 2' AS CIRCLE", "1 AS BLOB",
            "model AS POINT")  # fmt: skip


def test_a29_casts(archive: OpenRelease) -> None:
    found = ask(archive, f"SELECT TOP 1 {', '.join(CASTS)} FROM doppel.models")
    assert list(found.rows[0]) == [value for value, _ in CASTS.values()]
    assert [column.datatype for column in found.columns] == [datatype for _, datatype in CASTS.values()]


def test_a19_a_sum_of_constants_within_another_value_keeps_its_fraction(archive: OpenRelease) -> None:
    """HEALPix cells name their position, so that sums are taken there: of 2 rows 1.5, which is not 2."""
    query = "SELECT ivo_healpix_index(20, {}, {}) FROM doppel.models"
    for each, total in (("0.75", "1.5"), ("1e300", "2e300"), ("DISTINCT 0.75", "0.75"), ("3", "6")):
        (found,) = ask(archive, query.format(f"SUM({each})", "COUNT(*)")).rows
        assert found == ask(archive, query.format(total, "2")).rows[0], each


@pytest.mark.parametrize("divisor", [7.0, 0.7, -360.0, 1e-5, 3e299])
def test_a19_remainders_are_exact_however_large_the_number(archive: OpenRelease, divisor: float) -> None:
    """What is left of 1e300 is as exact as what is left of 10: nothing is rounded on the way."""
    numbers = [1e300, -1e300, 1.7e308, 7e15, 123456789.123, 5.0, 0.0, 2.0**70]
    table = {"t": upload({"n": ("int", list(range(len(numbers)))), "x": ("double", numbers)})}
    found = ask(archive, f"SELECT MOD(x, {divisor!r}) AS m FROM TAP_UPLOAD.t ORDER BY n", uploads=table)
    wanted = [math.fmod(x, divisor) for x in numbers]
    assert found.column("m") == pytest.approx(wanted, rel=1e-12, abs=1e-9 * abs(divisor))


@pytest.mark.parametrize("cast", NO_CASTS)
def test_a29_what_cannot_be_cast_is_told(archive: OpenRelease, cast: str) -> None:
    with pytest.raises(UsageFault):
        ask(archive, f"SELECT CAST({cast}) FROM doppel.models")


def test_a30_coalesce(archive: OpenRelease) -> None:
    found = asked(archive, "SELECT COALESCE(x, -99) FROM TAP_UPLOAD.n ORDER BY i").rows
    assert found == [(-99.0 if x is None else x,) for x in NUMBERS]
    assert one(archive, "COALESCE(NULL, NULL, 'c', 'd')") == ("c",)
    with pytest.raises(UsageFault, match="one datatype"):
        one(archive, "COALESCE(1, 'x')")


UNITS = ("nm", "Angstrom", "um", "km", "mm")


def test_a31_units(archive: OpenRelease) -> None:
    """Through expressions; the factors are astropy's."""
    select = ", ".join(f"IN_UNIT(em_max - em_min, '{unit}')" for unit in UNITS)
    select += ", IN_UNIT(2 * em_min * em_max, 'nm**2'), em_min * em_max"
    query = f"SELECT TOP 3 em_max - em_min, {select} FROM ivoa.obscore ORDER BY obs_publisher_did"
    found = ask(archive, query)
    assert [column.unit for column in found.columns[1:6]] == list(UNITS)
    for width, *widths, squared, product in found.rows:
        assert widths == pytest.approx([(width * u.m).to_value(u.Unit(unit)) for unit in UNITS], rel=1e-12)
        assert squared == pytest.approx(2 * product * 1e18, rel=1e-12)
    for wrong in (
        "em_min, 'parsnip'",
        "em_min, 's'",
        "em_min, 'Hz'",
        "calib_level, 'm'",
        "em_min, obs_id",
        "obs_id, 'm'",
    ):
        with pytest.raises(UsageFault):
            ask(archive, f"SELECT IN_UNIT({wrong}) FROM ivoa.obscore")


def test_a32_offset_goes_before_top(archive: OpenRelease) -> None:
    order = sorted(b for _, b in RIGHT)
    for query, wanted in (("SELECT b FROM TAP_UPLOAD.r ORDER BY b OFFSET 2", order[2:]),
                          ("SELECT TOP 2 b FROM TAP_UPLOAD.r ORDER BY b OFFSET 1", order[1:3]),
                          ("SELECT TOP 2 b FROM TAP_UPLOAD.r ORDER BY b OFFSET 4", order[4:]),
                          ("SELECT b FROM TAP_UPLOAD.r ORDER BY b OFFSET 99", [])):  # fmt: skip
        assert [b for (b,) in asked(archive, query).rows] == wanted
    for wrong in ("OFFSET 1 ORDER BY b", "ORDER BY b OFFSET -1", "ORDER BY b OFFSET 1.5"):
        with pytest.raises(UsageFault):
            asked(archive, f"SELECT b FROM TAP_UPLOAD.r {wrong}")


def test_a41_functions_named_ivo_are_of_the_catalogue() -> None:
    names = {udf.form.partition("(")[0] for udf in declared_udfs()}
    assert {name for name in names if name.startswith("ivo_")} == CATALOGUE
    others = {name.partition("_")[0] for name in names if not name.startswith("ivo_")}
    assert others == {"latent", "similar", "gavo", "arr", "BITWISE"}


def test_a43_a44_signatures_have_arguments_and_one_form_for_each_number_of_them() -> None:
    forms = [udf.form for udf in declared_udfs()]
    assert [form for form in forms if not SIGNATURE.fullmatch(form)] == []
    arities = {(form.partition("(")[0], form.count(","), "POINT" in form) for form in forms}
    assert len(arities) == len(forms)


def test_results_too_wide_to_plan_are_refused(archive: OpenRelease) -> None:
    for many in (", ".join(["ra"] * 2001), ", ".join(["*"] * 500)):
        with pytest.raises(UsageFault, match="more than 1600 columns are selected"):
            ask(archive, f"SELECT {many} FROM doppel.spectra")
