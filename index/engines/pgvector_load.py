"""Vectors of releases on PostgreSQL servers: loaded by collection, shown by views, dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray
from psycopg.sql import SQL, Identifier, Literal

from index.distance import Ids, Vectors
from index.engines.engine import EngineError
from index.engines.postgres_load import LOCK, open_to_all, shown, switch
from index.engines.vector_server import VectorServer, servers
from index.engines.vector_table import BLOCK, Layout, name_of, packed, record, schema_of, vector_type
from index.metric import parse_space

if TYPE_CHECKING:
    from psycopg import Cursor

    from index.release import OpenRelease

SCHEMA = "doppel_vectors"  # its views show the published release
LEAST_VERSION = (0, 8, 4)  # earlier ones lose rows of the graph when they are vacuumed
CREATE = SQL("""CREATE TABLE {table} (
    collection text COLLATE "C" NOT NULL, row_number bigint NOT NULL, did_rank integer NOT NULL,
    z public.vector({d}) NOT NULL, h public.halfvec({kept}) NOT NULL
) PARTITION BY LIST (collection)""")
PARTITION = SQL("CREATE TABLE {partition} PARTITION OF {table} FOR VALUES IN ({collection})")
DIRECTORY = SQL("CREATE TABLE {directory} (first bigint PRIMARY KEY, codes bytea NOT NULL)")
CODES = SQL("INSERT INTO {directory} VALUES (%s, %s)")
COPY = SQL("COPY {partition} FROM STDIN (FORMAT binary)")
KEY = SQL("ALTER TABLE {partition} ADD PRIMARY KEY (row_number)")
GRAPH = SQL("""CREATE INDEX ON {partition} USING hnsw (h public.halfvec_l2_ops)
    WITH (m = 16, ef_construction = 100)""")
VIEW = SQL("""CREATE VIEW {view} AS
    SELECT row_number, collection, z AS embedding, h AS coordinates FROM {table}""")
COLLECTIONS = "SELECT row_number, collection FROM release.internal.facts ORDER BY row_number"
# graphs that fit into this memory are built several times as fast
MEMORY = """SELECT set_config('maintenance_work_mem', greatest(pg_size_bytes('1GB'),
    pg_size_bytes(current_setting('maintenance_work_mem'))) / 1024 || 'kB', true)"""
VERSION = "SELECT extversion, extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'"


@dataclass(frozen=True, slots=True)
class Source:
    """The vectors of one model as they are before they are loaded; all (n,) by ascending row."""

    rows: Ids
    vectors: Vectors  # (n, d)
    ranks: NDArray[np.int32]
    collections: NDArray[Any]  # names
    metric: ArrayLike  # (d,)

    def layout(self, release: str, model: str, server: VectorServer) -> Layout:
        return Layout(
            release,
            model,
            server.number,
            server.count,
            np.unique(self.collections).tolist(),
            np.asarray(self.metric, np.float64).tolist(),
            (self.vectors.sum(axis=0, dtype=np.float64) / max(len(self.rows), 1)).tolist(),
        )


class VectorReleases:
    """The vectors of releases, a part of each on every server."""

    def __init__(self, servers: Sequence[VectorServer]) -> None:
        self.servers = tuple(servers)

    @classmethod
    def of(cls, uris: Sequence[str]) -> VectorReleases:
        return cls(servers(uris))

    def load(self, opened: OpenRelease) -> None:
        """The vectors of all models; what is there already is left as it is."""
        for model in opened.models:
            self.load_model(opened.id, model, source_of(opened, model))

    def load_model(self, release: str, model: str, source: Source) -> None:
        """On all servers at the same time, on each all or nothing."""
        with ThreadPoolExecutor(len(self.servers)) as threads:
            loading = [
                threads.submit(_load, server, source.layout(release, model, server), source)
                for server in self.servers
            ]
        for future in loading:
            future.result()

    def publish(self, release: str, models: Sequence[str]) -> None:
        """Points the views of every server to the release, in a transaction of each."""
        for number, server in enumerate(self.servers):
            with server.writing(LOCK) as cursor:
                switch(cursor, release, {SCHEMA: self.views(release, models, number)})

    def views(self, release: str, models: Sequence[str], number: int) -> list[str]:
        """Statements that make the views of a release on one of the servers."""
        schema, parts = schema_of(release), len(self.servers)
        return [
            VIEW.format(
                view=Identifier(SCHEMA, model), table=Identifier(schema, name_of(model, number, parts))
            ).as_string()
            for model in models
        ]

    def drop(self, release: str) -> None:
        """Removes a release from all servers; EngineError where one shows it."""
        for server in self.servers:
            with server.writing(LOCK) as cursor:
                if shown(cursor, SCHEMA) == release:
                    raise EngineError(f"{server.name} publishes release {release}; publish another one first")
                cursor.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema_of(release))))

    def close(self) -> None:
        for server in self.servers:
            server.close()


def source_of(opened: OpenRelease, model: str) -> Source:
    """From the files of a release."""
    found = opened.model(model)
    rows = found.vectors.rows
    by_did = pc.sort_indices(opened.dids_of(rows)).to_numpy()
    ranks = np.empty(len(rows), np.int32)
    ranks[by_did] = np.arange(len(rows), dtype=np.int32)
    facts = opened.engine.table(COLLECTIONS)
    places = np.searchsorted(facts["row_number"].to_numpy(), rows)
    collections = facts["collection"].take(pa.array(places)).to_numpy(zero_copy_only=False)
    metric = parse_space(found.recipe.default_preset, found.recipe)
    return Source(rows, found.vectors.matrix(), ranks, collections.astype(str), metric)


def _load(server: VectorServer, layout: Layout, source: Source) -> None:
    mine = source.rows % layout.parts == layout.part
    with server.writing(LOCK) as cursor:
        _extension(cursor, server)
        cursor.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(layout.schema)))
        if _exists(cursor, layout):
            return
        kept = len(layout.weights.kept)
        cursor.execute(CREATE.format(table=layout.table, d=layout.dimension, kept=kept))
        for code, collection in enumerate(layout.collections):
            partition = layout.partition(code)
            cursor.execute(
                PARTITION.format(partition=partition, table=layout.table, collection=Literal(collection))
            )
            places = np.flatnonzero(mine & (source.collections == collection))
            with cursor.copy(COPY.format(partition=partition)) as copy:
                for data in _wire(layout, source, collection, places):
                    copy.write(data)
            cursor.execute(KEY.format(partition=partition))
            cursor.execute(GRAPH.format(partition=partition))
        _write_directory(cursor, layout, source.rows[mine], source.collections[mine])
        cursor.execute(SQL("ANALYZE {}").format(layout.table))
        comment = SQL("COMMENT ON TABLE {} IS {}")
        cursor.execute(comment.format(layout.table, Literal(layout.to_json())))
        open_to_all(cursor, [layout.schema])


def _write_directory(cursor: Cursor, layout: Layout, rows: Ids, collections: NDArray[Any]) -> None:
    """Of every row that this part may have the number of its collection; −1 where it has no vector."""
    places = rows // layout.parts
    codes = np.full(int(places.max(initial=-1)) + 1, -1, "<i2")
    codes[places] = np.searchsorted(np.array(layout.collections, dtype=str), collections)
    cursor.execute(DIRECTORY.format(directory=layout.directory))
    for first in range(0, len(codes), BLOCK):
        block = codes[first : first + BLOCK].tobytes()
        cursor.execute(CODES.format(directory=layout.directory), (first, block))


def _wire(layout: Layout, source: Source, collection: str, places: Ids) -> Iterator[bytes]:
    """The rows of one collection as a binary copy."""
    word = collection.encode()
    kind = record(
        {
            "collection": f"S{len(word)}",
            "row_number": ">i8",
            "did_rank": ">i4",
            "z": vector_type(layout.dimension),
            "h": vector_type(len(layout.weights.kept), ">f2"),
        }
    )
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    for start in range(0, len(places), BLOCK):
        some = places[start : start + BLOCK]
        columns = {
            "collection": word,
            "row_number": source.rows[some],
            "did_rank": source.ranks[some],
            "z": source.vectors[some],
            "h": layout.halved(source.vectors[some]),
        }
        yield packed(kind, columns, len(some))
    yield b"\xff\xff"


def _extension(cursor: Cursor, server: VectorServer) -> None:
    """EngineError where pgvector is too old, or lies elsewhere than in `public`."""
    cursor.execute(MEMORY)
    cursor.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
    cursor.execute(VERSION)
    ((told, schema),) = cursor.fetchall()
    if schema != "public":
        raise EngineError(f"{server.name} has pgvector in the schema {schema}; it is looked for in public")
    if tuple(map(int, told.split("."))) < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        raise EngineError(f"{server.name} has pgvector {told}; {least} or later keeps all rows in its graph")


def _exists(cursor: Cursor, layout: Layout) -> bool:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (layout.table.as_string(),))
    ((found,),) = cursor.fetchall()
    return bool(found)
