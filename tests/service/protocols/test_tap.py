"""TAP 1.1 over the built archive (CHECKLIST, section 2), as bytes on the wire."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import httpx2
import numpy as np
import pyarrow as pa
import pytest
from astropy.io import votable
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning
from starlette.testclient import TestClient

from service.formats.choose import FORMATS
from tests.service.conftest import BASE, LIMITS

VOTABLE = "application/x-votable+xml"
FIVE = "SELECT TOP 5 ssa_pubdid, ra, dec FROM doppel.spectra ORDER BY ssa_pubdid"


def ask(tap: TestClient, query: str, **more: Any) -> httpx2.Response:
    return tap.post("/tap/sync", data={"LANG": "ADQL", "QUERY": query, **more})


def rows(tap: TestClient, query: str, **more: Any) -> list[dict[str, str]]:
    answer = ask(tap, query, FORMAT="csv", **more)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def infos(answer: httpx2.Response) -> dict[str, str]:
    return dict(re.findall(r'<INFO name="([^"]+)" value="([^"]*)"', answer.text))


def fault(answer: httpx2.Response, status: int = 400) -> str:
    """The message of an error document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == VOTABLE
    found = re.search(r'<INFO name="QUERY_STATUS" value="ERROR">(.*?)</INFO>', answer.text, re.DOTALL)
    assert found, answer.text
    return found[1]


def test_t11_get_post_and_multipart_answer_alike(tap: TestClient) -> None:
    form = {"lang": "ADQL", "query": FIVE, "format": "csv", "request": "doQuery"}
    got = tap.get("/tap/sync", params=form)
    assert got.status_code == 200
    assert len(got.text.splitlines()) == 6
    assert tap.post("/tap/sync", data=form).text == got.text
    assert tap.post("/tap/sync", data=form, files={"unused": ("x", b"y")}).text == got.text


@pytest.mark.parametrize("language", ["ADQL", "ADQL-2.0", "ADQL-2.1", "adql"])
def test_t10_languages(tap: TestClient, language: str) -> None:
    asked = {"LANG": language, "QUERY": FIVE, "FORMAT": "csv"}
    answer = tap.get("/tap/sync", params=asked)
    assert answer.status_code == 200
    assert list(csv.DictReader(io.StringIO(answer.text))) == rows(tap, FIVE)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"LANG": "PQL", "QUERY": FIVE}, "Unknown query language: LANG=PQL"),
        ({"QUERY": FIVE}, "LANG is missing"),
        ({"LANG": "ADQL"}, "QUERY is missing"),
        ({"LANG": "ADQL", "QUERY": ""}, "QUERY is missing"),
        ({"LANG": "ADQL", "QUERY": FIVE, "MAXREC": "-1"}, "MAXREC is out of range: -1"),
        ({"LANG": "ADQL", "QUERY": FIVE, "FORMAT": "docx"}, "No such output format here: docx"),
        ({"LANG": "ADQL", "QUERY": FIVE, "REQUEST": "getCapabilities"}, "REQUEST is not known"),
        ({"LANG": "ADQL", "QUERY": "SELECT nothing FROM doppel.spectra"}, "nothing"),
        ({"LANG": "ADQL", "QUERY": "SELECT * FROM doppel.spectre"}, "doppel.spectra"),
        ({"LANG": "ADQL", "QUERY": "DROP TABLE doppel.spectra"}, "DROP is "),
        ({"LANG": "ADQL", "QUERY": FIVE, "UPLOAD": "t,ftp://x/y"}, "neither param"),
        ({"LANG": "ADQL", "QUERY": FIVE, "UPLOAD": "1t,param:x"}, "begins with a letter"),
        ({"LANG": "ADQL", "QUERY": FIVE, "UPLOAD": "t,param:x"}, "the request does not have"),
        ({"LANG": "ADQL", "QUERY": FIVE, "UPLOAD": "t,param:x;T,param:y"}, "twice"),
    ],
)
def test_d40_d41_wrong_requests_are_told(tap: TestClient, form: dict[str, str], told: str) -> None:
    assert told in fault(tap.post("/tap/sync", data=form))


def test_d03_a_repeated_query_is_refused(tap: TestClient) -> None:
    answer = tap.get("/tap/sync", params=[("LANG", "ADQL"), ("QUERY", FIVE), ("query", FIVE)])
    assert "QUERY is given 2 times" in fault(answer)


def test_d06_unknown_parameters_are_ignored(tap: TestClient) -> None:
    assert len(rows(tap, FIVE, WHATEVER="1", VERSION="1.1")) == 5


