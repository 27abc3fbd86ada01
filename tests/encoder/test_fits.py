"""Our reader of FITS agrees with astropy's on what spectra use of the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from encoder.readers.fits import opened
from encoder.spectrum import RefusedSpectrum
from tests.encoder.conftest import OpenCollection


@pytest.mark.parametrize("name", ["stelib", "lamost", "sdss", "nir_ucd", "xqr30"])
def test_real_files_are_read_as_astropy_reads_them(real_collection: OpenCollection, name: str) -> None:
    collection = real_collection(name)
    path = collection.original(next(collection.entries()).facts)
    with fits.open(path, memmap=False) as theirs, opened(path) as ours:
        for number, hdu in enumerate(theirs):
            assert ours[number].name == hdu.name.replace("PRIMARY", ours[number].name)
            if isinstance(hdu, fits.BinTableHDU):
                for column, place in ours[number].columns().items():
                    if hdu.columns[column].format[-1] in "BIJKED":
                        assert np.array_equal(
                            ours[number].cells(place), np.asarray(hdu.data[column]), equal_nan=True
                        )
            elif hdu.data is not None:
                assert np.array_equal(ours[number].image(), hdu.data, equal_nan=True)


def test_header_values_are_parsed_as_the_standard_says(tmp_path: Path) -> None:
    header = fits.Header(
        {"OBJECT": "O'Brien / star", "LOGIC": True, "WHOLE": -12, "REAL": 1.5e-3, "EMPTY": ""}
    )
    header["CRVAL1"] = (4000.0, "with 'a comment")
    path = tmp_path / "one.fits"
    fits.PrimaryHDU(np.ones(3), header).writeto(path)
    text = path.read_bytes().replace(b"REAL    =               0.0015", b"REAL    =             1.5D-003")
    path.write_bytes(text)
    with opened(path) as hdus:
        ours = hdus[0].header
        found = [ours.get(name) for name in ("OBJECT", "LOGIC", "WHOLE", "REAL", "CRVAL1")]
        assert found == ["O'Brien / star", True, -12, 1.5e-3, 4000.0]
        assert ours.words("EMPTY") == ""
        assert ours.get("ABSENT", 7) == 7
        assert "ABSENT" not in ours


def test_scaled_integers_blanks_and_cells_of_variable_length(tmp_path: Path) -> None:
    path = tmp_path / "one.fits"
    scaled = fits.PrimaryHDU(np.array([1, 2, 3], dtype=np.int16))
    scaled.header["BSCALE"], scaled.header["BZERO"], scaled.header["BLANK"] = 0.5, 10.0, 2
    lengths = np.empty(2, dtype=object)
    lengths[:] = [np.arange(3.0), np.arange(5.0)]
    columns = [fits.Column("NAME", "4A", array=["a", "b"]), fits.Column("FLUX", "PD()", array=lengths)]
    fits.HDUList([scaled, fits.BinTableHDU.from_columns(columns, name="SPECTRA")]).writeto(path)
    with opened(path) as hdus:
        assert np.array_equal(hdus[0].image(), [10.5, np.nan, 11.5], equal_nan=True)
        table = hdus.at("spectra", 0)
        assert table.is_vector("FLUX")
        assert np.array_equal(table.cells(2, 1), np.arange(5.0))
        with pytest.raises(RefusedSpectrum, match="need a row"):
            table.cells(2)
        with pytest.raises(RefusedSpectrum, match="holds no numbers"):
            table.cells(1)
        with pytest.raises(RefusedSpectrum, match="no HDU SKY"):
            hdus.at("SKY", 0)


def test_one_row_of_an_image_is_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "one.fits"
    values = np.arange(12.0).reshape(3, 4)
    fits.PrimaryHDU(values).writeto(path)
    with opened(path) as hdus:
        assert np.array_equal(hdus[0].image(1), values[1])
        with pytest.raises(RefusedSpectrum, match="row 3 is outside the file's 3 spectra"):
            hdus[0].image(3)
