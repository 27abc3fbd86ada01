"""Columns from columns: expressions of SQL over Arrow tables in memory, the order of their rows kept."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import duckdb
import pyarrow as pa

from index.engines.engine import EngineError

PIECE = 61_440  # rows: half of what the engine stores together


def computed(expressions: Mapping[str, str], rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with this schema; each column by its expression over the columns of `rows`, else NULL."""
    listed = ", ".join(f'{expressions.get(name, "NULL")} AS "{name}"' for name in schema.names)
    return selected(f"SELECT {listed} FROM given", given=rows).cast(schema)  # noqa: S608 (our own words)


def in_pieces(table: pa.Table) -> pa.Table:
    """The same rows in pieces, which the engine reads with all its threads; nothing is copied."""
    return pa.Table.from_batches(table.to_batches(PIECE), table.schema)


def selected(sql: str, **tables: pa.Table) -> pa.Table:
    """The answer of a statement of our own over tables by name; EngineError where it fails.

    Rows come in the order of their table where the statement does not reorder them.
    """
    try:
        with _engine().cursor() as database:
            for name, table in tables.items():
                database.register(name, in_pieces(table))
            return database.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        raise EngineError(f"columns cannot be computed: {error}") from error


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    """One for all statements, since making one takes as long as most of them; tables belong to a cursor."""
    return duckdb.connect(":memory:", config={"python_enable_replacements": False})
