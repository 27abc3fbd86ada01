"""Which rows of a part may be found, and the rounds in which lists that hold some of them are visited."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from index.distance import Ids, Places
from index.lists import Bitmap, Lists, ranges

Mask = NDArray[np.bool_]
BITS = np.left_shift(1, np.arange(8)).astype(np.uint8)  # of eight places
AHEAD = 32  # lists counted at a time, then as many as before


class Passing:
    """Few rows are known by their places, many by a mask over row numbers; every row where both are None.

    The mask is asked list by list: under a wide condition most lists are never visited. Places are put in
    order once, so that those of a list lie together.
    """

    def __init__(self, rows: Ids, places: Places | None = None, by_row: Mask | None = None) -> None:
        """`rows` (n,) is the row number at every place; `places` are different; `by_row` (last row + 1,)."""
        self._rows, self._few, self._by_row = rows, places, by_row
        self._of_lists: tuple[Ids, Ids] | None = None

    @cached_property
    def places(self) -> Places | None:
        return self._few if self._by_row is None else np.flatnonzero(self._by_row[self._rows])

    @cached_property
    def count(self) -> int:
        if self._few is not None:
            return len(self._few)
        return len(self._rows) if self._by_row is None else int(np.count_nonzero(self._by_row))

    @property
    def everything(self) -> bool:
        return self._few is None and self._by_row is None

    def within(self, lists: Lists, numbers: Ids) -> tuple[Places, Ids]:
        """The passing places of some lists, list by list, and how many of each."""
        if self._few is not None:
            starts, sizes = self._bounds(lists)
            counts = sizes[numbers]
            return self._ordered.take(ranges(starts[numbers], counts)), counts
        sizes, places = lists.sizes[numbers], lists.places(numbers)
        if self._by_row is None:
            return places, sizes
        passed = self._by_row.take(self._rows.take(places, mode="clip"), mode="clip")  # "raise" is slower
        counts = np.add.reduceat(passed, np.cumsum(sizes) - sizes, dtype=np.int64)  # no list is empty
        return places.compress(passed), counts

    @cached_property
    def _ordered(self) -> Places:
        return np.sort(np.empty(0, np.int64) if self._few is None else self._few)

    def _bounds(self, lists: Lists) -> tuple[Ids, Ids]:
        """Where the places of every list begin among those in order, and how many they are."""
        if self._of_lists is None:
            bounds = np.searchsorted(self._ordered, lists.offsets)
            self._of_lists = bounds[:-1], np.diff(bounds)
        return self._of_lists

    def rounds(
        self, lists: Lists, order: Ids, first: int, more: int, n_rows: int
    ) -> Iterator[tuple[Ids, Places]]:
        """The lists with a passing row, in `order`, and these rows: at least `first` lists with `n_rows`
        rows, then, for every `first` of them, `more` lists at a time, with as large a share of `n_rows`."""
        pending, n_lists = _Pending(self, lists, order), first
        while pending.more(n_lists):
            numbers, places = pending.taken(n_lists, n_rows)
            yield numbers, places
            if n_lists == first:
                n_lists, n_rows = max(more, len(numbers) * more // first), n_rows * more // first

    def bitmap(self, places: Places) -> Bitmap | None:
        """One bit per place of the part, set for `places`; None where every row passes."""
        if self.everything:
            return None
        bits = np.zeros(len(self._rows) // 8 + 1, dtype=np.uint8)
        np.add.at(bits, places >> 3, BITS[places & 7])  # places are different
        return bits


class _Pending:
    """Lists counted ahead of their visit, more of them each time: far away most may be empty."""

    def __init__(self, passing: Passing, lists: Lists, order: Ids) -> None:
        self._passing, self._lists, self._order = passing, lists, order
        self._seen = 0
        self._numbers = self._counts = np.empty(0, dtype=np.int64)
        self._places: Places = np.empty(0, dtype=np.int64)

    def more(self, n_lists: int) -> bool:
        while not len(self._numbers) and self._seen < len(self._order):
            self._count(n_lists)
        return len(self._numbers) > 0

    def taken(self, n_lists: int, n_rows: int) -> tuple[Ids, Places]:
        while self._seen < len(self._order) and (len(self._numbers) < n_lists or len(self._places) < n_rows):
            self._count(n_lists - len(self._numbers))
        enough = int(np.searchsorted(np.cumsum(self._counts), n_rows)) + 1
        stop = max(n_lists, enough)
        numbers, counts = self._numbers[:stop], self._counts[:stop]
        n_taken = int(counts.sum())
        places = self._places[:n_taken]
        self._numbers, self._counts = self._numbers[stop:], self._counts[stop:]
        self._places = self._places[n_taken:]
        return numbers, places

    def _count(self, missing: int) -> None:
        """So many lists, where none can be empty."""
        step = missing if self._passing.everything and missing > 0 else max(AHEAD, self._seen)
        numbers = self._order[self._seen : self._seen + step]
        self._seen += step
        places, counts = self._passing.within(self._lists, numbers)
        some = counts > 0
        self._numbers = np.concatenate([self._numbers, numbers[some]])
        self._counts = np.concatenate([self._counts, counts[some]])
        self._places = np.concatenate([self._places, places])
