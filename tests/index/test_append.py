"""Spectra appended to a release, or taken out: answers as after a build, whole after any kill, merged."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from index.append import append, remove
from index.build import build
from index.manifest import Manifest, write_manifest
from index.release import OpenRelease, ReleaseError
from index.releases import Releases
from index.settings import BuildPlan
from index.work import BuildError
from service.config import Config
from service.protocols.examples import cutouts, examples
from tests import pg
from tests.index.test_external import CONFIG, D, N, written

FIRST = 100  # spectra of the build; the others are appended
TABLES = ("doppel.spectra", "ivoa.obscore", "doppel.given", "internal.facts")


@dataclass(frozen=True)
class Archive:
    """A table of facts and its vectors, in a directory of its own."""

    directory: Path

    @property
    def plan(self) -> BuildPlan:
        return Config.read(self.directory / "doppel.toml", {}).plan

    @property
    def releases(self) -> Releases:
        return Releases(self.directory / "releases")

    def offer(self, rows: pa.Table) -> None:
        parquet.write_table(rows, self.directory / "facts.parquet")

    @contextmanager
    def published(self) -> Iterator[OpenRelease]:
        with closing(OpenRelease.open(self.releases.current())) as opened:
            yield opened


def archive_in(directory: Path, config: str = CONFIG.replace("repeats", "unit")) -> tuple[Archive, pa.Table]:
    """With a release of the FIRST spectra; and the facts of all."""
    written(directory, config)
    archive, every = Archive(directory), parquet.read_table(directory / "facts.parquet")
    archive.offer(every.slice(0, FIRST))
    build(archive.plan)
    return archive, every


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, pa.Table]:
    return archive_in(tmp_path_factory.mktemp("built"))


@pytest.fixture
def archive(built: tuple[Archive, pa.Table], tmp_path: Path) -> Archive:
    """A copy to be changed, in which every spectrum is offered."""
    shutil.copytree(built[0].directory, tmp_path, symlinks=True, dirs_exist_ok=True)
    found = Archive(tmp_path)
    found.offer(built[1])
    return found


def did(number: int) -> str:
    return f"ivo://doppel.example/elsewhere?S{number}"


def vectors_of(archive: Archive) -> dict[str, np.ndarray]:
    held = parquet.read_table(archive.directory / "vectors.parquet").to_pydict()
    return {name: np.float32(one) for name, one in zip(held["spectrum_id"], held["vector"], strict=True)}


def neighbours(release: OpenRelease, number: int, k: int) -> list[tuple[str, float]]:
    """By identifier, nearest first, the reference left out."""
    model, row = release.models["given"], release.row_of(did(number))
    assert row is not None
    point = model.vectors.vector(row)
    assert point is not None
    found = model.vectors.search(point, k, np.ones(D), exclude=row)
    return list(zip(release.dids_of(found.rows).to_pylist(), found.distance.tolist(), strict=True))


def rows_of(release: OpenRelease, table: str) -> dict[str, dict[str, object]]:
    """By identifier, without the row numbers."""
    rows = release.engine.table(f"SELECT * EXCLUDE (row_number) FROM release.{table}").to_pylist()
    key = next(name for name in ("ssa_pubdid", "obs_publisher_did", "publisher_did") if name in rows[0])
    return {row[key]: row for row in rows}


def test_what_is_new_is_appended_and_answers_as_after_a_build(archive: Archive, tmp_path: Path) -> None:
    report = append(archive.plan)
    assert (report.read, report.embedded) == ({"elsewhere": N - FIRST}, {"given": N - FIRST - 1})
    assert (report.refused, report.new) == ([], True)
    scratch = Archive(tmp_path / "scratch")
    shutil.copytree(archive.directory, scratch.directory, ignore=shutil.ignore_patterns("releases", "work"))
    build(scratch.plan)
    with archive.published() as grown, scratch.published() as whole:
        assert len(grown) == len(whole) == N
        for table in TABLES:
            assert rows_of(grown, table) == rows_of(whole, table)
        assert grown.engine.rows("SELECT n_spectra FROM release.doppel.models") == [(N - 1,)]
        assert all(neighbours(grown, n, 15) == neighbours(whole, n, 15) for n in range(0, N - 1, 7))
        assert grown.no_embedding(grown.row_of(did(N - 1)) or 0, "given") == (
            "vectors.parquet has no vector of it"
        )


def test_files_that_stay_are_shared(archive: Archive) -> None:
    old = archive.releases.current()
    append(archive.plan)
    new = archive.releases.current()
    shared = {path.name for path in old.rglob("*.*") if (new / path.relative_to(old)).samefile(path)}
    assert {"identifiers.arrow", "vectors.npy", "recipe.json"} <= shared
    assert not {"catalogue.duckdb", "manifest.json"} & shared
    assert archive.releases.rollback() == old.name
    assert not archive.releases.verify(old.name)


def test_rows_without_an_identifier_keep_their_numbers(archive: Archive) -> None:
    every = parquet.read_table(archive.directory / "facts.parquet")
    ids = every["spectrum_id"].to_pylist()
    ids[FIRST - 1] = ids[FIRST + 3] = None  # the first of them is a stranger to the release that was built
    offered = every.set_column(0, "spectrum_id", pa.array(ids))
    archive.offer(offered.slice(0, FIRST + 1))
    append(archive.plan)
    archive.offer(offered)
    append(archive.plan)
    with archive.published() as release:
        named = release.engine.rows(
            "SELECT object, spectrum_id FROM release.doppel.spectra WHERE spectrum_id LIKE 'row %' ORDER BY 2"
        )
    assert named == [
        (every["object"][number].as_py(), f"row {number + 1}") for number in (FIRST - 1, FIRST + 3)
    ]
    assert not append(archive.plan).new


def test_nothing_new_makes_no_release(archive: Archive) -> None:
    first = append(archive.plan)
    again = append(archive.plan)
    assert (again.release, again.new, again.read) == (first.release, False, {})
    assert len(archive.releases.list()) == 2


def test_equal_distances_go_by_identifier_over_all_parts(tmp_path: Path) -> None:
    """Every vector twice, in both parts: as the identifiers come, not as the parts do."""
    same = np.repeat(np.arange(N // 4, dtype=np.float32), 4)[:, None] * np.ones(D, np.float32)
    written(tmp_path, CONFIG.replace("repeats", "unit"))
    ids = [f"S{number}" for number in range(N)]
    vectors = pa.table({"spectrum_id": ids, "vector": same.tolist()})
    parquet.write_table(vectors, tmp_path / "vectors.parquet")
    archive, every = Archive(tmp_path), parquet.read_table(tmp_path / "facts.parquet")
    for part in (every.take(list(range(0, N, 3))), every.take([n for n in range(N) if n % 3 < 2]), every):
        archive.offer(part)
        build(archive.plan) if len(part) == N // 3 else append(archive.plan)
    with archive.published() as release:
        assert release.manifest.segments == 2
        for number in range(0, N, 4):
            names = [name for name, distance in neighbours(release, number, 3) if not distance]
            assert names == sorted(did(number + step) for step in (1, 2, 3))


def test_removed_spectra_are_in_no_answer(archive: Archive) -> None:
    append(archive.plan)
    gone = [3, 4, 57, FIRST + 2, N - 1]
    done = remove(archive.plan, [did(number) for number in gone])
    assert (sorted(done.removed), done.left) == (sorted(map(did, gone)), N - len(gone))
    assert not archive.releases.verify(done.release)
    left = {f"S{n}" for n in range(N - 1)} - {f"S{n}" for n in gone}
    held = {did(int(name[1:])): one for name, one in vectors_of(archive).items() if name in left}
    with archive.published() as release:
        assert len(release) == N - len(gone)
        for number in gone:
            assert release.row_of(did(number)) is None
        for table in TABLES:
            assert not {did(number) for number in gone} & set(rows_of(release, table))
        assert release.engine.rows("SELECT n_spectra FROM release.doppel.models") == [(len(held),)]
        for number in (0, 5, FIRST + 1):
            point = held[did(number)].astype(np.float64)
            truth = sorted((float(np.sqrt(((one - point) ** 2).sum())), name) for name, one in held.items())
            found = neighbours(release, number, N)
            assert [name for name, _ in found] == [name for _, name in truth if name != did(number)]
            assert len(neighbours(release, number, 20)) == 20


def test_what_is_still_in_the_catalogue_comes_back(archive: Archive, built: tuple[Archive, pa.Table]) -> None:
    archive.offer(built[1].slice(0, FIRST))
    remove(archive.plan, [did(7), did(8)])
    assert append(archive.plan).read == {"elsewhere": 2}
    with archive.published() as release:
        assert len(release) == FIRST
        assert release.facts_of(release.row_of(did(7)) or 0).object == "star 3"
        assert (release.manifest.segments, release.manifest.removed) == (1, 2)


def test_the_next_build_merges_all(archive: Archive, built: tuple[Archive, pa.Table]) -> None:
    """It is the release that a build from nothing gives; what was removed and is still offered is back."""
    append(archive.plan)
    remove(archive.plan, [did(1), did(2)])
    merged = build(archive.plan)
    assert merged.read == {"elsewhere": N}
    with archive.published() as release:
        assert not release.manifest.changed
    shutil.rmtree(archive.plan.work)
    shutil.rmtree(archive.plan.releases)
    assert build(archive.plan).release == merged.release


def test_a_build_undoes_a_removal_although_nothing_else_is_new(
    archive: Archive, built: tuple[Archive, pa.Table]
) -> None:
    archive.offer(built[1].slice(0, FIRST))
    before = archive.releases.current().name
    remove(archive.plan, [did(1)])
    assert archive.releases.current().name != before
    assert build(archive.plan).release == before == archive.releases.current().name


def test_vectors_may_lie_in_several_files(archive: Archive) -> None:
    config = (archive.directory / "doppel.toml").read_text(encoding="utf-8")
    (archive.directory / "doppel.toml").write_text(
        config.replace("vectors.parquet", "vectors"), encoding="utf-8"
    )
    every = parquet.read_table(archive.directory / "vectors.parquet")
    (archive.directory / "vectors").mkdir()
    for number, part in enumerate((every.slice(0, 50), every.slice(50))):
        parquet.write_table(part, archive.directory / "vectors" / f"{number}.parquet")
    assert append(archive.plan).embedded == {"given": N - FIRST - 1}
    assert build(archive.plan).embedded == {"given": N - 1}


def test_a_changed_release_is_on_servers_too(archive: Archive, pgvector_server: str) -> None:
    """Tables and vectors: the same answers as from the files."""
    append(archive.plan)
    remove(archive.plan, [did(3), did(FIRST + 2)])
    with archive.published() as release:
        wanted = [neighbours(release, number, 12) for number in (0, 5, FIRST + 1)]
    uri = pg.database(pgvector_server, "changed")
    server = f'[index]\nengine = "postgres"\ndatabase = "{uri}"\nvectors = "database"\n'
    plan = configured(archive, "[[model]]", f"{server}[[model]]")
    Releases(plan.releases, plan.database, plan.vectors).publish(archive.releases.current().name)
    limits = Config.read(archive.directory / "doppel.toml", {}).index.limits
    with closing(OpenRelease.open(archive.releases.current(), limits)) as release:
        assert [neighbours(release, number, 12) for number in (0, 5, FIRST + 1)] == wanted
        assert release.engine.rows("SELECT count(*) FROM release.doppel.spectra") == [(N - 2,)]
        assert (len(release), release.row_of(did(3))) == (N - 2, None)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_of_a_segment_is_named(archive: Archive, damage: str) -> None:
    append(archive.plan)
    release = remove(archive.plan, [did(1)]).release
    directory = archive.releases.root / release
    names = [path for path in (directory / "segments").rglob("*") if path.is_file()]
    assert len(names) > 4
    for path in (*names, directory / "removed.npy"):
        sound, name = path.read_bytes(), path.relative_to(directory).as_posix()
        DAMAGES[damage](path)
        word = "is missing" if damage == "missing" else "has changed"
        assert archive.releases.verify(release) == [f"{name} {word}"]
        path.write_bytes(sound)
    assert not archive.releases.verify(release)


def test_a_segment_file_that_is_missing_is_told_when_it_is_opened(archive: Archive) -> None:
    append(archive.plan)
    (archive.releases.current() / "segments" / "1" / "vectors" / "given" / "rows.npy").unlink()
    with archive.published() as release, pytest.raises(ValueError, match="a file cannot be read"):
        release.models["given"].vectors  # noqa: B018


def configured(archive: Archive, old: str, new: str) -> BuildPlan:
    path = archive.directory / "doppel.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    return archive.plan


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"given"', '"other"', "the release has a model given, the configuration has none; doppel build"),
        ('"elsewhere"', '"here"', "the release has a collection elsewhere, the configuration has none"),
        (
            "doppel.example",
            "doppel.test",
            r"authority is doppel\.test in the configuration and doppel\.example in the release",
        ),
        (
            'kind = "external"\nvectors = "vectors.parquet"\nscales = "unit"',
            'kind = "linear"\ngrid = { start = 4000.0, stop = 5000.0, pixels = 128 }',
            "model given is linear in the configuration and external in the release",
        ),
    ],
)
def test_a_configuration_that_only_a_build_can_follow(
    archive: Archive, old: str, new: str, message: str
) -> None:
    plan = configured(archive, old, new)
    for change in (lambda: append(plan), lambda: remove(plan, [did(1)])):
        with pytest.raises(BuildError, match=message):
            change()
    assert len(archive.releases.list()) == 1


def test_vectors_of_another_length_are_told(archive: Archive) -> None:
    table = pa.table({"spectrum_id": [f"S{n}" for n in range(N)], "vector": [[1.0, 2.0]] * N})
    parquet.write_table(table, archive.directory / "vectors.parquet")
    with pytest.raises(BuildError, match="vectors of 2 values, the published model has 6; doppel build"):
        append(archive.plan)


def test_a_release_of_another_format_is_not_appended_to(archive: Archive) -> None:
    current = archive.releases.current()
    write_manifest(current, replace(Manifest.read(current), format=1))
    with pytest.raises(ReleaseError, match="has format 1, this program reads 2 and 3; doppel build"):
        append(archive.plan)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([did(1), "ivo://nobody/nothing?1"], r"1 of 2 spectra are not in release .*\?1; nothing was removed"),
        ([did(number) for number in range(FIRST)], "these are all 100 spectra of release"),
    ],
)
def test_what_can_not_be_removed(archive: Archive, asked: list[str], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        remove(archive.plan, asked)
    assert len(archive.releases.list()) == 1


def test_nothing_published_says_what_to_do(archive: Archive) -> None:
    shutil.rmtree(archive.plan.releases)
    with pytest.raises(ReleaseError, match=r"no release is published in .*; doppel build makes one"):
        append(archive.plan)


KILLED = """
import os, signal, sys
from pathlib import Path
from index.append import append, remove
from service.config import Config
plan = Config.read(Path(sys.argv[1]), {}).plan
left = int(sys.argv[2])
def hook(event, arguments):
    global left
    if event in ("open", "os.link", "os.rename", "os.mkdir", "os.remove", "os.rmdir"):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
