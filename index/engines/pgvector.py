"""Vectors in PostgreSQL with pgvector: the nearest rows under conditions, exact or by its graph, by counting.

pgvector's own plan gives wrong rows or none, without an error, where a condition goes with the embedding. As
in index.strategy, the rows that pass are counted first: few are compared one by one; for many the graph is
searched on, with the condition in its scan, until enough have passed. What it proposes is ranked anew. What
is told as exact is proven: the server's float32 arithmetic has a bound, and nothing beyond it can be nearer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.sql import SQL, Composed

from index.distance import UNIT, Ids, Vectors, Weights, distances
from index.engines.vector_server import VectorServer
from index.engines.vector_table import Layout, layout_of, stream, text_of, vector_type, vectors_from
from index.nearest import Found
from index.strategy import Limits, Plan, Strategy

LIMITS = Limits(subset_rows=30_000)  # beyond, the graph is quicker (tests/benchmarks/pgvector.py)
SPARE = 32  # rows fetched beyond k: the server ranks them in float32 or float16
ROUND = 8  # times k pass before the graph is left where there is a condition: it finds them out of order
WIDTH, WIDEST = 100, 1000  # candidates that the graph keeps, and the most that pgvector allows
BATCH = 64  # queries in one statement

TABLE = SQL("{table} WHERE collection = ANY(%(collections)s)")
MARKED = SQL("{rows} AND get_bit(%(bits)s, row_number / %(parts)s) = 1")
# the sub-query keeps the planner from reading thousands of numbers, which takes a tenth of the time
LISTED = SQL("{rows} AND row_number = ANY((SELECT %(rows)s::bigint[])::bigint[])")
SUBSET = SQL("WITH passing AS MATERIALIZED (SELECT row_number, did_rank, z FROM {rows})")
PASSING = SQL("passing WHERE true").format()
NOTHING = SQL("").format()
SCALED = SQL("(z OPERATOR(public.*) %(scale)s::public.vector)")
NEAREST = SQL("""{head} SELECT asked.number, near.*
    FROM unnest(%(points)s::text[]::{kind}[]) WITH ORDINALITY AS asked (point, number),
    LATERAL (
        SELECT row_number, did_rank, {key} OPERATOR(public.<->) asked.point AS distance, public.vector_send(z)
        FROM {rows} ORDER BY {key} OPERATOR(public.<->) asked.point{tie} LIMIT %(limit)s
    ) AS near""")
WITHIN = SQL("""{head} SELECT row_number, did_rank, 0::float8, public.vector_send(z)
    FROM {rows} AND {key} OPERATOR(public.<->) %(point)s::public.vector <= %(reach)s""")
TAKEN = SQL("SELECT row_number, public.vector_send(z) FROM {rows} AND row_number = ANY(%(rows)s)")
CODES = SQL("SELECT codes FROM {directory} ORDER BY first")
ALL = SQL("SELECT row_number, public.vector_send(z) FROM {table}")
SUBSET_MEMORY = "'64MB'"  # the rows of a subset stay in memory
FORCED = {"enable_seqscan": "off", "enable_sort": "off"}  # nothing but the graph


@dataclass(frozen=True, slots=True)
class Passing:
    """Which rows may be found: `rows` of some collections, all of theirs if None."""

    count: int
    collections: list[str]
    rows: Ids | None


@dataclass(frozen=True, slots=True)
class Near:
    """Rows as a server gives them; all others are at least as far as `beyond`, as it counts."""

    rows: Ids
    ranks: NDArray[np.int32]
    vectors: Vectors
    beyond: float


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to one part."""

    k: int | None
    metric: Weights
    passing: Passing
    strategy: Strategy


