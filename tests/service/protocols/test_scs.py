"""Simple Cone Search 1.03 by its clauses (CHECKLIST, section 12), and as stilts and pyvo ask it."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
import pyvo
from astropy.coordinates import SkyCoord
from astropy.io.votable import parse
from starlette.testclient import TestClient

from index.release import OpenRelease
from service.protocols import scs
from tests.stilts import stilts


@pytest.fixture(scope="module")
def placed(release: OpenRelease) -> dict[str, tuple[float, float]]:
    """Positions by identifier."""
    sql = "SELECT ssa_pubdid, ra, dec FROM release.doppel.spectra WHERE ra IS NOT NULL"
    return {
        row[0]: (row[1], row[2]) for row in map(list, map(dict.values, release.engine.table(sql).to_pylist()))
    }


def cone(client: TestClient, **parameters: object) -> Any:
    answer = client.get("/scs", params={name: str(value) for name, value in parameters.items()})
    assert answer.status_code == 200
    return parse(io.BytesIO(answer.content), verify="ignore").get_first_table()


def test_k01_k02_rows_inside_nearest_first(
    client: TestClient, placed: dict[str, tuple[float, float]]
) -> None:
    centre = next(iter(placed.values()))
    table = cone(client, RA=centre[0], DEC=centre[1], SR=25)
    ucds = [field.ucd for field in table.fields]
    for ucd in ("meta.id;meta.main", "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"):
        assert ucds.count(ucd) == 1
    sky = SkyCoord(*np.transpose(list(placed.values())), unit="deg")
    away = sky.separation(SkyCoord(*centre, unit="deg")).deg
    expected = {did for did, distance in zip(placed, away, strict=True) if distance <= 25}
    rows = table.array
    assert set(rows["ssa_pubdid"].tolist()) == expected
    found = SkyCoord(rows["ra"], rows["dec"], unit="deg").separation(SkyCoord(*centre, unit="deg")).deg
    assert np.all(np.diff(found) >= -1e-9)


def test_k01_a_radius_of_zero_describes_the_table(client: TestClient) -> None:
    table = cone(client, RA=10, DEC=20, SR=0)
    assert len(table.array) == 0
    assert len(table.fields) > 20


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("RA=10&DEC=20", "SR"),
        ("RA=ten&DEC=20&SR=1", "ten"),
        ("RA=10&DEC=95&SR=1", "95"),
        ("RA=10&DEC=20&SR=-1", "-1"),
        ("RA=10&DEC=20&SR=1&VERB=4", "VERB"),
    ],
)
def test_k03_errors_are_an_info_in_a_votable(client: TestClient, query: str, word: str) -> None:
    answer = client.get(f"/scs?{query}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/xml")
    told = [one for one in parse(io.BytesIO(answer.content)).resources[0].infos if one.name == "Error"]
    assert word in told[0].value


def test_k04_verbosity_and_maxrec(client: TestClient) -> None:
    widths = [len(cone(client, RA=0, DEC=0, SR=180, MAXREC=3, VERB=level).fields) for level in (1, 2, 3)]
    assert widths[0] < widths[1] <= widths[2]
    assert len(cone(client, RA=0, DEC=0, SR=180, MAXREC=3).array) == 3


@pytest.mark.parametrize("more", ["", "&VERB=1", "&VERB=3", "&MAXREC=3", "&MAXREC=0"])
def test_rows_made_ready_are_as_those_that_are_streamed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    url = f"/scs?RA=150&DEC=2&SR=90{more}"
    ready = client.get(url).content
    monkeypatch.setattr(scs, "short", lambda *_: None)
    assert ready == client.get(url).content
    assert (b"OVERFLOW" in ready) == ("MAXREC" in more)


def test_pyvo_and_stilts_get_the_same(live: str, placed: dict[str, tuple[float, float]]) -> None:
    ra, dec = next(iter(placed.values()))
    asked = pyvo.dal.SCSService(f"{live}/scs").search((ra, dec), radius=10.0)
    text = stilts("cone", f"serviceurl={live}/scs?", f"lon={ra}", f"lat={dec}", "radius=10", "ofmt=csv")
    read = [row["ssa_pubdid"] for row in csv.DictReader(io.StringIO(text))]
    assert read == asked["ssa_pubdid"].tolist()
    assert next(iter(placed)) in read
