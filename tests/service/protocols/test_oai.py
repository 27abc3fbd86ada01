"""The publishing registry by its clauses (OAI-PMH 2.0; CHECKLIST, section 13), and as others harvest it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from lxml import etree
from oaipmh_scythe import Scythe
from pyvo.io import vosi
from starlette.testclient import TestClient

from index.release import OpenRelease
from index.releases import ReleaseHolder
from registry_metadata.resources import Dates
from service.app import create_app
from service.config import Config
from service.registry import note, records
from service.state import RegistryRecord, State
from tests.schemata import problems

OAI, XSI = "{http://www.openarchives.org/OAI/2.0/}", "{http://www.w3.org/2001/XMLSchema-instance}"
RI = "{http://www.ivoa.net/xml/RegistryInterface/v1.0}"
DC = "{http://purl.org/dc/elements/1.1/}"
GONE = "ivo://doppel.example/gone"
MUST_HAVE = (
    "title", "curation/publisher", "curation/creator/name", "curation/contact/name", "curation/date",
    "content/subject", "content/description", "content/referenceURL", "content/type",
)  # fmt: skip
KINDS = {
    "ivo://doppel.example": "vg:Authority",
    "ivo://doppel.example/sim_coude": "vs:CatalogResource",
    "ivo://doppel.example/sim_library": "vs:CatalogResource",
    "ivo://doppel.example/sim_survey": "vs:CatalogResource",
    "ivo://doppel.example/system/registry": "vg:Registry",
    "ivo://doppel.example/system/service": "vs:CatalogService",
}


@pytest.fixture(scope="module")
def oai(
    addressed: Config, holder: ReleaseHolder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """Two records on a page; one record of an earlier release is gone."""
    state = State("", tmp_path_factory.mktemp("oai"))
    with state.session() as session:
        session.add(RegistryRecord(identifier=GONE, digest="", created=1_700_000_000, updated=1_700_000_000))
    collections = tuple(
        replace(one, doi="10.5281/zenodo.1", reference="2006MNRAS.371..703S", rights_uri="https://spdx.org/x")
        for one in addressed.collections
    )
    served = replace(addressed, collections=collections, registry=replace(addressed.registry, page=2))
    with TestClient(create_app(served, holder, state)) as opened:
        yield opened
    state.close()


def ask(client: TestClient, **arguments: str) -> etree._Element:
    """The verb's element, or the error's."""
    answer = client.get("/oai", params={name.rstrip("_"): text for name, text in arguments.items()})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/xml")
    assert problems(answer.content) == []
    return etree.fromstring(answer.content)[2]


def pages(client: TestClient, verb: str, **arguments: str) -> Iterator[etree._Element]:
    """Every page of a list."""
    page = ask(client, verb=verb, **arguments)
    while True:
        yield page
        token = page.findtext(f"{OAI}resumptionToken")
        if not token:
            return
        page = ask(client, verb=verb, resumptionToken=token)


def all_records(client: TestClient) -> dict[str, etree._Element]:
    found = pages(client, "ListRecords", metadataPrefix="ivo_vor")
    records = [record for page in found for record in page.findall(f"{OAI}record")]
    return {record.findtext(f"{OAI}header/{OAI}identifier"): record for record in records}


@pytest.fixture(scope="module")
def resources(oai: TestClient) -> dict[str, etree._Element]:
    """ri:Resource by identifier."""
    found = {name: record.find(f"{OAI}metadata/{RI}Resource") for name, record in all_records(oai).items()}
    return {name: resource for name, resource in found.items() if resource is not None}


def test_g01_g02_g03_g24_records_of_what_there_is(resources: dict[str, etree._Element]) -> None:
    assert {name: one.get(f"{XSI}type") for name, one in resources.items()} == KINDS
    assert all(one.findtext("identifier") == name for name, one in resources.items())


def test_g10_g14_what_every_record_tells(resources: dict[str, etree._Element]) -> None:
    for one in resources.values():
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", one.get("updated"))
        assert one.get(f"{XSI}schemaLocation")
        for path in MUST_HAVE:
            assert one.findtext(path), path


def test_g02_a_collection_is_asked_through_the_archive(resources: dict[str, etree._Element]) -> None:
    one = resources["ivo://doppel.example/sim_survey"]
    auxiliary = one.find("capability[@standardID='ivo://ivoa.net/std/TAP#aux']")
    assert auxiliary.findtext("interface/accessURL") == "http://archive.example/tap"
    relation = one.find("content/relationship")
    assert relation.findtext("relationshipType") == "IsServedBy"
    assert relation.find("relatedResource").get("ivo-id") == "ivo://doppel.example/system/service"
    assert [name.text for name in one.findall("tableset/schema/table/name")] == ["doppel.spectra"]


def test_g11_rights_doi_and_paper(resources: dict[str, etree._Element]) -> None:
    one = resources["ivo://doppel.example/sim_survey"]
    assert one.find("rights").get("rightsURI") == "https://spdx.org/x"
    assert one.findtext("altIdentifier") == "doi:10.5281/zenodo.1"
    assert one.find("content/source").get("format") == "bibcode"


def test_g12_coverage_is_that_of_the_spectra(
    resources: dict[str, etree._Element], release: OpenRelease
) -> None:
    from astropy import constants, units
    from mocpy import MOC

    held = release.engine.table(
        "SELECT s_ra, s_dec, t_min, t_max, em_min, em_max FROM release.ivoa.obscore"
        " WHERE obs_collection = 'sim_survey'"
    ).to_pydict()
    coverage = resources["ivo://doppel.example/sim_survey"].find("coverage")
    sky = MOC.from_string(coverage.findtext("spatial"))
    assert sky.max_order == 6
    places = [(ra, dec) for ra, dec in zip(held["s_ra"], held["s_dec"], strict=True) if ra is not None]
    assert places
    ra, dec = np.transpose(places) * units.deg
    assert np.all(sky.contains_lonlat(ra, dec))
    start, stop = map(float, coverage.findtext("temporal").split())
    assert (start, stop) == pytest.approx((min(held["t_min"]), max(held["t_max"])), rel=1e-8)
    hc = (constants.h * constants.c).value
    low, high = map(float, coverage.findtext("spectral").split())
    assert (low, high) == pytest.approx((hc / max(held["em_max"]), hc / min(held["em_min"])), rel=1e-6)
    assert coverage.findtext("waveband") == "Optical"


@pytest.mark.filterwarnings("ignore:Unknown xsi.type (ssap|cs)")  # pyvo knows TAP's kind alone
@pytest.mark.filterwarnings("ignore:.*Unknown element")  # inputs of an interface, which VODataService has
def test_service_record_is_read_by_pyvo(resources: dict[str, etree._Element]) -> None:
    service = resources["ivo://doppel.example/system/service"]
    standards = {one.get("standardID") for one in service.findall("capability")}
    assert standards >= {
        f"ivo://ivoa.net/std/{name}" for name in ("TAP", "SSA", "ConeSearch", "SODA#sync-1.0")
    }
    assert any(standard.endswith("#similar") for standard in standards)
    root = etree.Element("{http://www.ivoa.net/xml/VOSICapabilities/v1.0}capabilities")
    root.extend(etree.fromstring(etree.tostring(one)) for one in service.findall("capability"))
    read = vosi.parse_capabilities(io.BytesIO(etree.tostring(root)))
    assert {one.standardid for one in read} == standards
    tables = etree.Element("{http://www.ivoa.net/xml/VOSITables/v1.0}tableset")
    tables.extend(etree.fromstring(etree.tostring(one)) for one in service.findall("tableset/schema"))
    names = [one.name for one in vosi.parse_tables(io.BytesIO(etree.tostring(tables))).iter_tables()]
    assert {"doppel.spectra", "ivoa.obscore", "doppel.optical"} <= set(names)


def test_g13_the_tableset_has_the_order_of_the_service(
    oai: TestClient, resources: dict[str, etree._Element]
) -> None:
    listed = etree.fromstring(oai.get("/tap/tables").content)
    service = resources["ivo://doppel.example/system/service"]
    named = [one.text for one in service.findall("tableset/schema/table/name")]
    assert named == [name.text for name in listed.findall("schema/table/name") if name.text in named]
    assert named[0] == "doppel.spectra"
    assert len(named) >= 5


def test_g15_where_the_data_come_from_is_told_by_the_capability_of_ssa(
    resources: dict[str, etree._Element],
) -> None:
    """VODataService 1.2 has no productTypeServed; what SSA's own extension has is told."""
    own = resources["ivo://doppel.example/system/service"].find(
        "capability[@standardID='ivo://ivoa.net/std/SSA']"
    )
    assert {one.text for one in own.findall("dataSource")} == {"artificial"}


