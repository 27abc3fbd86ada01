"""Opening FITS files with little work, and finding what is wrong with them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from encoder.spectrum import RefusedSpectrum


@contextmanager
def opened(path: Path) -> Iterator[fits.HDUList]:
    """The file's HDUs, read on demand; what astropy can not read is a refusal.

    Archives' headers have blank and odd cards, at which astropy warns: they do not touch the data. A file
    cut short warns too; `data_of` and astropy's own errors refuse it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)
        try:
            with fits.open(path, memmap=False) as hdus:
                yield hdus
        except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError) as error:
            raise RefusedSpectrum(f"not a readable FITS file: {error}") from error


def data_of(hdu: Any) -> NDArray[np.generic]:
    """The array of an image HDU or the records of a table; refuses an empty HDU and a file cut short."""
    place = hdu.fileinfo()
    if place is not None and hdu.size:
        end = place["datLoc"] + hdu.size
        there = place["file"].size
        if there and there < end and place["file"].compression is None:
            raise RefusedSpectrum(f"the file is cut short: {there} of {end} bytes")
    if hdu.data is None or hdu.data.size == 0:
        raise RefusedSpectrum(f"HDU {hdu.name or 'PRIMARY'} holds no data")
    data: NDArray[np.generic] = hdu.data
    return data


def hdu_at(hdus: fits.HDUList, locator: str, default: int) -> Any:
    """The HDU named or numbered by `locator`; without one, number `default`."""
    if not locator:
        wanted: str | int = default
    else:
        wanted = int(locator) if locator.isdigit() else locator
    try:
        return hdus[wanted]
    except (KeyError, IndexError):
        raise RefusedSpectrum(f"the file has no HDU {wanted}") from None


def integer(text: str, what: str) -> int:
    """A number ≥ 0 of a layout or locator."""
    if not text.strip().isdigit():
        raise RefusedSpectrum(f"{what} must be a whole number, not {text!r}")
    return int(text)
