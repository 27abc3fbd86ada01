# ruff: noqa: S608 (SQL of our own fragments; what the client wrote is bound)
"""Queries → SQL: SELECT, set operations, WITH; every result column described."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp

from registry_metadata.columns import Column
from registry_metadata.reserved import RESERVED
from service.query.conditions import Conditions
from service.query.context import Context
from service.query.expression import Expressions
from service.query.functions import FUNCTIONS
from service.query.growth import check_weight, weight
from service.query.held import cone_of
from service.query.joins import Froms
from service.query.parse import fault
from service.query.parts import Parts, count_of
from service.query.ranking import Ranking
from service.query.scope import Scope, Source, qualifiers
from service.query.similarity import Similarity
from service.query.statement import Cone, Query
from service.query.value import RANK, Value, text_type, wider

MOST_COLUMNS = 1_600  # and keys to order and group by; PostgreSQL takes 1,664
SETS = {exp.Union: "UNION", exp.Except: "EXCEPT", exp.Intersect: "INTERSECT"}


class Selects:
    """Reads the queries of one request; `common` are the tables that WITH has named so far."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.common: dict[str, Query] = {}
        self.similarity = Similarity(context)
        self.ranking = Ranking(self.similarity)

    def read(self, tree: exp.Query) -> Query:
        """The whole of a checked query."""
        for cte in tree.args["with_"].expressions if tree.args.get("with_") is not None else ():
            self.read_common(cte)
        return self.query(tree, None)

    def read_common(self, cte: exp.CTE) -> None:
        name = cte.alias
        if name.lower() in self.common:
            raise fault(cte, f"WITH defines {name} twice")
        query = self.query(cte.this, None)
        names = [part.name for part in cte.args["alias"].args.get("columns") or ()]
        if names and len(names) != len(query.columns):
            raise fault(cte, f"{name} names {len(names)} columns, its query has {len(query.columns)}")
        columns = query.columns if not names else tuple(map(Column.renamed, query.columns, names))
        engine_name = f"w{len(self.common)}"
        self.context.ctes.append(f"{engine_name} AS ({query.sql})")
        self.common[name.lower()] = Query(engine_name, columns, weights=query.weights)

    def query(self, node: Any, parent: Scope | None) -> Query:
        match node:
            case exp.Subquery():
                inner = self.query(node.this, parent)
                if node.args.get("order") is None and node.args.get("offset") is None:
                    return inner
                return self.wrapped(
                    node, replace(inner, body=f"SELECT * FROM ({inner.sql})", limit=None, offset=0)
                )
            case exp.Select():
                return self.select(node, parent)
            case exp.SetOperation():
                return self.set_operation(node, parent)
        raise fault(node, "a query is expected here: SELECT … FROM …")

    # --- set operations ---

    def set_operation(self, node: Any, parent: Scope | None) -> Query:
        """Metadata come from the left operand, datatypes hold the values of both (ADQL 2.1, 4.6)."""
        left, right = self.query(node.this, parent), self.query(node.expression, parent)
        word = SETS[type(node)]
        if len(left.columns) != len(right.columns):
            raise fault(
                node,
                f"{word} joins queries with {len(left.columns)} and {len(right.columns)} columns; "
                "expected as many in both",
            )
        columns = []
        for place, (ours, theirs) in enumerate(zip(left.columns, right.columns, strict=True)):
            if place in left.nulls:
                columns.append(theirs.renamed(ours.name))
            else:
                columns.append(ours if place in right.nulls else self.united(node, ours, theirs))
        every = " ALL" if not node.args.get("distinct") else ""
        sql = f"({left.sql}) {word}{every} ({right.sql})"
        weights = tuple(map(max, left.weights, right.weights))
        return self.wrapped(node, Query(sql, tuple(columns), nulls=left.nulls & right.nulls, weights=weights))

    def united(self, node: exp.Expr, left: Column, right: Column) -> Column:
        both = left.datatype in RANK and right.datatype in RANK and left.arraysize == right.arraysize
        if both:
            datatype = left.datatype if left.datatype == right.datatype else wider(left, right)
            return replace(left, datatype=datatype)
        if (left.datatype in RANK) != (right.datatype in RANK):
            raise fault(
                node, f"the columns {left.name} and {right.name} have different types; CAST one of them"
            )
        if left.text and right.text:
            left = replace(left, datatype=text_type(left, right))
        return replace(left, did=left.did and right.did) if left.did != right.did else left

    def wrapped(self, node: Any, query: Query) -> Query:
        """ORDER BY and OFFSET that stand after a set operation speak of its result columns."""
        keys = [self.result_key(key, query.columns) for key in ordered(node)]
        body = query.sql + (f" ORDER BY {', '.join(keys)}" if keys else "")
        offset = count_of(node.args.get("offset"))
        return replace(query, body=body, limit=None, offset=offset, cone=None)

    def result_key(self, key: Any, columns: Sequence[Column]) -> str:
        node = key.this
        if isinstance(node, exp.Literal) and not node.is_string:
            return f"{position_of(node, len(columns))}{direction(key)}"
        if isinstance(node, exp.Column) and not qualifiers(node):
            for place, column in enumerate(columns, 1):
                if column.name.lower() == node.name.lower():
                    return f"{place}{direction(key)}"
        raise fault(node, "after a set operation ORDER BY takes a column of the result, by name or position")

    # --- SELECT ---

    def select(self, node: exp.Select, parent: Scope | None) -> Query:
        scope = Scope(parent, grouping=node.args.get("group") is not None)
        values = Expressions(self.context, scope, self.query, self.similarity)
        conditions = Conditions(values)
        parts = Parts(node, scope, values, conditions, Froms(conditions, self.common).read(node))
        self.read_where(parts)
        self.read_group(parts)
        self.read_items(parts)
        self.read_having(parts)
        self.read_order(parts)
        self.ranking.plan(parts)
        return self.written(parts)

    def read_where(self, parts: Parts) -> None:
        where = parts.node.args.get("where")
        if where is not None:
            parts.where, parts.near = parts.conditions.conjuncts(where.this, parts.tree, None)
        parts.scope.free.clear()

    def read_group(self, parts: Parts) -> None:
        group = parts.node.args.get("group")
        if group is None:
            return
        parts.scope.inside = "GROUP BY"
        for key in group.expressions:
            self.check_width(parts, key)
            if isinstance(key, exp.Literal):
                raise fault(key, "GROUP BY takes columns or expressions, not positions")
            parts.group.append(parts.values.value(self.meant(parts, key)).sql)
        parts.scope.inside = ""
        parts.scope.free.clear()
        parts.scope.group_keys = frozenset(parts.group)

    def meant(self, parts: Parts, key: Any) -> Any:
        """The expression behind a result column's name, where no column in FROM has that name."""
        if isinstance(key, exp.Column) and not qualifiers(key) and not parts.scope.candidates(key):
            for item in parts.node.expressions:
                if isinstance(item, exp.Alias) and item.alias.lower() == key.name.lower():
                    return item.this
        return key

    def read_items(self, parts: Parts) -> None:
        for number, item in enumerate(parts.node.expressions, 1):
            self.check_width(parts, item)
            if isinstance(item, exp.Star) or (
                isinstance(item, exp.Column) and isinstance(item.this, exp.Star)
            ):
                parts.items += self.star(parts, item)
                continue
            node, name = (item.this, item.alias) if isinstance(item, exp.Alias) else (item, "")
            value = parts.values.value(node)
            parts.items.append((name or name_of(node, number), value))
        if parts.grouped:
            self.check_free(parts)
        parts.scope.free.clear()

    def check_width(self, parts: Parts, node: exp.Expr) -> None:
        """Before one more is added."""
        if len(parts.items) + len(parts.group) + len(parts.order) >= MOST_COLUMNS:
            raise fault(
                node,
                f"more than {MOST_COLUMNS} columns are selected, with the keys of GROUP BY and ORDER BY;"
                " ask for fewer at once",
            )

    def star(self, parts: Parts, node: exp.Expr) -> list[tuple[str, Value]]:
        found = parts.scope.visible
        if isinstance(node, exp.Column):
            named = [source for source in parts.scope.sources if source.called(qualifiers(node))]
            if not named:
                raise parts.scope.unknown(node)
            found = named[0].fields
        parts.scope.free += [each.name for each in found]
        return [(each.name, Value(each.sql, each.column, field=each)) for each in found]

    def check_free(self, parts: Parts) -> None:
        if parts.scope.free:
            name = parts.scope.free[0]
            raise fault(
                parts.node,
                f"the column {name} is neither in GROUP BY nor inside an aggregate such as MAX({name})",
            )

    def read_having(self, parts: Parts) -> None:
        having = parts.node.args.get("having")
        if having is not None:
            parts.having = parts.conditions.read(having.this)
            self.check_free(parts)

    def read_order(self, parts: Parts) -> None:
        parts.scope.inside = "" if parts.grouped else "ORDER BY"
        for place, key in enumerate(ordered(parts.node)):
            self.check_width(parts, key)
            sql, node = self.order_key(parts, key.this)
            parts.order.append(f"{sql}{direction(key)}")
            if place == 0 and not key.args.get("desc"):
                parts.first_key = node
        parts.scope.inside = ""
        if parts.grouped and parts.order:
            self.check_free(parts)

    def order_key(self, parts: Parts, node: exp.Expr) -> tuple[str, exp.Expr | None]:
        """A position, a result column's name, a column or an expression; and the expression that it means."""
        if isinstance(node, exp.Literal) and not node.is_string:
            place = position_of(node, len(parts.items))
            return str(place), self.item_at(parts, place)
        if isinstance(node, exp.Column) and not qualifiers(node):
            wanted = [n for n, (name, _) in enumerate(parts.items, 1) if name.lower() == node.name.lower()]
            if wanted:
                return str(wanted[0]), self.item_at(parts, wanted[0])
        value = parts.values.value(node)
        if value.literal is not None or value.null:
            raise fault(node, "ORDER BY takes columns, positions or expressions of them, not a constant")
        for place, (_, item) in enumerate(parts.items, 1):
            if item.sql == value.sql:
                return str(place), node
        if parts.distinct:
            raise fault(node, "with DISTINCT, ORDER BY takes only what is selected")
        return value.sql, node

    def item_at(self, parts: Parts, place: int) -> Any:
        """The expression of the n-th result column; none where * stands before it."""
        items = parts.node.expressions
        if len(items) != len(parts.items):
            items = [i for i in items if not isinstance(i, exp.Star)]
            offset = len(parts.items) - len(items)
            place -= offset
            if not 1 <= place <= len(items) or any(
                isinstance(i, exp.Column) and isinstance(i.this, exp.Star) for i in items
            ):
                return None
        item = items[place - 1]
        return item.this if isinstance(item, exp.Alias) else item

    def written(self, parts: Parts) -> Query:
        items = [f"{value.sql} AS c{n}" for n, (_, value) in enumerate(parts.items)]
        sql = f"SELECT {'DISTINCT ' if parts.distinct else ''}{', '.join(items)} {parts.body()}"
        if parts.group:
            sql += f" GROUP BY {', '.join(parts.group)}"
        if parts.having:
            sql += f" HAVING {parts.having}"
        if parts.order:
            sql += f" ORDER BY {', '.join(parts.order)}"
        for expression, plain in parts.spelled.items():
            sql = sql.replace(expression, plain)
        known = self.context.weights
        check_weight(parts.node, sql, known)
        columns = tuple(named(value.column, name) for name, value in parts.items)
        whole = parts.grouped or parts.distinct or parts.top is not None  # and not put into others
        weights = tuple(1 if whole else weight(value.sql, known) for _, value in parts.items)
        nulls = frozenset(place for place, (_, value) in enumerate(parts.items) if value.null)
        return Query(sql, columns, parts.top, parts.offset, nulls, weights, cone_asked(parts))


