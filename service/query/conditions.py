"""Conditions of a checked tree → the engine's; what plans can do with those that must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlglot import exp

from service.query import geometry
from service.query.expression import Expressions, constant_of
from service.query.parse import fault
from service.query.tree import Join, Near, Tree, Watch
from service.query.value import Value
from service.query.zones import attach

COMPARISONS = {exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
SHORT_LIST = 50  # members of IN that engines plan one by one
MOST_CONDITIONS = 2_000  # of one query; planning takes seconds of so many and minutes of five times as many
ARRAYS: Mapping[frozenset[type], str] = {
    frozenset({int}): "BIGINT[]",
    frozenset({float}): "DOUBLE[]",
    frozenset({int, float}): "DOUBLE[]",
    frozenset({str}): "VARCHAR[]",
}
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "<>": "<>"}


class Conditions:
    """Reads the conditions of one SELECT, of whose expressions `values` reads the values."""

    def __init__(self, values: Expressions) -> None:
        self.values, self.context, self.scope = values, values.context, values.scope
        self.value, self.query = values.value, values.query
        self.watch: Watch | None = None  # that of the condition which is read

    def conjuncts(self, node: exp.Expr, tree: Tree, join: Join | None) -> tuple[list[str], Near | None]:
        """The conditions that must all hold, each by itself: plans look at them one by one. Where there is
        only one, also the two points that it says to be near each other."""
        self.scope.inside = "WHERE" if join is None else "ON"
        found: list[str] = []
        near = None
        for part in self.parts(node, exp.And):
            watch = self.watch = Watch(part, tree, join, found)
            found.append(self.read(part))
            near = watch.near
        self.scope.inside, self.watch = "", None
        return found, near if len(found) == 1 else None

    def read(self, node: exp.Expr) -> str:
        """A search condition as the engine's; values do not stand for conditions (ADQL 2.1, 2.2.3)."""
        reader = CONDITIONS.get(type(node))
        if reader is None:
            hint = " (functions are compared: 1=CONTAINS(…))" if isinstance(node, exp.Anonymous) else ""
            raise fault(node, f"a condition is expected here, with a comparison{hint}")
        return reader(self, node)

    def parts(self, node: exp.Expr, kind: type[exp.Connector]) -> list[exp.Expr]:
        """What a chain of ANDs or of ORs consists of."""
        found = gathered(flattened(node, kind), exp.NEQ if kind is exp.And else exp.EQ)
        self.count(node, len(found))
        return found

    def count(self, node: exp.Expr, number: int) -> None:
        """Takes note of so many conditions; UsageFault where they are more than engines plan in a while."""
        self.context.conditions += number
        if self.context.conditions > MOST_CONDITIONS:
            raise fault(
                node,
                f"the query has more than {MOST_CONDITIONS} conditions, with those of NATURAL and USING;"
                " compare with many values by IN (…), or upload them as a table and join it",
            )

    def every(self, node: Any) -> str:
        return f"({' AND '.join(map(self.read, self.parts(node, exp.And)))})"

    def either(self, node: Any) -> str:
        return f"({' OR '.join(map(self.read, self.parts(node, exp.Or)))})"

    def negation(self, node: Any) -> str:
        return f"(NOT {self.read(node.this)})"

    def group(self, node: Any) -> str:
        return f"({self.read(node.this)})"

    def comparison(self, node: Any) -> str:
        """CONTAINS(…) = 1 becomes the engine's own condition; DISTANCE(…) < r is pruned by declination."""
        left, right, operator = self.value(node.this), self.value(node.expression), COMPARISONS[type(node)]
        self.comparable(node, left, right)
        if right.condition is not None or right.separation is not None or right.bounded is not None:
            left, right, operator = right, left, MIRRORED[operator]
        watch = self.watch if self.watch is not None and self.watch.node is node else None
        if left.condition is not None and right.literal in (0, 1) and operator in ("=", "<>"):
            wanted = (right.literal == 1) == (operator == "=")
            return self.planned(left, watch) if wanted else f"(NOT {left.condition})"
        if (
            left.separation is not None
            and left.condition is None
            and operator in ("<", "<=")
            and right.numeric
        ):
            if watch is not None:
                attach(self.context, watch, left.separation, right)
            return geometry.near(self.context.bind, left.separation, right, operator)
        if left.bounded is not None and watch is not None and watch.join is None and operator in ("<", "<="):
            left.bounded(right.literal)
        return f"({left.sql} {operator} {right.sql})"

    def planned(self, value: Value, watch: Watch | None) -> str:
        """A condition that must hold, as a join where that is quicker."""
        condition = value.condition or ""
        if watch is None:
            return condition
        if value.joined is not None:
            return value.joined(watch.may_change) or condition
        if value.separation is not None and value.radius is not None:
            attach(self.context, watch, value.separation, value.radius)
        return condition

    def comparable(self, node: exp.Expr, left: Value, right: Value) -> None:
        if left.null or right.null:
            return
        if left.array or right.array:
            raise fault(node, f"{left.kind} and {right.kind} cannot be compared")
        if left.text != right.text:
            raise fault(node, f"{left.kind} and {right.kind} cannot be compared; CAST one of them")

    def between(self, node: Any) -> str:
        value, low, high = (self.value(node.args[key]) for key in ("this", "low", "high"))
        self.comparable(node, value, low)
        self.comparable(node, value, high)
        return f"({value.sql} BETWEEN {low.sql} AND {high.sql})"

    def membership(self, node: Any) -> str:
        value, query = self.value(node.this), node.args.get("query")
        if query is not None:
            found = self.query(query.this if isinstance(query, exp.Subquery) else query, self.scope)
            if len(found.columns) != 1:
                raise fault(node, f"a sub-query after IN has one column, not {len(found.columns)}")
            self.comparable(node, value, Value("", found.columns[0]))
            return f"({value.sql} IN ({found.sql}))"
        if not node.expressions:
            raise fault(node, "IN needs at least one value")
        if len(node.expressions) > SHORT_LIST and (listed := self.listed(node, value)) is not None:
            return f"({value.sql} IN ({listed}))"
        self.count(node, len(node.expressions))
        members = [self.value(member) for member in node.expressions]
        for member in members:
            self.comparable(node, value, member)
        return f"({value.sql} IN ({', '.join(member.sql for member in members)}))"

    def listed(self, node: exp.In, value: Value) -> str | None:
        """Constants of one kind as rows of one parameter, so that engines plan one thing and not thousands;
        None where they are something else."""
        constants = [constant_of(member) for member in node.expressions]
        kinds = {type(constant) for constant in constants}
        array = ARRAYS.get(frozenset(kinds))
        if array is None:
            return None
        self.comparable(node, value, self.value(node.expressions[0]))
        return f"SELECT unnest(CAST({self.context.bind_list(constants)} AS {array}))"

    def like(self, node: Any) -> str:
        value, pattern = self.value(node.this), self.value(node.expression)
        operator = "LIKE" if isinstance(node, exp.Like) else "ILIKE"
        for part in (value, pattern):
            if not part.text:
                raise fault(node, f"{operator} compares texts, not {part.kind}")
        found = f"({value.sql} {operator} {pattern.sql})"
        return f"(NOT {found})" if node.args.get("negate") else found

    def is_null(self, node: Any) -> str:
        if not isinstance(node.expression, exp.Null):
            raise fault(node, "expected IS NULL or IS NOT NULL")
        return f"({self.value(node.this).sql} IS NULL)"

    def exists(self, node: Any) -> str:
        query = node.this.this if isinstance(node.this, exp.Subquery) else node.this
        return f"EXISTS ({self.query(query, self.scope).sql})"