def test_g26_records_are_made_without_the_registry_s_own_http(config: Config, release: OpenRelease) -> None:
    made = records(config, "http://elsewhere.example", release)
    assert set(made) == set(KINDS)
    for name, record in made.items():
        resource = record(Dates("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"))
        assert problems(etree.tostring(resource)) == []
        assert resource.findtext("identifier") == name


def test_g22_g25_the_registry_tells_of_itself(oai: TestClient) -> None:
    told = ask(oai, verb="Identify")
    assert told.findtext(f"{OAI}baseURL") == "http://archive.example/oai"
    assert told.findtext(f"{OAI}deletedRecord") == "persistent"
    assert told.findtext(f"{OAI}granularity") == "YYYY-MM-DDThh:mm:ssZ"
    record = told.find(f"{OAI}description/{RI}Resource")
    assert record.findtext("managedAuthority") == "doppel.example"
    harvest = record.find("capability")
    assert harvest.get(f"{XSI}type") == "vg:Harvest"
    assert dict(harvest.find("interface").attrib) == {
        f"{XSI}type": "vg:OAIHTTP", "role": "std", "version": "1.0"
    }  # fmt: skip


def test_g20_post_answers_as_get(oai: TestClient) -> None:
    arguments = {"verb": "GetRecord", "metadataPrefix": "oai_dc", "identifier": "IVO://doppel.example"}
    posted = etree.fromstring(oai.post("/oai", data=arguments).content)[2]
    assert etree.tostring(posted) == etree.tostring(ask(oai, **arguments))
    assert posted.find(f".//{DC}identifier").text == "ivo://doppel.example"


