"""Vectors of tests on PostgreSQL servers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np
from numpy.typing import ArrayLike

from index.engines.pgvector import LIMITS
from index.engines.pgvector_load import Source, VectorReleases
from index.engines.vector_server import PATIENCE, servers
from index.engines.vector_shards import VectorShards
from index.strategy import Limits

RELEASE, MODEL = "r1", "optical"


def source(
    rows: ArrayLike, vectors: ArrayLike, ranks: ArrayLike, metric: ArrayLike, collections: Sequence[str]
) -> Source:
    """Rows go to the collections in turn."""
    numbers = np.asarray(rows, np.int64)
    names = np.array(collections)[np.arange(len(numbers)) % len(collections)]
    matrix, order = np.asarray(vectors, np.float32), np.asarray(ranks, np.int32)
    return Source(numbers, matrix, order, names, metric)


def loaded(
    uris: Sequence[str], given: Source, limits: Limits = LIMITS, patience: float = PATIENCE
) -> VectorShards:
    """The vectors of the release RELEASE, loaded and opened."""
    with closing(VectorReleases.of(uris)) as releases:
        releases.load_model(RELEASE, MODEL, given)
    return VectorShards.open(servers(uris, patience), RELEASE, MODEL, limits)
