"""Spectra kept as FITS binary tables: one pixel per row, or one spectrum per row."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from encoder.readers.axis import Raw
from encoder.readers.hdus import data_of, hdu_at, integer
from encoder.spectrum import RefusedSpectrum

IVAR_NAMES = frozenset({"ivar", "invvar", "inversevariance", "inverse_variance", "weight"})
LOG10 = "10**"


def bintable_columns(hdus: fits.HDUList, argument: str, locator: str) -> Raw:
    """A table with one row per pixel: `wavelength,flux[,error or ivar]`; `10**loglam` is a log10 column."""
    return _columns(hdu_at(hdus, locator, 1), argument, slice(None))


def bintable_vector(hdus: fits.HDUList, argument: str, locator: str) -> Raw:
    """A table whose cells are arrays; the locator is the row, needed where there are several."""
    hdu = hdu_at(hdus, "", 1)
    rows = int(hdu.header["NAXIS2"])
    row = integer(locator, "locator") if locator else 0
    if row >= rows or (rows > 1 and not locator):
        raise RefusedSpectrum(f"the table has {rows} rows; locator {locator!r} does not say which")
    return _columns(hdu, argument, row)


def _columns(hdu: Any, argument: str, rows: slice | int) -> Raw:
    """The named columns, read from the table's records without astropy's column machinery where it may be."""
    names = argument.split(",")
    if len(names) not in (2, 3):
        raise RefusedSpectrum(f"the layout names {len(names)} columns ({argument}); it must be two or three")
    wave_name = names[0].removeprefix(LOG10)
    table = data_of(hdu)
    wave, flux, *rest = (_cells(table, name, rows) for name in (wave_name, *names[1:]))
    if names[0] != wave_name:
        wave = 10.0 ** np.asarray(wave, dtype=np.float64)
    unit = "Angstrom" if names[0] != wave_name else _unit(hdu, wave_name)
    if not rest:
        return Raw(wave, flux, wave_unit=unit)
    if names[2].lower() in IVAR_NAMES:
        return Raw(wave, flux, ivar=rest[0], wave_unit=unit)
    return Raw(wave, flux, error=rest[0], wave_unit=unit)


def _cells(table: Any, name: str, rows: slice | int) -> NDArray[np.generic]:
    try:
        return np.asarray(table.field(name)[rows])
    except KeyError:
        raise RefusedSpectrum(f"the table has no column {name!r}, only {', '.join(table.names)}") from None


def _unit(hdu: Any, name: str) -> str:
    for number in range(1, int(hdu.header["TFIELDS"]) + 1):
        if str(hdu.header.get(f"TTYPE{number}", "")).lower() == name.lower():
            return str(hdu.header.get(f"TUNIT{number}", ""))
    return ""