def test_g21_g23_formats_and_sets(oai: TestClient) -> None:
    formats = ask(oai, verb="ListMetadataFormats", identifier="ivo://doppel.example")
    assert [one.text for one in formats.iter(f"{OAI}metadataPrefix")] == ["ivo_vor", "oai_dc"]
    assert [one.text for one in ask(oai, verb="ListSets").iter(f"{OAI}setSpec")] == ["ivo_managed"]


def test_lists_come_in_pages_each_record_once(oai: TestClient) -> None:
    found = list(pages(oai, "ListIdentifiers", metadataPrefix="oai_dc", set="ivo_managed"))
    names = [[one.text for one in page.iter(f"{OAI}identifier")] for page in found]
    assert [len(page) for page in names] == [2, 2, 2, 1]
    assert sorted(name for page in names for name in page) == sorted([*KINDS, GONE])
    tokens = [page.find(f"{OAI}resumptionToken") for page in found]
    assert [token.get("cursor") for token in tokens] == ["0", "2", "4", "6"]
    assert {token.get("completeListSize") for token in tokens} == {"7"}
    assert tokens[-1].text is None


def test_a_record_that_vanished_stays_as_deleted(oai: TestClient) -> None:
    record = all_records(oai)[GONE]
    assert record.find(f"{OAI}header").get("status") == "deleted"
    assert record.find(f"{OAI}metadata") is None
    assert (
        ask(oai, verb="GetRecord", identifier=GONE, metadataPrefix="ivo_vor")[0].find(f"{OAI}metadata")
        is None
    )


