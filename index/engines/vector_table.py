"""The table of vectors on a server: its names, what it tells of itself, and its rows as they are sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.sql import SQL, Composable, Identifier

from index.distance import Vectors, Weights
from index.engines.vector_server import VectorServer

LARGEST_HALF = 65_504.0
BLOCK = 16_384  # rows handled at a time
HEADER = 19  # bytes before the rows of a binary copy
COMMENT = SQL("""SELECT obj_description(c.oid, 'pg_class')
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s""")


@dataclass(frozen=True)
class Layout:
    """What a table tells of itself, in its comment."""

    release: str
    model: str
    part: int  # it holds the rows of which row number modulo `parts` is this
    parts: int
    collections: Sequence[str]  # each in a partition of its own
    metric: Sequence[float]  # (d,) weights of the graph
    centre: Sequence[float]  # (d,) that its vectors are taken from

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def dimension(self) -> int:
        return len(self.metric)

    @cached_property
    def weights(self) -> Weights:
        return Weights.of(self.metric, self.dimension)

    @property
    def schema(self) -> str:
        return schema_of(self.release)

    @property
    def name(self) -> str:
        return name_of(self.model, self.part, self.parts)

    @property
    def table(self) -> Identifier:
        return Identifier(self.schema, self.name)

    def partition(self, code: int) -> Identifier:
        """The table of one collection."""
        return Identifier(self.schema, f"{self.name}.{code}")

    @property
    def directory(self) -> Identifier:
        """The table that says which rows there are, of which collection: so that a set is opened at once."""
        return Identifier(self.schema, f"{self.name}.rows")

    def halved(self, vectors: Vectors) -> NDArray[np.float16]:
        """(n, d) latents → (n, kept) in which plain L2 is the metric; cut to what float16 holds."""
        offsets = self.weights.taken(vectors) - self.weights.taken(np.array(self.centre, np.float32))
        offsets *= self.weights.scale
        return offsets.clip(-LARGEST_HALF, LARGEST_HALF).astype(np.float16)


def schema_of(release: str) -> str:
    return f"release_{release}"


def name_of(model: str, part: int, parts: int) -> str:
    """`vectors_optical 2/3`: other parts may lie beside it, while servers are added."""
    return f"vectors_{model} {part + 1}/{parts}"


def layout_of(server: VectorServer, release: str, model: str) -> Layout:
    """ServerMissing where the server has not this release, or not this part of it."""
    name = name_of(model, server.number, server.count)
    with server.reading() as cursor:
        cursor.execute(COMMENT, (schema_of(release), name))
        told = cursor.fetchall()
    if not told:
        raise server.missing(
            f"has no {name} of release {release}; doppel publish brings it there,"
            " to the servers in the order of [index] vectors"
        )
    return Layout(**json.loads(told[0][0]))


# --- rows on the wire ---


def vector_type(dimension: int, number: str = ">f4") -> np.dtype[Any]:
    """pgvector's own form of a vector; of float16 a halfvec."""
    return np.dtype([("dimension", ">i2"), ("unused", ">i2"), ("values", number, (dimension,))])


def record(fields: Mapping[str, Any]) -> np.dtype[Any]:
    """A row of a binary copy whose columns all have a fixed size."""
    columns = [(name, np.dtype(kind)) for name, kind in fields.items()]
    sized = [item for name, kind in columns for item in ((f"size of {name}", ">i4"), (name, kind))]
    return np.dtype([("columns", ">i2"), *sized])


def packed(kind: np.dtype[Any], columns: Mapping[str, Any], n: int) -> bytes:
    """`n` rows of `record`; a vector's column gets its values."""
    rows = np.zeros(n, kind)
    rows["columns"] = len(columns)
    for name, values in columns.items():
        field = rows[name]
        rows[f"size of {name}"] = field.dtype.itemsize
        if field.dtype.names:
            field["dimension"] = field.dtype["values"].shape[0]
            field["values"] = values
        else:
            rows[name] = values
    return rows.tobytes()


def stream(server: VectorServer, query: Composable, fields: Mapping[str, Any]) -> Iterator[NDArray[Any]]:
    """The rows of a query with columns of fixed size, block by block, by a binary copy."""
    kind = record(fields)
    asked = SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)
    with server.reading(long=True) as cursor, cursor.copy(asked) as copy:
        pending, skip = bytearray(), HEADER
        for message in copy:
            pending += message
            if len(pending) - skip >= BLOCK * kind.itemsize:
                yield _rows(pending, skip, kind)
                pending, skip = pending[skip + BLOCK * kind.itemsize :], 0
        yield _rows(pending, skip, kind)


def _rows(data: bytearray, skip: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """As many whole rows as there are, at most a block."""
    count = min(BLOCK, max(len(data) - skip, 0) // kind.itemsize)
    return np.frombuffer(bytes(data), kind, count, skip)


def vectors_from(told: Sequence[bytes], dimension: int) -> Vectors:
    """Vectors (n, d) that came one by one."""
    found = np.frombuffer(b"".join(told), vector_type(dimension))["values"]
    return found.astype(np.float32).reshape(len(told), dimension)


def text_of(values: NDArray[np.floating]) -> str:
    """A vector as pgvector reads it; float32 comes through unchanged."""
    return "[" + ",".join(map(repr, values.astype(np.float32).tolist())) + "]"
