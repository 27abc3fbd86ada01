"""FROM: sources looked up by their names, and joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlglot import exp

from service.query.conditions import Conditions
from service.query.parse import fault
from service.query.scope import Field, Source, derived, merged, published
from service.query.statement import Query
from service.query.tree import Join, Tree, sources_of
from service.query.words import suggestion

UPLOAD = "tap_upload"


class Froms:
    """Reads the FROM clause of one SELECT into its scope; `common` are the tables that WITH has named."""

    def __init__(self, conditions: Conditions, common: Mapping[str, Query]) -> None:
        self.conditions, self.common = conditions, common
        values = conditions.values
        self.context, self.scope, self.query = values.context, values.scope, values.query

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
            query = self.query(node.this, None)
            return self.known(query, f"({query.sql})", (alias,))
        if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
            raise fault(node, "a table is expected in FROM")
        schema, name = node.db, node.name
        names = (alias,) if alias else ((schema, name) if schema else (name,))
        if not schema and (common := self.common.get(name.lower())) is not None:
            return self.known(common, common.sql, names)
        if schema.lower() == UPLOAD:
            return self.upload(node, names)
        table = (
            self.context.release.tables.get(f"{schema}.{name}".lower()) if schema else self.unqualified(name)
        )
        if table is None:
            raise self.unknown(node)
        return published(table, names, self.context.alias(), self.base_url())

    def known(self, query: Query, sql: str, names: tuple[str, ...]) -> Source:
        """A query as a source, whose columns weigh what theirs do."""
        source = derived(sql, names, self.context.alias(), query.columns)
        self.context.weights |= {
            each.sql: n for each, n in zip(source.fields, query.weights, strict=True) if n > 1
        }
        return source

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
            *self.common,
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
            join.conditions, _ = self.conditions.conjuncts(on, join, join)
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
        self.conditions.count(node.this, len(pairs))
        join.conditions = [f"({one.sql} = {other.sql})" for one, other in pairs]
        taken = {id(each) for pair in pairs for each in pair}
        common = [merged(one, other, join.side) for one, other in pairs]
        return [*common, *(each for each in (*left, *right) if id(each) not in taken)]


def is_comma(node: exp.Expr) -> bool:
    return not any(node.args.get(key) for key in ("on", "using", "method", "side", "kind"))
