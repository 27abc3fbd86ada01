"""What clients are told when a disk is full or a database is gone: to come again, no more."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import event, text
from starlette.testclient import TestClient

from index.engines.postgres import connect
from index.release import OpenRelease
from index.releases import ReleaseHolder
from service.app import create_app
from service.config import Config
from service.errors import BusyFault
from service.query.engine import told
from service.state import State


def test_a_full_disk_of_the_state_is_told_and_reading_goes_on(
    config: Config, holder: ReleaseHolder, release: OpenRelease, tmp_path: Path
) -> None:
    """SQLite itself says that its disk is full: it may take no page more."""
    state = State("", tmp_path)
    event.listen(state.engine, "connect", lambda raw, _: raw.execute("PRAGMA max_page_count=1"))
    state.engine.dispose()
    row = int(release.models["optical"].vectors.rows[0])
    with TestClient(create_app(config, holder, state), base_url=config.service.url) as client:
        kept = [client.post("/encode", content=release.original(row).read_bytes()) for _ in range(3)][-1]
        assert (kept.status_code, kept.text.split(":")[0]) == (503, "TransientFault")
        assert "the disk is full" in kept.text
        assert kept.headers["Retry-After"]
        asked = {"LANG": "ADQL", "QUERY": "SELECT COUNT(*) AS n FROM doppel.spectra"}
        assert client.get("/tap/sync", params=asked).status_code == 200
    with state.engine.connect() as connection:
        assert connection.scalar(text("PRAGMA quick_check")) == "ok"
    state.close()


def test_the_line_of_the_operators_page_backs_up_a_state_in_use(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "deploy" / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^python3 (-c .*VACUUM.*)$", page, re.MULTILINE)
    state = State("", tmp_path / "state")
    token = state.keep_token("mine", b"pixels", 60.0)
    subprocess.run([sys.executable, *shlex.split(line)], cwd=tmp_path, check=True, timeout=60)
    state.close()
    (tmp_path / "again").mkdir()
    (tmp_path / "backup.sqlite").rename(tmp_path / "again" / "state.sqlite")
    again = State("", tmp_path / "again")
    kept = again.token(token)
    assert kept is not None
    assert kept.content == b"pixels"
    again.close()


def test_a_database_that_does_not_answer_is_no_internal_error() -> None:
    with pytest.raises(BusyFault, match="the database of this archive does not answer") as fault, told(1.0):
        connect("postgresql://reader:secret@127.0.0.1:1/none")
    assert "secret" not in str(fault.value)
