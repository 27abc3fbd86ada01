"""DataLink 1.1, line by line of the checklist, on bytes as clients get them."""

import io
import re
from itertools import groupby
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from astropy.io import votable

from index.rows import exposure_limits
from service.errors import UsageFault
from service.protocols import datalink
from service.protocols.dali import Params
from service.protocols.datalink import DATALINK_TYPE, SIMILAR, document, find_links
from service.protocols.products import find
from tests.service.protocols.conftest import STRANGE
from tests.stilts import datalinklint, votlint

pytestmark = pytest.mark.filterwarnings("ignore:The unit '(Angstrom|erg)' has been deprecated")
BASE = "http://archive.example/doppel"


def ask(archive, *ids, **more):
    answer = document(archive, Params.of([*(("ID", i) for i in ids), *more.items()]), BASE)
    return answer.media_type, b"".join(answer.chunks)


def parsed(archive, *ids):
    return votable.parse(io.BytesIO(ask(archive, *ids)[1]))


def rows(archive, *ids):
    table = parsed(archive, *ids).get_first_table().to_table()
    return [{name: row[name] or "" for name in table.colnames} for row in table]


@pytest.fixture(scope="module")
def did(archive):
    return archive.did_of(0)


def test_l02_no_id_is_an_empty_table_that_describes_the_service(archive):
    document = parsed(archive)
    assert len(document.get_first_table().array) == 0
    meta = [resource for resource in document.resources if resource.type == "meta"]
    assert [(r.utype, r.name) for r in meta] == [("adhoc:this", "links"), ("adhoc:service", "this")]


def test_l03_unknown_id_is_a_fault_row(archive, did):
    found = rows(archive, did, "ivo://nowhere/x?y")
    assert found[-1]["error_message"].startswith("NotFoundFault: ")
    assert (found[-1]["ID"], found[-1]["semantics"]) == ("ivo://nowhere/x?y", "#this")


def test_l04_rows_of_one_id_are_consecutive_and_too_many_are_cut_between_ids(archive, did, monkeypatch):
    monkeypatch.setattr(datalink, "MAX_IDS", 2)
    body = ask(archive, did, archive.did_of(1), archive.did_of(2))[1]
    assert b'value="OVERFLOW"' in body
    found = rows(archive, did, archive.did_of(1), archive.did_of(2))
    assert [one for one, _ in groupby(row["ID"] for row in found)] == [did, archive.did_of(1)]


def test_l05_exactly_one_of_url_service_and_error(archive, did):
    told = [
        [name for name in ("access_url", "service_def", "error_message") if row[name]]
        for row in rows(archive, did, "ivo://nowhere/x?y")
    ]
    assert [len(names) for names in told] == [1] * len(told)
    assert {name for (name,) in told} == {"access_url", "service_def", "error_message"}


def test_l06_media_type_is_the_canonical_one(archive, did):
    assert ask(archive, did)[0] == "application/x-votable+xml;content=datalink"
    assert ask(archive, did, RESPONSEFORMAT="votable")[0] == DATALINK_TYPE
    assert (
        ask(archive, did, RESPONSEFORMAT=' application/x-votable+xml ; content="datalink"')[0]
        == DATALINK_TYPE
    )
    assert ask(archive, did, RESPONSEFORMAT="text/xml")[0] == "text/xml"
    with pytest.raises(UsageFault, match="RESPONSEFORMAT"):
        ask(archive, did, RESPONSEFORMAT="fits")


def test_l08_standard_id_is_told(archive, did):
    assert b'<INFO name="standardID" value="ivo://ivoa.net/std/DataLink#links-1.1"/>' in ask(archive, did)[1]


def test_l07_rows_are_tabledata_and_nothing_else_is_given_silently(archive, did):
    assert b"<TABLEDATA>" in ask(archive, did)[1]
    assert b"<TABLEDATA>" in ask(archive, did, RESPONSEFORMAT="votable;serialization=tabledata")[1]
    with pytest.raises(UsageFault, match="RESPONSEFORMAT"):
        ask(archive, did, RESPONSEFORMAT="application/x-votable+xml;serialization=binary2")


# Terms of http://www.ivoa.net/rdf/datalink/core, 2026-03-19 (CHECKLIST L21).
CORE = {
    "this", "progenitor", "derivation", "auxiliary", "weight", "error", "noise", "calibration", "bias",
    "dark", "flat", "preview", "preview-image", "preview-plot", "thumbnail", "proc", "cutout",
    "documentation", "detached-header", "coderived", "counterpart", "package",
}  # fmt: skip


def test_l21_terms_are_of_the_core_vocabulary_or_a_whole_uri(archive, did):
    terms = {row["semantics"] for row in rows(archive, did, "ivo://nowhere/x?y")}
    assert terms >= {"#this", SIMILAR}
    for term in terms:
        assert term.removeprefix("#") in CORE if term.startswith("#") else urlsplit(term).scheme == "http"


