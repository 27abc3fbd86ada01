"""What `doppel similar` asks of a running service, through its public interfaces, as any client would."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoder.recipe import GridSpec
from encoder.spectrum import Facts, Spectrum
from service.errors import NotFoundFault, ServiceFault, UsageFault
from service.own_spectrum import Told
from service.web.entries import COLUMNS, Entry, entry
from service.web.search import name_key

if TYPE_CHECKING:
    from pyvo.dal import DALResults

SECONDS = 60
FILE_PART = "spectrum"
SHARE = "repeat_share"


@dataclass(frozen=True, slots=True)
class Likes:
    """A query and its neighbours, nearest first; `chosen` is None for a file of the user's own."""

    chosen: Entry | None
    nearest: Sequence[Entry]
    grid: GridSpec  # wavelengths that the model compares


@dataclass(frozen=True, slots=True)
class Client:
    """Asks the service below one base URL."""

    base: str

    def likes_of(self, words: str, k: int, space: str) -> Likes:
        """Of the spectrum with this identifier, or of the only one with this name."""
        chosen = self._find(words)
        return self._likes(chosen, {"ID": chosen.did, "TOP": k, "SPACE": space}, {})

    def likes_of_file(self, path: Path, told: Told, k: int, space: str) -> Likes:
        words = {name.upper(): text for name, text in asdict(told).items()}
        asked = {"TOP": k, "SPACE": space, **words}
        return self._likes(None, asked, {FILE_PART: (path.name, path.read_bytes())})

    def spectrum(self, one: Entry) -> Spectrum:
        """Its pixels; the service sends vacuum wavelengths, with their unit."""
        from astropy.table import Table
        from astropy.units import UnitsWarning

        content = io.BytesIO(self._send(one.votable, {}, {}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnitsWarning)  # Angstrom is deprecated in VOUnits, and understood
            table = Table.read(content, format="votable")
        wave = np.asarray(table["wavelength"].quantity.to_value("Angstrom"), np.float64)
        flux = np.ma.filled(np.ma.asarray(table["flux"]).astype(np.float64), np.nan)
        mask = ~np.isfinite(flux)
        facts = Facts(spectrum_id=one.spectrum_id, collection="", publisher_did=one.did, path="")
        return Spectrum(wave, np.where(mask, 0.0, flux), np.zeros_like(wave), mask, facts)

    def _find(self, words: str) -> Entry:
        text, key = literal(words), literal(name_key(words))
        found = self._entries(f"ssa_pubdid = {text} OR spectrum_id = {text} OR object_key = {key}")
        if not found:
            raise NotFoundFault(f"{words} is neither a file here nor a spectrum of {self.base}")
        if len(found) > 1:
            choice = "\n".join(f"  {one.did}  {one.label}" for one in found)
            raise UsageFault(f"{words} has {len(found)} spectra; choose one by its identifier:\n{choice}")
        return found[0]

    def _likes(self, chosen: Entry | None, asked: dict[str, Any], files: dict[str, Any]) -> Likes:
        wanted = {name: value for name, value in asked.items() if value != ""}
        found = self.table(f"{self.base}/similar_to", wanted, files)
        dids = [str(did) for did in found["ssa_pubDID"]]
        known = {one.did: one for one in self._entries(f"ssa_pubdid IN ({listed(dids)})")} if dids else {}
        nearest = [
            replace(known[did], distance=float(distance), share=share_of(share))
            for did, distance, share in zip(dids, found["distance"], found[SHARE], strict=True)
        ]
        return Likes(chosen, nearest, self._grid(found))

    def _entries(self, where: str) -> list[Entry]:
        query = " ".join(
            ["SELECT", ", ".join(COLUMNS), "FROM doppel.spectra WHERE", where, "ORDER BY ssa_pubdid"]
        )
        return [entry(row, self.base) for row in self._rows(query)]

    def _grid(self, found: DALResults) -> GridSpec:
        """Of the model that the answer names."""
        infos = [info for resource in found.votable.resources for info in resource.infos]
        model = next(info.value for info in infos if info.name == "model")
        query = "SELECT wave_start, wave_stop, pixels FROM doppel.models WHERE model_id = "
        (row,) = self._rows(query + literal(model))
        return GridSpec(float(row["wave_start"]) * 1e10, float(row["wave_stop"]) * 1e10, int(row["pixels"]))

    def _rows(self, query: str) -> list[dict[str, Any]]:
        found = self.table(f"{self.base}/tap/sync", {"LANG": "ADQL", "QUERY": query}, {})
        table = found.to_table()
        return [{name: _plain(row[name]) for name in table.colnames} for row in table]

    def table(self, url: str, asked: dict[str, Any], files: dict[str, Any]) -> DALResults:
        """The answer as pyvo reads it; an error document is raised with its own words."""
        from astropy.io.votable import parse
        from pyvo.dal import DALQueryError, DALResults

        content = self._send(url, asked, files)
        try:
            return DALResults(parse(io.BytesIO(content), verify="ignore"), url=url)
        except DALQueryError as error:
            raise UsageFault(error.reason) from None

    def _send(self, url: str, asked: dict[str, Any], files: dict[str, Any]) -> bytes:
        """The answer, error documents of the protocol included; ServiceFault where there is no service."""
        from pyvo.utils.http import create_session
        from requests import RequestException

        method = "POST" if asked else "GET"
        try:
            answer = create_session().request(method, url, data=asked, files=files, timeout=SECONDS)
        except RequestException as error:
            reason = type(error).__name__
            raise ServiceFault(f"{self.base} does not answer ({reason}): does it run?") from error
        content: bytes = answer.content
        if answer.status_code >= 400 and b"VOTABLE" not in content[:1000]:
            raise ServiceFault(f"{url} answers {answer.status_code}: {answer.text[:300].strip()}")
        return content


def literal(text: str) -> str:
    """As ADQL writes a string."""
    return "'" + text.replace("'", "''") + "'"


def listed(texts: Iterable[str]) -> str:
    return ", ".join(literal(text) for text in texts)


def share_of(value: Any) -> float | None:
    """A share from 0 to 1; None where the service does not know repeats."""
    return None if np.ma.is_masked(value) or np.isnan(value) else float(value)


def _plain(value: Any) -> object:
    """A cell as Python has it; None for NULL."""
    if np.ma.is_masked(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
