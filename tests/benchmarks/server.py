"""Our side of a comparison: a release with tables of any size, served by processes that are watched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from encoder.collection import CollectionConfig
from index.releases import Releases
from registry_metadata.columns import Column, Table
from tests import synthetic
from tests.benchmarks.client import Service
from tests.conftest import write_config
from tests.serving import serving

ROWS = 200_000
FLOATS = tuple(f"f{place:02d}" for place in range(1, 18))
LARGE = "doppel.large"
TICK = os.sysconf("SC_CLK_TCK")
PLACE = (
    Column("id", "long", ucd="meta.id;meta.main"),
    Column("ra", "double", unit="deg", ucd="pos.eq.ra"),
    Column("dec", "double", unit="deg", ucd="pos.eq.dec"),
)


def wide_table() -> tuple[Table, pa.Table]:
    """The peer's table: an identifier, a position, 17 normally distributed numbers; by zones of the sky."""
    draw = np.random.default_rng(20240229)
    values = places(draw, ROWS)
    values |= {name: draw.normal(n, 1, ROWS).astype("f4") for n, name in enumerate(FLOATS, 1)}
    floats = [Column(name, "float", ucd="stat.value", description="A random number") for name in FLOATS]
    return Table("doppel.wide", "Random numbers", (*PLACE, *floats)), pa.table(values)


def large_table(rows: int) -> tuple[Table, pa.Table]:
    """Identifier, position, a number with NULLs, a class, a text."""
    draw = np.random.default_rng(7)
    values = places(draw, rows)
    flux = draw.normal(20, 3, rows).astype("f4")
    values["flux"] = pa.array(flux, mask=flux > 24)
    values["class"] = pa.array(draw.integers(0, 12, rows).astype("i4"))
    values["name"] = pc.binary_join_element_wise("object", values["id"].cast(pa.string()), " ")
    columns = (Column("flux", "float"), Column("class", "int"), Column("name", "char", "*"))
    return Table(LARGE, "Many rows", (*PLACE, *columns)), pa.table(values)


def places(draw: np.random.Generator, rows: int) -> dict[str, pa.Array]:
    """Identifiers and places all over the sky, in zones as our tables are."""
    ra, dec = draw.uniform(0, 360, rows), np.degrees(np.arcsin(draw.uniform(-1, 1, rows)))
    order = np.lexsort((ra, np.floor(2 * dec)))
    return {"id": pa.array(np.arange(rows)), "ra": pa.array(ra[order]), "dec": pa.array(dec[order])}


@contextmanager
def archive(large: int) -> Iterator[Path]:
    """The configuration of an archive whose release holds both tables."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        extra = (wide_table(), large_table(large))
        releases = Releases(directory / "releases")
        content = replace(synthetic.content(directory / "trained", 60), extra=extra)
        releases.publish(releases.write(content))
        yield write_config(directory, (CollectionConfig(name="first", path="."),))


@contextmanager
def served(config: Path, workers: int) -> Iterator[Service]:
    environment = {**os.environ, "DOPPEL_SERVICE_WORKERS": str(workers), "DOPPEL_LIMITS_SYNC_SECONDS": "600"}
    before = processes([os.getpid()])
    with serving(config, config.parent / "log", environment) as base:
        yield Service(f"{base}/tap", "doppel.wide", sorted(processes([os.getpid()]) - before))


def processes(roots: Sequence[int]) -> set[int]:
    """The processes and all below them."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu(roots: Sequence[int]) -> float:
    """Seconds that they have used, ended children included."""
    spent = 0
    for pid in processes(roots):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        spent += sum(map(int, fields[11:15]))
    return spent / TICK


def megabytes(roots: Sequence[int], key: str = "VmRSS") -> float:
    """Resident memory of the processes; VmHWM is the most since `forget_peak`."""
    status = (Path(f"/proc/{pid}/status").read_text() for pid in roots)
    lines = (line for one in status for line in one.splitlines() if line.startswith(key))
    return sum(int(line.split()[1]) for line in lines) / 1024


def forget_peak(roots: Sequence[int]) -> None:
    for pid in roots:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
