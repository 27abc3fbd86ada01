"""Real spectra for tests of the encoder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from encoder.collection import Collection, CollectionConfig

OpenCollection = Callable[[str], Collection]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The directory of real collections, named by DOPPEL_DATA."""
    named = os.environ.get("DOPPEL_DATA")
    if not named:
        pytest.skip("DOPPEL_DATA does not name the directory of real collections")
    return Path(named)


@pytest.fixture(scope="session")
def real_collection(real_data: Path) -> OpenCollection:
    """Opens one of the real collections by its name."""

    def opened(name: str) -> Collection:
        config = CollectionConfig.from_table({"name": name, "path": name})
        return Collection.from_config(config, real_data, "doppel.example")

    return opened
