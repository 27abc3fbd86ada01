"""STILTS taplint, the validator of the Virtual Observatory, over every stage that it has."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from index.releases import Releases
from service.config import Config
from tests import pg
from tests.serving import PATIENCE, serving

STILTS = shutil.which("stilts")
STAGES = (
    "TMV", "TME", "TMS", "TMC", "CPV", "CAP", "AVV", "QGE", "QPO", "QAS", "UWS", "MDQ", "OBS", "LOC", "UPL",
    "EXA",
)  # fmt: skip
KNOWN = (
    "F-LOC-NOTP",  # ObsLocTAP's table of plans: an archive of spectra has none
)
REPORT = re.compile(r"^([EWF]-([A-Z]{3})-[A-Z0-9]{4}).*", re.MULTILINE)


@contextmanager
def no_network() -> Iterator[tuple[str, list[str]]]:
    """`host:port` of a proxy that has nothing, and what was asked of it."""
    asked: list[str] = []

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_CONNECT = do_HEAD = do_POST = do_GET  # noqa: N815 (names of the base class)

        def log_message(self, format: str, *args: object) -> None:
            """Tells nobody."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield str(server.server_port), asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(params=["duckdb", "pgvector", "q3c"])
def service(
    request: pytest.FixtureRequest, config: Config, config_path: Path, tmp_path: Path
) -> Iterator[str]:
    """The base URL of the archive on the embedded engine, and on two PostgreSQL servers."""
    if request.param == "duckdb":
        yield request.getfixturevalue("live")
        return
    database = pg.database(request.getfixturevalue(f"{request.param}_server"), "taplint")
    Releases(config.releases, database).publish(Releases(config.releases).current().name)
    path = config_path.with_name(f"{request.param}.toml")
    index = f'[index]\nengine = "postgres"\ndatabase = "{database}"\n'
    path.write_text(f"{config_path.read_text(encoding='utf-8')}\n{index}", encoding="utf-8")
    with serving(path, tmp_path / "service.log") as base:
        yield base


@pytest.mark.skipif(STILTS is None, reason="stilts is not installed")
def test_t01_r01_o01_taplint_finds_nothing_of_ours(service: str) -> None:
    """Schemas come out of stilts itself: what it would fetch from elsewhere fails here and is told."""
    with no_network() as (port, asked):
        proxies = [
            f"-D{scheme}.proxy{key}"
            for scheme in ("http", "https")
            for key in ("Host=127.0.0.1", f"Port={port}")
        ]
        done = subprocess.run(
            [str(STILTS), *proxies, "-Dhttp.nonProxyHosts=127.0.0.1", "taplint", f"tapurl={service}/tap",
             "report=EWIFS", "maxrepeat=9999", f"stages={' '.join(STAGES)}"],
            capture_output=True, text=True, timeout=5 * PATIENCE, check=False,
        )  # fmt: skip
    assert asked == [], "taplint asked others for help, which this machine may not have"
    found = [line.group(0) for line in REPORT.finditer(done.stdout)]
    assert [line for line in found if not line.startswith(KNOWN)] == []
    assert tuple(re.findall(r"^Section ([A-Z]{3})", done.stdout, re.MULTILINE)) == STAGES
    assert "Totals: Errors: 0;" in done.stdout
