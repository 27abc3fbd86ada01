"""The allow-list: what is not ADQL is refused with its place, before any name is looked up."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlglot import exp

from registry_metadata.reserved import RESERVED
from service.query.functions import FUNCTIONS
from service.query.growth import check_growth
from service.query.parse import fault
from service.query.words import suggestion

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
TWO = frozenset({"this", "expression"})
ONE = frozenset({"this"})
SET = frozenset({"this", "expression", "distinct", "order", "offset", "with_"})

ALLOWED: Mapping[type, frozenset[str]] = {
    exp.Select: frozenset(
        {
            "expressions", "distinct", "limit", "offset", "from_", "joins", "where", "group", "having",
            "order", "with_",
        }
    ),
    exp.Union: SET, exp.Except: SET, exp.Intersect: SET,
    exp.Subquery: frozenset({"this", "alias", "joins", "order", "offset", "with_"}),
    exp.With: frozenset({"expressions"}),
    exp.CTE: frozenset({"this", "alias"}),
    exp.TableAlias: frozenset({"this", "columns"}),
    exp.From: ONE,
    exp.Table: frozenset({"this", "db", "alias", "joins"}),
    exp.Join: frozenset({"this", "on", "using", "method", "side", "kind"}),
    exp.Where: ONE, exp.Having: ONE,
    exp.Group: frozenset({"expressions"}),
    exp.Order: frozenset({"expressions"}),
    exp.Ordered: frozenset({"this", "desc", "nulls_first"}),
    exp.Limit: frozenset({"expression"}),
    exp.Offset: frozenset({"expression"}),
    exp.Distinct: frozenset({"expressions"}),
    exp.Alias: frozenset({"this", "alias"}),
    exp.Column: frozenset({"this", "table", "db"}),
    exp.Identifier: frozenset({"this", "quoted"}),
    exp.Star: frozenset(),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Null: frozenset(),
    exp.Paren: ONE, exp.Neg: ONE, exp.Not: ONE, exp.Exists: ONE,
    exp.Add: TWO, exp.Sub: TWO, exp.Mul: TWO, exp.Div: TWO | {"typed", "safe"}, exp.DPipe: TWO | {"safe"},
    exp.And: TWO, exp.Or: TWO,
    exp.EQ: TWO, exp.NEQ: TWO, exp.LT: TWO, exp.LTE: TWO, exp.GT: TWO, exp.GTE: TWO,
    exp.Is: TWO, exp.Like: TWO | {"negate"}, exp.ILike: TWO | {"negate"},
    exp.Between: frozenset({"this", "low", "high"}),
    exp.In: frozenset({"this", "expressions", "query"}),
    exp.Cast: frozenset({"this", "to"}),
    exp.DataType: frozenset({"this", "expressions", "nested", "kind"}),
    exp.DataTypeParam: ONE,
    exp.Anonymous: frozenset({"this", "expressions"}),
    exp.Bracket: frozenset({"this", "expressions"}),  # VECTORMATH
    exp.Slice: TWO,
}  # fmt: skip
WORDS: Mapping[type, str] = {
    exp.Window: "window functions are", exp.Case: "CASE is", exp.Array: "a list in brackets is",
    exp.Values: "VALUES is", exp.Tuple: "a row of values is", exp.Lambda: "a lambda is",
    exp.Boolean: "a truth value is",
}  # fmt: skip


def check(tree: exp.Query) -> None:
    """UsageFault at the first node that ADQL 2.1 does not have."""
    joints = tables = longest = 0
    for node in tree.walk():
        allowed = ALLOWED.get(type(node))
        if allowed is None:
            words = WORDS.get(type(node), f"{type(node).__name__.upper()} is")
            raise fault(node, f"{words} not part of ADQL")
        for key, value in node.args.items():
            if value and key not in allowed:
                raise fault(node, f"{key.strip('_').upper()} is not part of ADQL here")
        match node:
            case exp.Identifier() if not isinstance(node.parent, exp.DataType):
                check_name(node)
            case exp.Anonymous():
                check_call(node)
            case exp.Bracket() if len(node.expressions) != 1:
                raise fault(node, "an array has one index: [1] or [1:10]")
            case exp.Literal():
                longest = max(longest, len(node.this))
            case exp.DPipe():
                joints += 1
            case exp.Table():
                tables += 1
            case exp.Slice() if not isinstance(node.parent, exp.Bracket):
                raise fault(node, ": stands only in the brackets after an array")
            case exp.Select():
                check_select(node, tree)
            case exp.SetOperation():
                _check_with(node, tree)
            case exp.TableAlias() if node.args.get("columns") and not isinstance(node.parent, exp.CTE):
                raise fault(node, "a name in FROM has no list of columns in ADQL; rename them in a query")
            case exp.Limit() | exp.Offset():
                _check_count(node)
            case exp.Subquery() if isinstance(node.parent, exp.From | exp.Join):
                check_derived(node)
    check_growth(tree, joints, tables, longest)


def check_name(node: exp.Identifier) -> None:
    """A regular identifier (ADQL 2.1, 2.1.5) that is no reserved word, or a delimited one."""
    name = str(node.this)
    if node.args.get("quoted"):
        if not name:
            raise fault(node, "a delimited identifier is empty")
        return
    if not NAME.fullmatch(name):
        raise fault(
            node, f'{name} is not a name: expected a letter, then letters, digits, _; or "{name}" in quotes'
        )
    if name.upper() in RESERVED:
        raise fault(node, f'{name} is a reserved word; as a name it must be written "{name}"')


def check_call(node: exp.Anonymous) -> None:
    """A declared function with as many arguments as one of its forms has."""
    name = str(node.this.this if isinstance(node.this, exp.Identifier) else node.this)
    declared = FUNCTIONS.get(name.upper())
    if declared is None or isinstance(node.this, exp.Identifier):
        raise fault(node, f"there is no function {name}{suggestion(name, FUNCTIONS)}")
    if not declared.takes(len(node.expressions)):
        raise fault(
            node,
            f"{name.upper()} has {len(node.expressions)} arguments; expected {' or '.join(declared.forms)}",
        )
    for argument in node.expressions:
        if isinstance(argument, exp.Star | exp.Distinct) and not declared.aggregate:
            raise fault(node, f"{name.upper()} takes values; * and DISTINCT belong into aggregates")


def check_select(node: exp.Select, tree: exp.Query) -> None:
    _check_with(node, tree)
    if node.args.get("from_") is None:
        raise fault(node, "FROM is missing; every ADQL query names a table")
    if not node.expressions:
        raise fault(node, "nothing is selected; expected * or a list of columns")


def _check_with(node: exp.Query, tree: exp.Query) -> None:
    if node.args.get("with_") is not None and node is not tree:
        raise fault(node.args["with_"], "WITH stands only at the beginning of the query (ADQL 2.1, 4.5.1)")


def _check_count(node: exp.Expr) -> None:
    number = node.args["expression"]
    if not (isinstance(number, exp.Literal) and not number.is_string and str(number.this).isdigit()):
        word = "TOP" if isinstance(node, exp.Limit) else "OFFSET"
        raise fault(number, f"{word} takes a whole number without sign")


def check_derived(node: exp.Subquery) -> None:
    """A query in FROM needs a correlation name; parentheses around joins do not."""
    if isinstance(node.this, exp.Query) and not node.alias:
        raise fault(node, "a query in FROM needs a name: (SELECT …) AS name")
