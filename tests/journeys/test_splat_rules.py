"""What SPLAT-VO demands, read in its source, held against the bytes of our answers. It was not run itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlencode
from urllib.request import urlopen
from xml.etree import ElementTree

import pytest
from PIL import Image

FITS = ("application/fits", "image/fits", "spectrum/fits", "timeseries/fits", "fits")
TABLES = (
    "text/plain", "application/x-votable+xml", "text/xml;x-votable", "text/x-votable+xml", "spectrum/votable",
    "votable", "xml",
)  # fmt: skip
COORDINATES = ("wavelength", "freq", "velo", "redshift", "pos", "x")  # first match is the coordinate
FLUXES = ("flux", "inten", "temp", "mag", "energy", "y")
ERRORS = ("error", "sigma", "stddev")
VALUES = {
    "INPUT:POS",
    "INPUT:SIZE",
    "INPUT:BAND",
    "INPUT:TIME",
    "INPUT:FORMAT",
    "INPUT:SIMILAR_TO",
    "INPUT:TOP",
}


def fetch(url: str) -> bytes:
    with urlopen(url, timeout=60) as stream:
        return bytes(stream.read())


def tree(url: str) -> ElementTree.Element:
    """Without namespaces, as SPLAT's filter reads it."""
    text = re.sub(r'\sxmlns="[^"]+"', "", fetch(url).decode())
    return ElementTree.fromstring(text)


def rows(document: ElementTree.Element) -> Iterator[dict[str, str]]:
    table = first_table(document)
    names = [field.get("name", "") for field in table.findall("FIELD")]
    for row in table.iter("TR"):
        yield dict(zip(names, ["".join(cell.itertext()) for cell in row.findall("TD")], strict=True))


def first_table(document: ElementTree.Element) -> ElementTree.Element:
    """Of the first RESOURCE whose type is exactly `results`."""
    results = next(resource for resource in document.iter("RESOURCE") if resource.get("type") == "results")
    return results.findall("TABLE")[0]


def mime_is_known(mime: str) -> bool:
    return mime.startswith((*FITS, *TABLES))


@pytest.fixture(scope="module")
def ssa(live: str) -> ElementTree.Element:
    """As SPLAT asks for it: no VERSION, and MAXREC."""
    return tree(f"{live}/ssa?REQUEST=queryData&MAXREC=20&BAND=4e-7/8e-7&RESPONSEFORMAT=votable/td")


@pytest.fixture(scope="module")
def did(ssa: ElementTree.Element) -> str:
    return next(rows(ssa))["ssa_pubDID"]


@pytest.fixture(scope="module")
def links(live: str, did: str) -> ElementTree.Element:
    return tree(f"{live}/datalink/links?{urlencode({'ID': did})}")


def test_the_query_status_is_told(ssa: ElementTree.Element) -> None:
    status = next(info for info in ssa.iter("INFO") if info.get("name") == "QUERY_STATUS")
    assert status.get("value") in ("OK", "OVERFLOW")


@pytest.mark.parametrize("suffix", ["access.reference", "access.format", "target.name"])
def test_columns_are_found_by_the_end_of_their_utype_and_are_never_null(
    ssa: ElementTree.Element, suffix: str
) -> None:
    fields = first_table(ssa).findall("FIELD")
    (name,) = [field.get("name") for field in fields if field.get("utype", "").lower().endswith(suffix)]
    values = [row[str(name)] for row in rows(ssa)]
    assert values
    assert all(values)


def test_the_identifier_is_found_by_name_alone(live: str, ssa: ElementTree.Element) -> None:
    assert "ssa_pubDID" in [field.get("name") for field in first_table(ssa).findall("FIELD")]
    query = urlencode(
        {"LANG": "ADQL", "QUERY": "SELECT TOP 3 * FROM ivoa.obscore", "RESPONSEFORMAT": "votable/td"}
    )
    obscore = tree(f"{live}/tap/sync?{query}")
    wanted = {"obs_publisher_did", "access_url", "access_format", "target_name", "em_min", "em_max"}
    for row in rows(obscore):
        assert {name for name in wanted if row[name]} == wanted


def test_every_row_has_a_format_that_opens(ssa: ElementTree.Element) -> None:
    kinds = {row["mime"] for row in rows(ssa)}
    assert kinds
    assert all(map(mime_is_known, kinds))


def test_a_field_that_is_referred_to_has_its_name_as_id(ssa: ElementTree.Element) -> None:
    names = {field.get("name") for field in first_table(ssa).findall("FIELD")}
    refs = {param.get("ref") for param in ssa.iter("PARAM") if param.get("ref")}
    assert refs
    assert refs <= names
    assert all(param.get("name") == "ID" for param in ssa.iter("PARAM") if param.get("ref"))


def test_a_query_as_splat_writes_it_is_answered(live: str) -> None:
    """REQUEST in any case, no VERSION, the media type encoded, every field of its window."""
    asked = "POS=180,20&SIZE=180&MAXREC=5&BAND=/8e-7&TIME=/2030&WAVECALIB=ABSOLUTE&FORMAT=application%2Ffits"
    document = tree(f"{live}/ssa?request=querydata&{asked}&RESPONSEFORMAT=votable/td")
    assert {row["mime"] for row in rows(document)} == {"application/fits"}


@pytest.mark.parametrize("axis", ["spectralaxis.unit", "fluxaxis.unit", "fluxaxis.accuracy.staterror"])
def test_axes_are_found_by_the_end_of_their_utype(ssa: ElementTree.Element, axis: str) -> None:
    utypes = [field.get("utype", "").lower() for field in first_table(ssa).findall("FIELD")]
    assert len([utype for utype in utypes if utype.endswith(f"char.{axis}")]) == 1


