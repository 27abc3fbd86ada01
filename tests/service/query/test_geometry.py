# ruff: noqa: E501 (queries stay on one line)
"""Geometry against astropy and brute force (A20–A25); joins by position give all pairs and no more."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from index.release import OpenRelease
from service.query.sphere import Polygon
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


def test_area_of_a_polygon_whichever_way_it_runs() -> None:
    cap = Polygon((0.0, 89.0, 90.0, 89.0, 180.0, 89.0, 270.0, 89.0))
    other = Polygon((270.0, 89.0, 180.0, 89.0, 90.0, 89.0, 0.0, 89.0))
    assert cap.area == pytest.approx(2.0, rel=1e-3)
    assert cap.area == pytest.approx(other.area)
    assert cap.centroid[1] == pytest.approx(90)
    assert Polygon((0.0, 0.0, 90.0, 0.0, 0.0, 90.0)).area == pytest.approx(41252.96125 / 8)


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
    for a, d, cell, same in ask(archive, query, uploads={"sky": table}).rows:
        assert cell == same == healpix(order, a, d)
