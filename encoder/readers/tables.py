"""Spectra kept as FITS binary tables: one pixel per row, or one spectrum per row."""

from __future__ import annotations

import numpy as np

from encoder.readers.axis import Raw
from encoder.readers.fits import FitsFile, Hdu, integer
from encoder.spectrum import RefusedSpectrum

IVAR_NAMES = frozenset({"ivar", "invvar", "inversevariance", "inverse_variance", "weight"})
LOG10 = "10**"


def bintable_columns(hdus: FitsFile, argument: str, locator: str) -> Raw:
    """A table with one row per pixel: `wavelength,flux[,error or ivar]`; `10**loglam` is a log10 column."""
    return _columns(hdus.at(locator, 1), argument, None)


def bintable_vector(hdus: FitsFile, argument: str, locator: str) -> Raw:
    """A table whose cells are arrays; the locator is the row, needed where there are several."""
    hdu = hdus[1]
    rows = hdu.header.number("NAXIS2")
    row = integer(locator, "locator") if locator else 0
    if row >= rows or (rows > 1 and not locator):
        raise RefusedSpectrum(f"the table has {rows} rows; locator {locator!r} does not say which")
    return _columns(hdu, argument, row)


def _columns(hdu: Hdu, argument: str, row: int | None) -> Raw:
    """The named columns for all rows, or the arrays in the cells of one row."""
    names = argument.split(",")
    if len(names) not in (2, 3):
        raise RefusedSpectrum(f"the layout names {len(names)} columns ({argument}); it must be two or three")
    wave_name = names[0].removeprefix(LOG10)
    numbers = [_number(hdu, name) for name in (wave_name, *names[1:])]
    wave, flux, *rest = (hdu.cells(number, row) for number in numbers)
    unit = hdu.header.words(f"TUNIT{numbers[0]}")
    if names[0] != wave_name:
        wave, unit = 10.0 ** np.asarray(wave, dtype=np.float64), "Angstrom"
    if not rest:
        return Raw(wave, flux, wave_unit=unit)
    if names[2].lower() in IVAR_NAMES:
        return Raw(wave, flux, ivar=rest[0], wave_unit=unit)
    return Raw(wave, flux, error=rest[0], wave_unit=unit)


def _number(hdu: Hdu, name: str) -> int:
    """The column's number, by its name in any case (FITS standard 7.3.1); refuses one that is not there."""
    if hdu.kind != "table":
        raise RefusedSpectrum("the HDU is no binary table")
    columns = hdu.columns()
    found = columns.get(name) or {known.lower(): at for known, at in columns.items()}.get(name.lower())
    if found is None:
        raise RefusedSpectrum(f"the table has no column {name!r}, only {', '.join(columns)}")
    return found
