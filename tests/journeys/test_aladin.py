"""Aladin Desktop itself: a row that another program points at shows its likes on Aladin's sky."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from astropy.coordinates import SkyCoord

from index.release import OpenRelease
from tests.clients import require
from tests.samp import Program, doppel_samp, until
from tests.topcat import screen

JAR = "/usr/share/java/aladin.jar"
SCRIPT, SPECTRUM, TABLE = "script.aladin.send", "spectrum.load.ssa-generic", "table.load.votable"


@pytest.fixture(scope="module")
def script(lockfile: Path) -> Iterator[Program]:
    program = Program(lockfile, "a script")
    yield program
    program.leave()


@pytest.fixture(scope="module")
def aladin(lockfile: Path, script: Program) -> Iterator[str]:
    """Its id on the hub, which it looks for in its user's home alone.

    `-local`: it looks for no servers; its standard input must stay open.
    """
    require("aladin")
    home = lockfile.parent
    with screen() as display, (home / "log").open("wb") as log:
        environment = {**os.environ, "DISPLAY": display}
        command = ["java", f"-Duser.home={home}", "-jar", JAR, "-local", "-noreleasetest"]
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log
        ) as process:
            try:
                id_ = script.find("Aladin", SCRIPT)
                yield id_
                script.client.notify(id_, {"samp.mtype": SCRIPT, "samp.params": {"script": "quit"}})
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=30)  # it leaves the hub, which would complain of its absence
            finally:
                process.kill()


def status(script: Program, aladin: str) -> str:
    """What Aladin says of its planes and views."""
    reply = script.ask(aladin, SCRIPT, {"script": "status"})
    return str(reply["samp.result"].get("script.result", ""))


def test_m02_aladin_shows_the_likes_and_points_at_the_nearest(
    live: str, lockfile: Path, script: Program, aladin: str, release: OpenRelease, tmp_path: Path
) -> None:
    rows = release.models["optical"].vectors.rows.tolist()
    star = next(facts for facts, _, _ in release.described(rows) if facts.ra is not None)
    until(lambda: status(script, aladin) is not None, "answer of Aladin")
    with doppel_samp(live, lockfile, tmp_path / "log", "-k", "6"):
        doppel = script.find("Doppel", SPECTRUM)
        reply = script.ask(doppel, SPECTRUM, {"spectrum-id": star.publisher_did})
        assert reply["samp.status"] == "samp.ok", reply
        shown = until(lambda: "NbObj   6" in (now := status(script, aladin)) and now, "six objects in Aladin")
        assert re.search(r"Type +Catalog", shown)
        until(lambda: centre(status(script, aladin)) is not None, "position in Aladin")
        assert "does not take it" not in (tmp_path / "log").read_text()


def centre(text: str) -> SkyCoord | None:
    """Of Aladin's view."""
    found = re.search(r"Centre +(\S+) (\S+)", text)
    return SkyCoord(found[1], found[2], unit=("hourangle", "deg")) if found else None
