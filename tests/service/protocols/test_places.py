"""Places in memory and the engine say the same of every cone."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from index.release import OpenRelease
from service.protocols import ready
from service.protocols.constraints import Cones
from service.protocols.places import Located, in_cones, located
from service.protocols.ready import short_answer
from service.protocols.spectra import Wanted
from service.query.places import Places

MANY = 10_000
DRAW = np.random.default_rng(20260711)


def cones(release: OpenRelease) -> list[Cones]:
    """Around spectra, poles and the meridian, from a second of arc to half the sky, and several at once."""
    held = located(release).places
    ra = np.degrees(np.arctan2(held.units[:, 1], held.units[:, 0])) % 360
    spectra = [(float(ra[n]) + 1e-4, float(held.dec[n])) for n in DRAW.integers(0, len(ra), 12)]
    corners = [(0.0, 89.9), (359.99, -89.9), (360.0, 0.0), (0.001, 3.0)]
    alone = [
        Cones((place,), float(radius))
        for place in (*spectra, *corners)
        for radius in 10 ** DRAW.uniform(-3.5, 1.95, 4)
    ]
    return [*alone, Cones(tuple(spectra), 2.0)]


def test_places_and_the_engine_find_the_same(archive: OpenRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [Wanted((cone,)) for cone in cones(archive)]

    def answers() -> list[ready.Answered | None]:
        return [short_answer(archive, wanted, MANY, "", None, 60.0) for wanted in asked]

    assert all(in_cones(archive, cone, MANY) is not None for cone in cones(archive))
    found = answers()
    monkeypatch.setattr(ready, "in_cones", lambda *_: None)
    assert found == answers()
    assert sum(one is not None and bool(one[0].dids) for one in found) > len(found) / 2


def test_spectra_without_a_position_have_no_place(archive: OpenRelease) -> None:
    with_position = archive.engine.rows("SELECT count(ra) FROM release.doppel.spectra")[0][0]
    assert len(located(archive).places.rows) == with_position


@pytest.mark.parametrize("radius", [0.0, 0.5, 30.0])
def test_what_lies_on_the_edge_is_left_to_the_engine(radius: float) -> None:
    ra, dec = np.array([10.0, 200.0]), np.array([20.0, 60.0])
    two = Located(pa.array(["one", "other"]), Places.of(ra, dec))
    assert two.within(Cones(((10.0, 20.0 - radius),), radius), MANY) is None
    assert two.within(Cones(((10.0, 20.0 - radius),), radius + 1e-9), MANY) == ["one"]
    assert two.within(Cones(((10.0, 20.0 - radius - 1e-9),), radius), MANY) == []


def test_too_many_and_too_wide_are_left_to_the_engine(archive: OpenRelease) -> None:
    everything = Cones(((10.0, 20.0),), 90.0)
    inside = in_cones(archive, everything, MANY)
    assert inside is not None
    assert in_cones(archive, everything, len(inside)) is not None
    assert in_cones(archive, everything, len(inside) - 1) is None
    assert in_cones(archive, Cones(((10.0, 20.0),), math.nextafter(90.0, 91.0)), MANY) is None
