"""VOSI 1.1 and TAPRegExt documents (CHECKLIST, sections 5 and 6), as clients read them."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from pyvo.io import vosi
from starlette.testclient import TestClient

from index.release import OpenRelease
from tests.service.conftest import BASE, LIMITS

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


def test_r02_the_draft_s_interface_is_not_declared(tap: TestClient) -> None:
    """TAPRegExt 1.0 has no DALIInterface: validators of today would not know it."""
    kinds = [one.get(XSI) for one in get(tap, "/tap/capabilities")[0].findall("interface")]
    assert kinds == ["vs:ParamHTTP"]


def test_r04_every_output_format_answers_under_its_type_and_its_names(tap: TestClient) -> None:
    formats = get(tap, "/tap/capabilities")[0].findall("outputFormat")
    ids = {one.get("ivo-id", "").partition("#")[2] for one in formats}
    assert {"output-votable-td", "output-votable-binary", "output-votable-binary2"} <= ids
    query = {"LANG": "ADQL", "QUERY": "SELECT TOP 1 ra FROM doppel.spectra"}
    for one in formats:
        names = [str(one.findtext("mime")), *(str(alias.text) for alias in one.findall("alias"))]
        types = {name.partition(";")[0] for name in names}
        for name in names:
            answer = tap.get("/tap/sync", params={**query, "RESPONSEFORMAT": name})
            assert answer.status_code == 200, name
            assert answer.headers["content-type"].partition(";")[0] in types, name


def test_r05_t37_every_upload_method_that_is_declared_works(tap: TestClient) -> None:
    """Inline here; http and https are fetched from public addresses alone, so that a private one is refused
    by its address and not as an unknown method."""
    methods = get(tap, "/tap/capabilities")[0].findall("uploadMethod")
    known = {str(one.get("ivo-id")) for one in methods}
    base = "ivo://ivoa.net/std/TAPRegExt#upload-"
    assert known == {f"{base}inline", f"{base}http", f"{base}https"}
    query = {"LANG": "ADQL", "QUERY": "SELECT n FROM TAP_UPLOAD.t", "RESPONSEFORMAT": "csv"}
    told = tap.post("/tap/sync", data={**query, "UPLOAD": "t,param:f"}, files={"f": ("t.csv", b"n\n7\n")})
    assert told.text.split() == ["n", "7"]
    for scheme, word in (("http", "public"), ("https", "public"), ("ftp", "ftp")):
        answer = tap.post("/tap/sync", data={**query, "UPLOAD": f"t,{scheme}://127.0.0.1/t.vot"})
        assert answer.status_code == 400
        assert word in answer.text


def test_r07_obscore_is_declared_where_the_table_is_complete(tap: TestClient, release: OpenRelease) -> None:
    declared = {one.get("ivo-id") for one in get(tap, "/tap/capabilities")[0].findall("dataModel")}
    assert "ivo://ivoa.net/std/ObsCore#core-1.1" in declared
    names = [column.name for column in release.tables["ivoa.obscore"].columns if column.std]
    query = f"SELECT TOP 1 {', '.join(names)} FROM ivoa.ObsCore"
    assert tap.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query}).status_code == 200


def test_r08_the_declared_limits_are_those_that_anybody_meets(tap: TestClient, release: OpenRelease) -> None:
    access = get(tap, "/tap/capabilities")[0]
    assert access.findtext("outputLimit/default") == str(LIMITS.default_rows)
    assert access.findtext("outputLimit/hard") == str(LIMITS.max_rows)
    assert access.findtext("uploadLimit/default") == str(LIMITS.upload_rows)
    rows = LIMITS.upload_rows
    query = {"LANG": "ADQL", "QUERY": "SELECT COUNT(*) AS n FROM TAP_UPLOAD.t", "UPLOAD": "t,param:f"}
    for count, status in ((rows, 200), (rows + 1, 413)):
        body = b"n\n" + b"1\n" * count
        assert tap.post("/tap/sync", data=query, files={"f": ("t.csv", body)}).status_code == status
    job = tap.post("/tap/async", data={"LANG": "ADQL", "QUERY": "SELECT TOP 1 ra FROM doppel.spectra"})
    told = tap.get(f"{job.headers['location'].removeprefix(BASE)}/executionduration")
    assert told.text == access.findtext("executionDuration/default")


def test_v07_names_are_written_as_queries_take_them(tap: TestClient) -> None:
    tables = list(get(tap, "/tap/tables").iter("table"))
    known = {table.findtext("name") for table in tables}
    assert {"doppel.spectra", "ivoa.obscore", "tap_schema.columns"} <= known
    for table in tables:
        name = table.findtext("name") or ""
        assert "." in name
        columns = [column.findtext("name") or "" for column in table.iter("column")]
        query = f"SELECT TOP 1 {', '.join(columns)} FROM {name}"
        assert tap.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query}).status_code == 200, query


def test_v08_tables_and_tap_schema_agree(tap: TestClient) -> None:
    names = "table_name, column_name, datatype, arraysize, xtype, unit, ucd, utype, description"
    query = f"SELECT {names} FROM TAP_SCHEMA.columns"
    told = tap.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "csv"}).text
    schema = {tuple(row.values()) for row in csv.DictReader(io.StringIO(told))}
    listed = set()
    for table in get(tap, "/tap/tables").iter("table"):
        for column in table.iter("column"):
            kind = column.find("dataType")
            assert kind is not None
            texts = (kind.text, kind.get("arraysize"), kind.get("extendedType"))
            others = (column.findtext(word) for word in ("unit", "ucd", "utype", "description"))
            listed.add(
                tuple(t or "" for t in (table.findtext("name"), column.findtext("name"), *texts, *others))
            )
    assert listed == schema


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
    before = tap.get("/tap/tables/doppel.spectra").content
    assert tap.put("/tap/tables/doppel.spectra").status_code == 405
    assert tap.delete("/tap/tables/doppel.spectra").status_code == 405
    assert tap.get("/tap/tables/doppel.spectra").content == before


@pytest.mark.parametrize("path", ["/tap/capabilities", "/tap/tables"])
def test_v03_it_tells_when_it_changed(tap: TestClient, path: str) -> None:
    told = parsedate_to_datetime(tap.get(path).headers["last-modified"])
    assert abs(datetime.now(UTC) - told) < timedelta(days=1)
