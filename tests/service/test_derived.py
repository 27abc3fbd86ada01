"""What a model makes of spectra: physically right, and read by the programs that people have."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from starlette.testclient import TestClient

from encoder.prepare import prepare
from index.release import OpenRelease
from service.derived import local_rms, reconstruction, traversal
from tests.stilts import votlint

pytestmark = pytest.mark.filterwarnings("ignore:The unit '(Angstrom|erg)' has been deprecated")
RECONSTRUCTION, TRAVERSAL = "/derived/reconstruction", "/derived/traversal"
HBETA, MAGNESIUM = (4862.7, 12.0), (5177.0, 12.0)  # vacuum Å: the middle of a line, and half its window


@pytest.fixture(scope="module")
def star(release: OpenRelease) -> int:
    """The row of a star like the Sun."""
    rows = release.models["optical"].vectors.rows.tolist()
    return min(rows, key=lambda row: abs(release.facts_of(row).labels.get("teff", 1e9) - 5800))


def depth(wave: Any, flux: Any, line: tuple[float, float]) -> float:
    inside = np.abs(wave - line[0]) < line[1]
    return float(np.mean(1 - flux[inside]))


def test_what_is_seen_and_what_is_left_make_the_spectrum(release: OpenRelease, star: int) -> None:
    model, spectrum = release.models["optical"], release.spectrum(star)
    made = reconstruction(model, spectrum, release.id)
    wave, seen, error, observed, left = made.values
    prepared = prepare(spectrum, model.encoder.grid)
    good = ~prepared.mask
    np.testing.assert_allclose(wave, model.encoder.grid.wave)
    np.testing.assert_allclose((seen + left)[good], observed[good])
    np.testing.assert_allclose(observed[good], (prepared.flux * prepared.scale)[good], rtol=1e-6)
    assert np.isnan(observed[~good]).all()
    assert np.nanstd(left) < 0.3 * np.nanstd(observed)
    assert (error[np.isfinite(left)] > 0).all()


def test_hydrogen_deepens_and_metals_fade_as_a_star_gets_hotter(release: OpenRelease, star: int) -> None:
    model = release.models["optical"]
    latent = model.recipe.latents[0]
    assert latent.label == "teff"
    for spectrum in (None, release.spectrum(star)):
        made = traversal(model, latent, [-1.0, 0.0, 1.0], spectrum, release.id)
        wave, start, *steps = made.values
        np.testing.assert_allclose(start, steps[1], atol=1e-6)
        hydrogen = [depth(wave, flux, HBETA) for flux in steps]
        metals = [depth(wave, flux, MAGNESIUM) for flux in steps]
        assert hydrogen[0] < hydrogen[1] < hydrogen[2]
        assert metals[0] > metals[1] > metals[2]
    assert all(" K" in label for label in made.labels)


def test_the_rms_of_what_is_left_is_local_and_knows_gaps() -> None:
    left = np.concatenate([np.full(640, 2.0), np.full(640, np.nan)])
    assert local_rms(left)[0] == pytest.approx(2.0)
    assert local_rms(left)[639] == pytest.approx(2.0)
    assert np.isnan(local_rms(left)[-1])


def asked(client: TestClient, path: str, **params: Any) -> bytes:
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize(("form", "kind"), [("votable", "votable"), ("fits", "fits"), ("csv", "ascii.csv")])
def test_astropy_reads_every_table(
    tap: TestClient, release: OpenRelease, star: int, form: str, kind: str
) -> None:
    did = release.did_of(star)
    seen = Table.read(io.BytesIO(asked(tap, RECONSTRUCTION, ID=did, FORMAT=form)), format=kind)
    assert seen.colnames == ["wavelength", "flux", "error", "observed", "residual"]
    walk = Table.read(io.BytesIO(asked(tap, TRAVERSAL, ID=did, FORMAT=form, STEPS=3)), format=kind)
    assert walk.colnames == ["wavelength", "flux", "flux_1", "flux_2", "flux_3"]
    assert len(walk) == len(seen) == 1024


@pytest.mark.filterwarnings("ignore")  # specutils' own
@pytest.mark.parametrize("path", [RECONSTRUCTION, TRAVERSAL])
def test_specutils_reads_the_fits_tables(
    tap: TestClient, release: OpenRelease, star: int, path: str, tmp_path: Path
) -> None:
    from specutils import Spectrum

    file = tmp_path / "derived.fits"
    file.write_bytes(asked(tap, path, ID=release.did_of(star), FORMAT="fits"))
    read, table = Spectrum.read(file), Table.read(file)
    np.testing.assert_array_equal(read.flux.value, table["flux"])
    error = None if read.uncertainty is None else read.uncertainty.array
    if path == TRAVERSAL:
        assert error is None
    else:
        np.testing.assert_array_equal(error, table["error"])


@pytest.mark.parametrize("path", [RECONSTRUCTION, TRAVERSAL])
def test_votlint_finds_nothing(tap: TestClient, release: OpenRelease, star: int, path: str) -> None:
    assert votlint(asked(tap, path, ID=release.did_of(star))) == ""


def test_pictures_are_pictures(tap: TestClient, release: OpenRelease, star: int) -> None:
    for path in (RECONSTRUCTION, TRAVERSAL):
        assert asked(tap, path, ID=release.did_of(star), FORMAT="image/png").startswith(b"\x89PNG")


def test_the_model_that_covers_the_spectrum_answers(tap: TestClient, release: OpenRelease) -> None:
    """The coudé spectra lie outside `optical`; they have a reconstruction all the same."""
    optical = set(release.models["optical"].vectors.rows.tolist())
    row = next(row for row in release.models["halpha"].vectors.rows.tolist() if row not in optical)
    answer = asked(tap, RECONSTRUCTION, ID=release.did_of(row))
    assert b'name="model" value="halpha"' in answer
    refused = tap.get(RECONSTRUCTION, params={"ID": release.did_of(row), "MODEL": "optical"})
    assert (refused.status_code, refused.text.split(":")[0]) == (400, "UsageFault")
    assert "covers" in refused.text


def test_a_spectrum_of_ones_own_has_derived_spectra_too(
    tap: TestClient, release: OpenRelease, star: int
) -> None:
    word = tap.post("/encode", content=release.original(star).read_bytes()).json()["upload"]
    own = asked(tap, RECONSTRUCTION, ID=word, FORMAT="csv")
    ours = asked(tap, RECONSTRUCTION, ID=release.did_of(star), FORMAT="csv")
    one, other = (Table.read(text.decode(), format="ascii.csv")["flux"] for text in (own, ours))
    np.testing.assert_allclose(one / np.median(one), other / np.median(other), rtol=2e-2)


BAD = [
    (RECONSTRUCTION, {}, 400, "ID"),
    (RECONSTRUCTION, {"ID": "ivo://no/such"}, 404, "no spectrum"),
    (RECONSTRUCTION, {"ID": "upload:nothing"}, 400, "stands for no upload"),
    (TRAVERSAL, {"MODEL": "radio"}, 400, "allowed are optical, halpha"),
    (TRAVERSAL, {"LATENT": "colour"}, 400, "allowed are teff"),
    (TRAVERSAL, {"SIGMA": "-9 9"}, 400, "-5 to 5"),
    (TRAVERSAL, {"SIGMA": "-Inf 1"}, 400, "-5 to 5"),
    (TRAVERSAL, {"STEPS": "1"}, 400, "2 to 25"),
    (TRAVERSAL, {"FORMAT": "image/gif"}, 400, "image/gif"),
]


@pytest.mark.parametrize(("path", "params", "status", "words"), BAD)
def test_bad_values_are_told_in_text(
    tap: TestClient, path: str, params: dict[str, str], status: int, words: str
) -> None:
    answer = tap.get(path, params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
    assert words in answer.text