print((append(plan) if sys.argv[3] == "append" else remove(plan, sys.argv[3:])).release)
"""


def run_killed(archive: Archive, at: int, what: str) -> str:
    """The release that it gives, or nothing where it was killed."""
    command = [sys.executable, "-c", KILLED, str(archive.directory / "doppel.toml"), str(at), what]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in (0, -9), done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("what", ["append", did(5)], ids=["append", "remove"])
def test_a_kill_leaves_the_old_release_or_the_new_one(
    archive: Archive, what: str, request: pytest.FixtureRequest
) -> None:
    old = archive.releases.current().name
    wanted = run_killed(archive, -1, what)
    archive.releases.rollback()
    draw = np.random.default_rng(11)
    kills = 0
    for _ in range(30 if request.config.getoption("--full") else 3):
        shutil.rmtree(archive.releases.root / wanted, ignore_errors=True)
        kills += not run_killed(archive, int(draw.integers(1, 130)), what)
        assert archive.releases.current().name in (old, wanted)
        assert not archive.releases.verify(archive.releases.current().name)
        if archive.releases.current().name == wanted:
            archive.releases.rollback()
    assert kills
    assert run_killed(archive, -1, what) == wanted == archive.releases.current().name
    assert not archive.releases.verify(wanted)
    assert not [path for path in archive.releases.root.iterdir() if path.name.startswith(".incoming")]


def test_examples_are_made_without_the_spectra_that_were_removed(archive: Archive) -> None:
    with archive.published() as release:
        dids = [release.did_of(row) for row in range(3)]
    remove(archive.plan, dids)
    with archive.published() as release:
        queries = [example.query for example in examples(release)]
        assert list(cutouts(release)) == []  # its spectra have no files
    assert len(queries) > 5
    assert not any(f"'{did}'" in query for did in dids for query in queries)
