"""How large an archive becomes: `python deploy/sizing.py` multiplies bytes per spectrum that were measured.

The table of deploy/README.md is what this prints; a test compares them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

SIZES = (10**6, 10**7, 10**8, 10**9)  # spectra
LATENTS = 32
TABLES = {  # bytes per spectrum with indexes, 32 latents, PostgreSQL 18.4
    "doppel.spectra": 1193,
    "ivoa.obscore": 810,
    "internal.facts": 351,
    "doppel.<model>": 677,
}
ROWS, GRAPH = (
    {32: 294, 128: 950},
    {32: 369, 128: 571},
)  # by latents: float32, float16 and key; HNSW of float16
DUCKDB, IDENTIFIERS = 945, 52  # the same tables in DuckDB's file; mapped identifiers
FILES, LISTS = 356, 73  # vectors in the files of a release, and of these the lists of float16
MEMORY = 128e9  # bytes of one server of vectors
FOR_PAGES = 0.75  # of it hold tables and graphs
AT_ONCE = 2  # releases on disk while a new one is published
GRAPHED = (
    1_300  # vectors per second and core that go into a graph of 128 latents (notes; fewer latents: more)
)
CORES = 32  # that build it


def between(measured: Mapping[int, float], latents: int) -> float:
    """Bytes on the line through what was measured."""
    (x0, y0), (x1, y1) = sorted(measured.items())
    return y0 + (y1 - y0) * (latents - x0) / (x1 - x0)


def vectors(latents: int = LATENTS) -> float:
    """Bytes per spectrum in pgvector."""
    return between(ROWS, latents) + between(GRAPH, latents)


def servers(n: float) -> int:
    """Of vectors, so that graphs and vectors stay in memory."""
    return math.ceil(n * vectors() / (MEMORY * FOR_PAGES))


def size(n_bytes: float) -> str:
    for unit, one in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= one:
            return f"{n_bytes / one:.{0 if n_bytes >= 9.95 * one else 1}f} {unit}"
    return f"{n_bytes:.0f} bytes"


def minutes(n: float) -> str:
    """All servers work at the same time."""
    return f"{n / servers(n) / GRAPHED / CORES / 60:.0f} min"


def embedded(n: float) -> list[str]:
    """One machine, nothing but the files of a release."""
    return [size(n * (DUCKDB + FILES)), size(AT_ONCE * n * (DUCKDB + FILES)), size(n * (LISTS + IDENTIFIERS))]


def served(n: float) -> list[str]:
    """PostgreSQL: one server of tables, some of vectors."""
    share = n / servers(n) * vectors()
    tables = AT_ONCE * n * sum(TABLES.values())
    return [size(tables), str(servers(n)), size(share), size(AT_ONCE * share), minutes(n), size(2 * n)]


EMBEDDED = ["spectra", "files of a release", "disk for two", "memory for lists and identifiers"]
SERVED = [
    "spectra",
    "disk of the tables",
    "servers of vectors",
    "memory for vectors and graphs, each",
    "disk, each",
    "building the graphs",
    "memory of a worker for row numbers",
]


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def sheet() -> str:
    names = ["1 M", "10 M", "100 M", "1 G"]
    small = [[name, *embedded(n)] for name, n in zip(names, SIZES, strict=True)]
    large = [[name, *served(n)] for name, n in zip(names, SIZES, strict=True)]
    return f"{table(EMBEDDED, small)}\n\n{table(SERVED, large)}\n"


if __name__ == "__main__":
    print(sheet(), end="")
