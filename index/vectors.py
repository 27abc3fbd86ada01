"""The vectors of one model in one release: nearest rows under conditions, by any weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from index.arrays import save_arrays
from index.distance import LARGEST, Ids, Reals, Vectors, Weights, squares, usable
from index.lists import Bitmap
from index.nearest import Found, Nearest, Question
from index.part import Hits, Part
from index.strategy import Limits

TRAINED_PER_LIST = 40  # rows that k-means sees per list
CHUNK = 65_536  # rows handled at a time while building
OTHER = "lists-"  # directories of the same rows in lists for other metrics begin with it


@dataclass(frozen=True)
class FaissCodes:
    """fp16 copies in inverted lists, of (z − centre) · sqrt(weight) for the latents that carry weight."""

    index: Any  # faiss.IndexIVF
    metric: Weights  # of d latents
    centre: Reals  # (d,)

    @cached_property
    def _origin(self) -> Vectors:
        return self.metric.taken(self.centre.astype(np.float32))

    @cached_property
    def _quantizer(self) -> Any:
        return self.index.quantizer

    def coordinates(self, vectors: Vectors) -> Vectors:
        """(n, d) latents → (n, kept) float32 in which plain L2 is the default metric."""
        offsets = self.metric.taken(vectors) - self._origin
        offsets *= self.metric.scale
        return offsets

    def nearest(self, queries: Vectors, n_lists: int, k: int) -> tuple[Ids, Ids]:
        points, shape = self.coordinates(queries), (len(queries), n_lists)
        remoteness, lists = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.int64)
        self._quantizer.search_c(
            len(points),
            *(faiss.swig_ptr(points), n_lists, faiss.swig_ptr(remoteness), faiss.swig_ptr(lists)),
        )
        return self._search(points, lists, remoteness, k, _parameters(n_lists))[1], lists

    def search(self, query: Vectors, lists: Ids, k: int, bitmap: Bitmap | None) -> tuple[Vectors, Ids]:
        selector = None if bitmap is None else faiss.IDSelectorBitmap(bitmap)  # type: ignore[call-arg, arg-type]
        how = faiss.SearchParametersIVF(sel=selector, nprobe=len(lists))  # type: ignore[call-arg]
        remoteness = np.zeros((1, len(lists)), dtype=np.float32)
        lists = np.ascontiguousarray(lists[None])
        near, places = self._search(self.coordinates(query[None]), lists, remoteness, k, how)
        return near[0], places[0]

    def squares(self, vectors: Vectors, query: Vectors, weights: Weights, places: Ids) -> Vectors:
        if not weights.uniform:
            return squares(vectors, query, weights, places)
        result, places = np.empty(len(places), dtype=np.float32), np.ascontiguousarray(places)
        query, vectors = np.ascontiguousarray(query), np.ascontiguousarray(vectors)
        faiss.fvec_L2sqr_by_idx(  # type: ignore[attr-defined]
            *(faiss.swig_ptr(result), faiss.swig_ptr(query), faiss.swig_ptr(vectors)),
            *(faiss.swig_ptr(places), len(query), 1, len(places)),
        )
        result *= weights.single[0]
        return result

    def _search(
        self, points: Vectors, lists: Ids, remoteness: Vectors, k: int, how: Any
    ) -> tuple[Vectors, Ids]:
        """The wrapper's `search_preassigned` takes no parameters, the method beneath it does."""
        n = len(points)
        near, places = np.empty((n, k), dtype=np.float32), np.empty((n, k), dtype=np.int64)
        self.index.search_preassigned_c(
            n,
            *(faiss.swig_ptr(points), k, faiss.swig_ptr(lists), faiss.swig_ptr(remoteness)),
            *(faiss.swig_ptr(near), faiss.swig_ptr(places), False, how),
        )
        return near, places


@lru_cache(maxsize=64)
def _parameters(n_lists: int) -> Any:
    return faiss.SearchParametersIVF(nprobe=n_lists)  # type: ignore[call-arg]


