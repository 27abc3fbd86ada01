"""The one distance: weighted L2 between float32 vectors, computed in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 4096  # rows at a time: temporaries stay in the cache

Vectors = NDArray[np.float32]
Reals = NDArray[np.float64]
Ids = NDArray[np.int64]


def distances(vectors: Vectors, query: Vectors, weights: Reals) -> Reals:
    """sqrt(Σ w (q − z)²) of every row; `vectors` (n, d), `query` and `weights` (d,), result (n,).

    A row's number does not depend on which other rows are asked with it, so every path of a search
    gives bit-equal distances.
    """
    kept = np.flatnonzero(weights)
    centre, factors = query[kept].astype(np.float64), weights[kept]
    result = np.empty(len(vectors))
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        block = block if len(kept) == len(weights) else block[:, kept]
        squares = np.subtract(block, centre, dtype=np.float64)
        squares *= squares
        squares *= factors
        result[start : start + BLOCK] = squares.sum(axis=1)
    return np.sqrt(result, out=result)
