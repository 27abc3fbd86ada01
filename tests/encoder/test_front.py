"""Continuum, velocity and projection: gaps must not change the answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from encoder.front import Front, Shape, averaged, stacked
from encoder.model_config import ModelConfig
from encoder.prepare import Prepared
from encoder.training import linear
from tests.encoder.stars import GRID, stars

PREPARED, FACTS = stars()
CONFIG = ModelConfig("test", GRID, kind="linear", components=24, axes=6)


@pytest.fixture(scope="module")
def front() -> Front:
    shape = Shape.of(GRID, 19_000.0, align=True)
    flux, good = stacked(PREPARED)
    aligner = linear.fit_aligner(shape, flux[::2], good[::2])
    rest, _ = linear.at_rest(shape, aligner, flux, good)
    return linear.fit_front(shape, aligner, rest, 24)


def with_gap(one: Prepared, start: int, stop: int) -> Prepared:
    mask = one.mask.copy()
    mask[start:stop] = True
    return replace(
        one, mask=mask, flux=np.where(mask, np.float32(1e6), one.flux), coverage=float(1 - mask.mean())
    )


def test_projection_with_gaps_equals_the_answer_without(front: Front) -> None:
    """Spectra that the components hold exactly come back whole from what is left of them."""
    whole = front.project(
        front.mean + front(PREPARED).values * front.unit @ front.basis, np.ones((180, 384), bool)
    )[0]
    good = np.ones((180, 384), dtype=bool)
    good[:, 100:150] = good[::2, 300:330] = False
    sharp = replace(front, ridge=np.full(24, 1e-9))
    rebuilt = front.mean + whole * front.unit @ front.basis
    np.testing.assert_allclose(sharp.project(np.where(good, rebuilt, 99.0), good)[0], whole, atol=1e-5)


def test_what_lies_in_a_gap_is_never_looked_at(front: Front) -> None:
    one = with_gap(PREPARED[0], 200, 260)
    other = replace(one, flux=np.where(one.mask, np.float32(-5), one.flux))
    assert np.array_equal(front([one]).values, front([other]).values)


def test_a_gap_moves_coefficients_little(front: Front) -> None:
    whole = front(PREPARED).values
    gapped = front([with_gap(one, 200, 260) for one in PREPARED]).values
    assert np.median(np.linalg.norm(gapped - whole, axis=1) / np.linalg.norm(whole, axis=1)) < 0.2


def test_the_velocity_is_found(front: Front) -> None:
    found = front(PREPARED).velocity
    truth = np.array([one.labels["rv"] for one in FACTS])
    south = np.array([one.collection == "south" for one in FACTS])
    assert np.median(np.abs(found - truth)[south]) < 0.1 * front.shape.step_kms
    assert np.median(np.abs(found[~south])) < 0.05 * front.shape.step_kms


def test_brightness_and_smooth_response_do_not_matter(front: Front) -> None:
    one = PREPARED[0]
    tilted = replace(one, flux=(one.flux * np.linspace(0.9, 1.1, one.flux.size) * 7).astype(np.float32))
    a, b = front([one]).values[0], front([tilted]).values[0]
    assert np.linalg.norm(a - b) < 0.1 * np.linalg.norm(a)


def test_order_and_batches_do_not_matter(front: Front) -> None:
    together = front(PREPARED).values
    alone = np.concatenate([front([one]).values for one in PREPARED[:5]])
    np.testing.assert_allclose(together[:5], alone, atol=1e-9)


def test_a_front_is_kept_as_plain_arrays(front: Front) -> None:
    again = Front.of(front.arrays())
    assert np.array_equal(again(PREPARED[:3]).values, front(PREPARED[:3]).values)


def test_nothing_in_nothing_out(front: Front) -> None:
    assert front([]).values.shape == (0, 24)


def test_averaging_conserves_flux_and_moves_lines() -> None:
    flux = np.ones((1, 64))
    flux[0, 30] = 5.0
    still, _ = averaged(flux, np.ones((1, 64), dtype=bool), np.zeros(1), 2)
    moved, good = averaged(flux, np.ones((1, 64), dtype=bool), np.array([6.0]), 2)
    assert still.sum() * 2 == pytest.approx(flux.sum())
    assert np.argmax(still) - np.argmax(moved) == 3
    assert not good[0, -3:].any()


def test_training_spectra_without_a_good_pixel_do_not_spoil_the_components(front: Front) -> None:
    """A build never dies of one spectrum."""
    flux, good = stacked(PREPARED)
    good[:3] = False
    rest, _ = linear.at_rest(front.shape, front.aligner, np.where(good, flux, 0.0), good)
    fitted = linear.fit_front(front.shape, front.aligner, rest, 24)
    values, residual = fitted.project(rest.flux, rest.good)
    assert np.isfinite(values).all()
    assert np.isfinite(residual).all()
