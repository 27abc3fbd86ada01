"""`doppel similar` against a running service, and against a release that no service serves."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from astropy.table import Table
from matplotlib.image import imread

from encoder.readers.axis import vacuum_to_air
from index.release import OpenRelease
from service.cli import main


@pytest.fixture(scope="module")
def star(release: OpenRelease) -> str:
    """A spectrum with an embedding."""
    return release.did_of(int(release.models["optical"].vectors.rows[0]))


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command prints when it succeeds."""
    assert main(["similar", *words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["similar", *words]) == 1
    return capsys.readouterr().err


def neighbours(text: str) -> list[str]:
    return [near["publisher_did"] for near in json.loads(text)["neighbours"]]


def test_neighbours_come_nearest_first(capsys: pytest.CaptureFixture[str], live: str, star: str) -> None:
    answer = json.loads(told(capsys, star, "--url", live, "-k", "5", "--json"))
    distances = [near["distance"] for near in answer["neighbours"]]
    assert answer["query"] == star
    assert len(distances) == 5
    assert distances == sorted(distances)
    assert star not in neighbours(json.dumps(answer))
    shares = [near["repeats_farther"] for near in answer["neighbours"]]
    assert shares == sorted(shares, reverse=True)


def test_a_table_is_for_people(capsys: pytest.CaptureFixture[str], live: str, star: str) -> None:
    lines = told(capsys, star, "--url", live, "-k", "3").splitlines()
    assert len(lines) == 5
    assert lines[0].split()[:3] == ["object", "type", "Teff/K"]
    assert lines[1].startswith("query")
    assert lines[1].endswith(star)


def test_a_release_without_a_service_gives_the_same(
    capsys: pytest.CaptureFixture[str], live: str, config_path: Path, star: str
) -> None:
    served = told(capsys, star, "--url", live, "--json")
    local = told(capsys, star, "--config", str(config_path), "--json")
    assert json.loads(local) == json.loads(served)


def test_the_archives_own_identifier_is_enough(
    capsys: pytest.CaptureFixture[str], live: str, release: OpenRelease, star: str
) -> None:
    short = release.facts_of(release.row_of(star) or 0).spectrum_id
    assert json.loads(told(capsys, short, "--url", live, "--json"))["query"] == star


def test_an_own_file_finds_itself(
    capsys: pytest.CaptureFixture[str], live: str, release: OpenRelease, star: str
) -> None:
    file = release.original(release.row_of(star) or 0)
    assert neighbours(told(capsys, str(file), "--url", live, "--json"))[0] == star


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture_is_written(
    capsys: pytest.CaptureFixture[str], live: str, star: str, tmp_path: Path, suffix: str
) -> None:
    picture = tmp_path / f"similar.{suffix}"
    asked = (star, "--url", live, "-k", "3")
    told(capsys, *asked, "--plot", str(picture))
    if suffix == "png":
        assert imread(picture).shape[:2] == (414, 855)  # as high as four spectra need
        return
    svg = picture.read_text(encoding="utf-8")
    near = json.loads(told(capsys, *asked, "--json"))["neighbours"]
    assert len(near) == 3
    assert all(one["object"] in svg for one in near)


@pytest.mark.parametrize("ending", ["csv", "ecsv", "vot", "txt"])
def test_an_own_file_of_any_form_is_drawn_as_the_service_reads_it(
    capsys: pytest.CaptureFixture[str],
    live: str,
    release: OpenRelease,
    star: str,
    tmp_path: Path,
    ending: str,
) -> None:
    """What the file does not say is told by options."""
    whole = release.spectrum(release.row_of(star) or 0)
    form = {"ecsv": "ascii.ecsv", "vot": "votable", "csv": "ascii.csv", "txt": "ascii.no_header"}[ending]
    table = Table([vacuum_to_air(whole.wave) / 10, whole.flux], names=("x", "y"))
    table.write(tmp_path / f"mine.{ending}", format=form)
    columns = ("col1", "col2") if ending == "txt" else ("x", "y")
    told_more = ("--unit", "nm", "--medium", "air", "--wave", columns[0], "--flux", columns[1])
    picture = tmp_path / "mine.png"
    asked = (str(tmp_path / f"mine.{ending}"), "--url", live, "--json", "--plot", str(picture), "-k", "2")
    near = json.loads(told(capsys, *asked, *told_more))["neighbours"]
    assert near[0]["publisher_did"] == star
    assert near[0]["distance"] < near[1]["distance"] / 10
    assert imread(picture).any()


def test_a_name_with_several_spectra_lists_them(
    capsys: pytest.CaptureFixture[str], live: str, release: OpenRelease
) -> None:
    keys = [release.facts_of(row).object_key for row in range(40)]
    several = next(key for key in keys if key and keys.count(key) > 1)
    said = refused(capsys, several, "--url", live)
    assert "choose one by its identifier" in said
    assert said.count("ivo://") == said.count("\n  ") >= 2


def test_what_can_not_be_done_is_one_sentence(
    capsys: pytest.CaptureFixture[str], live: str, star: str, tmp_path: Path
) -> None:
    assert "neither a file here nor a spectrum" in refused(capsys, "no-such-star", "--url", live)
    assert "fysics" in refused(capsys, star, "--url", live, "--space", "fysics")
    assert "-k is out of range: 0" in refused(capsys, star, "--url", live, "-k", "0")
    assert "its name ends in one of .png" in refused(capsys, star, "--url", live, "--plot", "similar.bmp")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and does not listen
        closed = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        assert f"{closed} does not answer" in refused(capsys, star, "--url", closed)
