"""What the models predict of a spectrum that was sent, as its page shows it: values, units, intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from index.release import OpenRelease
from service.errors import UsageFault
from service.own_spectrum import Own
from service.protocols.encode import answer

NAMES = {
    "teff": "Effective temperature",
    "logg": "log g",
    "feh": "[Fe/H]",
    "rv": "Radial velocity",
    "redshift": "Redshift",
}
SIGNED = ("feh", "rv")
DEX = ("logg", "feh")  # logarithms, whose unit VOUnits has no word for


@dataclass(frozen=True, slots=True)
class Prediction:
    """One label of one model, in words; intervals that hold the truth in 68 and 90 of 100 cases."""

    name: str
    value: str
    half: str  # the interval of 68 %
    wide: str  # and of 90 %


@dataclass(frozen=True, slots=True)
class Predicted:
    """What one model says; where it can not embed the spectrum, `refused` has the reason."""

    model: str
    refused: str = ""
    coverage: float = 0.0  # of the model's grid, 0 to 1
    anomaly: float | None = None  # percentile
    labels: tuple[Prediction, ...] = ()


def predicted(release: OpenRelease, own: Own) -> list[Predicted]:
    """One for each model; none where no model can embed the spectrum, which its neighbours then say."""
    try:
        models = answer(release, own)["models"]
    except UsageFault:
        return []
    return [_of(name, words) for name, words in models.items()]


def _of(name: str, words: Mapping[str, Any]) -> Predicted:
    if "refused" in words:
        return Predicted(name, words["refused"])
    labels = tuple(_predictions(words["labels"]))
    return Predicted(name, coverage=words["coverage"], anomaly=words["anomaly"], labels=labels)


def _predictions(labels: Mapping[str, Mapping[str, Any]]) -> Iterator[Prediction]:
    """Those that the model gives a value for."""
    for name, told in labels.items():
        if told["value"] is None:
            continue
        unit = told["unit"] or ("dex" if name in DEX else "")
        digits, sign = _digits(told), "+" if name in SIGNED else ""
        value, *ends = (
            "" if told[key] is None else f"{told[key]:{sign}.{digits}f}"
            for key in ("value", "lo68", "hi68", "lo90", "hi90")
        )
        half, wide = (_between(ends[place], ends[place + 1], unit) for place in (0, 2))
        yield Prediction(NAMES.get(name, name), f"{value} {unit}".strip(), half, wide)


def _digits(told: Mapping[str, float | None]) -> int:
    """Decimals that show two digits of the interval's width; of the value where there is no interval."""
    low, high = told["lo68"], told["hi68"]
    width = abs(told["value"] or 1.0) if low is None or high is None else high - low
    return max(0, 1 - math.floor(math.log10(width))) if width > 0 else 3


def _between(low: str, high: str, unit: str) -> str:
    return f"{low} to {high} {unit}".strip() if low and high else ""
