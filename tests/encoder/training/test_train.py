"""A model is trained, published as files, opened without torch, and tells what it is good for."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from encoder.decode import flux_of
from encoder.infer import Encoder, features
from encoder.model_config import ModelConfig
from encoder.recipe import Recipe
from encoder.training.folds import evaluate
from encoder.training.train import TrainingError, train, training_rows
from tests.encoder.stars import GRID, stars

PREPARED, FACTS = stars()


def config(kind: str, **settings: int) -> ModelConfig:
    return ModelConfig("test", GRID, kind=kind, components=24, axes=6, **settings)  # type: ignore[arg-type]


def trained(directory: Path, kind: str, workdir: Path | None = None) -> tuple[Recipe, list[str]]:
    told: list[str] = []
    recipe = train(
        config(kind, epochs=4),
        PREPARED,
        FACTS,
        directory=directory,
        workdir=workdir or directory.parent / f"{directory.name}-steps",
        progress=told.append,
    )
    return recipe, told


@pytest.fixture(scope="module", params=["linear", "blocks"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model") / request.param
    trained(directory, request.param)
    return directory


def test_the_blocks_stand_in_order_and_presets_name_latents(model: Path) -> None:
    recipe = Recipe.read(model / "recipe.json")
    blocks = [latent.block for latent in recipe.latents]
    assert blocks == sorted(blocks, key=["label", "intrinsic", "nuisance", "velocity"].index)
    assert [latent.name for latent in recipe.latents] == [f"z{n:02d}" for n in range(len(blocks))]
    assert set(recipe.presets) == {"physics", "parameters", "velocity", "instrument", "all"}
    names = {latent.name for latent in recipe.latents}
    assert all(set(weights) <= names for weights in recipe.presets.values())
    assert all(latent.scale > 0 and latent.description for latent in recipe.latents)


def test_repeats_of_an_object_are_near(model: Path) -> None:
    report = json.loads((model / "report.json").read_text())
    assert report["cross"]["mrr"] > 0.8
    assert report["mixed"]["mrr"] > 0.6
    distances = report["repeat_distances"]
    assert set(distances) == set(Recipe.read(model / "recipe.json").presets)
    assert all(values == sorted(values) and len(values) == 90 for values in distances.values())


def test_labels_come_with_intervals_that_hold(model: Path) -> None:
    encoded = Encoder.open(model).encode(PREPARED)
    teff = np.array([one.labels["teff"] for one in FACTS])
    known = np.isfinite(encoded.labels[:, 0])
    assert known.mean() > 0.97
    assert np.median(np.abs(encoded.labels[known, 0] - teff[known])) < 250
    assert np.all(encoded.label_lo90[known] <= encoded.label_lo68[known])
    assert np.all(encoded.label_lo68[known] < encoded.label_hi68[known])
    inside = (encoded.label_lo90[:, 0] <= teff) & (teff <= encoded.label_hi90[:, 0])
    assert inside[known].mean() > 0.8
    coverage = json.loads((model / "report.json").read_text())["calibration"]["coverage"]
    assert coverage["teff"]["all"]["68"] == pytest.approx(0.68, abs=0.1)
    assert coverage["teff"]["all"]["spectra"] == 180
    assert "intervals of teff hold | all: " in (model / "card.md").read_text()


def test_sigmas_are_the_spread_of_repeats(model: Path) -> None:
    pulls = json.loads((model / "report.json").read_text())["calibration"]["pulls"]
    assert all(0.5 < pull < 1.5 for name, pull in pulls.items() if name != "velocity")
    assert np.all(Encoder.open(model).encode(PREPARED[:3]).sigmas > 0)


def test_onnx_tells_what_the_arrays_tell(model: Path) -> None:
    """The graph against the recipe's own arithmetic, in float64 from the arrays inside it."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    encoder = Encoder.open(model)
    inputs = features(encoder.front(PREPARED[:20]))
    expected = ReferenceEvaluator(onnx.load(model / "encoder.onnx")).run(["vectors"], {"features": inputs})[0]
    np.testing.assert_allclose(encoder.encode(PREPARED[:20]).vectors, expected, rtol=1e-5, atol=1e-5)


