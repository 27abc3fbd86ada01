"""The README says what is true: its map names every file, its lines run as they stand, its names exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from encoder.catalogue import COLUMNS
from tests.clients import require

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PUBLIC = "http://127.0.0.1:8080"
MAP_LINE = re.compile(r"^( *)([\w./-]+)  +\S", re.MULTILINE)
UNMAPPED = {".gitignore", "LICENSE", "README.md"}  # what they are for is known


def _section(heading: str) -> str:
    return README.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def _blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)


def _mapped() -> set[str]:
    """Paths that the map names; what lies in a folder is indented below it by two spaces."""
    paths: set[str] = set()
    folders: list[str] = []
    for indent, name in MAP_LINE.findall(_section("The map of the house")):
        del folders[len(indent) // 2 :]
        paths.add("".join(folders) + name)
        if name.endswith("/"):
            folders.append(name)
    return paths


def _tracked() -> list[str]:
    """Files of the project, without those that only mark a package."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    return [name for name in names if not name.endswith("__init__.py") and name not in UNMAPPED]


def _is_mapped(name: str, mapped: set[str]) -> bool:
    """By its own line, or by that of a folder of which the map lists no files."""
    closed = {folder for folder in mapped if not any(path.startswith(folder) for path in mapped - {folder})}
    return name in mapped or any(f"{folder.as_posix()}/" in closed for folder in Path(name).parents)


def test_every_column_of_a_catalogue_is_explained_to_operators() -> None:
    told = set(re.findall(r"`(\w+)`", (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")))
    assert told >= COLUMNS


def test_the_map_names_every_file_and_nothing_else() -> None:
    mapped = _mapped()
    assert [name for name in _tracked() if not _is_mapped(name, mapped)] == []
    assert [path for path in sorted(mapped) if not (ROOT / path).exists()] == []


def test_linked_files_exist() -> None:
    for page in ("README.md", "deploy/README.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)<>]+)\)", text)]
        missing = [
            link for link in links if "//" not in link and not (ROOT / page).parent.joinpath(link).exists()
        ]
        assert missing == []


def test_shell_lines_run_as_they_stand(live: str) -> None:
    """One shell runs all of them, so that later lines may use variables of earlier ones."""
    require("curl")
    script = "\n".join(block for block in _blocks("sh") if "curl" in block).replace(PUBLIC, live)
    assert script.count("curl") >= 3
    done = subprocess.run(
        ["sh", "-eu", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = [line for line in done.stdout.splitlines() if line.strip()]
    assert len(answers) == 2 * (1 + 5), done.stdout
    assert "ERROR" not in done.stdout


def test_python_lines_run_as_they_stand(live: str) -> None:
    (block,) = _blocks("python")
    script = "\n".join(line.removeprefix("   ") for line in block.splitlines()).replace(PUBLIC, live)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "dist" in done.stdout


def test_the_configuration_shown_is_one_that_is_accepted(tmp_path: Path) -> None:
    from service.config import Config

    (block,) = _blocks("toml")
    tomllib.loads(block)
    path = tmp_path / "doppel.toml"
    path.write_text(block, encoding="utf-8")
    config = Config.read(path, {})
    assert [model.name for model in config.models] == ["optical"]


def test_commands_shown_exist() -> None:
    shown = set(re.findall(r"doppel (build|append|remove|serve|similar|verify|rollback|demo)\b", README))
    environment = {**os.environ, "COLUMNS": "200"}
    for command in sorted(shown):
        done = subprocess.run(
            [sys.executable, "-c", "from service.cli import main; main()", command, "--help"],
            capture_output=True, text=True, timeout=60, check=False, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr)
