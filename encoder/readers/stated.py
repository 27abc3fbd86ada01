"""What files state of their wavelengths: measured in air or vacuum, and in which frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from encoder.readers.hdus import value_of, words

if TYPE_CHECKING:
    from astropy.io import fits

FRAMES = {"TOPOCENT": "observed", "HELIOCEN": "heliocentric", "BARYCENT": "barycentric", "SOURCE": "rest"}
MEDIA = {"AWAV": "air", "WAVE": "vacuum", "AIR": "air", "VAC": "vacuum", "VACUUM": "vacuum"}
AIR_UCD = "em.wl;obs.atmos"  # ESO's data products
ENDINGS = {"_air": "air", "_vac": "vacuum", "_vacuum": "vacuum"}


def medium_of_column(name: str, ucd: str) -> str:
    """`air` or `vacuum` where the column's name or UCD says so, else empty."""
    if ucd.replace(" ", "").lower() == AIR_UCD:
        return "air"
    return next((medium for ending, medium in ENDINGS.items() if name.lower().endswith(ending)), "")


def medium_of_header(header: fits.Header) -> str:
    """By VACUUM (SDSS, LAMOST), AIRORVAC (DEIMOS) or CTYPE1 (FITS standard, 8.4); empty where none says."""
    vacuum = value_of(header, "VACUUM")
    if isinstance(vacuum, bool | int):
        return "vacuum" if vacuum else "air"
    told = words(header, "AIRORVAC") or words(header, "CTYPE1")[:4]
    return MEDIA.get(told.upper(), "")


def frame_of_header(header: fits.Header) -> str:
    """By SPECSYS (FITS standard, 8.4.1); empty where it names none of FRAMES."""
    return FRAMES.get(words(header, "SPECSYS").upper(), "")
