"""What all tests share: one small release, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from index.release import OpenRelease, Releases
from tests import synthetic


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """A directory with one published release of 300 spectra and the models `optical` and `halpha`."""
    root = tmp_path_factory.mktemp("archive")
    releases = Releases(root / "releases")
    releases.publish(releases.write(synthetic.content(root / "trained")))
    return releases


@pytest.fixture(scope="session")
def release_path(releases: Releases) -> Path:
    """The directory of the published release."""
    return releases.current()


@pytest.fixture(scope="session")
def release(release_path: Path) -> Iterator[OpenRelease]:
    """The published release, open."""
    opened = OpenRelease.open(release_path)
    yield opened
    opened.close()
