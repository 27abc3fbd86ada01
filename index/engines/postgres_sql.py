"""DuckDB's SQL, which the query path writes, as PostgreSQL's: read into a tree, checked and written anew.

What both spell alike is kept; functions that PostgreSQL lacks or means otherwise are those of its schema
`adql`, which postgres_functions.sql makes. A function that is neither is refused.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, ClassVar

from sqlglot import exp, parser
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import SqlglotError
from sqlglot.generators.postgres import PostgresGenerator
from sqlglot.parsers.duckdb import DuckDBParser

from index.engines.engine import EngineError
from index.engines.postgres_trees import (
    bare,
    compares,
    cone,
    double,
    in_domain,
    in_list,
    is_first,
    is_ours,
    literal,
    names_in,
    of_its_query,
    ours,
    put,
    zero_of,
)

ALIKE = frozenset(
    (
        "abs", "atan", "atan2", "avg", "ceil", "coalesce", "cos", "count", "degrees", "floor",
        "greatest", "least", "left", "max", "min", "pi", "radians", "random", "replace",
        "rpad", "sin", "split_part", "string_agg", "tan", "unnest",
    )
)  # fmt: skip
FUNCTIONS = files("index.engines").joinpath("postgres_functions.sql").read_text("utf-8")
OURS = frozenset(re.findall(r"(?:FUNCTION|AGGREGATE) adql\.(\w+)", FUNCTIONS))
NATIVE = ("sqrt", "asin", "power")  # PostgreSQL's own are quicker, where no number is outside their domain
MARGIN = 1e-6
OTHER_NAMES = {"pow": "power", "list": "array_agg", "string_split": "string_to_array"}
AGGREGATES = frozenset(("avg", "count", "list", "max", "min", "string_agg", "sum")).union(
    re.findall(r"AGGREGATE adql\.(\w+)", FUNCTIONS)
)


class _Reader(DuckDB):
    """DuckDB's grammar whose functions stay calls by name: what they mean is said here. Subscripts stay as
    they are written, from 1: to shift them, sqlglot would look for the type of every array."""

    INDEX_OFFSET = 0

    class Parser(DuckDBParser):
        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {"CAST": parser.Parser.FUNCTION_PARSERS["CAST"]}
        NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}


class _Writer(Postgres):
    class Generator(PostgresGenerator):
        TRANSFORMS: ClassVar[dict[Any, Any]] = {
            **PostgresGenerator.TRANSFORMS,
            exp.IntDiv: lambda self, node: self.binary(node, "/"),
        }


READER, WRITER = _Reader(), _Writer()
# of calls: cells of the sky within cells are long expressions, and sqlglot reads them by recursion
DEPTH = 4000
sys.setrecursionlimit(max(sys.getrecursionlimit(), DEPTH))


def postgres_sql(sql: str, params: Sequence[object], tables: Mapping[str, str], *, q3c: bool = False) -> str:
    """One statement with its values written in as typed literals, since COPY takes no parameters.

    `tables` says where `schema.table` of the release lies, `q3c` that its positions have such an index.
    EngineError where a name is not known.
    """
    try:
        tree = READER.parse(sql)[0]
        rewritten = _Rewriter(params, tables, q3c).tree(tree)
        return WRITER.generate(rewritten, normalize_functions=False, comments=False)
    except SqlglotError as error:
        raise EngineError(f"not understood: {error}") from error
    except RecursionError:
        raise EngineError("the statement is nested too deeply") from None


class _Rewriter:
    def __init__(self, params: Sequence[object], tables: Mapping[str, str], q3c: bool) -> None:
        self.params, self.tables, self.q3c = params, tables, q3c
        self.places = -1  # of parameters without a number
        self.aliases = 0

    def tree(self, tree: Any) -> Any:
        """Children before their parents; without recursion, since sums of polygons nest deeply."""
        for node in list(tree.find_all(exp.Anonymous)):
            if node.name in AGGREGATES and not node.find(exp.Column) and in_list(node):
                of_its_query(node)
        nodes = list(tree.dfs())
        for node in nodes:
            if isinstance(node, exp.Placeholder) and node.this is None:
                self.places += 1
                node.set("this", str(self.places + 1))
        root = tree
        for node in reversed(nodes):
            rewrite = REWRITES.get(type(node))
            if rewrite is None:
                continue
            place = node.parent, node.arg_key, node.index
            new = rewrite(self, node)
            if new is node:
                continue
            if place[0] is None:
                root = new
            else:
                put(new, *place)
        return root

    def alias(self) -> str:
        self.aliases += 1
        return f"x{self.aliases}"

    # --- values ---

    def parameter(self, node: Any) -> exp.Expr:
        return literal(self.params[int(node.name) - 1])

    def number(self, node: Any) -> Any:
        """Fractions are doubles, as everywhere; PostgreSQL would make decimals of them."""
        if node.is_string or node.name.isdigit():
            return node
        return double(node)

    def table(self, node: Any) -> Any:
        if node.catalog != "release":
            return node
        place = self.tables.get(f"{node.db}.{node.name}")
        if place is None:
            raise EngineError(f"no table {node.db}.{node.name} in this release")
        alias = node.args.get("alias")
        return exp.Table(this=exp.Var(this=place), alias=alias, joins=node.args.get("joins"))

    def subquery(self, node: Any) -> Any:
        """In FROM, a query needs a name before PostgreSQL 16."""
        if (
            isinstance(node.parent, exp.From | exp.Join)
            and isinstance(node.this, exp.Query)
            and not node.alias
        ):
            node.set("alias", exp.TableAlias(this=exp.to_identifier(self.alias())))
        return node

    def join(self, node: Any) -> Any:
        """FULL JOINs are refused where no condition has `=` between the sides: one that holds is added."""
        on = node.args.get("on")
        if node.side == "FULL" and on is not None and not compares(on, names_in(node.this)):
            left = node.parent.args["from_"].this if isinstance(node.parent, exp.Select) else node.parent
            always = exp.EQ(this=zero_of(left), expression=zero_of(node.this))
            node.set("on", exp.and_(always, on, copy=False))
        return node

    # --- operators ---

    def cast(self, node: Any) -> Any:
        return ours("to_text", node.this) if node.to.this in exp.DataType.TEXT_TYPES else node

    def quotient(self, node: Any) -> Any:
        """By a number that we write, division is safe; by others, zero gives no error but infinity."""
        if is_ours(node.expression):
            return exp.Div(this=double(node.this), expression=node.expression, typed=True, safe=False)
        return ours("divide", node.this, node.expression)

    def remainder(self, node: Any) -> Any:
        whole = isinstance(node.expression, exp.Literal) and node.expression.name.isdigit()
        return node if whole else ours("modulo", bare(node.this), bare(node.expression))

    def element(self, node: Any) -> Any:
        """Subscripts are calls."""
        if node.this.meta.get("named"):
            return node.this
        place = node.expressions[0]
        if isinstance(place, exp.Slice):
            return ours("slice", node.this, place.this, place.expression)
        return ours("element", node.this, place)

    def pattern(self, node: Any) -> Any:
        """A backslash means itself (ADQL has no escape character); ILIKE compares in lower case."""
        if isinstance(node, exp.ILike):
            node = exp.Like(this=ours("lower", node.this), expression=ours("lower", node.expression))
        return exp.Escape(this=node, expression=exp.Literal.string(""))

    def shifted(self, node: Any) -> Any:
        if isinstance(node.this, exp.Anonymous) and node.this.name == "adql.hash":
            return ours("hash53", *node.this.expressions)
        return node

    def near(self, node: Any) -> Any:
        """A cone around a constant point is looked up in q3c's index first; the angle still decides."""
        found = cone(node) if self.q3c else None
        if found is None:
            return node
        ra, dec, centre_ra, centre_dec, radius = found
        numbers = [centre_ra, centre_dec, radius * (1 + MARGIN) + MARGIN]
        arguments = [ra.copy(), dec.copy(), *(literal(number) for number in numbers)]
        inside = exp.Anonymous(this="public.q3c_radial_query", expressions=arguments)
        return exp.Paren(this=exp.And(this=inside, expression=node))

    # --- calls ---

    def call(self, node: Any) -> Any:
        name = node.name.lower()
        name = OTHER_NAMES.get(name, name)
        if (special := CALLS.get(name)) is not None:
            return special(self, node)
        if name in NATIVE and in_domain(name, node.expressions[-1]):
            return exp.Anonymous(this=name, expressions=node.expressions)
        if name in OURS:
            return ours(name, *node.expressions)
        if name not in ALIKE and name not in OTHER_NAMES.values():
            raise EngineError(f"no function {name} on PostgreSQL")
        return exp.Anonymous(this=name, expressions=node.expressions)

    def total(self, node: Any) -> Any:
        """Whole numbers add up to a BIGINT."""
        call = exp.Anonymous(this="sum", expressions=node.expressions)
        summed = node.expressions[0]
        summed = summed.expressions[0] if isinstance(summed, exp.Distinct) else summed
        if isinstance(summed, exp.Case):  # of_its_query
            summed = summed.args["ifs"][0].args["true"]
        if isinstance(summed, exp.Cast) and summed.to.is_type("double"):
            return call
        return exp.cast(call, "bigint")

    def numbers(self, node: Any) -> Any:
        """range(a, b) → the numbers from a to b - 1."""
        low, high = node.expressions
        last, alias = exp.Sub(this=high, expression=exp.Literal.number(1)), exp.to_identifier(self.alias())
        series = exp.Anonymous(this="generate_series", expressions=[low, last])
        source = exp.Table(this=series, alias=exp.TableAlias(this=alias))
        return exp.Array(expressions=[exp.select(exp.Column(this=alias.copy())).from_(source)])

    def transformed(self, node: Any) -> Any:
        values, change = node.expressions
        if isinstance(values, exp.Array) and len(values.expressions) == 1 and is_first(node.parent):
            return self.named(values, change)
        return self.listed(values, change, change.this, None)

    def named(self, values: Any, function: Any) -> exp.Expr:
        """list_transform([value], lambda name: expression)[1]: a name for a value, which is computed once."""
        (value,) = values.expressions
        inner = exp.select(exp.alias_(value, function.expressions[0].copy(), copy=False), copy=False)
        source = inner.offset(0, copy=False).subquery(self.alias(), copy=False)
        found = exp.select(function.this, copy=False).from_(source, copy=False).subquery(copy=False)
        found.meta["named"] = True
        return found

    def filtered(self, node: Any) -> Any:
        values, condition = node.expressions
        return self.listed(values, condition, condition.expressions[0].copy(), condition.this)

    def listed(self, values: Any, function: Any, item: Any, condition: Any) -> exp.Expr:
        """ARRAY(SELECT item FROM unnest(values) WHERE condition), in the order of the values."""
        alias, place = self.alias(), self.alias()
        columns = [function.expressions[0].copy(), exp.to_identifier(place)]
        source = exp.Unnest(
            expressions=[values],
            alias=exp.TableAlias(this=exp.to_identifier(alias), columns=columns),
            offset=True,
        )
        query = exp.select(item, copy=False).from_(source, copy=False)
        if condition is not None:
            query = query.where(condition, copy=False)
        return exp.Array(expressions=[query.order_by(exp.column(place), copy=False)])

    def exclusive(self, node: Any) -> Any:
        left, right = node.expressions
        return exp.Paren(this=exp.BitwiseXor(this=exp.paren(left), expression=exp.paren(right)))

    def hashed(self, node: Any) -> Any:
        return ours("hash", *node.expressions)


CALLS: Mapping[str, Callable[[_Rewriter, Any], Any]] = {
    "sum": _Rewriter.total,
    "range": _Rewriter.numbers,
    "list_transform": _Rewriter.transformed,
    "list_filter": _Rewriter.filtered,
    "xor": _Rewriter.exclusive,
    "hash": _Rewriter.hashed,
}
REWRITES: Mapping[type[exp.Expr], Callable[[_Rewriter, Any], Any]] = {
    exp.Placeholder: _Rewriter.parameter,
    exp.Literal: _Rewriter.number,
    exp.Table: _Rewriter.table,
    exp.Subquery: _Rewriter.subquery,
    exp.Join: _Rewriter.join,
    exp.Cast: _Rewriter.cast,
    exp.Div: _Rewriter.quotient,
    exp.Mod: _Rewriter.remainder,
    exp.Bracket: _Rewriter.element,
    exp.LT: _Rewriter.near,
    exp.LTE: _Rewriter.near,
    exp.Like: _Rewriter.pattern,
    exp.ILike: _Rewriter.pattern,
    exp.BitwiseRightShift: _Rewriter.shifted,
    exp.Anonymous: _Rewriter.call,
}
