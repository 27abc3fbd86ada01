"""What clients see of spectra that were appended to the published release, and of those taken out of it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from index.reencode import differences
from index.release import OpenRelease
from index.releases import ReleaseHolder, Releases
from service.app import create_app
from service.cli import main
from service.config import Config
from service.state import State

COLLECTION, COPIES = "sim_library", 4


def did(spectrum_id: str) -> str:
    return f"ivo://doppel.example/{COLLECTION}?{spectrum_id}"


def offer_copies(directory: Path) -> dict[str, str]:
    """Some spectra of the collection again, and one cut short; identifiers of copies by their originals."""
    catalogue = directory / COLLECTION / "catalogue.csv"
    rows = list(csv.DictReader(io.StringIO(catalogue.read_text(encoding="utf-8"))))
    copies = {}
    for row in rows[: COPIES + 1]:
        copy = row | {"spectrum_id": f"{row['spectrum_id']}-again", "file": f"copy-{Path(row['file']).name}"}
        content = (directory / COLLECTION / row["file"]).read_bytes()
        whole = len(copies) < COPIES
        (directory / COLLECTION / copy["file"]).write_bytes(content if whole else content[:5000])
        copies |= {did(row["spectrum_id"]): did(copy["spectrum_id"])} if whole else {}
        rows.append(copy)
    with catalogue.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return copies


@contextmanager
def served(config: Path) -> Iterator[TestClient]:
    settings = Config.read(config, {})
    with closing(State("", settings.base)) as state:
        holder = ReleaseHolder(Releases(settings.releases))
        with closing(holder), TestClient(create_app(settings, holder, state)) as client:
            yield client


def lines(client: TestClient, path: str, **params: str) -> list[dict[str, str]]:
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def asked(client: TestClient, query: str) -> list[dict[str, str]]:
    return lines(client, "/tap/sync", LANG="ADQL", RESPONSEFORMAT="csv", QUERY=query)


@pytest.fixture(scope="module")
def grown(config_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The archive with copies of some spectra appended by the command; and the copies by their originals."""
    directory = tmp_path_factory.mktemp("grown") / "archive"
    shutil.copytree(config_path.parent, directory, symlinks=True, ignore=shutil.ignore_patterns("work"))
    copies = offer_copies(directory)
    assert main(["append", "--config", str(directory / "doppel.toml")]) == 0
    return directory / "doppel.toml", copies


@pytest.fixture(scope="module")
def client(grown: tuple[Path, dict[str, str]]) -> Iterator[TestClient]:
    with served(grown[0]) as found:
        yield found


