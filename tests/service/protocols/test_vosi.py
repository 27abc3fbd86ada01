"""VOSI 1.1 and TAPRegExt documents (CHECKLIST, sections 5 and 6), as clients read them."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from pyvo.io import vosi
from starlette.testclient import TestClient

XSI = "{http://www.w3.org/2001/XMLSchema-instance}type"
VOSI = "{http://www.ivoa.net/xml/VOSICapabilities/v1.0}"
TABLES = "{http://www.ivoa.net/xml/VOSITables/v1.0}"


def get(client: TestClient, path: str) -> ET.Element:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/xml"
    return ET.fromstring(answer.content)


def test_v01_v02_v09_capabilities(tap: TestClient) -> None:
    root = get(tap, "/tap/capabilities")
    assert root.tag == f"{VOSI}capabilities"
    found = {c.get("standardID"): c for c in root}
    assert set(found) >= {
        "ivo://ivoa.net/std/TAP",
        "ivo://ivoa.net/std/VOSI#capabilities",
        "ivo://ivoa.net/std/VOSI#availability",
        "ivo://ivoa.net/std/VOSI#tables-1.1",
    }
    assert found["ivo://ivoa.net/std/TAP"].get(XSI) == "tr:TableAccess"
    for capability in root:
        interface = capability.find("interface")
        assert interface is not None
        assert interface.get(XSI) == "vs:ParamHTTP"


def test_r01_r03_r06_table_access(tap: TestClient) -> None:
    access = get(tap, "/tap/capabilities")[0]
    assert [i.get("version") for i in access.findall("interface")] == ["1.1"]
    assert access.findtext("interface/accessURL") == "http://archive.example/doppel/tap"
    versions = [v.get("ivo-id") for v in access.findall("language/version")]
    assert versions == ["ivo://ivoa.net/std/ADQL#v2.1", "ivo://ivoa.net/std/ADQL#v2.0"]
    assert [m.get("ivo-id") for m in access.findall("dataModel")] == [
        "ivo://ivoa.net/std/ObsCore#core-1.1",
        "ivo://ivoa.net/std/ObsCore-1.0",
    ]
    assert access.findtext("outputLimit/default") == "20000"
    assert {m.get("ivo-id", "").partition("#")[2] for m in access.findall("uploadMethod")} == {
        "upload-inline",
        "upload-http",
        "upload-https",
    }


def test_a33_a40_features_and_functions_are_declared(tap: TestClient) -> None:
    access = get(tap, "/tap/capabilities")[0]
    kinds = {
        f.get("type", ""): [form.text or "" for form in f.iter("form")]
        for f in access.iter("languageFeatures")
    }
    assert all(kind.partition("#")[2].islower() for kind in kinds)
    udfs = kinds["ivo://ivoa.net/std/TAPRegExt#features-udf"]
    assert any(form.startswith("latent_distance(") for form in udfs)
    assert any(form.startswith("similar_to(") for form in udfs)
    assert "CONTAINS" in kinds["ivo://ivoa.net/std/TAPRegExt#features-adqlgeo"]


def test_pyvo_reads_capabilities_and_tables(tap: TestClient) -> None:
    capabilities = vosi.parse_capabilities(io.BytesIO(tap.get("/tap/capabilities").content))
    assert capabilities[0].get_adql().name == "ADQL"
    tables = vosi.parse_tables(io.BytesIO(tap.get("/tap/tables").content))
    assert "doppel.spectra" in [table.name for table in tables.iter_tables()]


def test_v04_v05_tables(tap: TestClient) -> None:
    whole, brief = get(tap, "/tap/tables"), get(tap, "/tap/tables?detail=min")
    assert whole.tag == f"{TABLES}tableset"
    names = [table.findtext("name") for table in whole.iter("table")]
    assert names == [table.findtext("name") for table in brief.iter("table")]
    assert {"doppel.spectra", "ivoa.obscore", "tap_schema.columns"} <= set(names)
    assert next(brief.iter("column"), None) is None


def test_v04_v06_one_table(tap: TestClient) -> None:
    root = get(tap, "/tap/tables/doppel.spectra")
    assert root.tag == f"{TABLES}table"
    columns = {column.findtext("name"): column for column in root.iter("column")}
    kind = columns["ssa_location"].find("dataType")
    assert kind is not None
    assert (kind.get(XSI), kind.get("arraysize"), kind.get("extendedType")) == (
        "vs:VOTableType",
        "2",
        "point",
    )
    missing = tap.get("/tap/tables/doppel.nothing")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "text/plain; charset=utf-8")


def test_t02_availability(tap: TestClient) -> None:
    root = get(tap, "/tap/availability")
    assert root.tag == "{http://www.ivoa.net/xml/VOSIAvailability/v1.0}availability"
    assert root[0].text == "true"


def test_h04_head_and_h01_cors(tap: TestClient) -> None:
    answer = tap.head("/tap/capabilities", headers={"Origin": "http://elsewhere.example"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    preflight = tap.options(
        "/tap/sync", headers={"Origin": "http://a.example", "Access-Control-Request-Method": "POST"}
    )
    assert preflight.headers["access-control-allow-origin"] == "*"


def test_v10_tables_are_not_changed_from_outside(tap: TestClient) -> None:
    assert tap.put("/tap/tables/doppel.spectra").status_code == 405
    assert tap.delete("/tap/tables/doppel.spectra").status_code == 405


@pytest.mark.parametrize("path", ["/tap/capabilities", "/tap/tables"])
def test_v03_it_tells_when_it_changed(tap: TestClient, path: str) -> None:
    told = parsedate_to_datetime(tap.get(path).headers["last-modified"])
    assert abs(datetime.now(UTC) - told) < timedelta(days=1)
