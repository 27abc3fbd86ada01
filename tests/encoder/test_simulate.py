"""The simulated archive: read like a real one, honest in its physics, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from encoder.atmosphere import WAVE, Physics, Stars
from encoder.collection import Collection, CollectionConfig, collections_in
from encoder.simulate import simulate, star_name
from encoder.spectrum import Spectrum

Archive = dict[str, list[Spectrum]]


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[CollectionConfig, ...]]:
    directory = tmp_path_factory.mktemp("simulated")
    steps: list[tuple[int, int]] = []
    made = simulate(directory, 40, seed=5, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1] == len(steps)
    return directory, made


@pytest.fixture(scope="module")
def archive(configs: tuple[Path, tuple[CollectionConfig, ...]]) -> Archive:
    """All spectra, by collection, through the readers."""
    directory, made = configs
    opened = [Collection.from_config(config, directory, "doppel.example") for config in made]
    return {found.name: [found.load(entry) for entry in found.entries()] for found in opened}


def test_every_star_is_observed_twice_and_some_by_two_instruments(archive: Archive) -> None:
    seen = Counter(spectrum.facts.object_key for spectra in archive.values() for spectrum in spectra)
    assert len(seen) == 40
    assert min(seen.values()) >= 2
    survey = {spectrum.facts.object_key for spectrum in archive["sim_survey"]}
    library = {spectrum.facts.object_key for spectrum in archive["sim_library"]}
    assert len(survey & library) > 10


def test_both_demo_grids_are_covered(archive: Archive) -> None:
    for name, spectra in archive.items():
        low, high = (6519, 6732) if name == "sim_coude" else (3800, 7000)
        for spectrum in spectra:
            assert spectrum.em_min < low * 1e-10
            assert spectrum.em_max > high * 1e-10
            assert np.mean(spectrum.mask) < 0.05


def test_the_facts_are_complete_and_the_folder_is_a_data_directory(
    archive: Archive, configs: tuple[Path, tuple[CollectionConfig, ...]]
) -> None:
    assert [config.name for config in collections_in(configs[0])] == sorted(archive)
    for spectra in archive.values():
        for spectrum in spectra:
            facts = spectrum.facts
            assert facts.ra is not None
            assert facts.mjd is not None
            assert facts.object is not None
            assert facts.object.startswith("SIM ")
            assert facts.labels["rv"] == pytest.approx(0, abs=700)
    assert all("teff" in spectrum.facts.labels for spectrum in archive["sim_library"])


def test_noise_is_as_large_as_the_errors_say(archive: Archive) -> None:
    """Neighbouring differences of quiet, well sampled spectra scatter by the stated sigma."""
    pulls = []
    for spectrum in archive["sim_survey"]:
        second = np.convolve(spectrum.flux, [1, -2, 1], mode="valid") / np.sqrt(6)
        ivar = spectrum.ivar[1:-1]
        quiet = (ivar > 0) & (spectrum.wave[1:-1] > 7400) & (spectrum.wave[1:-1] < 7550)
        pulls.append(np.std(second[quiet] * np.sqrt(ivar[quiet])))
    assert np.median(pulls) == pytest.approx(1, abs=0.25)


def test_the_same_seed_writes_the_same_spectra(tmp_path: Path) -> None:
    for name in ("a", "b"):
        simulate(tmp_path / name, 3, seed=9)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) > 8
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def stars(**changed: float) -> Stars:
    sun = {"teff": 5772.0, "logg": 4.4, "feh": 0.0, "alpha": 0.0, "vsini": 2.0, "emission": 0.0} | changed
    return Stars(**{name: np.array([value]) for name, value in sun.items()})


def depth(physics: Physics, star: Stars, line: float) -> float:
    """Of a line's core against the flux 60 Å beside it."""
    flux = physics.flux(star)[0]
    core, beside = np.searchsorted(WAVE, [line, line + 60])
    return float(1 - flux[core] / flux[beside - 20 : beside + 20].max())


def test_lines_follow_the_parameters() -> None:
    physics = Physics()
    sodium, calcium, h_beta = 5891.58, 3934.78, 4862.68
    assert depth(physics, stars(feh=-2.0), sodium) < depth(physics, stars(), sodium)
    assert depth(physics, stars(teff=4500.0), sodium) > depth(physics, stars(), sodium)
    assert depth(physics, stars(teff=9000.0), h_beta) > depth(physics, stars(), h_beta) > 0.2
    assert depth(physics, stars(teff=9000.0), calcium) < depth(physics, stars(), calcium)
    assert depth(physics, stars(vsini=100.0), sodium) < depth(physics, stars(), sodium)
    assert depth(physics, stars(teff=12_000.0, emission=6.0), 6564.61) < 0


def test_names_are_cut_as_the_iau_asks() -> None:
    assert star_name(279.234735, 38.783689) == "SIM 183656.3+384701"
    assert star_name(0.01, -0.5) == "SIM 000002.4-003000"
