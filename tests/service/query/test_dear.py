"""Long lists, chains and regions: quick where the engine takes them as one value, else refused by a limit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from index.release import OpenRelease
from service.errors import UsageFault
from tests.service.query.asking import ask

SPECTRA = "doppel.spectra"
STRANGE = ["it''s", 'a "b"', "back\\slash", "{1,2}", "NULL", "", "ж"]


def written(values: list[float] | list[str]) -> str:
    return ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in values)


def rows(archive: OpenRelease) -> list[tuple[str, float | None]]:
    return ask(archive, f"SELECT ssa_pubdid, teff FROM {SPECTRA}").rows


def heats(archive: OpenRelease) -> list[float]:
    return [teff for _, teff in rows(archive) if teff is not None]


@pytest.mark.parametrize("negated", [False, True], ids=["IN", "NOT IN"])
def test_a12_a_long_list_means_what_a_short_one_means(archive: OpenRelease, negated: bool) -> None:
    known = rows(archive)
    dids = [did for did, _ in known[::3]]
    heats = [teff for _, teff in known[::4] if teff is not None]
    word = "NOT IN" if negated else "IN"
    found = ask(
        archive, f"SELECT ssa_pubdid FROM {SPECTRA} WHERE ssa_pubdid {word} ({written(dids + STRANGE)})"
    ).column("ssa_pubdid")
    assert set(found) == {did for did, _ in known if (did in dids) != negated}
    found = ask(
        archive, f"SELECT ssa_pubdid FROM {SPECTRA} WHERE teff {word} ({written(heats)}, -1, 2)"
    ).column("ssa_pubdid")
    assert set(found) == {did for did, teff in known if teff is not None and (teff in heats) != negated}


def test_a12_a_long_list_in_on_and_having(archive: OpenRelease) -> None:
    known = rows(archive)
    dids = [did for did, _ in known[:100]]
    joined = ask(
        archive,
        f"SELECT a.ssa_pubdid, b.ssa_pubdid AS other FROM {SPECTRA} AS a LEFT JOIN {SPECTRA} AS b "
        f"ON a.ssa_pubdid = b.ssa_pubdid AND b.ssa_pubdid IN ({written(dids)})",
    ).rows
    assert len(joined) == len(known)
    assert {one for one, other in joined if other is not None} == set(dids)
    counts = ask(
        archive,
        f"SELECT ssa_collection, COUNT(*) AS n FROM {SPECTRA} GROUP BY ssa_collection "
        f"HAVING COUNT(*) IN ({written(list(range(0, 1000, 2)))})",
    ).column("n")
    assert all(n % 2 == 0 for n in counts)


def test_a12_long_chains_of_or_and_and(archive: OpenRelease) -> None:
    known = rows(archive)
    dids = [did for did, _ in known[::2]]
    either = " OR ".join(f"ssa_pubdid = '{did}'" for did in [*dids, *map(str, range(1_000))])
    neither = " AND ".join(f"ssa_pubdid <> '{did}'" for did in [*dids, *map(str, range(200))])
    warm = " OR ".join(f"teff BETWEEN {low} AND {low}.5" for low in range(4000, 4800, 10))
    for condition, expected in (
        (either, set(dids)),
        (neither, {did for did, _ in known} - set(dids)),
        (f"({either}) AND ({neither})", set()),
        (warm, {did for did, teff in known if teff is not None and 4000 <= teff < 4800 and teff % 10 <= 0.5}),
    ):
        found = ask(archive, f"SELECT ssa_pubdid FROM {SPECTRA} WHERE {condition}").column("ssa_pubdid")
        assert set(found) == expected


def ring(ra: float, dec: float, radius: float, n: int) -> str:
    """A polygon of n corners on a circle."""
    turns = np.linspace(0, 2 * math.pi, n, endpoint=False)
    decs = dec + radius * np.sin(turns)
    ras = ra + radius * np.cos(turns) / np.cos(np.radians(decs))
    return ", ".join(f"{a:.9f}, {d:.9f}" for a, d in zip(ras, decs, strict=True))


def test_a20_a_polygon_of_very_many_corners_holds_what_one_of_many_holds(archive: OpenRelease) -> None:
    some = f"SELECT TOP 6 ssa_pubdid, ra, dec FROM {SPECTRA} ORDER BY ssa_pubdid"
    few, many = (
        ask(
            archive,
            f"SELECT ssa_pubdid FROM ({some}) AS s WHERE 1 = CONTAINS(POINT(ra, dec), "
            f"POLYGON({ring(180, 10, 40, n)})) ORDER BY ssa_pubdid",
        ).rows
        for n in (60, 1_002)
    )
    assert 0 < len(few) < 6
    assert few == many


def test_a20_a_polygon_of_very_many_corners_is_a_value(archive: OpenRelease) -> None:
    numbers = ring(180, 10, 5, 1_002)
    found = ask(
        archive, f"SELECT TOP 1 POLYGON({numbers}) AS p, AREA(POLYGON({numbers})) AS a FROM {SPECTRA}"
    )
    assert found.rows[0][0] == [float(number) for number in numbers.split(", ")]
    assert found.columns[0].xtype == "polygon"
    assert found.rows[0][1] == pytest.approx(78.5, rel=0.01)


def chain(length: int, expression: str) -> str:
    """Queries of which each computes with the one before."""
    more = ", ".join(f"a{i} AS (SELECT {expression} AS x FROM a{i - 1})" for i in range(1, length))
    return (
        f"WITH a0 AS (SELECT teff AS x FROM {SPECTRA}), {more} SELECT TOP 3 x FROM a{length - 1} ORDER BY x"
    )


def test_queries_of_queries_are_computed_or_refused(archive: OpenRelease) -> None:
    """PostgreSQL would put expressions into each other until it has no memory, and end."""
    assert ask(archive, chain(8, "x + x + x - x - x")).rows[0] == (pytest.approx(min(heats(archive))),)
    assert ask(archive, chain(20, "x + 1")).rows[0] == (pytest.approx(min(heats(archive)) + 19),)
    with pytest.raises(UsageFault, match="expressions of more than 100000 columns are made here"):
        ask(archive, chain(30, "x * x * x"))


def test_t21_units_of_units_do_not_grow_without_end(archive: OpenRelease) -> None:
    units = [ask(archive, chain(n, "x * x * x"), maxrec=0).columns[0].unit for n in (2, 8)]
    assert units == ["K**3", "K**2187"]


@pytest.mark.parametrize(
    ("clause", "told"),
    [
        (f"WHERE {' OR '.join(f'teff > {i} * logg' for i in range(2_001))}", "more than 2000 conditions"),
        (" ".join(f"NATURAL JOIN {SPECTRA} AS a{i}" for i in range(60)), "more than 2000 conditions"),
        (f"ORDER BY {', '.join(f'teff * {i}' for i in range(1_600))}", "more than 1600 columns are selected"),
        (f"WHERE {'+'.join(['teff'] * 3_000)} > 1", "nested too deeply: a chain of operators"),
        (f"WHERE {'+'.join(['teff'] * 900)} > 1", "nested too deeply: a chain of operators"),
        (f"ORDER BY {', '.join(f'ivo_healpix_index({i % 20}, ra + {i}, dec)' for i in range(400))}",
         "characters for the engine; 1000000 are allowed"),
    ],
    ids=["OR", "NATURAL", "keys", "a long sum", "a sum", "cells"],
)  # fmt: skip
def test_what_would_take_minutes_to_plan_is_refused_at_once(
    archive: OpenRelease, clause: str, told: str
) -> None:
    with pytest.raises(UsageFault, match=told):
        ask(archive, f"SELECT teff FROM {SPECTRA} AS s {clause}")
