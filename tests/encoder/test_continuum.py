"""The running mean against its definition, and what has no continuum."""

from __future__ import annotations

import numpy as np
import pytest

from encoder.continuum import continuum, continuum_normalised, window_pixels
from encoder.prepare import Grid, prepare, require_coverage
from encoder.recipe import GridSpec
from encoder.spectrum import Facts, RefusedSpectrum, Spectrum


def by_definition(flux: list[float], good: list[bool], half: int) -> list[float]:
    """Twice a mean over a window: first of what is good, then of that."""
    count = len(flux)
    near = [range(max(i - half, 0), min(i + half + 1, count)) for i in range(count)]
    first = [sum(flux[j] for j in at if good[j]) / max(sum(good[j] for j in at), 1) for at in near]
    return [sum(first[j] for j in at) / len(at) for at in near]


def test_the_continuum_is_a_twice_running_mean() -> None:
    rng = np.random.default_rng(0)
    flux, good = rng.uniform(1, 2, (3, 40)), rng.random((3, 40)) > 0.3
    smooth, seen = continuum(flux, good, 9)
    expected = [by_definition(f.tolist(), g.tolist(), 4) for f, g in zip(flux, good, strict=True)]
    np.testing.assert_allclose(smooth, expected, rtol=1e-12)
    assert np.array_equal(seen, good)


def test_a_window_is_odd_and_at_most_half_the_grid() -> None:
    assert window_pixels(1000.0, 100.0, 400) == 11
    assert window_pixels(1e6, 100.0, 400) == 201


def test_a_spectrum_without_a_good_pixel_has_no_continuum() -> None:
    flux, good = continuum_normalised(np.zeros((1, 50)), np.zeros((1, 50), dtype=bool), 9)
    assert not good.any()
    assert not flux.any()


def test_noise_about_zero_is_refused_in_words() -> None:
    """A late dwarf where it emits nothing: it covers the grid, but there is nothing to compare."""
    wave = np.arange(6500.0, 6750.0, 1.0)
    flux = np.where(wave < 6660, -1.0, 1.0) * 1e-17
    facts = Facts("s", "test", "ivo://doppel.test/s", "s.fits")
    grid = Grid(GridSpec(6519.0, 6732.0, 512))
    one = prepare(Spectrum(wave, flux, np.zeros(wave.size), np.zeros(wave.size, dtype=bool), facts), grid)
    with pytest.raises(RefusedSpectrum, match=r"^flux stands above zero in \d+ % of 6519.*needs 50 %$"):
        require_coverage(one, grid, 0.5)
