"""A whole service on PostgreSQL, tables and vectors, answers as the embedded one; a missing part is told."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from index.engines.postgres_load import PostgresReleases
from index.release import OpenRelease, ReleaseError
from index.releases import ReleaseHolder, Releases
from service.app import create_app
from service.commands import publish
from service.config import Config
from service.formats.spectrum import write_fits
from service.state import State
from tests import pg, synthetic
from tests.serving import PATIENCE

Row = dict[str, str]
COLUMNS = ("ssa_pubdid", "ssa_pubDID", "ref")
HOT = "teff > 5500 AND ssa_pubdid <> '{did}'"


@dataclass(frozen=True, slots=True)
class Place:
    """An archive whose release is published on servers."""

    path: Path
    servers: tuple[str, ...]

    @property
    def config(self) -> Config:
        return Config.read(self.path, {})


@contextmanager
def service(config: Config, state: Path) -> Iterator[TestClient]:
    with ExitStack() as stack:
        store = State("", state)
        stack.callback(store.close)
        holder = ReleaseHolder(Releases(config.releases), config.index.limits)
        stack.callback(holder.close)
        yield stack.enter_context(TestClient(create_app(config, holder, store), follow_redirects=False))


@pytest.fixture(scope="module", params=["one database", "two servers of vectors"])
def place(
    request: pytest.FixtureRequest, config_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    """A copy of the tests' archive, published by the command as an operator would."""
    server = request.getfixturevalue("pgvector_server")
    directory = tmp_path_factory.mktemp("served") / "archive"
    shutil.copytree(config_path.parent, directory, symlinks=True)
    tables = pg.database(server, directory.parent.name)
    two = request.param != "one database"
    shards = [pg.database(server, f"{directory.parent.name}-{n}") for n in (1, 2)] if two else []
    lines = ["[index]", 'engine = "postgres"', f'database = "{tables}"', f"patience = {PATIENCE}"]
    lines.append(f'vectors = "{" ".join(shards) or "database"}"')
    path = directory / "doppel.toml"
    path.write_text("\n".join([path.read_text(encoding="utf-8"), *lines, ""]), encoding="utf-8")
    release = Releases(Config.read(path, {}).releases).current().name
    arguments = publish.argparse.Namespace(config=path, release=release, json=False)
    assert publish.main(arguments) == 0
    return Place(path, tuple(shards))


@pytest.fixture(scope="module")
def served(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with service(place.config, tmp_path_factory.mktemp("state")) as client:
        yield client


@pytest.fixture(scope="module")
def embedded(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with service(config, tmp_path_factory.mktemp("state")) as client:
        yield client


@pytest.fixture(scope="module")
def did(release: OpenRelease) -> str:
    return release.did_of(int(release.models["optical"].vectors.rows[10]))


def rows(answer: Response) -> list[Row]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def tap(client: TestClient, query: str) -> Response:
    return client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "csv"})


def same(mine: list[Row], theirs: list[Row]) -> None:
    """The same spectra in the same order, by the same distances: both compute them in float64."""
    assert mine
    assert [[row.get(name) for name in COLUMNS] for row in mine] == [
        [row.get(name) for name in COLUMNS] for row in theirs
    ]
    for name in mine[0].keys() & {"d", "distance"}:
        assert [row[name] for row in mine] == [row[name] for row in theirs]


DISTANCE = "latent_distance(ssa_pubdid, '{did}')"
NEAREST = f"SELECT TOP 12 ssa_pubdid, {DISTANCE} AS d FROM doppel.spectra"
QUERIES = {
    "all": f"{NEAREST} ORDER BY d",
    "condition": f"{NEAREST} WHERE {HOT} ORDER BY d",
    "weights": f"{NEAREST} WHERE {HOT} ORDER BY d".replace("{did}')", "{did}', 'optical:all; z00:3')"),
    "other model": f"{NEAREST} ORDER BY d".replace("{did}')", "{did}', 'halpha:physics')"),
    "one survey": f"{NEAREST} WHERE ssa_collection LIKE '%urvey%' ORDER BY d",
    "radius": f"SELECT ssa_pubdid, {DISTANCE} AS d FROM doppel.spectra WHERE {DISTANCE} < 3 ORDER BY d, 1",
    "whole column": f"SELECT ssa_pubdid, {DISTANCE} AS d FROM doppel.spectra"
    f" WHERE {DISTANCE} < 2 OR teff > 7000 ORDER BY d, 1",
    "similar_to": "SELECT ssa_pubdid FROM doppel.spectra WHERE 1=similar_to(ssa_pubdid, '{did}', 9)"
    " ORDER BY 1",
    "for each": "SELECT s.ssa_pubdid, u.ssa_pubdid AS ref FROM doppel.spectra AS u JOIN doppel.spectra AS s"
    " ON 1=similar_to(s.ssa_pubdid, u.ssa_pubdid, 3) WHERE u.teff > 6500 ORDER BY 2, 1",
    "every pair": "SELECT TOP 30 a.ssa_pubdid, b.ssa_pubdid AS ref FROM doppel.optical AS a,"
    " doppel.optical AS b WHERE a.anomaly > 95 AND b.anomaly > 90"
    " AND latent_distance(a.ssa_pubdid, b.ssa_pubdid) < 9 ORDER BY 1, 2",
    "vector mathematics": "SELECT TOP 12 o.ssa_pubdid FROM doppel.optical AS o ORDER BY arr_dot(o.embedding -"
    " (SELECT embedding FROM doppel.optical WHERE ssa_pubdid = '{did}'), o.embedding -"
    " (SELECT embedding FROM doppel.optical WHERE ssa_pubdid = '{did}'))",
}


