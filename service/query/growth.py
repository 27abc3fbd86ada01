"""How far queries of queries can grow: what each takes twice from the one before doubles, text and joins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from service.query.parse import fault

MOST_PARTS = 500  # texts joined into one, through all queries that take part, for 2,048 rows at once
MOST_CHARACTERS = 10_000_000  # of constants joined into one
MOST_TABLES = 100  # in one query, with those of the queries that it names
MOST_LEAVES = 100_000  # columns of tables in the expressions of one query
REFERENCE = re.compile(r"\bt\d+\.(?:c\d+\b)?")  # to a column of a query, by its whole SQL; or of a table
FEW = 8  # || or tables that can not make so many, wherever they stand: 2 ** 8, 2 ** 4


def check_growth(tree: exp.Query, joints: int, tables: int, longest: int) -> None:
    """UsageFault where a text could have more than MOST_PARTS parts, or a query more than MOST_TABLES tables;
    or where parts as long as the `longest` constant were more than MOST_CHARACTERS.

    The engine plans, and joins constants, outside the memory that it may take: thirty || in thirty queries
    are 16 GB, and so are fourteen queries that each name the one before twice.
    """
    if joints <= FEW and tables <= FEW and longest << joints <= MOST_CHARACTERS:
        return
    known: dict[str, tuple[int, int]] = {}
    with_ = tree.args.get("with_")
    for query in [*(with_.expressions if with_ else ()), tree]:
        parts, held = _grown(query, known)
        if parts > MOST_PARTS:
            raise fault(query, f"|| could join more than {MOST_PARTS} texts into one here, query by query")
        if parts > 1 and parts * longest > MOST_CHARACTERS:
            raise fault(query, f"|| could join constants to more than {MOST_CHARACTERS} characters here")
        if held > MOST_TABLES:
            raise fault(query, f"more than {MOST_TABLES} tables take part here, query by query")
        if isinstance(query, exp.CTE):
            known[query.alias.lower()] = parts, held


@dataclass(slots=True)
class _Level:
    """One SELECT: the place of the one around it, its || and one, the parts that it is given, and tables."""

    outer: int = 0
    own: int = 1
    given: int = 1
    tables: int = 0


def _grown(query: exp.Expr, known: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Parts of the longest text that its queries make of those of the tables `known`, and how many tables
    they have; WITH is left out."""
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
                parts, tables = known.get(node.name.lower(), (1, 1))
                levels[place].given = max(levels[place].given, parts)
                levels[place].tables += tables
        pending += [(child, place) for child in node.iter_expressions()]
    for level in reversed(levels[1:]):  # the inner before the outer
        outer = levels[level.outer]
        outer.given = max(outer.given, level.own * level.given)
        outer.tables += level.tables
    return levels[0].given, levels[0].tables


def weight(sql: str, weights: Mapping[str, int]) -> int:
    """Of how many columns of tables an expression is made, once queries are put into each other.

    PostgreSQL does that before anything else: x * x * x in thirty queries, each of the one before, ends it.
    """
    return sum(weights.get(found, 1) for found in REFERENCE.findall(sql))


def check_weight(node: exp.Expr, sql: str, weights: Mapping[str, int]) -> None:
    if weights and weight(sql, weights) > MOST_LEAVES:
        raise fault(node, f"expressions of more than {MOST_LEAVES} columns are made here, query by query")
