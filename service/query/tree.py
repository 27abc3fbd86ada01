"""Sources and joins as a tree that is written down last, so that plans can still add to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from service.query.scope import Source
from service.query.value import Value

Near = tuple[Sequence[Value], Value]  # ra, dec, ra, dec of two points, and how far they may be apart


@dataclass(eq=False, slots=True)
class Join:
    """Two sides; `side` is LEFT, RIGHT, FULL or nothing. Without conditions it is a product."""

    left: Tree
    right: Tree
    side: str = ""
    conditions: list[str] = field(default_factory=list)


Tree = Source | Join


def rendered(tree: Tree) -> str:
    if isinstance(tree, Source):
        return tree.rendered()
    left, right = rendered(tree.left), rendered(tree.right)
    right = f"({right})" if is_joined(tree.right) else right
    if not tree.conditions:
        return f"{left} CROSS JOIN {right}" if not tree.side else f"{left} {tree.side} JOIN {right} ON TRUE"
    return f"{left} {tree.side} JOIN {right} ON {' AND '.join(tree.conditions)}"


def is_joined(tree: Tree) -> bool:
    """Whether it is written as a join, which stands in parentheses where it is an operand on the right."""
    return isinstance(tree, Join) or (bool(tree.joined) and not tree.keys)


def sources_of(tree: Tree) -> Iterator[Source]:
    """All that are joined."""
    if isinstance(tree, Source):
        yield tree
    else:
        yield from sources_of(tree.left)
        yield from sources_of(tree.right)


def always_matched(tree: Tree) -> Iterator[Source]:
    """Sources that no outer join can fill with NULLs, and whose conditions may move into WHERE."""
    if isinstance(tree, Source):
        yield tree
    else:
        if tree.side in ("", "LEFT"):
            yield from always_matched(tree.left)
        if tree.side in ("", "RIGHT"):
            yield from always_matched(tree.right)


@dataclass(eq=False, slots=True)
class Watch:
    """A condition that must hold in WHERE, or in the ON of `join`; plans add to `found` what follows. `near`
    is told by those that two points lie near each other: their coordinates, and how far they may be apart."""

    node: exp.Expr
    tree: Tree
    join: Join | None
    found: list[str]
    near: Near | None = None

    def may_change(self, source: Source | None) -> bool:
        """Whether rows of the source may be repeated or left out, as the condition filters the pairs."""
        if source is None:
            return False
        if self.join is None:
            return any(source is each for each in always_matched(self.tree))
        sides = []
        if self.join.side in ("", "LEFT"):
            sides.append(self.join.right)
        if self.join.side in ("", "RIGHT"):
            sides.append(self.join.left)
        return any(source is each for side in sides for each in always_matched(side))
