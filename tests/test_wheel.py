"""What the wheel carries is enough: built once, installed apart from the checkout, then used."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.serving import serving

ROOT = Path(__file__).parents[1]
PACKAGES = ("encoder", "index", "service", "registry_metadata")


def _run(*command: str, environment: dict[str, str] | None = None) -> str:
    """Standard output of a command that succeeds."""
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(ROOT))
    (path,) = target.glob("doppel-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds; the libraries it needs are those of this environment."""
    target = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    _run(*pip, "--target", str(target), str(wheel))
    return target


@pytest.fixture(scope="module")
def environment(installed: Path) -> dict[str, str]:
    """Python then finds the packages there, not in the checkout."""
    found = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    told = _run(sys.executable, "-c", "import service; print(service.__file__)", environment=found)
    assert Path(told.strip()).is_relative_to(installed)
    return found


def test_every_file_of_the_packages_is_inside(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    wanted = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert wanted - inside == set()
    folders = {name.partition("/")[0] for name in inside}
    assert {name for name in folders if not name.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_states_licence_and_python(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    text = archive.read(metadata).decode()
    assert "License-Expression: BSD-3-Clause" in text
    assert "Requires-Python: >=3.11" in text
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_command_works(installed: Path, environment: dict[str, str]) -> None:
    shown = _run(sys.executable, str(installed / "bin" / "doppel"), "--help", environment=environment)
    for command in ("demo", "build", "serve", "similar", "verify", "rollback"):
        assert command in shown


def test_a_service_from_the_wheel_answers(
    environment: dict[str, str], config_path: Path, tmp_path: Path
) -> None:
    """Templates, styles and described columns are found there."""
    with serving(config_path, tmp_path / "service.log", environment) as base:
        for path in ("/", "/static/page.css", "/static/plotly.min.js", "/rdf/similarity", "/tap/tables"):
            with urlopen(f"{base}{path}", timeout=60) as answer:
                assert answer.status == 200, path
