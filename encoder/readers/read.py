"""One spectrum from one file: the layout's reader, then the common axis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from encoder.readers import images, tables
from encoder.readers.axis import Raw, ordered
from encoder.readers.hdus import opened
from encoder.readers.recognise import recognise
from encoder.readers.text import ascii_columns
from encoder.spectrum import Facts, RefusedSpectrum, Spectrum

if TYPE_CHECKING:
    from astropy.io import fits

FitsReader = Callable[["fits.HDUList", str, str], Raw]

FITS_LAYOUTS: dict[str, FitsReader] = {
    "image1d_linear": images.image1d_linear,
    "lamost_rows": images.lamost_rows,
    "image_rows": images.image_rows,
    "image_orders": images.image_orders,
    "manga_rows": images.manga_rows,
    "bintable_columns": tables.bintable_columns,
    "bintable_vector": tables.bintable_vector,
}
LAYOUTS = (*FITS_LAYOUTS, "ascii_columns")


def read(path: Path, facts: Facts) -> Spectrum:
    """The spectrum that `facts` describes, read from `path` by `facts.layout` (empty or `auto`: recognised).

    Raises RefusedSpectrum with a reason that people understand.
    """
    if not path.is_file():
        raise RefusedSpectrum(f"no such file: {facts.path}")
    layout = facts.layout if facts.layout not in ("", "auto") else recognise(path)
    raw = _raw(path, layout, facts.locator)
    unit = facts.wave_unit or raw.wave_unit
    if not unit:
        raise RefusedSpectrum("neither the catalogue (wave_unit) nor the file states the wavelength unit")
    wave, flux, ivar, mask = ordered(raw, unit, facts.wave_medium)
    return Spectrum(wave, flux, ivar, mask, facts)


def _raw(path: Path, layout: str, locator: str) -> Raw:
    kind, _, argument = layout.partition(":")
    if kind == "ascii_columns":
        return ascii_columns(path, argument)
    reader = FITS_LAYOUTS.get(kind)
    if reader is None:
        raise RefusedSpectrum(f"unknown layout {layout!r}; allowed: {', '.join(LAYOUTS)}")
    with opened(path) as hdus:
        return reader(hdus, argument, locator)
