"""FITS files through astropy: what is asked for is given, what can not be is refused by its reason."""

from __future__ import annotations

import gzip
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from encoder.readers import hdus as readers
from encoder.readers.hdus import cells_of, hdu_at, image_of, is_vector, number, opened, value_of, words
from encoder.readers.read import read
from encoder.spectrum import Facts, RefusedSpectrum


def test_header_values_that_can_not_be_parsed_count_as_absent(tmp_path: Path) -> None:
    header = fits.Header({"OBJECT": "O'Brien / star", "LOGIC": True, "WHOLE": -12, "EMPTY": ""})
    header["REAL"] = 1.5e-3
    path = tmp_path / "one.fits"
    fits.PrimaryHDU(np.ones(3), header).writeto(path)
    odd = b"APNUM1  = 1 1 3.1 15.8".ljust(80)
    text = path.read_bytes().replace(b"END".ljust(80), odd + b"END".ljust(80), 1)
    path.write_bytes(text[:2880] + text[2960:])
    with opened(path) as hdus:
        ours = hdus[0].header
        assert [value_of(ours, name) for name in ("OBJECT", "LOGIC", "WHOLE")] == [
            "O'Brien / star",
            True,
            -12,
        ]
        assert value_of(ours, "APNUM1") is None
        assert (words(ours, "EMPTY"), words(ours, "ABSENT"), words(ours, "WHOLE")) == ("", "", "-12")
        assert (number(ours, "ABSENT", "REAL"), number(ours, "LOGIC"), number(ours, "OBJECT")) == (
            1.5e-3,
            None,
            None,
        )


def test_scaled_integers_blanks_and_cells_of_variable_length(tmp_path: Path) -> None:
    path = tmp_path / "one.fits"
    scaled = fits.PrimaryHDU(np.array([1, 2, 3], dtype=np.int16))
    scaled.header["BSCALE"], scaled.header["BZERO"], scaled.header["BLANK"] = 0.5, 10.0, 2
    lengths = np.empty(2, dtype=object)
    lengths[:] = [np.arange(3.0), np.arange(5.0)]
    columns = [
        fits.Column("NAME", "4A", array=["a", "b"]),
        fits.Column("FLUX", "PD()", array=lengths),
        fits.Column("COUNT", "J", array=[7, -1], null=-1),
    ]
    fits.HDUList([scaled, fits.BinTableHDU.from_columns(columns, name="SPECTRA")]).writeto(path)
    with opened(path) as hdus:
        assert np.array_equal(image_of(hdus[0]), [10.5, np.nan, 11.5], equal_nan=True)
        table = hdu_at(hdus, "spectra", 0)
        assert is_vector(table, "FLUX")
        assert np.array_equal(cells_of(table, "FLUX", 1), np.arange(5.0))
        assert np.array_equal(cells_of(table, "COUNT"), [7, np.nan], equal_nan=True)
        for name, row in [("FLUX", None), ("NAME", None)]:
            with pytest.raises(RefusedSpectrum, match="holds no numbers"):
                cells_of(table, name, row)
        with pytest.raises(RefusedSpectrum, match="row 2 is outside the table's 2 rows"):
            cells_of(table, "FLUX", 2)
        with pytest.raises(RefusedSpectrum, match="no HDU SKY"):
            hdu_at(hdus, "SKY", 0)


@pytest.mark.parametrize("mapped_bytes", [0, 1 << 26])
def test_one_row_of_an_image_is_read_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped_bytes: int
) -> None:
    monkeypatch.setattr(readers, "MAPPED_BYTES", mapped_bytes)
    path = tmp_path / "one.fits"
    values = np.arange(12.0).reshape(3, 4)
    fits.PrimaryHDU(values).writeto(path)
    with opened(path) as hdus:
        row = image_of(hdus[0], 1)
        with pytest.raises(RefusedSpectrum, match="row 3 is outside the file's 3 spectra"):
            image_of(hdus[0], 3)
    assert np.array_equal(row, values[1])


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MOST_BYTES", 1 << 20)
    path = tmp_path / "one.fits.gz"
    path.write_bytes(gzip.compress(b"SIMPLE  = T".ljust(1 << 22)))
    with pytest.raises(RefusedSpectrum, match="unpacked it is larger than 1048576 bytes"), opened(path):
        pass


def test_readers_in_several_threads_leave_the_filters_of_warnings_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "one.fits"
    fits.PrimaryHDU(np.ones(3), fits.Header({"CRVAL1": 5000.0, "CDELT1": 1.0})).writeto(path)
    odd = path.read_bytes().replace(b"SIMPLE  =", b"SIMPLE  =", 1) + b"\0" * 80  # astropy warns of the end
    path.write_bytes(odd)
    facts = Facts(
        "one", "t", "ivo://doppel.example/t?one", "one.fits", layout="image1d_linear", wave_unit="nm"
    )
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: [read(path, facts) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


DAMAGE = np.random.default_rng(11)


def test_damaged_files_are_read_or_refused_but_never_crash(tmp_path: Path) -> None:
    """Bytes of headers replaced at random: 400 files, each read as both kinds that it might be."""
    columns = [fits.Column(name, "D", unit="nm", array=np.arange(1.0, 9)) for name in ("wave", "flux")]
    image = fits.PrimaryHDU(np.ones(8, np.int16), fits.Header({"CRVAL1": 5.0, "CDELT1": 1.0, "BZERO": 1}))
    path = tmp_path / "one.fits"
    fits.HDUList([image, fits.BinTableHDU.from_columns(columns)]).writeto(path)
    whole = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    cards = [*range(960), *range(5760, 7200)]
    for _ in range(200):
        damaged = whole.copy()
        places = DAMAGE.choice(cards, size=DAMAGE.integers(1, 6))
        damaged[places] = DAMAGE.choice(np.frombuffer(b" 0123456789-.'=/EPQXAT\xff\n", np.uint8), places.size)
        path.write_bytes(damaged.tobytes())
        for layout in ("auto", "image1d_linear", "bintable_columns:wave,flux", "bintable_vector:wave,flux"):
            facts = Facts("one", "t", "ivo://doppel.example/t?one", "one.fits", layout=layout, wave_unit="nm")
            try:
                spectrum = read(path, facts)
            except RefusedSpectrum:
                continue
            assert np.all(np.diff(spectrum.wave) > 0)
