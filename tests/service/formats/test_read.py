"""Uploads in every format become the same columns and rows (CHECKLIST T34); bad ones are refused by name."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits, votable
from astropy.table import MaskedColumn, Table

from registry_metadata.columns import Column
from service.errors import TooLargeFault, UsageFault
from service.formats.choose import choose_format
from service.formats.read import read_table
from service.formats.stream import Rows
from service.formats.votable import write_votable
from service.limits import Limits
from tests.service.formats.tables import COLUMNS, DATA, rows

LIMITS = Limits()
NULL_AS_EMPTY = {"name", "object", "code"}


@pytest.mark.parametrize("serialization", ["TABLEDATA", "BINARY", "BINARY2"])
def test_t34_every_datatype_of_a_votable(serialization: str) -> None:
    content = b"".join(write_votable(rows(), serialization=serialization))  # type: ignore[arg-type]
    columns, table = read_table(content, "t", LIMITS)
    wanted = [replace(c, did=False) for c in COLUMNS]
    assert [replace(c, datatype="char") if c.name == "name" else c for c in columns] == wanted
    for name, values in DATA.items():
        found = table.column(name).to_pylist()
        if name in NULL_AS_EMPTY:
            assert [text or "" for text in found] == [text or "" for text in values]
        elif name == "spectrum":
            assert [cell or None for cell in found[:3]] == [[1.0, 2.5], None, None]
        else:
            assert found == values, name


def test_t34_bits_and_complex_numbers() -> None:
    table = Table(
        {
            "z": np.array([1 + 2j, 3 - 4j], np.complex128),
            "zs": np.array([[1 + 2j, 0], [3 - 4j, 1]], np.complex64),
            "mask": MaskedColumn([True, False], mask=[False, True]),
        }
    )
    buffer = io.BytesIO()
    votable.from_table(table).to_xml(buffer)
    columns, found = read_table(buffer.getvalue(), "t", LIMITS)
    assert [(c.datatype, c.arraysize) for c in columns] == [
        ("doubleComplex", None),
        ("floatComplex", "2"),
        ("bit", None),
    ]
    assert found.column("z").to_pylist() == [[1.0, 2.0], [3.0, -4.0]]
    assert found.column("zs").to_pylist()[1] == [3.0, -4.0, 1.0, 0.0]
    assert found.column("mask").to_pylist() == [True, None]


@pytest.mark.parametrize("name", ["fits", "parquet", "csv"])
def test_numbers_and_texts_of_other_formats(name: str) -> None:
    content = b"".join(choose_format(name).write(rows(), (), ()))
    columns, table = read_table(content, "t", LIMITS)
    assert [column.name for column in columns] == list(DATA)
    assert table.column("year").to_pylist() == DATA["year"]
    assert table.column("big").to_pylist() == DATA["big"]
    assert table.column("mjd").to_pylist() == DATA["mjd"]
    assert table.column("name").to_pylist()[0] == DATA["name"][0]
    assert table.column("object").to_pylist()[1] == "O'Neill"


def test_names_are_kept_as_they_are() -> None:
    columns, _ = read_table(b'a b,"x""y",select\n1,2,3\n', "t", LIMITS)
    assert columns == (Column("a b", "long"), Column('x"y', "long"), Column("select", "long"))


def test_text_outside_ascii_is_unicode() -> None:
    columns, table = read_table("a,b\nα,b\n".encode(), "t", LIMITS)
    assert [column.datatype for column in columns] == ["unicodeChar", "char"]
    assert table.column("a").to_pylist() == ["α"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<VOTABLE>",
        b"<html><body>not found</body></html>",
        b"<VOTABLE><RESOURCE><TABLE><FIELD name='a' datatype='nothing'/></TABLE></RESOURCE></VOTABLE>",
        b"SIMPLE  =                    T",
        b"PAR1 is not enough",
        b"a,b\n1\n",
        b"a,a\n1,2\n",
        b"\x00\xff\xfe\x01\x02",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><VOTABLE>&b;</VOTABLE>',
        b'<?xml version="1.0"?><!DOCTYPE x SYSTEM "file:///etc/passwd"><VOTABLE/>',
        b'<VOTABLE version="1.3"><RESOURCE><TABLE><FIELD datatype="int"/></TABLE></RESOURCE></VOTABLE>',
        b"<!--" + b"x" * 200_000 + b'--><!DOCTYPE x [<!ENTITY a "aaaa">]><VOTABLE>&a;</VOTABLE>',
        '<!DOCTYPE x [<!ENTITY a "aaaa">]><VOTABLE>&a;</VOTABLE>'.encode("utf-16le"),
        b"<VOTABLE>" + b"<RESOURCE>" * 100_000,
    ],
)
def test_what_cannot_be_read_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(UsageFault, match="The upload mine"):
        read_table(content, "mine", LIMITS)


def test_t35_too_many_rows_or_columns_are_an_error() -> None:
    with pytest.raises(TooLargeFault, match="3 rows: at most 2"):
        read_table(b"a\n1\n2\n3\n", "t", replace(LIMITS, upload_rows=2))
    with pytest.raises(TooLargeFault, match="2 columns: at most 1"):
        read_table(b"a,b\n1,2\n", "t", replace(LIMITS, upload_columns=1))
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": range(10)}), sink)
    with pytest.raises(TooLargeFault, match="10 rows"):
        read_table(sink.getvalue(), "t", replace(LIMITS, upload_rows=2))


def many_fields() -> bytes:
    return b"<VOTABLE><RESOURCE><TABLE>" + b"<FIELD name='a' datatype='int'/>" * 100_000


def empty_rows() -> bytes:
    """A FITS table of a thousand million rows of no width."""
    sink = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(Table({"a": [1.0]}))]).writeto(sink)
    for old, new in ((b"'D       '", b"'0D      '"), (cards(8), cards(0)), (rows_card(1), rows_card(10**9))):
        assert old in sink.getvalue()
        sink = io.BytesIO(sink.getvalue().replace(old, new))
    return sink.getvalue()


def cards(width: int) -> bytes:
    return f"NAXIS1  = {width:20d}".encode()


def rows_card(count: int) -> bytes:
    return f"NAXIS2  = {count:20d}".encode()


def shared_heap() -> bytes:
    """FITS: every row points to the same million numbers."""
    sink, rows = io.BytesIO(), 2_000
    column = fits.Column(
        "a", "PD()", array=np.array([np.zeros(1_000_000), *[np.zeros(0)] * (rows - 1)], object)
    )
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column])]).writeto(sink)
    content = bytearray(sink.getvalue())
    start = content.index(b"XTENSION")
    start += 2880 * (1 + content[start:].index(b"END ") // 2880)
    content[start : start + 8 * rows] = bytes(content[start : start + 8]) * rows
    return bytes(content)


def parquet(table: pa.Table, *, store_schema: bool = False) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", store_schema=store_schema)
    return sink.getvalue()


def one_long_text() -> bytes:
    places = pa.array(np.zeros(20_000, np.int32))
    return parquet(pa.table({"a": pa.DictionaryArray.from_arrays(places, pa.array(["x" * 100_000]))}))


def one_number() -> bytes:
    return parquet(pa.table({f"a{i}": np.zeros(1_900_000) for i in range(40)}))


@pytest.mark.parametrize("bomb", [many_fields, empty_rows, shared_heap, one_long_text, one_number])
def test_t35_what_unpacks_to_more_is_refused_before_it_does(bomb: Callable[[], bytes]) -> None:
    content = bomb()
    assert len(content) < 10_000_000
    with pytest.raises(TooLargeFault, match=r"at most \d+ are allowed"):
        read_table(content, "t", replace(LIMITS, upload_bytes=len(content) + 1_000_000))


@pytest.mark.parametrize("name", ["fits", "parquet", "VOParquet of others"])
def test_t34_regions_of_other_formats_are_regions(name: str) -> None:
    """By TXTYP in FITS; in Parquet by the metadata of fields, or by the VOTable in that of the file."""
    content = b"".join(choose_format(name.split(" ")[0].removeprefix("VO").lower()).write(circles(), (), ()))
    if name.startswith("VO"):
        table = pq.read_table(io.BytesIO(content))
        bare = pa.schema([pa.field(f.name, f.type) for f in table.schema], metadata=table.schema.metadata)
        content = parquet(table.cast(bare), store_schema=True)
    columns, table = read_table(content, "t", LIMITS)
    (region,) = [column for column in columns if column.name == "region"]
    assert (region.xtype, region.unit, region.ucd) == ("circle", "deg", "pos.outline")
    assert table.column("region").to_pylist() == [[10.0, 20.0, 1.0], [30.0, -40.0, 2.0]]


def fits_of(form: str, values: Any, **more: Any) -> bytes:
    sink = io.BytesIO()
    table = fits.BinTableHDU.from_columns([fits.Column("v", form, array=values, **more)])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(sink)
    return sink.getvalue()


def ragged(*cells: Any) -> npt.NDArray[np.object_]:
    found = np.empty(len(cells), object)
    found[:] = [np.asarray(cell) for cell in cells]
    return found


@pytest.mark.parametrize(
    ("form", "values", "more", "datatype", "wanted"),
    [
        ("I", np.array([0, 65535], np.uint16), {"bzero": 32768}, "int", [0, 65535]),
        ("J", np.array([0, 2**32 - 1], np.uint32), {"bzero": 2**31}, "long", [0, 2**32 - 1]),
        ("K", np.array([0, 2**62], np.uint64), {"bzero": 2**63}, "long", [0, 2**62]),
        ("X", np.array([[True], [False]]), {}, "boolean", [True, False]),
        ("2M", np.array([[1 + 2j, 3], [0, 1j]]), {}, "doubleComplex", [[1.0, 2.0, 3.0, 0.0], [0, 0, 0, 1.0]]),
        ("6A", np.array([["ab", "c"]]), {"dim": "(3,2)"}, "char", ["ab c"]),
        ("PA()", ragged(["a", "b"], ["c"]), {}, "char", ["ab", "c"]),
        ("PE()", ragged([], []), {}, "float", [[], []]),
        ("PE()", ragged(), {}, "float", []),
    ],
)
def test_t34_types_of_fits(form: str, values: Any, more: Any, datatype: str, wanted: list[Any]) -> None:
    (column,), table = read_table(fits_of(form, values, **more), "t", LIMITS)
    assert column.datatype == datatype
    assert table.column("v").to_pylist() == wanted


@pytest.mark.parametrize(
    ("array", "datatype", "wanted"),
    [
        (pa.array([2**63 - 1], pa.uint64()), "long", [2**63 - 1]),
        (pa.array([Decimal("1.10"), None]), "double", [1.1, None]),
        (pa.array([1_577_840_523_456_789], pa.timestamp("us")), "char", ["2020-01-01T01:02:03.456789"]),
        (pa.array([0], pa.timestamp("ns", "Europe/Berlin")), "char", ["1970-01-01T00:00:00"]),
        (pa.array([0], pa.date32()), "char", ["1970-01-01T00:00:00"]),
        (pa.array([np.nan, np.inf]), "double", [None, np.inf]),
        (pa.array([[1, None], [255]], pa.list_(pa.uint8())), "short", [[1, None], [255]]),
        (pa.array([[1.0]], pa.list_(pa.float32(), 1)), "float", [[1.0]]),
    ],
)
def test_t34_types_of_parquet(array: pa.Array, datatype: str, wanted: list[Any]) -> None:
    (column,), table = read_table(parquet(pa.table({"v": array}), store_schema=True), "t", LIMITS)
    assert column.datatype == datatype
    assert table.column("v").to_pylist() == wanted


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (fits_of("K", np.array([2**63], np.uint64), bzero=2**63), "9223372036854775808 not in range"),
        (
            parquet(pa.table({"v": [{"a": 1}]})),
            "the column v is of type struct<a: int64>, which VOTable lacks",
        ),
        (parquet(pa.table({"v": [["a"]]})), "the column v has lists of string, which VOTable lacks"),
        (gzip.compress(b"a,b"), "neither VOTable, FITS nor Parquet, and no CSV in UTF-8"),
    ],
    ids=["unsigned", "struct", "texts", "gzip"],
)
def test_t34_types_that_votable_lacks_are_refused(content: bytes, words: str) -> None:
    with pytest.raises(UsageFault, match=words):
        read_table(content, "t", LIMITS)


def test_t34_logical_null_of_fits() -> None:
    columns = (Column("one", "boolean"), Column("two", "boolean", "2"))
    cells = {"one": [True, None, False], "two": [[None, True], None, [False, True]]}
    batch = pa.RecordBatch.from_pydict(cells)
    content = b"".join(choose_format("fits").write(Rows(columns, iter([batch])), (), ()))
    _, table = read_table(content, "t", LIMITS)
    assert table.to_pydict() == cells


def circles() -> Rows:
    column = Column("region", "double", "3", xtype="circle", unit="deg", ucd="pos.outline")
    values = pa.array([[10.0, 20.0, 1.0], [30.0, -40.0, 2.0]], pa.list_(pa.float64(), 3))
    batch = pa.RecordBatch.from_arrays([values], names=["region"])
    return Rows((column,), iter([batch]))
