"""Small tables, held in memory while a release is open: a cone and nothing else is answered from them.

To the engine, planning such a question is most of the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.catalogue import ARROW
from index.release import OpenRelease
from registry_metadata.columns import Column, Table
from service.kept import Kept, once_each
from service.query.places import WIDEST, Places
from service.query.scope import Source, quoted
from service.query.value import TEXTS, Value

MOST_BYTES = 32 << 20  # of a table that is held, estimated
MOST_TABLES = 4
TEXT_BYTES = 32  # of a cell, about

Near = tuple[Sequence[Value], Value]  # ra, dec, ra, dec of two points, and how far they may be apart


@dataclass(frozen=True, slots=True)
class Cone:
    """Rows of a published table within `radius` of a place, in degrees; `columns` of them are asked for."""

    table: Table
    columns: tuple[Column, ...]
    ra: str
    dec: str
    centre: tuple[float, float]
    radius: float


@dataclass(frozen=True, slots=True)
class Held:
    """A whole table but its arrays, and where its rows lie."""

    rows: pa.RecordBatch
    places: Places


def cone_of(source: Source, near: Near, items: Sequence[Value]) -> Cone | None:
    """What a query asks whose one condition is `near`; None where it needs the engine."""
    (ra1, dec1, ra2, dec2), radius = near
    point, centre = ((ra1, dec1), (ra2, dec2)) if ra1.field is not None else ((ra2, dec2), (ra1, dec1))
    columns = columns_of(source, (*point, *items))
    numbers = [value.literal for value in (*centre, radius)]
    known = [float(number) for number in numbers if isinstance(number, int | float)]
    if source.table is None or columns is None or len(known) < len(numbers) or not 0 <= known[2] <= WIDEST:
        return None
    ra, dec, *asked = columns
    return Cone(source.table, tuple(asked), ra.name, dec.name, (known[0], known[1]), known[2])


def columns_of(source: Source, values: Sequence[Value]) -> list[Column] | None:
    """The columns of the source that the values are; None where one is something else, or an array."""
    fields = [value.field for value in values]
    found = [field.column for field in fields if field is not None and field.source is source]
    return found if len(found) == len(fields) and not any(map(is_array, found)) else None


def is_array(column: Column) -> bool:
    return column.arraysize is not None and column.datatype not in TEXTS


def rows_in(release: OpenRelease, cone: Cone, base_url: str) -> pa.RecordBatch | None:
    """The rows that are asked for, in the order of the table; None where the engine has to say."""
    if bytes_of(cone.table) * release.manifest.rows.get(cone.table.name, 0) > MOST_BYTES:
        return None
    held = held_table(release, cone)
    rows = held.places.near(*cone.centre, cone.radius)
    if rows is None:
        return None
    names = [column.name for column in cone.columns]
    found = held.rows.select(list(dict.fromkeys(names))).take(pa.array(np.sort(rows)))
    arrays = [
        pc.binary_join_element_wise(base_url, found[column.name], "") if column.url else found[column.name]
        for column in cone.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names)


def bytes_of(table: Table) -> int:
    """About what a row takes in memory."""
    return sum(
        TEXT_BYTES if column.datatype in TEXTS else (ARROW[column.datatype].bit_width + 7) // 8
        for column in table.columns
        if not is_array(column)
    )


@once_each
def shelf(release: OpenRelease) -> Kept[tuple[str, str, str], Held]:
    return Kept(MOST_TABLES)


def held_table(release: OpenRelease, cone: Cone) -> Held:
    key = (cone.table.name, cone.ra, cone.dec)

    def read(_: Sequence[tuple[str, str, str]]) -> Mapping[tuple[str, str, str], Held]:
        return {key: whole(release, cone)}

    (found,) = shelf(release).all([key], read)
    return found


def whole(release: OpenRelease, cone: Cone) -> Held:
    """The table as the engine has it."""
    schema, _, name = cone.table.name.partition(".")
    columns = ", ".join(quoted(column.name) for column in cone.table.columns if not is_array(column))
    sql = f"SELECT {columns} FROM release.{quoted(schema)}.{quoted(name)}"  # noqa: S608 (our own names, quoted)
    table = release.engine.table(sql)
    rows = pa.RecordBatch.from_arrays(
        [column.combine_chunks() for column in table.columns], table.column_names
    )
    ra, dec = (rows[name].cast(pa.float64()).to_numpy(zero_copy_only=False) for name in (cone.ra, cone.dec))
    return Held(rows, Places.of(ra, dec))
