"""How long `||` can make a text: each query that joins a text to itself doubles it for the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from service.query.parse import fault

MOST_PARTS = 10_000  # texts joined into one, through all queries that take part
FEW = 10  # || that can not make so many, wherever they stand: 2 ** 10


def check_growth(tree: exp.Query, joints: int) -> None:
    """UsageFault where a text could have more than MOST_PARTS parts. Constants are joined while the engine
    still plans, outside the memory that it may take: thirty || in thirty queries are 16 GB."""
    if joints <= FEW:
        return
    known: dict[str, int] = {}
    with_ = tree.args.get("with_")
    for query in [*(with_.expressions if with_ else ()), tree]:
        parts = _parts(query, known)
        if parts > MOST_PARTS:
            raise fault(query, f"|| could join more than {MOST_PARTS} texts into one here, query by query")
        if isinstance(query, exp.CTE):
            known[query.alias.lower()] = parts


@dataclass(slots=True)
class _Level:
    """One SELECT: the place of the one around it, its || and one, and the parts that it is given."""

    outer: int = 0
    own: int = 1
    given: int = 1


def _parts(query: exp.Expr, known: Mapping[str, int]) -> int:
    """Parts of the longest text that its queries make of those of the tables `known`; WITH is left out."""
    levels, pending = [_Level()], [(query, 0)]
    while pending:
        node, place = pending.pop()
        match node:
            case exp.With():
                continue
            case exp.Select():
                levels.append(_Level(place))
                place = len(levels) - 1
            case exp.DPipe():
                levels[place].own += 1
            case exp.Table():
                levels[place].given = max(levels[place].given, known.get(node.name.lower(), 1))
        pending += [(child, place) for child in node.iter_expressions()]
    for level in reversed(levels[1:]):  # the inner before the outer
        levels[level.outer].given = max(levels[level.outer].given, level.own * level.given)
    return levels[0].given
