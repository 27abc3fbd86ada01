"""Clauses that hold at every endpoint: DALI's, TAP's of results, VOTable's of values (CHECKLIST 1, 2, 7)."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from astropy import units
from astropy.io.votable import parse, parse_single_table
from astropy.io.votable.tree import VOTableFile
from astropy.io.votable.ucd import check_ucd
from lxml import etree
from starlette.testclient import TestClient

from index.release import OpenRelease
from index.releases import ReleaseHolder
from registry_metadata.columns import Column
from service.app import create_app
from service.config import Config
from service.state import State
from tests.service.conftest import BASE

VOTABLE = "{http://www.ivoa.net/xml/VOTable/v1.3}"
ONE = "SELECT TOP 1 ssa_pubdid FROM doppel.spectra"
TAP = {"LANG": "ADQL", "QUERY": ONE}
DALI_XTYPES = {
    "timestamp", "interval", "point", "circle", "polygon", "moc", "shape", "region", "uri", "uuid",
    "json", "adql:REGION", "adql:CLOB", "multiinterval",
}  # fmt: skip


@pytest.fixture(scope="module")
def did(release: OpenRelease) -> str:
    return release.did_of(int(release.models["optical"].vectors.rows[0]))


@pytest.fixture(scope="module")
def columns(release: OpenRelease) -> list[Column]:
    """Every published column."""
    return [column for table in release.tables.values() for column in table.columns]


def endpoints(did: str) -> dict[str, dict[str, str]]:
    """A question that each of them answers."""
    return {
        "/tap/sync": TAP,
        "/ssa": {"REQUEST": "queryData", "MAXREC": "1"},
        "/scs": {"RA": "1", "DEC": "1", "SR": "1"},
        "/datalink/links": {"ID": did},
        "/soda/sync": {"ID": did},
        "/similar_to": {"ID": did, "TOP": "2"},
    }


def path_of(url: object) -> str:
    """Below the base URL of the configuration."""
    return str(url).removeprefix(BASE)


def document(answer: httpx2.Response) -> VOTableFile:
    assert answer.status_code == 200, answer.text
    return parse(io.BytesIO(answer.content))


@pytest.mark.parametrize("name", ["LANG", "QUERY", "RESPONSEFORMAT", "MAXREC", "RUNID", "REQUEST"])
def test_d04_a_single_value_is_given_once(tap: TestClient, name: str) -> None:
    asked = {**TAP, "RESPONSEFORMAT": "csv", "MAXREC": "1", "RUNID": "mine", "REQUEST": "doQuery"}
    assert tap.get("/tap/sync", params=asked).status_code == 200
    twice = tap.get("/tap/sync", params=[*asked.items(), (name.lower(), asked[name])])
    assert twice.status_code == 400
    assert name in twice.text


def test_d04_identifiers_and_filters_may_repeat(tap: TestClient, did: str) -> None:
    links = tap.get("/datalink/links", params=[("ID", did), ("ID", did.replace("sim", "none"))])
    assert "NotFoundFault" in links.text
    circles = [("ID", did), ("CIRCLE", "1 1 180"), ("CIRCLE", "90 1 180")]
    assert "MultiValuedParamNotSupported: CIRCLE" in tap.get("/soda/sync", params=circles).text
    both = {"ID": did, "CIRCLE": ["1 1 180", "90 1 180"]}
    assert tap.post("/soda/async", data=both, follow_redirects=False).status_code == 303


@pytest.mark.parametrize("path", list(endpoints("")))
def test_d05_both_forms_of_post_are_read_everywhere(tap: TestClient, did: str, path: str) -> None:
    asked = endpoints(did)[path]
    got = tap.get(path, params=asked)
    assert got.status_code == 200, got.text
    forms = [
        tap.post(path, data=asked),
        tap.post(path, files={name: (None, value) for name, value in asked.items()}),
    ]
    for form in forms:
        assert form.status_code == 200, form.text
        assert form.headers["content-type"] == got.headers["content-type"]
        assert form.content == got.content


@pytest.mark.parametrize("path", ["/tap/sync", "/datalink/links", "/soda/sync"])
def test_d08_version_is_read_by_nobody_but_ssa(tap: TestClient, did: str, path: str) -> None:
    asked = endpoints(did)[path]
    answer = tap.get(path, params={**asked, "VERSION": "9.9"})
    assert (answer.status_code, answer.content) == (200, tap.get(path, params=asked).content)


def test_d08_ssa_refuses_a_version_that_it_has_not(tap: TestClient) -> None:
    asked = {"REQUEST": "queryData", "MAXREC": "1"}
    assert tap.get("/ssa", params={**asked, "VERSION": "1.1"}).status_code == 200
    assert "9.9" in tap.get("/ssa", params={**asked, "VERSION": "9.9"}).text


def test_d34_files_say_their_length_their_date_and_their_type(tap: TestClient, did: str) -> None:
    rows = parse_single_table(io.BytesIO(tap.get("/datalink/links", params={"ID": did}).content)).to_table()
    original = next(row for row in rows if row["local_semantics"] == "original")
    answer = tap.get(path_of(original["access_url"]))
    assert int(answer.headers["content-length"]) == len(answer.content) == original["content_length"]
    assert answer.headers["last-modified"].endswith("GMT")
    assert answer.headers["content-type"] == original["content_type"]


def test_d35_a_new_job_is_a_redirect_that_clients_follow(tap: TestClient) -> None:
    made = tap.post("/tap/async", data=TAP, follow_redirects=False)
    assert made.status_code == 303
    job = etree.fromstring(tap.get(path := path_of(made.headers["location"])).content)
    assert [one.text for one in job.iter("{*}jobId", "{*}phase")] == [path.rpartition("/")[2], "PENDING"]
    asked = {one.get("id"): one.text for one in job.iter("{*}parameter")}
    assert asked == TAP


@pytest.mark.parametrize("base", ["/tap/async", "/soda/async"])
def test_d42_what_a_job_has_not_is_404(tap: TestClient, base: str) -> None:
    job = path_of(tap.post(base, data=TAP, follow_redirects=False).headers["location"])
    for path in (f"{base}/nosuchjob", f"{base}/nosuchjob/phase", f"{job}/nosuchchild", f"{job}/results/none"):
        answer = tap.get(path)
        assert answer.status_code == 404, path
        assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", list(endpoints("")))
def test_d43_nobody_is_asked_who_they_are(tap: TestClient, did: str, path: str) -> None:
    """No 401 and no 403: all is public, and credentials that a client sends anyway change nothing."""
    asked = endpoints(did)[path]
    answer = tap.get(path, params=asked, headers={"Authorization": "Basic bm9ib2R5Og=="})
    assert (answer.status_code, answer.content) == (200, tap.get(path, params=asked).content)


def test_d53_d54_xtypes_are_those_of_dali_or_carry_a_prefix(columns: list[Column]) -> None:
    for column in columns:
        assert not column.xtype or column.xtype in DALI_XTYPES or ":" in column.xtype, column.name


def test_d56_limits_of_an_interval_are_scalars(tap: TestClient, did: str) -> None:
    told = etree.fromstring(tap.get("/datalink/links", params={"ID": did}).content)
    intervals = [one for one in told.iter(f"{VOTABLE}PARAM") if one.get("xtype") == "interval"]
    limits = [end.get("value") for one in intervals for end in one.iter(f"{VOTABLE}MIN", f"{VOTABLE}MAX")]
    assert limits
    assert [float(limit) for limit in limits if len(limit.split()) != 1] == []


def test_t04_all_children_lie_below_one_base(tap: TestClient) -> None:
    told = etree.fromstring(tap.get("/tap/capabilities").content)
    urls = {
        one.get("standardID"): one.findtext("interface/accessURL") for one in told.iter("capability")
    }  # fmt: skip
    base = str(urls["ivo://ivoa.net/std/TAP"])
    vosi = [url for standard, url in urls.items() if str(standard).startswith("ivo://ivoa.net/std/VOSI#")]
    assert {f"{base}/capabilities", f"{base}/availability", f"{base}/tables"} <= set(vosi)
    assert len(told.findall("capability[@standardID='ivo://ivoa.net/std/TAP']/interface")) == 1


@pytest.mark.parametrize("more", [{"REQUEST": "doQuery"}, {"request": "doquery"}])
def test_t12_request_may_be_said_and_need_not_be(tap: TestClient, more: dict[str, str]) -> None:
    bare = document(tap.get("/tap/sync", params=TAP)).get_first_table().to_table()
    said = document(tap.get("/tap/sync", params={**TAP, **more})).get_first_table().to_table()
    assert said["ssa_pubdid"].tolist() == bare["ssa_pubdid"].tolist() != []


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({}, "application/x-votable+xml"),
        ({"FORMAT": "csv"}, "text/csv"),
        ({"RESPONSEFORMAT": "csv"}, "text/csv"),
    ],
)
def test_t13_format_is_responseformat_and_neither_is_votable(
    tap: TestClient, more: dict[str, str], kind: str
) -> None:
    assert tap.get("/tap/sync", params={**TAP, **more}).headers["content-type"].startswith(kind)


def test_t20_columns_follow_the_query_and_have_names_of_their_own(tap: TestClient) -> None:
    query = "SELECT TOP 1 dec, 1+1, ra, 2*ra, ra AS a, MOD(3, 2), ra FROM doppel.spectra"
    table = document(tap.get("/tap/sync", params={**TAP, "QUERY": query})).get_first_table()
    names = [field.name for field in table.fields]
    assert len(names) == 7
    assert (names[0], names[2], names[4]) == ("dec", "ra", "a")
    assert len({name.lower() for name in names}) == 7
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) for name in names)


def test_t22_one_table_in_one_resource_of_results(tap: TestClient) -> None:
    told = document(tap.get("/tap/sync", params=TAP))
    assert [len(one.tables) for one in told.resources if one.type == "results"] == [1]
    assert all(not one.tables for one in told.resources if one.type != "results")


@pytest.mark.parametrize(
    ("expression", "xtype", "size"),
    [
        ("POINT(1, 2)", "point", 2),
        ("CIRCLE(1, 2, 3)", "circle", 3),
        ("POLYGON(1, 1, 2, 1, 2, 2)", "polygon", 6),
    ],
)
def test_t24_geometry_is_arrays_with_an_xtype(
    tap: TestClient, expression: str, xtype: str, size: int
) -> None:
    query = f"SELECT TOP 1 {expression} AS g FROM doppel.spectra"
    table = document(tap.get("/tap/sync", params={**TAP, "QUERY": query})).get_first_table()
    (field,) = table.fields
    assert (field.datatype, field.xtype, len(table.array["g"][0])) == ("double", xtype, size)


T41 = {
    "schemas": {"schema_name": "char", "utype": "char", "description": "char", "schema_index": "int"},
    "tables": {
        "schema_name": "char", "table_name": "char", "table_type": "char", "utype": "char",
        "description": "char", "table_index": "int",
    },
    "columns": {
        "table_name": "char", "column_name": "char", "datatype": "char", "arraysize": "char",
        "xtype": "char", "size": "int", "description": "char", "utype": "char", "unit": "char", "ucd": "char",
        "indexed": "int", "principal": "int", "std": "int", "column_index": "int",
    },
    "keys": {
        "key_id": "char", "from_table": "char", "target_table": "char", "utype": "char",
        "description": "char",
    },
    "key_columns": {"key_id": "char", "from_column": "char", "target_column": "char"},
}  # fmt: skip


@pytest.mark.parametrize("name", list(T41))
def test_t41_t42_tap_schema_has_its_columns_and_types(tap: TestClient, name: str) -> None:
    query = f"SELECT * FROM tap_schema.{name}"
    table = document(tap.get("/tap/sync", params={**TAP, "QUERY": query})).get_first_table()
    kinds = {field.name.lower(): field.datatype for field in table.fields}
    wanted = T41[name]
    assert {column: kinds[column].replace("unicodeChar", "char") for column in wanted} == wanted
    rows = table.to_table()
    for column in {"schema_name", "table_name", "table_type", "column_name", "datatype"} & set(wanted):
        assert all(str(value) for value in rows[column]), column
    for flag in {"indexed", "principal", "std"} & set(wanted):
        assert set(rows[flag].tolist()) <= {0, 1}


@pytest.mark.parametrize("form", ["votable/td", "votable/b", "votable/b2"])
def test_x04_nulls_are_told_in_every_serialisation(tap: TestClient, form: str) -> None:
    nulls = "CAST(NULL AS INTEGER) AS i, CAST(NULL AS DOUBLE PRECISION) AS d, CAST(NULL AS VARCHAR) AS t"
    asked = {**TAP, "QUERY": f"SELECT TOP 1 {nulls} FROM doppel.spectra", "RESPONSEFORMAT": form}
    row = document(tap.get("/tap/sync", params=asked)).get_first_table().array[0]
    assert row["i"] is None or bool(row.mask["i"])
    assert bool(row.mask["d"]) or row["d"] != row["d"]
    assert bool(row.mask["t"]) or row["t"] == ""


def test_x05_x06_units_are_vounits_and_ucds_are_of_the_list(columns: list[Column]) -> None:
    for column in columns:
        if column.unit:
            units.Unit(column.unit, format="vounit")
        if column.ucd:
            check_ucd(column.ucd, check_controlled_vocabulary=True, has_colon=True)


IN_TABLES = ["DESCRIPTION", "FIELD", "PARAM", "GROUP", "LINK", "DATA"]


@pytest.mark.parametrize("path", ["/tap/sync", "/ssa", "/datalink/links", "/similar_to", "/scs"])
def test_x08_elements_stand_in_the_order_of_the_schema(tap: TestClient, did: str, path: str) -> None:
    """Of what the schema orders: description first, frames before tables, data after its fields."""
    told = etree.fromstring(tap.get(path, params=endpoints(did)[path]).content)
    inside = {
        kind: [
            [child.tag.removeprefix(VOTABLE) for child in element] for element in told.iter(VOTABLE + kind)
        ]
        for kind in ("RESOURCE", "TABLE")
    }
    for names in inside["TABLE"]:
        places = [IN_TABLES.index(name) for name in names if name != "INFO"]
        assert places == sorted(places), names
    for names in inside["RESOURCE"]:
        assert "DESCRIPTION" not in names[1:], names
        assert "COOSYS" not in names[names.index("TABLE") :] if "TABLE" in names else True, names


@pytest.mark.parametrize(
    ("asked", "element"), [("tabledata", b"<TABLEDATA>"), ("binary2", b"<BINARY2>")], ids=["td", "b2"]
)
def test_x10_a_spectrum_is_written_in_the_serialisation_that_is_asked_for(
    tap: TestClient, did: str, asked: str, element: bytes
) -> None:
    form = f"application/x-votable+xml;serialization={asked}"
    answer = tap.get("/soda/sync", params={"ID": did, "RESPONSEFORMAT": form})
    assert element in answer.content


def test_h03_who_has_too_many_jobs_is_told_when_to_try_again(
    config: Config, holder: ReleaseHolder, tmp_path: Path
) -> None:
    state = State("", tmp_path)
    few = replace(config, limits=replace(config.limits, jobs_per_client=1))
    with TestClient(create_app(few, holder, state), follow_redirects=False) as client:
        assert client.post("/tap/async", data=TAP).status_code == 303
        refused = client.post("/tap/async", data=TAP)
    state.close()
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