CONDITIONS: Mapping[type[exp.Expr], Callable[[Conditions, Any], str]] = {
    exp.And: Conditions.every,
    exp.Or: Conditions.either,
    exp.Not: Conditions.negation,
    exp.Paren: Conditions.group,
    exp.Between: Conditions.between,
    exp.In: Conditions.membership,
    exp.Like: Conditions.like,
    exp.ILike: Conditions.like,
    exp.Is: Conditions.is_null,
    exp.Exists: Conditions.exists,
    **dict.fromkeys(COMPARISONS, Conditions.comparison),
}


def flattened(node: exp.Expr, kind: type[exp.Connector]) -> list[exp.Expr]:
    """The parts of a chain of ANDs or of ORs, in whose length nothing is nested."""
    pending, found = [node], []
    while pending:
        part = pending.pop().unnest()
        if isinstance(part, kind):
            pending += [part.expression, part.this]
        else:
            found.append(part)
    return found


def gathered(parts: Sequence[exp.Expr], kind: type[exp.Binary]) -> list[exp.Expr]:
    """The same with what compares one value with many constants as one IN: a = 1 OR a = 2 …, and NOT IN for
    a <> 1 AND a <> 2 …"""
    alike: dict[exp.Expr, list[exp.Expr]] = {}
    others = []
    for part in parts:
        if len(parts) > SHORT_LIST and isinstance(part, kind) and constant_of(part.expression) is not None:
            alike.setdefault(part.this, []).append(part)
        else:
            others.append(part)
    for value, same in alike.items():
        among = exp.In(this=value, expressions=[part.expression for part in same])
        if len(same) <= SHORT_LIST:
            others += same
        else:
            others.append(among if kind is exp.EQ else exp.Not(this=among))
    return others
