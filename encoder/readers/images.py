"""Spectra kept as FITS images: one row, rows of arrays, echelle orders, LAMOST's and MaNGA's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from encoder.readers.axis import Raw
from encoder.readers.hdus import hdu_at, image_of, integer, number, words
from encoder.spectrum import Float64, RefusedSpectrum

if TYPE_CHECKING:
    from astropy.io import fits


def stated_unit(header: fits.Header) -> str:
    """The wavelength unit of a header: CUNIT1, or IRAF's WAT1_001 (`units=angstroms`); empty where none."""
    if unit := words(header, "CUNIT1"):
        return unit
    _, found, rest = words(header, "WAT1_001").partition("units=")
    return rest.split()[0] if found and rest.split() else ""


def linear_axis(header: fits.Header, size: int) -> Float64:
    """FITS wavelengths of the first axis: equal steps, or equal steps in log10 (IRAF's DC-FLAG 1)."""
    start, step = number(header, "CRVAL1"), number(header, "CDELT1", "CD1_1")
    if start is None or step is None:
        raise RefusedSpectrum("the header gives no wavelengths (CRVAL1 with CDELT1 or CD1_1)")
    axis = np.arange(1, size + 1, dtype=np.float64)
    reference = number(header, "CRPIX1")
    axis = start + step * (axis - (1.0 if reference is None else reference))
    return 10.0**axis if number(header, "DC-FLAG") == 1 else axis


def image1d_linear(hdus: fits.HDUList, argument: str, locator: str) -> Raw:
    """A primary image of one row (further axes of length one are allowed)."""
    hdu = hdu_at(hdus, locator, 0)
    flux = image_of(hdu).squeeze()
    if flux.ndim != 1:
        raise RefusedSpectrum(f"expected an image of one row, found shape {flux.shape}")
    return Raw(linear_axis(hdu.header, flux.size), flux, wave_unit=stated_unit(hdu.header))


def lamost_rows(hdus: fits.HDUList, argument: str, locator: str) -> Raw:
    """LAMOST to DR5, image (5, N): rows flux and inverse variance. Row 2 differs by release; never used."""
    header, rows = hdus[0].header, image_of(hdus[0])
    start, step = number(header, "COEFF0"), number(header, "COEFF1")
    if rows.ndim != 2 or rows.shape[0] < 2 or start is None or step is None:
        raise RefusedSpectrum(f"expected LAMOST's (5, N) image with COEFF0 and COEFF1, found {rows.shape}")
    wave = 10.0 ** (start + step * np.arange(rows.shape[1]))
    return Raw(wave, rows[0], ivar=rows[1], wave_unit="Angstrom")


def image_rows(hdus: fits.HDUList, argument: str, locator: str) -> Raw:
    """An image whose rows are wavelength, flux and, where there is a third number, error: `0,1,2`."""
    hdu = hdu_at(hdus, locator, 0)
    rows, wanted = image_of(hdu), [integer(text, "row") for text in argument.split(",")]
    if rows.ndim != 2 or max(wanted) >= rows.shape[0] or len(wanted) not in (2, 3):
        raise RefusedSpectrum(f"rows {argument} do not fit an image of shape {rows.shape}")
    error = rows[wanted[2]] if len(wanted) == 3 else None
    return Raw(rows[wanted[0]], rows[wanted[1]], error=error, wave_unit=stated_unit(hdu.header))


def image_orders(hdus: fits.HDUList, argument: str, locator: str) -> Raw:
    """Echelle orders, image (order, 4, N): wavelength, flux, error, flag (0 is good). Orders may overlap."""
    orders = image_of(hdu_at(hdus, locator, 0))
    if orders.ndim != 3 or orders.shape[1] < 2:
        raise RefusedSpectrum(f"expected an image (order, 4, N), found shape {orders.shape}")
    planes = [orders[:, plane].ravel() for plane in range(min(orders.shape[1], 4))]
    bad = (planes[3] != 0) if len(planes) > 3 else None
    return Raw(planes[0], planes[1], error=planes[2] if len(planes) > 2 else None, bad=bad)


def manga_rows(hdus: fits.HDUList, argument: str, locator: str) -> Raw:
    """Extensions WAVE (N) and FLUX, IVAR, MASK (rows, N); the locator is the row."""
    row = integer(locator, "locator")
    flux, ivar, flags = (image_of(hdu_at(hdus, name, 0), row) for name in ("FLUX", "IVAR", "MASK"))
    wave = image_of(hdu_at(hdus, "WAVE", 0))
    return Raw(wave, flux, ivar=ivar, bad=np.asarray(flags != 0), wave_unit="Angstrom")