def test_an_odd_spectrum_is_an_anomaly_without_labels(model: Path) -> None:
    encoder = Encoder.open(model)
    odd = PREPARED[int(np.argsort(encoder.encode(PREPARED).anomaly)[len(PREPARED) // 2])]  # as usual as most
    emission = odd.flux * (1 + 4 * np.exp(-0.5 * ((np.arange(768) - 300) / 4.0) ** 2)).astype(np.float32)
    encoded = encoder.encode([odd, replace(odd, flux=emission)])
    assert encoded.anomaly[1] > 99 > encoded.anomaly[0]
    assert np.isnan(encoded.labels[1]).all()
    assert np.isfinite(encoded.labels[0]).all()


def test_a_model_shows_what_it_sees(model: Path) -> None:
    """The fit follows the spectrum with its velocity and brightness; a vector gives it back, less exactly."""
    encoder = Encoder.open(model)
    fast = next(n for n, one in enumerate(FACTS) if one.labels["rv"] > 80)
    fit = encoder.fitted([PREPARED[fast]])[0]
    left = (PREPARED[fast].flux - fit)[8:-8]
    assert fit.shape == (768,)
    assert left.std() < 0.5 * PREPARED[fast].flux.std()
    assert (
        np.corrcoef(PREPARED[fast].flux, fit)[0, 1] > np.corrcoef(PREPARED[fast].flux, np.roll(fit, 2))[0, 1]
    )
    shown = encoder.reconstruct(encoder.encode(PREPARED).vectors)
    exact = flux_of(encoder.front, encoder.front(PREPARED).values)
    assert np.mean((shown - exact) ** 2) < 0.5 * np.mean((exact - exact.mean(axis=0)) ** 2)


def test_a_walk_along_a_latent_starts_from_the_mean_and_goes_straight(model: Path) -> None:
    encoder = Encoder.open(model)
    below, mean, above = encoder.traverse("z00", [-2.0, 0.0, 2.0])
    np.testing.assert_allclose(mean, (below + above) / 2, atol=1e-5)
    assert np.abs(above - below).max() > 0.02
    assert np.abs(np.diff(encoder.traverse(encoder.recipe.latents[-1].name, [0.0, 1.0]), axis=0)).max() < 1e-6
    with pytest.raises(KeyError, match="z99"):
        encoder.traverse("z99", [0.0])


def test_a_walk_from_a_spectrum_begins_at_what_is_seen_of_it(model: Path) -> None:
    encoder = Encoder.open(model)
    vectors = encoder.encode(PREPARED[:2]).vectors
    one, other = (encoder.traverse("z00", [0.0, 1.0], vector) for vector in vectors)
    np.testing.assert_allclose(np.stack([one[0], other[0]]), encoder.reconstruct(vectors), atol=1e-6)
    np.testing.assert_allclose(one[1] - one[0], other[1] - other[0], atol=1e-6)
    teff = encoder.along("z00", [-1.0, 0.0, 1.0], vectors[0])
    assert teff[1] == pytest.approx(10 ** float(vectors[0][0]), rel=1e-5)
    assert (np.diff(teff) > 0).all()
    mean = 10 ** encoder.decoder.centre[0]
    assert encoder.along("z00", [0.0])[0] == pytest.approx(mean)


def test_equal_input_makes_equal_files(model: Path, tmp_path: Path) -> None:
    trained(tmp_path / "again", model.name)
    for name in ("encoder.onnx", "recipe.json", "report.json", "card.md"):
        assert digest(model / name) == digest(tmp_path / "again" / name)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_no_path_of_the_building_machine_is_published(model: Path) -> None:
    for path in model.iterdir():
        content = path.read_bytes()
        assert str(model.parent).encode() not in content
        assert str(Path(__file__).parents[3]).encode() not in content


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first, told = trained(tmp_path / "a", "linear", tmp_path / "steps")
    (steps,) = (tmp_path / "steps").iterdir()
    (steps / "views.npz").unlink()
    second, again = trained(tmp_path / "b", "linear", tmp_path / "steps")
    assert {"components", "views"} <= set(told)
    assert again[0] == "views"
    assert "components" not in again
    assert first.model_id == second.model_id


def test_too_few_spectra_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match="20 spectra of class 'star' cover 4000–6000 Å; training needs 30"
    ):
        train(
            config("linear"),
            PREPARED[:20],
            FACTS[:20],
            directory=tmp_path / "m",
            workdir=tmp_path,
            progress=print,
        )


def test_spectra_of_a_few_wide_pixels_are_not_trained_on() -> None:
    """A prism's spectrum that has eight pixels where the grid has 768."""
    coarse = replace(PREPARED[0], flux=np.repeat(PREPARED[0].flux[::96], 96))
    rows = training_rows(config("linear"), [coarse, *PREPARED[1:]], FACTS)
    assert rows.tolist() == list(range(1, len(FACTS)))


def test_applying_a_model_needs_no_torch(model: Path) -> None:
    code = (
        "import sys, pathlib; from encoder.infer import Encoder; from tests.encoder.stars import stars\n"
        f"Encoder.open(pathlib.Path({str(model)!r})).encode(stars(objects=1)[0])\n"
        "assert not {'torch', 'onnx', 'astropy', 'matplotlib'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_five_folds_compare_models_and_baselines(tmp_path: Path) -> None:
    """A missing spectrum counts as a miss; training sees nothing of the fold it is judged on."""
    gone = 6
    result = evaluate(
        config("linear"),
        PREPARED[:-gone],
        FACTS[:-gone],
        workdir=tmp_path,
        progress=str,
        missing=FACTS[-gone:],
    )
    assert set(result["rows"]) == {"raw", "pca", "lda", "linear"}
    assert result["rows"]["linear"]["libraries"] == ["north", "south"]
    assert result["rows"]["linear"]["cross"]["queries"] == 180
    assert result["rows"]["linear"]["cross"]["mrr"] > result["rows"]["raw"]["cross"]["mrr"]
    assert result["rows"]["linear"]["cross"]["mrr"] <= 1 - gone / 180
    assert result["paired"]["linear"]["cross"]["error"] > 0
    shutil.rmtree(tmp_path)
