"""SAMP messages (SAMP 1.3): what those of other programs ask of the archive, and those that answer them."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import numpy as np

from service.errors import UsageFault

TABLE_LOAD, ROW = "table.load.votable", "table.highlight.row"
SPECTRUM_LOAD, POINT, ALADIN = "spectrum.load.ssa-generic", "coord.pointAt.sky", "script.aladin.send"
ASKED = (ROW, POINT, SPECTRUM_LOAD, TABLE_LOAD)  # messages that are questions to us
POINTING = (ROW, POINT)  # sent while somebody moves about: only the newest of a sender matters
DID_NAMES = ("ssa_pubdid", "obs_publisher_did")
DID_UTYPE, DID_UCD, DID_SCHEME = "curation.publisherdid", "meta.ref.ivoid", "ivo://"
AXES = {"Dataset.SpectralAxis": "wavelength", "Dataset.FluxAxis": "flux"}  # columns of our spectra
MAX_TABLES = 100  # remembered for rows that are highlighted later; the oldest is forgotten
MAX_ROWS = 100  # rows of a table that are asked about at once: their identifiers stand in one URL
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dids:
    """Ask for the likes of these spectra of the archive."""

    dids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Ask for the likes of the spectrum nearest to this position, ICRS degrees."""

    ra: float
    dec: float


@dataclass(frozen=True, slots=True)
class File:
    """Ask for the likes of the spectrum in this file; `did` if it may be one of the archive's."""

    url: str
    did: str = ""


Question = Dids | Place | File


class Tables:
    """Identifiers of spectra in tables that were sent about, by table id and by URL (SAMP 1.3, 4.1)."""

    def __init__(self) -> None:
        self._dids: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    def keep(self, params: Mapping[str, str], dids: Sequence[str]) -> None:
        for key in {params.get("table-id", ""), params.get("url", "")} - {""}:
            self._dids[key] = tuple(dids)
            self._dids.move_to_end(key)
        while len(self._dids) > 2 * MAX_TABLES:
            self._dids.popitem(last=False)

    def find(self, params: Mapping[str, str]) -> tuple[str, ...] | None:
        """Of the table that a message speaks of; None where it was never sent."""
        for key in (params.get("table-id", ""), params.get("url", "")):
            if key in self._dids:
                return self._dids[key]
        return None


def row_question(dids: Sequence[str], params: Mapping[str, str]) -> Dids:
    row = number(params, "row")
    if not 0 <= row < len(dids):
        raise UsageFault(f"row {row:g} is not in the table, which has {len(dids)}")
    did = dids[int(row)]
    if not did:
        raise UsageFault(f"row {row:g} has no identifier")
    return Dids((did,))


def table_question(dids: Sequence[str]) -> Dids:
    """Of every row, as long as their identifiers fit into one request."""
    wanted = tuple(dict.fromkeys(did for did in dids if did))
    if not wanted:
        raise UsageFault("the table has no identifiers of spectra")
    if len(wanted) > MAX_ROWS:
        raise UsageFault(
            f"the table has {len(wanted)} spectra, and up to {MAX_ROWS} are answered at once; "
            "it is remembered: highlight one of its rows"
        )
    return Dids(wanted)


def place_question(params: Mapping[str, str]) -> Place:
    place = Place(number(params, "ra"), number(params, "dec"))
    if not (0 <= place.ra <= 360 and -90 <= place.dec <= 90):
        raise UsageFault(f"{place.ra:g} {place.dec:g} is no position in degrees")
    return place


def spectrum_question(params: Mapping[str, Any]) -> File:
    """By the publisher's identifier in `meta`, in `spectrum-id` or in the URL, else by the file itself."""
    url = str(params.get("url", ""))
    meta = params.get("meta") or {}
    named = [str(value) for key, value in meta.items() if key.lower().endswith(DID_UTYPE)]
    named += [str(params.get("spectrum-id", "")), did_of_url(url)]
    did = next((name for name in named if name.startswith(DID_SCHEME)), "")
    if not url and not did:
        raise UsageFault("the message has neither a url nor an identifier of a spectrum")
    return File(url, did)


def did_of_url(url: str) -> str:
    """The identifier in the address of a product of an archive like ours; empty for any other address."""
    path = urlsplit(url).path.rpartition("/spectra/")[2]
    stem, dot, suffix = unquote(path).rpartition(".")
    return stem if dot and "/" not in suffix else unquote(path)


def number(params: Mapping[str, str], name: str) -> float:
    try:
        value = float(params[name])
    except (KeyError, ValueError):
        raise UsageFault(f"{name} must be a number, not {params.get(name, 'missing')}") from None
    if not np.isfinite(value):
        raise UsageFault(f"{name} must be a finite number, not {params[name]}")
    return value


def dids_of_table(content: bytes) -> tuple[str, ...]:
    """The publisher's identifier of every row of a VOTable, empty where a row has none."""
    from astropy.io.votable import parse
    from astropy.io.votable.exceptions import E19

    try:
        table = parse(io.BytesIO(content), verify="ignore").get_first_table()
    except (E19, ValueError, IndexError) as error:
        raise UsageFault(f"the table is no VOTable with rows: {error}") from None
    name = _did_field(table)
    if name is None:
        raise UsageFault(
            "the table has no column with publisher's identifiers (ssa_pubDID, obs_publisher_did)"
        )
    cells = np.ma.filled(table.array[name].astype(object), "")
    return tuple(cell.decode() if isinstance(cell, bytes) else str(cell) for cell in cells)


def _did_field(table: Any) -> str | None:
    """By name, by utype, by UCD, else by what the first row holds."""
    first = table.array[:1]

    def looks_so(field: Any) -> bool:
        return len(first) == 1 and str(first[field.ID][0]).startswith(DID_SCHEME)

    rules: tuple[Callable[[Any], bool], ...] = (
        lambda field: field.name.lower() in DID_NAMES,
        lambda field: (field.utype or "").lower().endswith(DID_UTYPE),
        lambda field: field.ucd == DID_UCD,
        looks_so,
    )
    return next((field.ID for rule in rules for field in table.fields if rule(field)), None)


def table_message(url: str, name: str) -> Message:
    """A table for any program to load. Its id is new each time: TOPCAT refuses one that it has seen."""
    return {
        "samp.mtype": TABLE_LOAD,
        "samp.params": {"url": url, "table-id": f"doppel-{uuid4()}", "name": name},
    }


def spectrum_message(row: Mapping[str, str], utypes: Mapping[str, str]) -> Message:
    """A spectrum with what SSA says of it: a `meta` of utypes without prefix (CHECKLIST M02, M04).

    `row` has the cells by column name as text, `utypes` the columns' utypes.
    """
    meta = {utypes[name].partition(":")[2]: cell for name, cell in row.items() if utypes.get(name) and cell}
    name = meta.get("Target.Name") or meta.get("DataID.Title") or meta["Curation.PublisherDID"]
    params = {
        "url": meta["Access.Reference"],
        "spectrum-id": meta["Curation.PublisherDID"],
        "name": name,
        "meta": {**meta, **AXES},
    }
    return {"samp.mtype": SPECTRUM_LOAD, "samp.params": params}


def point_message(ra: float, dec: float) -> Message:
    return {"samp.mtype": POINT, "samp.params": {"ra": repr(ra), "dec": repr(dec)}}