def test_d20_d22_d23_d25_maxrec_and_overflow(tap: TestClient) -> None:
    total = int(rows(tap, "SELECT COUNT(*) AS n FROM doppel.spectra")[0]["n"])
    query = "SELECT ssa_pubdid FROM doppel.spectra"
    for maxrec, overflow in ((total - 1, True), (total, False), (total + 1, False)):
        answer = ask(tap, query, MAXREC=maxrec)
        assert answer.status_code == 200
        table = votable.parse(io.BytesIO(answer.content)).get_first_table()
        assert len(table.array) == min(maxrec, total)
        assert ('value="OVERFLOW"' in answer.text) is overflow
        assert not overflow or answer.text.index("</TABLE>") < answer.text.index('value="OVERFLOW"')
    assert f"MAXREC={total - 1}" in ask(tap, query, MAXREC=total - 1).text


def test_d21_maxrec_0_tells_all_columns(tap: TestClient) -> None:
    table = votable.parse(io.BytesIO(ask(tap, FIVE, MAXREC=0).content)).get_first_table()
    assert [field.name for field in table.fields] == ["ssa_pubdid", "ra", "dec"]
    assert len(table.array) == 0


def test_t21_metadata_is_what_tap_schema_says(tap: TestClient) -> None:
    table = votable.parse(
        io.BytesIO(ask(tap, "SELECT TOP 1 * FROM doppel.spectra").content)
    ).get_first_table()
    told = rows(
        tap, "SELECT * FROM tap_schema.columns WHERE table_name = 'doppel.spectra' ORDER BY column_index"
    )
    assert [field.name for field in table.fields] == [row["column_name"].strip('"') for row in told]
    for field, row in zip(table.fields, told, strict=True):
        assert (field.datatype, field.arraysize or "") == (row["datatype"], row["arraysize"]), field.name
        for name in ("ucd", "utype", "xtype"):
            assert (getattr(field, name) or "") == row[name], (field.name, name)


LETTERS = (
    "SELECT TOP 1 'Bečvář' AS lit, 'a' || 'č' AS joined, COALESCE(spectral_class, 'č') AS one, "
    "CAST('č' AS VARCHAR(5)) AS chars, LOWER('Č') AS small FROM doppel.spectra "
    "UNION ALL SELECT TOP 1 'a', 'ab', 'c', 'd', 'e' FROM doppel.spectra"
)


@pytest.mark.parametrize("name", ["votable", "votable-b", "votable-b2"])
def test_texts_of_expressions_keep_their_letters(tap: TestClient, name: str) -> None:
    answer = ask(tap, LETTERS, FORMAT=name)
    table = votable.parse(io.BytesIO(answer.content)).get_first_table()
    assert {field.datatype for field in table.fields} == {"unicodeChar"}
    assert {str(text) for text in table.array["lit"]} == {"Bečvář", "a"}
    assert {str(text) for text in table.array["small"]} == {"č", "e"}


def test_o07_a_region_is_text_to_read_and_a_circle_to_ask(tap: TestClient) -> None:
    query = (
        "SELECT TOP 3 s_region, AREA(s_region) AS a FROM ivoa.obscore "
        "WHERE 1 = CONTAINS(POINT(s_ra, s_dec), s_region) "
        "AND 1 = INTERSECTS(s_region, CIRCLE(s_ra, s_dec, 0.1))"
    )
    found = rows(tap, query)
    assert len(found) == 3
    for row in found:
        region = re.fullmatch(r"Circle ICRS [-.\de]+ [-.\de]+ ([-.\de]+)", row["s_region"])
        assert region is not None
        assert float(row["a"]) == pytest.approx(3.14159265 * float(region[1]) ** 2, rel=1e-8)
    every = rows(tap, "SELECT DISTINCT o_calib_status FROM ivoa.obscore")
    assert {row["o_calib_status"] for row in every} <= {"absolute", "relative", "normalized", ""}


@pytest.mark.parametrize("name", [known.name for known in FORMATS])
def test_t14_every_format_answers(tap: TestClient, name: str) -> None:
    answer = ask(tap, FIVE, RESPONSEFORMAT=name)
    assert answer.status_code == 200
    known = next(f for f in FORMATS if f.name == name)
    assert answer.headers["content-type"] == known.media_type
    assert answer.headers["content-disposition"] == f'inline; filename="result.{known.suffix}"'
    if known.media_type.startswith(VOTABLE):
        assert len(votable.parse(io.BytesIO(answer.content)).get_first_table().array) == 5
    elif name == "fits":
        assert len(Table.read(io.BytesIO(answer.content), format="fits")) == 5
    elif name == "json":
        assert len(json.loads(answer.text)["rows"]) == 5


