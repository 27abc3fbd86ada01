"""What only uploads have, bits, complex numbers and extreme ones, means the same on both engines."""

from __future__ import annotations

import io
import math

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import votable

from index.release import OpenRelease
from registry_metadata.columns import Column
from service.errors import UsageFault
from service.formats.choose import choose_format
from service.formats.read import read_table
from service.formats.stream import Rows
from service.limits import Limits
from service.query.run import Question, Upload, answer
from tests.service.query import asking
from tests.service.query.asking import ask

HEAD = '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
FIELDS = (
    ("one", "bit", None), ("bits", "bit", "9"), ("z", "floatComplex", None), ("w", "doubleComplex", None),
    ("ws", "doubleComplex", "2"), ("flags", "boolean", "3"), ("u", "unsignedByte", "*"), ("open", "bit", "*"),
)  # fmt: skip
ROWS = (
    ("1", "101010101", "1 -2", "3 4", "1 2 3 4", "T F T", "1 255", "1 1 0"),
    ("0", "000000001", "0 0.5", "1e300 -1", "0 0 0 1", "F F F", "7", "0"),
)


def table(*, last: int | None = None) -> bytes:
    """The columns up to `last`: of an open array of bits astropy reads a byte for each in binary."""
    fields = (
        f'<FIELD name="{name}" datatype="{kind}"{f" arraysize={chr(34)}{size}{chr(34)}" if size else ""}/>'
        for name, kind, size in FIELDS[:last]
    )
    rows = (f"<TR>{''.join(f'<TD>{cell}</TD>' for cell in row[:last])}</TR>" for row in ROWS)
    end = "</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    return "".join([HEAD, *fields, "<DATA><TABLEDATA>", *rows, end]).encode()


@pytest.fixture(scope="module")
def upload() -> Upload:
    return Upload(*read_table(table(), "t", Limits()))


@pytest.mark.parametrize("serialization", ["binary2", "binary", "tabledata"])
def test_t34_bits_and_complex_numbers_round_trip(archive: OpenRelease, serialization: str) -> None:
    content = table(last=None if serialization == "tabledata" else -1)
    upload = Upload(*read_table(content, "t", Limits()))
    asked = Question("SELECT * FROM TAP_UPLOAD.t", uploads={"t": upload})
    with answer(archive, asked) as found:
        written = choose_format(f"application/x-votable+xml;serialization={serialization}")
        answered = b"".join(written.write(Rows.of(found), (), ()))
    sent, back = (votable.parse_single_table(io.BytesIO(each)) for each in (content, answered))
    assert [(f.name, f.datatype, f.arraysize) for f in back.fields] == [
        (f.name, f.datatype, f.arraysize) for f in sent.fields
    ]
    for name, kind, size in FIELDS[: len(sent.fields)]:
        if serialization != "tabledata" and (kind, size) == ("bit", None):
            continue  # astropy looks for it in another place of the byte than VOTable 1.4 (6) says
        for mine, theirs in zip(back.array[name], sent.array[name], strict=True):
            assert np.array_equal(np.ma.getdata(mine), np.ma.getdata(theirs)), name


@pytest.mark.parametrize("name", ["csv", "json", "fits", "parquet", "html", "text"])
def test_t34_they_are_written_in_every_format(archive: OpenRelease, upload: Upload, name: str) -> None:
    with answer(archive, Question("SELECT * FROM TAP_UPLOAD.t", uploads={"t": upload})) as found:
        assert b"".join(choose_format(name).write(Rows.of(found), (), ()))


def test_complex_numbers_are_not_compared(archive: OpenRelease, upload: Upload) -> None:
    with pytest.raises(UsageFault, match="an array and a number cannot be compared"):
        ask(archive, "SELECT * FROM TAP_UPLOAD.t WHERE z > 1", uploads={"t": upload})


def test_a14_numbers_at_the_ends_of_their_range_mean_what_numpy_says(archive: OpenRelease) -> None:
    numbers = [math.nan, -math.inf, 1e308, -1e16, 123.456]
    sent = asking.upload({"i": ("int", list(range(5))), "x": ("double", numbers)})
    wanted = "EXP(x) AS e, POWER(x, 0.3) AS p, ROUND(x, 2) AS r, TRUNCATE(x, 1) AS t"
    found = ask(archive, f"SELECT {wanted} FROM TAP_UPLOAD.t ORDER BY i", uploads={"t": sent})
    x = np.array(numbers)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(found.column("e"), np.exp(x), rtol=1e-12)
        np.testing.assert_allclose(found.column("p"), np.power(x, 0.3), rtol=1e-12)
    np.testing.assert_allclose(found.column("r"), [*numbers[:4], 123.46], rtol=1e-15)
    np.testing.assert_allclose(found.column("t"), [*numbers[:4], 123.4], rtol=1e-15)
    counted = ask(archive, "SELECT ivo_histogram(x, 0, 200, 2) AS h FROM TAP_UPLOAD.t", uploads={"t": sent})
    assert counted.rows == [([2, 0, 1, 1],)]


def test_a29_a_boolean_is_cast_to_1_or_0(archive: OpenRelease) -> None:
    column, values = Column("b", "boolean"), pa.table({"b": pa.array([True, False, None])})
    casts = ", ".join(f"CAST(b AS {kind})" for kind in ("SMALLINT", "BIGINT", "DOUBLE PRECISION"))
    found = ask(archive, f"SELECT {casts} FROM TAP_UPLOAD.t", uploads={"t": Upload((column,), values)})
    assert found.rows == [(1, 1, 1.0), (0, 0, 0.0), (None, None, None)]


def test_a24_a_position_that_is_not_known_lies_in_no_polygon(archive: OpenRelease) -> None:
    ras, decs = [10.0, math.nan, 10.0, None], [85.0, 85.0, math.nan, 85.0]
    sent = asking.upload({"i": ("int", [0, 1, 2, 3]), "a": ("double", ras), "d": ("double", decs)})
    pole = "POLYGON(0 * i, 80, 90, 80, 180, 80, 270, 80)"
    asked = f"SELECT i FROM TAP_UPLOAD.t WHERE 1 = CONTAINS(POINT(a, d), {pole})"
    assert ask(archive, asked, uploads={"t": sent}).rows == [(0,)]
