"""The network's training may be killed at any time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from encoder.training import linear, network
from encoder.training.heads import fit_head
from encoder.training.material import Material

ROWS, WIDTH = 120, 12


def material() -> Material:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(ROWS, WIDTH))
    joint, response = 0.1 * rng.normal(size=(2, ROWS, WIDTH))
    views = linear.Views(joint, response, np.arange(ROWS))
    labels = {"teff": 5000 + 500 * values[:, 0], "feh": values[:, 1]}
    return Material(values, [f"star{n // 2}" for n in range(ROWS)], labels, views)


def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on from the last state, draws the same batches and drops the same inputs."""
    known = material()
    head = fit_head(known.values, linear.fit_axes(known.values, known.keys, known.views, 4), known.labels)
    monkeypatch.setattr(network, "SAVED_EVERY", 5)
    whole = network.train_network(head, known, 10, 1, tmp_path / "whole")
    batches, limit = [], 13
    draw = network._batch

    def killed(*arguments):  # type: ignore[no-untyped-def]
        batches.append(1)
        if len(batches) == limit:
            raise KeyboardInterrupt
        return draw(*arguments)

    monkeypatch.setattr(network, "_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        network.train_network(head, known, 10, 1, tmp_path / "state")
    assert (tmp_path / "state").exists()
    resumed = network.train_network(head, known, 10, 1, tmp_path / "state")
    assert len(batches) == limit + 20 - 10  # 20 batches in all, of which 10 were kept
    assert not list(tmp_path.iterdir())
    for name, values in whole.items():
        assert np.array_equal(values, resumed[name]), name
