"""Which layout a file has, by its content; refuses what could be two things."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder.readers.hdus import is_image, is_table, is_vector, listed, names_of, opened
from encoder.spectrum import RefusedSpectrum

if TYPE_CHECKING:
    from astropy.io import fits

Told = tuple[str, str, str]
WAVE_NAMES = ("wave", "wavelength", "lambda", "lam", "wl", "spectral", "loglam", "log_wave",
              "wavelength_air", "wavelength_vac", "wave_air", "wave_vac")  # fmt: skip
FLUX_NAMES = ("flux", "flux_density", "fluxdensity", "flam", "f_lambda", "intensity", "spec", "flux_reduced")
ERROR_NAMES = ("error", "err", "sigma", "flux_err", "flux_error", "e_flux", "eflux", "err_flux", "noise",
               "uncertainty", "ivar", "invvar", "inversevariance", "inverse_variance")  # fmt: skip
LOG_NAMES = ("loglam", "log_wave")


def recognise(path: Path, told: Told = ("", "", "")) -> str:
    """The layout of `path`, in the catalogue's words; refuses with the reason where the content fits none.

    `told` names the columns of a FITS table that hold wavelength, flux and errors; empty: known by name.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    if start.startswith(b"SIMPLE  =") or start.startswith(b"\x1f\x8b"):
        with opened(path) as hdus:
            return _of_fits(hdus, told)
    if b"\x00" in start:
        raise RefusedSpectrum("neither FITS nor text")
    return _of_text(start.decode("utf-8", errors="replace"))


def _of_fits(hdus: fits.HDUList, told: Told) -> str:
    first = hdus[0]
    if is_image(first) and not any(told):
        return _of_image(first.header, first.shape)
    tables = [hdu for hdu in listed(hdus) if is_table(hdu)]
    found = next((layout for hdu in tables if (layout := _of_table(hdu, told))), None)
    if found is None:
        wanted = ", ".join(filter(None, told)) or "that are known as wavelength and flux"
        there = "; ".join(", ".join(names_of(hdu)) for hdu in tables) or "none"
        raise RefusedSpectrum(f"no HDU has columns {wanted}; there are: {there[:500]}")
    return found


def _of_image(header: fits.Header, shape: tuple[int, ...]) -> str:
    if len(shape) == 2 and "COEFF0" in header and shape[0] == 5:
        return "lamost_rows"
    if max(shape[:-1], default=1) == 1 and ("CDELT1" in header or "CD1_1" in header):
        return "image1d_linear"
    raise RefusedSpectrum(f"an image of shape {shape} can be many things: name its layout")


def _of_table(hdu: Any, told: Told) -> str:
    """The layout of a table, or empty where it is none of a spectrum."""
    names = {name.lower(): name for name in names_of(hdu)}
    if any(name and name.lower() not in names for name in told):
        return ""
    wave, flux, error = (
        names[name.lower()] if name else _one_of(names, known)
        for name, known in zip(told, (WAVE_NAMES, FLUX_NAMES, ERROR_NAMES), strict=True)
    )
    if not wave or not flux:
        return ""
    shown = f"10**{wave}" if wave.lower() in LOG_NAMES else wave
    columns = ",".join(name for name in (shown, flux, error) if name)
    return f"{'bintable_vector' if is_vector(hdu, flux) else 'bintable_columns'}:{columns}"


def _one_of(names: dict[str, str], known: tuple[str, ...]) -> str:
    present = [names[name] for name in known if name in names]
    if len(present) > 1:
        raise RefusedSpectrum(
            f"columns {', '.join(present)} could be the same thing: name one, or the layout"
        )
    return present[0] if present else ""


def _of_text(start: str) -> str:
    """Two or three columns of numbers, after at most a few lines of something else."""
    lines = start.splitlines()[:-1]
    counts = [_count(line) for line in lines]
    skip = next((at for at, count in enumerate(counts) if count), len(lines))
    columns = counts[skip] if skip < len(lines) else 0
    if columns not in (2, 3):
        raise RefusedSpectrum(f"text with {columns} columns of numbers: name its layout")
    numbers = ",".join(str(column) for column in range(columns))
    titled = any(line.strip() and not line.lstrip().startswith("#") for line in lines[:skip])
    return f"ascii_columns:{numbers}" + (f";skip={skip}" if titled else "")


def _count(line: str) -> int:
    """How many numbers the line holds; 0 where something is no number."""
    words = line.replace(",", " ").split()
    try:
        return len([float(word) for word in words])
    except ValueError:
        return 0
