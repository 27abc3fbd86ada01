"""A large release of vectors made elsewhere: built, opened cold, searched, appended to, thinned out.

`python -m tests.benchmarks.life 1000000 32 DIRECTORY`; what was built in DIRECTORY is built once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from index.append import append, remove
from index.build import build
from index.release import OpenRelease
from index.releases import Releases
from index.settings import BuildPlan
from service.config import Config
from tests.index.mixture import Mixture

MORE = 10_000
K = 10
CONFIG = """
[archive]
authority = "doppel.example"
[[collection]]
name = "big"
path = "facts.parquet"
reader = "none"
[[model]]
name = "elsewhere"
kind = "external"
vectors = "vectors"
"""
OPEN = """
import sys, time
from pathlib import Path
from index.release import OpenRelease
began, used = time.perf_counter(), time.process_time()
release = OpenRelease.open(Path(sys.argv[1]))
release.models["elsewhere"].vectors.vector(5)
print(1e3 * (time.perf_counter() - began), 1e3 * (time.process_time() - used))
"""


@contextmanager
def clocked(what: str) -> Iterator[None]:
    began, used = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    print(f"{what}: {wall:.2f} s, {cpu:.2f} s of processor, load {os.getloadavg()[0]:.1f}", flush=True)


def facts(n: int) -> pa.Table:
    """The first rows are the same for every `n`."""
    number = np.arange(n)
    columns = {
        "spectrum_id": [f"S{one:08d}" for one in range(n)],
        "object": [f"DR {one // 2}" for one in range(n)],
        "ra_deg": (number * 137.507764) % 360.0,
        "dec_deg": (number * 61.803399) % 180.0 - 90.0,
        "mjd": 50_000.5 + number % 10_000,
        "teff": 3500.0 + number % 5_500,
        "object_class": ["star"] * n,
    }
    return pa.table(columns)


def write_vectors(path: Path, ids: pa.ChunkedArray, vectors: NDArray[np.float32]) -> None:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table({"spectrum_id": ids, "vector": lists}), path)


def prepare(directory: Path, n: int, d: int) -> BuildPlan:
    """A release of `n` spectra, and files in which there are more."""
    config = directory / "doppel.toml"
    plan = Config.read(config, {}).plan if config.exists() else None
    if plan is None:
        directory.mkdir(parents=True, exist_ok=True)
        parquet.write_table(facts(n), directory / "facts.parquet")
        write_vectors(directory / "vectors" / "first.parquet", facts(n)["spectrum_id"], Mixture(n, d).vectors)
        config.write_text(CONFIG, encoding="utf-8")
        plan = Config.read(config, {}).plan
        with clocked(f"build {n} x {d}"):
            build(plan)
    return plan


def offer_more(directory: Path, n: int, d: int) -> None:
    """MORE rows at the end of the facts, and their vectors in a file of their own."""
    every = facts(n + MORE)
    parquet.write_table(every, directory / "facts.parquet")
    vectors = Mixture(MORE, d, seed=9).vectors
    write_vectors(directory / "vectors" / "more.parquet", every["spectrum_id"].slice(n), vectors)


def opened(path: Path, times: int = 7) -> None:
    """In a process of its own each time, the files dropped from the memory of the system before."""
    found = []
    for _ in range(times):
        for file in path.rglob("*"):
            if file.is_file():
                with file.open("rb") as stream:
                    os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        told = subprocess.run(
            [sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, check=True
        )
        found.append([float(one) for one in told.stdout.split()])
    wall, cpu = (statistics.median(one) for one in zip(*found, strict=True))
    print(f"open cold and find a vector: {wall:.0f} ms, {cpu:.0f} ms of processor, medians of {times}")


def searched(path: Path, d: int) -> None:
    """Plain search beside the truth, which the same set gives exactly."""
    with closing(OpenRelease.open(path)) as release:
        vectors, weights = release.models["elsewhere"].vectors, np.ones(d)
        queries = Mixture(1, d, n_queries=101).queries
        truths = [vectors.search(query, K, weights, exact=True).rows for query in queries]
        times, recalls = [], []
        for query, truth in zip(queries, truths, strict=True):
            began = time.thread_time()
            found = vectors.search(query, K, weights)
            times.append(time.thread_time() - began)
            recalls.append(len(np.intersect1d(found.rows, truth)) / K)
        sql = "SELECT ssa_pubdid, teff FROM release.doppel.spectra WHERE teff BETWEEN 5600 AND 5601 LIMIT 10"
        print(
            f"search {len(vectors)} by {found.plan.strategy}: {1e3 * statistics.median(times):.2f} ms of"
            f" processor, recall {np.mean(recalls):.4f}, worst {min(recalls):.1f}; rows by teff"
            f" {1e3 * _median(lambda: release.engine.rows(sql)):.1f} ms"
        )


def _median(ask: Callable[[], object]) -> float:
    times = []
    for _ in range(15):
        began = time.process_time()
        ask()
        times.append(time.process_time() - began)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int)
    parser.add_argument("d", type=int)
    parser.add_argument("directory", type=Path)
    asked = parser.parse_args()
    plan = prepare(asked.directory, asked.n, asked.d)
    releases = Releases(plan.releases)
    look = [lambda: opened(releases.current()), lambda: searched(releases.current(), asked.d)]
    for step in look:
        step()
    offer_more(asked.directory, asked.n, asked.d)
    with clocked(f"append {MORE}"):
        print(append(plan).seconds)
    for step in look:
        step()
    gone = [f"ivo://doppel.example/big?S{one:08d}" for one in range(0, asked.n, asked.n // MORE)]
    with clocked(f"remove {len(gone)}"):
        remove(plan, gone)
    for step in look:
        step()
    with clocked("verify"):
        assert not releases.verify(releases.current().name)


if __name__ == "__main__":
    main()
