"""The command line: what it says, in words and in JSON, and how it ends."""

from __future__ import annotations

import errno
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from index.metric import parse_space
from index.release import OpenRelease
from service.cli import COMMANDS, main, told
from tests.serving import PATIENCE, free_port


@pytest.fixture
def copied(config_path: Path, tmp_path: Path) -> Path:
    """The archive's configuration and releases, to be spoilt."""
    shutil.copy(config_path, tmp_path)
    shutil.copytree(config_path.parent / "releases", tmp_path / "releases", symlinks=True)
    return tmp_path / config_path.name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert f"doppel {name}" in capsys.readouterr().out


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["biuld"])
    assert end.value.code == 2
    assert "biuld" in capsys.readouterr().err


def test_start_up_is_light() -> None:
    heavy = "{'torch', 'astropy', 'pyvo', 'matplotlib', 'plotly', 'starlette'}"
    code = f"import sys, service.cli; service.cli.parser_for(['verify']); print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_a_damaged_release_is_listed_and_can_be_dropped(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    releases = copied.parent / "releases"
    shutil.copytree(releases / "current", releases / "damaged")
    (releases / "damaged" / "manifest.json").write_text("{", encoding="utf-8")
    assert main(["releases", "--config", str(copied)]) == 0
    assert "damaged  its manifest can not be read" in capsys.readouterr().out
    assert main(["releases", "--config", str(copied), "--json", "--drop", "damaged"]) == 0
    assert len(json.loads(capsys.readouterr().out)["releases"]) == 1


@pytest.mark.parametrize("damaged", ["state/state.sqlite", "releases/current/tables.json"])
def test_serving_by_several_processes_ends_where_none_could_start(copied: Path, damaged: str) -> None:
    path = copied.parent / damaged
    path.parent.mkdir(exist_ok=True)
    path.write_text("neither a database nor tables" * 1000, encoding="utf-8")
    words = ["serve", "--config", str(copied), "--workers", "2", "--port", str(free_port())]
    command = [sys.executable, "-m", "service.cli", *words]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("doppel serve: ")
    assert run.stderr.count("\n") == 1


def test_build_with_nothing_new_says_so(config_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--config", str(config_path)]) == 0
    out = capsys.readouterr().out
    assert "Nothing new" in out
    assert "1 refused (reasons in " in out
    assert main(["build", "--config", str(config_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["new"] is False


def test_verify_finds_damage(copied: Path, release: OpenRelease, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["verify", "--config", str(copied), "--json"]
    assert main(arguments) == 0
    with (copied.parent / "releases" / "current" / "catalogue.duckdb").open("r+b") as file:
        file.seek(70_000)
        file.write(b"\xff\x00\xff")
    capsys.readouterr()
    assert main(arguments) == 1
    assert json.loads(capsys.readouterr().out) == {
        "release": release.id,
        "sound": False,
        "problems": ["catalogue.duckdb has changed"],
    }
    assert main(["publish", release.id, "--config", str(copied)]) == 1
    assert "is damaged" in capsys.readouterr().err


def test_rollback_with_nothing_before_fails_in_one_sentence(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", "--config", str(copied)]) == 1
    assert capsys.readouterr().err.startswith("doppel rollback: no release was published before ")


def test_releases_are_listed(
    config_path: Path, release: OpenRelease, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["releases", "--config", str(config_path)]) == 0
    assert (
        f"{release.id}  {len(release)} spectra, models optical, halpha  published" in capsys.readouterr().out
    )


def test_only_a_release_that_is_not_published_is_dropped(
    copied: Path, release: OpenRelease, capsys: pytest.CaptureFixture[str]
) -> None:
    releases = copied.parent / "releases"
    shutil.copytree(releases / release.id, releases / "older")
    arguments = ["releases", "--config", str(copied), "--drop"]
    assert main([*arguments, release.id]) == 1
    assert "is published; publish another one before it is dropped" in capsys.readouterr().err
    assert main([*arguments, "older"]) == 0
    assert not (releases / "older").exists()
    assert "published" in capsys.readouterr().out
    assert main([*arguments, "older"]) == 1


def test_an_unknown_key_ends_with_2(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied.write_text(copied.read_text(encoding="utf-8") + "[service]\nprot = 1\n", encoding="utf-8")
    assert main(["build", "--config", str(copied)]) == 2
    assert "did you mean 'port'?" in capsys.readouterr().err


def test_a_taken_port_is_one_sentence(config_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--config", str(config_path), "--port", str(port)]) == 1
    assert capsys.readouterr().err == f"doppel serve: port {port} is taken; choose another with --port\n"


def test_a_full_disk_is_one_sentence() -> None:
    sentence = told(OSError(errno.ENOSPC, "No space left on device", "work/shard.npz"))
    assert sentence.startswith("the disk is full (work/shard.npz)")


def test_encode_gives_the_vectors_that_the_release_has(
    config_path: Path, release: OpenRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.toml"
    path = config_path.parent / "sim_library"
    other.write_text(f"[[collection]]\nname = 'sim_library'\npath = '{path}'\n", encoding="utf-8")
    words = [
        "encode",
        "--config",
        str(config_path),
        "--collection",
        str(other),
        "--out",
        str(tmp_path / "v.parquet"),
    ]
    assert main(words) == 0
    assert "0 refused" in capsys.readouterr().out
    rows = parquet.read_table(tmp_path / "v.parquet").to_pylist()
    assert {row["model"] for row in rows} == {"optical", "halpha"}
    one, two = (row for row in rows[:2])
    stored = [release.row_of(row["publisher_did"]) for row in (one, two)]
    model = release.models["optical"]
    weights = parse_space(model.recipe.default_preset, model.recipe)
    first, second = (model.vectors.vector(row) for row in stored if row is not None)
    assert first is not None
    assert second is not None
    expected = np.sqrt(np.sum(weights * (first.astype(float) - second) ** 2))
    assert np.linalg.norm(np.subtract(one["vector"], two["vector"])) == pytest.approx(expected, rel=1e-3)


def test_evaluate_shows_the_cards(config_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "optical", "--published", "--config", str(config_path)]) == 0
    assert "cross" in capsys.readouterr().out
    assert main(["evaluate", "nope", "--config", str(config_path)]) == 1
    assert "there are: optical, halpha" in capsys.readouterr().err


def test_evaluate_compares_models_and_baselines_by_five_folds(
    config_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "halpha", "--config", str(config_path)]) == 0
    table = capsys.readouterr().out
    assert "| measure | raw cosine | PCA-16 | whitened PCA+LDA | linear |" in table
    assert "| cross: MRR, recall@1" in table
    assert "paired" in table


def test_the_reference_of_the_configuration_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    assert "default_rows = 20000  # MAXREC" in capsys.readouterr().out
