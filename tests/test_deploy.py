"""What `deploy/` says of PostgreSQL holds: the sheet of sizes is computed, roles suffice, settings exist."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
import pytest

from index.engines.engine import EngineError
from index.engines.pgvector_load import VectorReleases
from index.engines.vector_server import VectorServer, servers
from index.engines.vector_shards import VectorShards
from tests.index.on_servers import MODEL, RELEASE, source

DEPLOY = Path(__file__).parents[1] / "deploy"


def test_the_sheet_of_sizes_is_what_the_script_computes() -> None:
    run = subprocess.run([sys.executable, DEPLOY / "sizing.py"], capture_output=True, text=True, check=True)
    told = (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert [table in told for table in run.stdout.strip().split("\n\n")] == [True, True]


def test_one_role_publishes_and_another_only_reads(pgvector_server: str) -> None:
    made = pgvector_server.replace("/postgres", "/spectra")
    lines = (DEPLOY / "postgres.sql").read_text(encoding="utf-8").splitlines()
    parts = "\n".join(line for line in lines if not line.startswith("--")).split("\\connect spectra")
    for uri, part in zip((pgvector_server, made), parts, strict=True):
        with psycopg.connect(uri, autocommit=True) as connection:
            for statement in filter(None, map(str.strip, part.split(";"))):
                connection.execute(statement)
    publisher, reader = (made.replace("doppel@", f"{role}@") for role in ("doppel_publish", "doppel_read"))
    given = source(np.arange(20), np.eye(20)[:, :4], np.arange(20), np.ones(4), ["one", "two"])
    with closing(VectorReleases.of([publisher])) as releases:
        releases.load_model(RELEASE, MODEL, given)
        releases.publish(RELEASE, [MODEL])
    with closing(VectorShards.open(servers([reader]), RELEASE, MODEL)) as vectors:
        assert vectors.search(np.eye(4)[2], 1, np.ones(4)).rows.tolist() == [2]
    with (
        closing(VectorReleases.of([reader])) as releases,
        pytest.raises(EngineError, match="permission denied"),
    ):
        releases.load_model("r2", MODEL, given)


def test_the_server_knows_every_setting(pgvector_server: str) -> None:
    lines = (DEPLOY / "postgres.conf").read_text(encoding="utf-8").splitlines()
    names = [line.partition("=")[0].strip() for line in lines if not line.startswith("#")]
    with closing(VectorServer(pgvector_server)) as server, server.reading() as cursor:
        cursor.execute("SELECT count(*) FROM pg_settings WHERE name = ANY(%s)", (names,))
        assert cursor.fetchall() == [(len(names),)]
