"""Spectra kept as FITS binary tables: one pixel per row, or one spectrum per row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from encoder.readers.axis import Raw
from encoder.readers.hdus import cells_of, hdu_at, integer, is_table, names_of, words
from encoder.readers.stated import frame_of_header, medium_of_column, medium_of_header
from encoder.spectrum import RefusedSpectrum

if TYPE_CHECKING:
    from astropy.io import fits

IVAR_NAMES = frozenset({"ivar", "invvar", "inversevariance", "inverse_variance", "weight"})
LOG10 = "10**"


def bintable_columns(hdus: fits.HDUList, argument: str, locator: str) -> Raw:
    """A table with one row per pixel: `wavelength,flux[,error or ivar]`; `10**loglam` is a log10 column."""
    return _columns(hdu_at(hdus, locator, 1), argument, None)


def bintable_vector(hdus: fits.HDUList, argument: str, locator: str) -> Raw:
    """A table whose cells are arrays; the locator is the row, needed where there are several."""
    hdu = hdu_at(hdus, "", 1)
    rows = int(hdu.header["NAXIS2"]) if is_table(hdu) else 0
    row = integer(locator, "locator") if locator else 0
    if row >= rows or (rows > 1 and not locator):
        raise RefusedSpectrum(f"the table has {rows} rows; locator {locator!r} does not say which")
    return _columns(hdu, argument, row)


def _columns(hdu: Any, argument: str, row: int | None) -> Raw:
    """The named columns for all rows, or the arrays in the cells of one row."""
    names = argument.split(",")
    if len(names) not in (2, 3):
        raise RefusedSpectrum(f"the layout names {len(names)} columns ({argument}); it must be two or three")
    wave_name = names[0].removeprefix(LOG10)
    found = [_column(hdu, name) for name in (wave_name, *names[1:])]
    wave, flux, *rest = (cells_of(hdu, name, row) for name in found)
    unit = hdu.columns[found[0]].unit or ""
    if names[0] != wave_name:
        wave, unit = 10.0 ** np.asarray(wave, dtype=np.float64), "Angstrom"
    given = rest[0] if rest else None
    inverse = len(names) > 2 and names[2].lower() in IVAR_NAMES
    ucd = words(hdu.header, f"TUCD{names_of(hdu).index(found[0]) + 1}")
    medium = medium_of_column(found[0], ucd) or medium_of_header(hdu.header)
    return Raw(
        wave, flux, error=None if inverse else given, ivar=given if inverse else None,
        wave_unit=unit, medium=medium, frame=frame_of_header(hdu.header),
    )  # fmt: skip


def _column(hdu: Any, name: str) -> str:
    """The column's name as the table spells it, which may differ in case (FITS standard 7.3.1)."""
    if not is_table(hdu):
        raise RefusedSpectrum("the HDU is no binary table")
    known = names_of(hdu)
    found = next((one for one in known if one == name), None)
    found = found or next((one for one in known if one.lower() == name.lower()), None)
    if found is None:
        raise RefusedSpectrum(f"the table has no column {name!r}, only {', '.join(known)}")
    return found
