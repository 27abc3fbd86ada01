"""One PostgreSQL server that keeps vectors: its sessions, how long it is waited for, its name in errors."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from index.distance import Ids
from index.engines.engine import EngineError
from index.engines.watchdog import STOPPER, WATCHDOG

if TYPE_CHECKING:
    from psycopg import Connection, Cursor
    from psycopg.adapt import Dumper

PATIENCE = 30.0  # seconds until a server that does not answer is given up
NOTHING: Mapping[str, str] = {}
SLACK = 2.0  # seconds later the server itself ends the statement
LONG = 20  # times as long for a whole table
SPARE = 8  # idle sessions that are kept
SETTINGS = {
    "plan_cache_mode": "force_custom_plan",  # partitions are chosen by the values asked for
    "jit": "off",
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.max_scan_tuples": str(2**31 - 1),
    "hnsw.scan_mem_multiplier": "20",
}


class ServerMissing(EngineError):
    """A server does not answer, or not as a part of the release; `place` names it without its address."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(message)
        self.place = place


class VectorServer:
    """The `number`th of `count` servers. Its failures are EngineErrors that name it, never its password."""

    def __init__(self, uri: str, number: int = 0, count: int = 1, patience: float = PATIENCE) -> None:
        self._uri, self.number, self.count, self.patience = uri, number, count, patience
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    @cached_property
    def name(self) -> str:
        """`vectors server 2 of 3 (db.example:5432/spectra)`."""
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict

        try:
            told = conninfo_to_dict(self._uri)
        except ProgrammingError:  # its words repeat the address, and the password in it
            raise EngineError(f"{self.place} has no address that PostgreSQL reads") from None
        port = told.get("port") or "5432"
        return f"{self.place} ({told.get('host') or 'local'}:{port}/{told.get('dbname') or ''})"

    @property
    def place(self) -> str:
        return f"vectors server {self.number + 1} of {self.count}"

    @contextmanager
    def reading(self, settings: Mapping[str, str] = NOTHING, *, long: bool = False) -> Iterator[Cursor]:
        """A read-only transaction with some settings of the server; answers come in binary form.

        A `long` one, in which a whole table is read, may take LONG times as much time.
        """
        chosen = {**settings, **({"statement_timeout": "0"} if long else {})}
        local = "".join(f"; SET LOCAL {name} = {value}" for name, value in chosen.items())
        with self._session(self.patience * (LONG if long else 1)) as connection:
            connection.execute(f"BEGIN READ ONLY{local}")
            yield connection.cursor(binary=True)
            connection.execute("ROLLBACK")

    @contextmanager
    def writing(self, lock: int) -> Iterator[Cursor]:
        """A transaction that takes as long as it needs, all or nothing, while nobody else has the lock."""
        with self._session(None) as connection, connection.transaction(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
            yield cursor

    @contextmanager
    def _session(self, patience: float | None) -> Iterator[Connection]:
        from psycopg import DataError, Error

        connection = self._taken()
        watch = WATCHDOG.watch(lambda: _hang_up(connection), patience)
        if (register := STOPPER.get()) is not None:
            register(watch.expire)
        try:
            yield connection
        except Error as error:
            if watch.expired:
                raise self.missing(f"does not answer: it took longer than {patience:g} s") from None
            if isinstance(error, DataError):
                raise EngineError(f"{self.name}: {_first_line(error)}") from error
            word = "does not answer" if connection.closed else "fails"
            raise self.missing(f"{word}: {_first_line(error)}") from error
        finally:
            watch.cancel()
            self._give_back(connection)

    def missing(self, words: str) -> ServerMissing:
        return ServerMissing(self.place, f"{self.name} {words}")

    def _taken(self) -> Connection:
        """An idle session that the server has not ended meanwhile, or a new one."""
        while (connection := self._popped()) is not None:
            if not select.select([connection], [], [], 0)[0]:
                return connection
            connection.close()
        return self._connected()

    def _popped(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _connected(self) -> Connection:
        import psycopg

        _ = self.name  # refuses what is no address
        limit = int((self.patience + SLACK) * 1000)
        options = {"statement_timeout": str(limit), **SETTINGS}
        try:
            connection = psycopg.connect(
                self._uri,
                autocommit=True,
                prepare_threshold=None,
                connect_timeout=max(2, int(self.patience)),
                options=" ".join(f"-c {key}={value}" for key, value in options.items()),
            )
        except psycopg.Error as error:
            raise self.missing(f"does not answer: {_first_line(error)}") from None
        connection.adapters.register_dumper(np.ndarray, rows_dumper())
        return connection

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            ready = not connection.closed and connection.info.transaction_status == 0
            if ready and len(self._idle) < SPARE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


@cache
def rows_dumper() -> type[Dumper]:
    """Row numbers as PostgreSQL's bigint[], without a Python number for each."""
    from psycopg.abc import Buffer
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    class RowsDumper(Dumper):
        format = Format.BINARY
        oid = 1016  # bigint[]

        def dump(self, obj: Ids) -> Buffer:
            items = np.empty(len(obj), np.dtype([("size", ">i4"), ("value", ">i8")]))
            items["size"], items["value"] = 8, obj
            return np.array([1, 0, 20, len(obj), 1], ">i4").tobytes() + items.tobytes()

    return RowsDumper


def servers(uris: Sequence[str], patience: float = PATIENCE) -> list[VectorServer]:
    """Those that keep the parts of one set, in their order."""
    return [VectorServer(uri, number, len(uris), patience) for number, uri in enumerate(uris)]


def _hang_up(connection: Connection) -> None:
    """Ends the wait for a server that may not even hear a cancellation."""
    from psycopg import Error

    with suppress(OSError, Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
