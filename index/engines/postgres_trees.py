"""Trees of SQL on their way to PostgreSQL: what one is looked at for, and the small ones that are put in."""

from __future__ import annotations

import math
from typing import Any

from sqlglot import exp

from index.engines.engine import EngineError

POSITIONS = (("ra", "dec"), ("s_ra", "s_dec"))  # columns with an index of the sky
WIDEST = 45.0  # degrees; wider cones are no smaller with an index


def names_in(source: Any) -> set[str]:
    """Of the tables and queries that an operand of a join is made of."""
    return {each.alias for each in source.find_all(exp.Table, exp.Subquery) if each.alias}


def compares(on: Any, right: set[str]) -> bool:
    """Whether one of the conditions says that a column of one side equals one of the other."""
    for each in on.flatten() if isinstance(on, exp.And) else [on.unnest()]:
        sides = (each.this, each.expression) if isinstance(each, exp.EQ) else ()
        if len({side.table in right for side in sides if isinstance(side, exp.Column)}) == 2:
            return True
    return False


def zero_of(source: Any) -> exp.Expr:
    """0 for every row of an operand of a join, which PostgreSQL does not know before it looks."""
    while not source.alias_or_name:
        source = source.this
    row, zero = exp.column(source.alias_or_name), exp.Literal.number(0)
    return exp.Case(ifs=[exp.If(this=row.is_(exp.Null()), true=zero)], default=zero.copy())


def literal(value: object) -> exp.Expr:
    """A value as a literal of its type."""
    match value:
        case None:
            return exp.Null()
        case bool():
            return exp.Boolean(this=value)
        case int():
            kind = "int" if -(2**31) <= value < 2**31 else "bigint"
            return exp.cast(exp.Literal.string(str(value)), kind)
        case float():
            return exp.cast(exp.Literal.string(repr(value) if math.isfinite(value) else str(value)), "double")
        case str() if "\0" in value:
            raise EngineError("Invalid Error: a text holds the character 0")
        case str():
            return exp.cast(exp.Literal.string(value), "text")
        case list() | tuple():
            return exp.Literal.string("{" + ",".join(map(_item, value)) + "}")
    raise EngineError(f"a parameter of the type {type(value).__name__} is not known")


def _item(value: object) -> str:
    """A value as it stands in the literal of an array."""
    match value:
        case int() | float():
            return repr(value)
        case str() if "\0" not in value:
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    raise EngineError(f"Invalid Error: an item of the type {type(value).__name__}, or with the character 0")


def ours(name: str, *arguments: Any) -> exp.Expr:
    return exp.Anonymous(this=f"adql.{name}", expressions=list(arguments))


def put(node: Any, parent: Any, key: str, index: int | None) -> None:
    """Puts a node in its place below a parent: alone, since sqlglot's `set` numbers a whole list anew."""
    if index is None:
        parent.set(key, node)
        return
    parent.args[key][index] = node
    node.parent, node.arg_key, node.index = parent, key, index


def double(node: Any) -> exp.Expr:
    return exp.cast(node, "double", copy=False)


def bare(node: Any) -> Any:
    return node.this if isinstance(node, exp.Paren) else node


def is_ours(node: Any) -> bool:
    """Whether it begins with a number that is not zero; the client's numbers are parameters."""
    while isinstance(node, exp.Mul | exp.Paren):
        node = node.this
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal) and not node.this.is_string:
        node = node.this
    return isinstance(node, exp.Literal) and not node.is_string and float(node.name) != 0


def in_list(node: Any) -> bool:
    """Whether a list is made of it within its query: as a value with a name, as elements that are changed."""
    while (node := node.find_ancestor(exp.Select, exp.Anonymous)) is not None:
        if isinstance(node, exp.Select):
            return False
        if node.name in ("list_transform", "list_filter"):
            return True
    return False


def of_its_query(aggregate: Any) -> None:
    """Without columns an aggregate would be taken in the query that a list becomes; so it names a row."""
    value = aggregate.expressions[0]
    value = value.expressions[0] if isinstance(value, exp.Distinct) else value
    row = exp.paren(exp.column(aggregate.find_ancestor(exp.Select).args["from_"].this.alias).is_(exp.Null()))
    if isinstance(value, exp.Star):
        value.replace(row)
    else:
        always = exp.Not(this=exp.Is(this=row, expression=exp.Null()))
        value.replace(exp.Case(ifs=[exp.If(this=always, true=value.copy())]))


def is_first(node: Any) -> bool:
    """Whether it is the first element of something."""
    place = node.expressions[0] if isinstance(node, exp.Bracket) else None
    return isinstance(place, exp.Literal) and place.name == "1"


def in_domain(name: str, argument: Any) -> bool:
    """Of geometry, whose numbers are ours: a root of something not negative, its arcsine, a square."""
    half_angle = name == "asin" and isinstance(argument, exp.Anonymous) and argument.name == "sqrt"
    return half_angle or is_ours(argument)


def cone(node: Any) -> tuple[Any, Any, float, float, float] | None:
    """ra, dec, and the numbers of the cone where `node` says that a position lies in one (geometry.near)."""
    sines = [call.expressions[0] for call in node.this.find_all(exp.Anonymous) if call.name == "sin"]
    radius = radius_of(node)
    if radius is None or not 0 <= radius <= WIDEST or len(sines) != 2 or not is_ours(node.this):
        return None
    differences = [sine.find(exp.Sub) for sine in sines]
    if None in differences:
        return None
    by_name: dict[str, tuple[Any, float]] = {}
    for difference in differences:
        sides = (difference.this, difference.expression)
        column = next((side for side in sides if isinstance(side, exp.Column)), None)
        centre = next((number for side in sides if (number := constant(side)) is not None), None)
        if column is None or centre is None:
            return None
        by_name[column.name] = (column, centre)
    for ra, dec in POSITIONS:
        if by_name.keys() == {ra, dec} and 0 <= by_name[ra][1] <= 360 and abs(by_name[dec][1]) <= 90:
            return by_name[ra][0], by_name[dec][0], by_name[ra][1], by_name[dec][1], radius
    return None


def radius_of(node: Any) -> float | None:
    """In degrees: what the angle is compared with, or the square of the chord."""
    limit = constant(node.expression)
    if limit is None or any(call.name == "asin" for call in node.this.find_all(exp.Anonymous)):
        return limit
    return 2 * math.degrees(math.asin(math.sqrt(limit) / 2)) if 0 <= limit <= 4 else None


def constant(node: Any) -> float | None:
    """The number that a rewritten parameter is."""
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal) and not node.to.is_type("text"):
        return float(node.this.name)
    return None
