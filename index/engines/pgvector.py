# ruff: noqa: S608 (SQL of our own names and of numbers)
"""Vectors in PostgreSQL with pgvector: the nearest rows under conditions, exact or by its graph, by counting.

pgvector's own plan gives wrong rows or none, without an error, where a condition goes with the embedding. As
in index.strategy, the rows that pass are counted first: few are compared one by one; for many the graph is
searched on, with the condition in its scan, until enough have passed. What it proposes is ranked anew.
"""

from __future__ import annotations

import threading
from contextlib import closing

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from index.distance import Ids, Reals, Vectors, Weights, distances
from index.engines.duckdb_engine import EngineError
from index.engines.postgres import configure, connect, told
from index.nearest import Matches
from index.strategy import Plan, Strategy

SUBSET_ROWS = (
    30_000  # so many are compared one by one; beyond, the graph is quicker (notes: 1–3 % of a million)
)
SPARE = 32  # rows fetched beyond k: the server ranks them in float32 or float16
WIDTH = 100  # candidates that the graph keeps; more where k is large
BUILD_MEMORY = "1GB"  # a graph that fits into it is built several times as fast
GRAPH = {"m": 16, "ef_construction": 100}
LEAST_VERSION = (0, 8, 4)  # earlier ones lose rows of the graph when they are vacuumed


class PgVectors:
    """A table (row_number, did_rank, z) with a graph for one metric; `search` as that of VectorSet.

    Not for several threads at once: the connection is kept, one search goes after the other.
    """

    def __init__(
        self, database: str, table: str, metric: ArrayLike, *, subset_rows: int = SUBSET_ROWS
    ) -> None:
        self._connection = connect(database)
        self._lock = threading.Lock()
        self._table, self._subset_rows = table, subset_rows
        values = np.asarray(metric, np.float64)
        self.metric = Weights.of(values, len(values))
        with self._lock, told(), self._connection.cursor() as cursor:
            cursor.execute(f"SELECT row_number FROM {table} ORDER BY row_number")
            self.rows: Ids = cursor.fetch_arrow_table().column(0).to_numpy()
            self._connection.rollback()

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def build(
        cls,
        database: str,
        table: str,
        rows: ArrayLike,
        vectors: ArrayLike,
        did_rank: ArrayLike,
        metric: ArrayLike,
    ) -> PgVectors:
        """A new table (its schema must exist) with the graph of the metric; EngineError without pgvector."""
        matrix = np.asarray(vectors, np.float32)
        weights = Weights.of(metric, matrix.shape[1])
        content = pa.table(
            {
                "row_number": pa.array(np.asarray(rows, np.int64)),
                "did_rank": pa.array(np.asarray(did_rank, np.int32)),
                "z": pa.FixedSizeListArray.from_arrays(matrix.reshape(-1), matrix.shape[1]).cast(
                    pa.list_(pa.float32())
                ),
            }
        )
        with closing(connect(database)) as connection, told(), connection.cursor() as cursor:
            configure(cursor, {"maintenance_work_mem": BUILD_MEMORY}, "transaction")
            cursor.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
            cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
            _check_version(cursor.fetchall()[0][0])
            cursor.adbc_ingest("incoming", content, mode="create", temporary=True)
            cursor.execute(
                f"CREATE TABLE {table} AS SELECT row_number, did_rank,"
                f" z::public.vector({matrix.shape[1]}) AS z FROM pg_temp.incoming"
            )
            cursor.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (row_number)")
            options = ", ".join(f"{name} = {value}" for name, value in GRAPH.items())
            cursor.execute(
                f"CREATE INDEX ON {table} USING hnsw (({_scaled(weights, half=True)})"
                f" public.halfvec_l2_ops) WITH ({options})"
            )
            cursor.execute(f"ANALYZE {table}")
            cursor.execute("DROP TABLE pg_temp.incoming")
            connection.commit()
        return cls(database, table, metric)

    def search(
        self,
        query: ArrayLike,
        k: int,
        weights: ArrayLike,
        *,
        among: ArrayLike | None = None,
        exclude: int | None = None,
        exact: bool = False,
    ) -> Matches:
        """The `k` nearest rows of those `among` (rows without a vector do not count); never fewer while as
        many pass."""
        point, metric = np.asarray(query, np.float32), Weights.of(weights, len(self.metric.values))
        rows = None if among is None else np.intersect1d(np.asarray(among, np.int64), self.rows)
        n_pass = len(self) if rows is None else len(rows)
        wanted = k + (exclude is not None)
        strategy = self._chosen(n_pass, metric, exact)
        found = self._candidates(strategy, point, metric, rows, wanted)
        if strategy is Strategy.GRAPH and len(found[0]) < min(wanted, n_pass):
            strategy = Strategy.SCAN  # the graph has no way to them
            found = self._candidates(strategy, point, metric, rows, wanted)
        exactly = strategy is not Strategy.GRAPH
        plan = Plan(strategy, len(self), n_pass, n_pass if exactly else len(found[0]), exactly)
        return _ranked(found, point, metric, k, exclude, plan)

    def _chosen(self, n_pass: int, metric: Weights, exact: bool) -> Strategy:
        if n_pass <= self._subset_rows:
            return Strategy.SUBSET if n_pass < len(self) else Strategy.SCAN
        return Strategy.SCAN if exact or not metric.proportional(self.metric) else Strategy.GRAPH

    def _candidates(
        self, strategy: Strategy, point: Vectors, metric: Weights, rows: Ids | None, k: int
    ) -> tuple[Ids, NDArray[np.int32], Vectors]:
        """Row numbers, ranks and vectors of a few more than k rows that the server finds nearest."""
        graph = strategy is Strategy.GRAPH
        measure = self.metric if graph else metric
        target = point * np.sqrt(measure.values).astype(np.float32)
        kind = f"public.{'halfvec' if graph else 'vector'}"
        key = f"{_scaled(measure, half=graph)} OPERATOR(public.<->) '{_text(target)}'::{kind}"
        columns, limit = "row_number, did_rank, z", k + SPARE
        order = key if graph else f"{key}, did_rank"
        nearest = f"SELECT {columns} FROM {{source}} ORDER BY {order} LIMIT {limit}"
        if rows is None:
            sql = nearest.format(source=self._table)
        elif strategy is Strategy.SUBSET:
            sql = (
                f"WITH passing AS MATERIALIZED (SELECT {columns} FROM {self._table}"
                f" WHERE row_number = ANY('{{{','.join(map(str, rows.tolist()))}}}'::bigint[])) "
                + nearest.format(source="passing")
            )
        else:
            sql = nearest.format(
                source=f"{self._table} WHERE get_bit('{_bits(rows, self.rows)}'::bytea, row_number) = 1"
            )
        return self._asked(f"SELECT row_number, did_rank, z::real[] FROM ({sql}) AS found", graph, limit)

    def _asked(self, sql: str, graph: bool, limit: int) -> tuple[Ids, NDArray[np.int32], Vectors]:
        settings = {"transaction_read_only": "on"}
        if graph:
            settings |= {
                "hnsw.iterative_scan": "relaxed_order",
                "hnsw.ef_search": str(min(1000, max(WIDTH, 2 * limit))),
                "hnsw.max_scan_tuples": str(2**31 - 1),
                "hnsw.scan_mem_multiplier": "20",
                "enable_seqscan": "off",
                "enable_sort": "off",
            }
        with self._lock, told(), self._connection.cursor() as cursor:
            if graph:
                cursor.execute("SELECT '[0]'::public.vector")  # loads the library that knows these settings
                cursor.fetchall()
            configure(cursor, settings, "transaction")
            cursor.execute(sql)
            found = cursor.fetch_arrow_table().combine_chunks()
            self._connection.rollback()
        vectors = found.column(2).combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return (
            found.column(0).to_numpy(),
            found.column(1).to_numpy(),
            vectors.reshape(len(found), len(self.metric.values)).astype(np.float32, copy=False),
        )

    def close(self) -> None:
        self._connection.close()


