"""Every real spectrum is read, or refused with a reason; wavelengths and masks are right."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from encoder.collection import Collection, Entry
from encoder.spectrum import Float64, RefusedSpectrum, Spectrum
from tests.encoder.conftest import OpenCollection

LIGHT = 299_792.458
H_ALPHA = 6564.61  # vacuum Å
COUNTS = {
    "miles": 836, "stelib": 217, "indous": 26, "lamost": 163, "ondrejov_halpha": 41, "xqr30": 52,
    "irs_agn": 309, "rrlyr_mcdonald": 147, "nir_ucd": 41, "sdss": 34, "supernovae": 239,
}  # fmt: skip
REFUSED = {"manga-test-5": "no valid pixel: all are flagged, zero, not finite or without a usable error"}


def load_all(collection: Collection) -> tuple[list[Spectrum], dict[str, str]]:
    """Spectra read, and the reasons of the others by identifier."""
    read: list[Spectrum] = []
    refused: dict[str, str] = {}
    for entry in collection.entries():
        try:
            read.append(collection.load(entry))
        except RefusedSpectrum as refusal:
            refused[entry.facts.spectrum_id] = str(refusal)
    return read, refused


@pytest.mark.parametrize("name", COUNTS)
def test_every_row_is_read_or_refused_by_name(real_collection: OpenCollection, name: str) -> None:
    read, refused = load_all(real_collection(name))
    assert len(read) + len(refused) == COUNTS[name]
    assert refused == {name: why for name, why in REFUSED.items() if name in refused}
    assert bool(refused) == (name == "sdss")
    for spectrum in read:
        assert np.all(np.diff(spectrum.wave) > 0), spectrum.facts.spectrum_id
        assert spectrum.wave.dtype == spectrum.flux.dtype == spectrum.ivar.dtype == np.float64
        assert np.all(np.isfinite(spectrum.flux))
        assert np.all(np.isfinite(spectrum.ivar))
        assert np.all(spectrum.ivar[spectrum.mask] == 0)
        assert not spectrum.mask.all()


def centroid(spectrum: Spectrum, line: float) -> float | None:
    """Velocity (km/s) of an absorption line by its centroid; None where it is not deep."""
    wave, flux = spectrum.wave[~spectrum.mask], spectrum.flux[~spectrum.mask]
    away = np.abs(wave - line)
    beside, inside = (away > 25) & (away < 45), away < 12
    if beside.sum() < 6 or inside.sum() < 5:
        return None
    continuum = np.polyfit(wave[beside] - line, flux[beside], 1)
    depth: Float64 = 1 - flux[inside] / np.polyval(continuum, wave[inside] - line)
    if depth.max() < 0.15:
        return None
    weight = np.where(depth > 0.3 * depth.max(), depth, 0)
    return float((np.sum(wave[inside] * weight) / np.sum(weight) / line - 1) * LIGHT)


@pytest.mark.parametrize("name", ["miles", "stelib", "indous"])
def test_hydrogen_lines_of_rest_frame_libraries_stand_at_vacuum_wavelengths(
    real_collection: OpenCollection, name: str
) -> None:
    collection = real_collection(name)
    warm = (entry for entry in collection.entries() if (entry.facts.spectral_class or "")[:1] in ("A", "F"))
    found = [centroid(collection.load(entry), H_ALPHA) for entry in islice(warm, 80)]
    offsets = [offset for offset in found if offset is not None]
    assert len(offsets) >= 8
    assert abs(np.median(offsets)) < 15  # left in air it would be −83 km/s


def test_lamost_is_left_in_vacuum_and_its_own_frame(real_collection: OpenCollection) -> None:
    collection = real_collection("lamost")
    warm = [entry for entry in collection.entries() if (entry.facts.spectral_class or "")[:1] in ("A", "F")]
    found = [
        (offset, entry.facts.labels["rv"])
        for entry in warm
        if "rv" in entry.facts.labels and (offset := centroid(collection.load(entry), H_ALPHA)) is not None
    ]
    differences = [offset - rv for offset, rv in found]
    assert len(found) > 20
    assert abs(np.median(differences)) < 40


def by_id(collection: Collection, spectrum_id: str) -> Entry:
    return next(entry for entry in collection.entries() if entry.facts.spectrum_id == spectrum_id)


def test_gaps_filled_with_zero_are_masked(real_collection: OpenCollection) -> None:
    stelib = real_collection("stelib")
    spectrum = stelib.load(by_id(stelib, "stelib-Feige110"))
    assert np.mean(~spectrum.mask) == pytest.approx(0.9188, abs=1e-3)  # good_frac of the catalogue
    assert spectrum.em_min == pytest.approx(3460.76e-10, abs=0.02e-10)  # its wave_min, in vacuum
    assert not spectrum.has_errors


def test_pixels_of_no_weight_are_masked_and_errors_kept(real_collection: OpenCollection) -> None:
    lamost = real_collection("lamost")
    spectrum = lamost.load(by_id(lamost, "lamost-spec-55862-B6212_sp06-003"))
    assert int(spectrum.mask.sum()) >= 166  # pixels of inverse variance 0
    assert spectrum.has_errors
    assert spectrum.wave[0] == pytest.approx(3699.985, abs=1e-3)


def test_equal_wavelengths_at_the_joins_of_orders_become_one(real_collection: OpenCollection) -> None:
    irs = real_collection("irs_agn")
    spectrum = irs.load(by_id(irs, "irs-PG1351+236"))
    assert spectrum.facts.flux_unit == "Jy"
    assert np.all(np.diff(spectrum.wave) > 0)
    assert spectrum.em_min == pytest.approx(5.2e-6, rel=0.1)


def test_error_columns_and_inverse_variances_are_told_apart(real_collection: OpenCollection) -> None:
    quasar = load_all(real_collection("sdss"))[0][1]
    valid = ~quasar.mask
    ratio = np.median(quasar.flux[valid] * np.sqrt(quasar.ivar[valid]))
    assert ratio == pytest.approx(quasar.facts.snr, rel=0.35)
    xqr30 = real_collection("xqr30")
    infrared = xqr30.load(by_id(xqr30, "xqr30-ATLASJ029.9915-36.5658_NIR"))
    assert np.median(infrared.flux * np.sqrt(infrared.ivar)) == pytest.approx(10.5, abs=0.5)


def test_layouts_are_recognised_by_content(real_collection: OpenCollection) -> None:
    """Wherever content decides, it decides as the catalogue does."""
    from encoder.readers.recognise import recognise

    expected = {
        "lamost": "lamost_rows", "miles": "image1d_linear", "sdss": "bintable_columns:10**loglam,flux,ivar",
        "supernovae": "bintable_columns:wavelength,flux", "xqr30": "bintable_vector:WAVE,FLUX,ERROR",
        "irs_agn": "ascii_columns:0,1,2",
    }  # fmt: skip
    for name, layout in expected.items():
        collection = real_collection(name)
        entry = next(collection.entries())
        assert recognise(collection.original(entry.facts)) == layout, name
    nir = real_collection("nir_ucd")
    with pytest.raises(RefusedSpectrum, match="can be many things: name its layout"):
        recognise(nir.original(next(nir.entries()).facts))
