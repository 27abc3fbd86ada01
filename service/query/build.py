"""Queries made by protocols: ADQL trees out of values, never out of text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from sqlglot import exp

Expression: TypeAlias = exp.Expr
Interval: TypeAlias = tuple[float, float]


def column(name: str, table: str | None = None) -> exp.Column:
    """`name` as it is published; `table` the alias or name in FROM."""
    qualifier = exp.Identifier(this=table, quoted=True) if table else None
    return exp.Column(this=exp.Identifier(this=name, quoted=True), table=qualifier)


def literal(value: str | float) -> Expression:
    """A text or number; infinities are left to `between`."""
    if isinstance(value, str):
        return exp.Literal(this=value, is_string=True)
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be written in ADQL")
    number = exp.Literal(this=repr(abs(value)), is_string=False)
    return exp.Neg(this=number) if value < 0 else number


def call(name: str, *arguments: Expression) -> exp.Anonymous:
    return exp.Anonymous(this=name, expressions=list(arguments))


def alias(expression: Expression, name: str) -> exp.Alias:
    return exp.Alias(this=expression, alias=exp.Identifier(this=name, quoted=True))


def table(name: str, as_name: str | None = None) -> exp.Table:
    """`doppel.spectra`, under another name if wanted."""
    schema, _, simple = name.rpartition(".")
    called = exp.TableAlias(this=exp.Identifier(this=as_name, quoted=True)) if as_name else None
    return exp.Table(
        this=exp.Identifier(this=simple, quoted=True),
        db=exp.Identifier(this=schema, quoted=True) if schema else None,
        alias=called,
    )


def join(other: exp.Table, on: Expression, left: bool = False) -> exp.Join:
    """An inner join, or one that keeps all rows of what stands before it."""
    return exp.Join(this=other, on=on, side="LEFT" if left else None)


def ascending(expression: Expression) -> exp.Ordered:
    return exp.Ordered(this=expression)


def descending(expression: Expression) -> exp.Ordered:
    return exp.Ordered(this=expression, desc=True)


def select(
    columns: Sequence[Expression] | None,
    source: exp.Table,
    *,
    joins: Sequence[exp.Join] = (),
    where: Expression | None = None,
    order_by: Sequence[exp.Ordered] = (),
    top: int | None = None,
    offset: int | None = None,
) -> exp.Select:
    """The query; all columns where `columns` is None."""
    return exp.Select(
        expressions=list(columns) if columns is not None else [exp.Star()],
        from_=exp.From(this=source),
        joins=list(joins) or None,
        where=exp.Where(this=where) if where is not None else None,
        order=exp.Order(expressions=list(order_by)) if order_by else None,
        limit=exp.Limit(expression=literal(top)) if top is not None else None,
        offset=exp.Offset(expression=literal(offset)) if offset else None,
    )


def both(conditions: Iterable[Expression | None]) -> Expression | None:
    """All of them must hold; None where there is none."""
    found = [condition for condition in conditions if condition is not None]
    result = found[0] if found else None
    for condition in found[1:]:
        result = exp.And(this=result, expression=condition)
    return result


def either(conditions: Iterable[Expression | None]) -> Expression | None:
    """One of them must hold; None where there is none."""
    found = [condition for condition in conditions if condition is not None]
    result = found[0] if found else None
    for condition in found[1:]:
        result = exp.Or(this=result, expression=condition)
    return exp.Paren(this=result) if result is not None else None


def negated(condition: Expression) -> exp.Not:
    return exp.Not(this=exp.Paren(this=condition))


def equals(left: Expression, value: Expression | str | float) -> exp.EQ:
    return exp.EQ(this=left, expression=value if isinstance(value, exp.Expr) else literal(value))


def differs(left: Expression, value: Expression | str | float) -> exp.NEQ:
    return exp.NEQ(this=left, expression=value if isinstance(value, exp.Expr) else literal(value))


def at_least(left: Expression, value: float) -> exp.GTE:
    return exp.GTE(this=left, expression=literal(value))


def at_most(left: Expression, value: float) -> exp.LTE:
    return exp.LTE(this=left, expression=literal(value))


def one_of(left: Expression, values: Sequence[str | float]) -> exp.In:
    return exp.In(this=left, expressions=[literal(value) for value in values])


def like(left: Expression, pattern: str) -> exp.ILike:
    """In any case; `%` and `_` are wildcards."""
    return exp.ILike(this=left, expression=literal(pattern))


def is_null(left: Expression) -> exp.Is:
    return exp.Is(this=left, expression=exp.Null())


def between(left: Expression, low: float, high: float) -> Expression:
    """Both ends included; an infinite end is none. With no end at all: the value is known."""
    ends = [
        at_least(left, low) if math.isfinite(low) else None,
        at_most(left.copy(), high) if math.isfinite(high) else None,
    ]
    return both(ends) or exp.Not(this=exp.Paren(this=is_null(left)))


def overlaps(low_column: Expression, high_column: Expression, low: float, high: float) -> Expression:
    """The interval between two columns has a point in common with [low, high]."""
    ends = [
        at_least(high_column, low) if math.isfinite(low) else None,
        at_most(low_column, high) if math.isfinite(high) else None,
    ]
    return both(ends) or exp.Not(this=exp.Paren(this=is_null(low_column)))


def cone(ra: Expression, dec: Expression, centre: tuple[float, float], radius: float) -> exp.EQ:
    """Within `radius` degrees of a position in ICRS degrees."""
    circle = call("CIRCLE", *(literal(float(number)) for number in (*centre, radius)))
    return equals(call("CONTAINS", call("POINT", ra, dec), circle), 1)


def latent_distance(did: Expression, reference: str, space: str = "") -> exp.Anonymous:
    more = (literal(space),) if space else ()
    return call("latent_distance", did, literal(reference), *more)


def similar_to(did: Expression, reference: str, k: int, space: str = "") -> exp.EQ:
    more = (literal(space),) if space else ()
    return equals(call("similar_to", did, literal(reference), literal(k), *more), 1)