def test_from_and_until_select_by_the_last_change(oai: TestClient) -> None:
    stamp = ask(oai, verb="ListIdentifiers", metadataPrefix="ivo_vor").findtext(f"{OAI}header/{OAI}datestamp")
    for span in ({"from_": stamp}, {"until": stamp}, {"from_": stamp[:10], "until": stamp[:10]}):
        names = [
            name.text
            for page in pages(oai, "ListIdentifiers", metadataPrefix="ivo_vor", **span)
            for name in page.iter(f"{OAI}identifier")
        ]
        assert len(names) == 7
    later = ask(oai, verb="ListIdentifiers", metadataPrefix="ivo_vor", from_="2999-01-01")
    assert later.get("code") == "noRecordsMatch"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "badVerb"),
        ("verb=Guess", "badVerb"),
        ("verb=Identify&verb=Identify", "badVerb"),
        ("verb=Identify&set=ivo_managed", "badArgument"),
        ("verb=GetRecord&identifier=ivo://doppel.example", "badArgument"),
        ("verb=ListRecords", "badArgument"),
        ("verb=ListRecords&metadataPrefix=oai_dc&metadataPrefix=oai_dc", "badArgument"),
        ("verb=ListRecords&metadataPrefix=ivo_vor&from=yesterday", "badArgument"),
        ("verb=ListRecords&metadataPrefix=ivo_vor&from=2026-13-01", "badArgument"),
        ("verb=ListRecords&metadataPrefix=ivo_vor&from=2026-02-01&until=2026-01-01", "badArgument"),
        ("verb=ListRecords&metadataPrefix=ivo_vor&from=2026-01-01&until=2026-02-01T00:00:00Z", "badArgument"),
        ("verb=ListRecords&metadataPrefix=ivo_vor&resumptionToken=x", "badArgument"),
        ("verb=GetRecord&metadataPrefix=ivo_vor&identifier=%00", "badArgument"),
        ("verb=ListRecords&metadataPrefix=marc", "cannotDisseminateFormat"),
        ("verb=GetRecord&metadataPrefix=marc&identifier=ivo://doppel.example", "cannotDisseminateFormat"),
        ("verb=GetRecord&metadataPrefix=ivo_vor&identifier=ivo://other/x%26%3C", "idDoesNotExist"),
        ("verb=ListMetadataFormats&identifier=ivo://other/x", "idDoesNotExist"),
        ("verb=ListRecords&metadataPrefix=ivo_vor&set=other", "noRecordsMatch"),
        ("verb=ListRecords&metadataPrefix=ivo_vor&until=1999-01-01", "noRecordsMatch"),
        ("verb=ListRecords&resumptionToken=!", "badResumptionToken"),
        ("verb=ListIdentifiers&resumptionToken=W10%3D", "badResumptionToken"),
        ("verb=ListSets&resumptionToken=more", "badResumptionToken"),
    ],
)
def test_g20_errors(oai: TestClient, query: str, code: str) -> None:
    answer = oai.get(f"/oai?{query}")
    assert answer.status_code == 200
    assert problems(answer.content) == []
    root = etree.fromstring(answer.content)
    assert root[2].get("code") == code
    assert bool(root[1].attrib) == (code not in ("badVerb", "badArgument"))


def test_dates_change_when_records_do(tmp_path: Path) -> None:
    state = State("", tmp_path)
    made = {"ivo://a/one": "1", "ivo://a/two": "2"}
    assert [(one.created, one.updated) for one in note(state, made, 10)] == [(10, 10), (10, 10)]
    assert [one.updated for one in note(state, made, 20)] == [10, 10]
    assert [one.updated for one in note(state, {**made, "ivo://a/two": "3"}, 30)] == [10, 30]
    gone = note(state, {"ivo://a/one": "1"}, 40)[1]
    assert (gone.created, gone.updated, gone.deleted) == (10, 40, True)
    assert note(state, {"ivo://a/one": "1"}, 50)[1].updated == 40
    back = note(state, made, 60)[1]
    assert (back.created, back.updated, back.deleted) == (10, 60, False)
    state.close()


def test_an_independent_harvester_gets_the_same_records(live: str) -> None:
    with Scythe(f"{live}/oai") as harvester:
        assert harvester.identify().protocolVersion == "2.0"
        harvested = list(harvester.list_records(metadata_prefix="ivo_vor"))
        assert {one.header.identifier for one in harvested} == set(KINDS)
        for one in harvested:
            alone = harvester.get_record(one.header.identifier, metadata_prefix="ivo_vor")
            assert etree.tostring(alone.xml, method="c14n") == etree.tostring(one.xml, method="c14n")
        dublin = next(harvester.list_records(metadata_prefix="oai_dc", ignore_deleted=True))
        assert dublin.metadata["identifier"] == ["ivo://doppel.example"]


def test_identifiers_of_spectra_begin_with_their_collection(
    resources: dict[str, etree._Element], release: OpenRelease
) -> None:
    assert {release.did_of(row).partition("?")[0] for row in range(len(release))} <= set(resources)
    assert quote("ivo://doppel.example/sim_survey", safe=":/") in resources
