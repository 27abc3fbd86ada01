"""A release of rows without pixels: every corner of the tables, made in a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from index.release import OpenRelease
from index.releases import Releases
from tests import synthetic


@pytest.fixture(scope="session")
def synthetic_release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenRelease]:
    """300 spectra, two models that leave out every fifth, positions and labels missing here and there."""
    root = tmp_path_factory.mktemp("synthetic")
    releases = Releases(root / "releases")
    releases.publish(releases.write(synthetic.content(root / "trained")))
    opened = OpenRelease.open(releases.current())
    yield opened
    opened.close()