class PgPart:
    """One table (collection, row_number, did_rank, z float32, h float16) on one server, with its graphs."""

    def __init__(
        self, server: VectorServer, layout: Layout, codes: NDArray[np.int16], limits: Limits
    ) -> None:
        self.server, self.layout, self.limits = server, layout, limits
        self._codes = codes  # (last row // parts + 1,): the row's collection, −1 where it has no vector
        self._sizes = np.bincount(codes[codes >= 0], minlength=len(layout.collections))

    @classmethod
    def open(cls, server: VectorServer, release: str, model: str, limits: Limits = LIMITS) -> PgPart:
        """Reads which rows there are; ServerMissing where the server has not this part of the release."""
        layout = layout_of(server, release, model)
        with server.reading(long=True) as cursor:
            cursor.execute(CODES.format(directory=layout.directory))
            codes = np.frombuffer(b"".join(block for (block,) in cursor.fetchall()), "<i2")
        return cls(server, layout, codes, limits)

    def __len__(self) -> int:
        return int(self._sizes.sum())

    @cached_property
    def rows(self) -> Ids:
        """Ascending."""
        return np.flatnonzero(self._codes >= 0) * self.layout.parts + self.layout.part

    @cached_property
    def everything(self) -> Passing:
        return Passing(len(self), self._named(np.flatnonzero(self._sizes)), None)

    def passing(self, rows: Ids | None) -> Passing:
        """Those of different `rows` that lie here, all if None."""
        if rows is None:
            return self.everything
        places = rows // self.layout.parts
        here = (rows % self.layout.parts == self.layout.part) & (places >= 0) & (places < len(self._codes))
        rows, codes = rows[here], self._codes[places[here]]
        rows, codes = rows[codes >= 0], codes[codes >= 0]
        used = np.flatnonzero(np.bincount(codes, minlength=len(self._sizes)))
        whole = len(rows) == self._sizes[used].sum()
        return Passing(len(rows), self._named(used), None if whole else rows)

    def _named(self, codes: Ids) -> list[str]:
        return [self.layout.collections[code] for code in codes.tolist()]

    def taken(self, rows: Ids) -> dict[int, Vectors]:
        """The vectors (d,) of those rows that lie here."""
        passing = self.passing(rows)
        if not passing.count:
            return {}
        with self.server.reading() as cursor:
            cursor.execute(TAKEN.format(rows=self._rows), {"collections": passing.collections, "rows": rows})
            numbers, vectors = zip(*cursor.fetchall(), strict=True)
        return dict(zip(numbers, vectors_from(vectors, self.layout.dimension), strict=True))

    def search(self, points: Vectors, k: int, metric: Weights, passing: Passing, exact: bool) -> list[Found]:
        """The `k` nearest of the rows that pass to each of `points` (m, d)."""
        asked = Asked(k, metric, passing, self._chosen(k, metric, passing, exact))
        if asked.strategy is Strategy.EMPTY:
            return [self._nothing(asked)] * len(points)
        blocks = [points[start : start + BATCH] for start in range(0, len(points), BATCH)]
        return [
            self._checked(near, point, asked)
            for block in blocks
            for near, point in zip(self._nearest(block, asked), block, strict=True)
        ]

    def within(self, point: Vectors, radius: float, metric: Weights, passing: Passing) -> Found:
        """All rows that pass with distance ≤ `radius`."""
        few = passing.count <= self.limits.subset_rows
        asked = Asked(None, metric, passing, Strategy.SUBSET if few else Strategy.SCAN)
        if not passing.count:
            return self._nothing(asked)
        found = self._found(self._inside(point, radius, asked), point, asked)
        count = int(np.searchsorted(found.distance, radius, side="right"))
        return Found(found.rows[:count], found.ranks[:count], found.distance[:count], found.plan)

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        """All row numbers and vectors, block by block, in no order."""
        fields = {"row": ">i8", "z": vector_type(self.layout.dimension)}
        for block in stream(self.server, ALL.format(table=self.layout.table), fields):
            yield block["row"].astype(np.int64), block["z"]["values"].astype(np.float32)

    def statement(self, points: Vectors, asked: Asked) -> tuple[Composed, dict[str, Any]]:
        """SQL and values for (number of the query, row_number, did_rank, the server's distance, z)."""
        head, rows, values = self._source(asked)
        graph = asked.strategy is Strategy.GRAPH
        far = ROUND if graph and asked.passing.rows is not None else 1
        values["limit"] = far * (asked.k or 0) + SPARE
        targets = self.layout.halved(points) if graph else _scaled(points, asked.metric, values)
        values["points"] = [text_of(target) for target in targets]
        key, kind = (SQL("h"), SQL("public.halfvec")) if graph else (SCALED, SQL("public.vector"))
        tie = SQL("" if graph else ", did_rank")
        return NEAREST.format(head=head, rows=rows, key=key, kind=kind, tie=tie), values

    def _chosen(self, k: int, metric: Weights, passing: Passing, exact: bool) -> Strategy:
        if min(k, passing.count) == 0:
            return Strategy.EMPTY
        if passing.count <= self.limits.subset_rows:
            return Strategy.SUBSET if passing.count < len(self) else Strategy.SCAN
        if exact or k > self.limits.large_k * passing.count or not metric.proportional(self.layout.weights):
            return Strategy.SCAN
        return Strategy.GRAPH

    @property
    def _rows(self) -> Composed:
        return TABLE.format(table=self.layout.table)

    def _source(self, asked: Asked) -> tuple[Composed, Composed, dict[str, Any]]:
        """What stands before a statement, where its rows come from, and the values of both."""
        passing, values = asked.passing, {"collections": asked.passing.collections}
        if passing.rows is None:
            return NOTHING, self._rows, values
        if asked.strategy is Strategy.SUBSET:
            listed = SUBSET.format(rows=LISTED.format(rows=self._rows))
            return listed, PASSING, values | {"rows": passing.rows}
        mask = np.zeros(len(self._codes), np.uint8)
        mask[passing.rows // self.layout.parts] = 1
        bits = np.packbits(mask, bitorder="little").tobytes()  # as get_bit counts them
        return NOTHING, MARKED.format(rows=self._rows), values | {"bits": bits, "parts": self.layout.parts}

    def _nearest(self, points: Vectors, asked: Asked) -> list[Near]:
        query, values = self.statement(points, asked)
        settings = {"work_mem": SUBSET_MEMORY} if asked.strategy is Strategy.SUBSET else {}
        if asked.strategy is Strategy.GRAPH:
            settings = FORCED | {"hnsw.ef_search": str(min(WIDEST, max(WIDTH, values["limit"])))}
        with self.server.reading(settings) as cursor:
            told = cursor.execute(query, values).fetchall()
        answers: list[list[tuple[Any, ...]]] = [[] for _ in points]
        for number, *row in told:
            answers[number - 1].append(tuple(row))
        return [self._near(rows, values["limit"]) for rows in answers]

    def _inside(self, point: Vectors, radius: float, asked: Asked) -> Near:
        """All rows that can be within the radius."""
        head, rows, values = self._source(asked)
        values["point"] = text_of(_scaled(point[None], asked.metric, values)[0])
        values["reach"] = _reach(radius, point, asked.metric)
        with self.server.reading() as cursor:
            told = cursor.execute(WITHIN.format(head=head, rows=rows, key=SCALED), values).fetchall()
        return self._near(told, None)

    def _near(self, told: Sequence[tuple[Any, ...]], limit: int | None) -> Near:
        rows, ranks, far, vectors = zip(*told, strict=True) if told else ((), (), (), ())
        return Near(
            np.array(rows, np.int64),
            np.array(ranks, np.int32),
            vectors_from(vectors, self.layout.dimension),
            far[-1] if len(far) == limit else np.inf,
        )

    def _checked(self, near: Near, point: Vectors, asked: Asked) -> Found:
        """In true order; asked again where the graph has too few, or where others can be as near."""
        k = asked.k or 0
        if asked.strategy is Strategy.GRAPH and len(near.rows) < min(k, asked.passing.count):
            return self.search(point[None], k, asked.metric, asked.passing, True)[0]
        found = self._found(near, point, asked)
        if asked.strategy is Strategy.GRAPH or near.beyond == np.inf:
            return found
        last = float(found.distance[-1])
        if near.beyond > _reach(last, point, asked.metric):
            return found
        return self._found(self._inside(point, last, asked), point, asked)

    def _found(self, near: Near, point: Vectors, asked: Asked) -> Found:
        """By (distance, rank of the DID), the distances being those of every other way to search.

        What pgvector compares on its way through a graph it does not tell: those it gave count as visited.
        """
        distance = distances(near.vectors, point, asked.metric)
        order = np.lexsort((near.ranks, distance))[: asked.k]
        exact = asked.strategy is not Strategy.GRAPH
        visited = asked.passing.count if exact else len(near.rows)
        plan = Plan(asked.strategy, len(self), asked.passing.count, visited, exact)
        return Found(near.rows[order], near.ranks[order], distance[order], plan)

    def _nothing(self, asked: Asked) -> Found:
        plan = Plan(Strategy.EMPTY, len(self), asked.passing.count, 0, True)
        return Found(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0), plan)


def _scaled(points: Vectors, metric: Weights, values: dict[str, Any]) -> Vectors:
    """Points (m, d) among which, and SCALED z, plain L2 is the metric."""
    scale = np.sqrt(metric.values).astype(np.float32)
    values["scale"] = text_of(scale)
    return points * scale


def _reach(distance: float, point: Vectors, metric: Weights) -> float:
    """No row that is truly within the distance has a greater one in the server's float32.

    Each z √w and q √w is off by at most a UNIT of itself, and ‖z √w‖ ≤ ‖q √w‖ + distance; the sum of d
    squares adds (d + 3) / 2 units.
    """
    size = float(np.sqrt((metric.values * point.astype(np.float64) ** 2).sum()))
    return distance + (len(point) + 8) * UNIT * (distance + size)
