"""DataLink 1.1, line by line of the checklist, on bytes as clients get them."""

import io
import subprocess
from urllib.parse import quote, unquote, urlsplit

import pytest
from astropy.io import votable

from service.errors import UsageFault
from service.protocols import datalink
from service.protocols.dali import Params
from service.protocols.datalink import DATALINK_TYPE, MAX_IDS, SIMILAR, document, find_links
from service.protocols.products import find
from tests.clients import require
from tests.service.protocols.conftest import STRANGE

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
    assert list(dict.fromkeys(row["ID"] for row in found)) == [did, archive.did_of(1)]
    assert sorted(row["ID"] for row in found) in (
        [row["ID"] for row in found],
        sorted(r["ID"] for r in found),
    )
    assert MAX_IDS > 2


def test_l05_exactly_one_of_url_service_and_error(archive, did):
    for row in rows(archive, did, "ivo://nowhere/x?y"):
        assert sum(bool(row[name]) for name in ("access_url", "service_def", "error_message")) == 1


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


def test_l20_to_l23_profile_of_rows(archive, did):
    found = rows(archive, did)
    semantics = [row["semantics"] for row in found]
    assert semantics == ["#this"] * 4 + ["#preview", "#cutout", SIMILAR, SIMILAR]
    assert found[0]["content_type"] == "application/x-votable+xml"
    assert all(row["content_type"] and row["description"] for row in found)
    assert (found[-2]["service_def"], found[-2]["local_semantics"]) == ("similar", "similar_to")
    assert found[-1]["content_type"] == "text/html"
    assert found[3]["content_length"] > 0


def test_l32_descriptors_resolve_and_carry_the_coverage(archive, did):
    document = parsed(archive, did)
    meta = {resource.ID: resource for resource in document.resources if resource.type == "meta"}
    service_defs = {row["service_def"] for row in rows(archive, did)} - {""}
    assert service_defs == set(meta)
    inputs = {param.name: param for param in meta["cutout_1"].groups[0].entries}
    assert (inputs["ID"].value, inputs["BAND"].xtype, inputs["BAND"].unit) == (did, "interval", "m")
    assert inputs["BAND"].values.min == pytest.approx(3.8e-7)
    likes = {param.name: param for param in meta["similar"].groups[0].entries}
    assert likes["ID"].ref == "ID"
    assert "physics" in [option[1] for option in likes["SPACE"].values.options]
    assert "standardID" not in {param.name for param in meta["similar"].params}


@pytest.mark.parametrize("spelling", [STRANGE, STRANGE.replace("+", " ")])
def test_identifiers_with_plus_hash_and_ampersand_survive_every_link(archive, spelling):
    found = rows(archive, spelling)
    assert {row["ID"] for row in found} == {spelling}
    urls = [urlsplit(row["access_url"]) for row in found if row["access_url"]]
    assert not any(url.fragment for url in urls)
    for url in urls[:5]:
        path = unquote(url.path.removeprefix("/doppel/spectra/"))
        assert archive.did_of(find(archive, path)[0]) == STRANGE
    assert quote(STRANGE, safe="") in urls[-1].query


@pytest.mark.parametrize("ids", [0, 1, 3])
def test_datalinklint_and_votlint_find_nothing(archive, did, ids, tmp_path):
    require("stilts")
    file = tmp_path / "links.vot"
    asked = [did, "ivo://nowhere/x?y", STRANGE][:ids]
    file.write_bytes(ask(archive, *asked)[1])
    lint = subprocess.run(
        ["stilts", "datalinklint", f"votable={file}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Totals: Errors: 0; Warnings: 0;" in lint.stdout, lint.stdout
    said = subprocess.run(
        ["stilts", "votlint", f"votable={file}", "ucd=true", "unit=true"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert said.stdout == ""


def test_a_batch_is_answered_in_the_order_asked(archive):
    ids = [archive.did_of(row) for row in (7, 2, 2, 30)]
    assert [link.id for link in find_links(archive, ids, BASE).rows][::8] == ids
