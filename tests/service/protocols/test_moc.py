"""The coverage of the sky as a file (MOC 2.0; CHECKLIST N01), and the words for parts of the spectrum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units
from mocpy import MOC
from starlette.testclient import TestClient

from index.release import OpenRelease
from service.coverage import wavebands


def test_n01_all_formats_are_one_coverage_that_holds_every_spectrum(
    client: TestClient, release: OpenRelease, tmp_path: Path
) -> None:
    answers = {
        form: client.get("/moc", params={"RESPONSEFORMAT": form}) for form in ("fits", "ascii", "json")
    }
    kinds = [one.headers["content-type"].partition(";")[0] for one in answers.values()]
    assert kinds == ["application/fits", "text/plain", "application/json"]
    path = tmp_path / "coverage.fits"
    path.write_bytes(answers["fits"].content)
    sky = MOC.load(path, format="fits")
    assert MOC.from_string(answers["ascii"].text) == sky
    assert MOC.from_json(answers["json"].json()) == sky
    assert sky.max_order == 10
    held = release.engine.table("SELECT s_ra, s_dec FROM release.ivoa.obscore WHERE s_ra IS NOT NULL")
    ra, dec = (np.asarray(column) * units.deg for column in held.columns)
    assert np.all(sky.contains_lonlat(ra, dec))
    assert client.get("/moc").content == answers["fits"].content


def test_an_unknown_format_is_refused(client: TestClient) -> None:
    answer = client.get("/moc", params={"RESPONSEFORMAT": "gif"})
    assert answer.status_code == 400
    assert "allowed: fits, ascii, json" in answer.text


@pytest.mark.parametrize(
    ("low", "high", "terms"),
    [
        (3.8e-7, 7.0e-7, ["Optical"]),
        (2.9e-7, 1.1e-6, ["UV", "Optical", "Infrared"]),
        (5e-6, 3.8e-5, ["Infrared"]),
        (1e-12, 1e-10, ["Gamma-ray", "X-ray"]),
        (0.2, 0.22, ["Radio"]),
    ],
)
def test_g12_wavebands_follow_from_wavelengths(low: float, high: float, terms: list[str]) -> None:
    assert wavebands(low, high) == terms
