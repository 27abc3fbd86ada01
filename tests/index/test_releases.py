"""Releases: all or nothing, checked to the byte, switched and rolled back, one handle per request."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index import manifest
from index.content import Content
from index.release import OpenRelease, ReleaseError
from index.releases import ReleaseHolder, Releases
from tests import synthetic


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Content, Content]:
    """Two small contents that differ."""
    root = tmp_path_factory.mktemp("contents")
    return synthetic.content(root / "a", n=40), synthetic.content(root / "b", n=30)


@pytest.fixture
def archive(tmp_path: Path) -> Releases:
    return Releases(tmp_path / "releases")


@pytest.fixture
def two(archive: Releases, contents: tuple[Content, Content]) -> tuple[str, str]:
    """Ids of two releases; the second is published, the first before it."""
    first, second = (archive.write(content) for content in contents)
    archive.publish(first)
    archive.publish(second)
    return first, second


def test_same_content_is_same_release(
    archive: Releases, tmp_path: Path, contents: tuple[Content, Content]
) -> None:
    again = synthetic.content(tmp_path / "again", n=40)
    assert archive.write(contents[0]) == archive.write(again)
    assert len(archive.list()) == 1


def test_order_of_reading_does_not_change_the_release(
    archive: Releases, contents: tuple[Content, Content]
) -> None:
    """Prepared spectra aside, which are too many to be put in order: they are published as they are read."""
    content = replace(contents[0], flux=())
    n = len(content.seen)
    models = [
        replace(
            model,
            embeddings=replace(
                model.embeddings,
                of=n - 1 - model.embeddings.of,
                reasons={n - 1 - row: reason for row, reason in model.embeddings.reasons.items()},
            ),
        )
        for model in content.models
    ]
    backwards = replace(content, seen=list(reversed(content.seen)), models=models)
    assert archive.write(backwards) == archive.write(content)


def test_every_flipped_byte_is_found(archive: Releases, contents: tuple[Content, Content]) -> None:
    directory = archive.root / archive.write(contents[1])
    names = sorted(path for path in directory.rglob("*") if path.is_file())
    assert len(names) > 10
    draw = np.random.default_rng(3)
    for path in names:
        sound = path.read_bytes()
        place = int(draw.integers(len(sound)))
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert archive.verify(directory.name), f"a change of {path.name} at {place} was not noticed"
        path.write_bytes(sound)
    assert not archive.verify(directory.name)


def test_missing_and_additional_files_are_found(archive: Releases, contents: tuple[Content, Content]) -> None:
    directory = archive.root / archive.write(contents[1])
    (directory / "refused.json").rename(directory / "other.json")
    assert archive.verify(directory.name) == ["refused.json is missing", "other.json is not in the manifest"]


def test_publish_and_roll_back(archive: Releases, two: tuple[str, str]) -> None:
    assert archive.current().name == two[1]
    assert archive.rollback() == two[0]
    assert archive.current().name == two[0]
    with pytest.raises(ReleaseError, match="no release was published before"):
        archive.rollback()


def test_rollback_after_a_switch_that_was_killed_before_it_was_noted(
    archive: Releases, two: tuple[str, str]
) -> None:
    (archive.root / "published.txt").write_text(f"{two[0]}\n", encoding="ascii")
    assert archive.rollback() == two[0]


def test_unknown_release_is_refused_with_those_that_exist(archive: Releases, two: tuple[str, str]) -> None:
    with pytest.raises(ReleaseError, match=f"no release 'nope'.*{two[0]}"):
        archive.publish("nope")


def test_nothing_published_says_what_to_do(archive: Releases) -> None:
    with pytest.raises(ReleaseError, match="doppel build"):
        archive.current()


def test_what_a_killed_write_left_is_swept(archive: Releases, contents: tuple[Content, Content]) -> None:
    left = archive.root / ".incoming-dead"
    left.mkdir(parents=True)
    (left / "catalogue.duckdb").write_bytes(b"half")
    release = archive.write(contents[1])
    assert not left.exists()
    assert archive.list() == [release]


def test_a_damaged_release_is_written_anew(archive: Releases, contents: tuple[Content, Content]) -> None:
    release = archive.write(contents[1])
    (archive.root / release / "tables.json").write_text("[]", encoding="utf-8")
    assert archive.write(contents[1]) == release
    assert not archive.verify(release)


def test_another_format_is_not_opened(archive: Releases, contents: tuple[Content, Content]) -> None:
    directory = archive.root / archive.write(contents[1])
    told = manifest.Manifest.read(directory)
    manifest.write_manifest(directory, replace(told, format=99))
    with pytest.raises(ReleaseError, match="format 99"):
        OpenRelease.open(directory)
    shutil.rmtree(directory)
    with pytest.raises(ReleaseError, match="is not a release"):
        OpenRelease.open(directory)


@pytest.fixture
def holder(archive: Releases, two: tuple[str, str]) -> Iterator[ReleaseHolder]:
    held = ReleaseHolder(archive)
    yield held
    held.close()


def test_a_request_keeps_the_release_it_began_with(
    archive: Releases, two: tuple[str, str], holder: ReleaseHolder
) -> None:
    with holder.pin() as old:
        archive.publish(two[0])
        assert holder.refresh()
        with holder.pin() as new:
            assert (old.id, new.id) == (two[1], two[0])
        assert old.engine.table("SELECT COUNT(*) FROM release.doppel.spectra").column(0)[0].as_py() == 30
    assert not holder.refresh()


@pytest.mark.parametrize(
    "name", ["manifest.json", "tables.json", "identifiers.arrow", "catalogue.duckdb", "functions-*.duckdb"]
)
def test_a_damaged_release_is_told_once_and_the_one_before_is_served_on(
    archive: Releases,
    two: tuple[str, str],
    holder: ReleaseHolder,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (damaged,) = (archive.root / two[0]).glob(name)
    sound = damaged.read_bytes()
    damaged.write_bytes(b"{damaged" * 1000)
    archive.publish(two[0])
    assert not holder.refresh()
    assert not holder.refresh()
    (record,) = caplog.records
    assert record.message.startswith(f"{two[1]} is served on")
    with holder.pin() as served:
        assert served.id == two[1]
    damaged.write_bytes(sound)
    assert holder.refresh()


def test_a_directory_of_releases_that_is_gone_for_a_while(
    archive: Releases, two: tuple[str, str], holder: ReleaseHolder
) -> None:
    away = archive.root.rename(archive.root.with_name("away"))
    assert not holder.refresh()
    away.rename(archive.root)
    archive.publish(two[0])
    assert holder.refresh()


def test_publishing_while_serving_fails_no_request(
    archive: Releases, two: tuple[str, str], holder: ReleaseHolder
) -> None:
    stop = threading.Event()

    def ask() -> set[tuple[str, int]]:
        seen = set()
        while not stop.is_set():
            with holder.pin() as release:
                count = release.engine.table("SELECT COUNT(*) FROM release.doppel.spectra")
                seen.add((release.id, count.column(0)[0].as_py()))
        return seen

    with ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(ask) for _ in range(4)]
        try:
            for turn in range(6):
                archive.publish(two[turn % 2])
                holder.refresh()
        finally:
            stop.set()
    seen = set().union(*(asker.result() for asker in askers))
    assert seen <= {(two[0], 40), (two[1], 30)}
