"""Units through arithmetic, and factors between them (VOUnits 1.1; ADQL 2.1, 4.9)."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Any

LONGEST = 200  # characters
_SIMPLE = re.compile(r"[A-Za-z%]+")


def product(left: str | None, right: str | None) -> str | None:
    if not left or not right:
        return left or right
    if left == right and _SIMPLE.fullmatch(left):
        return f"{left}2"
    return _short(f"{_factor(left)}.{_factor(right)}")


def quotient(left: str | None, right: str | None) -> str | None:
    if not right or left == right:
        return None if left == right else left
    return _short(f"{_factor(left)}/{_factor(right)}" if left else f"{_factor(right)}**-1")


def _short(unit: str) -> str | None:
    """None where nobody could read it: units of units of units double with each."""
    return unit if len(unit) <= LONGEST else None


def product_of_powers(unit: str | None, exponent: object) -> str | None:
    """The unit of a power; None where the exponent is not known, or the result would have no name."""
    if not unit or not isinstance(exponent, int | float):
        return None
    if exponent == 1:
        return unit
    whole = float(exponent).is_integer()
    return _short(f"{_factor(unit)}**{int(exponent)}" if whole else f"{_factor(unit)}**({exponent:g})")


def _factor(unit: str) -> str:
    return unit if _SIMPLE.fullmatch(unit) else f"({unit})"


@lru_cache(maxsize=256)
def factor(unit: str | None, wanted: str) -> float:
    """By what a number in `unit` is multiplied to be in `wanted`; ValueError says why it cannot be."""
    target = _parsed(wanted)
    if target is None:
        raise ValueError(f"{wanted!r} is not a unit of VOUnits")
    if not unit:
        raise ValueError("the unit of the first argument is not known")
    source = _parsed(unit)
    if source is None:
        raise ValueError(f"the unit {unit!r} of the first argument is not one of VOUnits")
    if not source.is_equivalent(target):
        hint = (
            "; a wavelength becomes a frequency or an energy by gavo_specconv"
            if _spectral(source, target)
            else ""
        )
        raise ValueError(f"{unit} cannot be converted to {wanted}{hint}")
    return float(f"{float(source.to(target)):.15g}")


def _parsed(text: str) -> Any:
    from astropy import units

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return units.Unit(text, format="vounit")
        except (ValueError, TypeError):
            return None


def _spectral(source: Any, target: Any) -> bool:
    from astropy import units

    return bool(source.is_equivalent(target, equivalencies=units.spectral()))


def spectral(value_sql: str, unit: str | None, wanted: str) -> str:
    """SQL that turns a wavelength, frequency or energy into another of them; ValueError where it cannot."""
    from astropy import units

    source, target = (_parsed(unit) if unit else None), _parsed(wanted)
    if source is None or target is None:
        raise ValueError(
            f"{unit or 'an unknown unit'} cannot be converted to {wanted!r}; expected units of VOUnits"
        )
    if source.is_equivalent(target):
        return f"({value_sql} * {float(source.to(target))!r})"
    if not _spectral(source, target):
        raise ValueError(f"{unit} cannot be converted to {wanted}")
    one = float((1 * source).to(target, equivalencies=units.spectral()).value)
    inverse = source.is_equivalent(units.m) or target.is_equivalent(units.m)
    return f"({one!r} / {value_sql})" if inverse else f"({value_sql} * {one!r})"
