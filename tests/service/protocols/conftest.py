"""A release with odd identifiers whose spectra can be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from encoder.spectrum import Facts, Spectrum
from index.release import OpenRelease
from index.releases import ReleaseHolder, Releases
from index.rows import Seen
from service.app import create_app
from service.config import Config
from service.formats.spectrum import write_fits
from service.state import State
from tests import synthetic

STRANGE = "ivo://doppel.example/first?a+b#c&d=e/f%20g.fits"  # all that a URL could trip over


def spectrum_of(facts: Facts, number: int) -> Spectrum:
    """A smooth continuum with one line, 600 pixels, ten of them masked."""
    wave = np.linspace(3800.0, 7000.0, 600)
    flux = 1.0 + 0.1 * np.sin(wave / 300 + number) - 0.5 * np.exp(-(((wave - 6564.6) / 4.0) ** 2))
    mask = (np.arange(600) >= 100) & (np.arange(600) < 110)
    return Spectrum(wave, flux, np.where(mask, 0.0, 400.0), mask, facts)


def readable(one: Seen, number: int, base: Path) -> Seen:
    """The same row with a file behind it."""
    facts = replace(one.facts, layout="bintable_columns:wavelength,flux,error", flux_unit="relative")
    if number == 3:
        facts = replace(facts, publisher_did=STRANGE)
    path = base / facts.collection / facts.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_fits(spectrum_of(facts, number)))
    return replace(
        one, facts=replace(facts, size=path.stat().st_size), n_pixels=600, em_min=3.8e-7, em_max=7e-7
    )


@pytest.fixture(scope="session")
def readable_releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """One published release of 60 spectra with files behind them."""
    root = tmp_path_factory.mktemp("readable")
    content = synthetic.content(root / "trained", 60)
    seen = [readable(one, number, root / "data") for number, one in enumerate(content.seen)]
    collections = tuple(
        {
            "name": name,
            "path": name,
            "wave_unit": "Angstrom",
            "wave_medium": "vacuum",
            "flux_unit": "relative",
        }
        for name in ("first", "second")
    )
    releases = Releases(root / "releases")
    content = replace(content, seen=seen, collections=collections, base=root / "data")
    releases.publish(releases.write(content))
    return releases


@pytest.fixture(scope="session")
def archive(readable_releases: Releases) -> Iterator[OpenRelease]:
    """The release of `readable_releases`, open."""
    opened = OpenRelease.open(readable_releases.current())
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def addressed(config: Config) -> Config:
    """The configuration of the built archive at the base URL that answers are held to."""
    return replace(config, service=replace(config.service, base_url="http://archive.example"))


@pytest.fixture(scope="session")
def client(addressed: Config, holder: ReleaseHolder, state: State) -> Iterator[TestClient]:
    """The whole application over the built archive."""
    with TestClient(create_app(addressed, holder, state)) as opened:
        yield opened
