"""Harvesting from an SSA service on the loopback: files, facts, faults."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.io import fits

from encoder.collection import Collection, CollectionConfig
from encoder.harvest import harvest

ANSWER = """<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">
<INFO name="QUERY_STATUS" value="OK"/><TABLE>
<FIELD name="acref" datatype="char" arraysize="*" utype="ssa:Access.Reference"/>
<FIELD name="did" datatype="char" arraysize="*" utype="ssa:Curation.PublisherDID"/>
<FIELD name="name" datatype="char" arraysize="*" utype="ssa:Target.Name"/>
<FIELD name="pos" datatype="double" arraysize="2" unit="deg" ucd="pos.eq"
 utype="ssa:Char.SpatialAxis.Coverage.Location.Value"/>
<FIELD name="mjd" datatype="double" unit="d" utype="ssa:Char.TimeAxis.Coverage.Location.Value"/>
<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"""
ROW = """<TR><TD>{base}/{file}</TD><TD>ivo://org.x/~?{file}</TD><TD>HD {number}</TD>
<TD>{ra} -5.5</TD><TD>{mjd}</TD></TR>"""


class Archive(BaseHTTPRequestHandler):
    """An SSA service of three rows, of which one file is missing."""

    asked: list[str]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.asked.append(self.path)
        if parts.path == "/ssa":
            assert parse_qs(parts.query)["FORMAT"] == ["fits"]
            base = "http://{}:{}".format(*self.server.server_address[:2])
            rows = "".join(
                ROW.format(base=base, file=f"{n}.fits", number=n, ra=10 + n, mjd=57_000 + n)
                for n in (1, 2, 3)
            )
            self._send(ANSWER.format(rows=rows).encode(), "application/x-votable+xml")
        elif parts.path == "/3.fits":
            self.send_error(404)
        else:
            self._send(star(), "application/fits")

    def _send(self, content: bytes, media_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


def star() -> bytes:
    header = fits.Header({"CRVAL1": 5000.0, "CDELT1": 1.0, "CUNIT1": "Angstrom"})
    kept = BytesIO()
    fits.PrimaryHDU(np.ones(100, dtype=np.float32), header).writeto(kept)
    return kept.getvalue()


@pytest.fixture
def archive() -> Iterator[str]:
    Archive.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Archive)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_harvest_is_a_collection_and_goes_on_where_it_stopped(archive: str, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    done = harvest(f"{archive}/ssa", tmp_path, progress=lambda at, total: steps.append((at, total)))
    assert done.kept == 2
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert list(done.refused) == ["ivo://org.x/~?3.fits"]
    assert "404" in done.refused["ivo://org.x/~?3.fits"]
    found = Collection.from_config(CollectionConfig("far", str(tmp_path)), tmp_path, "doppel.example")
    first, second = found.entries()
    assert first.facts.publisher_did == "ivo://org.x/~?1.fits"
    assert (first.facts.object, first.facts.ra, first.facts.dec, first.facts.mjd) == (
        "HD 1",
        11,
        -5.5,
        57_001,
    )
    assert len(found.load(second).wave) == 100
    Archive.asked = []
    assert harvest(f"{archive}/ssa", tmp_path).kept == 2
    assert not [path for path in Archive.asked if path in ("/1.fits", "/2.fits")]


def test_a_file_that_is_too_large_is_refused(archive: str, tmp_path: Path) -> None:
    done = harvest(f"{archive}/ssa", tmp_path, most_bytes=1000)
    assert done.kept == 0
    assert "larger than 1000 bytes" in done.refused["ivo://org.x/~?1.fits"]
    assert not (tmp_path / "spectra" / "org.x_~_1.fits").exists()
