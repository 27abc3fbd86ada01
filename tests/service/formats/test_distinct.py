"""What a format has no word for is widened or refused, and never taken for something else (CHECKLIST T34)."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits, votable

from registry_metadata.columns import Column
from service.formats.choose import choose_format
from service.formats.read import read_table
from service.formats.stream import Info, Rows
from service.limits import Limits


def written(name: str, column: Column, cells: list[Any], kind: pa.DataType) -> bytes:
    batch = pa.RecordBatch.from_arrays([pa.array(cells, kind)], names=[column.name])
    infos = (Info("release", "2026-a", "Release of the archive"),)
    return b"".join(choose_format(name).write(Rows((column,), iter([batch]), infos), (), ()))


BYTES = Column("v", "unsignedByte", "2")


@pytest.mark.parametrize("name", ["votable-td", "votable-b2"])
def test_t34_arrays_of_bytes_have_all_256(name: str) -> None:
    cells = [[255, 0], None, [1, 2]]
    _, table = read_table(written(name, BYTES, cells, pa.list_(pa.uint8())), "t", Limits())
    assert table.column("v").to_pylist() == cells


@pytest.mark.parametrize(
    ("name", "column", "cells", "kind", "words"),
    [
        (
            "votable-b",
            Column("v", "unsignedByte"),
            [255],
            pa.uint8(),
            "holds 255, which stands for NULL in BINARY",
        ),
        (
            "votable-b",
            BYTES,
            [None],
            pa.list_(pa.uint8()),
            "has a NULL, for which there is no word in BINARY",
        ),
        (
            "votable-b",
            Column("v", "bit"),
            [None],
            pa.bool_(),
            "has a NULL, for which there is no word in BINARY",
        ),
        (
            "votable-td",
            Column("v", "short", "*"),
            [[-(2**15)]],
            pa.list_(pa.int16()),
            "holds -32768, which stands",
        ),
    ],
)
def test_what_a_votable_cannot_tell_apart_ends_it(
    name: str, column: Column, cells: list[Any], kind: pa.DataType, words: str
) -> None:
    end = written(name, column, cells, kind).decode().rpartition("<INFO")[2]
    assert 'value="ERROR"' in end
    assert words in end


@pytest.mark.parametrize(
    ("cells", "datatype", "null"),
    [([255, None], "int16", -(2**15)), ([1, None], "uint8", 255), ([255], "uint8", None)],
)
def test_fits_widens_what_needs_all_its_numbers(cells: list[Any], datatype: str, null: int | None) -> None:
    content = written("fits", Column("v", "unsignedByte"), cells, pa.uint8())
    with fits.open(io.BytesIO(content)) as hdus:
        assert hdus[1].data["v"].dtype.newbyteorder("=") == datatype
        assert hdus[1].header.get("TNULL1") == null
    assert read_table(content, "t", Limits())[1].column("v").to_pylist() == cells


def test_a_single_bit_is_where_standard_and_astropy_look_for_it() -> None:
    content = written("votable-b2", Column("v", "bit"), [True, False, None], pa.bool_())
    assert np.ma.getdata(votable.parse_single_table(io.BytesIO(content)).array["v"]).tolist()[:2] == [1, 0]
    assert read_table(content, "t", Limits())[1].column("v").to_pylist() == [True, False, None]


@pytest.mark.parametrize("name", ["csv", "tsv", "text"])
def test_formats_without_a_header_of_types_say_null(name: str) -> None:
    content = written(name, Column("v", "short", "*"), [[1, None]], pa.list_(pa.int16()))
    assert content.split()[-2:] == [b"1", b"null"]


def test_json_has_values_of_infos_and_no_bare_infinity() -> None:
    content = written(
        "json", Column("v", "double", "*"), [[np.inf, -np.inf, np.nan, 1.0]], pa.list_(pa.float64())
    )
    told = json.loads(content, parse_constant=pytest.fail)
    assert told["infos"] == {"release": "2026-a"}
    assert told["rows"] == [[["Infinity", "-Infinity", None, 1.0]]]
