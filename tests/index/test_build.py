"""Builds: every row read or refused, nothing done twice, kills survived."""

from __future__ import annotations

import copy
import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from encoder.collection import CollectionError
from index.build import build
from index.release import OpenRelease, ReleaseError
from index.releases import Releases
from index.settings import BuildPlan
from index.work import BuildError
from registry_metadata import tables
from service.config import Config
from tests.conftest import MODELS, write_config

HALPHA = MODELS[MODELS.index('[[model]]\nname = "halpha"') :]

KILLED_AT = """
import os, signal, sys
left = int(sys.argv[2])
def hook(event, arguments):
    global left
    if event == "os.rename":
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
from pathlib import Path
from index.build import build
from service.config import Config
print(build(Config.read(Path(sys.argv[1]), {}).plan).release)
"""


@pytest.fixture
def small(config_path: Path, tmp_path: Path) -> Callable[..., BuildPlan]:
    """A plan for some collections of the archive, the files copied, with the small model `halpha` alone."""

    def plan(*names: str) -> BuildPlan:
        collections = tuple(one for one in Config.read(config_path, {}).collections if one.name in names)
        for one in collections:
            shutil.copytree(config_path.parent / one.path, tmp_path / one.path, dirs_exist_ok=True)
        return Config.read(write_config(tmp_path, collections, HALPHA), {}).plan

    return plan


def test_every_row_is_read_or_refused_by_name(release: OpenRelease, config: Config) -> None:
    refused = json.loads((release.path / "refused.json").read_text(encoding="utf-8"))
    rows = sum(
        len((config.base / one.path / "catalogue.csv").read_text(encoding="utf-8").splitlines()) - 1
        for one in config.collections
    )
    assert len(release) + len(refused) == rows
    assert [refusal["collection"] for refusal in refused] == ["sim_survey"]
    assert refused[0]["spectrum_id"]
    assert refused[0]["reason"]


def test_simulated_spectra_are_published_as_artificial(release: OpenRelease) -> None:
    with release.engine.run("SELECT DISTINCT ssa_datasource FROM release.doppel.spectra") as found:
        assert found.read_all().to_pylist() == [{"ssa_datasource": "artificial"}]


def test_spectra_of_a_release_can_be_read_again(release: OpenRelease) -> None:
    for row in range(0, len(release), 40):
        spectrum = release.spectrum(row)
        assert spectrum.facts.publisher_did == release.did_of(row)
        assert release.original(row).is_file()


def test_a_spectrum_outside_the_grid_is_a_row_without_embedding_and_says_why(release: OpenRelease) -> None:
    sql = "SELECT row_number FROM release.doppel.spectra WHERE ssa_collection = 'sim_coude'"
    rows = release.engine.table(sql).column(0).to_pylist()
    assert rows
    for row in rows:
        reason = release.no_embedding(row, "optical")
        assert reason is not None
        assert reason.endswith("of 3800–7000 Å, needs 50 %")
        assert release.models["optical"].vectors.vector(row) is None
        assert release.models["halpha"].vectors.vector(row) is not None


def test_a_released_model_gives_the_stored_vectors_again(release: OpenRelease) -> None:
    from encoder.prepare import prepare

    model = release.models["halpha"]
    for row in (3, 50, 120):
        vector = model.vectors.vector(row)
        assert vector is not None
        encoded = model.encoder.encode([prepare(release.spectrum(row), model.encoder.grid)])
        np.testing.assert_allclose(encoded.vectors[0], vector, rtol=1e-4, atol=1e-4)


def test_nothing_new_does_nothing(config: Config, release: OpenRelease) -> None:
    before = {path: path.stat().st_mtime_ns for path in config.releases.rglob("*")}
    report = build(config.plan, lambda *step: pytest.fail(f"did {step}"))
    assert (report.release, report.new) == (release.id, False)
    assert {path: path.stat().st_mtime_ns for path in config.releases.rglob("*")} == before


def test_a_build_killed_again_and_again_ends_as_if_it_had_not_been(small: Callable[..., BuildPlan]) -> None:
    plan = small("sim_library", "sim_coude")
    releases, draw = Releases(plan.releases), np.random.default_rng(8)
    for _ in range(20):
        command = [sys.executable, "-c", KILLED_AT, str(plan.base / "doppel.toml"), str(draw.integers(4, 12))]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode in (0, -9), run.stderr
        if run.returncode == 0:
            break
        for name in releases.list():
            assert not releases.verify(name)
    survived = run.stdout.strip()
    assert releases.current().name == survived
    assert not releases.verify(survived)
    shutil.rmtree(plan.work)
    shutil.rmtree(plan.releases)
    assert build(plan).release == survived


def test_a_new_collection_is_read_alone(small: Callable[..., BuildPlan]) -> None:
    first = build(small("sim_library"))
    plan = small("sim_library", "sim_coude")
    before = {path: path.stat().st_mtime_ns for path in plan.work.glob("shard-*")}
    second = build(plan)
    after = {path: path.stat().st_mtime_ns for path in plan.work.glob("shard-*")}
    assert before.items() <= after.items()
    assert len(after) > len(before)
    assert (first.release != second.release, set(second.read)) == (True, {"sim_library", "sim_coude"})


def test_changed_words_of_a_column_are_published(
    small: Callable[..., BuildPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small("sim_library")
    first = build(plan)
    shards = {path: path.stat().st_mtime_ns for path in plan.work.glob("shard-*")}
    told = copy.deepcopy(tables.document())
    told["table"][0]["columns"][0]["ssa_utype"] = "ssa:Newly.Told"  # no row of TAP_SCHEMA has it
    monkeypatch.setattr(tables, "document", lambda: told)
    second = build(plan)
    assert second.new
    assert second.release != first.release
    assert {path: path.stat().st_mtime_ns for path in plan.work.glob("shard-*")} == shards
    with closing(OpenRelease.open(Releases(plan.releases).current())) as release:
        assert release.tables["doppel.spectra"].columns[0].ssa_utype == "ssa:Newly.Told"
    assert not build(plan).new


def test_changed_words_of_a_collection_are_published(small: Callable[..., BuildPlan]) -> None:
    plan = small("sim_library")
    first = build(plan)
    (collection,) = plan.collections
    second = build(replace(plan, collections=(replace(collection, description="Newly told"),)))
    assert second.release != first.release
    with closing(OpenRelease.open(Releases(plan.releases).current())) as release:
        assert release.collections["sim_library"].description == "Newly told"


def test_an_empty_directory_is_told(tmp_path: Path, small: Callable[..., BuildPlan]) -> None:
    plan = small("sim_coude")
    shutil.rmtree(tmp_path / "sim_coude")
    (tmp_path / "sim_coude").mkdir()
    with pytest.raises(CollectionError, match="sim_coude: no spectrum in sim_coude"):
        build(plan)


def test_an_archive_of_which_nothing_can_be_read_is_told(
    tmp_path: Path, small: Callable[..., BuildPlan]
) -> None:
    plan = small("sim_coude")
    for path in (tmp_path / "sim_coude" / "spectra").iterdir():
        path.write_bytes(b"")
    with pytest.raises(BuildError, match=r"no spectrum could be read; .* were refused because"):
        build(plan)
    with pytest.raises(ReleaseError, match="no release is published"):
        Releases(plan.releases).current()


def test_two_builds_at_once_are_refused(small: Callable[..., BuildPlan]) -> None:
    plan = small("sim_coude")
    plan.work.mkdir()
    with (plan.work / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BuildError, match="another build is running"):
            build(plan)