class VectorSet(Nearest):
    """A directory of vectors opened for search, with the segments appended to it since it was built."""

    def __init__(
        self, parts: Sequence[Part], dids_of: Callable[[Ids], pa.ChunkedArray] | None = None
    ) -> None:
        super().__init__(int(parts[0].vectors.shape[1]))
        self._parts, self._dids_of = tuple(parts), dids_of

    @classmethod
    def build(
        cls,
        directory: Path,
        rows: ArrayLike,
        vectors: ArrayLike,
        did_rank: ArrayLike,
        weights: ArrayLike,
        others: Sequence[ArrayLike] = (),
        *,
        limits: Limits = Limits(),  # noqa: B008 — frozen
        seed: int = 0,
    ) -> VectorSet:
        """Write the set of `vectors` (n, d) for ascending `rows` (n,) into `directory`, and open it.

        `did_rank` (n,) orders rows of equal distance; `weights` (d,) is the default metric as `parse_space`
        gives it: the lists are made for it. Each of `others` is a metric that gets lists of its own besides,
        and copies of all vectors in their order. Vectors that are not finite are refused by row.
        """
        row_numbers = np.asarray(rows, dtype=np.int64)
        matrix, ranks = np.asarray(vectors, dtype=np.float32), np.asarray(did_rank)
        _check_rows(row_numbers, matrix, ranks)
        listed = len(matrix) > limits.subset_rows
        metrics = [Weights.of(one, matrix.shape[1]) for one in (weights, *(others if listed else ()))]
        for number, metric in enumerate(metrics):
            path = directory / f"{OTHER}{number}" if number else directory
            path.mkdir(parents=True, exist_ok=True)
            order = _build_lists(path, matrix, metric, seed) if listed else np.arange(len(matrix))
            save_arrays(path, row_numbers, matrix, ranks, order, listed)
            if listed:
                np.save(path / "needed.npy", _open_part(path, limits).lists_needed())
        return cls.open(directory, limits=limits)

    @classmethod
    def open(
        cls,
        directory: Path,
        segments: Sequence[Path] = (),
        removed: ArrayLike | None = None,
        dids_of: Callable[[Ids], pa.ChunkedArray] | None = None,
        *,
        limits: Limits = Limits(),  # noqa: B008 — frozen
    ) -> VectorSet:
        """Map the set and its appended `segments` (sets of other rows); `removed` rows are never found.

        `dids_of` gives the identifiers by which rows of equal distance in several parts are ordered; without
        it their `did_rank` is taken, which must then order the rows of all parts.
        Files that are missing, cut short or do not belong together raise ValueError with their directory.
        """
        gone = np.empty(0, dtype=np.int64) if removed is None else np.asarray(removed, dtype=np.int64)
        parts: list[Part] = []
        for path in (directory, *segments):
            part = _open_parts(path, limits).without(gone)
            for earlier in parts:
                _check_segment(path, part, earlier)
            parts.append(part)
        return cls(parts, dids_of)

    def vector(self, row: int) -> Vectors | None:
        """The vector (d,) of a row; None where the row has no embedding."""
        for part in self._parts:
            place = part.place_of(row)
            if place is not None:
                return np.array(part.vectors[place])
        return None

    def _rows(self) -> Sequence[Ids]:
        return [part.rows if part.live is None else part.rows[part.live] for part in self._parts]

    def _nearest(self, point: Vectors, asked: Question, among: Ids | None) -> Sequence[Found]:
        k, metric, exact = asked
        parts = [part.for_metric(metric) for part in self._parts]
        return self._found(
            parts, [part.search(point, k, metric, part.passing(among), exact) for part in parts]
        )

    def _nearest_each(self, points: Vectors, asked: Question) -> Iterator[Sequence[Found]]:
        parts = [part.for_metric(asked.metric) for part in self._parts]
        answers = [part.search_batch(points, *asked) for part in parts]
        return (self._found(parts, hits) for hits in zip(*answers, strict=True))

    def _within(self, point: Vectors, radius: float, metric: Weights, among: Ids | None) -> Sequence[Found]:
        parts = [part.for_metric(metric) for part in self._parts]
        return self._found(parts, [part.within(point, radius, metric, part.passing(among)) for part in parts])

    def _fill(self, result: NDArray[Any], made: Callable[[Vectors], NDArray[Any]]) -> None:
        for part, rows in zip(self._parts, self._rows(), strict=True):
            values = made(part.vectors)
            result[np.searchsorted(self.rows, rows)] = values if part.live is None else values[part.live]

    def _found(self, parts: Sequence[Part], hits: Sequence[Hits]) -> Sequence[Found]:
        """Rows for places, and what orders those that are equally far."""
        rows = [part.rows[h.places] for part, h in zip(parts, hits, strict=True)]
        ranks = rows if len(hits) == 1 else self._ranks(parts, hits, rows)
        return [
            Found(mine, rank, h.distance, h.plan) for mine, rank, h in zip(rows, ranks, hits, strict=True)
        ]

    def _ranks(
        self, parts: Sequence[Part], hits: Sequence[Hits], rows: Sequence[Ids]
    ) -> Sequence[NDArray[Any]]:
        """What orders rows of several parts that are equally far."""
        if self._dids_of is None:
            return [part.did_rank[h.places] for part, h in zip(parts, hits, strict=True)]
        by_did = pc.rank(self._dids_of(np.concatenate(rows)), tiebreaker="first").to_numpy()
        return np.split(by_did, np.cumsum([len(one) for one in rows])[:-1])


