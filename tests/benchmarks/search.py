"""Recall and latency of the search: `python -m tests.benchmarks.search plain,filtered 270000 128`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index.vectors import VectorSet
from tests.index.mixture import Mixture

K = 10
SHARES = (0.5, 0.1, 0.03, 0.01, 0.001)
KINDS = ("random", "inside", "outside")

BUILD = """
import sys, time
from pathlib import Path
import numpy as np
from index.vectors import VectorSet
vectors = np.load(sys.argv[2], mmap_mode="r")
rows = np.arange(len(vectors))
began, used = time.perf_counter(), time.process_time()
VectorSet.build(Path(sys.argv[1]), rows, vectors, rows, np.ones(vectors.shape[1]))
wall, busy = time.perf_counter() - began, time.process_time() - used
status = Path("/proc/self/status").read_text().splitlines()
print(wall, busy, next(int(line.split()[1]) / 1000 for line in status if line.startswith("VmHWM")))
"""

Ids = NDArray[np.int64]
Reals = NDArray[np.float64]
Answer = Callable[..., Any]  # number of a query → rows, nearest first


def truth(
    data: Mixture, query: int, weights: NDArray[np.float64], among: Ids | None = None, k: int = K
) -> Ids:
    """Brute force: a quick float32 sieve, then float64 on what is left."""
    rows = np.arange(data.n) if among is None else among
    factors = weights.astype(np.float32)
    point = data.queries[query]
    rough = np.concatenate(
        [
            ((data.vectors[part] - point) ** 2) @ factors
            for part in np.array_split(rows, max(1, len(rows) // 8192))
        ]
    )
    near = rows[np.argpartition(rough, 3 * k)[: 3 * k]] if len(rows) > 3 * k else rows
    exact = ((data.vectors[near].astype(np.float64) - point) ** 2) @ weights
    return near[np.argsort(exact, kind="stable")[:k]]


def measured(name: str, answer: Answer, truths: Sequence[Ids]) -> None:
    """Print the median wall and processor times in ms and the recall; one warm-up query."""
    answer(0)
    times, recalls = [], []
    for query, wanted in enumerate(truths):
        begin, busy = time.perf_counter(), time.thread_time()
        rows = answer(query)
        times.append((time.perf_counter() - begin, time.thread_time() - busy))
        recalls.append(len(np.intersect1d(rows, wanted)) / max(1, len(wanted)))
    wall, processor = 1e3 * np.median(times, axis=0)
    print(
        f"| {name:50s} | {wall:8.3f} | {processor:8.3f} | {np.mean(recalls):.4f} | {min(recalls):.2f} |",
        flush=True,
    )


def header(title: str) -> None:
    print(f"\n{title}\n| {'':50s} | p50 ms | cpu ms | recall | worst |\n|---|---|---|---|---|", flush=True)


class Bench:
    """One synthetic set, built in `directory`; the default metric is plain L2."""

    def __init__(self, data: Mixture, queries: int, directory: Path) -> None:
        self.data, self.queries, self.directory = data, queries, directory
        self.weights = np.ones(data.d)
        self._build()
        sizes = {path.name: path.stat().st_size / data.n for path in sorted(directory.iterdir())}
        print("bytes per vector:", ", ".join(f"{name} {size:.1f}" for name, size in sizes.items()))
        faiss.omp_set_num_threads(1)
        begin, resident = time.perf_counter(), megabytes()
        self.set = VectorSet.open(directory)
        opened = time.perf_counter()
        self.set.search(data.queries[0], K, self.weights)
        first = time.perf_counter() - opened
        grown = megabytes() - resident
        print(
            f"open {1e3 * (opened - begin):.1f} ms, first query {1e3 * first:.1f} ms, "
            f"resident + {grown:.0f} MB"
        )

    def _build(self) -> None:
        """In a process of its own, from a file that is mapped, so that its memory can be told."""
        with tempfile.NamedTemporaryFile(suffix=".npy") as given:
            np.save(given, self.data.vectors)
            given.flush()
            asked = [sys.executable, "-c", BUILD, str(self.directory), given.name]
            told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
        wall, busy, most = map(float, told)
        print(
            f"\n## {self.data.n} × {self.data.d}: built in {wall:.1f} s, {self.data.n / wall:.0f} vectors/s; "
            f"{busy:.1f} s of processor, {self.data.n / busy:.0f} vectors per such second; "
            f"at most {most:.0f} MB resident, pages of mapped files included"
        )

    def truths(self, k: int = K, weights: Reals | None = None) -> list[Ids]:
        return [
            truth(self.data, i, self.weights if weights is None else weights, k=k)
            for i in range(self.queries)
        ]

    def search(self, query: int, k: int = K, **how: Any) -> Ids:
        return self.set.search(self.data.queries[query], k, how.pop("weights", self.weights), **how).rows

    def plain(self) -> None:
        """Beside the same faiss index called directly."""
        raw: Any = faiss.read_index(str(self.directory / "index.faiss"), faiss.IO_FLAG_MMAP_IFC)
        of_place = np.load(self.directory / "rows.npy")
        points = self.data.queries - np.load(self.directory / "metric.npy")[1].astype(np.float32)
        for k in (K, 100):
            header(f"plain, k = {k}")
            truths = self.truths(k)
            for nprobe in (8, 16, 32):
                raw.nprobe = nprobe
                measured(
                    f"raw faiss, nprobe {nprobe}",
                    lambda i, k=k: of_place[raw.search(points[i : i + 1], k)[1][0]],
                    truths,
                )
            measured("VectorSet", lambda i, k=k: self.search(i, k), truths)
            measured("VectorSet, exact", lambda i, k=k: self.search(i, k, exact=True), truths[:40])

    def filtered(self) -> None:
        """The fifteen cells."""
        header("filtered, k = 10; the plan is that of query 0")
        for name, among, truths in self._cells():
            plan = self.set.search(self.data.queries[0], K, self.weights, among=among[0]).plan
            measured(f"{name}: {plan.strategy}", lambda i, rows=among: self.search(i, among=rows[i]), truths)

    def graph(self) -> None:
        """The same cells beside an HNSW that fetches 3 k / share rows and drops those that do not pass, and
        the same lists searched by faiss alone: 16 of them, with a bitmap of what passes."""
        graph: Any = faiss.IndexHNSWFlat(self.data.d, 16)
        graph.hnsw.efConstruction = 100
        faiss.omp_set_num_threads(2)
        graph.add(self.data.vectors)
        faiss.omp_set_num_threads(1)
        raw: Any = faiss.read_index(str(self.directory / "index.faiss"), faiss.IO_FLAG_MMAP_IFC)
        of_place = np.load(self.directory / "rows.npy")
        points = self.data.queries - np.load(self.directory / "metric.npy")[1].astype(np.float32)
        header("filtered, k = 10: ours, over-fetching HNSW, and raw IVF")
        for name, among, truths in self._cells():
            wanted = min(round(3 * K * self.data.n / len(among[0])), 10_000)
            masks = [np.packbits(np.isin(of_place, rows), bitorder="little") for rows in among]
            plan = self.set.search(self.data.queries[0], K, self.weights, among=among[0]).plan
            measured(f"{name}: {plan.strategy}", lambda i, rows=among: self.search(i, among=rows[i]), truths)
            measured(
                f"{name}: HNSW, {wanted} fetched",
                lambda i, rows=among, n=wanted: over_fetch(graph, self.data.queries[i], n, rows[i]),
                truths,
            )
            measured(
                f"{name}: raw IVF, 16 lists",
                lambda i, bits=masks: of_place[bounded(raw, points[i], bits[i])],
                truths,
            )

    def _cells(self) -> Iterator[tuple[str, list[Ids], list[Ids]]]:
        for kind in KINDS:
            for share in SHARES:
                among = [self.data.passing(kind, share, i) for i in range(self.queries)]
                truths = [truth(self.data, i, self.weights, rows) for i, rows in enumerate(among)]
                yield f"{kind} {share:.1%}", among, truths

    def weighted(self) -> None:
        header("weighted, k = 10; the plan is that of query 0")
        d, r = self.data.d, np.random.default_rng(5)
        spread = self.data.vectors.std(axis=0)
        quarters = np.array_split(np.argsort(-spread), 4)
        cases = {"log-normal, sigma 1": r.lognormal(0, 1, d), "log-normal, sigma 2": r.lognormal(0, 2, d)}
        for number, quarter in enumerate(quarters):
            cases[f"without quarter {number} of the latents"] = np.where(
                np.isin(np.arange(d), quarter), 0.0, 1.0
            )
        cases["only quarter 3"] = np.where(np.isin(np.arange(d), quarters[3]), 1.0, 0.0)
        cases["only the half of least spread"] = np.where(
            np.isin(np.arange(d), np.concatenate(quarters[2:])), 1.0, 0.0
        )
        cases["only one latent"] = np.eye(d)[0]
        for name, weights in cases.items():
            plan = self.set.search(self.data.queries[0], K, weights).plan
            measured(
                f"{name}: {plan.strategy}",
                lambda i, w=weights: self.search(i, weights=w),
                self.truths(weights=weights),
            )

    def radius(self) -> None:
        header("radius that holds 10, 100, 1000 rows; recall 1 = the set of brute force")
        for size in (10, 100, 1000):
            truths = self.truths(size)
            radii = [
                float(
                    np.sqrt(((self.data.vectors[rows[-1]].astype(float) - self.data.queries[i]) ** 2).sum())
                )
                for i, rows in enumerate(truths)
            ]
            found = [
                self.set.within(self.data.queries[i], radii[i], self.weights) for i in range(self.queries)
            ]
            seen = np.mean([matches.plan.n_visited for matches in found]) / self.data.n
            measured(
                f"{size} rows, {seen:.1%} of all read",
                lambda i, r=radii: self.set.within(self.data.queries[i], r[i], self.weights).rows,
                truths,
            )

    def batch(self) -> None:
        """Many references at once, as a join asks."""
        queries = np.resize(self.data.queries, (500, self.data.d))
        drawn = np.random.default_rng(5).lognormal(0, 1, self.data.d)
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            for name, n, weights, exact in (
                ("default metric", 500, self.weights, False),
                ("own weights", 500, drawn, False),
                ("exact", 50, self.weights, True),
            ):
                begin = time.perf_counter()
                self.set.search_batch(queries[:n], K, weights, exact=exact)
                print(f"batch of {n}, {name}, {threads} threads: {time.perf_counter() - begin:.2f} s")
        faiss.omp_set_num_threads(1)

    def append(self) -> None:
        """Ten thousand rows more as a segment, and as many removed."""
        extra = Mixture(10_000, self.data.d, 1, seed=9)
        rows = np.arange(self.data.n, self.data.n + extra.n)
        with tempfile.TemporaryDirectory() as directory:
            begin = time.perf_counter()
            VectorSet.build(Path(directory), rows, extra.vectors, rows, self.weights)
            whole = VectorSet.open(self.directory, [Path(directory)], removed=rows - extra.n)
            print(f"append 10,000 and remove 10,000: {time.perf_counter() - begin:.2f} s")
            header("searched with the segment, k = 10")
            truths = [
                whole.search(q, K, self.weights, exact=True).rows for q in self.data.queries[: self.queries]
            ]
            measured("plain", lambda i: whole.search(self.data.queries[i], K, self.weights).rows, truths)


def bounded(raw: Any, point: NDArray[np.float32], bits: NDArray[np.uint8]) -> Ids:
    """Places of the nearest in 16 lists whose bit is set."""
    passing = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]
    how = faiss.SearchParametersIVF(sel=passing, nprobe=16)  # type: ignore[call-arg]
    found: Ids = raw.search(point[None], K, params=how)[1][0]
    return found[found >= 0]


def over_fetch(graph: Any, query: NDArray[np.float32], wanted: int, among: Ids) -> Ids:
    how = faiss.SearchParametersHNSW(efSearch=max(160, wanted))  # type: ignore[attr-defined]
    rows = graph.search(query[None], wanted, params=how)[1][0]
    rows = rows[rows >= 0]
    places = np.searchsorted(among, rows).clip(max=len(among) - 1)
    passed: Ids = rows[among[places] == rows]
    return passed[:K]


def megabytes() -> float:
    """Resident memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def growth(d: int, queries: int) -> None:
    """From 0.27 to 5 million rows."""
    for n in (270_000, 1_000_000, 2_500_000, 5_000_000):
        with tempfile.TemporaryDirectory() as directory:
            Bench(Mixture(n, d), queries, Path(directory)).plain()


def main() -> None:
    steps = ("plain", "filtered", "graph", "weighted", "radius", "batch", "append")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", help=f"comma-separated, of {', '.join(steps)}, or 'growth'")
    parser.add_argument("n", type=int)
    parser.add_argument("d", type=int)
    parser.add_argument("--queries", type=int, default=100)
    asked = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if asked.steps == "growth":
        growth(asked.d, asked.queries)
        return
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Mixture(asked.n, asked.d), asked.queries, Path(directory))
        for step in asked.steps.split(","):
            getattr(bench, step)()


if __name__ == "__main__":
    main()
