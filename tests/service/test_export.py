"""`doppel export dachs`: the descriptor is whole, and a real DaCHS imports, publishes and answers from it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode
from urllib.request import urlopen

import pytest
import pyvo
from astropy.io.votable import parse_single_table
from lxml import etree
from pyvo.dal.adhoc import DatalinkResults

from index.release import OpenRelease
from registry_metadata.columns import Column
from registry_metadata.dachs import type_of
from service.cli import main
from service.config import Config
from service.registry import listed
from tests.dachs import installed
from tests.schemata import problems

SCHEMA = "doppeltest"


@pytest.fixture(scope="module")
def exported(config_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The resource directory."""
    directory = tmp_path_factory.mktemp("dachs") / SCHEMA
    assert main(["export", "dachs", str(directory), "--config", str(config_path)]) == 0
    return directory


def test_every_column_has_its_value_in_the_data(exported: Path, release: OpenRelease) -> None:
    descriptor = etree.parse(exported / "q.rd").getroot()
    assert descriptor.get("schema") == SCHEMA
    for table, file in {"raw_data": "spectra", "optical": "optical", "halpha": "halpha"}.items():
        data = parse_single_table(exported / "data" / f"{file}.vot", verify="ignore")
        known = {field.name for field in data.fields}
        make = descriptor.find(f"data/make[@table='{table}']")
        maps = {one.get("key"): one.text for one in make.iter("map")}
        columns = {one.get("name") for one in descriptor.find(f"table[@id='{table}']").findall("column")}
        assert columns <= set(maps)
        ours = {text.removeprefix("@") for text in maps.values() if text.startswith("@")}
        assert ours - {"ssa_location", "ssa_region"} <= known
    spectra = parse_single_table(exported / "data" / "spectra.vot", verify="ignore").array
    assert set(spectra["ssa_pubdid"].tolist()) == {release.did_of(row) for row in range(len(release))}
    assert spectra["accref"][0].startswith("http://")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (Column("a", "double"), "double precision"),
        (Column("a", "float", "24"), "real[24]"),
        (Column("a", "float", "*"), "real[]"),
        (Column("a", "char", "*"), "text"),
        (Column("a", "char", "*", xtype="timestamp"), "timestamp"),
        (Column("a", "long"), "bigint"),
    ],
)
def test_types_are_dachs_own(column: Column, expected: str) -> None:
    assert type_of(column) == expected


def test_a_directory_that_can_not_name_a_schema_is_refused(
    config_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "dachs", str(tmp_path / "my-archive"), "--config", str(config_path)]) == 2
    assert "'my-archive' is no name of a schema" in capsys.readouterr().err


@pytest.fixture(scope="module")
def peer(exported: Path, config: Config) -> Iterator[str]:
    """The base URL of a DaCHS that has imported, checked and published the archive."""
    with installed() as dachs:
        dachs.give(exported)
        dachs.know("uat", listed(config.registry.subjects))
        dachs.run("val", f"{SCHEMA}/q")
        dachs.run("imp", f"{SCHEMA}/q")
        dachs.run("pub", f"{SCHEMA}/q")
        with dachs.serving():
            yield dachs.base_url


def test_g26_records_are_files_for_another_registry(config_path: Path, tmp_path: Path) -> None:
    assert main(["export", "registry", str(tmp_path / "our-records"), "--config", str(config_path)]) == 0
    names = {path.name for path in (tmp_path / "our-records").iterdir()}
    collections = {f"doppel.example_sim_{name}.xml" for name in ("coude", "library", "survey")}
    assert names == {"doppel.example.xml", "doppel.example_system_service.xml", *collections}
    for name in names:
        assert problems((tmp_path / "our-records" / name).read_bytes()) == []


