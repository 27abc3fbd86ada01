"""A release's models give its vectors again, and it is noticed where they do not."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from index.reencode import differences
from index.release import OpenRelease
from service.cli import main


def test_a_sample_is_the_same(release: OpenRelease) -> None:
    assert differences(release, 4) == ([], 8)


def test_more_than_there_are_means_all(release: OpenRelease) -> None:
    embedded = [len(model.vectors) for model in release.models.values()]
    assert differences(release, 10_000)[1] == sum(embedded)


def test_other_vectors_and_lost_files_are_named(release: OpenRelease, tmp_path: Path) -> None:
    """A release beside nothing: its vectors changed, and no collection where it says."""
    copy = tmp_path / "releases" / release.id
    shutil.copytree(release.path, copy)
    shutil.rmtree(copy / "vectors")
    shutil.copytree(release.path / "vectors", copy / "vectors")
    vectors = np.load(copy / "vectors" / "halpha" / "vectors.npy", mmap_mode="r+")
    vectors += 1.0
    vectors.flush()
    for one in Path(release.path.parents[1]).glob("sim_*"):
        os.symlink(one, tmp_path / one.name)
    (tmp_path / "sim_library").unlink()
    shutil.copytree(release.path.parents[1] / "sim_library", tmp_path / "sim_library")
    for spectrum in (tmp_path / "sim_library" / "spectra").iterdir():
        spectrum.unlink()
    with closing(OpenRelease.open(copy)) as opened:
        found, _ = differences(opened, 40)
    assert any("optical: " in one and "cannot be encoded anew: no such file" in one for one in found)
    assert sum("halpha: " in one for one in found) == 40
    assert any("is another vector now: z" in one for one in found)


def test_the_command_says_so(config_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--config", str(config_path), "--encode", "3"]) == 0
    assert "6 vectors were made anew and are the same" in capsys.readouterr().out
