"""`ivoa.obscore` by the clauses of ObsCore 1.1 (CHECKLIST, section 8): its columns and what is in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from astropy.io.votable import parse_single_table
from starlette.testclient import TestClient

from encoder.spectrum import Facts
from index.release import OpenRelease
from index.rows import DATALINK

# name: datatype, unit, ucd, utype (ObsCore 1.1, tables 1 and 5; CHECKLIST section 8)
COLUMNS = """
dataproduct_type   char   -      meta.code.class                ObsDataset.dataProductType
calib_level        int    -      meta.code;obs.calib            ObsDataset.calibLevel
obs_collection     char   -      meta.id                        DataID.collection
obs_id             char   -      meta.id                        DataID.observationID
obs_publisher_did  char   -      meta.ref.ivoid                 Curation.publisherDID
access_url         char   -      meta.ref.url                   Access.reference
access_format      char   -      meta.code.mime                 Access.format
access_estsize     long   kbyte  phys.size;meta.file            Access.size
target_name        text   -      meta.id;src                    Target.name
s_ra               double deg    pos.eq.ra                      Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C1
s_dec              double deg    pos.eq.dec                     Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C2
s_fov              double deg    phys.angSize;instr.fov         Char.SpatialAxis.Coverage.Bounds.Extent.diameter
s_region           char   -      pos.outline;obs.field          Char.SpatialAxis.Coverage.Support.Area
s_resolution       double arcsec pos.angResolution              Char.SpatialAxis.Resolution.Refval.value
s_xel1             long   -      meta.number                    Char.SpatialAxis.numBins1
s_xel2             long   -      meta.number                    Char.SpatialAxis.numBins2
t_min              double d      time.start;obs.exposure        Char.TimeAxis.Coverage.Bounds.Limits.StartTime
t_max              double d      time.end;obs.exposure          Char.TimeAxis.Coverage.Bounds.Limits.StopTime
t_exptime          double s      time.duration;obs.exposure     Char.TimeAxis.Coverage.Support.Extent
t_resolution       double s      time.resolution                Char.TimeAxis.Resolution.Refval.value
t_xel              long   -      meta.number                    Char.TimeAxis.numBins
em_min             double m      em.wl;stat.min                 Char.SpectralAxis.Coverage.Bounds.Limits.LoLimit
em_max             double m      em.wl;stat.max                 Char.SpectralAxis.Coverage.Bounds.Limits.HiLimit
em_res_power       double -      spect.resolution               Char.SpectralAxis.Resolution.ResolPower.refVal
em_xel             long   -      meta.number                    Char.SpectralAxis.numBins
o_ucd              char   -      meta.ucd                       Char.ObservableAxis.ucd
pol_states         char   -      meta.code;phys.polarization    Char.PolarizationAxis.stateList
pol_xel            long   -      meta.number                    Char.PolarizationAxis.numBins
facility_name      text   -      meta.id;instr.tel              Provenance.ObsConfig.Facility.name
instrument_name    text   -      meta.id;instr                  Provenance.ObsConfig.Instrument.name
""".strip().splitlines()  # noqa: E501 (a table)


@pytest.fixture(scope="module")
def rows(release: OpenRelease) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = release.engine.table("SELECT * FROM release.ivoa.obscore").to_pydict()
    return found


@pytest.fixture(scope="module")
def facts(release: OpenRelease, rows: dict[str, list[Any]]) -> list[Facts]:
    """What the catalogues say, in the order of the rows."""
    known = [release.row_of(did) for did in rows["obs_publisher_did"]]
    return [release.facts_of(row) for row in known if row is not None]


@pytest.mark.parametrize("line", COLUMNS, ids=lambda line: line.split()[0])
def test_o01_o09_columns_are_as_the_data_model_has_them(release: OpenRelease, line: str) -> None:
    name, datatype, unit, ucd, utype = line.split()
    column = release.tables["ivoa.obscore"].column(name)
    assert column is not None
    assert column.datatype == {"text": "unicodeChar"}.get(datatype, datatype)
    assert (column.unit or "-", column.ucd, column.utype) == (unit, ucd, f"obscore:{utype}")
    assert column.std


def test_o02_every_product_is_a_spectrum(rows: dict[str, list[Any]]) -> None:
    assert set(rows["dataproduct_type"]) == {"spectrum"}


def test_o03_what_must_not_be_null_is_not(rows: dict[str, list[Any]]) -> None:
    for name in ("calib_level", "obs_collection", "obs_id", "obs_publisher_did"):
        assert None not in rows[name], name
    assert set(rows["calib_level"]) <= {0, 1, 2, 3, 4}


def test_o04_wavelengths_are_metres_and_times_mjd(rows: dict[str, list[Any]], facts: list[Facts]) -> None:
    low, high = np.array(rows["em_min"]), np.array(rows["em_max"])
    assert np.all((low > 3e-7) & (low < high) & (high < 1e-6))
    told = np.array([one.mjd for one in facts])
    assert np.all(np.abs((np.array(rows["t_min"]) + np.array(rows["t_max"])) / 2 - told) < 0.51)


def test_o05_identifiers_are_unique_ivoids_that_builds_do_not_change(rows: dict[str, list[Any]]) -> None:
    dids = rows["obs_publisher_did"]
    assert len(set(dids)) == len(dids)
    for did, collection, spectrum_id in zip(dids, rows["obs_collection"], rows["obs_id"], strict=True):
        assert did == f"ivo://doppel.example/{collection}?{spectrum_id}"


def test_o06_the_access_url_is_a_datalink_document(client: TestClient) -> None:
    query = "SELECT TOP 3 obs_publisher_did, access_url, access_format, access_estsize FROM ivoa.obscore"
    answer = client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "json"}).json()
    assert len(answer["rows"]) == 3
    for did, url, form, size in answer["rows"]:
        assert form == DATALINK == "application/x-votable+xml;content=datalink"
        assert url.startswith("http://archive.example/datalink/links?ID=")
        assert unquote(urlsplit(url).query.removeprefix("ID=")) == did
        links = client.get(f"{urlsplit(url).path}?{urlsplit(url).query}")
        assert links.headers["content-type"] == DATALINK
        assert size > 0


def test_o07_places_are_those_of_the_catalogue(rows: dict[str, list[Any]], facts: list[Facts]) -> None:
    assert rows["s_ra"] == [one.ra for one in facts]
    assert rows["s_dec"] == [one.dec for one in facts]
    assert rows["s_fov"] == pytest.approx([one.aperture / 3600 for one in facts if one.aperture])
    for ra, dec, fov, region in zip(*(rows[n] for n in ("s_ra", "s_dec", "s_fov", "s_region")), strict=True):
        circle = re.fullmatch(r"Circle ICRS (\S+) (\S+) (\S+)", region)
        assert circle
        assert tuple(map(float, circle.groups())) == pytest.approx((ra, dec, fov / 2))


def test_o08_no_axis_is_sparse(rows: dict[str, list[Any]]) -> None:
    for name in ("s_xel1", "s_xel2", "t_xel", "em_xel"):
        assert min(rows[name]) >= 1, name
    assert set(rows["pol_xel"]) == {0}
    assert set(rows["pol_states"]) == {None}


def test_obscore_s_optional_columns_tell_of_rights_and_creators(
    rows: dict[str, list[Any]], facts: list[Facts]
) -> None:
    assert rows["obs_creator_did"] == [one.creator_did for one in facts]
    assert set(rows["data_rights"]) == {"public"}
    assert set(rows["em_calib_status"]) == {"calibrated"}


def test_tables_of_obscore_are_read_by_others(client: TestClient, tmp_path: Path) -> None:
    query = "SELECT TOP 5 * FROM ivoa.ObsCore"
    body = client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query}).content
    (tmp_path / "obscore.vot").write_bytes(body)
    fields = {field.name: field for field in parse_single_table(tmp_path / "obscore.vot").fields}
    assert fields["em_min"].utype == "obscore:Char.SpectralAxis.Coverage.Bounds.Limits.LoLimit"
    assert fields["s_region"].xtype == "adql:REGION"
