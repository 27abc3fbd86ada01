"""Arrow IPC streams and Parquet, with the VO's metadata on every column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pyarrow as pa

from index.catalogue import ARROW
from registry_metadata.columns import COMPLEX, Column
from service.formats.drain import Drain
from service.formats.json import PUBLIC
from service.formats.stream import Rows, fixed_length, typed
from service.formats.votable import write_votable

VOPARQUET = "IVOA.VOTable-Parquet."
ROW_GROUP = 100_000


def write_arrow(rows: Rows) -> Iterator[bytes]:
    """A stream of record batches; the last, empty one tells by its metadata how it ended."""
    sink, schema = Drain(), arrow_schema(rows)
    with pa.ipc.new_stream(pa.PythonFile(sink, "w"), schema) as writer:
        for batch in rows.batches:
            writer.write_batch(record_batch(rows, schema, batch))
            yield sink.taken()
        writer.write_batch(empty(schema), ended(rows))
    yield sink.taken()


def empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def write_parquet(rows: Rows) -> Iterator[bytes]:
    """Parquet with a VOTable without data in its metadata (VOParquet 1.0). A fault on the way breaks the
    transfer: without its footer the file cannot be taken for a whole one."""
    import pyarrow.parquet as pq

    sink, schema = Drain(), arrow_schema(rows).with_metadata(voparquet(rows))
    with pq.ParquetWriter(pa.PythonFile(sink, "w"), schema, compression="zstd") as writer:
        for batch in rows.batches:
            writer.write_batch(record_batch(rows, schema, batch), row_group_size=ROW_GROUP)
            yield sink.taken()
        writer.add_key_value_metadata(ended(rows))
    yield sink.taken()


def voparquet(rows: Rows) -> Mapping[str, str]:
    header = b"".join(write_votable(replace(rows, batches=iter(())), serialization="TABLEDATA"))
    return {f"{VOPARQUET}version": "1.0", f"{VOPARQUET}content": header.decode()}


def ended(rows: Rows) -> dict[str, str]:
    if rows.overflowed():
        return {"QUERY_STATUS": "OVERFLOW", "message": f"The result was cut by {rows.limit}"}
    return {"QUERY_STATUS": "OK"}


def arrow_schema(rows: Rows) -> pa.Schema:
    fields = [
        pa.field(column.name, arrow_type(column), metadata=field_metadata(column)) for column in rows.columns
    ]
    return pa.schema(fields, metadata={info.name: info.value for info in rows.infos})


def field_metadata(column: Column) -> dict[str, str]:
    return {key: value for key in PUBLIC if key != "name" and (value := getattr(column, key))}


def arrow_type(column: Column) -> pa.DataType:
    base = ARROW[column.datatype]
    if not column.array:
        return base
    count = fixed_length(column)
    return pa.list_(base) if count is None or column.datatype in COMPLEX else pa.list_(base, count)


def record_batch(rows: Rows, schema: pa.Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
    arrays = [
        typed(column, array).cast(field.type)
        for column, array, field in zip(rows.columns, batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