def cone_asked(parts: Parts) -> Cone | None:
    """The cone, where the SELECT asks for nothing else of one table."""
    more = parts.order or parts.distinct or parts.offset or parts.grouped or parts.spelled
    if more or parts.near is None or len(parts.where) > 1 or not isinstance(parts.tree, Source):
        return None
    return cone_of(parts.tree, parts.near, [value for _, value in parts.items])


def named(column: Column, name: str) -> Column:
    return column if column.name == name else column.renamed(name)


def ordered(node: exp.Expr) -> list[exp.Expr]:
    order = node.args.get("order")
    return list(order.expressions) if order is not None else []


def direction(key: exp.Expr) -> str:
    """NULLs come last whichever way: a spectrum without a distance is neither nearest nor farthest."""
    return f" {'DESC' if key.args.get('desc') else 'ASC'} NULLS LAST"


def position_of(node: exp.Expr, n_columns: int) -> int:
    text = node.name
    if not text.isdigit() or not 1 <= int(text) <= n_columns:
        raise fault(node, f"ORDER BY {text}: the result has the columns 1 to {n_columns}")
    return int(text)


def name_of(node: exp.Expr, number: int) -> str:
    """A column keeps its name as the query writes it; what has none gets a legal one: max_teff, count_2."""
    if isinstance(node, exp.Column):
        return str(node.name)
    stem = "column"
    if isinstance(node, exp.Anonymous):
        stem = str(node.this).lower()
        inner = list(node.find_all(exp.Column))
        if (
            FUNCTIONS[stem.upper()].aggregate
            and len(inner) == 1
            and re.fullmatch(r"[A-Za-z]\w*", inner[0].name)
        ):
            return f"{stem}_{inner[0].name}"
    legal = f"{stem}_{number}"
    return f"column_{number}" if legal.upper() in RESERVED else legal
