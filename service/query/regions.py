"""Regions in words or arrays, as queries and uploaded tables have them: read, and found to be on the sky."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from registry_metadata.columns import Column

Numbers = tuple[float, ...]
Region = tuple[str, Numbers]  # point, circle or polygon, and its degrees
KINDS = {"POINT": "point", "POSITION": "point", "CIRCLE": "circle", "POLYGON": "polygon", "BOX": "box"}
FRAMES = ("ICRS", "GEOCENTER", "BARYCENTER", "TOPOCENTER")
OF_XTYPE = {
    "point": "point", "circle": "circle", "polygon": "polygon", "adql:point": "point",
    "adql:region": "", "shape": "",
}  # fmt: skip
"""What uploaded columns hold by their xtype (DALI 1.1, 3.3; TAP 1.0, 2.3.4); '' where each value says it."""
COUNTS = {"point": "ra, dec", "circle": "ra, dec, radius", "box": "ra, dec, width, height"}


def expected(kind: str) -> str:
    return COUNTS.get(kind, "three or more pairs of ra, dec")


def in_words(text: str, kind: str = "") -> Region:
    """`CIRCLE ICRS 10 20 1`, `POLYGON 1 2 3 4 5 6`, `BOX 1 2 3 4`; numbers alone where the kind is known.

    ValueError says what is wrong.
    """
    words = text.upper().split()
    if words and words[0] in KINDS:
        named, words = KINDS[words[0]], [word for word in words[1:] if word not in FRAMES]
        if kind not in ("", named):
            raise ValueError(f"{text!r} is no {kind}")
        kind = named
    if not kind or not words:
        raise ValueError(f"{text[:100]!r}: expected POINT, CIRCLE, POLYGON or BOX with numbers in degrees")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise ValueError(f"{' '.join(words)[:100]!r} are not numbers in degrees") from None
    return ("polygon", box(*checked(kind, numbers))) if kind == "box" else (kind, checked(kind, numbers))


def checked(kind: str, numbers: Sequence[float | None]) -> Numbers:
    """As many finite numbers as the kind takes, on the sky; ValueError else."""
    right = len(numbers) == len(COUNTS[kind].split(",")) if kind in COUNTS else enough(len(numbers))
    known = [number for number in numbers if number is not None and math.isfinite(number)]
    if not right or len(known) < len(numbers):
        raise ValueError(f"a {kind} takes {expected(kind)}, not {len(known)} numbers")
    for dec in known[1::2] if kind == "polygon" else known[1:2]:
        if not -90 <= dec <= 90:
            raise ValueError(f"the declination {dec:g} is not between -90 and 90 degrees")
    if kind == "circle" and not 0 <= known[2] <= 180:
        raise ValueError(f"the radius {known[2]:g} is not between 0 and 180 degrees")
    if kind == "box" and not (0 <= known[2] <= 360 and 0 <= known[3] <= 180):
        raise ValueError("the extents of a box are at most 360 and 180 degrees")
    return tuple(known)


def enough(count: int) -> bool:
    """For the vertices of a polygon."""
    return count >= 6 and count % 2 == 0


def box(ra: float, dec: float, width: float, height: float) -> Numbers:
    """The corners: the centre plus and minus half the extents (ADQL 2.1, 4.2.10), at most up to a pole."""
    south, north = max(dec - height / 2, -90.0), min(dec + height / 2, 90.0)
    west, east = ra - width / 2, ra + width / 2
    return west, south, east, south, east, north, west, north


def beside(tables: dict[str, pa.Table], name: str, place: str, column: Column) -> tuple[str, str]:
    """Puts the regions of a column of an upload beside it, once: their kind, and their name in the table."""
    table, regions = tables[name], f"regions_{place}"
    if regions not in table.column_names:
        kind, numbers = in_column(column, table.column(place))
        table = table.append_column(pa.field(regions, numbers.type, metadata={"kind": kind}), numbers)
        tables[name] = table
    return table.schema.field(regions).metadata[b"kind"].decode(), regions


def in_column(column: Column, values: pa.ChunkedArray) -> tuple[str, pa.Array]:
    """The one kind of region that all rows of an upload have, and their numbers; NULL where a row has none.

    ValueError names the row that holds something else.
    """
    kind, rows = OF_XTYPE[str(column.xtype).lower()], []
    kinds: dict[str, int] = {}  # with the row that had it first
    for place, cell in enumerate(values.to_pylist(), 1):
        try:
            found = in_cell(cell, kind)
        except ValueError as problem:
            raise ValueError(f"{column.name}, row {place}: {problem}") from None
        rows.append(found and found[1])
        if found:
            kinds.setdefault(found[0], place)
    if len(kinds) > 1:
        seen = " and ".join(f"a {one} (row {row})" for one, row in kinds.items())
        raise ValueError(
            f"{column.name} holds {seen}: regions of one column are of one kind here; put those of each kind"
            " into a column of their own, empty where a row has another"
        )
    return next(iter(kinds), kind or "polygon"), pa.array(rows, pa.list_(pa.float64()))


def in_cell(cell: Any, kind: str) -> Region | None:
    """Text, or an array as DALI has it; nothing, blanks and NaN alone are no region."""
    if isinstance(cell, str):
        return in_words(cell, kind) if cell.strip() else None
    known = [number for number in cell or () if number is not None and not math.isnan(number)]
    return (kind, checked(kind, cell)) if known else None
