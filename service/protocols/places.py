"""where spectra lie, kept in memory while a release is open: a cone and nothing else needs no engine

To the engine, planning such a question is most of the work. It is asked all the same where a spectrum lies on
the edge, so that both ways give the same answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.release import OpenRelease
from service.kept import once_each
from service.protocols.constraints import Cones
from service.protocols.where import SPECTRA, column
from service.query import build
from service.query.run import Question, answer

MOST = 500_000  # spectra whose places are kept, some 80 bytes each
WIDEST = 90.0  # degrees of radius; of wider cones chords tell too little
ROUNDING = 1e-13  # of chords on the unit sphere: what lies so near to the edge is for the engine to judge
MARGIN = 1e-9  # degrees, around the declinations that are looked at


@dataclass(frozen=True, slots=True)
class Places:
    """Spectra with a position, by declination."""

    dids: pa.Array  # (n,) text
    dec: NDArray[np.float64]  # (n,) degrees, ascending
    units: NDArray[np.float64]  # (n, 3) directions

    def within(self, cones: Cones, most: int) -> list[str] | None:
        """The spectra in at least one of the cones, in no order; None where they are more than `most`, or one
        of them is on the edge."""
        found = [self._near(ra, dec, cones.radius) for ra, dec in cones.places]
        known = [rows for rows in found if rows is not None]
        if cones.radius > WIDEST or len(known) < len(found):
            return None
        rows = np.unique(np.concatenate(known))
        inside: list[str] | None = self.dids.take(pa.array(rows)).to_pylist() if len(rows) <= most else None
        return inside

    def _near(self, ra: float, dec: float, radius: float) -> NDArray[np.int64] | None:
        reach = radius + MARGIN
        first, end = np.searchsorted(self.dec, (dec - reach, dec + reach)).tolist()
        away = self.units[first:end] - directions(np.array([ra]), np.array([dec]))
        inside = 2 * math.sin(math.radians(radius / 2)) - np.sqrt(np.einsum("ij,ij->i", away, away))
        if (np.abs(inside) < ROUNDING).any():
            return None
        rows: NDArray[np.int64] = first + np.flatnonzero(inside > 0)
        return rows


def directions(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (n, 3) of positions in degrees."""
    lon, lat = np.radians(ra), np.radians(dec)
    return np.stack((np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)), axis=1)


def in_cones(release: OpenRelease, cones: Cones, most: int) -> list[str] | None:
    """Identifiers of the spectra in the cones, in no order; None where the engine is to be asked."""
    return places(release).within(cones, most) if len(release) <= MOST else None


@once_each
def places(release: OpenRelease) -> Places:
    names = ("ssa_pubdid", "ra", "dec")
    query = build.select([column(name) for name in names], build.table("doppel.spectra", SPECTRA))
    schema = pa.schema([("did", pa.string()), ("ra", pa.float64()), ("dec", pa.float64())])
    with answer(release, Question(query)) as found:
        read = [batch.rename_columns(schema.names) for batch in found.batches]
    held = pa.Table.from_batches(read, schema).drop_null().sort_by("dec").combine_chunks()
    ra, dec = held["ra"].to_numpy(), held["dec"].to_numpy()
    return Places(held["did"].combine_chunks(), dec, directions(ra, dec))
