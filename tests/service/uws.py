"""Jobs as a client has them: made, looked at, waited for."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from starlette.testclient import TestClient

from tests.service.conftest import BASE

U = "{http://www.ivoa.net/xml/UWS/v1.0}"
HREF = "{http://www.w3.org/1999/xlink}href"


def create(client: TestClient, endpoint: str = "/tap/async", **form: Any) -> str:
    """The path of a new job."""
    answer = client.post(endpoint, data=form)
    assert answer.status_code == 303
    location = answer.headers["location"]
    assert location.startswith(f"{BASE}{endpoint}/")
    return location.removeprefix(BASE)


def job(client: TestClient, path: str, **params: Any) -> ET.Element:
    """The document of a job, of its parameters or results, or of the list."""
    answer = client.get(path, params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml")
    return ET.fromstring(answer.content)


def finished(client: TestClient, path: str) -> ET.Element:
    """The job when it is over."""
    found = job(client, path, WAIT=20)
    while found.findtext(f"{U}phase") in ("QUEUED", "EXECUTING"):
        found = job(client, path, WAIT=20)
    return found
