"""Small tables, held in memory while a release is open: a cone and nothing else is answered from them.

To the engine, planning such a question is most of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.release import OpenRelease
from registry_metadata.columns import Column, Table
from service.kept import Kept, once_each
from service.query.places import WIDEST, Float64, Places
from service.query.scope import Source, quoted
from service.query.statement import Cone
from service.query.tree import Near
from service.query.value import Shape, Value

MOST_ROWS = 500_000  # of a table that is held
MOST_BYTES = 32 << 20  # of its columns
MOST_TABLES = 4


@dataclass(frozen=True, slots=True)
class Shelf:
    """What is held of an open release: tables but their arrays, none of those that are too large; and where
    their rows lie by which columns."""

    tables: Kept[str, pa.RecordBatch | None] = field(default_factory=lambda: Kept(MOST_TABLES))
    places: Kept[tuple[str, str, str], Places] = field(default_factory=lambda: Kept(MOST_TABLES))


@once_each
def shelf(release: OpenRelease) -> Shelf:
    return Shelf()


def cone_of(source: Source, near: Near, items: Sequence[Value]) -> Cone | None:
    """What a query asks whose one condition is `near`; None where it needs the engine."""
    (ra1, dec1, ra2, dec2), radius = near
    point, centre = ((ra1, dec1), (ra2, dec2)) if ra1.field is not None else ((ra2, dec2), (ra1, dec1))
    columns = columns_of(source, (*point, *items))
    numbers = Shape("circle", (*centre, radius)).constant
    if source.table is None or columns is None or numbers is None or not 0 <= numbers[2] <= WIDEST:
        return None
    ra, dec, *asked = columns
    return Cone(source.table, tuple(asked), ra.name, dec.name, *numbers)


def columns_of(source: Source, values: Sequence[Value]) -> list[Column] | None:
    """The columns of the source that the values are; None where one is something else, or an array."""
    fields = [value.field for value in values]
    found = [field.column for field in fields if field is not None and field.source is source]
    return found if len(found) == len(fields) and not any(column.array for column in found) else None


def rows_in(release: OpenRelease, cone: Cone, base_url: str) -> pa.RecordBatch | None:
    """The rows that are asked for, in the order of the table; None where the engine has to say."""
    if release.manifest.rows.get(cone.table.name, 0) > MOST_ROWS:
        return None
    held = shelf(release).tables.one(cone.table.name, lambda: whole(release, cone.table))
    if held is None:
        return None
    key = (cone.table.name, cone.ra, cone.dec)
    places = shelf(release).places.one(
        key, lambda: Places.of(degrees(held, cone.ra), degrees(held, cone.dec))
    )
    rows = places.near(cone.centre_ra, cone.centre_dec, cone.radius)
    if rows is None:
        return None
    asked = held.select(sorted({column.name for column in cone.columns}))
    return columns_in(asked.take(pa.array(np.sort(rows))), cone.columns, base_url)


def whole(release: OpenRelease, table: Table) -> pa.RecordBatch | None:
    """The table as the engine has it; None where it takes more than MOST_BYTES."""
    schema, _, name = table.name.partition(".")
    columns = ", ".join(quoted(column.name) for column in table.columns if not column.array)
    batches, size = [], 0
    sql = f"SELECT {columns} FROM release.{quoted(schema)}.{quoted(name)}"  # noqa: S608 (our own names, quoted)
    with release.engine.run(sql) as reader:
        for batch in reader:
            batches.append(batch)
            size += batch.nbytes
            if size > MOST_BYTES:
                return None
        return pa.concat_batches([pa.RecordBatch.from_pylist([], schema=reader.schema), *batches])


def degrees(rows: pa.RecordBatch, name: str) -> Float64:
    """A column of numbers, NaN where it has none."""
    values: Float64 = rows[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def columns_in(rows: pa.RecordBatch, columns: Sequence[Column], base_url: str) -> pa.RecordBatch:
    """The columns in this order; those of URLs completed by the service's base URL."""
    arrays = [
        pc.binary_join_element_wise(base_url, rows[column.name], "") if column.url else rows[column.name]
        for column in columns
    ]
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])
