"""One SELECT while it is read, clause by clause, before it is written down."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from service.query.conditions import Conditions
from service.query.expression import Expressions
from service.query.scope import Scope, Source
from service.query.tree import Near, Tree, always_matched, rendered
from service.query.value import Value


@dataclass(eq=False, slots=True)
class Parts:
    """What has been read of it so far; plans add to it."""

    node: exp.Select
    scope: Scope
    values: Expressions
    conditions: Conditions
    tree: Tree
    where: list[str] = field(default_factory=list)
    near: Near | None = None  # what the only condition says
    group: list[str] = field(default_factory=list)
    having: str = ""
    items: list[tuple[str, Value]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    first_key: exp.Expr | None = None
    spelled: dict[str, str] = field(default_factory=dict)  # what plans put in the place of expressions

    @property
    def top(self) -> int | None:
        limit = self.node.args.get("limit")
        return int(limit.expression.name) if limit is not None else None

    @property
    def offset(self) -> int:
        return count_of(self.node.args.get("offset"))

    @property
    def distinct(self) -> bool:
        return self.node.args.get("distinct") is not None

    def always_matches(self, source: Source) -> bool:
        """Whether no outer join can fill the source with NULLs."""
        return any(source is each for each in always_matched(self.tree))

    def body(self) -> str:
        """FROM and WHERE."""
        where = f" WHERE {' AND '.join(self.where)}" if self.where else ""
        return f"FROM {rendered(self.tree)}{where}"

    @property
    def grouped(self) -> bool:
        return bool(self.group or self.having or self.scope.aggregates)


def count_of(node: exp.Expr | None) -> int:
    if node is None:
        return 0
    return int(node.args["expression"].name)
