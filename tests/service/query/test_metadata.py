# ruff: noqa: E501 (queries stay on one line)
"""What a result says of its columns: names, datatypes, units, UCDs, identifiers (A50)."""

from __future__ import annotations

import pytest

from index.release import OpenRelease
from service.errors import TimeoutFault
from service.query.functions import FUNCTIONS, declared_udfs
from tests.service.query.asking import BASE, ask, upload
from tests.service.query.conftest import REFERENCE


@pytest.mark.parametrize("name", ["doppel.spectra", "ivoa.obscore", "doppel.optical", "tap_schema.columns"])
def test_fields_are_what_tap_schema_declares(archive: OpenRelease, name: str) -> None:
    table = archive.tables[name]
    assert ask(archive, f"SELECT * FROM {name}", 1).columns == table.columns


@pytest.mark.parametrize(
    ("expression", "datatype", "unit"),
    [
        ("teff", "float", "K"),
        ("teff + 1", "double", "K"),
        ("2 * teff", "double", "K"),
        ("teff / teff", "double", None),
        ("ssa_specend - ssa_specstart", "double", "m"),
        ("ssa_timeext / ssa_specmid", "double", "s/m"),
        ("ssa_specmid * ssa_specmid", "double", "m**2"),
        ("SQRT(ssa_specmid * ssa_specmid)", "double", "m"),
        ("rv * ssa_timeext", "double", "km"),
        ("rv / ssa_specmid", "double", "km/(s.m)"),
        ("1 / (rv * rv)", "double", "s**2/km**2"),
        ("POWER(rv, 0.5)", "double", "km**(0.5)/s**(0.5)"),
        ("IN_UNIT(rv * rv, 'm**2.s**-2')", "double", "m**2.s**-2"),
        ("-rv", "float", "km/s"),
        ("ABS(rv)", "float", "km/s"),
        ("SQRT(ssa_specmid)", "double", "m**(0.5)"),
        ("IN_UNIT(ssa_specmid, 'nm')", "double", "nm"),
        ("MAX(teff)", "float", "K"),
        ("AVG(teff)", "double", "K"),
        ("COUNT(*)", "long", None),
        ("SUM(accsize)", "long", "kbyte"),
        ("COALESCE(teff, 0.)", "double", "K"),
        ("DISTANCE(POINT(ra, dec), POINT(0, 0))", "double", "deg"),
        ("POINT(ra, dec)", "double", "deg"),
    ],
)
def test_units_travel_through_expressions(
    archive: OpenRelease, expression: str, datatype: str, unit: str | None
) -> None:
    (column,) = ask(archive, f"SELECT {expression} FROM doppel.spectra", 1).columns
    assert (column.datatype, column.unit) == (datatype, unit)


def test_ucds_of_aggregates(archive: OpenRelease) -> None:
    found = ask(archive, "SELECT MAX(teff), MIN(teff), AVG(teff), COUNT(teff), SUM(teff) FROM doppel.spectra")
    assert [column.ucd for column in found.columns] == [
        "stat.max;phys.temperature.effective",
        "stat.min;phys.temperature.effective",
        "stat.mean;phys.temperature.effective",
        "meta.number",
        None,
    ]
    assert found.names == ["max_teff", "min_teff", "avg_teff", "count_teff", "sum_teff"]


def test_names_are_unique_and_keep_their_letters(archive: OpenRelease) -> None:
    query = (
        'SELECT TOP 1 RA, ra AS Ra, 1, 1+1, Dec AS "the dec", COUNT(*) FROM doppel.spectra GROUP BY ra, dec'
    )
    assert ask(archive, query).names == ["RA", "Ra_2", "column_3", "column_4", "the dec", "count_6"]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT ssa_pubdid AS x FROM doppel.spectra",
        "SELECT q.x FROM (SELECT ssa_pubdid AS x FROM doppel.spectra) AS q",
        "WITH w AS (SELECT obs_publisher_did AS y FROM ivoa.obscore) SELECT y AS x FROM w",
        "SELECT ssa_pubdid AS x FROM doppel.optical UNION SELECT obs_publisher_did FROM ivoa.obscore",
        "SELECT ssa_pubdid AS x FROM doppel.spectra JOIN doppel.optical USING (ssa_pubdid)",
        "SELECT DISTINCT ssa_pubdid AS x FROM doppel.spectra",
        "SELECT MIN(teff), ssa_pubdid AS x FROM doppel.spectra GROUP BY ssa_pubdid",
    ],
)
def test_identifiers_are_known_under_any_name(archive: OpenRelease, query: str) -> None:
    columns = {column.name: column for column in ask(archive, query, 3).columns}
    assert columns["x"].did
    assert not any(column.did for name, column in columns.items() if name != "x")


