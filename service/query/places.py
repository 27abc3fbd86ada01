"""Where the rows of a table lie, in memory: which of them are in a cone, without the engine."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDEST = 90.0  # degrees of radius; of wider cones chords tell too little
ROUNDING = 1e-13  # of chords on the unit sphere: what lies so near to the edge is for the engine to judge
MARGIN = 1e-9  # degrees, around the declinations that are looked at

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Places:
    """Rows with a position, by declination."""

    dec: Float64  # (n,) degrees, ascending
    units: Float64  # (n, 3) directions
    rows: Int64  # (n,) whose they are

    @classmethod
    def of(cls, ra: Float64, dec: Float64) -> Places:
        """Of rows 0, 1, … with positions in degrees; NaN in either is no position."""
        rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
        rows = rows[np.argsort(dec[rows], kind="stable")]
        return cls(dec[rows], directions(ra[rows], dec[rows]), rows)

    def near(self, ra: float, dec: float, radius: float) -> Int64 | None:
        """The rows in a cone, in no order; None where one of them is on its edge, or the cone is too wide."""
        if radius > WIDEST:
            return None
        reach = radius + MARGIN
        first, end = np.searchsorted(self.dec, (dec - reach, dec + reach)).tolist()
        away = self.units[first:end] - directions(np.array([ra]), np.array([dec]))
        inside = 2 * math.sin(math.radians(radius / 2)) - np.sqrt(np.einsum("ij,ij->i", away, away))
        if (np.abs(inside) < ROUNDING).any():
            return None
        rows: Int64 = self.rows[first + np.flatnonzero(inside > 0)]
        return rows


def directions(ra: Float64, dec: Float64) -> Float64:
    """Unit vectors (n, 3) of positions in degrees."""
    lon, lat = np.radians(ra), np.radians(dec)
    return np.stack((np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)), axis=1)
