"""Joins by position as hash joins: the sky in cells, one side of the join known in all cells it comes near.

After Gray, Nieto-Santisteban & Szalay 2006, "The Zones Algorithm" (MSR-TR-2006-52), with cells along right
ascension as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.query.value import Value

Floats = NDArray[np.float64]

if TYPE_CHECKING:
    from service.query.context import Context
    from service.query.scope import Source
    from service.query.tree import Watch

LEAST_HEIGHT = 1 / 60  # degrees of a zone
RADII = 4.0  # of them in a zone: most points then come near one cell only
LARGEST_RADIUS = 5.0  # degrees; beyond it cells no longer help
STRIDE = 4_194_304  # cells of one zone are fewer
SPARE = 1.6  # cells are wider than the radius even where meridians converge: π/2 would do
ROUNDING = 1.0001  # reaches are wider than the radius, for rounding
BELOW_ONE = 1 - 1e-12  # keeps rounding from putting 359.99… degrees behind the last cell


@dataclass(frozen=True)
class Zones:
    """The sky in zones of one height, for circles of one radius `reach`; degrees."""

    height: float
    reach: float

    @classmethod
    def of(cls, radius: float) -> Zones:
        reach = ROUNDING * radius
        return cls(max(RADII * reach, LEAST_HEIGHT), reach)

    @cached_property
    def last(self) -> int:
        return math.ceil(90 / self.height) + 1

    @cached_property
    def table(self) -> pa.Table:
        """For each zone: the number of its first cell, cells to a degree of right ascension, and the degrees
        that the radius may span. Cells stay wider than that at any declination of the zone or the next."""
        zones = np.arange(-self.last, self.last + 1, dtype=np.float64)
        far = np.minimum(90.0, (np.maximum(np.abs(zones), np.abs(zones + 1)) + 1) * self.height)
        cosine = np.maximum(np.cos(np.radians(far)), 1e-12)
        cells = np.maximum(1, np.floor(360 * cosine / (SPARE * self.height)))
        columns = {
            "zone": zones,
            "base": zones * STRIDE,
            "density": cells / 360 * BELOW_ONE,
            "span": np.minimum(180.0, SPARE * self.reach / cosine),
        }
        return pa.table(columns)

    def zone(self, dec: str) -> str:
        return f"floor({dec} / {self.height!r})"

    def near(self, ra: Floats, dec: Floats) -> Floats:
        """The cells that circles around N points come near: shape (9, N), NaN where there are fewer."""
        base, density, span = (self.table[name].to_numpy() for name in ("base", "density", "span"))
        cells = []
        for up in (-1, 0, 1):
            zone = np.floor((dec + up * self.reach) / self.height)
            known = np.abs(zone) <= self.last
            place = np.where(known, zone + self.last, 0).astype(np.int64)
            for step in (-1, 0, 1):
                with np.errstate(invalid="ignore"):  # endless right ascensions come near nothing
                    turned = np.fmod(ra + step * span[place] + 720.0, 360.0)
                cell = base[place] + np.floor(turned * density[place])
                cells.append(np.where(known, cell, np.nan))
        found = np.sort(np.array(cells), axis=0)
        found[1:][found[1:] == found[:-1]] = np.nan
        return found


def attach(context: Context, watch: Watch, four: Sequence[Value], radius: Value) -> None:
    """Adds to the watched conditions that the two points lie in the same or in neighbouring cells."""
    watch.near = four, radius
    points = (four[:2], four[2:])
    owners = (owner(points[0]), owner(points[1]))
    one, other = owners
    if one is None or other is None or one is other or one.joined or other.joined:
        return
    if not isinstance(radius.literal, int | float) or not 0 <= radius.literal <= LARGEST_RADIUS:
        return
    places = [place for place in (0, 1) if watch.may_change(owners[place])]
    if not places:
        return
    copied = next((place for place in places if (o := owners[place]) is not None and o.uploaded), places[-1])
    zones, name = Zones.of(float(radius.literal)), f"zones{len(context.tables)}"
    context.tables[name] = zones.table
    sides = [one, other]
    if sides[copied].uploaded:
        watch.found.append(spread(context, sides[copied], points[copied], points[1 - copied][1], zones))
    else:
        copies(sides[copied], points[copied], name, zones)
    once(sides[1 - copied], points[1 - copied], name, zones)
    watch.found.append(f"({one.alias}.z0 = {other.alias}.z0)")


def owner(point: Sequence[Value]) -> Source | None:
    """The one source that both coordinates are columns of."""
    found = {value.field.source if value.field is not None else None for value in point}
    return found.pop() if len(found) == 1 else None


def spread(context: Context, source: Source, point: Sequence[Value], dec: Value, zones: Zones) -> str:
    """The upload's rows once for each cell that the circle around their point comes near; and the bounds of
    the other declination."""
    table = context.tables[source.sql.strip('"')]
    lon, lat = (table[value.sql.rpartition(".")[2]].cast(pa.float64()).to_numpy() for value in point)
    cells = zones.near(lon, lat).T
    near = ~np.isnan(cells)
    name = f"spread{len(context.tables)}"
    rows = table.take(pa.array(np.nonzero(near)[0]))
    context.tables[name] = rows.append_column("z0", pa.array(cells[near]))
    source.sql = name
    low, high = (np.nanmin(lat), np.nanmax(lat)) if near.any() else (0.0, 0.0)
    bounds = (context.bind(float(low - zones.reach)), context.bind(float(high + zones.reach)))
    return f"({dec.sql} BETWEEN {bounds[0]} AND {bounds[1]})"


def copies(source: Source, point: Sequence[Value], name: str, zones: Zones) -> None:
    """One row for each cell that the circle around the point comes near."""
    ra, dec = map(double, point)
    source.joined = (
        f"CROSS JOIN (VALUES (-1), (0), (1)) AS s(up) JOIN {name} AS z"
        f" ON z.zone = {zones.zone(f'({dec} + s.up * {zones.reach!r})')}"
        f" AND (s.up = 0 OR z.zone <> {zones.zone(dec)})"
    )
    cells = ", ".join(cell(f"{ra} + {step} * z.span") for step in (-1, 0, 1))
    source.keys.append(f"unnest(list_distinct([{cells}])) AS z0")


def once(source: Source, point: Sequence[Value], name: str, zones: Zones) -> None:
    """The cell of the point; rows without a position stay."""
    ra, dec = map(double, point)
    source.joined = f"LEFT JOIN {name} AS z ON z.zone = {zones.zone(dec)}"
    source.keys.append(f"{cell(ra)} AS z0")


def double(value: Value) -> str:
    return value.sql if value.column.datatype == "double" else f"CAST({value.sql} AS DOUBLE)"


def cell(ra: str) -> str:
    return f"(z.base + floor(fmod({ra} + 720.0, 360.0) * z.density))"
