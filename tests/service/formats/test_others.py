"""CSV, TSV, JSON, FITS, Parquet, Arrow, HTML and text, each read back by somebody else's reader."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import lxml.html
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table

from service.errors import ServiceFault, TimeoutFault, UsageFault
from service.formats.choose import FORMATS, choose_format
from service.formats.stream import Rows
from tests.service.formats.tables import COLUMNS, DATA, rows

NAMES = [column.name for column in COLUMNS]


def written(name: str, table: Rows) -> bytes:
    return b"".join(choose_format(name).write(table, (), ()))


def test_t15_csv_quotes_commas_lines_and_quotes() -> None:
    found = list(csv.reader(io.StringIO(written("csv", rows()).decode(), newline="")))
    assert found[0] == NAMES
    assert [row[NAMES.index("name")] for row in found[1:]] == [DATA["name"][0], "", "", DATA["name"][3]]
    assert [row[NAMES.index("big")] for row in found[1:]] == [str(2**53 + 1), str(-(2**62)), "", "0"]
    assert found[1][NAMES.index("place")] == "10.5 -20.25"


def test_csv_tells_null_from_empty() -> None:
    table = Rows(COLUMNS[7:8], iter([pa.RecordBatch.from_pydict({"name": ["", None]})]))
    assert written("csv", table) == b'name\r\n""\r\n\r\n'
    bare = Rows(COLUMNS[7:8], iter([pa.RecordBatch.from_pydict({"name": ["a"]})]))
    assert written("text/csv; header=absent", bare) == b"a\r\n"


def test_t15_tsv_has_no_tab_in_a_cell() -> None:
    lines = written("tsv", rows()).decode().splitlines()
    assert len(lines) == 5
    assert all(line.count("\t") == len(NAMES) - 1 for line in lines)


@pytest.mark.parametrize("overflow", [False, True])
def test_json_says_columns_rows_and_end(overflow: bool) -> None:
    found = json.loads(written("json", rows(overflow=overflow)))
    assert [column["name"] for column in found["columns"]] == NAMES
    assert found["columns"][5]["unit"] == "W.m**-2"
    by_name = {name: [row[i] for row in found["rows"]] for i, name in enumerate(NAMES)}
    for name in ("flag", "small", "count", "year", "big", "mjd", "name", "object", "place", "pair"):
        assert by_name[name] == DATA[name], name
    assert by_name["flux"] == [1.5, "Infinity", None, "-Infinity"]
    assert by_name["spectrum"][3] == [None, 3.0, 4.0]
    assert found["status"] == ("OVERFLOW" if overflow else "OK")


def test_fits_reads_back() -> None:
    with fits.open(io.BytesIO(written("fits", rows(repeat=3))), logical_as_bytes=True) as hdus:
        hdus.verify("exception")
        table, header = hdus[1].data, hdus[1].header
        assert table.names == NAMES
        assert len(table) == 12
        assert table["big"][:2].tolist() == DATA["big"][:2]
        assert table["name"][0] == DATA["name"][0]
        assert table["place"][3].tolist() == DATA["place"][3]
        assert np.isnan(table["mjd"][2])
        assert table["spectrum"].shape == (12, 3)
        assert table["flag"].tolist()[:4] == [b"T", b"F", b"", b"T"]
        assert header["TUNIT6"] == "W.m**-2"
        assert header["TUCD7"] == "time.epoch"
        assert header["TNULL4"] == -(2**31)
        assert table["object"][0] == "? Cen"
        assert "does not have in: object" in str(header["COMMENT"])


def test_parquet_carries_the_votable_metadata() -> None:
    file = pq.ParquetFile(pa.BufferReader(written("parquet", rows(overflow=True))))
    table = file.read()
    assert table.column_names == NAMES
    assert table.column("name").to_pylist() == DATA["name"]
    assert table.column("place").to_pylist() == DATA["place"]
    told = file.metadata.metadata
    assert told[b"QUERY_STATUS"] == b"OVERFLOW"
    assert told[b"IVOA.VOTable-Parquet.version"] == b"1.0"
    ET.fromstring(told[b"IVOA.VOTable-Parquet.content"])


def test_arrow_streams() -> None:
    with pa.ipc.open_stream(written("arrow", rows(repeat=2))) as reader:
        found = [(batch, metadata) for batch, metadata in reader.iter_batches_with_custom_metadata()]
    assert sum(batch.num_rows for batch, _ in found) == 8
    assert dict(found[-1][1])[b"QUERY_STATUS"] == b"OK"
    assert reader.schema.field("flux").metadata[b"ucd"] == b"phot.flux"


def test_html_escapes_everything() -> None:
    text = written("html", rows(overflow=True)).decode()
    assert "ivo://a/b?c&amp;d&lt;e&gt;" in text
    assert "cut by MAXREC=4" in text
    evil = Rows(
        COLUMNS[7:8],
        iter(
            [
                pa.RecordBatch.from_pydict(
                    {"name": ['http://x/"onclick=alert(1)', "javascript:x", "http://ok/a"]}
                )
            ]
        ),
    )
    page = written("html", evil).decode()
    assert 'href="http://x/&quot;onclick' in page
    assert '<a href="http://ok/a">' in page
    assert 'href="javascript' not in page


def test_text_is_aligned() -> None:
    lines = written("text", rows()).decode().splitlines()
    assert len(lines) == 6
    assert lines[0].split() == NAMES


def read_back(name: str, content: bytes) -> tuple[list[str], int]:
    """Names of the columns, and how many rows there are."""
    if name.startswith("votable"):
        table = parse_single_table(io.BytesIO(content))
        return [field.name for field in table.fields], len(table.array)
    match name:
        case "json":
            told = json.loads(content)
            return [column["name"] for column in told["columns"]], len(told["rows"])
        case "fits":
            with fits.open(io.BytesIO(content)) as hdus:
                return hdus[1].columns.names, len(hdus[1].data)
        case "parquet":
            found = pq.read_table(pa.BufferReader(content))
            return found.column_names, found.num_rows
        case "arrow":
            found = pa.ipc.open_stream(content).read_all()
            return found.column_names, found.num_rows
        case "html":
            page = lxml.html.fromstring(content)
            return [head.text for head in page.iter("th")], len(page.findall(".//tbody/tr"))
        case "text":
            names, _, *lines = content.decode().splitlines()
            return names.split(), len(lines)
    names, *lines = csv.reader(io.StringIO(content.decode()), delimiter="\t" if name == "tsv" else ",")
    return names, len(lines)


@pytest.mark.parametrize("name", [known.name for known in FORMATS if known.name != "csv-bare"])
def test_t23_an_empty_result_is_written_with_its_columns(name: str) -> None:
    assert read_back(name, written(name, Rows(COLUMNS, iter(())))) == (NAMES, 0)
    names, count = read_back(name, written(name, rows()))
    assert (names, count) == (NAMES, 4)


def test_t23_an_empty_result_without_a_header_is_nothing() -> None:
    assert written("csv-bare", Rows(COLUMNS, iter(()))) == b""


@pytest.mark.parametrize("name", ["csv", "tsv", "text", "fits", "parquet", "arrow"])
def test_a_late_fault_breaks_formats_that_have_no_word_for_it(name: str) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from rows().batches
        raise TimeoutFault("too long")

    with pytest.raises(ServiceFault, match="too long"):
        written(name, Rows(COLUMNS, failing()))


@pytest.mark.parametrize(
    ("asked", "name", "answered"),
    [
        (None, "votable", "application/x-votable+xml"),
        ("text/xml", "votable", "text/xml"),
        ("VOTable", "votable", "application/x-votable+xml"),
        (
            'application/x-votable+xml ; serialization="BINARY2"',
            "votable-b2",
            "application/x-votable+xml;serialization=binary2",
        ),
        ("text/csv", "csv", "text/csv;header=present"),
        ("TEXT/CSV;charset=utf-8", "csv", "text/csv;header=present"),
        ("tsv", "tsv", "text/tab-separated-values"),
        ("parquet", "parquet", "application/vnd.apache.parquet"),
        ("application/fits", "fits", "application/fits"),
    ],
)
def test_d10_d12_d13_formats_by_name_and_media_type(asked: str | None, name: str, answered: str) -> None:
    found = choose_format(asked)
    assert (found.name, found.media_type) == (name, answered)


@pytest.mark.parametrize("asked", ["docx", "application/x-votable+xml;serialization=fancy", "image/png"])
def test_d11_an_unknown_format_is_refused(asked: str) -> None:
    with pytest.raises(UsageFault, match="No such output format"):
        choose_format(asked)
