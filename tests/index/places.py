"""Twenty thousand vectors that tests search, the ways to keep them, and brute force to compare with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.strategy import Limits
from index.vectors import VectorSet
from tests.index.mixture import Mixture

DATA = Mixture(20_000, 16, n_queries=40)
ROWS = 3 * np.arange(DATA.n) + 5  # a release embeds some of its rows only
RANKS = np.random.default_rng(3).permutation(DATA.n)
DEFAULT = np.r_[np.ones(12), np.zeros(4)]  # the last block is left out by default
OWN = np.random.default_rng(4).lognormal(0, 1, DATA.d)
FEW = np.r_[np.zeros(13), 1.0, 2.0, 0.0]
WEIGHTS = pytest.mark.parametrize("weights", [DEFAULT, OWN, FEW], ids=["default", "own", "few"])
EXACT = pytest.mark.parametrize("exact", [False, True], ids=["quick", "exact"])
SMALL = Limits(subset_rows=500)  # so that twenty thousand rows take every path


def flat(directory: Path) -> VectorSet:
    """So few rows by its limits that it has no lists."""
    return VectorSet.build(directory, ROWS, DATA.vectors, RANKS, DEFAULT, limits=Limits(subset_rows=10**6))


def listed(directory: Path) -> VectorSet:
    return VectorSet.build(directory, ROWS, DATA.vectors, RANKS, DEFAULT, limits=SMALL)


def segmented(directory: Path) -> VectorSet:
    """The last tenth was appended, and only what was built has lists for own weights too."""
    main, late = slice(0, 18_000), slice(18_000, None)
    for name, part, others in (("main", main, [OWN]), ("late", late, [])):
        given = ROWS[part], DATA.vectors[part], RANKS[part], DEFAULT, others
        VectorSet.build(directory / name, *given, limits=SMALL)
    return VectorSet.open(directory / "main", [directory / "late"], limits=SMALL)


def brute(
    query: NDArray[np.float32], k: int, weights: NDArray[np.float64], among: NDArray[np.int64] = ROWS
) -> NDArray[np.int64]:
    places = np.searchsorted(ROWS, among)
    squares = ((DATA.vectors[places].astype(np.float64) - query) ** 2 * weights).sum(axis=1)
    return among[np.lexsort((RANKS[places], squares))[:k]]


def recall(rows: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    return len(np.intersect1d(rows, wanted)) / len(wanted)
