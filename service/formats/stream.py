"""What every writer gets: columns, Arrow batches and remarks; and the text of values, by whole columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index.catalogue import ARROW
from registry_metadata.columns import COMPLEX, Column

SLICE_BYTES = 800_000
SLICE_ROWS = 8_192
FEW_ROWS = 64


@dataclass(frozen=True, slots=True)
class Info:
    """A remark on the answer: an INFO of a VOTable, an entry of JSON, a key of Parquet."""

    name: str
    value: str
    text: str = ""
    ucd: str | None = None


class Described(Protocol):
    @property
    def column(self) -> Column: ...


class Remark(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def text(self) -> str: ...


class Answered(Protocol):
    """As much of `service.query.run.Answer` as writers look at."""

    @property
    def columns(self) -> Sequence[Described]: ...
    @property
    def batches(self) -> Iterator[pa.RecordBatch]: ...
    @property
    def overflow(self) -> bool: ...
    @property
    def infos(self) -> Sequence[Remark]: ...


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Rows:
    """A table on its way out. Batches match `columns` by place; `overflowed` is asked after the last one."""

    columns: tuple[Column, ...]
    batches: Iterator[pa.RecordBatch]
    infos: tuple[Info, ...] = ()
    overflowed: Callable[[], bool] = _never
    name: str = "result"
    description: str = ""
    limit: str = field(default="the row limit")  # what cut the rows, in the words of the client

    @classmethod
    def of(cls, answer: Answered, columns: Sequence[Column] | None = None, **more: Any) -> Rows:
        """The rows of an answer, under other columns where a protocol spells them its own way."""
        return cls(
            tuple(columns or (c.column for c in answer.columns)),
            answer.batches,
            tuple(Info(i.name, i.value, i.text) for i in answer.infos),
            lambda: answer.overflow,
            **more,
        )


def slices(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in pieces of about SLICE_BYTES, so that neither memory nor the first byte waits."""
    for batch in batches:
        if batch.num_rows <= FEW_ROWS:  # their size is dear to ask for
            if batch.num_rows:
                yield batch
            continue
        per_row = max(batch.nbytes // batch.num_rows, 1)
        step = max(1, min(SLICE_ROWS, SLICE_BYTES // per_row))
        for start in range(0, batch.num_rows, step):
            yield batch.slice(start, step)


NULLS = {"unsignedByte": 255, "short": -(2**15), "int": -(2**31), "long": -(2**63)}  # where a type has none
NO_VALUE = {**NULLS, "boolean": "?", "bit": "0"}  # within an array; NaN where it has numbers with a point


def fixed_length(column: Column) -> int | None:
    """Elements of every cell of a fixed-size array or string, None where the size varies."""
    if column.arraysize is None:
        count = 1
    elif "*" in column.arraysize:
        return None
    else:
        count = 1
        for part in column.arraysize.split("x"):
            count *= int(part)
    return count * (2 if column.datatype in COMPLEX else 1)


def typed(column: Column, array: pa.Array) -> pa.Array:
    """The array in the Arrow type of the column's datatype: scalars, strings, or lists with int32 offsets."""
    base = ARROW[column.datatype]
    if column.array:
        return array.cast(pa.list_(base)) if array.type != pa.list_(base) else array
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        return timestamps(array)
    return array if array.type == base else array.cast(base, safe=False)


def timestamps(array: pa.Array) -> pa.Array:
    return pc.strftime(array.cast(pa.timestamp("ms"), safe=False), format="%Y-%m-%dT%H:%M:%S")


def texts(column: Column, array: pa.Array, no_number: str | None = None) -> pa.Array:
    """Cells as TABLEDATA spells them, unescaped, NULL kept: `1 2 3`, `T`, `NaN`, `+Inf`. A NULL among the
    whole numbers of an array is `no_number`, or the one that VALUES declares."""
    values = typed(column, array)
    base = pa.int8() if column.datatype == "bit" else ARROW[column.datatype]  # bits are 1 and 0
    if not column.array:
        return scalar_texts(values if values.type == base else values.cast(base))
    values = values.cast(pa.list_(base))
    known = NO_VALUE.get(column.datatype, "NaN")
    word = no_number if no_number and column.datatype in NULLS else str(known)
    flat = pc.fill_null(scalar_texts(values.flatten()), word)
    lists = pa.ListArray.from_arrays(pa.array(list_offsets(values), pa.int32()), flat)
    joined = pc.binary_join(lists, " ")
    return (
        pc.if_else(values.is_valid(), joined, pa.scalar(None, pa.string())) if values.null_count else joined
    )


def holds(column: Column, array: pa.Array, number: int) -> bool:
    """Whether a value, or an element of one, is this number."""
    values = typed(column, array)
    flat = values.flatten() if column.array else values
    return bool(pc.any(pc.equal(flat, pa.scalar(number, flat.type)), min_count=0).as_py())


def list_offsets(values: pa.Array) -> npt.NDArray[np.int64]:
    """Where each list begins and ends in `values.flatten()`, which leaves out what lies under a NULL."""
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def scalar_texts(values: pa.Array) -> pa.Array:
    if pa.types.is_boolean(values.type):
        return pc.if_else(values, "T", "F")
    if pa.types.is_floating(values.type):
        return float_texts(values)
    return values.cast(pa.string())


def float_texts(values: pa.Array) -> pa.Array:
    """Shortest text that reads back as the same number; the infinities as VOTable 1.4 (6) spells them."""
    text = values.cast(pa.string())
    if pc.all(pc.is_finite(values), min_count=0).as_py():
        return text
    text = pc.if_else(pc.is_nan(values), "NaN", text)
    return pc.if_else(pc.is_inf(values), pc.if_else(pc.greater(values, 0), "+Inf", "-Inf"), text)


def joined(parts: Sequence[pa.Array | str], rows: int) -> bytes:
    """Row by row the parts one after the other, as one run of bytes."""
    scalars = [
        pa.scalar(p, pa.large_string()) if isinstance(p, str) else p.cast(pa.large_string()) for p in parts
    ]
    lines = pc.binary_join_element_wise(*scalars, pa.scalar("", pa.large_string()))
    if isinstance(lines, pa.Scalar):
        return bytes(lines.as_py() * rows, "utf-8")
    return run_of_bytes(lines)


def run_of_bytes(array: pa.Array) -> bytes:
    """All values of a large string or binary array without nulls, end to end."""
    _, offsets, data = array.buffers()
    if data is None:
        return b""
    bounds = memoryview(offsets).cast("q")
    first, last = bounds[array.offset], bounds[array.offset + len(array)]
    return bytes(memoryview(data)[first:last])
