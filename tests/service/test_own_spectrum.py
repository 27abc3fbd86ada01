"""Whatever form a spectrum comes in, it is the same spectrum; what it is not is said."""

import gzip
import io
import tempfile

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from encoder.spectrum import Facts, RefusedSpectrum, Spectrum
from service.errors import TimeoutFault, TooLargeFault, UsageFault
from service.formats.spectrum import write_csv, write_fits, write_votable
from service.own_spectrum import Own, Told, read_own
from service.parsers import Bounds, Parsers
from tests.serving import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore:The unit '(Angstrom|erg)' has been deprecated")
WAVE = np.linspace(4000.0, 6000.0, 400)
FLUX = 2.0 + np.sin(WAVE / 40)


def ours(errors: bool = True) -> Spectrum:
    mask = np.arange(400) < 3
    ivar = np.where(mask, 0.0, 25.0) if errors else np.zeros(400)
    return Spectrum(WAVE, FLUX, ivar, mask, Facts("x", "y", "ivo://x", "x.fits", flux_unit="Jy"))


def table(unit: str | None = "Angstrom", factor: float = 1.0, names=("wavelength", "flux", "error")) -> Table:
    made = Table([WAVE * factor, FLUX, np.full(400, 0.2)], names=names)
    if unit:
        made[names[0]].unit = u.Unit(unit)
    return made


def by_ucd(*ucds: str) -> Table:
    made = table("nm", 0.1, names=("a", "b", "c"))
    for name, ucd in zip(made.colnames, ucds, strict=True):
        made[name].info.meta = {"ucd": ucd}
    return made


def written(made: Table, format: str) -> bytes:
    if format in ("votable", "fits"):
        buffer = io.BytesIO()
        made.write(buffer, format=format)
        return buffer.getvalue()
    text = io.StringIO()
    made.write(text, format=format)
    return text.getvalue().encode()


