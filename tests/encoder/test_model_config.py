"""Settings of a model are checked at the door."""

from __future__ import annotations

from dataclasses import fields

import pytest

from encoder.model_config import ModelConfig

GRID = {"start": 3800.0, "stop": 7000, "pixels": 4096}


def test_the_least_that_works_has_every_other_setting_by_default() -> None:
    config = ModelConfig.from_table({"name": "optical", "grid": GRID})
    assert (config.kind, config.min_coverage, config.grid.stop) == ("blocks", 0.5, 7000.0)


def test_every_setting_is_documented() -> None:
    assert all(setting.metadata["doc"] for setting in fields(ModelConfig))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kinds": "linear"}, "no key 'kinds'; did you mean 'kind'"),
        ({"kind": "magic"}, "kind is 'magic'; allowed: linear, blocks"),
        ({"name": "my model"}, "regular ADQL identifier"),
        ({"name": "spectra"}, r"taken: doppel\.spectra holds what the archive says"),
        ({"name": "Grids"}, r"taken: doppel\.grids holds the wavelengths"),
        ({"name": "flux_optical"}, r"taken: doppel\.flux_… are tables of prepared spectra"),
        ({"publish_flux": 1}, "publish_flux must be bool"),
        ({"name": "select"}, "reserved word"),
        ({"grid": {"start": 1, "stop": 2}}, "grid must be"),
        ({"grid": {**GRID, "stop": 3000.0}}, "must ascend"),
        ({"grid": {**GRID, "pixels": 3}}, "3 pixels; allowed: 64 to 65536"),
        ({"grid": {**GRID, "pixels": 100.5}}, "whole number"),
        ({"grid": {**GRID, "start": "blue"}}, "needs numbers"),
        ({"min_coverage": 1.5}, "min_coverage is 1.5"),
        ({"min_coverage": "half"}, "must be float"),
        ({"seed": True}, "seed must be int"),
        ({"collections": "miles"}, "list of names"),
        ({"lists": "all; velocity:0"}, "list of spaces"),
        ({"axes": 60, "components": 30}, "too many"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_table({"name": "optical", "grid": GRID, **change}, reserved=frozenset({"SELECT"}))


def test_vectors_made_elsewhere_have_no_flux_to_publish() -> None:
    with pytest.raises(ValueError, match="made: publish_flux needs a grid"):
        ModelConfig(name="made", kind="external", vectors="vectors.parquet", publish_flux=True)


def test_what_is_published_makes_no_other_model() -> None:
    more = {"publish_flux": True, "lists": ["all; velocity:0"]}
    with_flux = ModelConfig.from_table({"name": "optical", "grid": GRID, **more})
    assert with_flux.training == ModelConfig.from_table({"name": "optical", "grid": GRID}).training


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ValueError, match=r"\[\[model\]\] needs grid"):
        ModelConfig.from_table({"name": "optical"})
