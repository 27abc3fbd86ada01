"""What a `space` means, and why two spectra are as far apart as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from encoder.recipe import GridSpec, Latent, Recipe
from index.metric import Metric, by_block, contributions, noisy_distances, parse_space

RECIPE = Recipe(
    name="optical",
    model_id="optical-1",
    kind="blocks",
    grid=GridSpec(3800.0, 7000.0, 4096),
    min_coverage=0.5,
    latents=(
        Latent("z00", "label", 100.0, label="teff"),
        Latent("z01", "label", 0.2, label="logg"),
        Latent("z02", "intrinsic", 0.5),
        Latent("z03", "intrinsic", 2.0),
        Latent("z04", "velocity", 10.0, label="rv"),
    ),
    presets={
        "physics": {"z02": 1.0, "z03": 1.0},
        "parameters": {"z00": 1.0, "z01": 1.0},
        "all": dict.fromkeys(("z00", "z01", "z02", "z03", "z04"), 1.0),
    },
    default_preset="physics",
)
UNIT = np.array([1e-4, 25.0, 4.0, 0.25, 0.01])  # 1 / scale²
ALL = [1.0, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("", [0, 0, 1, 1, 0]),
        ("physics", [0, 0, 1, 1, 0]),
        (" Physics ", [0, 0, 1, 1, 0]),
        ("optical:parameters", [1, 1, 0, 0, 0]),
        ("OPTICAL:all", ALL),
        ("physics; teff:2, z03:0", [2, 0, 1, 0, 0]),
        ("all; velocity:0", [1, 1, 1, 1, 0]),
        ("; rv : 0.5", [0, 0, 1, 1, 0.5]),
        ("all;label:3,z01:1,", [3, 1, 1, 1, 1]),
    ],
)
def test_a_space_is_weights_over_scale_squared(text: str, units: list[float]) -> None:
    np.testing.assert_allclose(parse_space(text, RECIPE), np.array(units) * UNIT, rtol=1e-14)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("phisics", "'phisics' is not a preset of optical. Did you mean 'physics'. Known: all, para"),
        ("physics; tef:1", "'tef' is not a latent, label or block of optical. Did you mean 'teff'"),
        ("physics; 3:1", "'3' is not a latent"),
        ("halpha:physics", "names the model 'halpha'; the vectors are of 'optical'"),
        (":physics", "empty name beside its colon"),
        ("optical:", "empty name beside its colon"),
        ("physics; teff", "'teff' in space .* is not 'name:weight'"),
        ("physics; teff:warm", "is not 'name:weight'"),
        ("physics; teff:-1", "weight of 'teff' is -1; it must be finite and not negative"),
        ("physics; teff:nan", "finite"),
        ("physics; teff:inf", "finite"),
        ("physics; intrinsic:0", "all weights of the space are zero"),
        ("physics; teff:1, teff:2", "'teff' twice"),
        ("physics; teff:1e300", r"weight of 'teff' is 1e\+300; at most 1e\+20 is possible"),
    ],
)
def test_a_bad_space_is_refused_with_what_is_allowed(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_space(text, RECIPE)


def test_a_space_can_be_read_before_its_model_is_known() -> None:
    assert Metric.parse("halpha:all; velocity:0") == Metric("halpha", "all", {"velocity": 0.0})
    assert Metric.parse("") == Metric()


def test_a_models_name_alone_is_that_model_with_its_default_preset() -> None:
    halpha = replace(RECIPE, name="halpha")
    models = (RECIPE, halpha)
    assert Metric.parse("Halpha; velocity:1").among(models) == Metric("halpha", None, {"velocity": 1.0})
    assert Metric.parse("HALPHA:all").among(models) == Metric("halpha", "all")
    for text in ("", "all", "physics; teff:2", "nothing"):
        assert Metric.parse(text).among(models) == Metric.parse(text)
    assert Metric.parse("all").among((replace(RECIPE, name="all"),)) == Metric(None, "all")


@pytest.mark.parametrize("text", ["optica:all", "teff:2"])
def test_a_model_that_there_is_not_is_refused_with_what_may_be_meant(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a model of this archive.*optical; weights .* semicolon"):
        Metric.parse(text).among((RECIPE,))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "physics"),
        ("optical", "physics"),
        ("ALL", "all"),
        ("; teff:2, z03:0.1", "physics; teff:2, z03:0.1"),
        ("all;velocity:1e-09", "all; velocity:1e-09"),
    ],
)
def test_a_space_is_told_in_full(text: str, told: str) -> None:
    metric = Metric.parse(text).among((RECIPE,))
    assert metric.told(RECIPE) == told
    np.testing.assert_array_equal(metric.of(RECIPE), parse_space(told, RECIPE))


def test_contributions_sum_to_the_squared_distance_largest_first() -> None:
    query, vector = np.array([5800, 4.4, 0.1, 1.0, 20.0]), np.array([5600, 4.4, 0.6, 0.0, 25.0])
    parts = contributions(query, vector, parse_space("all; z03:0", RECIPE), RECIPE)
    assert [(part.latent, part.label) for part in parts][:2] == [("z00", "teff"), ("z02", None)]
    assert [part.squared for part in parts] == pytest.approx([4.0, 1.0, 0.25, 0.0])
    assert by_block(parts) == pytest.approx({"label": 4.0, "intrinsic": 1.0, "velocity": 0.25})
    assert list(by_block(parts)) == ["label", "intrinsic", "velocity"]


def test_a_noisy_spectrum_moves_nearer_than_its_values_say() -> None:
    weights = parse_space("physics", RECIPE)
    query, sigma = np.zeros(5), np.full(5, 0.1)
    vectors = np.array([[0, 0, 1.0, 0, 0], [0, 0, 1.2, 0, 0]])
    sigmas = np.array([[0.1] * 5, [1.0] * 5])
    distance = noisy_distances(query, sigma, vectors, sigmas, weights, RECIPE)
    np.testing.assert_allclose(distance, [1 / np.sqrt(0.02), 1.2 / np.sqrt(1.01)])
    with pytest.raises(ValueError, match="sigmas must be above zero"):
        noisy_distances(query, np.zeros(5), vectors, np.zeros((2, 5)), weights, RECIPE)