def test_text_made_of_identifiers_is_none(archive: OpenRelease) -> None:
    query = (
        "SELECT ssa_pubdid || '', UPPER(ssa_pubdid), MAX(ssa_pubdid) FROM doppel.spectra GROUP BY ssa_pubdid"
    )
    assert not any(column.did for column in ask(archive, query, 1).columns)


def test_addresses_are_whole(archive: OpenRelease) -> None:
    query = f"SELECT accref FROM doppel.spectra WHERE ssa_pubdid = '{REFERENCE}'"
    ((address,),) = ask(archive, query).rows
    assert address.startswith(f"{BASE}/spectra/ivo%3A")
    assert ask(archive, f"SELECT ssa_pubdid FROM doppel.spectra WHERE accref = '{address}'").rows == [
        (REFERENCE,)
    ]


def test_maxrec_cuts_with_overflow_and_top_without(archive: OpenRelease) -> None:
    cut = ask(archive, "SELECT ssa_pubdid FROM doppel.spectra", 5)
    assert (len(cut.rows), cut.overflow) == (5, True)
    whole = ask(archive, "SELECT TOP 5 ssa_pubdid FROM doppel.spectra", 5)
    assert (len(whole.rows), whole.overflow) == (5, False)
    assert not ask(archive, "SELECT ssa_pubdid FROM doppel.spectra", 300).overflow
    assert ask(archive, "SELECT ssa_pubdid FROM doppel.spectra", 299).overflow
    ordered = ask(archive, "SELECT teff FROM doppel.spectra ORDER BY teff DESC", 3)
    everything = ask(archive, "SELECT teff FROM doppel.spectra ORDER BY teff DESC")
    assert ordered.rows == everything.rows[:3]


def test_a_query_that_takes_too_long_is_ended_and_points_to_async(archive: OpenRelease) -> None:
    query = "SELECT COUNT(*) FROM doppel.spectra AS a, doppel.spectra AS b, doppel.spectra AS c, doppel.spectra AS d"
    with pytest.raises(TimeoutFault, match=r"limit of 0\.2 s; run it as an asynchronous job"):
        ask(archive, query + " WHERE a.teff + b.teff > d.teff - c.teff * SIN(a.ra * c.dec)", timeout=0.2)


def test_maxrec_zero_tells_columns_only(archive: OpenRelease) -> None:
    found = ask(archive, "SELECT ssa_pubdid, teff FROM doppel.spectra", 0)
    assert (found.names, found.rows, found.overflow) == (["ssa_pubdid", "teff"], [], True)


def test_uploads_keep_their_names_and_values(archive: OpenRelease) -> None:
    table = upload({"a": ("int", [1, None]), "A": ("char", ["x", "it's"]), "my col": ("double", [1.5, None])})
    found = ask(archive, "SELECT * FROM TAP_UPLOAD.t1", uploads={"t1": table})
    assert found.names == ["a", "A_2", "my col"]
    assert found.rows == [(1, "x", 1.5), (None, "it's", None)]
    named = ask(archive, 'SELECT t1."A", t1."my col" FROM tap_upload.T1 AS t1', uploads={"t1": table})
    assert named.rows == [("x", 1.5), ("it's", None)]


def test_a42_every_user_function_is_declared_once_for_each_number_of_arguments() -> None:
    forms = [udf.form for udf in declared_udfs()]
    assert len(forms) == len(set(forms))
    assert all(" -> " in form and form.partition("(")[2].strip(") ") for form in forms)
    assert sum(form.startswith("latent_distance") for form in forms) == 2
    assert all(udf.description for udf in declared_udfs())
    assert all(name == name.upper() == function.name for name, function in FUNCTIONS.items())
