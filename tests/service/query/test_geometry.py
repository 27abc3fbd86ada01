# ruff: noqa: E501 (queries stay on one line)
"""Geometry against astropy and brute force (A20–A25); joins by position give all pairs and no more."""

from __future__ import annotations

import itertools
from typing import Any

import astropy.units as u
import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from index.release import OpenRelease
from registry_metadata.columns import Column
from service.query.run import Upload
from tests.service.query.asking import ask, upload

CENTRES = [
    (10.0, 20.0, 30.0),
    (0.5, -10.0, 25.0),
    (359.9, 0.0, 40.0),
    (100.0, 59.0, 32.0),
    (200.0, -90.0, 80.0),
]
FORMS = (
    "1=CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', {}, {}, {}))",
    "CONTAINS(POINT(ra, dec), CIRCLE(POINT({}, {}), {})) = 1",
    "0<>CONTAINS(ssa_location, CIRCLE({}, {}, {}))",
    "1=INTERSECTS(CIRCLE({}, {}, {}), POINT(ra, dec))",
    "DISTANCE(POINT(ra, dec), POINT({}, {})) <= {}",
    "DISTANCE(ra, dec, {}, {}) <= {}",
)


def positions(archive: OpenRelease) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    rows = ask(archive, "SELECT ssa_pubdid, ra, dec FROM doppel.spectra WHERE ra IS NOT NULL").rows
    dids, ra, dec = zip(*rows, strict=True)
    return list(dids), np.array(ra), np.array(dec)


@pytest.mark.parametrize(("ra0", "dec0", "radius"), CENTRES)
def test_a23_every_form_of_a_cone_gives_the_same_rows(
    archive: OpenRelease, ra0: float, dec0: float, radius: float
) -> None:
    dids, ra, dec = positions(archive)
    apart = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(ra0, dec0, unit="deg")).deg
    wanted = {did for did, separation in zip(dids, apart, strict=True) if separation <= radius}
    assert wanted
    for form in FORMS:
        query = "SELECT ssa_pubdid FROM doppel.spectra WHERE " + form.format(ra0, dec0, radius)
        assert set(ask(archive, query).column("ssa_pubdid")) == wanted, form


@pytest.mark.parametrize("ra0", [0.0, 0.3, 180.0, 359.9, 360.0])
@pytest.mark.parametrize("dec0", [-89.7, -60.0, 0.0, 89.0])
def test_a23_right_ascensions_need_not_lie_between_0_and_360(
    archive: OpenRelease, ra0: float, dec0: float
) -> None:
    """Bounds of a cone go around the sky, and its very edge belongs to it."""
    ra = np.array([ra0 + step + turn for turn in (-360, 0, 360) for step in (-89, -0.9, 0.0, 0.9, 89)])
    dec = np.full(len(ra), dec0)
    dec[1] = dec0 + 1 if dec0 < 89 else dec0 - 1
    mine = upload(
        {
            "n": ("int", list(range(len(ra)))),
            "ra": ("double", ra.tolist()),
            "dec": ("double", dec.tolist()),
        }
    )
    apart = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(ra0, dec0, unit="deg")).deg
    query = f"SELECT n FROM TAP_UPLOAD.mine WHERE 1=CONTAINS(POINT(ra, dec), CIRCLE({ra0}, {dec0}, 1))"
    found = ask(archive, query, uploads={"mine": mine}).column("n")
    assert sorted(found) == np.flatnonzero(apart <= 1 + 1e-12).tolist()


def test_a22_distance_is_the_great_circle(archive: OpenRelease) -> None:
    _, ra, dec = positions(archive)
    rows = ask(
        archive,
        "SELECT DISTANCE(POINT(ra, dec), POINT(200, -45)), DISTANCE(ra, dec, 200, -45) FROM doppel.spectra"
        " WHERE ra IS NOT NULL",
    ).rows
    apart = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(200, -45, unit="deg")).deg
    assert np.allclose([row[0] for row in rows], apart, rtol=0, atol=1e-11)
    assert [row[0] for row in rows] == [row[1] for row in rows]


