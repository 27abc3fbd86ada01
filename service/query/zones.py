"""Joins by position as hash joins: the sky in cells, one side of the join known in all neighbouring cells.

After Gray, Nieto-Santisteban & Szalay 2006, "The Zones Algorithm" (MSR-TR-2006-52), with cells along right
ascension as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.query.value import Value

if TYPE_CHECKING:
    from service.query.context import Context
    from service.query.joins import Watch
    from service.query.scope import Source

LEAST_HEIGHT = 1 / 3600  # degrees of a zone
LARGEST_RADIUS = 5.0  # degrees; beyond it cells no longer help
STRIDE = 4_194_304  # cells of one zone are fewer
SPARE = 1.6  # cells are wider than the radius even where meridians converge: π/2 would do


def attach(context: Context, watch: Watch, four: Sequence[Value], radius: Value) -> None:
    """Adds to the watched conditions that the two points lie in the same or in neighbouring cells."""
    owners = [owner(four[:2]), owner(four[2:])]
    if not isinstance(radius.literal, int | float) or radius.literal > LARGEST_RADIUS:
        return
    if owners[0] is None or owners[1] is None or owners[0] is owners[1]:
        return
    places = [place for place in (0, 1) if watch.may_change(owners[place])]
    if not places:
        return
    place = next((p for p in places if (o := owners[p]) is not None and o.uploaded), places[-1])
    copied, points = owners[place], (four[:2], four[2:])
    assert copied is not None  # noqa: S101 (checked above)
    height = max(1.01 * float(radius.literal), LEAST_HEIGHT)
    name = f"z{len(copied.keys)}"
    ra, dec = points[place]
    copied.keys.append(f"unnest({neighbours(ra.sql, dec.sql, height)}) AS {name}")
    ra, dec = points[1 - place]
    watch.found.append(f"({cell(ra.sql, dec.sql, height)} = {copied.alias}.{name})")


def owner(point: Sequence[Value]) -> Source | None:
    """The one source that both coordinates are columns of."""
    found = {value.field.source if value.field is not None else None for value in point}
    return found.pop() if len(found) == 1 else None


def cell(ra: str, dec: str, height: float) -> str:
    zone = f"CAST(floor({dec} / {height!r}) AS BIGINT)"
    return f"({zone} * {STRIDE} + {along(ra, zone, height)})"


def cells_of(zone: str, height: float) -> str:
    """How many cells a zone has: as many as stay wider than the radius on its side near the pole."""
    far = f"least(90.0, (greatest(abs({zone}), abs({zone} + 1)) + 1) * {height!r})"
    return f"greatest(1, CAST(floor(360.0 * cos(radians({far})) / {SPARE * height!r}) AS BIGINT))"


def along(ra: str, zone: str, height: float) -> str:
    n = cells_of(zone, height)
    return f"least({n} - 1, CAST(floor(fmod({ra} + 720.0, 360.0) / 360.0 * {n}) AS BIGINT))"


def neighbours(ra: str, dec: str, height: float) -> str:
    """The list of the cell and those around it."""
    here = f"(CAST(floor({dec} / {height!r}) AS BIGINT) + step)"
    n, place = cells_of(here, height), along(ra, here, height)
    ring = f"list_distinct([({place} + {n} - 1) % {n}, {place}, ({place} + 1) % {n}])"
    lists = f"list_transform([-1, 0, 1], lambda step: list_transform({ring}, lambda place: {here} * {STRIDE} + place))"
    return f"flatten({lists})"