def test_l24_likes_are_asked_for_and_not_listed_row_by_row(archive, did):
    kinds = [row["local_semantics"] for row in rows(archive, did) if row["semantics"] == SIMILAR]
    assert kinds == ["similar_to", "similar_to_page"]


def test_l20_to_l23_profile_of_rows(archive, did):
    found = rows(archive, did)
    semantics = [row["semantics"] for row in found]
    assert semantics == ["#this"] * 4 + ["#preview", "#cutout"] + ["#derivation"] * 3 + [SIMILAR, SIMILAR]
    assert found[0]["content_type"] == "application/x-votable+xml"
    assert all(row["content_type"] and row["description"] for row in found)
    assert (found[-2]["service_def"], found[-2]["local_semantics"]) == ("similar", "similar_to")
    assert found[-1]["content_type"] == "text/html"
    assert found[3]["content_length"] > 0


def test_l32_descriptors_resolve_and_carry_the_coverage(archive, did):
    document = parsed(archive, did)
    meta = {resource.ID: resource for resource in document.resources if resource.type == "meta"}
    service_defs = {row["service_def"] for row in rows(archive, did)} - {""}
    assert service_defs | {"cutouts"} == set(meta)
    inputs = {param.name: param for param in meta["cutout_1"].groups[0].entries}
    assert (inputs["ID"].value, inputs["BAND"].xtype, inputs["BAND"].unit) == (did, "interval", "m")
    assert inputs["BAND"].values.min == pytest.approx(3.8e-7)
    likes = {param.name: param for param in meta["similar"].groups[0].entries}
    assert likes["ID"].ref == "ID"
    assert "physics" in [option[1] for option in likes["SPACE"].values.options]
    assert "standardID" not in {param.name for param in meta["similar"].params}


def test_l30_l31_descriptors_have_names_descriptions_and_an_address(archive, did):
    meta = [resource for resource in parsed(archive, did, STRANGE).resources if resource.type == "meta"]
    assert (
        len({resource.ID for resource in meta}) == len({resource.name for resource in meta}) == len(meta) == 6
    )
    for resource in meta:
        told = {param.name: param for param in resource.params}
        assert (resource.utype, bool(resource.description)) == ("adhoc:service", True)
        assert (told["accessURL"].datatype, told["accessURL"].arraysize) == ("char", "*")
        assert told["accessURL"].value.startswith(f"{BASE}/")
        standard = told["standardID"].value if "standardID" in told else ""
        assert standard.startswith("ivo://ivoa.net/std/SODA#") == resource.ID.startswith("cutout")


def test_sizes_are_numbers_and_permissions_letters():
    assert [datalink.cell(value) for value in (1, True, 0, False, None, "a&b")] == [
        "1",
        "T",
        "0",
        "F",
        "",
        "a&amp;b",
    ]


def test_l33_what_is_referred_to_has_that_id(archive, did):
    document = parsed(archive, did)
    ids = {field.ID for field in document.get_first_table().fields}
    refs = {p.ref for r in document.resources for g in r.groups for p in g.entries if p.ref}
    assert refs == {"ID"}
    assert refs <= ids


# Name, UCD and unit of SODA's own parameters (SODA 1.0, table 4), and how their values are written.
SODA_PARAMS = {
    "ID": ("meta.ref.url;meta.curation", None, "char", "*", None),
    "CIRCLE": ("pos.outline;obs", "deg", "double", "3", "circle"),
    "POLYGON": ("pos.outline;obs", "deg", "double", "*", "polygon"),
    "POS": ("pos.outline;obs", None, "char", "*", None),
    "BAND": ("em.wl;stat.interval", "m", "double", "2", "interval"),
    "TIME": ("time.interval;obs.exposure", "d", "double", "2", "interval"),
}


def test_c06_c07_parameters_of_soda_have_their_three_factors_and_the_limits_of_the_spectrum(archive, did):
    document = parsed(archive, did)
    services = {resource.ID: resource for resource in document.resources}
    for service in (services["cutout_1"], services["cutouts"]):
        inputs = {param.name: param for param in service.groups[0].entries}
        for param, (ucd, unit, datatype, size, xtype) in SODA_PARAMS.items():
            told = inputs[param]
            assert (told.ucd, told.unit, told.datatype) == (ucd, unit, datatype)
            assert (told.arraysize, told.xtype) == (size, xtype)
    inputs = {param.name: param for param in services["cutout_1"].groups[0].entries}
    start, stop = exposure_limits(archive.facts_of(0))
    assert (float(inputs["TIME"].values.min), float(inputs["TIME"].values.max)) == (start, stop)
    assert float(inputs["BAND"].values.max) == pytest.approx(7e-7)


