"""A real server process and real clients: what the test client's shortcut would not notice."""

from __future__ import annotations

import http.client
from urllib.parse import urlencode, urlsplit

import pyvo

from tests.serving import PATIENCE


def test_pyvo_queries_at_once_and_as_a_job(live: str) -> None:
    service = pyvo.dal.TAPService(f"{live}/tap")
    query = "SELECT TOP 4 ssa_pubdid, ra FROM doppel.spectra ORDER BY ssa_pubdid"
    at_once = service.search(query)
    assert len(at_once) == 4
    job = service.submit_job(query)
    job.run().wait(timeout=PATIENCE)
    assert job.phase == "COMPLETED"
    assert list(job.fetch_result()["ssa_pubdid"]) == list(at_once["ssa_pubdid"])
    job.delete()
    assert "doppel.spectra" in service.tables
    assert service.tables["doppel.spectra"].columns
    assert service.maxrec == 20_000


def test_one_connection_serves_many_requests(live: str) -> None:
    place = urlsplit(live)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=PATIENCE)
    for maxrec in (0, 1, 10_000):
        form = {"LANG": "ADQL", "QUERY": "SELECT * FROM tap_schema.columns", "MAXREC": maxrec}
        connection.request("GET", f"/tap/sync?{urlencode(form)}")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read().rstrip().endswith(b"</VOTABLE>")
    connection.close()
