"""Cones over small tables are answered from memory, and as the engine answers them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from index.release import OpenRelease
from service.query import held, run
from service.query.run import Question, answer

DRAW = np.random.default_rng(20261121)
COLUMNS = "ssa_pubdid, dec, teff, ra AS lon, accref, ra"
INSIDE = "1 = CONTAINS(POINT(ra, dec), CIRCLE({:.7f}, {:.7f}, {:.7f}))"
Table = tuple[list[str], list[tuple[object, ...]], bool]


@pytest.fixture
def from_memory(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the questions that were asked of memory were answered there."""
    told: list[bool] = []

    def watched(release: OpenRelease, cone: held.Cone, base_url: str) -> object:
        found = held.rows_in(release, cone, base_url)
        told.append(found is not None)
        return found

    monkeypatch.setattr(run, "rows_in", watched)
    return told


def asked(release: OpenRelease, query: str, maxrec: int | None = None) -> Table:
    with answer(release, Question(query, maxrec), base_url="http://archive.example/") as found:
        rows = [tuple(row.values()) for batch in found.batches for row in batch.to_pylist()]
        return [one.column.name for one in found.columns], rows, found.overflow


def cones(release: OpenRelease) -> Iterator[str]:
    """Around spectra, the poles and the meridian, of all sizes, in words of CONTAINS and of DISTANCE."""
    spectra = release.engine.rows("SELECT ra, dec FROM release.doppel.spectra WHERE ra IS NOT NULL")
    places = [spectra[n] for n in DRAW.integers(0, len(spectra), 8)]
    for ra, dec in [*places, (0.0, 89.9), (359.99, -89.9), (360.0, 0.0), (0.001, 3.0)]:
        for radius in 10 ** DRAW.uniform(-3, 1.9, 3):
            yield INSIDE.format(ra, dec, radius)
            yield f"DISTANCE(POINT({ra:.7f}, {dec:.7f}), POINT(ra, dec)) < {radius:.7f}"


def test_memory_and_the_engine_find_the_same(
    archive: OpenRelease, from_memory: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = [f"SELECT {COLUMNS} FROM doppel.spectra WHERE {cone}" for cone in cones(archive)]
    found = [asked(archive, query) for query in queries]
    assert from_memory == [True] * len(queries)
    assert sum(bool(rows) for _, rows, _ in found) > len(found) / 2
    monkeypatch.setattr(run, "rows_in", lambda *_: None)
    for (names, rows, _), query in zip(found, queries, strict=True):
        by_engine = asked(archive, query)
        assert names == by_engine[0]
        assert sorted(rows, key=str) == sorted(by_engine[1], key=str)


def test_top_and_maxrec_cut_what_memory_finds(archive: OpenRelease, from_memory: list[bool]) -> None:
    everywhere = f"FROM doppel.spectra WHERE {INSIDE.format(10, 20, 90)}"
    _, rows, overflow = asked(archive, f"SELECT {COLUMNS} {everywhere}")
    assert (len(rows) > 20, overflow) == (True, False)
    assert asked(archive, f"SELECT TOP 7 {COLUMNS} {everywhere}")[1:] == (rows[:7], False)
    assert asked(archive, f"SELECT {COLUMNS} {everywhere}", 7)[1:] == (rows[:7], True)
    assert asked(archive, f"SELECT {COLUMNS} {everywhere}", len(rows))[1:] == (rows, False)
    assert from_memory == [True] * 4


NOT_A_CONE = {
    "another condition": "SELECT ra FROM doppel.spectra WHERE {} AND teff > 0",
    "outside": "SELECT ra FROM doppel.spectra WHERE NOT {}",
    "or": "SELECT ra FROM doppel.spectra WHERE {} OR teff > 0",
    "an expression": "SELECT ra + 1 FROM doppel.spectra WHERE {}",
    "an aggregate": "SELECT COUNT(*) FROM doppel.spectra WHERE {}",
    "groups": "SELECT teff FROM doppel.spectra WHERE {} GROUP BY teff",
    "distinct": "SELECT DISTINCT teff FROM doppel.spectra WHERE {}",
    "order": "SELECT teff FROM doppel.spectra WHERE {} ORDER BY teff",
    "offset": "SELECT teff FROM doppel.spectra WHERE {} OFFSET 1",
    "two tables": "SELECT a.ra FROM doppel.spectra AS a, tap_schema.schemas AS b WHERE {}",
    "a derived table": "SELECT ra FROM (SELECT ra, dec FROM doppel.spectra) AS s WHERE {}",
}


@pytest.mark.parametrize("query", NOT_A_CONE.values(), ids=NOT_A_CONE)
def test_all_else_is_for_the_engine(archive: OpenRelease, from_memory: list[bool], query: str) -> None:
    prefix = "a." if "AS a" in query else ""
    cone = f"1 = CONTAINS(POINT({prefix}ra, {prefix}dec), CIRCLE(10, 20, 90))"
    assert asked(archive, query.format(cone))[1]
    assert from_memory == []


def test_a_cone_inside_of_a_query_is_for_the_engine(archive: OpenRelease, from_memory: list[bool]) -> None:
    inner = f"SELECT ssa_pubdid FROM doppel.spectra WHERE {INSIDE.format(10, 20, 90)}"
    ask = partial(asked, archive)
    (count,) = ask(f"SELECT COUNT(*) FROM ({inner}) AS s")[1]
    assert len(ask(f"SELECT ra FROM doppel.spectra WHERE ssa_pubdid IN ({inner})")[1]) == count[0] > 20
    assert len(ask(f"{inner} UNION ALL {inner}")[1]) == 2 * count[0]
    assert len(ask(f"WITH s AS ({inner}) SELECT * FROM s")[1]) == count[0]
    assert from_memory == []


@pytest.mark.parametrize(("limit", "most"), [("MOST_ROWS", 100), ("MOST_BYTES", 1000)])
def test_large_tables_are_not_held(
    archive: OpenRelease, from_memory: list[bool], monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    empty = held.Shelf()
    monkeypatch.setattr(held, "shelf", lambda _: empty)
    query = f"SELECT ra FROM doppel.spectra WHERE {INSIDE.format(10, 20, 90)}"
    with monkeypatch.context() as limits:
        limits.setattr(held, limit, most)
        rows = asked(archive, query)[1]
    assert sorted(asked(archive, query)[1]) == sorted(rows) != []
    assert from_memory == [False, limit == "MOST_ROWS"]  # what takes too much is found out once


def test_what_lies_on_the_edge_is_for_the_engine(archive: OpenRelease, from_memory: list[bool]) -> None:
    ((ra, dec),) = archive.engine.rows("SELECT ra, dec FROM release.doppel.spectra WHERE ra > 0 LIMIT 1")
    at_it = f"1 = CONTAINS(POINT(ra, dec), CIRCLE({ra}, {dec}, 0))"
    assert asked(archive, f"SELECT ssa_pubdid FROM doppel.spectra WHERE {at_it}")[1]
    assert from_memory == [False]
