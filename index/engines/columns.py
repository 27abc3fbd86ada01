"""Columns from columns: expressions of SQL over Arrow tables in memory, the order of their rows kept."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import pyarrow as pa

from index.engines.engine import EngineError


def computed(expressions: Mapping[str, str], rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with this schema; each column by its expression over the columns of `rows`, else NULL."""
    listed = ", ".join(f'{expressions.get(name, "NULL")} AS "{name}"' for name in schema.names)
    return selected(f"SELECT {listed} FROM given", given=rows).cast(schema)  # noqa: S608 (our own words)


def selected(sql: str, **tables: pa.Table) -> pa.Table:
    """The answer of a statement of our own over tables by name; EngineError where it fails."""
    try:
        with duckdb.connect(":memory:", config={"python_enable_replacements": False}) as database:
            for name, table in tables.items():
                database.register(name, table)
            return database.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        raise EngineError(f"columns cannot be computed: {error}") from error
