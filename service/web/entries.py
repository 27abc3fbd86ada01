"""A spectrum as a page lists it: the archive's names and labels, and how far it is from what was asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from service.protocols.products import ORIGINAL, product_url

COLUMNS = (
    "ssa_pubdid", "spectrum_id", "ssa_targname", "object_key", "spectral_class", "line_class", "object_class",
    "teff", "logg", "feh", "rv", "ra", "dec", "ssa_collection", "ssa_instrument", "telescope", "ssa_snr",
    "resolving_power", "date_obs",
)  # fmt: skip
FILES = {"VOTable": ".vot", "FITS": ".fits", "CSV": ".csv", "original file": ORIGINAL}


@dataclass(frozen=True, slots=True)
class Fact:
    """A word, and what it says or leads to."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """Facts of one row of doppel.spectra; None where the archive does not say."""

    did: str
    spectrum_id: str
    name: str
    object_key: str | None
    kind: str | None  # spectral type, else shape of H-alpha, else class of object
    teff: float | None
    logg: float | None
    feh: float | None
    rv: float | None
    ra: float | None
    dec: float | None
    collection: str | None
    instrument: str | None
    snr: float | None
    resolving_power: float | None
    date_obs: str | None
    distance: float | None = None
    share: float | None = None  # of known repeat pairs that lie farther apart
    same_object: bool = False
    separation: float | None = None  # arc minutes from the searched position
    votable: str = ""
    datalink: str = ""
    preview: str = ""
    files: tuple[Fact, ...] = ()  # addresses of the spectrum in several forms
    assumed: str | None = None  # what nobody said of a spectrum that was sent

    @property
    def label(self) -> str:
        """Name, type and distance, as a legend shows them."""
        words = [self.name, self.kind or "", f"{self.teff:.0f} K" if self.teff is not None else ""]
        known = ", ".join(word for word in words if word)
        return known if self.distance is None else f"{known} · {self.distance:.3g}"


def entry(row: Mapping[str, object], base: str) -> Entry:
    """From a row with COLUMNS; URLs are below `base`."""
    did = str(row["ssa_pubdid"])
    return Entry(
        did=did,
        spectrum_id=str(row["spectrum_id"]),
        name=_text(row, "ssa_targname") or str(row["spectrum_id"]),
        object_key=_text(row, "object_key"),
        kind=_text(row, "spectral_class") or _text(row, "line_class") or _text(row, "object_class"),
        teff=_number(row, "teff"),
        logg=_number(row, "logg"),
        feh=_number(row, "feh"),
        rv=_number(row, "rv"),
        ra=_number(row, "ra"),
        dec=_number(row, "dec"),
        resolving_power=_number(row, "resolving_power"),
        collection=_text(row, "ssa_collection"),
        instrument=_text(row, "ssa_instrument") or _text(row, "telescope"),
        snr=_number(row, "ssa_snr"),
        date_obs=_text(row, "date_obs"),
        votable=product_url(base, did, ".vot"),
        datalink=f"{base}/datalink/links?{urlencode({'ID': did})}",
        preview=product_url(base, did, ".png"),
        files=_files(base, did),
    )


def _files(base: str, did: str) -> tuple[Fact, ...]:
    return tuple(Fact(label, product_url(base, did, suffix)) for label, suffix in FILES.items())


def _text(row: Mapping[str, object], name: str) -> str | None:
    value = row[name]
    return str(value) if value not in (None, "") else None


def _number(row: Mapping[str, object], name: str) -> float | None:
    value = row[name]
    if not isinstance(value, int | float) or math.isnan(value):
        return None
    return float(value)