def test_d12_the_media_type_that_was_asked_for_is_answered(tap: TestClient) -> None:
    assert ask(tap, FIVE, FORMAT="text/xml").headers["content-type"] == "text/xml"
    assert ask(tap, FIVE).headers["content-type"] == VOTABLE


def test_d32_d33_the_request_is_echoed(tap: TestClient) -> None:
    answer = ask(tap, FIVE)
    told = infos(answer)
    assert told["standardID"] == "ivo://ivoa.net/std/TAP"
    assert told["query"] == FIVE
    assert told["release"]


def test_descriptors_come_with_identifiers_under_any_name(tap: TestClient) -> None:
    answer = ask(tap, "SELECT TOP 2 ssa_pubdid AS which, ra FROM doppel.spectra")
    document = votable.parse(io.BytesIO(answer.content))
    meta = [r for r in document.resources if r.utype == "adhoc:service"]
    assert {r.ID for r in meta} >= {"links", "similar"}
    refs = {e.ref for r in meta for g in r.groups for e in g.entries if e.name == "ID"}
    assert refs == {"which"}
    url = next(p.value for r in meta if r.ID == "links" for p in r.params if p.name == "accessURL")
    assert url == f"{BASE}/datalink/links"
    assert "adhoc:service" not in ask(tap, "SELECT TOP 2 ra FROM doppel.spectra").text


