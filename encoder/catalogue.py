"""A collection's catalogue: a table of facts, one row per spectrum, from CSV or Parquet to `Facts`."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from encoder.spectrum import Facts, RefusedSpectrum

Row = Mapping[str, str]

# fact of the catalogue → field of Facts
TEXTS = {
    "locator": "locator", "object": "object", "object_key": "object_key", "object_class": "object_class",
    "spectral_class": "spectral_class", "line_class": "line_class", "date_obs": "date_obs",
    "telescope": "telescope", "instrument": "instrument", "wave_unit": "wave_unit",
    "wave_medium": "wave_medium", "wave_frame": "wave_frame", "flux_unit": "flux_unit",
    "flux_calibration": "flux_calibration", "label_source": "label_source", "notes": "notes",
    "creator_did": "creator_did",
}  # fmt: skip
NUMBERS = {
    "ra_deg": "ra", "dec_deg": "dec", "mjd": "mjd", "exposure_s": "exposure", "R": "resolving_power",
    "fwhm_aa": "fwhm", "snr": "snr", "aperture_arcsec": "aperture",
    "spatial_resolution_arcsec": "spatial_resolution", "variability": "variability",
}  # fmt: skip
LABELS = {"teff": "teff", "logg": "logg", "feh": "feh", "rv_kms": "rv", "redshift": "redshift"}
OTHERS = ("spectrum_id", "file", "layout", "publisher_did")
EXTENTS = (
    "n_pixels",
    "wave_min_aa",
    "wave_max_aa",
)  # of spectra that are not read (reader "none"); Å in vacuum
COLUMNS = frozenset({*OTHERS, *EXTENTS, *TEXTS, *NUMBERS, *LABELS})
"""Every column that a catalogue may have; the README of the data describes them."""

MEDIA = ("air", "vacuum")
CALIBRATIONS = ("ABSOLUTE", "RELATIVE", "NORMALIZED", "UNCALIBRATED")
MEDIA_TYPES = {
    ".fits": "application/fits", ".fit": "application/fits", ".fts": "application/fits",
    ".gz": "application/gzip", ".csv": "text/csv",
}  # fmt: skip

URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
UNCALIBRATED = re.compile(r"uncalibrated|counts?\b|\badu\b|electrons?\b|\bdn\b|photons?\b", re.IGNORECASE)
NORMALIZED = re.compile(r"normali[sz]ed|continuum", re.IGNORECASE)
FLUX_DENSITY = re.compile(r"\berg|\bjy\b|\bmjy\b|\bw\b.*\bm", re.IGNORECASE)


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The catalogue's rows as text, from CSV or Parquet; an absent value is the empty text."""
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    with path.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            yield {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}


def _parquet_rows(path: Path) -> Iterator[dict[str, str]]:
    from pyarrow import parquet

    for batch in parquet.ParquetFile(path).iter_batches():
        for row in batch.to_pylist():
            yield {name: _text(value) for name, value in row.items()}


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def facts_of(row: Row, collection: str, defaults: Row, did: Callable[[str], str], reader: str) -> Facts:
    """The facts of one catalogue row, `defaults` filling what it leaves empty.

    Raises RefusedSpectrum where a value is not what its column says.
    """

    def value(name: str) -> str:
        return row.get(name) or defaults.get(name, "")

    texts = {field: value(name) or None for name, field in TEXTS.items() if name != "locator"}
    numbers = {field: number(value(name), name) for name, field in NUMBERS.items()}
    labels = {field: number(value(name), name) for name, field in LABELS.items()}
    publisher_did = row.get("publisher_did") or did(row["spectrum_id"])
    if not URI.fullmatch(publisher_did):
        raise RefusedSpectrum(f"publisher_did is no URI: {publisher_did!r}")
    _check_position(numbers["ra"], numbers["dec"])
    _check_word(texts["wave_medium"], "wave_medium", MEDIA)
    _check_word(texts["flux_calibration"], "flux_calibration", CALIBRATIONS)
    observed = mjd_of(texts["date_obs"]) if texts["date_obs"] else None
    numbers["mjd"] = observed if numbers["mjd"] is None else numbers["mjd"]
    texts["flux_calibration"] = texts["flux_calibration"] or flux_calibration(texts["flux_unit"])
    if not row["file"]:
        raise RefusedSpectrum("the catalogue names no file")
    return Facts(
        spectrum_id=row["spectrum_id"],
        collection=collection,
        publisher_did=publisher_did,
        path=row["file"],
        locator=value("locator"),
        layout=value("layout") or reader,
        media_type=media_type(row["file"]),
        labels={name: label for name, label in labels.items() if label is not None},
        **texts,  # type: ignore[arg-type]
        **numbers,  # type: ignore[arg-type]
    )


def number(text: str, name: str) -> float | None:
    """A finite number, None where empty; refuses what is neither."""
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        raise RefusedSpectrum(f"{name} is not a number: {text!r}") from None
    if math.isnan(found):
        return None
    if math.isinf(found):
        raise RefusedSpectrum(f"{name} is infinite: {text!r}")
    return found


def _check_position(ra: float | None, dec: float | None) -> None:
    if (ra is None) != (dec is None):
        raise RefusedSpectrum(f"half a position: ra_deg {ra}, dec_deg {dec}")
    if ra is not None and dec is not None and not (0 <= ra <= 360 and -90 <= dec <= 90):
        raise RefusedSpectrum(f"ra_deg {ra}, dec_deg {dec} is no position (0–360, −90–90)")


def _check_word(text: str | None, name: str, allowed: tuple[str, ...]) -> None:
    if text is not None and text not in allowed:
        raise RefusedSpectrum(f"{name} is {text!r}; allowed: {', '.join(allowed)}")


def mjd_of(date_obs: str) -> float:
    """Modified Julian Date of an ISO 8601 date in UTC; refuses what is none."""
    try:
        moment = datetime.fromisoformat(date_obs)
    except ValueError:
        raise RefusedSpectrum(f"date_obs is no ISO 8601 date: {date_obs!r}") from None
    since = moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1858, 11, 17, tzinfo=UTC)
    return round(since.total_seconds() / 86400, 6)


def flux_calibration(unit: str | None) -> str | None:
    """SSA's Char.FluxAxis.Calibration as far as the unit justifies it; None where it says nothing.

    Only a unit of flux density is called ABSOLUTE; an archive that knows better says `flux_calibration`.
    """
    if not unit:
        return None
    if UNCALIBRATED.search(unit):
        return "UNCALIBRATED"
    if NORMALIZED.search(unit):
        return "NORMALIZED"
    if "relative" in unit.lower():
        return "RELATIVE"
    return "ABSOLUTE" if FLUX_DENSITY.search(unit) or unit.lower().startswith("erg") else None


def media_type(file: str) -> str:
    """By the file's ending; text where it is none that we know."""
    return MEDIA_TYPES.get(Path(file).suffix.lower(), "text/plain")
