"""UWS 1.1 over HTTP (CHECKLIST, section 4)."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from astropy.io import votable
from starlette.testclient import TestClient

from tests.service.conftest import BASE
from tests.service.uws import HREF, U, create, finished, job

OURS, EVIL = "http://archive.example", "http://evil.example"
QUERY = {"LANG": "ADQL", "QUERY": "SELECT TOP 3 ssa_pubdid FROM doppel.spectra"}


def test_u03_u10_t23_a_job_runs_to_its_result(tap: TestClient) -> None:
    path = create(tap, **QUERY, PHASE="RUN", RUNID="r1")
    found = finished(tap, path)
    assert found.tag == f"{U}job"
    assert found.get("version") == "1.1"
    assert found.findtext(f"{U}phase") == "COMPLETED"
    assert found.findtext(f"{U}runId") == "r1"
    (result,) = found.iter(f"{U}result")
    assert result.get("id") == "result"
    assert result.get(HREF) == f"{BASE}{path}/results/result"
    answer = tap.get(f"{path}/results/result")
    assert len(votable.parse(io.BytesIO(answer.content)).get_first_table().array) == 3
    assert result.get("size") == str(len(answer.content))


def test_t16_an_empty_job_is_filled_later(tap: TestClient) -> None:
    path = create(tap)
    assert tap.get(f"{path}/phase").text == "PENDING"
    assert tap.post(f"{path}/parameters", data=QUERY).status_code == 303
    shown = job(tap, f"{path}/parameters")
    assert {p.get("id"): p.text for p in shown} == QUERY
    assert tap.post(f"{path}/phase", data={"PHASE": "RUN"}).headers["location"] == f"{BASE}{path}"
    assert finished(tap, path).findtext(f"{U}phase") == "COMPLETED"
    assert tap.post(f"{path}/parameters", data=QUERY).status_code == 403


def test_u11_d44_an_error_is_told_in_the_job_and_beside_it(tap: TestClient) -> None:
    path = create(tap, LANG="ADQL", QUERY="SELECT nothing FROM doppel.spectra", PHASE="RUN")
    found = finished(tap, path)
    assert found.findtext(f"{U}phase") == "ERROR"
    assert "nothing" in (found.findtext(f"{U}errorSummary/{U}message") or "")
    answer = tap.get(f"{path}/error")
    assert answer.status_code == 200
    assert b'value="ERROR"' in answer.content
    assert tap.get(f"{path}/results/result").status_code == 404


def test_u04_u08_u09_controls(tap: TestClient) -> None:
    path = create(tap)
    assert tap.post(f"{path}/executionduration", data={"EXECUTIONDURATION": "77"}).status_code == 303
    assert tap.get(f"{path}/executionduration").text == "77"
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S")
    assert tap.post(f"{path}/destruction", data={"DESTRUCTION": f"{tomorrow}Z"}).status_code == 303
    assert tap.get(f"{path}/destruction").text == f"{tomorrow}.000Z"
    assert tap.get(f"{path}/quote").text == ""
    assert tap.get(f"{path}/owner").text == ""
    assert tap.post(f"{path}/executionduration", data={"EXECUTIONDURATION": "x"}).status_code == 400


def test_u05_deleted_jobs_are_gone(tap: TestClient) -> None:
    first, second = create(tap), create(tap)
    assert tap.delete(first).headers["location"] == f"{BASE}/tap/async"
    assert tap.post(second, data={"ACTION": "DELETE"}).status_code == 303
    for path in (first, second, f"{first}/phase", "/tap/async/nothing", "/tap/async/nothing/results"):
        assert tap.get(path).status_code == 404


def test_u06_parameters_do_not_go_to_the_job_itself(tap: TestClient) -> None:
    path = create(tap, **QUERY)
    assert tap.post(path, data={"QUERY": "SELECT 1"}).status_code == 400
    (asked,) = (one for one in job(tap, path).iter(f"{U}parameter") if one.get("id") == "QUERY")
    assert asked.text == QUERY["QUERY"]


def test_u12_wait_returns_at_once_where_nothing_runs(tap: TestClient) -> None:
    path = create(tap, **QUERY, PHASE="RUN")
    finished(tap, path)
    assert job(tap, path, WAIT=-1).findtext(f"{U}phase") == "COMPLETED"
    pending = create(tap)
    assert job(tap, pending, WAIT=10, PHASE="QUEUED").findtext(f"{U}phase") == "PENDING"


def test_u13_the_list_and_its_filters(tap: TestClient) -> None:
    path = create(tap, RUNID="listed")
    listed = job(tap, "/tap/async", PHASE="PENDING", LAST=1)
    assert listed.get("version") == "1.1"
    assert [ref.get("id") for ref in listed] == [path.rsplit("/", 1)[-1]]
    assert len(job(tap, "/tap/async", AFTER="2200-01-01T00:00:00")) == 0
    assert tap.get("/tap/async", params={"PHASE": "DANCING"}).status_code == 400


def test_u03_abort(tap: TestClient) -> None:
    path = create(tap)
    assert tap.post(f"{path}/phase", data={"PHASE": "ABORT"}).status_code == 303
    assert tap.get(f"{path}/phase").text == "ABORTED"
    assert tap.post(f"{path}/phase", data={"PHASE": "RUN"}).status_code == 403
    assert tap.post(f"{path}/phase", data={"PHASE": "FLY"}).status_code == 400


def test_an_inline_upload_waits_for_its_job(tap: TestClient) -> None:
    form = {"LANG": "ADQL", "QUERY": "SELECT a FROM TAP_UPLOAD.t", "UPLOAD": "t,param:../f", "FORMAT": "csv"}
    answer = tap.post("/tap/async", data=form, files={"../f": ("f", b"a\n1\n2\n")})
    path = answer.headers["location"].removeprefix(BASE)
    tap.post(f"{path}/phase", data={"PHASE": "RUN"})
    assert finished(tap, path).findtext(f"{U}phase") == "COMPLETED"
    assert tap.get(f"{path}/results/result").text.split() == ["a", "1", "2"]


def test_u16_inline_files_are_parameters_by_reference(tap: TestClient) -> None:
    form = {**QUERY, "UPLOAD": ["t,param:my/f", "u,http://elsewhere.example/x"]}
    answer = tap.post("/tap/async", data=form, files={"my/f": ("f", b"a\n1\n")})
    path = answer.headers["location"].removeprefix(BASE)
    for document in (job(tap, path), job(tap, f"{path}/parameters")):
        told = list(document.iter(f"{U}parameter"))
        assert [p.text for p in told if p.get("id") == "UPLOAD"] == form["UPLOAD"]
        (file,) = (p for p in told if p.get("byReference") == "true")
        assert file.get("id") == "my/f"
        assert tap.get(str(file.text).removeprefix(BASE)).content == b"a\n1\n"
    assert tap.get(f"{path}/parameters/other").status_code == 404


def test_abort_interrupts_the_statement(tap: TestClient) -> None:
    query = (
        "SELECT COUNT(*) AS n FROM doppel.spectra AS a, doppel.spectra AS b, doppel.spectra AS c, "
        "doppel.spectra AS d, doppel.spectra AS e WHERE SIN(a.ra) * SIN(b.ra) * COS(c.ra) * COS(d.dec) > e.ra"
    )
    path = create(tap, LANG="ADQL", QUERY=query, PHASE="RUN")
    while (now := tap.get(f"{path}/phase").text) == "QUEUED":
        job(tap, path, WAIT=20, PHASE=now)
    assert now == "EXECUTING"
    tap.post(f"{path}/phase", data={"PHASE": "ABORT"})
    assert tap.get(f"{path}/phase").text == "ABORTED"
    after = create(tap, **QUERY, PHASE="RUN")
    assert finished(tap, after).findtext(f"{U}phase") == "COMPLETED"


CHILDREN = {"phase": "phase", "executionduration": "executionDuration", "destruction": "destruction"}


@pytest.mark.parametrize("child", [*CHILDREN, "quote", "owner"])
def test_u07_simple_children_are_plain_text_and_say_what_the_job_says(tap: TestClient, child: str) -> None:
    path = create(tap)
    answer = tap.get(f"{path}/{child}")
    assert answer.headers["content-type"].startswith("text/plain")
    told = job(tap, path).findtext(f"{U}{CHILDREN[child]}") if child in CHILDREN else ""
    assert answer.text == told


def test_u01_every_child_of_a_job_is_there(tap: TestClient) -> None:
    path = create(tap, **QUERY)
    for child in ("phase", "executionduration", "destruction", "quote", "results", "parameters", "owner"):
        assert tap.get(f"{path}/{child}").status_code == 200
    assert tap.get(f"{path}/error").status_code == 404  # there is none yet
    assert tap.get(f"{path}/Phase").status_code == 404  # names are lower case


@pytest.mark.parametrize("accept", ["*/*", "text/html,application/xhtml+xml;q=0.9", "application/xml"])
def test_u14_jobs_are_told_in_xml(tap: TestClient, accept: str) -> None:
    for path in ("/tap/async", create(tap)):
        assert tap.get(path, headers={"accept": accept}).headers["content-type"] == "text/xml"


def test_u13_jobs_are_not_listed_for_pages_of_other_sites(tap: TestClient) -> None:
    """A list goes by the address of who asks, which a page in their browser has too; a job by its name."""
    path = create(tap, **QUERY)
    listed = {origin: tap.get("/tap/async", headers={"Origin": origin}) for origin in (OURS, "null", EVIL)}
    assert {origin: answer.status_code for origin, answer in listed.items()} == {
        OURS: 200,
        "null": 403,
        EVIL: 403,
    }
    assert path.rpartition("/")[2] in listed[OURS].text
    assert "pages of other sites" in listed[EVIL].text
    assert tap.get("/soda/async", headers={"Origin": EVIL}).status_code == 403
    assert tap.get(path, headers={"Origin": EVIL}).headers["access-control-allow-origin"] == "*"
    assert tap.delete(path, headers={"Origin": EVIL}).status_code == 303
