"""The arrays of a set of vectors as files: written a block at a time, so that a build needs little memory."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from index.distance import Ids, Vectors
from index.lists import Lists

WRITTEN = 65_536  # rows at a time


def save_arrays(
    directory: Path, rows: Ids, vectors: Vectors, did_rank: NDArray[Any], order: Ids, listed: bool
) -> None:
    """Write the arrays of a part in list order; `order` (n,) is the index in `rows` at every place.

    A part with lists finds their offsets.npy there, and gets what is to be known of them, and its columns.
    """
    first, last = (int(rows[0]), int(rows[-1])) if len(rows) else (0, -1)
    position = np.full(last - first + 1, -1, dtype=np.int64)
    position[rows[order] - first] = np.arange(len(rows))
    np.save(directory / "position.npy", position)
    np.save(directory / "rows.npy", rows[order])
    np.save(directory / "did_rank.npy", did_rank[order])
    _write_vectors(directory / "vectors.npy", vectors, order)
    let_go(vectors)
    if listed:
        in_lists = np.load(directory / "vectors.npy", mmap_mode="r")
        _write_columns(directory / "columns.npy", in_lists)
        Lists.describe(in_lists, np.load(directory / "offsets.npy")).save(directory)


def let_go(array: NDArray[Any]) -> None:
    """Takes what was read of a mapped file out of this process's memory; it is read again when it is used."""
    found: Any = array
    while isinstance(found, np.ndarray):
        if isinstance(found, np.memmap) and found.mode == "r" and isinstance(found.base, mmap.mmap):
            found.base.madvise(mmap.MADV_DONTNEED)
        found = found.base


def _write_vectors(path: Path, vectors: Vectors, order: Ids) -> None:
    """Rows (n, d) in `order`."""
    with path.open("wb") as stream:
        _write_header(stream, vectors.shape)
        for start in range(0, len(order), WRITTEN):
            stream.write(vectors[order[start : start + WRITTEN]].data)


def _write_columns(path: Path, vectors: Vectors) -> None:
    """Columns (d, n); never mapped, since what was written would stay in memory."""
    n_rows, dimension = vectors.shape
    with path.open("wb") as stream:
        _write_header(stream, (dimension, n_rows))
        begin = stream.tell()
        for start in range(0, n_rows, WRITTEN):
            for number, column in enumerate(np.ascontiguousarray(vectors[start : start + WRITTEN].T)):
                stream.seek(begin + column.itemsize * (number * n_rows + start))
                stream.write(column.data)


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    """Of an .npy file of float32."""
    described = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, described)