@pytest.mark.parametrize("name", QUERIES)
def test_adql_gives_the_same_rows_in_the_same_order(
    served: TestClient, embedded: TestClient, did: str, name: str
) -> None:
    query = QUERIES[name].format(did=did)
    same(rows(tap(served, query)), rows(tap(embedded, query)))


ASKED = [{}, {"TEFF": "5000/6000"}, {"SPACE": "optical:parameters"}, {"SPACE": "halpha:all", "TOP": "30"}]


@pytest.mark.parametrize("params", ASKED, ids=str)
def test_ssa_and_similar_to_give_the_same_rows(
    served: TestClient, embedded: TestClient, did: str, params: Row
) -> None:
    asked = {"TOP": "15", "RESPONSEFORMAT": "csv", **params}
    for path, key in (("/ssa", "SIMILAR_TO"), ("/similar_to", "ID")):
        mine, theirs = (client.get(path, params={key: did, **asked}) for client in (served, embedded))
        same(rows(mine), rows(theirs))


def test_an_own_spectrum_finds_the_same_neighbours(
    served: TestClient, embedded: TestClient, release: OpenRelease, did: str
) -> None:
    row = release.row_of(did)
    assert row is not None
    sent = write_fits(release.spectrum(row))
    found = []
    for client in (served, embedded):
        answer = client.post(
            "/similar_to",
            data={"RESPONSEFORMAT": "csv", "TOP": "8", "FRAME": "rest"},
            files={"spectrum": ("mine.fits", sent)},
        )
        found.append(rows(answer))
    same(*found)


def test_the_plan_is_told(served: TestClient, did: str) -> None:
    query = QUERIES["condition"].format(did=did)
    document = served.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query}).text
    assert 'name="plan" value="exact on the subset"' in document
    assert 'name="exact" value="true"' in document


def test_a_release_is_taken_over_whole_and_dropped_from_all_servers(
    place: Place, release: OpenRelease, tmp_path: Path
) -> None:
    """Who began with the first release goes on with it."""
    config = place.config
    releases = Releases(config.releases, config.index.database, config.index.servers)
    first = releases.current().name
    second = releases.write(synthetic.content(tmp_path / "trained", 60))
    embedded = len(release.models["optical"].vectors)
    with closing(ReleaseHolder(Releases(config.releases), config.index.limits)) as holder:
        releases.publish(second)
        with holder.pin() as pinned:
            assert (pinned.id, len(pinned.models["optical"].vectors)) == (first, embedded)
        assert holder.refresh()
        with holder.pin() as pinned:
            assert (pinned.id, len(pinned.models["optical"].vectors)) == (second, 48)
            with pytest.raises(ReleaseError, match="is published"):
                releases.drop(second)
    assert releases.rollback() == first
    releases.drop(second)
    left = [list(PostgresReleases(uri).list()) for uri in (config.index.database, *place.servers)]
    assert left == [[first]] * len(left)


def test_a_missing_server_is_an_error_that_names_it_in_every_protocol(
    place: Place, did: str, tmp_path: Path
) -> None:
    config = place.config
    alive = place.servers or (config.index.database,)
    gone = [*alive[:-1], "postgresql://u:secret@127.0.0.1:1/none"]
    config = replace(config, index=replace(config.index, vectors=" ".join(gone)))
    words = f"vectors server {len(gone)} of {len(gone)} does not answer"
    query = QUERIES["condition"].format(did=did)
    with service(config, tmp_path) as client:
        answers = [
            tap(client, query),
            client.get("/ssa", params={"REQUEST": "queryData", "SIMILAR_TO": did}),
            client.get("/similar_to", params={"ID": did}),
        ]
        for answer in answers:
            assert answer.status_code == 503, answer.text
            assert words in answer.text
            assert "secret" not in answer.text
        assert len(rows(tap(client, "SELECT TOP 3 ssa_pubdid FROM doppel.spectra"))) == 3
