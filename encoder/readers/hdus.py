"""FITS files through astropy: opened with bounds, read on demand, with one kind of refusal.

astropy itself is imported with the first file: a service that is asked for none does without.
"""

from __future__ import annotations

import gzip
import io
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoder.spectrum import RefusedSpectrum

if TYPE_CHECKING:
    from astropy.io import fits

MOST_BYTES = 1 << 30  # of one array, and of a compressed file once it is unpacked
MOST_HDUS = 500
MAPPED_BYTES = 1 << 26  # a larger file is mapped, so that one row of a large table costs one row

Array = NDArray[np.generic]


class _Quiet:
    """Silences one kind of warning while anybody reads: filters of warnings belong to all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._caught = warnings.catch_warnings()

    def enter(self, category: type[Warning]) -> None:
        with self._lock:
            if self._readers == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore", category)
            self._readers += 1

    def leave(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._caught.__exit__(None, None, None)


_quiet = _Quiet()


@contextmanager
def opened(path: Path) -> Iterator[fits.HDUList]:
    """The file's HDUs, plain or compressed by gzip, read on demand; refuses what is no FITS file.

    Archives' headers have blank and odd cards, at which astropy warns: they do not touch the data. A file cut
    short warns as well; `check_extent` refuses it.
    """
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    _quiet.enter(AstropyUserWarning)
    try:
        with path.open("rb") as file:
            content, size = _plain(file, path)
            with fits.open(
                content, mode="readonly", memmap=size > MAPPED_BYTES, disable_image_compression=True
            ) as hdus:
                yield hdus
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        zlib.error,
        fits.VerifyError,
    ) as error:
        raise RefusedSpectrum(f"not a readable FITS file: {error}") from error
    finally:
        _quiet.leave()


def _plain(file: IO[bytes], path: Path) -> tuple[IO[bytes], int]:
    """The file without compression, and its size; no other packing than gzip is undone."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"SIMPLE"):
        return file, path.stat().st_size
    if not start.startswith(b"\x1f\x8b"):
        raise RefusedSpectrum("not a FITS file")
    with gzip.open(file) as packed:
        content = packed.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise RefusedSpectrum(f"unpacked it is larger than {MOST_BYTES} bytes")
    return io.BytesIO(content), 0


def listed(hdus: fits.HDUList) -> Iterator[Any]:
    """The HDUs in order, at most 500."""
    return islice(hdus, MOST_HDUS)


def hdu_at(hdus: fits.HDUList, locator: str, default: int) -> Any:
    """The HDU named or numbered by `locator`; without one, number `default`."""
    wanted = int(locator or default) if locator.isdigit() or not locator else locator
    try:
        return hdus[wanted]
    except (KeyError, IndexError):
        raise RefusedSpectrum(f"the file has no HDU {wanted}") from None


def image_of(hdu: Any, row: int | None = None) -> Array:
    """The image, or only one row of its first axis (numpy's order)."""
    if not is_image(hdu) or 0 in hdu.shape:
        raise RefusedSpectrum(f"HDU {hdu.name or 'PRIMARY'} holds no image")
    _check_extent(hdu)
    if row is None:
        return np.asarray(hdu.data)
    if not 0 <= row < hdu.shape[0]:
        raise RefusedSpectrum(f"row {row} is outside the file's {hdu.shape[0]} spectra")
    return np.asarray(hdu.section[row])


def is_image(hdu: Any) -> bool:
    """Whether it is an image that has axes."""
    from astropy.io import fits

    return isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU) and bool(hdu.shape)


def is_table(hdu: Any) -> bool:
    """Whether it is a binary table."""
    from astropy.io import fits

    return isinstance(hdu, fits.BinTableHDU)


def names_of(hdu: Any) -> list[str]:
    """The columns of a binary table, in order; a nameless one is empty."""
    return [name or "" for name in hdu.columns.names]


def is_vector(hdu: Any, name: str) -> bool:
    """Whether the column's cells are arrays, of fixed or variable length."""
    form = hdu.columns[name].format
    return bool(form.repeat > 1 or form.format in "PQ")


def cells_of(hdu: Any, name: str, row: int | None = None) -> Array:
    """One column for all rows, (rows,) or (rows, n); or the array in the cell of one row, (n,)."""
    _check_extent(hdu)
    cells = hdu.data.field(name)
    if row is not None and row >= len(cells):
        raise RefusedSpectrum(f"row {row} is outside the table's {len(cells)} rows")
    values = np.asarray(cells if row is None else cells[row])
    if values.dtype.kind not in "iuf":
        raise RefusedSpectrum(f"column {name} holds no numbers")
    null = hdu.columns[name].null
    return values if null is None else np.where(values == null, np.nan, values)


def _check_extent(hdu: Any) -> None:
    """Refuses data that the file does not hold, before memory is taken for them."""
    place = hdu.fileinfo()
    held = place["file"].size
    if held < place["datLoc"] + place["datSpan"] and held < place["datLoc"] + hdu.size:  # the span is padded
        raise RefusedSpectrum(f"the file is cut short: {held} of {place['datLoc'] + hdu.size} bytes")
    if place["datSpan"] > MOST_BYTES:
        raise RefusedSpectrum(f"the header declares an array of {hdu.size} bytes; at most {MOST_BYTES}")


def words(header: fits.Header, keyword: str) -> str:
    """The value as text; empty where there is none, or none that can be parsed."""
    value = value_of(header, keyword)
    return "" if value is None else str(value).strip()


def number(header: fits.Header, *keywords: str) -> float | None:
    """The value of the first of the keywords that has one; None where it is no number."""
    found = (value for keyword in keywords if (value := value_of(header, keyword)) is not None)
    value = next(found, None)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def value_of(header: fits.Header, keyword: str) -> str | int | float | bool | None:
    from astropy.io.fits import VerifyError

    try:
        value = header.get(keyword)
    except VerifyError:
        return None
    return value if isinstance(value, str | int | float | bool) else None


def integer(text: str, what: str) -> int:
    """A number ≥ 0 of a layout or locator."""
    if not text.strip().isdigit():
        raise RefusedSpectrum(f"{what} must be a whole number, not {text!r}")
    return int(text)
