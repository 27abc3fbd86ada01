"""TAP with STILTS and pyvo: neighbours, uploaded tables, jobs, and documents that lint finds clean."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from urllib.parse import urlencode

import pytest
import pyvo
from astropy.table import Table

from tests.schemata import folder
from tests.stilts import stilts, votlint

pytestmark = pytest.mark.filterwarnings("ignore")  # what clients warn of is theirs

DOCUMENTS = [
    "tap/capabilities", "tap/tables", "tap/tables?detail=min", "tap/tables/doppel.spectra",
    "ssa/capabilities", "scs/capabilities", "similar_to/capabilities", "soda/capabilities",
    "ssa/availability", "scs/availability", "similar_to/availability", "soda/availability",
    "tap/availability", "tap/async", "tap/async/JOB", "oai?verb=Identify", "oai?verb=ListMetadataFormats",
    "oai?verb=ListRecords&metadataPrefix=ivo_vor", "oai?verb=ListRecords&metadataPrefix=oai_dc",
]  # fmt: skip
IVOA, OAI = "http://www.ivoa.net/xml", "http://www.openarchives.org/OAI/2.0/"
OTHER_SCHEMATA = {
    f"{IVOA}/SSA/v1.1": "SSA.xsd",
    f"{IVOA}/ConeSearch/v1.0": "ConeSearch.xsd",
    f"{IVOA}/VORegistry/v1.0": "VORegistry.xsd",
    f"{IVOA}/RegistryInterface/v1.0": "RegistryInterface.xsd",
    OAI: "OAI-PMH.xsd",
    f"{OAI}oai_dc/": "oai_dc.xsd",
    "http://purl.org/dc/elements/1.1/": "simpledc20021212.xsd",
}
STAR = "SELECT TOP 1 ssa_pubdid FROM doppel.optical ORDER BY ssa_pubdid"


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def archive(live: str) -> pyvo.dal.TAPService:
    return pyvo.dal.TAPService(f"{live}/tap")


@pytest.fixture(scope="module")
def did(archive: pyvo.dal.TAPService) -> str:
    return str(archive.search(STAR)[0]["ssa_pubdid"])


def nearest(did: str, k: int = 5) -> str:
    return (
        f"SELECT TOP {k} ssa_pubdid, ssa_targname, latent_distance(ssa_pubdid, '{did}') AS d "
        "FROM doppel.spectra ORDER BY d"
    )


@pytest.mark.parametrize("sync", ["true", "false"])
def test_stilts_tapquery_finds_the_same_neighbours_as_pyvo(
    live: str, archive: pyvo.dal.TAPService, did: str, sync: str
) -> None:
    query = nearest(did)
    found = rows(stilts("tapquery", f"tapurl={live}/tap", f"sync={sync}", f"adql={query}", "ofmt=csv"))
    assert [row["ssa_pubdid"] for row in found] == list(archive.search(query)["ssa_pubdid"])
    assert found[0]["ssa_pubdid"] == did
    assert float(found[0]["d"]) == 0
    distances = [float(row["d"]) for row in found]
    assert distances == sorted(distances)
    assert distances[1] > 0


def test_stilts_uploads_stars_and_gets_the_likes_of_each(live: str, did: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text(f"star,did\n1,{did}\n2,ivo://no/such\n", encoding="utf-8")
    query = (
        "SELECT u.star, s.ssa_pubdid FROM TAP_UPLOAD.mine AS u "
        "JOIN doppel.spectra AS s ON 1=similar_to(s.ssa_pubdid, u.did, 3)"
    )
    found = rows(
        stilts(
            "tapquery",
            f"tapurl={live}/tap",
            "sync=true",
            "nupload=1",
            f"upload1={mine}",
            "ufmt1=csv",
            "upname1=mine",
            f"adql={query}",
            "ofmt=csv",
        )
    )
    assert [row["star"] for row in found] == ["1"] * 3
    assert did not in {row["ssa_pubdid"] for row in found}


def test_pyvo_sends_a_table_of_its_own(archive: pyvo.dal.TAPService, did: str) -> None:
    query = (
        "SELECT m.n, latent_distance(s.ssa_pubdid, m.did) AS d FROM TAP_UPLOAD.m AS m "
        "JOIN doppel.spectra AS s ON s.ssa_pubdid = m.did"
    )
    found = archive.search(query, uploads={"m": Table({"n": [7], "did": [did]})})
    assert (int(found[0]["n"]), float(found[0]["d"])) == (7, 0.0)


@pytest.mark.parametrize("query", [STAR.replace("TOP 1", "TOP 3"), "SELECT TOP 2 * FROM ivoa.obscore"])
def test_x01_votlint_finds_nothing_in_tap_results(live: str, query: str) -> None:
    url = f"{live}/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': query})}"
    assert votlint(url) == ""


@pytest.mark.parametrize("document", DOCUMENTS)
def test_h06_xsdvalidate_finds_every_document_valid(
    live: str, archive: pyvo.dal.TAPService, document: str
) -> None:
    """By the schemas that STILTS has, and for what it has not by those of DaCHS."""
    url = f"{live}/{document.replace('JOB', archive.submit_job(STAR).job_id)}"
    others = [f"schemaloc={uri}={folder() / file}" for uri, file in OTHER_SCHEMATA.items()]
    said = stilts("xsdvalidate", f"doc={url}", "uselocals=true", *others)
    assert [line for line in said.splitlines() if "Unused custom schema" not in line] == []


def test_a_wrong_query_tells_pyvo_and_stilts_what_was_meant(live: str, archive: pyvo.dal.TAPService) -> None:
    wrong = "SELECT TOP 1 * FROM doppel.spectre"
    with pytest.raises(pyvo.dal.DALQueryError, match=r"doppel\.spectra"):
        archive.search(wrong)
    with pytest.raises(AssertionError, match=r"doppel\.spectra"):
        stilts("tapquery", f"tapurl={live}/tap", "sync=true", f"adql={wrong}")
