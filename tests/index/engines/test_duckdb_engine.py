"""The embedded engine: read-only, bounded in time, uploads seen by one statement alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from index.engines.duckdb_engine import FEW_ROWS, FEW_VALUES, DuckDBEngine
from index.engines.engine import EngineError, EngineLimits, EngineTimeout
from index.engines.watchdog import STOPPER
from index.release import OpenRelease

ENDLESS = "SELECT SUM(SQRT(a.i * b.i)) FROM range(1000000) AS a(i), range(1000000) AS b(i)"


def test_bound_values_and_uploads(synthetic_release: OpenRelease) -> None:
    upload = pa.table({"did": [synthetic_release.did_of(3), synthetic_release.did_of(4)]})
    sql = (
        "SELECT s.spectrum_id FROM release.doppel.spectra AS s JOIN mine AS u ON s.ssa_pubdid = u.did "
        "WHERE s.row_number > ?"
    )
    with synthetic_release.engine.run(sql, [3], {"mine": upload}) as reader:
        (row,) = reader.read_all().to_pylist()
    assert row == {"spectrum_id": synthetic_release.facts_of(4).spectrum_id}


@pytest.mark.parametrize("n_rows", [0, 1, FEW_VALUES, FEW_VALUES + 1])
@pytest.mark.parametrize("common", ["", "WITH w AS (SELECT $1 AS least) "])
def test_small_tables_are_as_large_ones(synthetic_release: OpenRelease, n_rows: int, common: str) -> None:
    numbers = pa.array(range(n_rows), pa.int64())
    halves = pa.array([None if n == 1 else n / 2 for n in range(n_rows)], pa.float64())
    names = pa.array([f"'{n}" for n in range(n_rows)], pa.string())
    tables = {'my "own"': pa.table({"n": numbers, 'half "n"': halves, "name": names})}
    least = "(SELECT least FROM w)" if common else "$1"
    sql = f'{common}SELECT n, "half ""n""", name FROM "my ""own""" WHERE n >= {least} ORDER BY n'
    wanted = [(n, None if n == 1 else n / 2, f"'{n}") for n in range(1, n_rows)]
    engine = synthetic_release.engine
    assert engine.rows(sql, [1], tables) == engine.short(sql, [1], tables)[0] == wanted
    assert [tuple(row.values()) for row in engine.table(sql, [1], tables).to_pylist()] == wanted


def test_an_upload_is_not_seen_by_another_statement(synthetic_release: OpenRelease) -> None:
    sql = "SELECT * FROM mine"
    with synthetic_release.engine.run(sql, tables={"mine": pa.table({"a": [1]})}) as reader:
        with pytest.raises(EngineError, match="mine"), synthetic_release.engine.run(sql):
            pass
        assert reader.read_all().num_rows == 1


def test_a_statement_that_is_known_takes_the_values_of_each_request(synthetic_release: OpenRelease) -> None:
    engine = synthetic_release.engine
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: engine.rows("SELECT $1 + u.a FROM u", *of_request(n)), range(200)))
    assert found == [[(3 * n,)] for n in range(200)]


def of_request(number: int) -> tuple[list[int], dict[str, pa.Table]]:
    return [number], {"u": pa.table({"a": [2 * number]})}


@pytest.mark.parametrize("n_rows", [0, 1, FEW_ROWS - 1, FEW_ROWS, FEW_ROWS + 1, 3 * FEW_ROWS])
def test_a_short_answer_is_whole(synthetic_release: OpenRelease, n_rows: int) -> None:
    first, others = synthetic_release.engine.short(f"SELECT i FROM range({n_rows}) AS r(i) ORDER BY i")
    rest = others.column(0).to_pylist() if others is not None else []
    assert [i for (i,) in first] + rest == list(range(n_rows))
    assert len(first) <= FEW_ROWS


def test_a_short_answer_that_takes_too_long_is_interrupted(synthetic_release: OpenRelease) -> None:
    with pytest.raises(EngineTimeout):
        synthetic_release.engine.short(ENDLESS, timeout=0.2)


def test_a_long_statement_is_interrupted(synthetic_release: OpenRelease) -> None:
    with pytest.raises(EngineTimeout, match=r"longer than 0\.2 s"):  # noqa: SIM117
        with synthetic_release.engine.run(ENDLESS, timeout=0.2) as reader:
            reader.read_all()
    assert synthetic_release.engine.table("SELECT 1").num_rows == 1


def test_a_stop_that_comes_before_the_statement_begins_is_not_forgotten(
    synthetic_release: OpenRelease,
) -> None:
    """DuckDB forgets an interrupt when a statement begins: without a second one this takes an hour."""
    token = STOPPER.set(lambda stop: stop())
    try:
        with pytest.raises(EngineTimeout):
            synthetic_release.engine.short(ENDLESS, timeout=3600)
    finally:
        STOPPER.reset(token)


def test_many_cursors_at_once(synthetic_release: OpenRelease) -> None:
    counts: list[int] = []

    def ask() -> None:
        for _ in range(20):
            table = synthetic_release.engine.table("SELECT COUNT(*) FROM release.doppel.spectra")
            counts.append(table.column(0)[0].as_py())

    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert counts == [len(synthetic_release)] * 160


def test_an_answer_given_up_half_way_leaves_nothing_behind(synthetic_release: OpenRelease) -> None:
    with synthetic_release.engine.run("SELECT i FROM range(10000000) AS r(i)", timeout=30) as reader:
        assert next(reader).num_rows > 0
    assert synthetic_release.engine.table("SELECT 1").num_rows == 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/doppel-must-not-be'",
        "ATTACH '/tmp/doppel-must-not-be'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "DELETE FROM release.doppel.spectra",
        "CREATE TABLE release.doppel.mine (a INTEGER)",
    ],
)
def test_files_network_settings_and_the_release_are_out_of_reach(
    synthetic_release: OpenRelease, sql: str
) -> None:
    with pytest.raises(EngineError):
        synthetic_release.engine.table(sql)
    assert not Path("/tmp/doppel-must-not-be").exists()  # noqa: S108


def test_memory_is_bounded_and_spills_outside_the_release(synthetic_release: OpenRelease) -> None:
    before = sorted(synthetic_release.path.rglob("*"))
    limits = EngineLimits(memory="60MB", threads=1)
    with DuckDBEngine(synthetic_release.path / "catalogue.duckdb", limits) as engine:
        sql = (
            "SELECT COUNT(*) FROM (SELECT DISTINCT i, i * 2 AS j, i || 'x' AS k FROM range(3000000) AS r(i))"
        )
        assert engine.table(sql).column(0)[0].as_py() == 3_000_000
    assert sorted(synthetic_release.path.rglob("*")) == before


def test_a_file_that_is_no_catalogue_is_told(tmp_path: Path) -> None:
    (tmp_path / "catalogue.duckdb").write_bytes(b"not a database at all" * 100)
    with pytest.raises(EngineError, match=r"cannot open catalogue\.duckdb"):
        DuckDBEngine(tmp_path / "catalogue.duckdb")