POLYGONS = [
    (10.0, -20.0, 60.0, -25.0, 70.0, 40.0, 15.0, 50.0),
    (350.0, -20.0, 30.0, -20.0, 40.0, 40.0, 340.0, 50.0),
    (0.0, 30.0, 120.0, 30.0, 240.0, 30.0),
    (240.0, 30.0, 120.0, 30.0, 0.0, 30.0),
    (0.0, -20.0, 240.0, -20.0, 120.0, -20.0),
]


def inside(
    polygon: tuple[float, ...], ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """A convex polygon: on one side of all its great circles."""

    def unit(a: NDArray[np.float64], d: NDArray[np.float64]) -> NDArray[np.float64]:
        a, d = np.radians(a), np.radians(d)
        return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)

    corners = unit(np.array(polygon[::2]), np.array(polygon[1::2]))
    normals = np.cross(corners, np.roll(corners, -1, axis=0))
    sides = unit(ra, dec) @ normals.T
    turn = np.sign(normals @ corners.sum(axis=0))  # not the antipodes
    return np.asarray((sides * turn > 0).all(axis=1))


@pytest.mark.parametrize("polygon", POLYGONS)
def test_points_inside_a_polygon(archive: OpenRelease, polygon: tuple[float, ...]) -> None:
    dids, ra, dec = positions(archive)
    wanted = {did for did, within in zip(dids, inside(polygon, ra, dec), strict=True) if within}
    numbers = ", ".join(map(str, polygon))
    query = f"SELECT ssa_pubdid FROM doppel.spectra WHERE 1=CONTAINS(POINT(ra, dec), POLYGON({numbers}))"
    assert set(ask(archive, query).column("ssa_pubdid")) == wanted
    assert wanted


CAP = [(0.0, 89.0), (90.0, 89.0), (180.0, 89.0), (270.0, 89.0)]
SQUARE = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]
TINY = [(10.0, 60.0), (10.0 + 2 / 3600, 60.0), (10.0 + 2 / 3600, 60 + 1 / 3600), (10.0, 60 + 1 / 3600)]
RINGS = [CAP, CAP[::-1], SQUARE, SQUARE[::-1], TINY, [(359.0, -1.0), (1.0, -1.0), (1.0, 1.0), (359.0, 1.0)]]


def rings(polygons: list[list[tuple[float, float]] | None]) -> Upload:
    """A table of the request with a column of polygons, as DALI writes them."""
    flat = [None if ring is None else [part for corner in ring for part in corner] for ring in polygons]
    columns = (Column("n", "int"), Column("ring", "double", "*", xtype="polygon", unit="deg"))
    arrays = [pa.array(range(len(flat)), pa.int32()), pa.array(flat, pa.list_(pa.float64()))]
    return Upload(columns, pa.Table.from_arrays(arrays, names=["n", "ring"]))


def excess(ring: list[tuple[float, float]]) -> float:
    """Square degrees of a convex polygon: its triangles from the first corner, each by l'Huilier's theorem."""
    corners = SkyCoord(ring, unit="deg")
    total = 0.0
    for second, third in itertools.pairwise(corners[1:]):
        sides = [
            one.separation(other).rad
            for one, other in ((corners[0], second), (second, third), (third, corners[0]))
        ]
        half = sum(sides) / 2
        total += 4 * np.arctan(
            np.sqrt(np.prod([np.tan(half / 2), *(np.tan((half - side) / 2) for side in sides)]))
        )
    return float(total * (180 / np.pi) ** 2)


def asked_of_rings(
    archive: OpenRelease, select: str, polygons: list[list[tuple[float, float]] | None]
) -> list[Any]:
    found = ask(
        archive, f"SELECT {select} FROM TAP_UPLOAD.mine ORDER BY n", uploads={"mine": rings(polygons)}
    )
    return [row[0] if len(row) == 1 else row for row in found.rows]


