"""What is written is read back by astropy, and passes stilts votlint."""

from __future__ import annotations

import io
import math
import re
import tracemalloc
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import votable
from astropy.io.votable.tree import VOTableFile

from registry_metadata.columns import Column
from service.errors import TimeoutFault
from service.formats.stream import Rows
from service.formats.votable import (
    InputParam,
    Serialization,
    ServiceDescriptor,
    error_document,
    field_ids,
    write_votable,
)
from tests.service.formats.tables import COLUMNS, DATA, rows
from tests.stilts import votlint

SERIALIZATIONS: tuple[Serialization, ...] = ("TABLEDATA", "BINARY", "BINARY2")
V = "{http://www.ivoa.net/xml/VOTable/v1.3}"
SIMILAR = ServiceDescriptor(
    "similar",
    "Similar spectra",
    "Spectra like this one",
    "http://x/similar_to",
    params=(InputParam("ID", ref="name"), InputParam("SPACE", options=("a", "b"))),
)


def read(document: bytes) -> VOTableFile:
    return votable.parse(io.BytesIO(document), verify="exception")


@pytest.fixture(params=SERIALIZATIONS)
def serialization(request: pytest.FixtureRequest) -> Serialization:
    found: Serialization = request.param
    return found


def test_every_datatype_reads_back(serialization: Serialization) -> None:
    table = read(b"".join(write_votable(rows(), serialization=serialization))).get_first_table()
    assert [field.name for field in table.fields] == [column.name for column in COLUMNS]
    for column in COLUMNS:
        assert_column(column, table.array[column.name], serialization)


def assert_column(column: Column, found: np.ma.MaskedArray, serialization: str) -> None:
    for value, wanted in zip(found, DATA[column.name], strict=True):
        if wanted is None:
            assert is_null(value, column, serialization), column.name
        elif isinstance(wanted, list):
            assert np.array_equal(np.ma.filled(value.astype(float), np.nan), wanted, equal_nan=True), (
                column.name
            )
        elif isinstance(wanted, float):
            assert value == np.float32(wanted) if column.datatype == "float" else value == wanted
        else:
            assert str(value).rstrip("\x00") == wanted if isinstance(wanted, str) else value == wanted


def is_null(value: object, column: Column, serialization: str) -> bool:
    if column.datatype in ("char", "unicodeChar"):
        return value is np.ma.masked or str(value) in ("", "None", "--")
    if isinstance(value, np.ndarray) and value.size == 0:
        return True
    return bool(
        np.all(np.ma.getmaskarray(value)) or (np.asarray(value).dtype.kind == "f" and np.all(np.isnan(value)))
    )


def test_x01_votlint_has_nothing_to_say(serialization: Serialization) -> None:
    written = write_votable(rows(), serialization=serialization, descriptors=[SIMILAR])
    assert votlint(b"".join(written)) == ""


def test_d30_status_comes_before_the_table_and_d22_overflow_after_it(serialization: Serialization) -> None:
    root = ET.fromstring(b"".join(write_votable(rows(overflow=True), serialization=serialization)))
    resource = root.find(f"{V}RESOURCE")
    assert resource is not None
    assert resource.get("type") == "results"
    children = [(child.tag.removeprefix(V), child.get("value")) for child in resource]
    assert children[0] == ("INFO", "OK")
    assert children[-2:] == [("TABLE", None), ("INFO", "OVERFLOW")]
    assert "MAXREC=4" in (resource[-1].text or "")


def test_d31_a_late_fault_is_a_last_info(serialization: Serialization) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from rows().batches
        raise TimeoutFault("The query took longer than 60 s; use async")

    document = b"".join(write_votable(Rows(COLUMNS, failing()), serialization=serialization))
    resource = ET.fromstring(document).find(f"{V}RESOURCE")
    assert resource is not None
    assert resource[-1].get("value") == "ERROR"
    assert resource[-1].text == "The query took longer than 60 s; use async"


def test_x09_characters_that_xml_forbids_are_left_out() -> None:
    root = ET.fromstring(b"".join(write_votable(rows(), serialization="TABLEDATA")))
    assert b"\x07" not in ET.tostring(root)
    strange = Rows((Column("a", "char", "*"),), iter([pa.RecordBatch.from_pydict({"a": ["x\x00y\x1fz￾"]})]))
    cell = ET.fromstring(b"".join(write_votable(strange, serialization="TABLEDATA"))).find(f".//{V}TD")
    assert cell is not None
    assert cell.text == "xyz"


def test_x02_ids_are_unique_names_and_refs_resolve() -> None:
    columns = tuple(Column(name, "int") for name in ("a", "A", "a b", "1st", "é", "ICRS"))
    ids = field_ids(columns)
    assert len({i.lower() for i in ids}) == len(ids)
    assert ids[0] == "a"
    document = read(b"".join(write_votable(rows(), descriptors=[SIMILAR])))
    param = next(p for g in document.resources[1].groups for p in g.entries if p.name == "ID")
    assert param.ref == "name"


def test_x07_positions_and_dates_name_their_frames() -> None:
    text = b"".join(write_votable(rows())).decode()
    assert '<COOSYS ID="ICRS" system="ICRS"/>' in text
    assert 'timeorigin="MJD-origin"' in text
    assert text.index("<COOSYS") < text.index("<TIMESYS") < text.index("<TABLE")


def test_x03_arraysize_one_is_never_written() -> None:
    assert b'arraysize="1"' not in b"".join(write_votable(rows(), descriptors=[SIMILAR]))


def test_d40_an_error_says_its_message() -> None:
    resource = ET.fromstring(error_document("a < b & c\x01", "UsageFault")).find(f"{V}RESOURCE")
    assert resource is not None
    assert (resource[0].get("name"), resource[0].get("value")) == ("QUERY_STATUS", "ERROR")
    assert resource[0].text == "a < b & c"


def test_an_empty_result_is_whole(serialization: Serialization) -> None:
    document = b"".join(write_votable(Rows(COLUMNS, iter(())), serialization=serialization))
    assert len(read(document).get_first_table().array) == 0


def test_memory_does_not_grow_with_the_rows() -> None:
    def peak(repeat: int) -> int:
        one = pa.RecordBatch.from_pydict({"x": np.arange(50_000.0)})
        tracemalloc.start()
        for _ in write_votable(Rows((Column("x", "double"),), iter([one] * repeat))):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(20) < 1.5 * peak(4)


def test_numbers_keep_every_digit(serialization: Serialization) -> None:
    values = np.random.default_rng(3).normal(size=2000) * 10.0 ** np.arange(2000).clip(0, 300)
    table = Rows((Column("x", "double"),), iter([pa.RecordBatch.from_pydict({"x": values})]))
    found = read(b"".join(write_votable(table, serialization=serialization))).get_first_table().array["x"]
    assert np.array_equal(found, values)
    assert not math.isnan(values.sum())


def test_letters_that_char_cannot_hold_are_never_lost_in_silence(serialization: Serialization) -> None:
    column, batch = Column("name", "char", "*"), pa.record_batch({"name": ["α Cen"]})
    text = b"".join(write_votable(Rows((column,), iter([batch])), serialization=serialization)).decode()
    if serialization == "TABLEDATA":
        assert "<TD>α Cen</TD>" in text
    else:
        assert re.search(r'value="ERROR">the column name has letters beyond ASCII', text)
