"""What both engines are asked, and how they fail: `run` differs, all else can be said by it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from index.engines.watchdog import STOPPER, WATCHDOG, Watch

Params = Sequence[object]
Tables = Mapping[str, pa.Table] | None
Row = tuple[Any, ...]


class EngineError(Exception):
    """The engine refused or failed; the message is the engine's own and meant for the log."""


class EngineTimeout(EngineError):
    """The statement ran longer than it was allowed to."""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What one engine may take of the machine."""

    memory: str = "2GB"
    threads: int = 2
    database: str = ""  # the PostgreSQL database with the tables; empty: they are in the release's own file
    vectors: tuple[str, ...] = ()  # PostgreSQL servers with the vectors; none: they are in its files
    patience: float = 30.0  # seconds after which such a server is given up


DEFAULT_LIMITS = EngineLimits()


class Engine(ABC):
    """Runs checked SQL, in DuckDB's words, on the tables of one release: `release.<schema>.<table>`."""

    @abstractmethod
    def run(
        self, sql: str, params: Params = (), tables: Tables = None, timeout: float | None = None
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """The answer as a stream of record batches; `tables` exist for this statement alone.

        After `timeout` seconds the statement is ended, also while batches are read, and EngineTimeout is
        raised; every other failure of the engine is an EngineError.
        """

    def short(
        self, sql: str, params: Params = (), tables: Tables = None, timeout: float | None = None
    ) -> tuple[list[Row], pa.Table | None]:
        """An answer that fits into memory: its first rows as Python values where that is quicker, and a table
        of the others where there are any. Fails as `run` does."""
        with self.run(sql, params, tables, timeout) as reader:
            return [], pa.Table.from_batches(reader, reader.schema)

    def rows(
        self, sql: str, params: Params = (), tables: Tables = None, timeout: float | None = None
    ) -> list[Row]:
        """A short answer, whole, as Python values. Fails as `run` does."""
        with self.run(sql, params, tables, timeout) as reader:
            columns = pa.Table.from_batches(reader, reader.schema).columns
            return list(zip(*(column.to_pylist() for column in columns), strict=True))

    def table(
        self, sql: str, params: Params = (), tables: Tables = None, timeout: float | None = None
    ) -> pa.Table:
        """The whole answer at once, for questions of our own. Fails as `run` does."""
        with self.run(sql, params, tables, timeout) as reader:
            return reader.read_all()

    @abstractmethod
    def close(self) -> None:
        """Gives back what the engine holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def watched(end: Callable[[], None], timeout: float | None) -> Iterator[Watch]:
    """A statement that is ended after `timeout` seconds, or by who stops what this thread does."""
    watch = WATCHDOG.watch(end, timeout)
    if (register := STOPPER.get()) is not None:
        register(watch.expire)
    try:
        yield watch
    finally:
        watch.cancel()


def stream(
    reader: pa.RecordBatchReader, told: Callable[[], AbstractContextManager[None]]
) -> pa.RecordBatchReader:
    """The same batches; a failure while they are read is told as one of the engine."""

    def batches() -> Iterator[pa.RecordBatch]:
        while True:
            with told():
                batch = next(reader, None)
            if batch is None:
                return
            yield batch

    return pa.RecordBatchReader.from_batches(reader.schema, batches())
