"""Published tables in Arrow, and the rows of TAP_SCHEMA that describe them."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from registry_metadata import tables as published
from registry_metadata.columns import Column, Table

ROW_NUMBER = "row_number"  # the hidden key of tables whose rows are spectra

ARROW: Mapping[str, pa.DataType] = {  # by VOTable datatype
    "boolean": pa.bool_(),
    "unsignedByte": pa.uint8(),
    "short": pa.int16(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "char": pa.string(),
    "unicodeChar": pa.string(),
    "bit": pa.bool_(),  # this and the next only uploads have
    "floatComplex": pa.float32(),  # two to a number
    "doubleComplex": pa.float64(),
}


def arrow_type(column: Column) -> pa.DataType:
    """A list of two doubles for a point, of any length for an open array; string for text."""
    scalar = ARROW[column.datatype]
    if column.arraysize is None or scalar == pa.string():
        return scalar
    return pa.list_(scalar, int(column.arraysize)) if column.arraysize.isdigit() else pa.list_(scalar)


def arrow_schema(table: Table) -> pa.Schema:
    """The columns of a published table, the hidden row number first where it has one."""
    hidden = [pa.field(ROW_NUMBER, pa.int64())] if table.has_rows else []
    return pa.schema(hidden + [pa.field(column.name, arrow_type(column)) for column in table.columns])


def as_held(table: Table, beyond_ascii: Container[str]) -> Table:
    """The table as its rows need it: `char` columns with letters beyond ASCII become `unicodeChar`."""
    columns = tuple(
        replace(column, datatype="unicodeChar")
        if column.datatype == "char" and column.name in beyond_ascii
        else column
        for column in table.columns
    )
    return replace(table, columns=columns)


def tap_schema(tables: Sequence[Table]) -> dict[str, pa.Table]:
    """The content of TAP_SCHEMA for these tables (TAP 1.1, 4), itself included."""
    rows: dict[str, list[dict[str, object]]] = {
        "tap_schema.schemas": _schema_rows(),
        "tap_schema.tables": [_table_row(table, number) for number, table in enumerate(tables, 1)],
        "tap_schema.columns": [
            _column_row(table, column, number)
            for table in tables
            for number, column in enumerate(table.columns, 1)
        ],
    }
    keys = published.keys(tables)
    rows["tap_schema.keys"] = [_key_row(key) for key in keys]
    rows["tap_schema.key_columns"] = [
        {"key_id": key.id, "from_column": own, "target_column": target}
        for key in keys
        for own, target in key.columns.items()
    ]
    schemas = {table.name: arrow_schema(table) for table in tables}
    return {name: pa.Table.from_pylist(listed, schema=schemas[name]) for name, listed in rows.items()}


def _schema_rows() -> list[dict[str, object]]:
    return [
        {
            "schema_name": schema.name,
            "utype": schema.utype,
            "description": schema.description,
            "schema_index": number,
        }
        for number, schema in enumerate(published.schemas(), 1)
    ]


def _table_row(table: Table, number: int) -> dict[str, object]:
    return {
        "schema_name": table.schema,
        "table_name": table.name,
        "table_type": table.kind,
        "utype": table.utype,
        "description": table.description,
        "table_index": number,
    }


def _column_row(table: Table, column: Column, number: int) -> dict[str, object]:
    one_number = column.arraysize is not None and column.arraysize.isdigit()
    return {
        "table_name": table.name,
        "column_name": published.quoted(column.name),
        "datatype": column.datatype,
        "arraysize": column.arraysize,
        "xtype": column.xtype,
        "size": int(column.arraysize or 0) if one_number else None,
        "description": column.description,
        "utype": column.utype,
        "unit": column.unit,
        "ucd": column.ucd,
        "indexed": int(column.indexed),
        "principal": int(column.principal),
        "std": int(column.std),
        "column_index": number,
    }


def _key_row(key: published.Key) -> dict[str, object]:
    return {
        "key_id": key.id,
        "from_table": key.from_table,
        "target_table": key.target_table,
        "utype": None,
        "description": key.description,
    }
