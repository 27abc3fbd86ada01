"""What Aladin Lite demands, read in its source, held against the bytes of our answers. It was not run."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode
from urllib.request import Request, urlopen
from xml.etree import ElementTree

import pytest

from tests.journeys.test_splat_rules import first_table, rows, tree

DATALINK = "application/x-votable+xml;content=datalink"
MANDATORY = ("s_ra", "s_dec", "s_region", "access_url", "access_format")
IMAGES = ("image/fits", "application/fits", "application/x-fits-mef")


@pytest.fixture(scope="module")
def obscore(live: str) -> ElementTree.Element:
    query = {"LANG": "ADQL", "QUERY": "SELECT TOP 20 * FROM ivoa.obscore", "RESPONSEFORMAT": "votable/td"}
    return tree(f"{live}/tap/sync?{urlencode(query)}")


@pytest.fixture(scope="module")
def links(obscore: ElementTree.Element) -> ElementTree.Element:
    return tree(next(rows(obscore))["access_url"])


def headers(url: str, method: str = "GET", **fields: str) -> dict[str, str]:
    request = Request(url, method=method, headers={"Origin": "https://aladin.example", **fields})
    with urlopen(request, timeout=60) as answer:
        return {name.lower(): value for name, value in answer.headers.items()}


def test_obscore_has_every_field_that_is_mandatory_there(obscore: ElementTree.Element) -> None:
    names = [field.get("name") for field in first_table(obscore).findall("FIELD")]
    assert set(MANDATORY) <= set(names)


def test_regions_are_there_where_positions_are(obscore: ElementTree.Element) -> None:
    placed = [row for row in rows(obscore) if row["s_ra"]]
    assert placed
    assert all(row["s_region"] for row in placed)


def test_a_click_opens_the_links_table_and_never_loads_a_spectrum_as_an_image(
    obscore: ElementTree.Element,
) -> None:
    assert {row["access_format"] for row in rows(obscore)} == {DATALINK}


def test_the_links_document_says_the_same_type_to_the_letter(live: str, obscore: ElementTree.Element) -> None:
    assert headers(next(rows(obscore))["access_url"])["content-type"] == DATALINK


def test_the_first_link_is_no_image(links: ElementTree.Element) -> None:
    first = next(rows(links))
    assert first["semantics"] == "#this"
    assert first["content_type"] not in IMAGES


def test_the_form_is_offered_for_cutouts(links: ElementTree.Element) -> None:
    (row,) = [row for row in rows(links) if row["semantics"] == "#cutout"]
    service = next(one for one in links.findall("RESOURCE") if one.get("ID") == row["service_def"])
    assert {param.get("name") for param in service.findall("GROUP/PARAM")} >= {"ID", "BAND"}


def addresses(live: str, obscore: ElementTree.Element, links: ElementTree.Element) -> Sequence[str]:
    products = [row["access_url"] for row in rows(links) if row["access_url"]]
    return [f"{live}/ssa?REQUEST=queryData&MAXREC=1", next(rows(obscore))["access_url"], *products]


def test_h01_pages_of_other_sites_may_read_every_answer(
    live: str, obscore: ElementTree.Element, links: ElementTree.Element
) -> None:
    for url in addresses(live, obscore, links):
        assert headers(url)["access-control-allow-origin"] == "*", url


def test_h01_they_may_ask_before_they_post(live: str) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    told = headers(f"{live}/tap/sync", "OPTIONS", **asked)
    assert told["access-control-allow-origin"] == "*"
    assert "POST" in told["access-control-allow-methods"]
