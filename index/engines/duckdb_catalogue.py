"""Writes the catalogue of a release: one DuckDB file with the published tables and what only we read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from index.catalogue import ROW_NUMBER
from index.engines.duckdb_engine import EngineError
from registry_metadata.columns import Column, Table

_SQL_TYPES = {
    "boolean": "BOOLEAN",
    "short": "SMALLINT",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "char": "VARCHAR",
    "unicodeChar": "VARCHAR",
}


def sql_type(column: Column) -> str:
    """`DOUBLE[2]` for a point, `FLOAT[]` for an array of any length, VARCHAR for text."""
    scalar = _SQL_TYPES[column.datatype]
    if column.arraysize is None or scalar == "VARCHAR":
        return scalar
    return f"{scalar}[{column.arraysize.rstrip('*')}]"


def write_catalogue(path: Path, tables: Sequence[Table], content: Mapping[str, pa.Table]) -> None:
    """A new file with the published `tables` and what else `content` names; EngineError where it fails."""
    try:
        with duckdb.connect(str(path)) as database:
            _fill(database, {table.name: table for table in tables}, content)
    except duckdb.Error as error:
        raise EngineError(f"the catalogue cannot be written: {error}") from error


def _fill(
    database: duckdb.DuckDBPyConnection, described: Mapping[str, Table], content: Mapping[str, pa.Table]
) -> None:
    for schema in sorted({name.partition(".")[0] for name in content}):
        database.execute(f"CREATE SCHEMA {_name(schema)}")
    for name, rows in content.items():
        database.register("incoming", rows)
        database.execute(_create(name, described.get(name)))
        database.unregister("incoming")
    database.execute("CHECKPOINT")


def _create(name: str, table: Table | None) -> str:
    if table is None:
        return f"CREATE TABLE {_name(name)} AS FROM incoming"
    columns = [
        f"CAST({_name(column.name)} AS {sql_type(column)}) AS {_name(column.name)}"
        for column in table.columns
    ]
    hidden = [ROW_NUMBER] if table.has_rows else []
    return f"CREATE TABLE {_name(name)} AS SELECT {', '.join(hidden + columns)} FROM incoming"  # noqa: S608 (our own names, quoted)


def _name(dotted: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in dotted.split("."))
