"""Measures give what a hand count gives."""

from __future__ import annotations

import numpy as np
import pytest

from encoder.evaluate.calibration import (
    coverage,
    coverage_by_snr,
    intervals,
    pulls,
    repeat_pairs,
    sigma_model,
)
from encoder.evaluate.information import mutual_information
from encoder.evaluate.measures import libraries, measure
from encoder.evaluate.retrieval import FOLDS, Archive, cross, distances, fold_of, neighbour_errors, same
from encoder.spectrum import Facts


def fact(name: str, collection: str, key: str, **labels: float) -> Facts:
    return Facts(
        name, collection, f"ivo://t/{name}", name, object_key=key, object_class="star", labels=labels
    )


FACTS = [fact("a1", "a", "A"), fact("a2", "a", "B"), fact("b1", "b", "A"), fact("b2", "b", "C")]
POINTS = np.array([[0.0], [0.1], [1.0], [0.5]])


def test_an_object_stays_in_one_fold() -> None:
    assert fold_of(FACTS[0]) == fold_of(FACTS[2])
    assert {fold_of(fact("x", "a", f"K{n}")) for n in range(100)} == set(range(FOLDS))


def test_cross_leaves_the_own_library_out_and_mixed_keeps_it() -> None:
    archive = Archive.of(FACTS)
    far = distances(archive, [POINTS] * FOLDS)
    assert cross(archive, far, ["a", "b"], mixed=False).rank.tolist() == [2, 2]
    assert cross(archive, far, ["a", "b"], mixed=True).rank.tolist() == [3, 3]


def test_a_missing_spectrum_is_a_miss() -> None:
    archive = Archive.of(FACTS)
    points = POINTS.copy()
    points[2] = np.nan
    found = cross(archive, distances(archive, [points] * FOLDS), ["a", "b"], mixed=False)
    assert found.reciprocal.tolist() == [0, 0]
    assert found.figures()["mrr"] == 0


def test_a_tie_counts_against_the_finder() -> None:
    archive = Archive.of(FACTS)
    points = np.zeros((4, 1))
    assert cross(archive, distances(archive, [points] * FOLDS), ["a", "b"], mixed=False).rank.tolist() == [
        2,
        2,
    ]


def test_same_looks_inside_one_collection() -> None:
    archive = Archive.of([*FACTS, fact("a3", "a", "A")])
    points = np.vstack((POINTS, [[0.05]]))
    found = same(archive, distances(archive, [points] * FOLDS), archive.collections == "a")
    assert found.rank.tolist() == [1, 2]


def test_neighbours_never_come_from_the_object_itself() -> None:
    facts = [fact(f"s{n}", "a", f"K{n // 2}", teff=1000.0 * (n // 2)) for n in range(10)]
    archive, everything = Archive.of(facts), np.ones(10, dtype=bool)
    far = distances(archive, [np.repeat(np.arange(5.0) ** 2, 2)[:, None]] * FOLDS)
    errors = neighbour_errors(archive, far, "teff", everything, everything)
    assert np.all(np.abs(errors) > 100)


def test_libraries_are_collections_that_share_objects() -> None:
    facts = [fact(f"{c}{n}", c, f"K{n}") for c in "ab" for n in range(5)] + [fact("c0", "c", "other")]
    assert libraries(Archive.of(facts)) == ["a", "b"]
    assert measure(Archive.of(facts), [np.zeros((11, 2))] * FOLDS)["cross"]["queries"] == 10


def test_mutual_information_of_gaussians_is_known() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=5000)
    y = 0.8 * x + 0.6 * rng.normal(size=5000)
    assert mutual_information(x, y) == pytest.approx(-0.5 * np.log(1 - 0.64), abs=0.08)
    assert mutual_information(x, rng.normal(size=5000)) < 0.02
    assert np.isnan(mutual_information(x[:20], y[:20]))


def test_intervals_cover_what_they_promise_also_in_noisy_bins() -> None:
    rng = np.random.default_rng(2)
    noise = rng.uniform(0.01, 0.2, 4000)
    error = rng.normal(size=4000) * noise
    table = intervals(error[:2000], noise[:2000])
    found = coverage(table, error[2000:], noise[2000:])
    assert found["68"].mean() == pytest.approx(0.68, abs=0.03)
    assert found["90"].mean() == pytest.approx(0.90, abs=0.03)
    assert table["68"] == sorted(table["68"])
    assert len(table["residual"]) == len(table["68"]) - 1


def test_coverage_is_told_by_folds_that_did_not_make_the_intervals() -> None:
    rng = np.random.default_rng(4)
    noise = rng.uniform(0.01, 0.2, 2000)
    error, folds = rng.normal(size=2000) * noise, rng.integers(0, FOLDS, 2000)
    snr = np.where(noise > 0.19, np.nan, 1 / noise)
    told = coverage_by_snr(error, noise, folds, snr)
    assert set(told) == {"all", "S/N 0 to 20", "S/N 20 to 50", "S/N 50 to 100"}
    assert told["all"]["spectra"] == 2000
    assert told["all"]["68"] == pytest.approx(0.68, abs=0.04)
    assert told["S/N 0 to 20"]["90"] == pytest.approx(0.90, abs=0.04)
    assert coverage_by_snr(error[:10], noise[:10], folds[:10], snr[:10]) == {"all": {"spectra": 0}}


def test_sigmas_fit_repeats() -> None:
    rng = np.random.default_rng(3)
    residual = rng.uniform(0.01, 0.1, (3000, 2))
    difference = rng.normal(size=(3000, 1)) * np.sqrt(2 * 0.04 + 30 * np.sum(residual**2, axis=1))[:, None]
    floor, slope = sigma_model(difference, residual)
    variance = 2 * floor + slope * np.sum(residual**2, axis=1)[:, None]
    assert pulls(difference, variance)[0] == pytest.approx(1.0, abs=0.15)


def test_repeat_pairs_are_all_two_of_one_object() -> None:
    assert repeat_pairs(["A", None, "A", "B", "A"]).tolist() == [[0, 2], [0, 4], [2, 4]]
    assert repeat_pairs([None, None]).shape == (0, 2)
