"""Air and vacuum, units: against published values."""

from __future__ import annotations

import numpy as np
import pytest

from encoder.readers.axis import air_to_vacuum, vacuum_to_air


@pytest.mark.parametrize(
    ("air", "vacuum"),
    [(6562.80, 6564.61), (4861.32, 4862.68), (5889.95, 5891.58), (8542.09, 8544.44), (3933.66, 3934.78)],
)
def test_known_lines_are_found_in_vacuum(air: float, vacuum: float) -> None:
    assert air_to_vacuum(np.array([air]))[0] == pytest.approx(vacuum, abs=0.012)


def test_there_and_back_is_the_same_and_the_ultraviolet_stays() -> None:
    wave = np.linspace(1500, 25_000, 500)
    assert np.allclose(vacuum_to_air(air_to_vacuum(wave)), wave, rtol=0, atol=1e-5)
    assert np.all(np.diff(air_to_vacuum(wave)) > 0)
    assert np.array_equal(air_to_vacuum(wave[wave < 2000]), wave[wave < 2000])