def _build_lists(directory: Path, matrix: Vectors, metric: Weights, seed: int) -> Ids:
    """Write index.faiss, metric.npy and offsets.npy; the answer is the index in `matrix` at every place."""
    n_rows = len(matrix)
    n_lists = round(4 * np.sqrt(n_rows))
    n_trained = min(n_rows, TRAINED_PER_LIST * n_lists)
    sample = matrix[np.sort(np.random.default_rng(seed).choice(n_rows, n_trained, replace=False))]
    codes = FaissCodes(None, metric, sample.mean(axis=0, dtype=np.float64))
    means = _means(codes.coordinates(sample), n_lists, seed)
    nearest = np.empty(n_rows, np.int32)
    for rows in _chunks(n_rows):
        nearest[rows] = means.index.search(codes.coordinates(matrix[rows]), 1)[1][:, 0]
    order, sizes = np.argsort(nearest, kind="stable"), np.bincount(nearest, minlength=n_lists)
    used = np.flatnonzero(sizes)  # lists without a row are dropped
    numbers = np.cumsum(sizes > 0) - 1
    index = _empty_index(means.centroids[used], sizes[used])
    for places in _chunks(n_rows):
        points, lists = codes.coordinates(matrix[order[places]]), numbers[nearest[order[places]]]
        index.add_core(len(points), faiss.swig_ptr(points), None, faiss.swig_ptr(lists))
    faiss.write_index(index, str(directory / "index.faiss"))
    np.save(directory / "metric.npy", np.stack([metric.values, codes.centre]))
    np.save(directory / "offsets.npy", np.append(0, np.cumsum(sizes[used])))
    return order


def _means(training: Vectors, n_lists: int, seed: int) -> Any:
    means = faiss.Kmeans(
        training.shape[1],
        n_lists,
        niter=10,
        seed=seed + 1,
        max_points_per_centroid=TRAINED_PER_LIST,
        min_points_per_centroid=1,
    )
    means.train(training)
    return means


def _empty_index(centroids: Vectors, sizes: Ids) -> Any:
    """Lists around `centroids` whose codes are the fp16 differences from them, with room for `sizes` rows."""
    n_lists, dimension = centroids.shape
    quantizer = faiss.IndexFlatL2(dimension)
    quantizer.add(centroids)
    half = faiss.ScalarQuantizer.QT_fp16
    index: Any = faiss.IndexIVFScalarQuantizer(quantizer, dimension, n_lists, half, faiss.METRIC_L2, True)
    index.train(centroids)
    for number, size in enumerate(sizes.tolist()):  # else they would grow by doubling
        index.invlists.resize(number, size)
        index.invlists.resize(number, 0)
    return index


def _chunks(length: int) -> Iterator[slice]:
    return (slice(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK))


def _open_parts(directory: Path, limits: Limits) -> Part:
    """A part with those of the same rows in other lists."""
    part = _open_part(directory, limits)
    others = [_open_part(path, limits) for path in sorted(directory.glob(f"{OTHER}*"))]
    for other in others:
        if len(other) != len(part):
            raise ValueError(f"{directory}: other lists hold {len(other)} of {len(part)} rows")
    return replace(part, others=others) if others else part


def _open_part(directory: Path, limits: Limits) -> Part:
    if not (directory / "offsets.npy").exists():
        return Part.open(directory, limits, None)
    try:
        index: Any = faiss.read_index(str(directory / "index.faiss"), faiss.IO_FLAG_MMAP_IFC)
        values, centre = np.load(directory / "metric.npy")
        metric = Weights.of(values, len(values))
    except (RuntimeError, OSError, EOFError, ValueError) as failure:
        raise ValueError(f"{directory}: the index cannot be read: {failure}") from failure
    part = Part.open(directory, limits, FaissCodes(index, metric, centre))
    held = {"vectors": index.ntotal, "dimensions": index.d, "lists": index.nlist}
    wanted = {"vectors": len(part), "dimensions": len(metric.kept), "lists": len(part.lists or ())}
    if held != wanted:
        raise ValueError(f"{directory}: index.faiss holds {held}, the other files {wanted}")
    return part


def _check_segment(directory: Path, segment: Part, earlier: Part) -> None:
    if segment.vectors.shape[1] != earlier.vectors.shape[1]:
        raise ValueError(
            f"{directory}: {segment.vectors.shape[1]} dimensions, but the set has {earlier.vectors.shape[1]}"
        )
    if len(twice := earlier.places_of(segment.rows)):
        raise ValueError(f"{directory}: row {earlier.rows[twice[0]]} is in the set already")


def _check_rows(rows: Ids, vectors: Vectors, did_rank: NDArray[Any]) -> None:
    if vectors.ndim != 2 or not len(rows) == len(vectors) == len(did_rank):
        raise ValueError(
            f"{len(rows)} rows, vectors of shape {vectors.shape}, {len(did_rank)} ranks: they must agree"
        )
    if (np.diff(rows) <= 0).any() or (len(rows) and rows[0] < 0):
        raise ValueError("rows must be ascending, different and not negative")
    bad = np.flatnonzero(~usable(vectors))
    if len(bad):
        raise ValueError(
            f"{len(bad)} vectors have values that are not finite or above {LARGEST:g}; "
            f"the first is of row {rows[bad[0]]}"
        )
