"""Spectra kept as FITS images: one row, rows of arrays, echelle orders, LAMOST's and MaNGA's files."""

from __future__ import annotations

import numpy as np

from encoder.readers.axis import Raw
from encoder.readers.fits import FitsFile, Header, integer
from encoder.spectrum import Float64, RefusedSpectrum


def stated_unit(header: Header) -> str:
    """The wavelength unit of a header: CUNIT1, or IRAF's WAT1_001 (`units=angstroms`); empty where none."""
    if header.words("CUNIT1"):
        return header.words("CUNIT1")
    _, found, rest = header.words("WAT1_001").partition("units=")
    return rest.split()[0] if found and rest.split() else ""


def linear_axis(header: Header, size: int) -> Float64:
    """FITS wavelengths of the first axis: equal steps, or equal steps in log10 (IRAF's DC-FLAG 1)."""
    start, step = header.get("CRVAL1"), header.get("CDELT1", header.get("CD1_1"))
    if not isinstance(start, int | float) or not isinstance(step, int | float):
        raise RefusedSpectrum("the header gives no wavelengths (CRVAL1 with CDELT1 or CD1_1)")
    axis = np.arange(1, size + 1, dtype=np.float64)
    axis = start + step * (axis - float(header.get("CRPIX1", 1)))
    return 10.0**axis if header.get("DC-FLAG") == 1 else axis


def image1d_linear(hdus: FitsFile, argument: str, locator: str) -> Raw:
    """A primary image of one row (further axes of length one are allowed)."""
    hdu = hdus.at(locator, 0)
    flux = hdu.image().squeeze()
    if flux.ndim != 1:
        raise RefusedSpectrum(f"expected an image of one row, found shape {flux.shape}")
    return Raw(linear_axis(hdu.header, flux.size), flux, wave_unit=stated_unit(hdu.header))


def lamost_rows(hdus: FitsFile, argument: str, locator: str) -> Raw:
    """LAMOST to DR5, image (5, N): rows flux and inverse variance. Row 2 differs by release; never used."""
    header, rows = hdus[0].header, hdus[0].image()
    start, step = header.get("COEFF0"), header.get("COEFF1")
    if rows.ndim != 2 or rows.shape[0] < 2 or not isinstance(start, float) or not isinstance(step, float):
        raise RefusedSpectrum(f"expected LAMOST's (5, N) image with COEFF0 and COEFF1, found {rows.shape}")
    wave = 10.0 ** (start + step * np.arange(rows.shape[1]))
    return Raw(wave, rows[0], ivar=rows[1], wave_unit="Angstrom")


def image_rows(hdus: FitsFile, argument: str, locator: str) -> Raw:
    """An image whose rows are wavelength, flux and, where there is a third number, error: `0,1,2`."""
    hdu = hdus.at(locator, 0)
    rows, wanted = hdu.image(), [integer(text, "row") for text in argument.split(",")]
    if rows.ndim != 2 or max(wanted) >= rows.shape[0] or len(wanted) not in (2, 3):
        raise RefusedSpectrum(f"rows {argument} do not fit an image of shape {rows.shape}")
    error = rows[wanted[2]] if len(wanted) == 3 else None
    return Raw(rows[wanted[0]], rows[wanted[1]], error=error, wave_unit=stated_unit(hdu.header))


def image_orders(hdus: FitsFile, argument: str, locator: str) -> Raw:
    """Echelle orders, image (order, 4, N): wavelength, flux, error, flag (0 is good). Orders may overlap."""
    hdu = hdus.at(locator, 0)
    orders = hdu.image()
    if orders.ndim != 3 or orders.shape[1] < 2:
        raise RefusedSpectrum(f"expected an image (order, 4, N), found shape {orders.shape}")
    planes = [orders[:, plane].ravel() for plane in range(min(orders.shape[1], 4))]
    bad = (planes[3] != 0) if len(planes) > 3 else None
    return Raw(planes[0], planes[1], error=planes[2] if len(planes) > 2 else None, bad=bad)


def manga_rows(hdus: FitsFile, argument: str, locator: str) -> Raw:
    """Extensions WAVE (N) and FLUX, IVAR, MASK (rows, N); the locator is the row."""
    row = integer(locator, "locator")
    flux, ivar, flags = (hdus.at(name, 0).image(row) for name in ("FLUX", "IVAR", "MASK"))
    return Raw(hdus.at("WAVE", 0).image(), flux, ivar=ivar, bad=np.asarray(flags != 0), wave_unit="Angstrom")
