"""Products are read by the programs that people have: astropy, specutils, stilts, and by SPLAT-VO's rules."""

import io
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits, votable
from astropy.table import Table

from encoder.spectrum import Facts, Spectrum
from service.formats.spectrum import flux_unit, write_csv, write_fits, write_votable
from tests.stilts import votlint

# Ångström and erg are what clients know; VOUnit calls them deprecated and astropy says so.
pytestmark = pytest.mark.filterwarnings("ignore:The unit '(Angstrom|erg)' has been deprecated")

UNITS = {
    "relative": ("", 1.0),
    "relative (F_lambda)": ("", 1.0),
    "Uncalibrated": ("", 1.0),
    None: ("", 1.0),
    "counts": ("ct", 1.0),
    "COUNTS": ("ct", 1.0),
    "ADU": ("adu", 1.0),
    "Jy": ("Jy", 1.0),
    "mJy": ("mJy", 1.0),
    "erg /s /cm2 /angstroms": ("erg.s**-1.cm**-2.Angstrom**-1", 1.0),
    "erg/s/cm^2/Angstrom": ("erg.s**-1.cm**-2.Angstrom**-1", 1.0),
    "erg cm-2 s-1 A-1": ("erg.s**-1.cm**-2.Angstrom**-1", 1.0),
    "ergss-1cm-2A-1": ("erg.s**-1.cm**-2.Angstrom**-1", 1.0),
    "1e-17 erg cm-2 s-1 A-1 spaxel-1": ("erg.s**-1.cm**-2.Angstrom**-1", 1e-17),
    "W m-2 um-1": ("W.um**-1.m**-2", 1.0),
    "10**-20 erg/s/cm**2/Hz": ("erg.Hz**-1.s**-1.cm**-2", 1e-20),
    "km/s": ("", 1.0),
}


def a_spectrum(errors: bool = True, unit: str | None = "relative", **facts: object) -> Spectrum:
    """300 pixels, the first five masked."""
    wave = np.linspace(4000.0, 7000.0, 300)
    mask = np.arange(300) < 5
    ivar = np.where(mask, 0.0, 100.0) if errors else np.zeros(300)
    known = Facts(
        "m0001",
        "miles",
        "ivo://doppel.example/miles?m0001",
        "m0001.fits",
        object="HD 1 & <co>",
        flux_unit=unit,
    )
    return Spectrum(wave, 2.0 + np.sin(wave / 50), ivar, mask, replace(known, **facts))


FULL = {
    "ra": 10.5,
    "dec": -3.25,
    "date_obs": "2011-10-27T20:02:34.19",
    "mjd": 55861.83,
    "telescope": "LAMOST",
    "instrument": "LRS",
    "wave_frame": "heliocentric",
    "snr": 99.0,
    "resolving_power": 1800.0,
    "labels": {"redshift": 1e-4},
    "exposure": 1800.0,
    "object_class": "star",
    "spectral_class": "F9",
    "flux_calibration": "RELATIVE",
}


@pytest.mark.parametrize(("text", "expected"), UNITS.items())
def test_flux_units_become_vounits_with_the_scale_in_the_data(text, expected):
    unit = flux_unit(text)
    assert (unit.votable, unit.factor) == (expected[0], pytest.approx(expected[1]))


@pytest.mark.parametrize("serialization", ["tabledata", "binary2"])
@pytest.mark.parametrize("errors", [True, False])
def test_s51_votable_reads_back_in_astropy(serialization, errors):
    spectrum = a_spectrum(errors, "1e-17 erg cm-2 s-1 A-1", **FULL)
    document = votable.parse(io.BytesIO(write_votable(spectrum, publisher="us", serialization=serialization)))
    table = document.get_first_table().to_table()
    assert table.colnames == ["wavelength", "flux", *(["error"] if errors else []), "mask"]
    np.testing.assert_array_equal(table["wavelength"], spectrum.wave)
    assert table["flux"].mask[:5].all()  # astropy masks what is NaN
    np.testing.assert_allclose(table["flux"][5:], spectrum.flux[5:] * 1e-17, rtol=1e-6)
    assert table["mask"].tolist() == spectrum.mask.astype(int).tolist()
    if errors:
        np.testing.assert_allclose(table["error"][5:], 1e-18, rtol=1e-6)
    field = document.get_first_table().get_field_by_id("flux")
    assert (field.utype, field.ucd) == ("spec:Data.FluxAxis.Value", "phot.flux.density;em.wl")


@pytest.mark.parametrize("serialization", ["tabledata", "binary2"])
@pytest.mark.parametrize("facts", [{}, FULL], ids=["bare", "full"])
def test_votlint_finds_nothing(serialization, facts):
    assert votlint(write_votable(a_spectrum(**facts), publisher="us", serialization=serialization)) == ""


def test_splat_finds_wavelength_flux_and_error_by_name():
    names = votable.parse_single_table(io.BytesIO(write_votable(a_spectrum()))).to_table().colnames
    assert next(n for n in names if n.startswith("wavelength")) == "wavelength"
    assert next(n for n in names if n.startswith("flux")) == "flux"
    assert next(n for n in names if n.startswith(("error", "sigma", "stddev"))) == "error"


@pytest.mark.filterwarnings("ignore")  # specutils' own
@pytest.mark.parametrize("unit", ["relative", "Jy", "counts", "1e-17 erg cm-2 s-1 A-1", "ADU"])
@pytest.mark.parametrize("telescope", ["SDSS 2.5-M", "HST", "JWST", "LAMOST", None])
def test_fits_is_read_by_specutils_without_being_told_how(unit, telescope, tmp_path):
    from specutils import Spectrum as Spectrum1D

    file = tmp_path / "s.fits"
    file.write_bytes(write_fits(a_spectrum(unit=unit, telescope=telescope), publisher="us"))
    read = Spectrum1D.read(file)
    assert read.spectral_axis.unit == "Angstrom"
    assert len(read.flux) == 300
    assert read.mask[:5].all()
    assert not read.mask[5:].any()
    assert read.uncertainty.array[10] > 0


def test_fits_header_carries_the_facts():
    hdus = fits.open(io.BytesIO(write_fits(a_spectrum(**FULL), publisher="ivo://doppel.example")))
    header = hdus[0].header
    assert header["OBJECT"] == "HD 1 & <co>"
    assert (header["RA"], header["DEC"], header["SPECSYS"]) == (10.5, -3.25, "HELIOCEN")
    assert (header["DATE-OBS"], header["VOPUB"]) == (FULL["date_obs"], "ivo://doppel.example")
    assert header["VOCLASS"] == "Spectrum 1.1"
    assert hdus[1].header["TUTYP2"] == "spec:Data.FluxAxis.Value"
    assert hdus[1].header["TUCD1"] == "em.wl"


def test_names_outside_ascii_and_control_characters_survive_or_are_replaced():
    spectrum = a_spectrum(object="τ Ceti\x07", notes="x")
    assert fits.open(io.BytesIO(write_fits(spectrum)))[0].header["OBJECT"] == "? Ceti?"
    assert "τ Ceti\ufffd" in write_votable(spectrum).decode()


def test_csv_leaves_invalid_cells_empty():
    table = Table.read(write_csv(a_spectrum()).decode(), format="ascii.csv")
    assert table.colnames == ["wavelength", "flux", "error", "mask"]
    assert table["flux"].mask[:5].all()
    assert not np.ma.is_masked(table["flux"][5:])
