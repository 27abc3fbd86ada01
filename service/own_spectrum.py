"""Reads a spectrum that somebody sent: FITS, VOTable, ECSV, CSV or plain columns, told or detected.

What cannot be found out is refused with the parameter that would tell it; what is assumed is reported.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoder.readers.axis import Raw, ordered
from encoder.readers.read import read
from encoder.readers.recognise import ERROR_NAMES, FLUX_NAMES, LOG_NAMES, WAVE_NAMES, recognise
from encoder.readers.stated import medium_of_column
from encoder.spectrum import Facts, RefusedSpectrum, Spectrum

if TYPE_CHECKING:
    from astropy.table import Table

MAX_PIXELS = 2_000_000
LARGEST_LOG = 30.0  # of a wavelength in any unit
LARGEST = 10.0**LARGEST_LOG  # of what a spectrum is made of, in any unit; errors may be inverse squares
# Medians of wavelengths that mean one unit only, for files that state none.
PLAUSIBLE = (("m", 1e-7, 1e-4), ("um", 0.1, 60.0), ("nm", 150.0, 1_000.0), ("Angstrom", 3_000.0, 60_000.0))
UCDS = {"WAVE": ("em.wl",), "FLUX": ("phot.flux", "phot.fludens"), "ERROR": ("stat.error;phot.flu",)}
KNOWN_NAMES = frozenset((*WAVE_NAMES, *FLUX_NAMES, *ERROR_NAMES))
INVERSE = ("ivar", "invvar", "inversevariance", "inverse_variance")


@dataclass(frozen=True, slots=True)
class Told:
    """What the sender says of the file; empty: to be found out."""

    unit: str = ""  # of the wavelengths
    medium: str = ""  # air or vacuum
    frame: str = ""  # rest, heliocentric, barycentric or observed
    wave: str = ""  # names of columns
    flux: str = ""
    error: str = ""
    layout: str = ""  # a reader's layout, for FITS files that could be many things
    name: str = ""


@dataclass(frozen=True, slots=True)
class Own:
    """The spectrum, and what nobody said and was taken for granted."""

    spectrum: Spectrum
    assumed: tuple[str, ...] = field(default=())

    def to_bytes(self) -> bytes:
        """Arrays and facts in one npz; the reverse of `from_bytes`."""
        buffer = io.BytesIO()
        s = self.spectrum
        told = json.dumps({"facts": asdict(s.facts), "assumed": self.assumed})
        np.savez_compressed(buffer, wave=s.wave, flux=s.flux, ivar=s.ivar, mask=s.mask, told=np.array(told))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Own:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            told = json.loads(str(arrays["told"]))
            spectrum = Spectrum(
                arrays["wave"], arrays["flux"], arrays["ivar"], arrays["mask"], Facts(**told["facts"])
            )
        return cls(spectrum, tuple(told["assumed"]))


def read_own(content: bytes, told: Told) -> Own:
    """The spectrum in `content`; RefusedSpectrum with the reason and what to say about the file."""
    if not content.strip():
        raise RefusedSpectrum("the file is empty")
    if content.startswith((b"SIMPLE  =", b"\x1f\x8b")):
        return bounded(_from_fits(content, told))
    start = content[:4096]
    if b"<VOTABLE" in start or b":VOTABLE" in start:
        return _from_table(_votable(content), told)
    if b"\x00" in start or start.lstrip().startswith(b"<"):
        raise RefusedSpectrum("neither FITS, VOTable, ECSV, CSV nor columns of text")
    return _from_table(_text_table(content.decode("utf-8-sig", errors="replace")), told)


def bounded(own: Own) -> Own:
    """The same; RefusedSpectrum where a value is none that a spectrum can have."""
    found = own.spectrum
    for name, values in (("wavelengths", found.wave), ("fluxes", found.flux[~found.mask])):
        if not (np.abs(values) <= LARGEST).all():
            raise RefusedSpectrum(f"there are {name} above {LARGEST:g}")
    return own


def _facts(told: Told, unit: str) -> Facts:
    return Facts(
        spectrum_id=told.name or "upload",
        collection="",
        publisher_did="",
        path="upload.fits",
        layout=told.layout,
        object=told.name or None,
        wave_unit=unit or None,
        wave_medium=told.medium or None,
        wave_frame=told.frame or None,
    )


def _from_fits(content: bytes, told: Told) -> Own:
    with tempfile.TemporaryDirectory(prefix="doppel-") as directory:
        path = Path(directory) / ("upload.fits.gz" if content.startswith(b"\x1f\x8b") else "upload.fits")
        path.write_bytes(content)
        columns = (told.wave, told.flux, told.error)
        if any(columns) and not told.layout:
            told = replace(told, layout=recognise(path, columns))
        try:
            spectrum = read(path, _facts(told, told.unit))
            return Own(spectrum, _assumed(spectrum.facts))
        except RefusedSpectrum as refusal:
            if "wavelength unit" not in str(refusal) or told.unit:
                raise
        spectrum = read(path, _facts(told, "Angstrom"))
    return Own(spectrum, (*_assumed(spectrum.facts), "wavelengths are in Angstrom"))


def _assumed(facts: Facts) -> tuple[str, ...]:
    """What neither the sender nor the file says."""
    words = [] if facts.wave_medium else ["wavelengths are in vacuum (say MEDIUM=air if not)"]
    return (*words, *([] if facts.wave_frame else ["the frame of the wavelengths is not known"]))


def _votable(content: bytes) -> Table:
    from astropy.io import votable

    try:
        document = votable.parse(io.BytesIO(content), verify="ignore")
        return document.get_first_table().to_table(use_names_over_ids=True)
    except (ValueError, IndexError, KeyError, TypeError, votable.exceptions.VOWarning) as error:
        raise RefusedSpectrum(f"the VOTable cannot be read: {_first_line(error)}") from error


def _text_table(text: str) -> Table:
    """ECSV, or columns with or without a line of names."""
    from astropy.table import Table

    lines = [line for line in text.splitlines() if line.strip()]
    try:
        if lines[0].startswith("# %ECSV"):
            return Table.read(text, format="ascii.ecsv")
        rows = [line for line in lines if not line.lstrip().startswith("#")]
        separator = next((mark for mark in (",", ";", "\t") if mark in rows[0]), r"\s")
        kind = "ascii.no_header" if _are_numbers(rows[0]) else "ascii.basic"
        table = Table.read(rows, format=kind, guess=False, delimiter=separator, fill_values=[("", "nan")])
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise RefusedSpectrum(f"the text is no table of columns: {_first_line(error)}") from error
    for name in table.colnames:
        _take_unit(table, name)
    return table


def _take_unit(table: Table, name: str) -> None:
    """`Wavelength [nm]` and `Lambda(A)` are names with units, where the name alone is one that is known."""
    from astropy.units import Unit

    found = re.fullmatch(r"(\w+)\s*[\[(]([^\])]+)[\])]", name)
    if found and found[1].lower() in KNOWN_NAMES and found[1] not in table.colnames:
        table.rename_column(name, found[1])
        table[found[1]].unit = Unit(found[2], parse_strict="silent")


def _are_numbers(line: str) -> bool:
    words = re.split(r"[\s,;]+", line.strip())
    return all(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?|nan|[+-]?inf|", w, re.I) for w in words)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _from_table(table: Table, told: Told) -> Own:
    if not 2 <= len(table) <= MAX_PIXELS:
        raise RefusedSpectrum(f"the table has {len(table)} rows; a spectrum has 2 to {MAX_PIXELS} pixels")
    names = _columns(table, told)
    wave = _numbers(table, names["wave"])
    if names["wave"].lower() in LOG_NAMES:
        wave = 10.0 ** np.where(wave < LARGEST_LOG, wave, np.nan)
    unit, assumed = _unit(table, names["wave"], wave, told)
    error = _numbers(table, names["error"], LARGEST**2) if names["error"] else None
    inverse = names["error"].lower() in INVERSE
    raw = Raw(
        wave,
        _numbers(table, names["flux"]),
        error=None if inverse else error,
        ivar=error if inverse else None,
        bad=_flagged(table),
    )
    medium = told.medium or medium_of_column(names["wave"], _ucd(table[names["wave"]]))
    told = replace(told, medium=medium)
    facts = _facts(told, unit)
    return Own(Spectrum(*ordered(raw, unit, facts.wave_medium), facts), (*_assumed(facts), *assumed))


def _columns(table: Table, told: Told) -> Mapping[str, str]:
    """Names of the columns, told, known by name or UCD, or by place where they have no names."""
    found = {
        "wave": _column(table, told.wave, WAVE_NAMES, "WAVE"),
        "flux": _column(table, told.flux, FLUX_NAMES, "FLUX"),
        "error": _column(table, told.error, ERROR_NAMES, "ERROR"),
    }
    if (
        not found["wave"]
        and not found["flux"]
        and table.colnames[0] == "col1"
        and len(table.columns) in (2, 3)
    ):
        return dict(zip(found, [*table.colnames, ""], strict=False))
    for kind in ("wave", "flux"):
        if not found[kind]:
            raise RefusedSpectrum(
                f"no column is known as {kind} in {table.colnames}: name it by {kind.upper()}="
            )
    return found


def _column(table: Table, told: str, known: tuple[str, ...], parameter: str) -> str:
    names: dict[str, str] = {name.lower(): name for name in table.colnames}
    if told:
        if told.lower() not in names:
            raise RefusedSpectrum(
                f"{parameter} names {told}, which is not among the columns {table.colnames}"
            )
        return names[told.lower()]
    return next((names[name] for name in known if name in names), "") or _by_ucd(table, UCDS[parameter])


def _by_ucd(table: Table, ucds: tuple[str, ...]) -> str:
    """The only column with such a UCD, as VOTables of the Spectrum data model have them."""
    found = [name for name in table.colnames if _ucd(table[name]).startswith(ucds)]
    return found[0] if len(found) == 1 else ""


def _ucd(column: Any) -> str:
    return str(column.meta.get("ucd") or "").lower()


def _numbers(table: Table, name: str, largest: float = LARGEST) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The column; NaN where there is no value, or none that a wavelength or a flux can have."""
    values = table[name]
    if values.dtype.kind == "U":  # as Fortran writes them: 1.5D-03
        values = np.char.replace(np.char.upper(np.ma.filled(values, "nan")), "D", "E")
    try:
        column = np.ma.asarray(values).astype(np.float64)
    except (ValueError, TypeError):
        raise RefusedSpectrum(f"the column {name} does not hold numbers") from None
    if column.ndim != 1:
        raise RefusedSpectrum(f"the column {name} holds arrays; one row per pixel is read")
    values = np.asarray(np.ma.filled(column, np.nan))
    return np.where(np.abs(values) <= largest, values, np.nan)


def _flagged(table: Table) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Our own products' mask: whatever is not zero is bad."""
    if "mask" not in table.colnames:
        return None
    return np.asarray(np.nan_to_num(_numbers(table, "mask")) != 0)


def _unit(
    table: Table, column: str, wave: np.ndarray[Any, np.dtype[np.float64]], told: Told
) -> tuple[str, tuple[str, ...]]:
    """The unit of the wavelengths, and whether it was taken from their size."""
    stated = told.unit or str(getattr(table[column], "unit", None) or "")
    if stated:
        return stated, ()
    middle = float(np.nanmedian(np.abs(wave)))
    for unit, low, high in PLAUSIBLE:
        if low <= middle <= high:
            return unit, (f"wavelengths are in {unit}, by their size",)
    raise RefusedSpectrum(f"the unit of the wavelengths (median {middle:g}) is not stated: say it by UNIT=")
