"""Writes the catalogue of a release, or changes a copy: one DuckDB file with all tables, also our own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from index.catalogue import ROW_NUMBER
from index.engines.engine import EngineError
from registry_metadata.columns import Column, Table

MEMORY = "2GB"  # beyond it, what is not yet written goes to a file beside the catalogue
Rows: TypeAlias = pa.Table | pa.RecordBatchReader  # what comes as a stream is not held in memory
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


@contextmanager
def written(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The file, new or there already, open for writing, and whole when it is closed; EngineError else."""
    try:
        with duckdb.connect(str(path), config={"memory_limit": MEMORY}) as database:
            database.begin()  # else every statement would wait for the disk
            yield database
            database.commit()
            database.execute("CHECKPOINT")
    except duckdb.Error as error:
        raise EngineError(f"the catalogue cannot be written: {error}") from error


def put_tables(
    database: duckdb.DuckDBPyConnection, tables: Sequence[Table], content: Mapping[str, Rows]
) -> None:
    """Tables, published as `tables` say or only ours, new or in place of those of the same names."""
    described = {table.name: table for table in tables}
    for schema in sorted({name.partition(".")[0] for name in content}):
        database.execute(f"CREATE SCHEMA IF NOT EXISTS {_name(schema)}")
    for name, rows in content.items():
        database.register("incoming", rows)
        database.execute(_create(name, described.get(name)))
        database.unregister("incoming")


def change_tables(
    database: duckdb.DuckDBPyConnection, more: Mapping[str, Rows], removed: ArrayLike
) -> dict[str, int]:
    """Adds rows to tables of spectra and takes out `removed` row numbers; how many rows each holds then.

    EngineError where a table has other columns than the rows that it shall take.
    """
    gone = pa.table({ROW_NUMBER: np.asarray(removed, np.int64)})
    database.register("removed", gone)
    for name, rows in more.items():
        _require_columns(database, name, rows.schema.names)
        database.register("incoming", rows)
        database.execute(f"INSERT INTO {_name(name)} BY NAME FROM incoming")
        database.unregister("incoming")
        if gone.num_rows:  # else every row would be read to find none
            database.execute(f"DELETE FROM {_name(name)} WHERE {ROW_NUMBER} IN (FROM removed)")  # noqa: S608 (our own names, quoted)
    return {name: _count(database, name) for name in more}


def _require_columns(database: duckdb.DuckDBPyConnection, name: str, columns: Sequence[str]) -> None:
    held = database.sql(f"FROM {_name(name)} LIMIT 0").columns
    if strange := sorted({*held} ^ {*columns}):
        raise EngineError(
            f"{name} of this release was made by another version of Doppel, which differs in"
            f" {', '.join(strange)}; doppel build makes the release anew"
        )


def _count(database: duckdb.DuckDBPyConnection, name: str) -> int:
    ((count,),) = database.execute(f"SELECT count(*) FROM {_name(name)}").fetchall()  # noqa: S608 (our own names, quoted)
    return int(count)


def _create(name: str, table: Table | None) -> str:
    if table is None:
        return f"CREATE OR REPLACE TABLE {_name(name)} AS FROM incoming"
    columns = [
        f"CAST({_name(column.name)} AS {sql_type(column)}) AS {_name(column.name)}"
        for column in table.columns
    ]
    hidden = [ROW_NUMBER] if table.has_rows else []
    return f"CREATE OR REPLACE TABLE {_name(name)} AS SELECT {', '.join(hidden + columns)} FROM incoming"  # noqa: S608 (our own names, quoted)


def _name(dotted: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in dotted.split("."))
