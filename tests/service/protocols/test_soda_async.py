"""`/soda/async`: jobs of cutouts, one result for each combination of values (SODA 1.0, 6; UWS 1.1)."""

from __future__ import annotations

import io

import pytest
from astropy.table import Table
from starlette.testclient import TestClient

from index.release import OpenRelease
from tests.service.conftest import BASE
from tests.service.uws import HREF, U, create, finished, job

pytestmark = pytest.mark.filterwarnings("ignore:The unit '(Angstrom|erg)' has been deprecated")
ENDPOINT = "/soda/async"


@pytest.fixture(scope="module")
def dids(release: OpenRelease) -> list[str]:
    """Spectra that the models have embedded: they cover the optical."""
    return [release.did_of(int(row)) for row in release.models["optical"].vectors.rows[:2]]


def waves(client: TestClient, href: str) -> tuple[float, float]:
    """First and last wavelength of a result."""
    answer = client.get(href.removeprefix(BASE))
    assert answer.headers["content-type"].startswith("application/x-votable+xml")
    table = Table.read(io.BytesIO(answer.content), format="votable")
    return float(table["wavelength"][0]), float(table["wavelength"][-1])


def test_u03_c03_one_result_for_each_spectrum_and_band(tap: TestClient, dids: list[str]) -> None:
    bands = ["4.5e-7 4.6e-7", "5e-7 5.1e-7"]
    path = create(tap, ENDPOINT, ID=dids, BAND=bands, PHASE="RUN", RUNID="cuts")
    found = finished(tap, path)
    assert (found.findtext(f"{U}phase"), found.findtext(f"{U}runId")) == ("COMPLETED", "cuts")
    told = [(p.get("id"), p.text) for p in found.iter(f"{U}parameter")]
    assert told == [*(("ID", did) for did in dids), *(("BAND", band) for band in bands), ("RUNID", "cuts")]
    results = list(found.iter(f"{U}result"))
    assert [one.get("id") for one in results] == [f"result-{n}" for n in range(1, 5)]
    for number, one in enumerate(results):
        low, high = waves(tap, str(one.get(HREF)))
        assert 4500 + 500 * (number % 2) <= low < high <= 4600 + 500 * (number % 2)
        assert one.get("mime-type") == "application/x-votable+xml"
    assert [ref.get("id") for ref in job(tap, ENDPOINT, LAST=1)] == [path.rsplit("/", 1)[-1]]


def test_c03_a_single_result_is_named_as_every_client_expects(tap: TestClient, dids: list[str]) -> None:
    path = create(tap, ENDPOINT, ID=dids[0], BAND="5e-7 5.1e-7", FORMAT="fits", PHASE="RUN")
    finished(tap, path)
    answer = tap.get(f"{path}/results/result")
    assert answer.headers["content-type"] == "application/fits"
    assert answer.headers["content-disposition"].endswith('.fits"')
    assert len(Table.read(io.BytesIO(answer.content), format="fits")) > 10


def test_c04_a_combination_without_overlap_is_told_in_its_place(tap: TestClient, dids: list[str]) -> None:
    path = create(tap, ENDPOINT, ID=[dids[0], "ivo://no/such"], BAND=["5e-7 5.1e-7", "1 2"], PHASE="RUN")
    assert finished(tap, path).findtext(f"{U}phase") == "COMPLETED"
    texts = [tap.get(f"{path}/results/result-{n}") for n in range(1, 5)]
    assert texts[0].headers["content-type"].startswith("application/x-votable+xml")
    for text, word in zip(texts[1:], ("nothing of", "no spectrum", "no spectrum"), strict=True):
        assert text.headers["content-type"].startswith("text/plain")
        assert text.text.startswith("UsageError: ")
        assert word in text.text


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, "UsageError: The parameter ID is missing"),
        ({"ID": "ivo://no/such"}, "UsageError: ID: no spectrum"),
        ({"ID": "x", "BAND": "wide"}, "UsageError: BAND"),
        ({"ID": "x", "FORMAT": ["fits", "csv"]}, "MultiValuedParamNotSupported: FORMAT"),
    ],
)
def test_u11_c05_errors_are_told_in_the_job_and_as_text(
    tap: TestClient, form: dict[str, str], words: str
) -> None:
    path = create(tap, ENDPOINT, **form, PHASE="RUN")
    found = finished(tap, path)
    assert found.findtext(f"{U}phase") == "ERROR"
    answer = tap.get(f"{path}/error")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.startswith(words)
    message = str(found.findtext(f"{U}errorSummary/{U}message"))
    assert answer.text.rstrip().endswith(f": {message}")


def test_u04_u06_u15_the_whole_life_of_a_job(tap: TestClient, dids: list[str]) -> None:
    path = create(tap, ENDPOINT)
    assert tap.get(f"{path}/phase").text == "PENDING"
    assert tap.post(f"{path}/parameters", data={"ID": dids[0]}).status_code == 303
    assert tap.post(f"{path}/executionduration", data={"EXECUTIONDURATION": "7"}).status_code == 303
    assert tap.get(f"{path}/executionduration").text == "7"
    assert tap.post(path, data={"ID": dids[0]}).status_code == 400
    assert tap.post(f"{path}/phase", data={"PHASE": "ABORT"}).status_code == 303
    assert tap.get(f"{path}/phase").text == "ABORTED"
    refused = tap.post(f"{path}/phase", data={"PHASE": "RUN"})
    assert (refused.status_code, refused.text.split(":")[0]) == (403, "AuthorizationError")
    assert tap.delete(path).headers["location"] == f"{BASE}{ENDPOINT}"
    gone = tap.get(path)
    assert (gone.status_code, gone.text) == (404, f"UsageError: There is no job {path.rsplit('/', 1)[-1]}\n")


def test_jobs_of_the_two_endpoints_are_apart(tap: TestClient, dids: list[str]) -> None:
    mine = create(tap, ENDPOINT, ID=dids[0])
    id_ = mine.rsplit("/", 1)[-1]
    assert tap.get(f"/tap/async/{id_}").status_code == 404
    assert id_ not in {ref.get("id") for ref in job(tap, "/tap/async")}


def test_c01_capabilities_name_both_endpoints(tap: TestClient) -> None:
    text = tap.get("/soda/capabilities").text
    for kind in ("sync", "async"):
        assert f'standardID="ivo://ivoa.net/std/SODA#{kind}-1.0"' in text
        assert f"{BASE}/soda/{kind}</accessURL>" in text
    assert "<vosi:available>true" in tap.get("/soda/availability").text.replace(
        "<available>", "<vosi:available>"
    )


@pytest.mark.parametrize(
    ("path", "status"), [("/soda/sync", 400), ("/soda/sync?ID=x", 404), ("/soda/nothing", 404)]
)
def test_c05_every_error_below_soda_is_plain_text(tap: TestClient, path: str, status: int) -> None:
    answer = tap.get(path)
    assert (answer.status_code, answer.text.split(":")[0]) == (status, "UsageError")
    assert answer.headers["content-type"].startswith("text/plain")
