"""What is far from the training set is odd and gets no labels."""

from __future__ import annotations

import numpy as np

from encoder.neighbours import HeldOutDistances, Reference, nearest_mean

COUNT = 300


def reference() -> Reference:
    """A cloud of unit size around 0 with labels, and one without around 20."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(COUNT, 4))
    vectors[-50:] += 20.0
    labelled = np.arange(COUNT) < COUNT - 50
    usual = rng.uniform(1.0, 2.0, COUNT)
    to_labelled = np.where(labelled, usual, 40.0)
    return Reference.of(
        vectors, HeldOutDistances(usual, to_labelled, rng.uniform(0.01, 0.03, COUNT), labelled)
    )


def judged(place: float, misfit: float) -> tuple[float, bool]:
    anomaly, known = reference().judge(np.full((1, 4), place, dtype=np.float32), np.array([misfit]))
    return float(anomaly[0]), bool(known[0])


def test_labels_are_told_among_labelled_spectra_that_templates_fit() -> None:
    anomaly, known = judged(0.0, 0.015)
    assert known
    assert anomaly < 50


def test_far_away_everything_is_odd() -> None:
    assert judged(60.0, 0.015) == (100.0, False)


def test_what_templates_do_not_fit_is_odd_wherever_it_lies() -> None:
    assert judged(0.0, 0.2) == (100.0, False)


def test_among_spectra_without_labels_none_are_told_and_nothing_is_odd() -> None:
    anomaly, known = judged(20.0, 0.015)
    assert not known
    assert anomaly < 50


def test_a_training_spectrum_is_not_its_own_neighbour() -> None:
    line = np.arange(12.0)
    far = np.abs(line[:, None] - line)
    assert nearest_mean(far)[0] == np.mean(np.arange(1.0, 11.0))


def test_a_reference_is_kept_as_plain_arrays() -> None:
    again = Reference.of_arrays(reference().arrays())
    place = np.zeros((1, 4), dtype=np.float32)
    for one, other in zip(
        again.judge(place, np.array([0.02])), reference().judge(place, np.array([0.02])), strict=True
    ):
        assert np.array_equal(one, other)
