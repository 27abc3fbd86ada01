"""Facts from standard FITS keywords, for a directory that has no catalogue."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from encoder.catalogue import NUMBERS, mjd_of, number
from encoder.readers.hdus import listed, opened, value_of, words
from encoder.spectrum import RefusedSpectrum

if TYPE_CHECKING:
    from astropy.io import fits

ENDINGS = (".fits", ".fit", ".fts", ".fits.gz", ".dat", ".txt", ".csv", ".asc", ".ascii")
SEXAGESIMAL = re.compile(r"\s*([+-]?)(\d+)[:\s](\d+)[:\s](\d+(?:\.\d*)?)\s*")
KEYWORDS = {
    "object": ("OBJECT", "TARGNAME"), "date_obs": ("DATE-OBS",), "mjd": ("MJD-OBS",),
    "exposure_s": ("EXPTIME", "EXPOSURE", "TELAPSE"), "telescope": ("TELESCOP",), "instrument": ("INSTRUME",),
    "snr": ("SNR",), "R": ("SPEC_RP",), "flux_unit": ("BUNIT",), "publisher_did": ("DS_IDPUB",),
}  # fmt: skip


def rows_from_headers(names: Iterable[str], locate: Callable[[str], Path]) -> Iterator[dict[str, str]]:
    """A catalogue row per spectrum file: its name is the identifier, standard keywords are the facts."""
    for name in names:
        if not name.lower().endswith(ENDINGS):
            continue
        row = {"spectrum_id": str(PurePosixPath(name).with_suffix("")), "file": name}
        yield row | _keywords(locate(name))


def _keywords(path: Path) -> dict[str, str]:
    """Facts of one file; none where it is no FITS file, since reading it will tell the reason."""
    try:
        with opened(path) as hdus:
            headers = [hdu.header for hdu in islice(listed(hdus), 2)]
    except RefusedSpectrum:
        return {}
    facts = {fact: _first(headers, words) for fact, words in KEYWORDS.items()}
    return {fact: text for fact, text in facts.items() if _is_usable(fact, text)} | _position(headers)


def _is_usable(fact: str, text: str) -> bool:
    """A header's odd value is left out; only a catalogue's is a reason to refuse the spectrum."""
    try:
        if fact == "date_obs" and text:
            mjd_of(text)
        elif fact in NUMBERS:
            number(text, fact)
    except RefusedSpectrum:
        return False
    return True


def _first(headers: list[fits.Header], keywords: tuple[str, ...]) -> str:
    return next((text for word in keywords for header in headers if (text := words(header, word))), "")


def _position(headers: list[fits.Header]) -> dict[str, str]:
    """ICRS degrees from RA and DEC where the header says that they are degrees or J2000 sexagesimal."""
    for header in headers:
        if _is_icrs(header):
            ra, dec = _degrees(value_of(header, "RA"), 15.0), _degrees(value_of(header, "DEC"), 1.0)
            if ra is not None and dec is not None:
                return {"ra_deg": repr(ra), "dec_deg": repr(dec)}
    return {}


def _is_icrs(header: fits.Header) -> bool:
    frame = (words(header, "RADESYS") or words(header, "RADECSYS")).upper()
    equinox = words(header, "EQUINOX").upper().removeprefix("J")
    return frame in ("ICRS", "FK5", "") and equinox in ("", "2000", "2000.0")


def _degrees(value: str | float | None, per_hour: float) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    parts = SEXAGESIMAL.fullmatch(str(value))
    if parts is None:
        return None
    sign, whole, minutes, seconds = parts.groups()
    size = (int(whole) + int(minutes) / 60 + float(seconds) / 3600) * per_hour
    return -size if sign == "-" else size
