"""Uploaded VOTables in the shapes that astropy misreads, or does not read, become what they say."""

from __future__ import annotations

from base64 import b64encode
from struct import pack
from typing import Any

import pytest

from service.errors import UsageFault
from service.formats.read import read_table
from service.limits import Limits

HEAD = '<vot:VOTABLE version="1.4" xmlns:vot="http://www.ivoa.net/xml/VOTable/v1.3"><vot:RESOURCE><vot:TABLE>'
N = None
END = "</vot:DATA></vot:TABLE></vot:RESOURCE></vot:VOTABLE>"


def document(datatype: str, arraysize: str, data: str) -> bytes:
    """With a comment in which a FIELD is none, and attributes that hold what ends a tag."""
    size = f"arraysize='{arraysize}'" if arraysize else ""
    tag = f'<vot:FIELD name="a &gt; é" datatype="{datatype}" {size} ucd="x>y"><vot:DESCRIPTION/></vot:FIELD>'
    return f"{HEAD}<!-- <FIELD datatype='int'/> -->{tag}<vot:DATA>{data}{END}".encode()


def binary(rows: bytes, kind: str = "BINARY") -> str:
    stream = f'<vot:STREAM encoding="base64">{b64encode(rows).decode()}</vot:STREAM>'
    return f"<vot:{kind}>{stream}</vot:{kind}>"


def tabledata(*cells: str) -> str:
    rows = "".join(f"<vot:TR><vot:TD>{cell}</vot:TD></vot:TR>" for cell in cells)
    return f"<vot:TABLEDATA>{rows}</vot:TABLEDATA>"


def counted(count: int, data: bytes) -> bytes:
    return pack(">i", count) + data


@pytest.mark.parametrize(
    ("datatype", "arraysize", "data", "values"),
    [
        ("double", "1", tabledata("1.5", ""), [1.5, None]),
        ("int", "1", binary(pack(">ii", 7, -1)), [7, -1]),
        ("boolean", "3", tabledata("? T F", "true 0 ?", ""), [[N, True, False], [True, False, N], N]),
        ("boolean", "3", binary(b"?TF1\0f"), [[None, True, False], [True, None, False]]),
        ("boolean", "2", binary(b"\x80??\x00TF", "BINARY2"), [None, [True, False]]),
        ("boolean", "2x*", binary(counted(4, b"TF?T") + counted(0, b"")), [[True, False, None, True], []]),
        ("bit", "", binary(b"\x80\x00\x08"), [True, False, True]),
        ("bit", "2x*", tabledata("1 0 1 1"), [[True, False, True, True]]),
        ("short", "2x*", binary(counted(4, pack(">4h", 1, 2, 3, 4))), [[1, 2, 3, 4]]),
        ("doubleComplex", "2x*", binary(counted(2, pack(">4d", 1, 2, 3, 4))), [[1.0, 2.0, 3.0, 4.0]]),
        ("char", "3x2", tabledata("ab cd", ""), ["ab cd", ""]),
        ("char", "3x2", binary(b"ab\0cd\0abcdef"), ["ab cd", "abcdef"]),
        ("char", "3x*", binary(counted(6, b"abcdef") + counted(0, b"")), ["abcdef", ""]),
        ("unicodeChar", "2x2", binary("αβ日c".encode("utf-16-be")), ["αβ日c"]),
    ],
)  # fmt: skip
def test_t34_shapes_of_a_votable(datatype: str, arraysize: str, data: str, values: list[Any]) -> None:
    (column,), table = read_table(document(datatype, arraysize, data), "t", Limits())
    assert (column.name, column.ucd, column.datatype) == ("a > é", "x>y", datatype)
    assert column.arraysize == (None if arraysize in ("", "1") else arraysize)
    assert table.column(0).to_pylist() == values


@pytest.mark.parametrize(
    ("datatype", "arraysize", "data", "words"),
    [
        ("bit", "*", binary(counted(3, b"\xa0")), r"varying size \(\*\), which are read from TABLEDATA only"),
        ("boolean", "2", tabledata("T yes"), "'yes', which is no boolean: T, F and . are"),
    ],
)
def test_t34_what_cannot_be_told_is_refused(datatype: str, arraysize: str, data: str, words: str) -> None:
    with pytest.raises(UsageFault, match=words):
        read_table(document(datatype, arraysize, data), "t", Limits())
