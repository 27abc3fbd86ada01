# ruff: noqa: S608 (our own names, quoted)
"""Releases in PostgreSQL: one schema for each, published by views that are switched in one transaction.

`release_<id>` holds the tables; the schemas `doppel`, `ivoa` and `tap_schema` hold views onto those of the
published release, for everybody else who asks the database. The service reads the release that it has open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from index.catalogue import ROW_NUMBER
from index.engines.duckdb_engine import DuckDBEngine
from index.engines.engine import EngineError
from index.engines.postgres import PostgresEngine, connect, told, variable_lists
from index.engines.postgres_sql import FUNCTIONS
from index.engines.postgres_trees import POSITIONS
from registry_metadata.columns import Table

if TYPE_CHECKING:
    from adbc_driver_postgresql.dbapi import Cursor
    from psycopg import Cursor as VectorCursor

FACTS = "internal.facts"
SQL_TYPES = {
    pa.bool_(): "boolean",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.string(): 'text COLLATE "C"',  # in the order of code points, as the embedded engine has it
}
MARK = "release "  # the comment on schemas that are ours begins with it
LOCK = 0x646F7070656C  # of the database, while something is loaded or switched


def schema_of(release: str) -> str:
    return f"release_{release}"


def places(release: str, names: Sequence[str]) -> dict[str, str]:
    """Where the tables of a release lie."""
    return {name: f'"{schema_of(release)}".{quoted(name.replace(".", "_"))}' for name in names}


class PostgresReleases:
    """The releases in one database."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def list(self) -> Sequence[str]:
        """Ids of the releases that are loaded, the first loaded first."""
        with self._transaction(changing=False) as cursor:
            cursor.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'release\\_%' ORDER BY oid")
            return [name.removeprefix("release_") for (name,) in cursor.fetchall()]

    def current(self) -> str | None:
        """The release that the views show."""
        with self._transaction(changing=False) as cursor:
            return shown(cursor, "doppel")

    def load(self, release: str, catalogue: Path, tables: Sequence[Table]) -> None:
        """Copies the catalogue of a release into a schema of its own, all or nothing; twice is once."""
        described = {table.name: table for table in tables}
        where = places(release, [*described, FACTS])
        with self._transaction() as cursor:
            _define_functions(cursor)  # also those that a newer program has added
            if _exists(cursor, schema_of(release)):
                return
            sky = _extension(cursor, "q3c")
            cursor.execute(f'CREATE SCHEMA "{schema_of(release)}"')
            with DuckDBEngine(catalogue) as source:
                for name, place in where.items():
                    _load_table(cursor, source, name, release, place)
                    _index_table(cursor, described.get(name), place, sky)
            open_to_all(cursor, [schema_of(release)])

    def publish(
        self, release: str, tables: Sequence[Table], others: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Points the views to a loaded release, in one transaction: nobody sees two releases at once.

        `others` are statements that make further views, by their schema.
        EngineError where a schema of that name is not ours, or somebody's own view depends on one of ours.
        """
        where = places(release, [table.name for table in tables])
        made: dict[str, list[str]] = {table.schema: [] for table in tables}
        for table in tables:
            made[table.schema].append(_view(table, where[table.name]))
        with self._transaction() as cursor:
            if not _exists(cursor, schema_of(release)):
                raise EngineError(f"release {release} is not loaded into PostgreSQL")
            switch(cursor, release, {**made, **(others or {})})

    def engine(self, release: str, names: Sequence[str]) -> PostgresEngine:
        """What answers from a loaded release; EngineError where it is not loaded."""
        with self._transaction(changing=False) as cursor:
            if not _exists(cursor, schema_of(release)):
                raise EngineError(f"release {release} is not in PostgreSQL; doppel publish brings it there")
            cursor.execute("SELECT count(*) FROM pg_extension WHERE extname = 'q3c'")
            ((q3c,),) = cursor.fetchall()
        return PostgresEngine(self.uri, places(release, [*names, FACTS]), q3c=bool(q3c))

    def drop(self, release: str) -> None:
        """Removes a release that is not published; EngineError where it is."""
        with self._transaction() as cursor:
            if release == shown(cursor, "doppel"):
                raise EngineError(f"release {release} is published; publish another one before it is dropped")
            cursor.execute(f'DROP SCHEMA IF EXISTS "{schema_of(release)}" CASCADE')

    @contextmanager
    def _transaction(self, changing: bool = True) -> Iterator[Cursor]:
        """All or nothing, and nobody else changes releases meanwhile; who only looks need not wait."""
        connection = connect(self.uri)
        try:
            with told(), connection.cursor() as cursor:
                if changing:
                    cursor.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
                    cursor.fetchall()
                yield cursor
            with told():
                connection.commit()
        finally:
            connection.close()


def switch(cursor: Cursor | VectorCursor, release: str, views: Mapping[str, Sequence[str]]) -> None:
    """Puts the views of a release, by schema, in place of those that the schemas have."""
    for schema, statements in views.items():
        _emptied(cursor, schema)
        for statement in statements:
            cursor.execute(statement)
        cursor.execute(f"COMMENT ON SCHEMA \"{schema}\" IS '{MARK}{release}'")
    open_to_all(cursor, list(views))


def _define_functions(cursor: Cursor) -> None:
    """All of the file in one statement; the driver takes no more."""
    cursor.execute(f"DO $file$ BEGIN EXECUTE $text${FUNCTIONS}$text$; END $file$")
    open_to_all(cursor, ["adql"])


def _load_table(cursor: Cursor, source: DuckDBEngine, name: str, release: str, place: str) -> None:
    """A table with the types of the catalogue, its rows copied in the order in which they lie."""
    order = f" ORDER BY {ROW_NUMBER}" if name in (FACTS, "doppel.spectra") else ""
    with source.run(f"SELECT * FROM release.{quoted(name)}{order}") as reader:
        columns = ", ".join(f"{quoted(field.name)} {_sql_type(field.type)}" for field in reader.schema)
        cursor.execute(f"CREATE TABLE {place} ({columns})")
        cursor.adbc_ingest(
            name.replace(".", "_"), variable_lists(reader), mode="append", db_schema_name=schema_of(release)
        )


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    return SQL_TYPES[kind]


def _index_table(cursor: Cursor, table: Table | None, place: str, sky: bool) -> None:
    """The row number, identifiers, what the metadata call indexed, and the sky."""
    if table is None or table.has_rows:
        cursor.execute(f"ALTER TABLE {place} ADD PRIMARY KEY ({ROW_NUMBER})")
    if table is not None:
        for column in table.columns:
            if (column.indexed or column.did) and (column.arraysize is None or column.datatype == "char"):
                cursor.execute(f"CREATE INDEX ON {place} ({quoted(column.name)})")
        for ra, dec in POSITIONS:
            if sky and table.column(ra) and table.column(dec):
                cursor.execute(f"CREATE INDEX ON {place} (public.q3c_ang2ipix({quoted(ra)}, {quoted(dec)}))")
    cursor.execute(f"ANALYZE {place}")


def _extension(cursor: Cursor, name: str) -> bool:
    """Whether the server has the extension; it is taken into use where it has."""
    cursor.execute(f"SELECT count(*) FROM pg_available_extensions WHERE name = '{name}'")
    ((found,),) = cursor.fetchall()
    if found:
        cursor.execute(f"CREATE EXTENSION IF NOT EXISTS {name} SCHEMA public")
    return bool(found)


def _exists(cursor: Cursor | VectorCursor, schema: str) -> bool:
    cursor.execute(f"SELECT to_regnamespace('\"{schema}\"') IS NOT NULL")
    ((found,),) = cursor.fetchall()
    return bool(found)


def shown(cursor: Cursor | VectorCursor, schema: str) -> str | None:
    """The release that the views of a schema show; None where it is not ours."""
    cursor.execute(f"SELECT obj_description(to_regnamespace('\"{schema}\"'), 'pg_namespace')")
    ((words,),) = cursor.fetchall()
    return words.removeprefix(MARK) if words is not None and words.startswith(MARK) else None


def _emptied(cursor: Cursor | VectorCursor, schema: str) -> None:
    """A schema of ours without views. What others have made there, or made of ours, is not touched."""
    if not _exists(cursor, schema):
        cursor.execute(f'CREATE SCHEMA "{schema}"')
        return
    if shown(cursor, schema) is None:
        raise EngineError(f"the database has a schema {schema} that is not ours; use another database")
    cursor.execute(f"SELECT viewname FROM pg_views WHERE schemaname = '{schema}'")
    for (view,) in cursor.fetchall():
        cursor.execute(f'DROP VIEW "{schema}".{quoted(view)}')


def _view(table: Table, place: str) -> str:
    columns = ", ".join(quoted(column.name) for column in table.columns)
    return f"CREATE VIEW {quoted(table.name)} AS SELECT {columns} FROM {place}"


def open_to_all(cursor: Cursor | VectorCursor, schemas: Sequence[str]) -> None:
    """Published data: every role may read them, so that the service needs no more than that."""
    listed = ", ".join(f'"{schema}"' for schema in schemas)
    cursor.execute(f"GRANT USAGE ON SCHEMA {listed} TO PUBLIC")
    cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {listed} TO PUBLIC")


def quoted(dotted: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in dotted.split("."))