def test_l31_the_traversal_is_a_form_with_options_and_ranges(archive, did):
    (service,) = [resource for resource in parsed(archive, did).resources if resource.ID == "traversal"]
    inputs = {param.name: param for param in service.groups[0].entries}
    assert [option[1] for option in inputs["MODEL"].values.options] == ["optical", "halpha"]
    assert "teff" in [option[1] for option in inputs["LATENT"].values.options]
    assert (inputs["SIGMA"].values.min, inputs["STEPS"].values.max) == (-5, 25)


@pytest.mark.parametrize("spelling", [STRANGE, STRANGE.replace("+", " ")])
def test_identifiers_with_plus_hash_and_ampersand_survive_every_link(archive, spelling):
    found = rows(archive, spelling)
    assert {row["ID"] for row in found} == {spelling}
    urls = [urlsplit(row["access_url"]) for row in found if row["access_url"]]
    assert not any(url.fragment for url in urls)
    for url in urls[:5]:
        path = unquote(url.path.removeprefix("/doppel/spectra/"))
        assert archive.did_of(find(archive, path)[0]) == STRANGE
    assert parse_qs(urls[5].query)["ID"] == [STRANGE]
    assert quote(STRANGE, safe="") in urls[-1].query


@pytest.mark.parametrize("ids", [0, 1, 3])
def test_datalinklint_and_votlint_find_nothing(archive, did, ids):
    links = ask(archive, *[did, "ivo://nowhere/x?y", STRANGE][:ids])[1]
    assert datalinklint(links).startswith("Totals: Errors: 0; Warnings: 0;")
    assert votlint(links) == ""


def test_a_batch_is_answered_in_the_order_asked(archive):
    ids = [archive.did_of(row) for row in (7, 2, 2, 30)]
    assert [link.id for link in find_links(archive, ids, BASE).rows][::11] == ids


def test_l01_ids_come_by_get_and_by_post(tap, release):
    ids = [release.did_of(row) for row in (3, 1)]
    got = [
        tap.get("/datalink/links", params={"ID": ids}),
        tap.post("/datalink/links", data={"ID": ids}),
        tap.post("/datalink/links", params={"ID": ids[0]}, data={"ID": ids[1]}),
        tap.post("/datalink/links", files=[("id", (None, did)) for did in ids]),
    ]
    assert {answer.content for answer in got} == {got[0].content}
    table = votable.parse_single_table(io.BytesIO(got[0].content)).to_table()
    assert list(dict.fromkeys(table["ID"])) == ids


@pytest.mark.parametrize("params", [{"RESPONSEFORMAT": "csv"}, {"REQUEST": "dance"}])
def test_l09_l34_errors_are_votables_that_begin_with_the_kind_of_fault(tap, params):
    answer = tap.get("/datalink/links", params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (400, DATALINK_TYPE)
    (status,) = [
        info
        for info in votable.parse(io.BytesIO(answer.content)).resources[0].infos
        if info.name == "QUERY_STATUS"
    ]
    assert (status.value, status.content.split(": ")[0]) == ("ERROR", "UsageFault")
    assert next(iter(params.values())) in status.content


def test_c08_tap_and_ssa_results_refer_to_the_identifier_for_cutouts(tap):
    query = {"LANG": "ADQL", "QUERY": "SELECT TOP 1 * FROM ivoa.obscore"}
    for answer, ref in (
        (tap.get("/tap/sync", params=query), "obs_publisher_did"),
        (tap.get("/ssa", params={"REQUEST": "queryData", "MAXREC": 1}), "ssa_pubDID"),
    ):
        document = votable.parse(io.BytesIO(answer.content))
        (service,) = [resource for resource in document.resources if resource.ID == "cutout"]
        inputs = {param.name: param for param in service.groups[0].entries}
        assert inputs["ID"].ref == ref
        assert document.get_first_table().get_field_by_id(ref).name == ref
        assert {param.name: param.value for param in service.params}["standardID"].endswith("SODA#sync-1.0")
        assert inputs["BAND"].values.min is None


def test_l36_c01_k05_the_registry_tells_of_links_cutouts_and_cones(tap):
    record = tap.get("/oai", params={"verb": "ListRecords", "metadataPrefix": "ivo_vor"}).text
    for standard, path in (
        ("ivo://ivoa.net/std/DataLink#links-1.1", "/datalink/links"),
        ("ivo://ivoa.net/std/SODA#sync-1.0", "/soda/sync"),
        ("ivo://ivoa.net/std/SODA#async-1.0", "/soda/async"),
    ):
        (words,) = re.findall(rf'<capability[^>]*standardID="{standard}".*?</capability>', record, re.DOTALL)
        assert 'xsi:type="vs:ParamHTTP"' in words
        assert f"{path}</accessURL>" in words
    (cone,) = re.findall(r'<capability[^>]*std/ConeSearch".*?</capability>', record, re.DOTALL)
    assert 'xsi:type="cs:ConeSearch"' in cone
    for word in ("maxSR", "maxRecords", "verbosity", "testQuery"):
        assert f"<{word}>" in cone
