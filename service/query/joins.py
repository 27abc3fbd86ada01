"""FROM: sources and joins as a tree that is written down last, so that plans can still add to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from service.query.context import Context
from service.query.expression import Expressions
from service.query.parse import fault
from service.query.scope import Field, Scope, Source, derived, merged, published
from service.query.value import Value
from service.query.words import suggestion

if TYPE_CHECKING:
    from service.query.queries import Selects

UPLOAD = "tap_upload"


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
    near: tuple[Sequence[Value], Value] | None = None

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


class Froms:
    """Reads the FROM clause of one SELECT into its scope."""

    def __init__(self, context: Context, scope: Scope, selects: Selects, expressions: Expressions) -> None:
        self.context, self.scope, self.selects, self.expressions = context, scope, selects, expressions

    def read(self, select: exp.Select) -> Tree:
        tree, fields = self.joined(select.args["from_"].this, select.args.get("joins") or [])
        self.scope.see(fields)
        return tree

    def joined(self, first: exp.Expr, joins: Sequence[exp.Expr]) -> tuple[Tree, list[Field]]:
        """Commas bind less than joins (ADQL 2.1, appendix A): each part between them is a tree of its own."""
        groups: list[tuple[Tree, list[Field]]] = [self.operand(first)]
        for join in joins:
            if is_comma(join):
                groups.append(self.operand(join.this))
            else:
                groups[-1] = self.join(groups[-1], join)
        tree, fields = groups[0]
        for other, more in groups[1:]:
            tree, fields = Join(tree, other), [*fields, *more]
        return tree, fields

    def operand(self, node: exp.Expr) -> tuple[Tree, list[Field]]:
        """A table, a query with a name, or joins in parentheses; a table's own `joins` follow it."""
        if isinstance(node, exp.Subquery) and not isinstance(node.this, exp.Query):
            if node.alias:
                raise fault(node, "joins in parentheses have no name in ADQL")
            return self.joined(node.this, [*(node.args.get("joins") or [])])
        if isinstance(node, exp.Subquery) and not node.alias and isinstance(node.this, exp.Query):
            raise fault(node, "a query in FROM needs a name: (SELECT …) AS name")
        source = self.source(node)
        self.add(node, source)
        own = node.args.get("joins") or []
        if own and isinstance(node, exp.Table | exp.Subquery):
            result: tuple[Tree, list[Field]] = (source, source.fields)
            for join in own:
                result = self.join(result, join)
            return result
        return source, source.fields

    def add(self, node: exp.Expr, source: Source) -> None:
        name = source.names[-1].lower()
        if any(len(s.names) == len(source.names) and s.names[-1].lower() == name for s in self.scope.sources):
            raise fault(
                node, f"{source.names[-1]} stands twice in FROM; give one of them another name with AS"
            )
        self.scope.sources.append(source)

    def source(self, node: Any) -> Source:
        alias = node.alias
        if isinstance(node, exp.Subquery):
            query = self.selects.query(node.this, None)
            return derived(f"({query.sql})", (alias,), self.context.alias(), query.columns)
        if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
            raise fault(node, "a table is expected in FROM")
        schema, name = node.db, node.name
        names = (alias,) if alias else ((schema, name) if schema else (name,))
        if not schema and (common := self.selects.common.get(name.lower())) is not None:
            return derived(common.sql, names, self.context.alias(), common.columns)
        if schema.lower() == UPLOAD:
            return self.upload(node, names)
        table = (
            self.context.release.tables.get(f"{schema}.{name}".lower()) if schema else self.unqualified(name)
        )
        if table is None:
            raise self.unknown(node)
        return published(table, names, self.context.alias(), self.base_url())

    def unqualified(self, name: str) -> Any:
        """A name without its schema, where only one schema has it."""
        found = [
            t for key, t in self.context.release.tables.items() if key.rpartition(".")[2] == name.lower()
        ]
        return found[0] if len(found) == 1 else None

    def base_url(self) -> str:
        return self.context.bind(self.context.base_url)

    def upload(self, node: exp.Table, names: tuple[str, ...]) -> Source:
        found = next((n for n in self.context.uploads if n.lower() == node.name.lower()), None)
        if found is None:
            raise self.unknown(node)
        upload, known = self.context.uploads[found], f"upload_{found}"
        if known not in self.context.tables:
            columns = [f"c{number}" for number in range(len(upload.columns))]
            self.context.tables[known] = upload.table.rename_columns(columns)
        source = derived('"' + known.replace('"', '""') + '"', names, self.context.alias(), upload.columns)
        source.uploaded = True
        return source

    def unknown(self, node: exp.Table) -> Exception:
        name = f"{node.db}.{node.name}" if node.db else node.name
        known = [
            *self.context.release.tables,
            *self.selects.common,
            *(f"TAP_UPLOAD.{n}" for n in self.context.uploads),
        ]
        hint = suggestion(name, known) or suggestion(f"doppel.{name}", known)
        return fault(node, f"there is no table {name}{hint or '; TAP_SCHEMA.tables lists them all'}")

    def join(self, left: tuple[Tree, list[Field]], node: Any) -> tuple[Tree, list[Field]]:
        right = self.operand(node.this)
        side, method = (node.side or "").upper(), (node.method or "").upper()
        join = Join(left[0], right[0], side)
        using, on = node.args.get("using") or [], node.args.get("on")
        if (bool(using) + (on is not None) + (method == "NATURAL")) != 1:
            raise fault(node.this, "a JOIN needs ON or USING, or NATURAL before it")
        if on is not None:
            fields = [*left[1], *right[1]]
            self.scope.see(fields)
            self.scope.reach = list(sources_of(join))
            join.conditions, _ = self.selects.conjuncts(self.expressions, on, join, join)
            self.scope.reach = None
            return join, fields
        return join, self.using(node, join, left[1], right[1], [str(name.name) for name in using])

    def using(
        self, node: exp.Join, join: Join, left: list[Field], right: list[Field], names: list[str]
    ) -> list[Field]:
        """The visible columns after USING or NATURAL: those in common once and first (SQL-92, 7.5)."""
        others = {each.name.lower(): each for each in right}
        if not names:
            names = [each.name for each in left if each.name.lower() in others]
        pairs: list[tuple[Field, Field]] = []
        for name in names:
            mine = [each for each in left if each.name.lower() == name.lower()]
            if len(mine) != 1 or name.lower() not in others:
                raise fault(node.this, f"USING: {name} is not a column of both sides")
            pairs.append((mine[0], others[name.lower()]))
        join.conditions = [f"({one.sql} = {other.sql})" for one, other in pairs]
        taken = {id(each) for pair in pairs for each in pair}
        common = [merged(one, other, join.side) for one, other in pairs]
        return [*common, *(each for each in (*left, *right) if id(each) not in taken)]


def is_comma(node: exp.Expr) -> bool:
    return not any(node.args.get(key) for key in ("on", "using", "method", "side", "kind"))
