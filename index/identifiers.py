"""Publisher DIDs of a release and their rows, both ways, in a mapped file: opened without being read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

FILE = "identifiers.arrow"
SEARCHES = 128  # one hash table of all DIDs costs about as much as a search for each 128th of them
FEW = 8  # times more DIDs there are: a hash table is made of those asked for


def write(path: Path, dids: pa.ChunkedArray) -> NDArray[np.int32]:
    """The file for DIDs in the order of their rows; the answer is the rank (n,) of each by code points."""
    texts = dids.combine_chunks().cast(pa.large_string())
    order = pc.sort_indices(texts).to_numpy().astype(np.int64)
    batch = pa.record_batch({"did": texts, "by_did": order})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank


class _Part:
    """One file: rows from `first` on."""

    def __init__(self, path: Path, first: int) -> None:
        with pa.memory_map(str(path)) as file:
            batch = pa.ipc.open_file(file).get_batch(0)  # as it lies in the file: nothing is copied
        self.first, self.texts = first, batch["did"]
        self.by_did: NDArray[np.int64] = batch["by_did"].to_numpy()

    def __len__(self) -> int:
        return len(self.texts)

    def at(self, place: int) -> str:
        text: str = self.texts[int(self.by_did[place])].as_py()
        return text

    def row_of(self, did: str) -> int | None:
        place = bisect_left(range(len(self)), did, key=self.at)
        return self.first + int(self.by_did[place]) if place < len(self) and self.at(place) == did else None


class Identifiers:
    """The DIDs in some files, rows counted through; `removed` rows are known, but not found."""

    def __init__(self, paths: Sequence[Path], removed: ArrayLike = ()) -> None:
        self._parts: list[_Part] = []
        for path in paths:
            self._parts.append(_Part(path, len(self)))
        self._removed = frozenset(np.asarray(removed, np.int64).tolist())

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def starts(self) -> list[int]:
        """The first row of each file."""
        return [part.first for part in self._parts]

    def did_of(self, row: int) -> str:
        """IndexError where there is no such row."""
        for part in self._parts:
            if 0 <= row - part.first < len(part):
                did: str = part.texts[row - part.first].as_py()
                return did
        raise IndexError(f"no row {row}; there are {len(self)}")

    def dids_of(self, rows: ArrayLike) -> pa.ChunkedArray:
        """The DIDs of many rows, in their order."""
        asked = np.asarray(rows, np.int64)
        part_of = np.searchsorted(self.starts, asked, side="right") - 1
        found = [
            part.texts.take(pa.array(asked[part_of == number] - part.first))
            for number, part in enumerate(self._parts)
        ]
        place = np.argsort(np.argsort(part_of, kind="stable"), kind="stable")
        texts = pa.chunked_array(found, pa.large_string())
        return (texts if len(self._parts) == 1 else texts.take(pa.array(place))).cast(pa.string())

    def known(self, dids: pa.ChunkedArray) -> pa.ChunkedArray:
        """Which of many DIDs are found: truth values."""
        asked = dids.cast(pa.large_string())
        found = pa.chunked_array([pa.repeat(False, len(asked))])
        for part in self._parts:
            few = len(asked) * FEW < len(part)
            texts = part.texts.filter(pc.is_in(part.texts, asked)) if few else part.texts
            found = pc.or_(found, pc.is_in(asked, texts))
        if not self._removed:
            return found
        gone = [did for did in self.dids_of(sorted(self._removed)).to_pylist() if self.row_of(did) is None]
        return pc.and_not(found, pc.is_in(asked, pa.array(gone, pa.large_string())))

    def row_of(self, did: str) -> int | None:
        row = self._any_row_of(did)
        return None if row in self._removed else row

    def was_removed(self, did: str) -> bool:
        return self._any_row_of(did) in self._removed

    def _any_row_of(self, did: str) -> int | None:
        """Later parts first: an identifier that was removed may have come back."""
        found = (part.row_of(did) for part in reversed(self._parts))
        return next((row for row in found if row is not None), None)

    def rows_of(self, dids: Sequence[str]) -> list[int | None]:
        """The same as `row_of` for each."""
        if len(dids) * SEARCHES < len(self):
            return [self.row_of(did) for did in dids]
        asked = pa.array(dids, pa.large_string())
        known: dict[int, int] = {}
        for part in self._parts:
            places: list[Any] = pc.index_in(asked, part.texts).to_pylist()
            known |= {n: part.first + place for n, place in enumerate(places) if place is not None}
        rows = (known.get(number) for number in range(len(dids)))
        return [None if row in self._removed else row for row in rows]
