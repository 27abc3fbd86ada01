"""One query from text or tree to Arrow batches: parse → check → resolve, plan and lower → run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlglot import exp

from index.catalogue import ARROW
from registry_metadata.columns import Column
from service.errors import UsageFault
from service.query.check import check
from service.query.context import Context, Info, References, Upload
from service.query.engine import TOO_DEEP, told
from service.query.held import rows_in
from service.query.parse import parse_adql
from service.query.queries import Selects
from service.query.statement import Cone, Query

if TYPE_CHECKING:
    from index.release import OpenRelease

__all__ = [
    "Answer",
    "Fetched",
    "Info",
    "Question",
    "References",
    "ResultColumn",
    "Upload",
    "answer",
    "fetch",
]

LARGEST_SQL = 1_000_000
SHORT_ROWS = 25_000  # of short cells: they fit into memory


@dataclass(frozen=True, slots=True)
class Question:
    """`query` is ADQL or a tree made by service.query.build; `maxrec` None is no limit; `timeout` in s."""

    query: str | exp.Query
    maxrec: int | None = None
    uploads: Mapping[str, Upload] = field(default_factory=dict)
    exact: bool = False
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of the answer under its final, unique name; `did` says that it holds publisher DIDs."""

    column: Column

    @property
    def did(self) -> bool:
        return self.column.did


@dataclass(eq=False, slots=True)
class Answer:
    """`batches` hold at most `maxrec` rows in sum; `overflow` is valid after the last of them."""

    columns: tuple[ResultColumn, ...]
    batches: Iterator[pa.RecordBatch]
    infos: list[Info]
    overflow: bool = False


@contextmanager
def answer(
    release: OpenRelease,
    question: Question,
    *,
    base_url: str = "",
    references: References | None = None,
) -> Iterator[Answer]:
    """The answer, streaming; UsageFault where the query is wrong, TimeoutFault at the limit of time."""
    context = Context(
        release, base_url, question.uploads, references, exact=question.exact, timeout=question.timeout
    )
    context.infos.append(Info("release", release.id, "Release of the archive that answered"))
    with told(question.timeout):
        selects, query = lowered(context, question.query)
    columns = final_columns(query.columns)
    schema = pa.schema([pa.field(column.name, arrow_type(column)) for column in columns])
    result = Answer(tuple(map(ResultColumn, columns)), iter(()), context.infos)
    if question.maxrec == 0:
        result.overflow = True
        yield result
        return
    if question.maxrec is not None:
        query = query.within(question.maxrec + 1)
    with told(question.timeout):
        selects.similarity.fill(query.sql)
    if query.cone is not None and (held := within(context, query.cone)) is not None:
        result.batches = rows((held.slice(0, query.limit),), schema, result, question)
        yield result
        return
    text, params = context.prepared(context.with_common(query.sql))
    if is_short(query, columns):
        with told(question.timeout):
            first, others = release.engine.short(text, params, context.used(text), context.left)
        result.batches = rows(whole(first, others, schema), schema, result, question)
        yield result
        return
    with told(question.timeout), release.engine.run(text, params, context.used(text), context.left) as reader:
        result.batches = rows(reader, schema, result, question)
        yield result


def within(context: Context, cone: Cone) -> pa.RecordBatch | None:
    """The rows in a cone of a small table; None where the engine has to say."""
    with told(context.timeout):
        return rows_in(context.release, cone, context.base_url)


def is_short(query: Query, columns: Sequence[Column]) -> bool:
    """Whether an answer is sure to fit into memory: then it is quicker taken whole."""
    few = query.limit is not None and query.limit <= SHORT_ROWS
    return few and all(not column.array or column.arraysize in ("2", "3") for column in columns)


def whole(
    first: Sequence[tuple[Any, ...]], others: pa.Table | None, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Rows of Python values as one batch in the declared types, then those that came as Arrow."""
    if first:
        columns = zip(*first, strict=True)
        arrays = [array_of(values, kind.type) for values, kind in zip(columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
    if others is not None:
        yield from others.to_batches()


def array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except pa.ArrowInvalid:  # decimals become doubles only by a cast
        return pa.array(values).cast(kind)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A short answer, whole; `rows` are tuples of Python values in the order of `columns`."""

    columns: tuple[ResultColumn, ...]
    rows: list[tuple[Any, ...]]
    infos: list[Info]
    overflow: bool


def fetch(
    release: OpenRelease, question: Question, *, base_url: str = "", references: References | None = None
) -> Fetched:
    """The same answer as `answer` gives, for questions that are known to have few rows of few columns.

    Without `maxrec` the engine is spared a LIMIT; with it at most so many rows come.
    """
    context = Context(
        release, base_url, question.uploads, references, exact=question.exact, timeout=question.timeout
    )
    context.infos.append(Info("release", release.id, "Release of the archive that answered"))
    with told(question.timeout):
        selects, query = lowered(context, question.query)
    columns = tuple(map(ResultColumn, final_columns(query.columns)))
    if question.maxrec is not None:
        query = query.within(question.maxrec + 1)
    with told(question.timeout):
        selects.similarity.fill(query.sql)
    text, params = context.prepared(context.with_common(query.sql))
    with told(question.timeout):
        rows = release.engine.rows(text, params, context.used(text), context.left)
    most = len(rows) if question.maxrec is None else question.maxrec
    return Fetched(columns, rows[:most], context.infos, len(rows) > most)


def lowered(context: Context, query: str | exp.Query) -> tuple[Selects, Query]:
    """The engine's query; what the tree must not have is refused first."""
    tree = parse_adql(query) if isinstance(query, str) else query
    try:
        check(tree)
        selects = Selects(context)
        found = selects.read(tree)
    except RecursionError:
        raise UsageFault(TOO_DEEP) from None
    if (size := len(found.sql) + sum(map(len, context.ctes))) > LARGEST_SQL:
        raise UsageFault(
            f"the query becomes {size} characters for the engine; {LARGEST_SQL} are allowed, which take"
            " seconds to plan: ask for fewer columns, conditions or positions, or upload a table of them"
        )
    return selects, found


def final_columns(columns: tuple[Column, ...]) -> list[Column]:
    """The same with names that differ, whatever their case: ra, ra_2."""
    taken: set[str] = set()
    found = []
    for column in columns:
        name, number = column.name, 1
        while name.lower() in taken:
            number += 1
            name = f"{column.name}_{number}"
        taken.add(name.lower())
        found.append(column if name == column.name else replace(column, name=name))
    return found


def arrow_type(column: Column) -> pa.DataType:
    scalar = ARROW[column.datatype]
    return pa.list_(scalar) if column.array else scalar


def rows(
    reader: Iterable[pa.RecordBatch], schema: pa.Schema, result: Answer, question: Question
) -> Iterator[pa.RecordBatch]:
    """Batches in the declared types; one row beyond `maxrec` only tells that there are more."""
    left = question.maxrec
    with told(question.timeout):
        for batch in reader:
            if left is not None and batch.num_rows > left:
                result.overflow = True
                batch = batch.slice(0, left)
            if batch.num_rows:
                yield typed(batch, schema)
            if left is not None:
                left -= batch.num_rows


def typed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        array if array.type == kind.type else array.cast(kind.type)
        for array, kind in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
