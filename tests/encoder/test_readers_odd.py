"""Files as they should not be: each is read with what is bad masked, or refused with its reason."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from encoder.readers.axis import vacuum_to_air
from encoder.readers.read import read
from encoder.spectrum import Facts, RefusedSpectrum, Spectrum

WAVE = 5000.0 + np.arange(200)
FLUX = 1 + 0.1 * np.sin(WAVE / 7)


def facts(layout: str, **more: Any) -> Facts:
    return Facts("one", "test", "ivo://doppel.example/test?one", "one.fits", layout=layout, **more)


def table(path: Path, columns: dict[str, Any], unit: str | None = "Angstrom") -> Path:
    """A table of one row per pixel; the first column is the wavelength."""
    made = [
        fits.Column(name, "D", array=values, unit=unit if number == 0 else None)
        for number, (name, values) in enumerate(columns.items())
    ]
    fits.BinTableHDU.from_columns(made).writeto(path)
    return path


def read_table(tmp_path: Path, columns: dict[str, Any], layout: str = "auto", **more: Any) -> Spectrum:
    return read(table(tmp_path / "one.fits", columns), facts(layout, **more))


def test_descending_wavelengths_are_turned_round(tmp_path: Path) -> None:
    spectrum = read_table(tmp_path, {"wave": WAVE[::-1], "flux": FLUX[::-1]})
    assert np.array_equal(spectrum.wave, WAVE)
    assert np.array_equal(spectrum.flux, FLUX)


AIR = [
    ({"TUCD1": "em.wl;obs.atmos"}, "wave"),  # as ESO's data products
    ({"AIRORVAC": "air"}, "wave"),
    ({"VACUUM": False}, "wave"),
    ({}, "wave_air"),
]


@pytest.mark.parametrize(("cards", "name"), AIR)
def test_air_is_made_vacuum_where_the_file_says_that_it_is_air(
    tmp_path: Path, cards: dict[str, Any], name: str
) -> None:
    path = table(tmp_path / "one.fits", {name: vacuum_to_air(WAVE), "flux": FLUX})
    with fits.open(path, mode="update") as hdus:
        hdus[1].header.update({**cards, "SPECSYS": "BARYCENT"})
    found = read(path, facts("auto"))
    np.testing.assert_allclose(found.wave, WAVE, atol=1e-4)
    assert (found.facts.wave_medium, found.facts.wave_frame) == ("air", "barycentric")
    told = read(path, facts("auto", wave_medium="vacuum", wave_frame="rest"))
    np.testing.assert_array_equal(told.wave, vacuum_to_air(WAVE))
    assert told.facts.wave_frame == "rest"


@pytest.mark.parametrize(("kind", "medium"), [("AWAV", "air"), ("WAVE", "vacuum"), ("LINEAR", None)])
def test_the_axis_of_an_image_says_air_or_vacuum(tmp_path: Path, kind: str, medium: str | None) -> None:
    image = fits.PrimaryHDU(FLUX)
    image.header.update({"CRVAL1": 5000.0, "CDELT1": 1.0, "CUNIT1": "Angstrom", "CTYPE1": kind})
    image.writeto(tmp_path / "one.fits")
    found = read(tmp_path / "one.fits", facts("auto"))
    assert found.facts.wave_medium == medium
    assert vacuum_to_air(found.wave)[0] == pytest.approx(5000.0 if medium == "air" else 4998.6, abs=0.02)


def test_wavelengths_in_disorder_are_refused(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(3).permutation(WAVE)
    with pytest.raises(RefusedSpectrum, match="wavelengths are in disorder"):
        read_table(tmp_path, {"wave": shuffled, "flux": FLUX})


def test_nan_zero_and_bad_errors_are_masked_not_filled(tmp_path: Path) -> None:
    flux, error = FLUX.copy(), np.full(200, 0.01)
    flux[3], flux[4] = np.nan, 0
    error[5], error[6], error[7] = 0, -1, np.inf
    spectrum = read_table(tmp_path, {"wave": WAVE, "flux": flux, "error": error})
    assert np.flatnonzero(spectrum.mask).tolist() == [3, 4, 5, 6, 7]
    assert np.all(spectrum.flux[spectrum.mask] == 0)
    assert spectrum.ivar[0] == pytest.approx(1e4)


def test_errors_that_are_all_zero_say_nothing(tmp_path: Path) -> None:
    spectrum = read_table(tmp_path, {"wave": WAVE, "flux": FLUX, "error": np.zeros(200)})
    assert not spectrum.mask.any()
    assert not spectrum.has_errors


def test_inverse_variance_is_known_by_name(tmp_path: Path) -> None:
    spectrum = read_table(tmp_path, {"loglam": np.log10(WAVE), "flux": FLUX, "ivar": np.full(200, 25.0)})
    assert np.all(spectrum.ivar == 25)
    assert np.allclose(spectrum.wave, WAVE)


def test_pixels_of_one_wavelength_become_their_weighted_mean(tmp_path: Path) -> None:
    wave, flux, error = np.append(WAVE, WAVE[9]), np.append(FLUX, 5.0), np.full(201, 1.0)
    flux[9], error[200] = 2.0, 0.5
    spectrum = read_table(tmp_path, {"wave": wave, "flux": flux, "error": error})
    assert len(spectrum.wave) == 200
    assert spectrum.flux[9] == pytest.approx((2 * 1 + 5 * 4) / 5)
    assert spectrum.ivar[9] == pytest.approx(5)


def test_a_masked_twin_of_a_good_pixel_does_not_count(tmp_path: Path) -> None:
    wave, flux = np.append(WAVE, WAVE[9]), np.append(FLUX, np.nan)
    spectrum = read_table(tmp_path, {"wave": wave, "flux": flux})
    assert spectrum.flux[9] == FLUX[9]
    assert not spectrum.mask[9]


@pytest.mark.parametrize(("unit", "factor"), [("um", 1e-4), ("nm", 0.1), ("m", 1e-10), ("Angstroms", 1)])
def test_wavelength_units_become_angstrom(tmp_path: Path, unit: str, factor: float) -> None:
    path = table(tmp_path / "one.fits", {"wave": WAVE * factor, "flux": FLUX}, unit)
    assert np.allclose(read(path, facts("auto")).wave, WAVE)


def test_the_catalogue_wins_over_the_unit_in_the_file(tmp_path: Path) -> None:
    path = table(tmp_path / "one.fits", {"wave": WAVE / 1e4, "flux": FLUX}, "Angstrom")
    assert np.allclose(read(path, facts("auto", wave_unit="um")).wave, WAVE)


def test_an_unknown_or_absent_unit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedSpectrum, match="'Hz' is unknown; allowed: Angstrom, nm, um, m"):
        read(table(tmp_path / "a.fits", {"wave": WAVE, "flux": FLUX}, "Hz"), facts("auto"))
    with pytest.raises(RefusedSpectrum, match="states the wavelength unit"):
        read(table(tmp_path / "b.fits", {"wave": WAVE, "flux": FLUX}, None), facts("auto"))


def test_air_wavelengths_become_vacuum(tmp_path: Path) -> None:
    spectrum = read_table(tmp_path, {"wave": vacuum_to_air(WAVE), "flux": FLUX}, wave_medium="air")
    assert np.allclose(spectrum.wave, WAVE, rtol=0, atol=1e-6)


def test_a_log_linear_image_is_seen_by_dc_flag(tmp_path: Path) -> None:
    header = fits.Header({"CRVAL1": 3.7, "CDELT1": 1e-4, "CRPIX1": 1, "DC-FLAG": 1, "CUNIT1": "Angstrom"})
    fits.PrimaryHDU(FLUX, header).writeto(tmp_path / "one.fits")
    spectrum = read(tmp_path / "one.fits", facts("image1d_linear"))
    assert np.allclose(spectrum.wave, 10 ** (3.7 + 1e-4 * np.arange(200)))


def test_a_spectrum_without_a_valid_pixel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedSpectrum, match="no valid pixel"):
        read_table(tmp_path, {"wave": WAVE, "flux": np.full(200, np.nan)})


def test_a_table_of_several_spectra_needs_a_row(tmp_path: Path) -> None:
    columns = [
        fits.Column("WAVE", "200D", unit="Angstrom", array=np.array([WAVE, WAVE + 100])),
        fits.Column("FLUX", "200E", array=np.array([FLUX, 2 * FLUX])),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "one.fits")
    second = read(tmp_path / "one.fits", facts("auto", locator="1"))
    assert second.wave[0] == 5100
    assert second.flux[0] == pytest.approx(2 * FLUX[0])
    for locator, why in [("", "has 2 rows"), ("2", "has 2 rows"), ("last", "must be a whole number")]:
        with pytest.raises(RefusedSpectrum, match=why):
            read(tmp_path / "one.fits", facts("auto", locator=locator))


@pytest.mark.parametrize("kept", [10, 2880, 5000, 8000])
def test_a_fits_file_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    whole = table(tmp_path / "whole.fits", {"wave": WAVE, "flux": FLUX}).read_bytes()
    path = tmp_path / "one.fits"
    path.write_bytes(whole[:kept])
    with pytest.raises(RefusedSpectrum, match=r"cut short|no HDU 1|not a readable FITS file"):
        read(path, facts("bintable_columns:wave,flux" if kept > 10 else "auto"))


def test_a_compressed_file_is_read_and_a_damaged_one_refused(tmp_path: Path) -> None:
    whole = table(tmp_path / "whole.fits", {"wave": WAVE, "flux": FLUX}).read_bytes()
    packed = gzip.compress(whole)
    path = tmp_path / "one.fits.gz"
    path.write_bytes(packed)
    assert np.array_equal(read(path, facts("auto")).wave, WAVE)
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(RefusedSpectrum, match="Compressed file ended before"):
        read(path, facts("bintable_columns:wave,flux"))


def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    header = fits.Header(
        {
            "SIMPLE": True,
            "BITPIX": -64,
            "NAXIS": 2,
            "NAXIS1": 10**6,
            "NAXIS2": 10**6,
            "CRVAL1": 1,
            "CDELT1": 1,
        }
    )
    path = tmp_path / "one.fits"
    path.write_bytes(header.tostring().encode())
    with pytest.raises(RefusedSpectrum, match="cut short: 2880 of 8000000002880 bytes"):
        read(path, facts("image1d_linear"))
    path.write_bytes(gzip.compress(header.tostring().encode()))
    with pytest.raises(RefusedSpectrum, match="cut short: 2880 of 8000000002880 bytes"):
        read(path, facts("image1d_linear"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "0 columns of numbers"),
        (b"\x00\x01binary", "neither FITS nor text"),
        (b"once upon a time\nthere was a star\n", "0 columns of numbers"),
        (b"1 2 3 4\n5 6 7 8\n", "4 columns of numbers"),
        (b"SIMPLE  = nonsense", "not a readable FITS file"),
    ],
)
def test_what_is_no_spectrum_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "one.fits"
    path.write_bytes(content)
    with pytest.raises(RefusedSpectrum, match=why):
        read(path, facts("auto"))


def test_an_unknown_layout_and_a_missing_file_are_named(tmp_path: Path) -> None:
    path = table(tmp_path / "one.fits", {"wave": WAVE, "flux": FLUX})
    with pytest.raises(RefusedSpectrum, match="unknown layout 'cube'; allowed: image1d_linear"):
        read(path, facts("cube"))
    with pytest.raises(RefusedSpectrum, match="no column 'lambda', only wave, flux"):
        read(path, facts("bintable_columns:lambda,flux"))
    with pytest.raises(RefusedSpectrum, match=r"no such file: one\.fits"):
        read(tmp_path / "none.fits", facts("auto"))


def test_two_columns_that_could_be_the_flux_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedSpectrum, match="flux, intensity could be the same thing"):
        read_table(tmp_path, {"wave": WAVE, "flux": FLUX, "intensity": FLUX})


def test_text_with_titles_comments_and_commas_is_read(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    lines = [f"{wave},{flux},0.1" for wave, flux in zip(WAVE, FLUX, strict=True)]
    path.write_text("# made by hand\nwavelength,flux,error\n" + "\n".join(lines) + "\n")
    spectrum = read(path, facts("auto", wave_unit="Angstrom"))
    assert np.allclose(spectrum.flux, FLUX)
    assert spectrum.ivar[0] == pytest.approx(100)
    path.write_text("wavelength flux\n5000 1\n5001 one\n")
    with pytest.raises(RefusedSpectrum, match="not a table of numbers"):
        read(path, facts("ascii_columns:0,1;skip=1", wave_unit="Angstrom"))
