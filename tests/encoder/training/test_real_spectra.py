"""The bars that likeness on real spectra must reach, on objects that the models did not see."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from encoder.collection import Collection, CollectionConfig
from encoder.model_config import ModelConfig
from encoder.prepare import Grid, Prepared, prepare, require_coverage
from encoder.recipe import GridSpec
from encoder.spectrum import Facts, RefusedSpectrum
from encoder.training.train import train

DATA = os.environ.get("DOPPEL_DATA")
STELLAR = ("miles", "stelib", "indous", "lamost", "ondrejov_halpha")


def archive(grid: GridSpec) -> tuple[list[Prepared], list[Facts], list[Facts]]:
    """Prepared spectra, their facts, and the facts of those that the grid does not cover."""
    prepared, facts, missing = [], [], []
    for name in STELLAR:
        collection = Collection.from_config(CollectionConfig(name, name), Path(str(DATA)), "doppel.test")
        for entry in collection.entries():
            try:
                one = prepare(collection.load(entry), Grid(grid))
                require_coverage(one, Grid(grid), 0.5)
            except RefusedSpectrum:
                missing.append(entry.facts)
            else:
                prepared.append(one)
                facts.append(entry.facts)
    return prepared, facts, missing


@pytest.mark.skipif(not DATA, reason="DOPPEL_DATA names no directory of real spectra")
def test_a_star_finds_itself_in_another_library(tmp_path: Path) -> None:
    """Cross MRR ≥ 0.82 and mixed ≥ 0.72, five folds by object; stars beyond the grid are misses."""
    config = ModelConfig("optical", GridSpec(3800.0, 7000.0, 4096), kind="linear")
    prepared, facts, missing = archive(config.grid)
    train(config, prepared, facts, directory=tmp_path / "m", workdir=tmp_path, progress=str, missing=missing)
    report = json.loads((tmp_path / "m" / "report.json").read_text())
    assert report["libraries"] == ["indous", "miles", "stelib"]
    assert report["cross"]["queries"] >= 210
    assert report["cross"]["mrr"] >= 0.82
    assert report["mixed"]["mrr"] >= 0.72
    assert report["knn"]["teff"] < 110
    assert report["velocity"]["error_kms"] < 10
