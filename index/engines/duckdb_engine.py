"""The embedded engine: one DuckDB per open release, its catalogue attached read-only, Arrow out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path

import duckdb
import pyarrow as pa
from duckdb.sqltypes import DuckDBPyType

from index.engines.duckdb_functions import copy_functions
from index.engines.engine import (
    DEFAULT_LIMITS,
    Engine,
    EngineError,
    EngineLimits,
    EngineTimeout,
    Params,
    Row,
    Tables,
    stream,
    watched,
)
from index.engines.spill import Spill
from index.engines.watchdog import Watch

BATCH_ROWS = 4_096  # more keep the first row waiting
ARRAY_ROWS = 1_024  # where cells are arrays, which may be spectra
FEW_ROWS = 500  # so many are quicker as Python values than as Arrow
FEW_VALUES = 100  # in a column of a table: quicker as a parameter than as a registered table
KNOWN_STATEMENTS = 256  # whose parsed form is kept, which spares a third of a short question
LONGEST_KNOWN = 4_000  # characters; of a longer one parsing is the least
SCALARS = {pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.string(): "VARCHAR"}
warnings.filterwarnings("ignore", "Arrow output on a DB-API result")  # which copies: `short` keeps it small


class DuckDBEngine(Engine):
    """The catalogue is attached to a small database of the engine's own, which holds functions, since uploads
    cannot be registered on a file that is open read-only. It and spilled data are in a temporary directory
    outside the release."""

    def __init__(self, catalogue: Path, limits: EngineLimits = DEFAULT_LIMITS) -> None:
        self._spill = Spill()
        own = self._spill.path / "own.duckdb"
        copy_functions(catalogue.parent, own)
        try:
            self._database = duckdb.connect(str(own), config=_settings(limits, str(self._spill.path)))
        except duckdb.Error as error:
            self._spill.remove()
            raise EngineError(f"cannot open the functions beside {catalogue.name}: {error}") from error
        self._known = lru_cache(KNOWN_STATEMENTS)(self._read)
        try:
            self._attach(catalogue)
        except duckdb.Error as error:
            self.close()
            raise EngineError(f"cannot open {catalogue.name}: {error}") from error

    def _attach(self, catalogue: Path) -> None:
        path = str(catalogue).replace("'", "''")
        self._database.execute(f"ATTACH '{path}' AS release (READ_ONLY)")
        self._database.execute("SET enable_external_access = false")
        self._database.execute("SET lock_configuration = true")

    @contextmanager
    def run(
        self, sql: str, params: Params = (), tables: Tables = None, timeout: float | None = None
    ) -> Iterator[pa.RecordBatchReader]:
        """A stream of record batches; `tables` exist on this statement's cursor alone."""
        with self._cursor(tables or {}, timeout) as (cursor, expired):
            with _told(expired, timeout):
                answer = cursor.sql(self._parsed(sql), params=list(params))
                reader = answer.to_arrow_reader(_batch_rows(answer.types))
            yield stream(reader, partial(_told, expired, timeout))

    def short(
        self, sql: str, params: Params = (), tables: Tables = None, timeout: float | None = None
    ) -> tuple[list[Row], pa.Table | None]:
        """At half the cost of a stream: the first FEW_ROWS rows as Python values, and the others."""
        with self._executed(sql, params, tables, timeout) as cursor:
            first = cursor.fetchmany(FEW_ROWS)
            return first, cursor.to_arrow_table() if len(first) == FEW_ROWS else None

    def rows(
        self, sql: str, params: Params = (), tables: Tables = None, timeout: float | None = None
    ) -> list[Row]:
        """A short answer, whole, without a stream."""
        with self._executed(sql, params, tables, timeout) as cursor:
            return cursor.fetchall()

    def table(
        self, sql: str, params: Params = (), tables: Tables = None, timeout: float | None = None
    ) -> pa.Table:
        with self._executed(sql, params, tables, timeout) as cursor:
            return cursor.to_arrow_table()

    @contextmanager
    def _executed(
        self, sql: str, params: Params, tables: Tables, timeout: float | None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor with the statement's answer."""
        sql, values, others = _inlined(sql, params, tables or {})
        with self._cursor(others, timeout) as (cursor, expired), _told(expired, timeout):
            yield cursor.execute(self._parsed(sql), values)

    def _parsed(self, sql: str) -> duckdb.Statement:
        """One statement; those of the same text, whatever their parameters, are parsed once."""
        return self._known(sql) if len(sql) <= LONGEST_KNOWN else self._read(sql)

    def _read(self, sql: str) -> duckdb.Statement:
        (statement,) = self._database.extract_statements(sql)
        return statement

    @contextmanager
    def _cursor(
        self, tables: Mapping[str, pa.Table], timeout: float | None
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, Watch]]:
        """A cursor that knows the tables, under watch until it is closed."""
        cursor = self._database.cursor()
        try:
            with watched(cursor.interrupt, timeout) as expired:
                for name, table in tables.items():
                    cursor.register(name, table)
                yield cursor, expired
        finally:
            cursor.close()

    def close(self) -> None:
        """Ends the instance and removes what it spilled."""
        self._database.close()
        self._spill.remove()


def _settings(limits: EngineLimits, spill: str) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        "memory_limit": limits.memory,
        "threads": limits.threads,
        "temp_directory": spill,
    }


def _inlined(
    sql: str, params: Params, tables: Mapping[str, pa.Table]
) -> tuple[str, list[object], dict[str, pa.Table]]:
    """The statement, whose parameters are $1, $2 …, with small tables as common tables made of parameters;
    and the tables that are left."""
    values, common, others = list(params), [], {}
    for name, table in tables.items():
        if table.num_rows > FEW_VALUES or not all(kind in SCALARS for kind in table.schema.types):
            others[name] = table
            continue
        cells = []
        for column in table.itercolumns():
            values.append(column.to_pylist())
            cells.append(f"unnest(CAST(${len(values)} AS {SCALARS[column.type]}[]))")
        names = ", ".join(map(_quoted, table.column_names))
        common.append(f"{_quoted(name)}({names}) AS (SELECT {', '.join(cells)})")
    if not common:
        return sql, values, others
    rest = f", {sql[5:]}" if sql.startswith("WITH ") else f" {sql}"
    return f"WITH {', '.join(common)}{rest}", values, others


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _batch_rows(types: Sequence[DuckDBPyType]) -> int:
    """Of an answer with columns of these types."""
    return ARRAY_ROWS if any(kind.id in ("array", "list") for kind in types) else BATCH_ROWS


@contextmanager
def _told(watch: Watch, timeout: float | None) -> Iterator[None]:
    """Failures of the engine in our words; those of reading come as Arrow's errors."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if watch.expired:
            raise EngineTimeout(f"the statement ran longer than {timeout:g} s") from error
        raise EngineError(str(error)) from error
