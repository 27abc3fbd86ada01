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
from encoder.spectrum import RefusedSpectrum
from service.cli import main
from service.commands.harvest import load

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


def here(url: str, most_bytes: int) -> bytes:
    """Loads as the command does for an operator who named the loopback."""
    return load("127.0.0.1", url, most_bytes)


def test_a_harvest_is_a_collection_and_goes_on_where_it_stopped(archive: str, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    done = harvest(f"{archive}/ssa", tmp_path, here, progress=lambda at, total: steps.append((at, total)))
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
    assert harvest(f"{archive}/ssa", tmp_path, here).kept == 2
    assert not [path for path in Archive.asked if path in ("/1.fits", "/2.fits")]


def test_a_file_that_is_too_large_is_refused(archive: str, tmp_path: Path) -> None:
    done = harvest(f"{archive}/ssa", tmp_path, here, most_bytes=1000)
    assert done.kept == 0
    assert "larger than the 1000 bytes" in done.refused["ivo://org.x/~?1.fits"]
    assert not (tmp_path / "spectra" / "org.x_~_1.fits").exists()


def test_the_command_harvests_from_the_host_that_was_named(
    archive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["harvest", f"{archive}/ssa", str(tmp_path), "--json"]) == 0
    assert '"kept": 2' in capsys.readouterr().out
    assert "404" in (tmp_path / "refused.json").read_text()
    assert main(["harvest", f"{archive}/3.fits", str(tmp_path)]) == 1
    assert "gives no answer of SSA" in capsys.readouterr().err


def test_files_at_private_addresses_that_nobody_named_are_refused(archive: str, tmp_path: Path) -> None:
    def elsewhere(url: str, most_bytes: int) -> bytes:
        return load("archive.example", url, most_bytes)

    done = harvest(f"{archive}/ssa", tmp_path, elsewhere)
    assert done.kept == 0
    assert all("not a public one" in reason for reason in done.refused.values())
    assert not [path for path in Archive.asked if path.endswith(".fits")]
    with pytest.raises(RefusedSpectrum, match="Only http and https"):
        here("file:///etc/passwd", 1000)