def test_a24_area_and_centroid_of_polygons_in_a_column(archive: OpenRelease) -> None:
    rows = asked_of_rings(
        archive, "AREA(ring), COORD1(CENTROID(ring)), COORD2(CENTROID(ring))", [*RINGS, None]
    )
    assert rows[-1] == (None, None, None)
    areas = [row[0] for row in rows[:-1]]
    assert areas[0] == pytest.approx(areas[1]) == pytest.approx(2.0, rel=1e-3)
    assert areas[2] == pytest.approx(areas[3])
    assert areas[:4] == pytest.approx([excess(ring) for ring in RINGS[:4]], rel=1e-9)
    assert areas[4] == pytest.approx(2 / 3600**2 * np.cos(np.radians(60 + 0.5 / 3600)), rel=1e-6)
    assert rows[0][2] == pytest.approx(90)
    assert rows[2][1:] == pytest.approx((1.0, 1.0), abs=1e-3)
    assert rows[4][1:] == pytest.approx((10 + 1 / 3600, 60 + 0.5 / 3600), abs=1e-8)
    assert (rows[5][1] + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)


def test_a24_a_column_of_polygons_is_asked_as_polygons_in_the_query_are(archive: OpenRelease) -> None:
    """The same regions in the text of the query, in a table, and as an expression of columns."""
    regions = [
        "POINT(1, 0.5)",
        "POINT(50, 89.9)",
        "POINT(50, -89.9)",
        "CIRCLE(1, 1, 0.9)",
        "CIRCLE(1, 1, 1.1)",
        "CIRCLE(2.5, 1, 0.6)",
        "CIRCLE(2.5, 1, 0.4)",
        "CIRCLE(0, 90, 3)",
    ]
    tables = [ring for ring in RINGS if ring is not TINY]
    for form in ("CONTAINS({1}, {0})", "INTERSECTS({0}, {1})", "CONTAINS({0}, {1})"):
        wanted = []
        for ring in tables:
            text = "POLYGON(" + ", ".join(f"{ra}, {dec}" for ra, dec in ring) + ")"
            calls = ", ".join(form.format(text, region) for region in regions)
            wanted += ask(archive, f"SELECT TOP 1 {calls} FROM doppel.models").rows
        calls = ", ".join(form.format("ring", region) for region in regions)
        assert asked_of_rings(archive, calls, [*tables, None]) == [*wanted, (None,) * len(regions)], form
        assert {answer for row in wanted for answer in row} == {0, 1}


def test_a24_polygons_meet_and_lie_within_each_other(archive: OpenRelease) -> None:
    others = [
        [(1.0, 1.0), (3.0, 1.0), (3.0, 3.0), (1.0, 3.0)],
        [(5.0, 5.0), (6.0, 5.0), (6.0, 6.0)],
        [(0.5, 0.5), (1.0, 0.5), (1.0, 1.0)],
        [(-1.0, 0.5), (3.0, 0.5), (3.0, 1.0), (-1.0, 1.0)],
        None,
    ]
    square = "POLYGON(0, 0, 2, 0, 2, 2, 0, 2)"
    asked = f"INTERSECTS(ring, {square}), INTERSECTS({square}, ring), CONTAINS(ring, {square}), CONTAINS({square}, ring)"
    assert asked_of_rings(archive, asked, others) == [
        (1, 1, 0, 0),
        (0, 0, 0, 0),
        (1, 1, 1, 0),
        (1, 1, 0, 0),
        (None, None, None, None),
    ]


def test_a24_a_box_around_every_row(archive: OpenRelease) -> None:
    rows = ask(
        archive,
        "SELECT CONTAINS(POINT(ra + 1, dec), BOX(ra, dec, 3, 1)), CONTAINS(POINT(ra + 2, dec), BOX(ra, dec, 3, 1))"
        " FROM doppel.spectra WHERE ra IS NOT NULL AND dec BETWEEN -60 AND 60",
    ).rows
    assert rows
    assert set(rows) == {(1, 0)}