def test_the_command_tells_what_it_did(
    grown: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The file that was cut short is refused again, by name, and makes no release."""
    assert main(["append", "--config", str(grown[0]), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["new"], told["read"]) == (False, {})
    assert any(one["spectrum_id"].endswith("-again") for one in told["refused"])
    refused = json.loads((Path(Config.read(grown[0], {}).releases) / "current" / "refused.json").read_text())
    assert {one["collection"] for one in refused} == {"sim_survey", COLLECTION}
    assert main(["releases", "--config", str(grown[0])]) == 0
    assert "1 segment appended" in capsys.readouterr().out


def test_a_copy_is_the_nearest_of_its_original_by_every_way(
    client: TestClient, grown: tuple[Path, dict[str, str]]
) -> None:
    for original, copy in grown[1].items():
        (near,) = lines(client, "/similar_to", ID=original, TOP="1", RESPONSEFORMAT="csv")
        assert (near["ssa_pubDID"], float(near["distance"])) == (copy, pytest.approx(0.0, abs=1e-3))
        query = f"""SELECT TOP 2 ssa_pubdid, latent_distance(ssa_pubdid, '{copy}') AS d
            FROM doppel.spectra ORDER BY d, ssa_pubdid"""
        assert {row["ssa_pubdid"] for row in asked(client, query)} == {original, copy}
        query = f"SELECT ssa_pubdid FROM doppel.spectra WHERE 1 = similar_to(ssa_pubdid, '{original}', 1)"
        assert asked(client, query) == [{"ssa_pubdid": copy}]


def test_an_appended_spectrum_is_in_every_table_and_document(
    client: TestClient, grown: tuple[Path, dict[str, str]]
) -> None:
    original, copy = next(iter(grown[1].items()))
    query = "SELECT obs_publisher_did FROM ivoa.obscore WHERE obs_publisher_did = '{0}'"
    assert len(asked(client, query.format(copy))) == 1
    query = "SELECT z00, teff_pred, anomaly FROM doppel.optical WHERE ssa_pubdid = '{0}'"
    for one, other in zip(*(asked(client, query.format(name)) for name in (original, copy)), strict=True):
        assert {name: float(value or "nan") for name, value in one.items()} == pytest.approx(
            {name: float(value or "nan") for name, value in other.items()}, rel=1e-3, abs=1e-3, nan_ok=True
        )
    links = client.get("/datalink/links", params={"ID": copy, "RESPONSEFORMAT": "votable"}).text
    assert "NotFoundFault" not in links
    assert "#this" in links
    assert client.get(f"/spectra/{copy.replace('?', '%3F').replace('/', '%2F')}.csv").status_code == 200
    counted = asked(client, "SELECT model, n_spectra FROM doppel.models")
    for row in counted:
        (held,) = asked(client, f"SELECT count(*) AS n FROM doppel.{row['model']}")
        assert row["n_spectra"] == held["n"]


def test_a_sample_of_every_part_is_encoded_anew(grown: tuple[Path, dict[str, str]]) -> None:
    with closing(OpenRelease.open(Releases(Config.read(grown[0], {}).releases).current())) as release:
        models, parts = len(release.models), 2
        assert differences(release, 3) == ([], 3 * models * parts)


def test_a_spectrum_that_was_removed_is_unknown_everywhere(
    grown: tuple[Path, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "archive"
    shutil.copytree(grown[0].parent, directory, symlinks=True)
    original, copy = next(iter(grown[1].items()))
    (tmp_path / "gone.txt").write_text(f"{original}\n", encoding="utf-8")
    config = directory / "doppel.toml"
    assert main(["remove", "--config", str(config), "--from", str(tmp_path / "gone.txt")]) == 0
    assert "1 removed" in capsys.readouterr().out
    with served(config) as client:
        for name, table in (("ssa_pubdid", "doppel.spectra"), ("obs_publisher_did", "ivoa.obscore")):
            assert not asked(client, f"SELECT {name} FROM {table} WHERE {name} = '{original}'")
        links = client.get("/datalink/links", params={"ID": original}).text
        assert "NotFoundFault" in links
        assert original in links
        assert "/spectra/" not in links
        assert client.get("/similar_to", params={"ID": original}).status_code == 400
        near = lines(client, "/similar_to", ID=copy, TOP="300", RESPONSEFORMAT="csv")
        assert original not in {row["ssa_pubDID"] for row in near}
        query = f"SELECT TOP 1 latent_distance(ssa_pubdid, '{original}') AS d FROM doppel.spectra"
        answer = client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query})
        assert answer.status_code == 400
        assert original in answer.text


def test_remove_wants_identifiers(grown: tuple[Path, dict[str, str]]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["remove", "--config", str(grown[0])])
    assert end.value.code == 2


def test_a_file_that_is_another_now_is_refused_by_name(
    grown: tuple[Path, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "archive"
    shutil.copytree(grown[0].parent, directory, symlinks=True)
    config, original = directory / "doppel.toml", next(iter(grown[1]))
    with closing(OpenRelease.open(Releases(Config.read(config, {}).releases).current())) as release:
        path = release.original(release.row_of(original) or 0)
    path.write_bytes(path.read_bytes() + bytes(2880))
    assert main(["append", "--config", str(config), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    reasons = {did(one["spectrum_id"]): one["reason"] for one in told["refused"]}
    assert "the release has it with a file of" in reasons[original]
    assert main(["remove", original, "--config", str(config)]) == 0
    capsys.readouterr()
    assert main(["append", "--config", str(config), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["read"] == {COLLECTION: 1}
