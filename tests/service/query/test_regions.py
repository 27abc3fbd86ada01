"""Regions in uploaded tables: arrays as DALI has them, and words as older services write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord

from index.release import OpenRelease
from registry_metadata.columns import Column
from service.errors import UsageFault
from service.query.context import Upload
from service.query.regions import in_cell, in_words
from tests.service.query.asking import ask

CIRCLES = [(10.0, 20.0, 5.0), (200.0, -30.0, 20.0), (355.0, 88.0, 4.0), None]
RINGS = [(0.0, 0.0, 10.0, 0.0, 10.0, 10.0), (350.0, -5.0, 10.0, -5.0, 10.0, 5.0, 350.0, 5.0), None]
TYPES = {"double": pa.float64(), "float": pa.float32()}


def table(regions: list[Any], xtype: str, datatype: str = "char") -> Mapping[str, Upload]:
    kind = pa.string() if datatype == "char" else pa.list_(TYPES[datatype])
    columns = (Column("n", "int"), Column("reg", datatype, "*", xtype=xtype))
    arrays = [pa.array(range(len(regions)), pa.int32()), pa.array(regions, kind)]
    return {"t": Upload(columns, pa.Table.from_arrays(arrays, ["n", "reg"]))}


def words(name: str, regions: list[Any]) -> list[Any]:
    return [None if numbers is None else f"{name} {' '.join(map(str, numbers))}" for numbers in regions]


CIRCLES_AS = {
    "DALI's array": table([None if c is None else list(c) for c in CIRCLES], "circle", "double"),
    "an array of floats": table([None if c is None else list(c) for c in CIRCLES], "circle", "float"),
    "DALI's text": table(words("", CIRCLES), "circle"),
    "a shape": table(words("circle", CIRCLES), "shape"),
    "STC-S": table(words("Circle ICRS", CIRCLES), "adql:REGION"),
    "with blanks": table([*words("CIRCLE  ICRS  GEOCENTER ", CIRCLES[:3]), " "], "adql:REGION"),
}


@pytest.mark.parametrize("form", CIRCLES_AS)
def test_a24_uploaded_circles_are_circles(archive: OpenRelease, form: str) -> None:
    """Joined to positions, and by themselves; answers of astropy."""
    query = (
        "SELECT u.n, s.ssa_pubdid FROM TAP_UPLOAD.t AS u JOIN doppel.spectra AS s"
        " ON 1 = CONTAINS(POINT(s.ra, s.dec), u.reg)"
    )
    found = sorted(ask(archive, query, uploads=CIRCLES_AS[form]).rows)
    all_ = ask(archive, "SELECT ssa_pubdid, ra, dec FROM doppel.spectra WHERE ra IS NOT NULL")
    dids = all_.column("ssa_pubdid")
    sky = SkyCoord(np.array(all_.column("ra")), np.array(all_.column("dec")), unit="deg")
    wanted = []
    for n, circle in enumerate(CIRCLES[:3]):
        assert circle is not None
        near = sky.separation(SkyCoord(*circle[:2], unit="deg")).deg < circle[2]
        wanted += [(n, dids[place]) for place in np.flatnonzero(near)]
    assert found == sorted(wanted)
    assert wanted
    values = "AREA(reg), COORD2(CENTROID(reg)), INTERSECTS(reg, CIRCLE(12, 20, 4))"
    each = f"SELECT {values} FROM TAP_UPLOAD.t ORDER BY n"
    rows = ask(archive, each, uploads=CIRCLES_AS[form]).rows
    assert [row[1:] for row in rows] == [(20, 1), (-30, 0), (88, 0), (None, None)]
    assert rows[0][0] == pytest.approx(2 * np.pi * (1 - np.cos(np.radians(5))) * (180 / np.pi) ** 2)


RINGS_AS = {
    "DALI's array": table([None if r is None else list(r) for r in RINGS], "polygon", "double"),
    "an array of floats": table([None if r is None else list(r) for r in RINGS], "polygon", "float"),
    "STC-S": table([words("Polygon ICRS", RINGS)[0], "BOX ICRS 0 0 20 10", None], "adql:REGION"),
    "a shape": table(words("polygon", RINGS), "shape"),
}


@pytest.mark.parametrize("form", RINGS_AS)
def test_a24_uploaded_polygons_are_polygons(archive: OpenRelease, form: str) -> None:
    query = (
        "SELECT CONTAINS(POINT(5, 2), reg), CONTAINS(POINT(355, 4), reg), INTERSECTS(CIRCLE(5, -7, 3), reg),"
        " CONTAINS(reg, CIRCLE(5, 5, 12)) FROM TAP_UPLOAD.t ORDER BY n"
    )
    rows = ask(archive, query, uploads=RINGS_AS[form]).rows
    assert rows == [(1, 0, 0, 1), (1, 1, 1, 0), (None,) * 4]


def test_a24_uploaded_points_are_points(archive: OpenRelease) -> None:
    for form in (
        table(["Position ICRS 10 20", None], "adql:POINT"),
        table(["10 20", None], "point"),
        table([[10, 20], [np.nan, np.nan]], "point", "float"),
    ):
        values = "DISTANCE(reg, POINT(10, 21)), COORD1(reg), CONTAINS(reg, CIRCLE(reg, 1))"
        first, second = ask(archive, f"SELECT {values} FROM TAP_UPLOAD.t ORDER BY n", uploads=form).rows
        assert first == (pytest.approx(1), 10, 1)
        assert second == (None, None, None)


@pytest.mark.parametrize(
    ("uploads", "told"),
    [
        (table(["CIRCLE 1 2 3", "UNION ICRS (Circle 1 2 3)"], "adql:REGION"), "reg, row 2: 'UNION"),
        (table(["CIRCLE 1 2 3", "POLYGON 1 1 2 2 3 1"], "adql:REGION"), "a polygon (row 2)"),
        (table(["CIRCLE GALACTIC 1 2 3"], "adql:REGION"), "'GALACTIC 1 2 3' are not numbers in degrees"),
        (table(["CIRCLE 1 95 3"], "shape"), "the declination 95 is not between -90 and 90"),
        (table(["1 2 200"], "circle"), "the radius 200 is not between 0 and 180"),
        (table([[1, 2, 3, 4]], "circle", "double"), "a circle takes ra, dec, radius, not 4 numbers"),
        (table([[1, 2, 3, 4, 5]], "polygon", "double"), "takes three or more pairs of ra, dec, not 5"),
        (table([[1, 2, 3, np.nan, 5, 6]], "polygon", "float"), "pairs of ra, dec, not 5 numbers"),
        (table(["1/3"], "moc"), "must be a POINT or CIRCLE or POLYGON, not text"),
        (table(["CIRCLE 1 2 3"], ""), "must be a POINT or CIRCLE or POLYGON, not text"),
    ],
)
def test_a24_an_upload_that_holds_no_such_region_is_refused_by_row(
    archive: OpenRelease, uploads: Mapping[str, Upload], told: str
) -> None:
    """Where it is asked for as a region; as what it is, it can be selected."""
    with pytest.raises(UsageFault, match=re.escape(told)):
        ask(archive, "SELECT CONTAINS(POINT(1, 2), reg) FROM TAP_UPLOAD.t", uploads=uploads)
    assert len(ask(archive, "SELECT reg FROM TAP_UPLOAD.t", uploads=uploads).rows) in (1, 2)


@pytest.mark.parametrize("form", ["DALI's array", "an array of floats", "DALI's text", "STC-S"])
def test_a24_regions_of_an_upload_in_a_query_in_from(archive: OpenRelease, form: str) -> None:
    """Arrays stay regions there; words are told to be none."""
    query = "SELECT CONTAINS(POINT(10, 20), q.reg) FROM (SELECT n, reg FROM TAP_UPLOAD.t) AS q ORDER BY q.n"
    if "array" in form:
        assert ask(archive, query, uploads=CIRCLES_AS[form]).rows == [(1,), (0,), (0,), (None,)]
        return
    with pytest.raises(UsageFault, match="must be a POINT or CIRCLE or POLYGON, not text"):
        ask(archive, query, uploads=CIRCLES_AS[form])


def test_a24_words_of_regions() -> None:
    assert in_words("Box ICRS 10 80 4 30") == ("polygon", (8, 65, 12, 65, 12, 90, 8, 90))
    assert in_words("position 1 2") == in_words("1 2", "point") == ("point", (1, 2))
    with pytest.raises(ValueError, match="is no point"):
        in_words("CIRCLE 1 2 3", "point")


def test_a24_a_region_at_the_origin_is_one_and_nan_alone_is_none() -> None:
    assert in_cell([0.0, 0.0], "point") == ("point", (0.0, 0.0))
    for nothing in (None, " ", [], [None, None], [float("nan")] * 2):
        assert in_cell(nothing, "point") is None
    with pytest.raises(ValueError, match="takes ra, dec"):
        in_cell([0.0, float("nan")], "point")