def _check_version(told_version: str) -> None:
    if tuple(map(int, told_version.split("."))) < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        raise EngineError(f"pgvector {told_version} is too old; {least} or later keeps all rows in its graph")


def _scaled(metric: Weights, half: bool) -> str:
    """An expression in which plain L2 is the metric; for the graph in float16."""
    d = len(metric.values)
    scaled = f"(z OPERATOR(public.*) '{_text(np.sqrt(metric.values))}'::public.vector({d}))"
    return f"({scaled}::public.halfvec({d}))" if half else scaled


def _text(values: NDArray[np.floating]) -> str:
    return "[" + ",".join(map(repr, values.astype(np.float32).tolist())) + "]"


def _bits(rows: Ids, every: Ids) -> str:
    """Some of every row as a bit string that get_bit reads: bit n of byte b is row 8 b + n."""
    mask = np.zeros(int(every[-1]) + 1, np.uint8)
    mask[rows] = 1
    return "\\x" + np.packbits(mask, bitorder="little").tobytes().hex()


def _ranked(
    found: tuple[Ids, NDArray[np.int32], Vectors],
    point: Vectors,
    metric: Weights,
    k: int,
    exclude: int | None,
    plan: Plan,
) -> Matches:
    """By (distance, rank of the DID), the distances being those of every other way to search."""
    rows, ranks, vectors = found
    distance: Reals = distances(vectors, point, metric)
    order = np.lexsort((ranks, distance))
    if exclude is not None:
        order = order[rows[order] != exclude]
    return Matches(rows[order][:k], distance[order][:k], plan)