YEARS = "2014-01-01T00:00:00/2016-06-30T12:00:00"
NOTHING = [{"BAND": "1e-3/1e-2"}, {"FORMAT": "application/x-nothing"}]
SAME: list[dict[str, str]] = [
    {}, {"SIZE": "2"}, {"TARGETCLASS": "star"}, {"COLLECTION": "sim_survey"},
    {"COLLECTION": "sim_survey,sim_coude"}, {"BAND": "6.5e-7/6.6e-7"}, {"BAND": "3.6e-7"},
    {"BAND": "/3.65e-7"}, {"BAND": "8e-7/"}, {"BAND": "3.6e-7,8e-7/9e-7"}, {"TIME": YEARS},
    {"TIME": "2020-02-03T04:05:06/"}, {"TIME": "/2015-01-01T00:00:00"},
    {"TIME": f"/2013-07-01T00:00:00,{YEARS}"}, {"SNR": "50/100"}, {"SNR": "200/"}, {"SNR": "/30"},
    {"SNR": "/20,250/"}, {"REDSHIFT": "0/0.0002"}, {"REDSHIFT": "/-0.0001"}, {"APERTURE": "0.0005/0.001"},
    {"APERTURE": "0.0016/"}, {"FLUXCALIB": "relative"}, {"WAVECALIB": "ABSOLUTE"}, {"SPECRP": "5000"},
    {"SPECRP": "1500"}, {"FORMAT": "all"}, {"FORMAT": "compliant"}, {"FORMAT": "votable"},
    {"FORMAT": "application/x-votable+xml"}, {"COLLECTION": "sim_coude", "NOSUCH": "7"},
    {"COLLECTION": "sim_library", "SNR": "200/", "BAND": "4e-7/5e-7"},
    {"RUNID": "mine", "COMPRESS": "true", "TIME": YEARS}, *NOTHING,
]  # fmt: skip
IN_OTHER_WORDS: list[tuple[dict[str, str], dict[str, str]]] = [  # DaCHS's SIZE is the radius
    ({"POS": "100,-20", "SIZE": "120"}, {"POS": "100,-20", "SIZE": "60"}),
    ({"POS": "10,10,200,50", "SIZE": "60"}, {"POS": "10,10,200,50", "SIZE": "30"}),
    # its times are moments, which the middle of the exposure must lie between
    ({"TIME": "2015"}, {"TIME": "2015-01-01/2016-01-01"}),
    ({"TIME": "2016-02"}, {"TIME": "2016-02-01/2016-03-01"}),
    ({"BAND": "R"}, {"BAND": "5.5e-7/7.9e-7"}),
    ({"TARGETNAME": "SIM 0*"}, {"WILDTARGET": "SIM 0*"}),
    # it takes ICRS alone
    ({"POS": "0,90;GALACTIC", "SIZE": "80"}, {"POS": "192.85948,27.12825", "SIZE": "40"}),
]


def test_the_same_questions_find_the_same_spectra_there(peer: str, live: str, release: OpenRelease) -> None:
    """Each in its own words where they differ; of FORMAT's values those that DaCHS, which chooses rows by it,
    and ours, which chooses what rows point to, understand alike."""
    one = release.facts_of(0)
    own = {"TARGETNAME": one.object, "PUBDID": one.publisher_did, "CREATORDID": one.creator_did}
    near = f"{one.ra},{one.dec}"
    asked = [
        *((question, question) for question in SAME),
        *(({name: str(text)}, {name: str(text)}) for name, text in own.items()),
        *IN_OTHER_WORDS,
        ({"POS": near, "SIZE": "40"}, {"POS": near, "SIZE": "20"}),
        ({"POS": f"{near};ICRS", "SIZE": "90"}, {"POS": f"{near};ICRS", "SIZE": "45"}),
    ]
    for ours, theirs in asked:
        mine = found(f"{live}/ssa", ours)
        assert mine == found(f"{peer}/{SCHEMA}/q/ssa/ssap.xml", theirs), ours
        assert bool(mine) == (ours not in NOTHING), ours


def found(url: str, question: dict[str, str]) -> set[str]:
    """Publisher DIDs of the answer's rows."""
    asked = {"REQUEST": "queryData", "MAXREC": "5000", "RESPONSEFORMAT": "csv", **question}
    with urlopen(f"{url}?{urlencode(asked)}", timeout=60) as answer:
        rows = list(csv.DictReader(io.TextIOWrapper(answer, "utf-8")))
    return {row["ssa_pubDID"] for row in rows}


def test_latents_obscore_and_links_are_there(peer: str, release: OpenRelease, config: Config) -> None:
    tap = pyvo.dal.TAPService(f"{peer}/tap")
    rows = tap.search(
        f"SELECT s.ssa_pubdid AS did, z00, embedding, teff_pred FROM {SCHEMA}.optical AS o"
        f" JOIN {SCHEMA}.spectra AS s ON s.ssa_pubdid = o.ssa_pubdid"
    ).to_table()
    mine = release.engine.table("SELECT ssa_pubdid, z00 FROM release.doppel.optical").to_pylist()
    assert dict(zip(rows["did"], rows["z00"], strict=True)) == pytest.approx(
        {row["ssa_pubdid"]: row["z00"] for row in mine}, rel=1e-6
    )
    obscore = tap.search("SELECT COUNT(*) AS n FROM ivoa.obscore WHERE obs_collection = 'sim_coude'")
    assert obscore[0]["n"] > 0
    did = release.did_of(0)
    rows_of_links = list(DatalinkResults.from_result_url(f"{peer}/{SCHEMA}/q/sdl/dlmeta?ID={quote(did)}"))
    assert [row["semantics"] for row in rows_of_links] == [
        "#this", "#preview", config.registry.similarity_uri
    ]  # fmt: skip
    assert rows_of_links[-1]["local_semantics"] == "similar_to"
    assert rows_of_links[-1]["access_url"].endswith(f"/similar_to?ID={quote(did, safe='')}")


def test_its_registry_tells_of_the_archive(peer: str) -> None:
    with urlopen(f"{peer}/oai.xml?verb=ListIdentifiers&metadataPrefix=ivo_vor", timeout=60) as answer:
        assert f"/{SCHEMA}/q/ssa".encode() in answer.read()
