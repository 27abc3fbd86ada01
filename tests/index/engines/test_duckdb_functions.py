"""Functions come with a release; one that has none of this version gets them all the same."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from index.content import CATALOGUE
from index.engines.duckdb_engine import DuckDBEngine
from index.engines.duckdb_functions import write_functions
from index.engines.engine import EngineError
from index.release import OpenRelease


@pytest.mark.parametrize("ready", [True, False], ids=["ready", "of another version"])
def test_functions_are_there(synthetic_release: OpenRelease, tmp_path: Path, ready: bool) -> None:
    assert len(list(synthetic_release.path.glob("functions-*.duckdb"))) == 1
    (tmp_path / CATALOGUE).symlink_to(synthetic_release.path / CATALOGUE)
    (tmp_path / "functions-0123456789ab.duckdb").write_bytes(b"others")
    if ready:
        write_functions(tmp_path)
    with closing(DuckDBEngine(tmp_path / CATALOGUE)) as engine:
        assert engine.rows("SELECT vec_dot([1.0, 2.0], [3.0, 4.0])") == [(11.0,)]
        with pytest.raises(EngineError, match="read-only"):
            engine.rows("CREATE TABLE release.doppel.mine (a INT)")
