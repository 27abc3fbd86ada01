"""An archive of rows without pixels: 300 spectra, two models; the vectors of `halpha` are coarse and tie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.engines.engine import EngineLimits
from index.release import OpenRelease
from index.releases import Releases
from tests import synthetic

REFERENCE = "ivo://doppel.example/first?syn-0001"
WITH_Q3C = (
    "test_adql.py",
    "test_fuzz.py",
    "test_geometry.py",
    "test_regions.py",
    "test_vectors.py",
    "test_an_answer_is_as_written",
)
OUTSIDE = "ivo://doppel.example/second?syn-0010"  # covers too little: no embedding


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two engines run everything; the server with q3c what it can answer in another way."""
    items[:] = [
        item for item in items if "[q3c" not in item.name or any(name in item.nodeid for name in WITH_Q3C)
    ]


@pytest.fixture(scope="session")
def archives(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], OpenRelease]]:
    """The same archive by the name of its engine: embedded, or on one of two PostgreSQL servers."""
    opened: dict[str, OpenRelease] = {}

    def archive(engine: str) -> OpenRelease:
        if engine not in opened:
            database = request.getfixturevalue(f"{engine}_server") if engine != "duckdb" else ""
            opened[engine] = archive_in(tmp_path_factory.mktemp("query"), database)
        return opened[engine]

    yield archive
    for each in opened.values():
        each.close()


@pytest.fixture(scope="session", params=["duckdb", "pgvector", "q3c"])
def archive(request: pytest.FixtureRequest, archives: Callable[[str], OpenRelease]) -> OpenRelease:
    """That archive on each engine in turn."""
    return archives(request.param)


def archive_in(root: Path, database: str) -> OpenRelease:
    content = synthetic.content(root / "trained")
    optical, halpha = content.models
    coarse = replace(
        halpha.embeddings, vectors=np.round(halpha.embeddings.vectors / 1.5).astype(np.float32) * 1.5
    )
    content = replace(content, models=[optical, replace(halpha, embeddings=coarse)])
    releases = Releases(root / "releases", database)
    releases.publish(releases.write(content))
    return OpenRelease.open(releases.current(), EngineLimits(database=database))
