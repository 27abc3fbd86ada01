"""What heads are fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encoder.spectrum import Bool, Float64
from encoder.training.linear import Views


@dataclass(frozen=True)
class Material:
    """The training spectra's coefficients, names and labels, and how views of them differ."""

    values: Float64  # (N, K)
    keys: list[str | None]
    labels: dict[str, Float64]  # (N,), NaN where unknown
    views: Views

    def part(self, chosen: Bool) -> Material:
        """The rows that are True in `chosen` (N,)."""
        rows, views = np.flatnonzero(chosen), chosen[self.views.of]
        place = np.cumsum(chosen) - 1
        return Material(
            self.values[rows],
            [self.keys[row] for row in rows.tolist()],
            {name: values[rows] for name, values in self.labels.items()},
            Views(self.views.joint[views], self.views.response[views], place[self.views.of[views]]),
        )
