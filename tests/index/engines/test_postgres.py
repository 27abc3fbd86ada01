"""The server engine as such: uploads, time, cancelling, reading only; releases and their views."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from adbc_driver_postgresql.dbapi import Error

from index.engines.engine import EngineError, EngineLimits, EngineTimeout
from index.engines.postgres import PostgresEngine, _asked, connect
from index.engines.postgres_load import LOCK, PostgresReleases
from index.engines.postgres_sql import postgres_sql
from index.engines.vector_server import VectorServer
from index.engines.watchdog import STOPPER
from index.release import OpenRelease, ReleaseError
from index.releases import Releases
from tests import pg, synthetic

ENDLESS = "SELECT count(*) AS n FROM release.doppel.spectra AS a, release.doppel.spectra AS b, " + ", ".join(
    f"release.doppel.spectra AS c{n}" for n in range(6)
)


@pytest.fixture(scope="module")
def releases(pgvector_server: str, tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """Two releases, the second with other rows; both have been published."""
    root = tmp_path_factory.mktemp("postgres")
    releases = Releases(root / "releases", pg.database(pgvector_server, "releases"))
    for number, n_rows in enumerate((40, 30)):
        releases.publish(releases.write(synthetic.content(root / f"trained{number}", n_rows)))
    return releases


@pytest.fixture(scope="module")
def engine(releases: Releases) -> Iterator[PostgresEngine]:
    limits = EngineLimits(database=releases.database)
    with OpenRelease.open(releases.current(), limits).engine as engine:
        assert isinstance(engine, PostgresEngine)
        yield engine


def test_an_upload_is_seen_by_its_statement_alone(engine: PostgresEngine) -> None:
    upload = pa.table(
        {"a": [1, 2, 3], "t": ["x", None, "é"], "p": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float64(), 2))}
    )
    sql = 'SELECT a, t, p FROM "Mine" WHERE a >= $1 ORDER BY a'
    with engine.run(sql, [2], {"Mine": upload}) as reader:
        assert reader.read_all().to_pylist() == [
            {"a": 2, "t": None, "p": [1.0, 2.0]},
            {"a": 3, "t": "é", "p": [1.0, 2.0]},
        ]
    with pytest.raises(EngineError, match="Mine"), engine.run(sql, [2]):
        pass


def test_a_statement_that_runs_too_long_is_cancelled(engine: PostgresEngine) -> None:
    with pytest.raises(EngineTimeout), engine.run(ENDLESS, timeout=0.3) as reader:
        reader.read_all()
    assert engine.rows("SELECT 1 AS one FROM release.doppel.models LIMIT 1") == [(1,)]


def test_an_aborted_job_ends_its_statement_on_the_server(engine: PostgresEngine) -> None:
    token = STOPPER.set(lambda stop: threading.Timer(0.2, stop).start())
    try:
        with pytest.raises(EngineTimeout), engine.run(ENDLESS) as reader:
            reader.read_all()
    finally:
        STOPPER.reset(token)


def test_a_reader_that_is_left_does_not_spoil_the_connection(engine: PostgresEngine) -> None:
    many = pa.table({"i": pa.array(range(1_000_000))})
    with engine.run("SELECT i FROM many", tables={"many": many}) as reader:
        assert next(reader).num_rows
    assert engine.rows("SELECT 1 AS one FROM release.doppel.models LIMIT 1") == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pg_sleep(1)",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT * FROM release.pg_catalog.pg_authid",
        "SELECT currval('x')",
    ],
)
def test_a_function_or_table_that_is_not_known_is_refused(engine: PostgresEngine, sql: str) -> None:
    with pytest.raises(EngineError, match=r"no function|no table"), engine.run(sql):
        pass


@pytest.mark.parametrize("sql", ["DELETE FROM release.doppel.models", "DROP TABLE release.doppel.models"])
def test_nothing_is_written(engine: PostgresEngine, sql: str) -> None:
    with pytest.raises(EngineError), engine.run(sql) as reader:
        reader.read_all()


@pytest.fixture(scope="module")
def reader(releases: Releases) -> str:
    """The URI of a role without rights of its own, as the service needs it."""
    with connect(releases.database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE ROLE reader LOGIN")
        connection.commit()
    return releases.database.replace("//doppel@", "//reader@")


def test_a_role_without_rights_answers_from_a_release(releases: Releases, reader: str) -> None:
    upload = pa.table({"a": [1, 2]})
    with OpenRelease.open(releases.current(), EngineLimits(database=reader)).engine as engine:
        assert engine.rows("SELECT count(*) AS n FROM release.doppel.spectra") == [(30,)]
        assert engine.rows("SELECT sum(a) AS n FROM mine", tables={"mine": upload}) == [(3,)]
        assert engine.rows(
            "SELECT round(sqrt(2.0), 3) AS x, lower('Ü') AS l FROM release.doppel.models LIMIT 1"
        ) == [(1.414, "ü")]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO doppel.models SELECT * FROM doppel.models",
        "UPDATE doppel.models SET model = 'x'",
        "DELETE FROM {schema}.doppel_models",
        "DROP TABLE {schema}.doppel_models",
        "CREATE TABLE doppel.mine (a int)",
        "CREATE TABLE adql.mine (a int)",
        "CREATE OR REPLACE FUNCTION adql.sqrt(x float8) RETURNS float8 LANGUAGE sql AS 'SELECT 0.0::float8'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "COPY doppel.models TO PROGRAM 'cat'",
        "CREATE EXTENSION dblink",
    ],
)
def test_that_role_can_neither_write_nor_read_files(releases: Releases, reader: str, statement: str) -> None:
    """What the server itself refuses, were it ever asked."""
    schema = f'"release_{releases.current().name}"'
    with connect(reader) as connection, connection.cursor() as cursor:
        with pytest.raises(Error, match=r"permission denied|must be owner|not available|is not allowed"):
            cursor.execute(statement.format(schema=schema))
        connection.rollback()


def test_a_session_reads_only_for_a_limited_time_from_known_schemas(engine: PostgresEngine) -> None:
    """As every statement of a query finds it."""
    names = ("transaction_read_only", "statement_timeout", "search_path", "TimeZone")
    with connect(engine._uri) as connection, connection.cursor() as cursor:
        found = []
        for name in names:
            _asked(cursor, f"SELECT current_setting('{name}')", {}, 3.0).read_all()
            cursor.execute(f"SELECT current_setting('{name}')")
            found += cursor.fetchone()
    assert found == ["on", "5s", "pg_catalog, public, pg_temp", "UTC"]


@pytest.mark.parametrize("text", ["it's", "\\", "a\\'; DROP TABLE x; --", "$1", "%s", "é\n$$"])
def test_a_text_comes_back_as_it_went(engine: PostgresEngine, text: str) -> None:
    found = engine.rows("SELECT $1 AS a FROM release.doppel.models LIMIT 1", [text])
    assert found == [(text,)]


def test_a_text_with_the_character_0_is_refused() -> None:
    with pytest.raises(EngineError, match="character 0"):
        postgres_sql("SELECT $1", ["a\0b"], {})


@pytest.mark.parametrize(
    ("sql", "params", "expected"),
    [
        ("SELECT fmod($1, 360.0)", [1.5], 
         "SELECT adql.fmod(CAST('1.5' AS DOUBLE PRECISION), CAST(360.0 AS DOUBLE PRECISION))"),
        ("SELECT a // 2, a % 2, a % b", [], "SELECT a / 2, a % 2, adql.modulo(a, b)"),
        ("SELECT a LIKE 'x'", [], "SELECT a LIKE 'x' ESCAPE ''"),
        ("SELECT x[1], x[$1]", [3], "SELECT adql.element(x, 1), adql.element(x, CAST('3' AS INT))"),
        ("SELECT * FROM (SELECT 1)", [], "SELECT * FROM (SELECT 1) AS x1"),
    ],
)  # fmt: skip
def test_duckdbs_words_become_postgresqls(sql: str, params: list[object], expected: str) -> None:
    assert postgres_sql(sql, params, {}) == expected


NEAR = (
    "SELECT count(*) FROM release.doppel.spectra AS t1 WHERE (t1.dec BETWEEN 1.0 AND 3.0 AND (114.59 * asin("
    "sqrt(0.99 * (pow(sin((t1.dec - $1) * 0.0087), 2) + cos(t1.dec * 0.017) * cos($1 * 0.017)"
    " * pow(sin((t1.ra - $2) * 0.0087), 2))))) <= $3)"
)


def test_a_cone_is_looked_up_by_q3c_where_it_is() -> None:
    where = {"doppel.spectra": "r.s"}
    found = postgres_sql(NEAR, [2.0, 30.0, 1.0], where, q3c=True)
    assert "q3c_radial_query(t1.ra, t1.dec, CAST('30.0'" in found
    assert "q3c" not in postgres_sql(NEAR, [2.0, 30.0, 1.0], where)
    assert "q3c" not in postgres_sql(NEAR, [2.0, 30.0, 100.0], where, q3c=True)  # too wide
    assert "q3c" not in postgres_sql(NEAR.replace("$2", "t1.dec"), [2.0, 30.0, 1.0], where, q3c=True)


def test_a_cone_by_its_chord_is_looked_up_in_degrees() -> None:
    by_chord = NEAR.replace("114.59 * asin(sqrt(0.99 * (", "4.0 * (").replace("2))))) <=", "2))) <=")
    chord = (2 * math.sin(math.radians(0.5))) ** 2
    found = postgres_sql(by_chord, [2.0, 30.0, chord], {"doppel.spectra": "r.s"}, q3c=True)
    asked = re.search(r"q3c_radial_query\(t1.ra, t1.dec, .*?'30.0'.*?'2.0'.*?'([\d.]+)'", found)
    assert asked
    assert float(asked[1]) == pytest.approx(1.0, rel=1e-5)
    assert float(asked[1]) >= 1.0


def test_views_show_the_published_release_and_go_back_with_it(releases: Releases) -> None:
    def count() -> int:
        connection = connect(releases.database)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM doppel.spectra")
            ((found,),) = cursor.fetchall()
            return int(found)

    loaded = PostgresReleases(releases.database)
    latest = releases.current().name
    assert (count(), loaded.current()) == (30, latest)
    assert set(releases.list()) <= set(loaded.list())
    earlier = releases.rollback()
    assert (count(), loaded.current()) == (40, earlier)
    releases.publish(latest)
    assert count() == 30


def test_a_published_release_is_not_dropped_and_another_one_is(releases: Releases) -> None:
    loaded = PostgresReleases(releases.database)
    with pytest.raises(EngineError, match="is published"):
        loaded.drop(releases.current().name)
    other = next(name for name in releases.list() if name != releases.current().name)
    loaded.drop(other)
    assert other not in loaded.list()
    with pytest.raises(EngineError, match="doppel publish brings it there"):
        OpenRelease.open(releases.path(other), EngineLimits(database=releases.database))


def test_who_opens_a_release_does_not_wait_for_another_that_is_loaded(releases: Releases) -> None:
    with closing(VectorServer(releases.database)) as server, server.writing(LOCK):
        limits = EngineLimits(database=releases.database)
        with closing(OpenRelease.open(releases.current(), limits)) as opened:
            assert opened.engine.rows("SELECT count(*) FROM release.doppel.models") == [(2,)]
        assert releases.current().name in PostgresReleases(releases.database).list()


def test_a_schema_of_somebody_else_is_left_alone(q3c_server: str, tmp_path: Path) -> None:
    database = pg.database(q3c_server, "theirs")
    with connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA ivoa CREATE TABLE obscore (theirs int)")
        connection.commit()
    releases = Releases(tmp_path / "releases", database)
    release = releases.write(synthetic.content(tmp_path / "trained", 20))
    with pytest.raises(EngineError, match="schema ivoa that is not ours"):
        releases.publish(release)
    with pytest.raises(ReleaseError, match="no release is published"):
        releases.current()


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    with pytest.raises(EngineError, match="cannot reach PostgreSQL") as told:
        connect("postgresql://doppel:secret@127.0.0.1:1/none")
    assert "secret" not in str(told.value)
