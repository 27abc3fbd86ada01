"""Spectra thinned for the screen keep their flux and their gaps."""

from __future__ import annotations

import numpy as np

from encoder.prepare import Prepared
from encoder.recipe import GridSpec
from service.web.curves import POINTS, Curve, Plot, thinned, thinned_axis

SPEC = GridSpec(3800.0, 7000.0, 4096)


def _prepared(flux: np.ndarray, mask: np.ndarray) -> Prepared:
    zeros = np.zeros(flux.size, np.float32)
    return Prepared(flux.astype(np.float32), zeros, mask, coverage=float((~mask).mean()))


def test_a_thinned_spectrum_has_the_mean_of_its_pixels_and_stays_on_the_axis() -> None:
    pixels = np.arange(SPEC.pixels, dtype=np.float64)
    flux = thinned(_prepared(pixels, np.zeros(SPEC.pixels, bool)), SPEC)
    axis = thinned_axis(SPEC)
    assert flux.size == axis.size <= POINTS
    np.testing.assert_allclose(flux[:3], [1.0, 4.0, 7.0])
    assert axis[0] > SPEC.start
    assert axis[-1] < SPEC.stop


def test_bad_pixels_do_not_count_and_a_whole_gap_is_nothing() -> None:
    mask = np.zeros(SPEC.pixels, bool)
    mask[:3] = True  # one whole group
    mask[3] = True  # one of three
    flux = thinned(_prepared(np.where(mask, 0.0, 2.0), mask), SPEC)
    assert np.isnan(flux[0])
    assert flux[1] == 2.0


def test_json_says_null_for_a_gap() -> None:
    plot = Plot(np.array([4000.0, 4001.0]), (Curve("ivo://x", "x", np.array([np.nan, 1.23456])),))
    assert plot.as_json() == {
        "wave": [4000.0, 4001.0],
        "curves": [{"did": "ivo://x", "label": "x", "flux": [None, 1.235]}],
    }