OBSTAP = (
    "1=CONTAINS(POINT('ICRS', {ra}, {dec}), s_region)",
    "1=INTERSECTS(CIRCLE('ICRS', {ra}, {dec}, 0.0001), s_region)",
    "INTERSECTS(s_region, POLYGON({ra}-0.001, {dec}-0.001, {ra}+0.001, {dec}-0.001, {ra}, {dec}+0.001)) = 1",
    "1=INTERSECTS(s_region, POINT({ra}, {dec}))",
    "1=CONTAINS(s_region, CIRCLE({ra}, {dec}, 0.01))",
)


@pytest.mark.parametrize("condition", OBSTAP)
def test_o08_what_obstap_clients_ask_of_regions(archive: OpenRelease, condition: str) -> None:
    """In the table, in a query of it, and by WITH."""
    dids = ask(
        archive, "SELECT obs_publisher_did, s_ra, s_dec FROM ivoa.obscore WHERE s_dec BETWEEN -80 AND 80"
    ).rows
    did, ra, dec = dids[len(dids) // 2]
    near = [
        other
        for other, a, d in dids
        if SkyCoord(a, d, unit="deg").separation(SkyCoord(ra, dec, unit="deg")).deg < 1e-6
    ]
    asked = condition.format(ra=ra, dec=dec)
    for source in ("ivoa.obscore", "(SELECT obs_publisher_did, s_region FROM ivoa.obscore) AS q"):
        found = ask(archive, f"SELECT obs_publisher_did FROM {source} WHERE {asked}").column(
            "obs_publisher_did"
        )
        assert sorted(found) == sorted(near), did


RADII = [0.0003, 0.02, 1.5, 4.0]
JOINS = (
    "TAP_UPLOAD.mine AS u JOIN doppel.spectra AS s ON 1=CONTAINS(POINT(s.ra, s.dec), CIRCLE(u.lon, u.lat, {}))",
    "doppel.spectra AS s, TAP_UPLOAD.mine AS u WHERE DISTANCE(s.ra, s.dec, u.lon, u.lat) <= {}",
    "doppel.spectra AS s JOIN TAP_UPLOAD.mine AS u ON DISTANCE(POINT(u.lon, u.lat), POINT(s.ra, s.dec)) <= {}",
)


@pytest.mark.parametrize("radius", RADII)
def test_a_join_by_position_gives_all_pairs_once(archive: OpenRelease, radius: float) -> None:
    dids, ra, dec = positions(archive)
    draw = np.random.default_rng(3)
    lon = np.concatenate([ra + draw.normal(0, radius, len(ra)), [0, 90, 180, 359.9999]]) % 360
    lat = np.clip(np.concatenate([dec + draw.normal(0, radius, len(ra)), [90, 90, -90, 0]]), -90, 90)
    n = len(lon)
    mine = {
        "mine": upload(
            {
                "n": ("int", list(range(n + 1))),
                "lon": ("double", [*lon.tolist(), None]),
                "lat": ("double", [*lat.tolist(), None]),
            }
        )
    }
    ours, theirs = SkyCoord(lon, lat, unit="deg"), SkyCoord(ra, dec, unit="deg")
    near = ours[:, None].separation(theirs[None]) <= radius * u.deg
    wanted = sorted((int(a), dids[b]) for a, b in zip(*np.nonzero(near), strict=True))
    assert wanted
    for join in JOINS:
        rows = ask(archive, f"SELECT u.n, s.ssa_pubdid FROM {join.format(radius)}", uploads=mine).rows
        assert sorted(rows) == wanted
    left = "TAP_UPLOAD.mine AS u LEFT JOIN doppel.spectra AS s ON DISTANCE(u.lon, u.lat, s.ra, s.dec) <= {}"
    rows = ask(archive, f"SELECT u.n, s.ssa_pubdid FROM {left.format(radius)}", uploads=mine).rows
    alone = [(row, None) for row in range(n + 1) if row not in {a for a, _ in wanted}]
    assert sorted(rows, key=str) == sorted([*wanted, *alone], key=str)


def test_a_join_leaves_out_places_that_are_none(archive: OpenRelease) -> None:
    _, (x, *_), (y, *_) = positions(archive)  # of a spectrum
    ra, dec = [x, None, float("nan"), float("inf"), x, x], [y, y, y, y, 95.0, None]
    query = (
        "SELECT u.n, s.ssa_pubdid FROM TAP_UPLOAD.mine AS u JOIN doppel.spectra AS s"
        " ON 1=CONTAINS(POINT(s.ra, s.dec), CIRCLE(u.ra, u.dec, 5))"
    )
    for rows in (range(6), range(1, 6), ()):
        picked: dict[str, tuple[str, list[object]]] = {
            "n": ("int", list(rows)),
            "ra": ("double", [ra[n] for n in rows]),
            "dec": ("double", [dec[n] for n in rows]),
        }
        found = set(ask(archive, query, uploads={"mine": upload(picked)}).column("n"))
        assert found == {0} & set(rows)


def test_a_join_near_the_poles(archive: OpenRelease) -> None:
    draw = np.random.default_rng(5)
    lon, lat = draw.uniform(0, 360, 200), 90 - np.abs(draw.normal(0, 2, 200))
    table = upload(
        {"n": ("int", list(range(200))), "lon": ("double", lon.tolist()), "lat": ("double", lat.tolist())}
    )
    stars = SkyCoord(lon, lat, unit="deg")
    for radius in (0.05, 0.7, 3.0):
        wanted = int((stars[:, None].separation(stars[None]) <= radius * u.deg).sum())
        near = f"DISTANCE(a.lon, a.lat, b.lon, b.lat) <= {radius}"
        query = f"SELECT COUNT(*) FROM TAP_UPLOAD.a AS a, TAP_UPLOAD.b AS b WHERE {near}"
        assert ask(archive, query, uploads={"a": table, "b": table}).rows == [(wanted,)]


def healpix(order: int, ra: float, dec: float) -> int:
    """The nested cell after Górski et al. 2005, bit by bit."""
    side, z, turn = 1 << order, np.sin(np.radians(dec)), (ra % 360) / 90
    if abs(z) <= 2 / 3:
        up, down = int(side * (0.5 + turn - 0.75 * z) // 1), int(side * (0.5 + turn + 0.75 * z) // 1)
        rise, fall = up // side, down // side
        face = rise % 4 + 4 if rise == fall else (rise % 4 if rise < fall else fall % 4 + 8)
        x, y = down % side, side - up % side - 1
    else:
        quarter, root = min(3, int(turn)), side * np.sqrt(3 * (1 - abs(z)))
        a = min(side - 1, int((turn - quarter) * root))
        b = min(side - 1, int((1 - turn + quarter) * root))
        face, x, y = (quarter, side - b - 1, side - a - 1) if z > 0 else (quarter + 8, a, b)
    bits = sum((x >> n & 1) << 2 * n | (y >> n & 1) << 2 * n + 1 for n in range(order))
    return int(face * side * side + bits)


@pytest.mark.parametrize("order", [0, 3, 8, 14, 29])
def test_healpix_cells(archive: OpenRelease, order: int) -> None:
    _, ra, dec = positions(archive)
    lon, lat = np.concatenate([ra, ra]), np.concatenate([dec, np.where(dec > 0, dec + 29, dec - 60)])
    table = upload({"lon": ("double", lon.tolist()), "lat": ("double", lat.tolist())})
    query = f"SELECT lon, lat, ivo_healpix_index({order}, lon, lat), ivo_healpix_index({order}, POINT(lon, lat)) FROM TAP_UPLOAD.sky"
    found = ask(archive, query, uploads={"sky": table}).rows
    assert len(found) == len(lon)
    for a, d, cell, same in found:
        assert cell == same == healpix(order, a, d)
