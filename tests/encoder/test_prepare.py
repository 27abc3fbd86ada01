"""Rebinning conserves flux and information, and never crosses what is bad or missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.prepare import Grid, prepare, require_coverage
from encoder.recipe import GridSpec
from encoder.spectrum import Bool, Facts, Float64, RefusedSpectrum, Spectrum

GRID = Grid(GridSpec(4000.0, 5000.0, 400))
FACTS = Facts("s", "c", "ivo://a/c?s", "s.fits")


def spectrum(wave: Float64, flux: Float64, mask: Bool | None = None, ivar: float = 0.0) -> Spectrum:
    bad = np.zeros(wave.size, dtype=bool) if mask is None else mask
    return Spectrum(wave, np.where(bad, 0.0, flux), np.where(bad, 0.0, ivar), bad, FACTS)


def test_the_grid_has_equal_steps_in_ln_wavelength_from_start_to_stop() -> None:
    assert np.ptp(np.diff(np.log(GRID.wave))) < 1e-12
    assert GRID.edges[[0, -1]].tolist() == pytest.approx([4000.0, 5000.0])
    assert GRID.step_kms == pytest.approx(299792.458 * np.log(1.25) / 400)


@settings(max_examples=40, deadline=None)
@given(step=st.floats(0.05, 9.0), seed=st.integers(0, 1000))
def test_flux_is_conserved_whatever_the_pixels(step: float, seed: int) -> None:
    wave = np.arange(3900.0, 5100.0, step)
    flux = 2 + np.random.default_rng(seed).normal(size=wave.size)
    grid = Grid(GridSpec(4000.0, 5000.0, 64))
    one = prepare(spectrum(wave, flux), grid)
    edges = np.concatenate((wave - step / 2, wave[-1:] + step / 2))
    inside = np.clip(np.minimum(edges[1:], 5000.0) - np.maximum(edges[:-1], 4000.0), 0, None)
    total = np.sum(one.flux * one.scale * np.diff(grid.edges))
    assert not one.mask.any()
    assert total == pytest.approx(np.sum(flux * inside), rel=1e-5)


def test_information_is_neither_made_nor_lost() -> None:
    wave = np.arange(3990.0, 5010.0, 0.5)
    one = prepare(spectrum(wave, np.ones(wave.size), ivar=4.0), GRID)
    assert one.ivar.sum() == pytest.approx(4.0 * 1000 / 0.5, rel=1e-3)
    wide = prepare(spectrum(np.arange(3950.0, 5050.0, 20.0), np.ones(55), ivar=4.0), GRID)
    assert wide.ivar.sum() == pytest.approx(4.0 * 1000 / 20, rel=1e-3)


def test_a_bad_pixel_stays_bad_and_its_value_goes_nowhere() -> None:
    wave = np.arange(3990.0, 5010.0, 1.0)
    bad = (wave > 4400) & (wave < 4500)
    one = prepare(spectrum(wave, np.where(bad, 1e9, 1.0), bad), GRID)
    inside = (GRID.wave > 4403) & (GRID.wave < 4497)
    assert one.mask[inside].all()
    assert not one.mask[(GRID.wave < 4397) | (GRID.wave > 4503)].any()
    assert np.all(one.flux[one.mask] == 0)
    np.testing.assert_allclose(one.flux[~one.mask], 1.0, rtol=1e-6)


def test_nothing_is_made_up_between_distant_pixels() -> None:
    wave = np.concatenate((np.arange(3990.0, 4400.0, 1.0), np.arange(4600.0, 5010.0, 1.0)))
    one = prepare(spectrum(wave, np.ones(wave.size)), GRID)
    assert one.mask[(GRID.wave > 4405) & (GRID.wave < 4595)].all()
    assert not one.mask[(GRID.wave < 4395) | (GRID.wave > 4605)].any()


def test_a_spectrum_is_scaled_to_a_median_of_one_and_remembers_its_scale() -> None:
    wave = np.arange(3990.0, 5010.0, 1.0)
    one = prepare(spectrum(wave, np.full(wave.size, 3e-17), ivar=1e36), GRID)
    assert np.median(one.flux) == pytest.approx(1.0)
    assert one.scale == pytest.approx(3e-17)
    assert np.all(np.isfinite(one.ivar))


def test_too_little_coverage_is_refused_in_words() -> None:
    grid = Grid(GridSpec(3800.0, 7000.0, 4096))
    one = prepare(spectrum(np.arange(3700.0, 4600.0, 1.0), np.ones(900)), grid)
    with pytest.raises(RefusedSpectrum, match=r"^covers 31 % of 3800–7000 Å, needs 50 %$"):
        require_coverage(one, grid, 0.5)
    require_coverage(one, grid, 0.3)


@pytest.mark.parametrize("start", [1000.0, 9000.0])
def test_a_spectrum_beside_the_grid_is_refused(start: float) -> None:
    with pytest.raises(RefusedSpectrum, match="covers nothing of 4000–5000 Å"):
        prepare(spectrum(start + np.arange(500.0), np.ones(500)), GRID)


def test_a_spectrum_of_one_pixel_is_refused() -> None:
    with pytest.raises(RefusedSpectrum, match="covers nothing"):
        prepare(spectrum(np.array([4500.0]), np.ones(1)), GRID)


def test_long_spectra_are_rebinned_whole() -> None:
    wave = np.linspace(3990.0, 5010.0, 327_680)
    one = prepare(spectrum(wave, 1 + 0.1 * np.sin(wave)), GRID)
    np.testing.assert_allclose(one.flux * one.scale, 1 + 0.1 * np.sin(GRID.wave), atol=0.03)
