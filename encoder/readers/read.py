"""One spectrum from one file: the layout's reader, then the common axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from encoder.readers import images, tables
from encoder.readers.axis import Raw, ordered
from encoder.readers.hdus import opened
from encoder.readers.recognise import recognise
from encoder.readers.stated import frame_of_header, medium_of_header
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

    What they do not say of the wavelengths (unit, medium, frame) is taken from the file where it does.

    Raises RefusedSpectrum with a reason that people understand.
    """
    if not path.is_file():
        raise RefusedSpectrum(f"no such file: {facts.path}")
    layout = facts.layout if facts.layout not in ("", "auto") else recognise(path)
    raw = _raw(path, layout, facts.locator)
    unit = facts.wave_unit or raw.wave_unit
    if not unit:
        raise RefusedSpectrum("neither the catalogue (wave_unit) nor the file states the wavelength unit")
    medium, frame = facts.wave_medium or raw.medium or None, facts.wave_frame or raw.frame or None
    if (medium, frame) != (facts.wave_medium, facts.wave_frame):
        facts = replace(facts, wave_medium=medium, wave_frame=frame)
    wave, flux, ivar, mask = ordered(raw, unit, medium)
    return Spectrum(wave, flux, ivar, mask, facts)


def _raw(path: Path, layout: str, locator: str) -> Raw:
    kind, _, argument = layout.partition(":")
    if kind == "ascii_columns":
        return ascii_columns(path, argument)
    reader = FITS_LAYOUTS.get(kind)
    if reader is None:
        raise RefusedSpectrum(f"unknown layout {layout!r}; allowed: {', '.join(LAYOUTS)}")
    with opened(path) as hdus:
        raw, first = reader(hdus, argument, locator), hdus[0].header
        return replace(
            raw, medium=raw.medium or medium_of_header(first), frame=raw.frame or frame_of_header(first)
        )
