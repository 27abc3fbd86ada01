"""`doppel export dachs`: the descriptor is whole, and a real DaCHS imports, publishes and answers from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
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


def test_the_same_questions_find_the_same_spectra_there(peer: str, live: str, release: OpenRelease) -> None:
    theirs, ours = pyvo.dal.SSAService(f"{peer}/{SCHEMA}/q/ssa/ssap.xml"), pyvo.dal.SSAService(f"{live}/ssa")
    name = release.facts_of(0).object
    questions: list[dict[str, str]] = [
        {}, {"TARGETNAME": str(name)}, {"COLLECTION": "sim_survey"}, {"BAND": "6.5e-7/6.6e-7"}
    ]  # fmt: skip
    for question in questions:
        found = [
            {row.getbyutype("ssa:Curation.PublisherDID") for row in one.search(maxrec=5000, **question)}
            for one in (theirs, ours)
        ]
        assert found[0] == found[1]
        assert found[0]


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
