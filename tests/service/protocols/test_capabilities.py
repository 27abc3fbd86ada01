"""What SSA, cone search and the search by likeness tell of themselves (CHECKLIST, sections 5, 9 and 12)."""

from __future__ import annotations

import io

import pytest
from astropy.io.votable import parse_single_table
from lxml import etree
from starlette.testclient import TestClient

from tests.schemata import problems

XSI = "{http://www.w3.org/2001/XMLSchema-instance}type"
SERVICES = {
    "/ssa": ("ivo://ivoa.net/std/SSA", "ssap:SimpleSpectralAccess"),
    "/scs": ("ivo://ivoa.net/std/ConeSearch", "cs:ConeSearch"),
    "/similar_to": (None, None),
}


def described(client: TestClient, path: str) -> dict[str | None, etree._Element]:
    """Capabilities by standardID; they and their parent are valid."""
    answer = client.get(f"{path}/capabilities")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml")
    assert "last-modified" in answer.headers
    assert problems(answer.content) == []
    root = etree.fromstring(answer.content)
    assert root.tag == "{http://www.ivoa.net/xml/VOSICapabilities/v1.0}capabilities"
    return {one.get("standardID"): one for one in root}


@pytest.mark.parametrize("path", SERVICES)
def test_v01_v02_v09_every_service_describes_itself(client: TestClient, path: str) -> None:
    found = described(client, path)
    for what in ("capabilities", "availability"):
        interface = found.pop(f"ivo://ivoa.net/std/VOSI#{what}").find("interface")
        assert interface.get(XSI) == "vs:ParamHTTP"
        assert interface.find("accessURL").get("use") == "full"
        assert interface.findtext("accessURL") == f"http://archive.example{path}/{what}"
        assert interface.find("securityMethod") is None
    (standard, own), (expected, kind) = next(iter(found.items())), SERVICES[path]
    assert expected in (None, standard)
    assert own.get(XSI) == kind
    assert own.find("interface").get("role") == "std"
    available = client.get(f"{path}/availability")
    assert etree.fromstring(available.content)[0].text == "true"


def test_s60_s61_simple_spectral_access(client: TestClient) -> None:
    own = described(client, "/ssa")["ivo://ivoa.net/std/SSA"]
    assert own.nsmap["ssap"] == "http://www.ivoa.net/xml/SSA/v1.1"
    interface = own.find("interface")
    assert (interface.get("version"), interface.find("accessURL").get("use")) == ("1.1", "base")
    assert interface.findtext("accessURL") == "http://archive.example/ssa?"
    names = list(dict.fromkeys(one.tag for one in own))[1:]
    assert names == [
        "complianceLevel", "dataSource", "creationType", "supportedFrame", "maxSearchRadius", "maxRecords",
        "defaultMaxRecords", "testQuery",
    ]  # fmt: skip
    assert own.findtext("complianceLevel") == "full"
    assert own.findtext("supportedFrame") == "ICRS"
    for frame in own.findall("supportedFrame"):
        answer = client.get("/ssa", params={"POS": f"10,20;{frame.text}", "SIZE": "1"})
        assert answer.status_code == 200


def test_s62_the_test_query_of_ssa_finds_a_spectrum(client: TestClient) -> None:
    own = described(client, "/ssa")["ivo://ivoa.net/std/SSA"]
    asked = client.get(f"/ssa?{own.findtext('testQuery/queryDataCmd')}")
    assert len(parse_single_table(io.BytesIO(asked.content)).array) == 1


def test_k05_cone_search_and_its_test_query(client: TestClient) -> None:
    own = described(client, "/scs")["ivo://ivoa.net/std/ConeSearch"]
    told = {one.tag: one.text for one in own if one.tag != "testQuery"}
    assert told["maxSR"] == "180"
    assert told["verbosity"] == "true"
    assert int(told["maxRecords"]) > 0
    place = {name.upper(): own.findtext(f"testQuery/{name}") for name in ("ra", "dec", "sr")}
    asked = client.get("/scs", params=place)
    assert len(parse_single_table(io.BytesIO(asked.content)).array) >= 1


def test_s01_the_base_url_may_end_with_a_separator(client: TestClient) -> None:
    bare = client.get("/ssa", params={"REQUEST": "queryData", "MAXREC": "3"})
    for query in (
        "?REQUEST=queryData&MAXREC=3",
        "?&REQUEST=queryData&MAXREC=3&",
        "?x=1&REQUEST=queryData&MAXREC=3",
    ):
        assert client.get(f"/ssa{query}").text.partition("<TABLE")[2] == bare.text.partition("<TABLE")[2]
