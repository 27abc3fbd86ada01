"""A GAVO DaCHS of its own for tests: Debian's program on a fresh PostgreSQL, on ports of the loopback."""

from __future__ import annotations

import grp
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from tests import pg
from tests.clients import missing, require
from tests.serving import PATIENCE, finish, free_port

SETTINGS = """\
[general]
rootDir: {root}
tempDir: {root}/tmp
maintainerAddress: tests@doppel.example
group: {group}
[web]
bindAddress: 127.0.0.1
serverPort: {port}
serverURL: http://127.0.0.1:{port}
[ivoa]
authority: dachs.example
"""
META = """\
publisher: DaCHS of a test
publisherID: ivo://dachs.example/org
contact.name: Nobody
contact.address: Loopback
contact.email: tests@doppel.example
creator.name: Nobody
authority.creationDate: 2024-02-29T12:00:00
authority.shortName: dachstest
authority.title: An authority for tests
authority.description: An authority for tests.
authority.managingOrg: ivo://dachs.example/org
organization.title: DaCHS of a test
organization.description: An organisation for tests.
organization.referenceURL: http://127.0.0.1/
site.description: A data centre for tests.
"""


@dataclass(frozen=True)
class Dachs:
    """A DaCHS of a test: where its resources lie, and how its commands are run."""

    base_url: str
    root: Path
    user: str | None  # who runs it, where root may not
    group: str

    @property
    def inputs(self) -> Path:
        """The directory of its resources."""
        return self.root / "inputs"

    def run(self, *words: str) -> str:
        """What one of its commands prints."""
        done = subprocess.run(
            [require("dachs"), *words], capture_output=True, text=True, timeout=PATIENCE, **self._process()
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"dachs {' '.join(words)}: {said[-2000:]}"
        return said

    def give(self, directory: Path) -> None:
        """Makes a directory of resources its own."""
        target = self.inputs / directory.name
        shutil.copytree(directory, target)
        self.own(target)

    def know(self, vocabulary: str, terms: Iterable[str]) -> None:
        """Keeps terms of an IVOA vocabulary where DaCHS keeps what it loads: tests reach no network."""
        kept = self.root / "cache" / f"http://www.ivoa.net/rdf/{vocabulary}".replace("/", "=2F")
        kept.write_text(json.dumps({"terms": {term: {"label": term} for term in terms}}))
        self.own(kept)

    def own(self, path: Path) -> None:
        """Makes its user the owner of a path and of all below it."""
        if self.user is not None:
            for one in [path, *path.rglob("*")]:
                shutil.chown(one, self.user, self.group)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Its web server, until the end of the block."""
        log = self.root / "server.log"
        with log.open("wb") as out:
            server = subprocess.Popen(
                [require("dachs"), "serve", "start", "-f"], stdout=out, stderr=out, **self._process()
            )  # fmt: skip
            try:
                self._wait(server, log)
                yield
            finally:
                finish(server)

    def _wait(self, server: subprocess.Popen[bytes], log: Path) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and server.poll() is None:
            try:
                with urlopen(f"{self.base_url}/tap/availability", timeout=5):
                    return
            except (URLError, ConnectionError, TimeoutError):
                time.sleep(0.3)
        raise AssertionError(f"DaCHS does not answer: {log.read_text(errors='replace')[-2000:]}")

    def _process(self) -> dict[str, object]:
        settings = {"GAVOSETTINGS": str(self.root / "gavorc"), "HOME": str(self.root), "LC_ALL": "C.UTF-8"}
        environment = {"PATH": "/usr/bin:/bin", **settings}
        as_user = {} if self.user is None else {"user": self.user, "group": self.group, "extra_groups": []}
        return {"env": environment, "cwd": self.root, **as_user}


@contextmanager
def installed() -> Iterator[Dachs]:
    """A fresh DaCHS with an empty database, gone after the block."""
    require("dachs")
    programs = pg.programs_or_skip(pg.debian_programs(), "Debian's PostgreSQL 15 with q3c")
    if not Path("/usr/share/postgresql/15/extension/pg_sphere.control").exists():
        missing("pgSphere, without which DaCHS has no database, is not installed")
    user = pg.unprivileged()
    with pg.cluster(programs) as server, tempfile.TemporaryDirectory(prefix="doppel-dachs-") as directory:
        root, port = Path(directory), free_port()
        group = grp.getgrgid(user.pw_gid if user else os.getgid()).gr_name
        one = Dachs(f"http://127.0.0.1:{port}", root, user and user.pw_name, group)
        (root / "etc").mkdir()
        (root / "gavorc").write_text(SETTINGS.format(root=root, port=port, group=group))
        (root / "etc" / "defaultmeta.txt").write_text(META)
        one.own(root)
        database = urlsplit(pg.database(server, "gavo"))
        one.run(
            "init",
            "-d",
            f"dbname=gavo host={database.hostname} port={database.port} user={database.username}",
        )
        one.run("imp", "//obscore")
        for what in ("//services", "//tap", "//obscore"):
            one.run("pub", what)
        yield one