def test_h05_urls_come_from_the_configuration(tap: TestClient) -> None:
    (row,) = rows(tap, "SELECT TOP 1 accref, datalink_url FROM doppel.spectra")
    assert row["accref"].startswith(f"{BASE}/spectra/")
    assert row["datalink_url"].startswith(f"{BASE}/datalink/links?")


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_h02_packed_only_when_asked(tap: TestClient, coding: str) -> None:
    query = {"LANG": "ADQL", "QUERY": "SELECT * FROM tap_schema.columns", "FORMAT": "csv"}
    plain = tap.get("/tap/sync", params=query, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with tap.stream("GET", "/tap/sync", params=query, headers={"Accept-Encoding": coding}) as packed:
        assert packed.headers["content-encoding"] == coding
        content = b"".join(packed.iter_raw())
    assert len(content) < len(plain.content) / 2
    assert pa.CompressedInputStream(pa.BufferReader(content), coding).read() == plain.content


def upload(tap: TestClient, query: str, content: bytes, **more: Any) -> httpx2.Response:
    form = {"LANG": "ADQL", "QUERY": query, "UPLOAD": "mine,param:file", "FORMAT": "csv", **more}
    return tap.post("/tap/sync", data=form, files={"file": ("mine.vot", content)})


def test_t31_t32_inline_upload(tap: TestClient) -> None:
    answer = upload(tap, "SELECT a, b FROM TAP_UPLOAD.mine ORDER BY a", b"a,b\n2,x\n1,\n")
    assert answer.text.split() == ["a,b", "1,", "2,x"]


def test_t30_t33_uploads_add_up_in_both_spellings(tap: TestClient) -> None:
    query = "SELECT one.a, two.b FROM TAP_UPLOAD.one AS one JOIN TAP_UPLOAD.two AS two ON one.a = two.a"
    parts = {"f": ("f", b"a\n1\n2\n"), "g": ("g", b"a,b\n2,5\n")}
    for value in (["one,param:f;two,param:g"], ["one,param:f", "two,param:g"]):
        form = {"LANG": "ADQL", "QUERY": query, "UPLOAD": value, "FORMAT": "csv"}
        assert tap.post("/tap/sync", data=form, files=parts).text.split() == ["a,b", "2,5"]


def test_t34_a_votable_comes_back_as_it_was(tap: TestClient) -> None:
    mine = Table({"a b": [1, 2], "x": [0.5, np.nan], "s": ["α", "b"], "v": [[1.0, 2.0], [3.0, 4.0]]})
    mine["x"].unit = "km/s"
    buffer = io.BytesIO()
    with pytest.warns(AstropyWarning, match="W03"):
        mine.write(buffer, format="votable")
    answer = upload(tap, "SELECT * FROM TAP_UPLOAD.mine", buffer.getvalue(), FORMAT="votable")
    found = votable.parse(io.BytesIO(answer.content)).get_first_table()
    assert [(f.name, f.datatype, f.arraysize) for f in found.fields] == [
        ("a b", "long", None),
        ("x", "double", None),
        ("s", "unicodeChar", found.fields[2].arraysize),
        ("v", "double", "2"),
    ]
    assert str(found.fields[1].unit) == "km / s"
    assert found.array["v"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert found.array["s"].tolist() == ["α", "b"]


def test_t35_uploads_over_the_limits_are_errors(tap: TestClient) -> None:
    many = b"a\n" + b"1\n" * (LIMITS.upload_rows + 1)
    assert "at most 1000 are allowed" in fault(upload(tap, "SELECT * FROM TAP_UPLOAD.mine", many), 413)
    wide = b"a\n" + b"x" * LIMITS.upload_bytes
    assert "500000 are allowed" in fault(upload(tap, "SELECT * FROM TAP_UPLOAD.mine", wide), 413)
    huge = b"x" * (LIMITS.request_bytes + 1)
    assert "larger than this service accepts" in fault(upload(tap, "SELECT 1", huge), 413)


def test_an_upload_belongs_to_its_request_alone(tap: TestClient) -> None:
    assert upload(tap, "SELECT * FROM TAP_UPLOAD.mine", b"a\n1\n").status_code == 200
    assert "TAP_UPLOAD" in fault(ask(tap, "SELECT * FROM TAP_UPLOAD.mine"))


def test_t36_uploads_from_private_addresses_are_refused(tap: TestClient) -> None:
    answer = ask(tap, "SELECT * FROM TAP_UPLOAD.mine", UPLOAD="mine,http://127.0.0.1:9/x")
    assert "not a public one" in fault(answer)


def test_topcat_asks_for_the_number_of_columns_first(tap: TestClient) -> None:
    (row,) = rows(tap, "SELECT COUNT(*) AS nrow FROM TAP_SCHEMA.columns")
    told = ET.fromstring(tap.get("/tap/tables").content)
    assert int(row["nrow"]) == len(list(told.iter("column"))) > 100


def test_unknown_paths_and_methods_are_told_in_plain_text(tap: TestClient) -> None:
    missing = tap.get("/tap/nothing")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert tap.put("/tap/sync").status_code == 405


def test_d07_runid_is_in_the_log(tap: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "doppel.access")
    tap.get("/tap/sync", params={"LANG": "ADQL", "QUERY": FIVE, "RUNID": "run-7\nforged line"})
    assert "RUNID=run-7?forged line" in caplog.text


def test_health_and_metrics(tap: TestClient) -> None:
    assert tap.get("/health").json()["status"] == "ok"
    ask(tap, FIVE)
    text = tap.get("/metrics").text
    assert re.search(r'doppel_requests_total\{method="POST",endpoint="tap/sync",status="200"\} \d+', text)
    assert "doppel_request_seconds_bucket" in text


def examples(tap: TestClient, path: str) -> list[ET.Element]:
    """Those of a page, which says what they are (D60, D61)."""
    answer = tap.get(path)
    assert answer.headers["content-type"] == "application/xhtml+xml"
    body = ET.fromstring(answer.text).find("{http://www.w3.org/1999/xhtml}body")
    assert body is not None
    assert body.get("vocab") == "http://www.ivoa.net/rdf/examples#"
    found = [e for e in body.iter() if e.get("typeof") == "example"]
    for example in found:
        assert example.get("resource") == f"#{example.get('id')}"
        assert len([e for e in example.iter() if e.get("property") == "name"]) == 1
    return found


def test_d60_d61_d62_examples_run(tap: TestClient) -> None:
    found = examples(tap, "/tap/examples")
    assert len(found) >= 6
    for example in found:
        (query,) = [e.text for e in example.iter() if e.get("property") == "query"]
        assert query is not None
        assert ask(tap, query).status_code == 200, query
        assert example.get("id") != "cone" or rows(tap, query)


def test_d60_d61_d63_calls_of_soda_run(tap: TestClient) -> None:
    found = examples(tap, "/soda/examples")
    assert len(found) == 2
    for example in found:
        pairs = [
            [str(e.text) for word in ("key", "value") for e in item.iter() if e.get("property") == word]
            for item in example.iter()
            if (item.get("property"), item.get("typeof")) == ("generic-parameter", "keyval")
        ]
        call = {pair[0]: pair[1] for pair in pairs}
        assert next(iter(call)) == "ID"
        answer = tap.get("/soda/sync", params=call)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == call["FORMAT"]
