"""conditions on spectra as trees of ADQL: what SSA and `/similar_to` ask goes the way of every query"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlglot import exp

from service.protocols.constraints import (
    Condition,
    Cones,
    Identifier,
    Listed,
    Moments,
    Overlap,
    Within,
    Words,
)
from service.protocols.dali import Interval
from service.query import build
from service.query.build import both, call, either, literal

SPECTRA, MODEL = "s", "m"  # correlation names of doppel.spectra and of the model's table
SAME = 1e-8  # days: a millisecond, below which moments are the same


def where(found: Iterable[Condition]) -> exp.Expr | None:
    """All conditions together; None where there are none."""
    return both(map(_tree, found))


def column(name: str, table: str = SPECTRA) -> exp.Column:
    return build.column(name, table)


def _tree(condition: Condition) -> exp.Expr:
    match condition:
        case Cones(places, radius):
            return one(build.cone(column("ra"), column("dec"), place, radius) for place in places)
        case Overlap():
            return _overlap(condition)
        case Within(name, intervals, of_model):
            table = MODEL if of_model else SPECTRA
            return one(build.between(column(name, table), *interval) for interval in intervals)
        case Words():
            return one(_like(condition, pattern) for pattern in condition.patterns)
        case Moments(name, intervals):
            moment = call("GAVO_TO_MJD", column(name))
            return one(build.between(moment, low - SAME, high + SAME) for low, high in intervals)
        case Identifier(name, value):
            return build.one_of(column(name), sorted({value, value.replace(" ", "+")}))
        case Listed(name, values):
            return build.one_of(column(name), values)


def one(conditions: Iterable[exp.Expr]) -> exp.Expr:
    """At least one of them holds; there is one."""
    found = either(conditions)
    if found is None:
        raise ValueError("a list of conditions is empty")
    return found


def _overlap(condition: Overlap) -> exp.Expr:
    if not condition.source_frame:
        return one(_meets(condition, interval) for interval in condition.intervals)
    at_rest = both(
        (
            build.equals(column("wave_frame"), "rest"),
            one(_meets(condition, interval) for interval in condition.intervals),
        )
    )
    elsewhere = either((build.differs(column("wave_frame"), "rest"), build.is_null(column("wave_frame"))))
    moved = both((elsewhere, one(_meets(condition, i, stretched=True) for i in condition.intervals)))
    return one(part for part in (at_rest, moved) if part is not None)


def _at_source(wavelength: exp.Expr) -> exp.Expr:
    """What the wavelength was at the source: it arrives 1 + redshift times as long."""
    redshift = call("COALESCE", column("ssa_redshift"), literal(0.0))
    return exp.Div(
        this=wavelength, expression=exp.Paren(this=exp.Add(this=literal(1.0), expression=redshift))
    )


def _meets(condition: Overlap, interval: Interval, *, stretched: bool = False) -> exp.Expr:
    """The spectrum begins before the interval ends and ends after it begins."""
    low, high = column(condition.low), column(condition.high)
    if not stretched:
        return build.overlaps(low, high, *interval)
    return build.overlaps(_at_source(low), _at_source(high), *interval)


def _like(condition: Words, pattern: str) -> exp.Expr:
    """Equal in any letter case, or like the pattern; for names also in the catalogue's own normal form."""
    text = column(condition.column)
    if "*" in pattern or "?" in pattern:
        return build.like(text, pattern.replace("*", "%").replace("?", "_"))
    same = build.equals(call("LOWER", text), pattern.lower())
    if condition.key is None:
        return same
    key = re.sub(r"[\s_]+", "", pattern).upper()
    return one((same, build.equals(column(condition.key), key)))
