"""The pages in docs/ say what is true: their lines run as they stand, their links and pictures exist."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.clients import require

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
PUBLIC = "http://127.0.0.1:8080"
PICTURE_BYTES = 200_000


def blocks(page: str, language: str) -> str:
    text = (DOCS / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist_and_are_small(page: Path) -> None:
    for link in re.findall(r"\]\(([^)<>]+)\)", page.read_text(encoding="utf-8")):
        if "//" not in link:
            file = page.parent / link.partition("#")[0]
            assert file.exists(), link
            assert file.suffix != ".png" or file.stat().st_size < PICTURE_BYTES, link


def test_the_matrix_of_clients_names_tests_and_versions_that_are_there() -> None:
    """Nothing is called seen without the file of a test; versions are those of the packages here."""
    lines = (DOCS / "clients.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][
        1:
    ]
    assert len(rows) > 20
    for _, action, state, where in rows:
        files = re.findall(r"`(tests/[^`]+)`", where)
        assert all((DOCS.parent / file).is_file() for file in files), action
        assert files or "](" in where or where == "same" or not state.startswith(("seen", "rules")), action
    packages = re.findall(r"(pyvo|specutils|astropy) ([\d.]+)", " ".join(row[0] for row in rows))
    assert len(packages) == 3
    assert all(f"{version(name)}.".startswith(f"{told}.") for name, told in packages)


def told(page: str, base: str, directory: Path) -> str:
    """What the lines of a page print, run as they stand."""
    require("curl")
    script = blocks(page, "sh").replace(PUBLIC, base)
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script], cwd=directory, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stdout
    return done.stdout


def test_lines_of_curl_run_as_they_stand(live: str, tmp_path: Path) -> None:
    printed = told("curl.md", live, tmp_path)
    assert printed.count("distance,repeat_share") == 3
    assert (tmp_path / "halpha.fits").read_bytes().startswith(b"SIMPLE")
    assert b"QUERY_STATUS" in (tmp_path / "neighbours.vot").read_bytes()
    assert "COMPLETED" in printed
    assert "wavelength,flux,error,observed,residual" in printed
    assert (tmp_path / "hotter.png").read_bytes().startswith(b"\x89PNG")


def test_lines_on_similarity_run_as_they_stand(live: str, tmp_path: Path) -> None:
    printed = told("similarity.md", live, tmp_path)
    assert printed.count("distance,repeat_share") == 8
    assert printed.count("latent_shares,block_shares") == 1
    assert printed.count("ssa_targname,teff") == 2
    assert "star,ssa_targname" in printed
    assert '<INFO name="plan" value="exact on the subset"' in printed


def test_cells_of_pyvo_run_as_they_stand(live: str, tmp_path: Path) -> None:
    script = blocks("pyvo.md", "python").replace(PUBLIC, live)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Similar spectra" in done.stdout
