"""Polygons of literal numbers: their edges and declinations, found before the engine is asked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]  # (3,)


def unit(ra: float, dec: float) -> Vector:
    """Degrees → unit vector."""
    a, d = math.radians(ra), math.radians(dec)
    return np.array([math.cos(d) * math.cos(a), math.cos(d) * math.sin(a), math.sin(d)])


@dataclass(frozen=True, slots=True)
class Edge:
    """A great circle arc from `west` eastward over `width` degrees; n·p < 0 for points south of it."""

    west: float
    width: float
    x: float
    y: float
    z: float


@dataclass(frozen=True)
class Polygon:
    """A ring of ra, dec, ra, dec … in degrees; its inside is the smaller of the two sides."""

    numbers: tuple[float, ...]

    @cached_property
    def corners(self) -> list[tuple[float, float]]:
        pairs = list(zip((ra % 360 for ra in self.numbers[::2]), self.numbers[1::2], strict=True))
        return [pair for place, pair in enumerate(pairs) if pair != pairs[place - 1] or len(pairs) == 1]

    @cached_property
    def vectors(self) -> list[Vector]:
        return [unit(*corner) for corner in self.corners]

    def edges(self) -> Iterator[Edge]:
        """Those that a meridian can cross."""
        for place, (ra1, _) in enumerate(self.corners):
            other = (place + 1) % len(self.corners)
            ra2 = self.corners[other][0]
            east = (ra2 - ra1) % 360
            if east in (0, 180):
                continue
            if east < 180:
                west, width, normal = ra1, east, np.cross(self.vectors[place], self.vectors[other])
            else:
                west, width, normal = ra2, 360 - east, np.cross(self.vectors[other], self.vectors[place])
            yield Edge(west, width, *(float(component) for component in normal))

    @cached_property
    def _winding(self) -> float:
        """Degrees that the ring turns around the pole: 0, 360 or −360."""
        ras = [ra for ra, _ in self.corners]
        return sum((b - a + 180) % 360 - 180 for a, b in zip(ras, [*ras[1:], ras[0]], strict=True))

    @cached_property
    def north_pole_inside(self) -> bool:
        return abs(self._winding) > 180 and sum(self._strips()) * self._winding >= 0

    def _strips(self) -> Iterator[float]:
        """Signed area between each edge and the equator, in steradians."""
        corners = self.corners
        for (ra1, dec1), (ra2, dec2) in zip(corners, [*corners[1:], corners[0]], strict=True):
            turn = math.radians((ra2 - ra1 + 180) % 360 - 180)
            t1, t2 = math.tan(math.radians(dec1) / 2), math.tan(math.radians(dec2) / 2)
            yield 2 * math.atan2(math.tan(turn / 2) * (t1 + t2), 1 + t1 * t2)

    def band(self) -> tuple[float, float]:
        """Least and greatest declination of the inside; an arc bulges beyond its ends."""
        low, high = min(dec for _, dec in self.corners), max(dec for _, dec in self.corners)
        for _, _, pole, before, after in self.arcs():
            top = np.array([0, 0, 1]) - pole[2] * pole
            for summit in (top, -top):
                if before @ summit > 0 and after @ summit > 0:
                    dec = math.degrees(math.atan2(summit[2], math.hypot(summit[0], summit[1])))
                    low, high = min(low, dec), max(high, dec)
        if abs(self._winding) > 180:
            return (low, 90.0) if self.north_pole_inside else (-90.0, high)
        return low, high

    def arcs(self) -> Iterator[tuple[Vector, Vector, Vector, Vector, Vector]]:
        """Start, stop, pole of the great circle, and the poles of the planes that bound the arc."""
        for start, stop in zip(self.vectors, [*self.vectors[1:], self.vectors[0]], strict=True):
            pole = np.cross(start, stop)
            length = float(np.linalg.norm(pole))
            if length > 0:
                pole = pole / length
                yield start, stop, pole, np.cross(pole, start), np.cross(stop, pole)