COLUMNS = "".join(f"{w:.3f} {f:.6f} 0.2\n" for w, f in zip(WAVE, FLUX, strict=True))
FORMS = {
    "our VOTable": (write_votable(ours()), Told()),
    "our VOTable in TABLEDATA": (write_votable(ours(), serialization="tabledata"), Told()),
    "our FITS": (write_fits(ours()), Told()),
    "our CSV": (write_csv(ours()), Told()),
    "packed FITS": (gzip.compress(write_fits(ours())), Told()),
    "VOTable in nm": (written(table("nm", 0.1), "votable"), Told()),
    "FITS in um": (written(table("um", 1e-4), "fits"), Told()),
    "ECSV in m": (written(table("m", 1e-10), "ascii.ecsv"), Told()),
    "CSV, nm by size": (written(table(None, 0.1), "ascii.csv"), Told()),
    "CSV, own names": (
        written(table(None, names=("a", "b", "c")), "ascii.csv"),
        Told(wave="a", flux="B", error="c"),
    ),
    "FITS, own names": (
        written(table("nm", 0.1, names=("a", "b", "c")), "fits"),
        Told(wave="A", flux="b", error="c"),
    ),
    "FITS, two of a kind": (
        written(Table([WAVE * u.AA, FLUX, FLUX * 3], names=("wave", "flux", "flux_reduced")), "fits"),
        Told(flux="FLUX"),
    ),
    "VOTable, columns by UCD": (
        written(by_ucd("em.wl", "phot.flux.density;em.wl", "stat.error;phot.flux.density;em.wl"), "votable"),
        Told(),
    ),
    "CSV, log10": (
        written(Table([np.log10(WAVE), FLUX], names=("loglam", "flux")), "ascii.csv"),
        Told(unit="Angstrom"),
    ),
    "CSV with ivar": (
        written(Table([WAVE, FLUX, np.full(400, 25.0)], names=("wave", "flux", "ivar")), "ascii.csv"),
        Told(),
    ),
    "columns without names": (COLUMNS.encode(), Told()),
    "columns with a comment": (b"# a star\n" + COLUMNS.encode(), Told()),
    "semicolons": (COLUMNS.replace(" ", ";").encode(), Told()),
    "columns in um": (
        "".join(f"{w * 1e-4:.7f}\t{f}\n" for w, f in zip(WAVE, FLUX, strict=True)).encode(),
        Told(),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_spectrum(form):
    own = read_own(*FORMS[form])
    np.testing.assert_allclose(own.spectrum.wave, WAVE, rtol=1e-6)
    good = ~own.spectrum.mask
    assert good.sum() >= 397
    np.testing.assert_allclose(own.spectrum.flux[good], FLUX[good], rtol=1e-5)
    if own.spectrum.has_errors:
        np.testing.assert_allclose(own.spectrum.ivar[good], 25.0, rtol=1e-5)


def test_air_becomes_vacuum_where_it_is_said():
    own = read_own(COLUMNS.encode(), Told(medium="air"))
    assert own.spectrum.wave[0] == pytest.approx(4001.13, abs=0.02)
    assert not any("vacuum" in word for word in own.assumed)


def test_air_is_detected_by_what_a_votable_says_of_the_column():
    made = table()
    made["wavelength"].info.meta = {"ucd": "em.wl;obs.atmos"}
    own = read_own(written(made, "votable"), Told())
    assert own.spectrum.wave[0] == pytest.approx(4001.13, abs=0.02)
    assert own.assumed == ("the frame of the wavelengths is not known",)
    assert read_own(written(made, "votable"), Told(medium="vacuum")).spectrum.wave[0] == 4000


def test_what_is_taken_for_granted_is_told():
    assumed = read_own(COLUMNS.encode(), Told()).assumed
    assert any("vacuum" in word for word in assumed)
    assert any("Angstrom, by their size" in word for word in assumed)


BAD = {
    b"": "empty",
    b"   \n": "empty",
    b"hello world, this is prose\nand more of it\n": "no table of columns",
    b"wavelength,flux\n4000,abc\n4001,1\n": "does not hold numbers",
    b"wavelength,flux\n4000,1\n": "has 1 rows",
    b"a,b\n1,2\n3,4\n": "no column is known as wave",
    b"1 2 3 4\n5 6 7 8\n": "no column is known as wave",
    b"wavelength,flux\n1e9,1\n2e9,2\n": "unit of the wavelengths",
    b"wavelength,flux\n4000,0\n4001,0\n": "no valid pixel",
    b"wavelength,flux\n4000,nan\n4001,nan\n": "no valid pixel",
    b"\x00\x01\x02\x03": "neither FITS",
    b"<?xml version='1.0'?><VOTABLE></VOTABLE>": "VOTable cannot be read",
    b"<VOTABLE><RESOURCE>": "VOTable cannot be read",
    write_fits(ours())[:4000]: "no HDU has columns",
    b"SIMPLE  =                    T" + b" " * 2850: "not a readable FITS file",
    gzip.compress(b"nothing"): "not a readable FITS file",
}


@pytest.mark.parametrize("content", BAD, ids=[f"{i}" for i in range(len(BAD))])
def test_bad_files_are_refused_with_their_reason(content):
    with pytest.raises(RefusedSpectrum, match=BAD[content]):
        read_own(content, Told())


def test_a_told_column_that_is_not_there_is_refused():
    with pytest.raises(RefusedSpectrum, match="ERROR names sigma"):
        read_own(FORMS["our CSV"][0], Told(error="sigma"))
    with pytest.raises(RefusedSpectrum, match=r"no HDU has columns sigma; there are: .*error"):
        read_own(FORMS["our FITS"][0], Told(error="sigma"))


def test_a_unit_that_two_kinds_of_spectra_could_have_is_not_guessed():
    """1200 is far ultraviolet in Ångström, near infrared in nanometres."""
    columns = "".join(f"{w / 4:.3f} {f:.6f}\n" for w, f in zip(WAVE, FLUX, strict=True)).encode()
    with pytest.raises(RefusedSpectrum, match="say it by UNIT="):
        read_own(columns, Told())


def test_two_columns_of_one_ucd_are_not_guessed():
    two = by_ucd("em.wl", "phot.flux", "phot.flux")
    with pytest.raises(RefusedSpectrum, match="no column is known as flux"):
        read_own(written(two, "votable"), Told())


def test_a_spectrum_survives_being_kept():
    own = read_own(*FORMS["our VOTable"])
    kept = Own.from_bytes(own.to_bytes())
    np.testing.assert_array_equal(kept.spectrum.wave, own.spectrum.wave)
    assert (kept.spectrum.facts, kept.assumed) == (own.spectrum.facts, own.assumed)


@pytest.fixture
def parsers():
    made = Parsers(Bounds(file_bytes=100_000_000, seconds=PATIENCE))
    yield made
    made.close()


def test_a_process_of_its_own_reads_it(parsers):
    for _ in range(2):
        own = parsers.read(*FORMS["our CSV"])
        np.testing.assert_allclose(own.spectrum.wave, WAVE)
    with pytest.raises(UsageFault, match="The spectrum cannot be used: the file is empty"):
        parsers.read(b" ", Told())


def test_a_bomb_takes_no_more_than_its_bounds():
    bomb = gzip.compress(b"SIMPLE  =                    T" + b" " * 50 + b"\0" * 400_000_000)
    small = Parsers(Bounds(memory_bytes=600_000_000, seconds=PATIENCE))
    with pytest.raises(UsageFault, match=r"memory|HDU|FITS|END|header"):
        small.read(bomb, Told())
    small.close()
    with pytest.raises(TooLargeFault, match="at most 10 are taken"):
        Parsers(Bounds(file_bytes=10)).read(b"x" * 11, Told())


def test_what_takes_too_long_is_stopped():
    slow = Parsers(Bounds(seconds=0.001))
    with pytest.raises(TimeoutFault, match="within"):
        slow.read(*FORMS["our CSV"])
    slow.close()


def test_a_process_that_is_stopped_leaves_no_file(tmp_path, monkeypatch):
    """Whether it was reading already or not yet: what it unpacks lies where the one who asked removes it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    slow = Parsers(Bounds(seconds=1.5))
    with pytest.raises((TimeoutFault, UsageFault)):
        slow.read(gzip.compress(b"SIMPLE  =                    T" + b" " * 600_000_000, 1), Told())
    slow.close()
    assert not list(tmp_path.iterdir())


def columns(names="wave,flux", scale=1.0):
    rows = (f"{wave * scale:.9e},{flux:.9e}" for wave, flux in zip(WAVE, FLUX, strict=True))
    return "\n".join([names, *rows, ""]).encode()


@pytest.mark.parametrize(
    ("content", "assumed"),
    [
        (b"\xef\xbb\xbf" + columns(), True),
        (columns().replace(b"e+", b"D+").replace(b"e-", b"D-"), True),
        (columns(names="Wavelength [nm],Flux", scale=0.1), False),
        (columns(names="Lambda(A),Flux(erg/s/cm2/A)"), False),
    ],
    ids=["a mark before it, as of Excel", "exponents as of Fortran", "a unit in brackets", "in parentheses"],
)
def test_text_as_other_programs_write_it(content, assumed):
    own = read_own(content, Told())
    np.testing.assert_allclose(own.spectrum.wave, WAVE, rtol=1e-6)
    np.testing.assert_allclose(own.spectrum.flux, FLUX, rtol=1e-6)
    assert any("by their size" in words for words in own.assumed) == assumed


def test_a_page_of_the_web_is_no_spectrum():
    with pytest.raises(RefusedSpectrum, match="neither FITS"):
        read_own(b"<html><body>please log in</body></html>", Told())
