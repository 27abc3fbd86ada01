"""Spectra from any SSA service, kept as a collection: its files as they come, its facts beside them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoder.spectrum import RefusedSpectrum

Fetch = Callable[[str, int], bytes]  # address and most bytes; raises RefusedSpectrum with the reason
Progress = Callable[[int, int], None]  # rows done, of how many

FIELDS = (
    "spectrum_id", "file", "publisher_did", "object", "object_key", "ra_deg", "dec_deg", "mjd", "exposure_s",
    "telescope", "instrument", "R", "snr", "flux_calibration", "creator_did", "label_source", "notes",
)  # fmt: skip
UTYPES = {
    "object": "target.name", "mjd": "char.timeaxis.coverage.location.value",
    "exposure_s": "char.timeaxis.coverage.bounds.extent", "instrument": "dataid.instrument",
    "R": "char.spectralaxis.respower", "snr": "derived.snr", "flux_calibration": "char.fluxaxis.calibration",
    "creator_did": "dataid.creatordid",
}  # fmt: skip
CALIBRATIONS = ("ABSOLUTE", "RELATIVE", "NORMALIZED", "UNCALIBRATED")


class HarvestError(Exception):
    """The service can not be harvested; the message says why."""


@dataclass(frozen=True, slots=True)
class Harvest:
    """What became of a harvest: rows written, and why others were not, by their identifier."""

    kept: int
    refused: Mapping[str, str]


def harvest(
    url: str,
    directory: Path,
    fetch: Fetch,
    *,
    cone: tuple[float, float, float] | None = None,
    maxrec: int = 1000,
    most_bytes: int = 1 << 28,
    progress: Progress | None = None,
) -> Harvest:
    """Asks the SSA service at `url` for FITS spectra, saves them and a catalogue.csv below `directory`.

    `fetch` decides which of the addresses in the answer may be loaded. `cone` is ICRS degrees and a diameter;
    pyvo warns where there are more than `maxrec` rows. A file that is there already is not fetched again, so
    that a harvest that was stopped goes on. What can not be fetched, or is larger than `most_bytes`, is
    refused by name. Raises HarvestError where the service does not answer.
    """
    from pyvo.dal import DALAccessError, SSAQuery

    query = SSAQuery(url, maxrec=maxrec, format="fits")
    if cone is not None:
        query["POS"], query["SIZE"] = f"{cone[0]},{cone[1]}", str(cone[2])
    try:
        records = list(query.execute())
    except DALAccessError as error:
        raise HarvestError(f"{url} gives no answer of SSA: {error}") from error
    (directory / "spectra").mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, str]] = {}
    refused: dict[str, str] = {}
    for number, record in enumerate(records, start=1):
        row = _row(record)
        try:
            if row["spectrum_id"] in rows:
                other = rows[row["spectrum_id"]]["publisher_did"]
                raise RefusedSpectrum(f"{other} would have the same file")
            _save(str(record.acref), directory / row["file"], fetch, most_bytes)
            rows[row["spectrum_id"]] = row
        except RefusedSpectrum as refusal:
            refused[row["publisher_did"]] = str(refusal)
        if progress is not None:
            progress(number, len(records))
    _write(directory / "catalogue.csv", list(rows.values()))
    return Harvest(len(rows), refused)


def _row(record: Any) -> dict[str, str]:
    """A catalogue row of what the service says; units are SSA's own (days, seconds, degrees)."""
    did = str(record.getbyutype("ssa:Curation.PublisherDID") or record.acref)
    name = re.sub(r"[^A-Za-z0-9._~-]", "_", did.partition("://")[2])[-120:]
    row = {field: _text(record.getbyutype(f"ssa:{utype}")) for field, utype in UTYPES.items()}
    if row["flux_calibration"] not in CALIBRATIONS:
        row["flux_calibration"] = ""
    position = record.getbyutype("ssa:char.spatialaxis.coverage.location.value")
    if position is not None and np.size(position) == 2 and np.all(np.isfinite(position)):
        row["ra_deg"], row["dec_deg"] = (repr(float(degrees)) for degrees in position)
    return row | {
        "spectrum_id": name,
        "file": f"spectra/{name}.fits",
        "publisher_did": did,
        "object_key": row["object"].replace(" ", "").upper(),
    }


def _text(value: object) -> str:
    if value is None or value is np.ma.masked or (isinstance(value, float | np.floating) and np.isnan(value)):
        return ""
    return str(value).strip()


def _save(url: str, path: Path, fetch: Fetch, most_bytes: int) -> None:
    """Saves `url` to `path`, all or nothing, where it is not there yet."""
    if path.exists():
        return
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(fetch(url, most_bytes))
    unfinished.replace(path)


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(path)
