"""Units through arithmetic, and factors between them (VOUnits 1.1; ADQL 2.1, 4.9)."""

from __future__ import annotations

import re
import warnings
from fractions import Fraction
from functools import lru_cache
from typing import Any

LONGEST = 200  # characters
_NAME = r"[A-Za-z%]+(?:\*?\*?-?[0-9]+|\*\*\(-?[0-9./]+\))?"
_RATIO = re.compile(rf"({_NAME}(?:\.{_NAME})*)(?:/({_NAME})|/\(({_NAME}(?:\.{_NAME})*)\))?")
Powers = dict[str, Fraction]  # of names of units; a denominator has negative ones


def product(left: str | None, right: str | None) -> str | None:
    """The unit of a product; a number without a unit changes none."""
    if not left or not right:
        return left or right
    one, other = powers(left), powers(right)
    if one is None or other is None:
        return _short(f"({left}).({right})")
    return written(merged(one, other))


def quotient(left: str | None, right: str | None) -> str | None:
    if not right or left == right:
        return None if left == right else left
    one, other = powers(left) if left else Powers(), powers(right)
    if one is None or other is None:
        return _short(f"({left})/({right})" if left else f"({right})**-1")
    return written(merged(one, {name: -power for name, power in other.items()}))


def product_of_powers(unit: str | None, exponent: object) -> str | None:
    """The unit of a power; None where the exponent is not known, or the result would have no name."""
    if not unit or not isinstance(exponent, int | float) or exponent == 0:
        return None
    if exponent == 1:
        return unit
    known, exact = powers(unit), Fraction(exponent).limit_denominator(1_000_000)
    if known is None:
        return _short(f"({unit})**({exponent:g})")
    return written({name: power * exact for name, power in known.items()})


def powers(unit: str) -> Powers | None:
    """km/(s.Mpc) → km: 1, s: -1, Mpc: -1; None for a unit with a scale or in another syntax."""
    ratio = _RATIO.fullmatch(unit)
    if ratio is None:
        return None
    found = Powers()
    for names, sign in ((ratio[1], 1), (ratio[2] or ratio[3], -1)):
        for part in re.findall(_NAME, names or ""):
            name = part.rstrip("0123456789*()-./")
            found = merged(found, {name: sign * Fraction(part[len(name) :].strip("*()") or 1)})
    return found


def merged(one: Powers, other: Powers) -> Powers:
    """The product of both; what cancels is left out."""
    sums = {name: one.get(name, Fraction()) + other.get(name, Fraction()) for name in (*one, *other)}
    return {name: power for name, power in sums.items() if power}


def written(found: Powers) -> str | None:
    """As VOUnits has it, with at most one stroke; None for a number without a unit."""
    over = [_raised(name, power) for name, power in found.items() if power > 0]
    under = [_raised(name, -power) for name, power in found.items() if power < 0]
    if not over:
        return _short(".".join(_raised(name, power) for name, power in found.items())) if found else None
    below = under[0] if len(under) == 1 else f"({'.'.join(under)})"
    return _short(".".join(over) + (f"/{below}" if under else ""))


def _raised(name: str, power: Fraction) -> str:
    if power == 1:
        return name
    return f"{name}**{power}" if power.denominator == 1 else f"{name}**({float(power):g})"


def _short(unit: str) -> str | None:
    """None where nobody could read it: units of units of units grow with each."""
    return unit if len(unit) <= LONGEST else None


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
