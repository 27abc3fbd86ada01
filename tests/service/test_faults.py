"""What clients are told when a disk is full, or a database or files of spectra are gone; and what goes on."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event, text
from starlette.testclient import TestClient

from index.engines.postgres import connect
from index.release import OpenRelease
from index.releases import ReleaseHolder, Releases
from service.app import create_app
from service.config import Config
from service.errors import BusyFault
from service.protocols.products import product_url
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


def test_files_of_one_collection_are_gone_for_a_while(config_path: Path, tmp_path: Path) -> None:
    """A disk that is not mounted: its spectra are refused by name, those beside them and searches are not."""
    archive = tmp_path / "archive"
    ignored = shutil.ignore_patterns("work", "state")
    shutil.copytree(config_path.parent, archive, symlinks=True, ignore=ignored)
    settings, state = Config.read(archive / config_path.name, {}), State("", tmp_path / "state")
    with closing(state), closing(ReleaseHolder(Releases(settings.releases))) as holder:
        with holder.pin() as release:
            dids = {one: did_in(release, one) for one in ("sim_library", "sim_coude")}
        gone = (archive / "sim_coude").rename(archive / "unmounted")
        with TestClient(create_app(settings, holder, state)) as client:
            missing = {"ID": dids["sim_coude"]}
            for path in ("/soda/sync", "/derived/reconstruction"):
                answer = client.get(path, params=missing)
                assert (answer.status_code, "sim_coude does not exist" in answer.text) == (404, True), path
            assert client.get(product_url("", dids["sim_coude"], ".png")).status_code == 404
            assert client.get(product_url("", dids["sim_library"], ".vot")).status_code == 200
            assert client.get("/datalink/links", params=missing).status_code == 200
            assert client.get("/similar_to", params={**missing, "MAXREC": "3"}).status_code == 200
            page = client.get("/", params={"id": dids["sim_coude"]})
            assert page.status_code == 200
            assert "sim_coude does not exist" in page.text
            gone.rename(archive / "sim_coude")
            assert client.get(product_url("", dids["sim_coude"], ".vot")).status_code == 200


def did_in(release: OpenRelease, collection: str) -> str:
    """A spectrum of the collection that some model has embedded."""
    rows = [int(row) for model in release.models.values() for row in model.vectors.rows]
    return next(release.did_of(row) for row in rows if release.facts_of(row).collection == collection)


def test_a_database_that_does_not_answer_is_no_internal_error() -> None:
    with pytest.raises(BusyFault, match="the database of this archive does not answer") as fault, told(1.0):
        connect("postgresql://reader:secret@127.0.0.1:1/none")
    assert "secret" not in str(fault.value)
