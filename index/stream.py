"""Rows of a table that pass by once, a piece at a time: counted, hashed and looked at on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from index.manifest import HASHED_ROWS, ContentHash


class Stream:
    """What is known of the rows is known when all were read."""

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        self._schema, self._batches, self._hash = schema, batches, ContentHash()
        self.num_rows = 0
        self.beyond_ascii: set[str] = set()  # columns of text with other letters

    def reader(self) -> pa.RecordBatchReader:
        """For one reading."""
        return pa.RecordBatchReader.from_batches(self._schema, self._passing())

    @property
    def content_hash(self) -> str:
        return self._hash.hexdigest

    def _passing(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.num_rows += batch.num_rows
            self.beyond_ascii |= beyond_ascii(batch)
            self._hash.add(batch)
            yield batch


def in_slices(schema: pa.Schema, rows: pa.Table, make: Callable[[pa.Table], pa.Table]) -> Stream:
    """What `make` makes of some `rows` at a time, in their order."""
    slices = (rows.slice(start, HASHED_ROWS) for start in range(0, len(rows), HASHED_ROWS))
    return Stream(schema, (batch for part in slices for batch in make(part).combine_chunks().to_batches()))


def beyond_ascii(rows: pa.RecordBatch | pa.Table) -> set[str]:
    """The columns of text that hold letters beyond ASCII."""
    texts = [field.name for field in rows.schema if pa.types.is_string(field.type)]
    return {name for name in texts if not pc.all(pc.string_is_ascii(rows[name]), min_count=0).as_py()}
