"""The server engine: releases in PostgreSQL, read over ADBC; asked and answering as the embedded one.

Every statement has a transaction of its own, which is read-only and always rolled back; tables of a request
are temporary tables of it. Values reach the server as typed literals, answers as the binary stream of COPY.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from index.engines.engine import Engine, EngineError, EngineTimeout, Params, Tables, stream, watched
from index.engines.postgres_sql import postgres_sql
from index.engines.watchdog import Watch

if TYPE_CHECKING:
    from adbc_driver_postgresql.dbapi import Connection, Cursor

BATCH_BYTES = 2_000_000
SPARE = 8  # idle connections that are kept
SERVER_SLACK = 2.0  # seconds after which the server ends a statement itself
SESSION = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "jit": "off",
    "standard_conforming_strings": "on",
    "extra_float_digits": "1",
    "search_path": "pg_catalog, public, pg_temp",
}
CANCELLED = re.compile(r"57014|canceling statement")
KINDS = (  # SQLSTATE, or the words where the driver leaves it out, in the words of service/query/engine.py
    (re.compile(r"SQLSTATE: 22(P02|007|008)|invalid input syntax"), "Conversion Error"),
    (re.compile(r"SQLSTATE: 22003|out of range"), "Overflow Error"),
    (re.compile(r"SQLSTATE: 22"), "Invalid Error"),
    (re.compile(r"SQLSTATE: 42(804|883|846)"), "Binder Error"),
    (re.compile(r"SQLSTATE: 53200|out of memory"), "Out of Memory"),
)


class PostgresEngine(Engine):
    """One loaded release; `tables`: where `doppel.spectra` and others lie."""

    def __init__(self, uri: str, tables: Mapping[str, str], *, q3c: bool = False) -> None:
        self._uri, self._tables, self._q3c = uri, tables, q3c
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def run(
        self, sql: str, params: Params = (), tables: Tables = None, timeout: float | None = None
    ) -> Iterator[pa.RecordBatchReader]:
        """A stream of record batches; `tables` exist in this statement's transaction alone."""
        text = postgres_sql(sql, params, self._tables, q3c=self._q3c)
        with self._connection() as connection:
            cursor = connection.cursor()
            try:
                with watched(cursor.adbc_cancel, timeout) as watch:
                    with told(watch, timeout):
                        reader = _asked(cursor, text, tables or {}, timeout)
                    yield stream(reader, partial(told, watch, timeout))
            finally:
                _ended(cursor)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """One connection for one statement; it is kept for the next where it can still be rolled back."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = connect(self._uri)
        try:
            yield connection
        finally:
            self._give_back(connection)

    def _give_back(self, connection: Connection) -> None:
        from adbc_driver_postgresql.dbapi import Error

        try:
            connection.rollback()
        except Error:
            connection.close()
            return
        with self._lock:
            keep = len(self._idle) < SPARE and not self._closed
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()

    def close(self) -> None:
        """Closes the idle connections; those in use close when they are given back."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for connection in idle:
            connection.close()


def connect(uri: str) -> Connection:
    """A connection whose session speaks as we expect; EngineError, with no password, where there is none."""
    from adbc_driver_postgresql import dbapi

    connection = None
    try:
        connection = dbapi.connect(uri)
        with connection.cursor() as cursor:
            configure(cursor, SESSION, "session")
        connection.commit()
    except dbapi.Error as error:
        if connection is not None:
            connection.close()
        raise EngineError(f"cannot reach PostgreSQL: {_reason(error)}") from None
    return connection


def configure(cursor: Cursor, settings: Mapping[str, str], scope: str) -> None:
    """Settings of the `session` or of the `transaction`, in one round trip."""
    local = str(scope == "transaction").lower()
    calls = ", ".join(f"set_config('{name}', '{value}', {local})" for name, value in settings.items())
    cursor.execute(f"SELECT {calls}")
    cursor.fetchall()


def _asked(
    cursor: Cursor, text: str, tables: Mapping[str, pa.Table], timeout: float | None
) -> pa.RecordBatchReader:
    for name, table in tables.items():
        cursor.adbc_ingest(name, variable_lists(table.to_reader()), mode="create", temporary=True)
    limit = int((timeout + SERVER_SLACK) * 1000) if timeout else 0
    configure(cursor, {"statement_timeout": str(limit), "transaction_read_only": "on"}, "transaction")
    cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
    cursor.execute(text)
    return cursor.fetch_record_batch()


def variable_lists(reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Arrays of a fixed length become arrays; the driver takes no others."""
    fields = [
        field.with_type(pa.list_(field.type.value_type)) if pa.types.is_fixed_size_list(field.type) else field
        for field in reader.schema
    ]
    schema = pa.schema(fields)
    return pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in reader))


def _ended(cursor: Cursor) -> None:
    """Ends a statement also where its rows were not all read."""
    from adbc_driver_postgresql.dbapi import Error

    with suppress(Error, pa.ArrowException, OSError):
        cursor.adbc_cancel()
    with suppress(Error, pa.ArrowException, OSError):
        cursor.close()


@contextmanager
def told(watch: Watch | None = None, timeout: float | None = None) -> Iterator[None]:
    """Failures of the server in the engines' words."""
    from adbc_driver_postgresql.dbapi import Error

    try:
        yield
    except (Error, pa.ArrowException, OSError) as error:
        text = str(error)
        if (watch is not None and watch.expired) or CANCELLED.search(text):
            raise EngineTimeout(f"the statement ran longer than {timeout or 0:g} s") from error
        kind = next((name for pattern, name in KINDS if pattern.search(text)), "PostgreSQL")
        raise EngineError(f"{kind}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What the server says, without the driver's words around it."""
    text = str(error)
    found = re.search(r"(?:ERROR|FATAL):\s*(.*)", text, re.S) or re.search(r"\[libpq\]\s*(.*)", text, re.S)
    return (found[1] if found else text).strip()
