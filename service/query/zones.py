"""Joins by position as hash joins: the sky in cells, one side of the join known in all cells it comes near.

After Gray, Nieto-Santisteban & Szalay 2006, "The Zones Algorithm" (MSR-TR-2006-52), with cells along right
ascension as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from service.query.value import Value

if TYPE_CHECKING:
    from service.query.context import Context
    from service.query.joins import Watch
    from service.query.scope import Source

LEAST_HEIGHT = 1 / 60  # degrees of a zone
RADII = 4.0  # of them in a zone: most points then come near one cell only
LARGEST_RADIUS = 5.0  # degrees; beyond it cells no longer help
STRIDE = 4_194_304  # cells of one zone are fewer
SPARE = 1.6  # cells are wider than the radius even where meridians converge: π/2 would do
ROUNDING = 1.0001  # reaches are wider than the radius, for rounding


def attach(context: Context, watch: Watch, four: Sequence[Value], radius: Value) -> None:
    """Adds to the watched conditions that the two points lie in the same or in neighbouring cells."""
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
    reach = ROUNDING * float(radius.literal)
    height = max(RADII * reach, LEAST_HEIGHT)
    name = f"zones{len(context.tables)}"
    context.tables[name] = zone_table(height, reach)
    sides = [one, other]
    copies(sides[copied], points[copied], name, height, reach)
    once(sides[1 - copied], points[1 - copied], name, height)
    watch.found.append(f"({one.alias}.z0 = {other.alias}.z0)")


def owner(point: Sequence[Value]) -> Source | None:
    """The one source that both coordinates are columns of."""
    found = {value.field.source if value.field is not None else None for value in point}
    return found.pop() if len(found) == 1 else None


def zone_table(height: float, reach: float) -> pa.Table:
    """For each zone: how many cells it has, and the degrees of right ascension that the radius may span.

    Cells stay wider than that span at any declination that the zone or the one beyond it has.
    """
    last = math.ceil(90 / height) + 1
    zones = np.arange(-last, last + 1)
    far = np.minimum(90.0, (np.maximum(np.abs(zones), np.abs(zones + 1)) + 1) * height)
    cosine = np.maximum(np.cos(np.radians(far)), 1e-12)
    cells = np.maximum(1, np.floor(360 * cosine / (SPARE * height))).astype(np.int64)
    return pa.table({"zone": zones, "n": cells, "span": np.minimum(180.0, SPARE * reach / cosine)})


def copies(source: Source, point: Sequence[Value], zones: str, height: float, reach: float) -> None:
    """One row for each cell that the circle around the point comes near."""
    ra, dec = (value.sql for value in point)
    source.joined = (
        f"CROSS JOIN (VALUES (-1), (0), (1)) AS s(up) JOIN {zones} AS z"
        f" ON z.zone = {zone_of(f'({dec} + s.up * {reach!r})', height)}"
        f" AND (s.up = 0 OR z.zone <> {zone_of(dec, height)})"
    )
    cells = ", ".join(cell(f"{ra} + {step} * z.span") for step in (-1, 0, 1))
    source.keys.append(f"unnest(list_distinct([{cells}])) AS z0")


def once(source: Source, point: Sequence[Value], zones: str, height: float) -> None:
    """The cell of the point; rows without a position stay."""
    ra, dec = (value.sql for value in point)
    source.joined = f"LEFT JOIN {zones} AS z ON z.zone = {zone_of(dec, height)}"
    source.keys.append(f"{cell(ra)} AS z0")


def zone_of(dec: str, height: float) -> str:
    return f"CAST(floor({dec} / {height!r}) AS BIGINT)"


def cell(ra: str) -> str:
    place = f"CAST(floor(fmod({ra} + 720.0, 360.0) * z.n / 360.0) AS BIGINT) % z.n"
    return f"(z.zone * {STRIDE} + {place})"