def test_the_registry_has_what_the_list_of_servers_shows(live: str) -> None:
    """SPLAT fails at a NULL waveband or e-mail; the short name is its label (at most 16 characters)."""
    records = tree(f"{live}/oai?verb=ListRecords&metadataPrefix=ivo_vor")
    (ssa,) = [one for one in records.iter("capability") if one.get("standardID") == "ivo://ivoa.net/std/SSA"]
    (record,) = [one for one in records.iter() if ssa in list(one)]
    assert 0 < len(record.findtext("shortName", "")) <= 16
    assert "@" in record.findtext("curation/contact/email", "")
    assert record.findtext("curation/publisher")
    assert record.findtext("coverage/waveband")
    assert ssa.findtext("dataSource")
    assert ssa.findtext("creationType")
    kind = "{http://www.w3.org/2001/XMLSchema-instance}type"
    assert [one.get(kind) for one in ssa.iter("interface") if one.get("role") == "std"] == ["vs:ParamHTTP"]


def test_obscore_is_declared_as_version_1_0_too(live: str) -> None:
    models = [one.get("ivo-id", "").lower() for one in tree(f"{live}/tap/capabilities").iter("dataModel")]
    assert any(re.fullmatch(r"ivo://ivoa.net/std/obscore(-1.0|/v1.0)", model) for model in models)


def test_no_link_asks_for_a_panel_that_is_not_there(links: ElementTree.Element) -> None:
    """A `#proc` row makes the panel at the top; every service that a row names is looked up by ID."""
    found = list(rows(links))
    assert "#proc" not in [row["semantics"] for row in found]
    described = {one.get("ID") for one in links.findall("RESOURCE") if one.get("utype") == "adhoc:service"}
    assert {row["service_def"] for row in found if row["service_def"]} <= described


def test_inputs_of_metadata_are_direct_children_of_the_first_resource(live: str) -> None:
    first = tree(f"{live}/ssa?REQUEST=queryData&FORMAT=METADATA").findall("RESOURCE")[0]
    inputs = {param.get("name"): param for param in first.findall("PARAM")}
    assert set(inputs) >= VALUES
    assert all(
        param.findtext("DESCRIPTION") for name, param in inputs.items() if str(name).startswith("INPUT:")
    )


def test_the_bare_query_that_a_position_at_zero_makes_is_answered(live: str) -> None:
    assert list(rows(tree(f"{live}/ssa?REQUEST=queryData&FORMAT=&MAXREC=5&RESPONSEFORMAT=votable/td")))


def test_a_spectrum_has_the_columns_that_are_looked_for(live: str, ssa: ElementTree.Element) -> None:
    table = first_table(tree(next(rows(ssa))["accref"]))
    fields = {field.get("name", ""): field for field in table.findall("FIELD")}
    for wanted, name in ((COORDINATES, "wavelength"), (FLUXES, "flux"), (ERRORS, "error")):
        found = [known for known in fields if known.lower().startswith(wanted)]
        assert found[:1] in ([name], [])  # error is there where the archive has errors
    assert fields["wavelength"].get("unit") == "Angstrom"
    assert list(fields)[:2] == ["wavelength", "flux"]


def test_a_fits_spectrum_has_the_same_columns(live: str, links: ElementTree.Element) -> None:
    from astropy.io import fits

    url = next(row["access_url"] for row in rows(links) if row["content_type"] == "application/fits")
    with fits.open(url, cache=False) as hdus:
        assert hdus[1].columns.names[:2] == ["wavelength", "flux"]
        assert hdus[1].columns["wavelength"].unit == "Angstrom"


def test_links_have_semantics_and_content_type_and_begin_with_this(links: ElementTree.Element) -> None:
    found = list(rows(links))
    assert all(row["semantics"] and row["content_type"] for row in found)
    assert found[0]["semantics"] == "#this"
    assert mime_is_known(found[0]["content_type"])
    kinds = [row["semantics"] for row in found]
    assert kinds.index("#cutout") < kinds.index(next(kind for kind in kinds if kind.endswith("#similar")))


def test_the_preview_is_a_picture_that_java_reads(
    links: ElementTree.Element, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (row,) = [row for row in rows(links) if row["semantics"] == "#preview"]
    assert row["content_type"] in ("image/png", "image/jpeg")
    file = tmp_path_factory.mktemp("preview") / "preview"
    file.write_bytes(fetch(row["access_url"]))
    with Image.open(file) as picture:
        assert picture.format == "PNG"
        assert picture.size[0] > 100


def test_soda_has_a_panel_with_an_interval(links: ElementTree.Element) -> None:
    (row,) = [row for row in rows(links) if row["semantics"] == "#cutout"]
    service = next(one for one in links.findall("RESOURCE") if one.get("ID") == row["service_def"])
    params = {param.get("name"): param for param in service.iter("PARAM")}
    assert params["standardID"].get("value", "").startswith("ivo://ivoa.net/std/SODA#")
    assert params["ID"].get("value")
    assert (params["BAND"].get("xtype"), params["BAND"].get("arraysize")) == ("interval", "2")
    assert params["BAND"].find("VALUES/MIN") is not None


def test_likes_open_as_a_page_by_double_click(links: ElementTree.Element) -> None:
    (row,) = [row for row in rows(links) if row["semantics"].endswith("#similar") and row["access_url"]]
    assert row["content_type"] == "text/html"
    assert b"Nearest spectra" in fetch(row["access_url"])
