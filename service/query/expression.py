"""Expressions of a checked tree → values: SQL beside datatype, unit, UCD."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp

from service.query import vectors
from service.query.call import Call, Likeness
from service.query.context import Context
from service.query.functions import FUNCTIONS
from service.query.geometry import column_shape, from_text
from service.query.parse import fault
from service.query.scope import Field, Scope, qualifiers
from service.query.statement import Query
from service.query.units import product, quotient
from service.query.value import (
    DECIMAL,
    INTEGERS,
    MOMENT,
    RANK,
    REGIONS,
    UNKNOWN,
    Shape,
    Value,
    described,
    number,
    plain,
    read,
    text_type,
    whole,
    wider,
)

LARGEST = 2**63
NO_AGGREGATES = ("WHERE", "ON", "GROUP BY", "ORDER BY", "arr_map")
LONGEST_TEXT = 10_000
LARGEST_SQL = 20_000_000  # characters of one expression: functions of positions repeat their arguments
CAST_WORDS = (
    "SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, CHAR, VARCHAR, TIMESTAMP, POINT, CIRCLE or POLYGON"
)
CASTS: Mapping[exp.DType, tuple[str, str]] = {
    exp.DType.SMALLINT: ("short", "SMALLINT"),
    exp.DType.INT: ("int", "INTEGER"),
    exp.DType.BIGINT: ("long", "BIGINT"),
    exp.DType.FLOAT: ("float", "FLOAT"),
    exp.DType.DOUBLE: ("double", "DOUBLE"),
    exp.DType.CHAR: ("char", "VARCHAR"),
    exp.DType.VARCHAR: ("char", "VARCHAR"),
    exp.DType.TIMESTAMP: ("char", "TIMESTAMP"),
}


class Expressions:
    """Reads the expressions of one SELECT: looks up columns in its scope; has `query` read sub-queries."""

    def __init__(
        self, context: Context, scope: Scope, query: Callable[[Any, Scope | None], Query], likeness: Likeness
    ) -> None:
        self.context, self.scope, self.query, self.likeness = context, scope, query, likeness
        self.elements: list[Value] = []  # what x is inside of arr_map

    def value(self, node: exp.Expr) -> Value:
        """A value expression; a key of GROUP BY counts as one value, whatever columns it has."""
        mark = len(self.scope.free)
        reader = VALUES.get(type(node))
        if reader is None:
            raise fault(
                node,
                "a value is expected here, not a condition; ADQL has no truth values to select or compare",
            )
        found = reader(self, node)
        if found.sql in self.scope.group_keys:
            del self.scope.free[mark:]
        return found

    def column(self, node: Any) -> Value:
        if isinstance(node.this, exp.Star):
            raise fault(node, "* stands only in the list of what is selected, and in COUNT(*)")
        if self.elements and node.name.lower() == "x" and not qualifiers(node):
            return self.elements[-1]
        field = self.scope.find(node)
        column = field.column
        return Value(field.sql, column, shape=shape_of_column(field), field=field)

    def literal(self, node: Any) -> Value:
        if node.is_string:
            column = described("char" if node.this.isascii() else "unicodeChar", arraysize="*")
            return Value(self.context.bind(node.this), column, literal=node.this)
        return self.constant(_number(node))

    def constant(self, value: int | float) -> Value:
        if isinstance(value, int):
            datatype = "int" if -(2**31) <= value < 2**31 else "long"
            return Value(self.context.bind(value), described(datatype), literal=value)
        return Value(self.context.bind(value), described("double"), literal=value)

    def null(self, node: Any) -> Value:
        return Value("NULL", UNKNOWN)

    def paren(self, node: Any) -> Value:
        found = self.value(node.this)
        return found if found.sql.startswith(("$", "(")) else replace(found, sql=f"({found.sql})")

    def negative(self, node: Any) -> Value:
        found = self.value(node.this)
        if found.vector:
            return vectors.negative(found)
        checked_number(node.this, found)
        if found.null:
            return found
        if isinstance(found.literal, int | float):
            return self.constant(-found.literal)
        return Value(f"(-{found.sql})", plain(found.column, ucd=found.column.ucd))

    def element(self, node: Any) -> Value:
        """`vector[i]` and `vector[a:b]`."""
        array, place = self.value(node.this), node.expressions[0]
        if not array.vector:
            raise fault(node, f"an array of numbers is expected before [, not {array.kind}")
        if not isinstance(place, exp.Slice):
            return vectors.element(array, self.whole(place))
        if place.this is None or place.expression is None:
            raise fault(node, "a slice has both ends: [1:10]")
        return vectors.part(array, self.whole(place.this), self.whole(place.expression))

    def whole(self, node: exp.Expr) -> Value:
        found = self.number(node)
        if not found.null and found.column.datatype not in INTEGERS:
            raise fault(node, "a place in an array is a whole number")
        return found

    def number(self, node: exp.Expr) -> Value:
        return checked_number(node, self.value(node))

    def operands(self, node: Any) -> tuple[Value, Value]:
        """Two numbers; or any two values where one is a vector."""
        left, right = self.value(node.this), self.value(node.expression)
        if not (left.vector or right.vector):
            checked_number(node.this, left), checked_number(node.expression, right)
        return left, right

    def sum(self, node: Any) -> Value:
        left, right = self.operands(node)
        if left.vector or right.vector:
            return vectors.combined(node, left, right)
        if (folded := self.folded(node, left, right)) is not None:
            return folded
        operator = "+" if isinstance(node, exp.Add) else "-"
        units = {value.column.unit for value in (left, right) if value.literal is None and not value.null}
        unit = units.pop() if len(units) == 1 else None
        column = described(self.widened(left, right), unit=unit)
        return Value(f"({self.wide(left, column)} {operator} {right.sql})", column)

    def product(self, node: Any) -> Value:
        left, right = self.operands(node)
        if left.vector or right.vector:
            return vectors.combined(node, left, right)
        if (folded := self.folded(node, left, right)) is not None:
            return folded
        column = described(self.widened(left, right), unit=product(left.column.unit, right.column.unit))
        return Value(f"({self.wide(left, column)} * {right.sql})", column)

    def quotient(self, node: Any) -> Value:
        """Integers divide to an integer, towards zero, as SQL does."""
        left, right = self.operands(node)
        if left.vector or right.vector:
            return vectors.combined(node, left, right)
        if (folded := self.folded(node, left, right)) is not None:
            return folded
        column = described(self.widened(left, right), unit=quotient(left.column.unit, right.column.unit))
        operator = "//" if column.datatype in INTEGERS else "/"
        return Value(f"({self.wide(left, column)} {operator} {right.sql})", column)

    def widened(self, left: Value, right: Value) -> str:
        """Numbers are computed in 64 bits: nothing wraps, and float32 columns lose no digits."""
        numbers = [value.column for value in (left, right) if not value.null]
        if not numbers:
            return "double"
        return "long" if wider(numbers[0], numbers[-1]) in INTEGERS else "double"

    def wide(self, value: Value, column: Any) -> str:
        return f"CAST({value.sql} AS {'BIGINT' if column.datatype == 'long' else 'DOUBLE'})"

    def folded(self, node: exp.Expr, left: Value, right: Value) -> Value | None:
        """The constant that an operation on two constants gives."""
        a, b = left.literal, right.literal
        if not isinstance(a, int | float) or not isinstance(b, int | float):
            return None
        operation = FOLDS[type(node)]
        try:
            found = operation(a, b)
        except ZeroDivisionError:
            raise fault(node, "a division by zero") from None
        except OverflowError:
            return None
        return self.constant(found) if math.isfinite(found) and abs(found) < LARGEST else None

    def concatenation(self, node: Any) -> Value:
        left, right = self.value(node.this), self.value(node.expression)
        for value, part in ((left, node.this), (right, node.expression)):
            if not value.text:
                raise fault(part, f"|| joins texts, not {value.kind}; CAST it to VARCHAR")
        column = described(text_type(left.column, right.column), arraysize="*")
        return Value(f"({left.sql} || {right.sql})", column)

    def cast(self, node: Any) -> Value:
        value, kind = self.value(node.this), node.args["to"]
        target = CASTS.get(kind.this)
        if target is None:
            return self.cast_region(node, value, kind)
        if value.array:
            raise fault(node, f"{value.kind} cannot be cast to {kind.sql()}")
        datatype, sql_type = target
        if value.column.datatype == "boolean" and datatype != "char":
            value = replace(value, sql=f"CAST({value.sql} AS INTEGER)")  # PostgreSQL casts it to no other
        if sql_type == "TIMESTAMP":
            if not (value.text or value.null):
                raise fault(
                    node, f"{value.kind} cannot be cast to {kind.sql()}; expected text: 2014-03-28T18:38:06"
                )
            sql = f"replace(CAST({read(value.sql, MOMENT, 'TIMESTAMP')} AS VARCHAR), ' ', 'T')"
            return Value(sql, described("char", arraysize="*", xtype="timestamp"))
        if datatype in INTEGERS and value.column.datatype in ("float", "double"):
            return Value(f"CAST(trunc({value.sql}) AS {sql_type})", plain(value.column, datatype=datatype))
        if datatype == "char":
            return self.cast_text(node, value, kind)
        if value.text and not value.null:
            found = whole(value.sql) if datatype in INTEGERS else read(value.sql, DECIMAL, "DOUBLE")
            return Value(f"CAST({found} AS {sql_type})", described(datatype))
        return Value(
            f"CAST({value.sql} AS {sql_type})", plain(value.column, datatype=datatype, arraysize=None)
        )

    def cast_text(self, node: Any, value: Value, kind: Any) -> Value:
        sql, datatype = f"CAST({value.sql} AS VARCHAR)", text_type(value.column)
        if not kind.expressions:
            if kind.this is exp.DType.CHAR:
                return Value(f"left({sql}, 1)", described(datatype, arraysize="1"))
            return Value(sql, described(datatype, arraysize="*"))
        written = str(kind.expressions[0].name)
        length = int(written) if written.isascii() and written.isdigit() else 0
        if not 1 <= length <= LONGEST_TEXT:
            raise fault(node, f"the length of a text is a whole number from 1 to {LONGEST_TEXT}")
        fixed = kind.this is exp.DType.CHAR
        sql = f"rpad({sql}, {length}, ' ')" if fixed else f"left({sql}, {length})"
        return Value(sql, described(datatype, arraysize=str(length) if fixed else f"{length}*"))

    def cast_region(self, node: Any, value: Value, kind: Any) -> Value:
        name = str(kind.args.get("kind") or kind.sql()).lower()
        if name not in ("point", "circle", "polygon"):
            raise fault(node, f"CAST to {kind.sql()} is not offered; expected {CAST_WORDS}")
        if not isinstance(value.literal, str):
            raise fault(node, f"CAST to {kind.sql()} takes a text in quotes with numbers in degrees")
        call = self.called(exp.Anonymous(this="CAST", expressions=[node.this]), [value])
        return from_text(call, value.literal, name)

    def call(self, node: Any) -> Value:
        declared = FUNCTIONS[node.this.upper()]
        arguments, distinct = node.expressions, False
        if arguments and isinstance(arguments[0], exp.Distinct):
            arguments, distinct = arguments[0].expressions, True
            if len(arguments) != 1:
                raise fault(node, "DISTINCT in an aggregate takes one value")
        star = bool(arguments) and isinstance(arguments[0], exp.Star)
        if star and declared.name != "COUNT":
            raise fault(node, f"{declared.name} takes a value, not *")
        if declared.aggregate:
            return self.aggregate(node, arguments, distinct, star)
        if declared.name == "ARR_MAP":
            return self.mapped(node, *arguments)
        values = [self.value(argument) for argument in arguments]
        found = declared.make(self.called(node, values))
        if len(found.sql) > LARGEST_SQL:
            raise fault(node, "the expression is too large; nest fewer functions")
        return found

    def called(
        self, node: exp.Anonymous, values: Sequence[Value], distinct: bool = False, star: bool = False
    ) -> Call:
        return Call(node, values, self.context, self.scope, self.likeness, distinct, star)

    def mapped(self, node: Any, expression: exp.Expr, array: exp.Expr) -> Value:
        """arr_map: in the expression, x is the element."""
        found = self.value(array)
        if not found.vector:
            raise fault(array, f"argument 2 of arr_map must be an array of numbers, not {found.kind}")
        variable, outside = f"x{len(self.elements)}", self.scope.inside
        self.elements.append(number(variable, unit=found.column.unit, ucd=found.column.ucd))
        self.scope.inside = "arr_map"
        body = self.number(expression)
        self.scope.inside = outside
        self.elements.pop()
        return vectors.mapped(found, variable, body)

    def aggregate(self, node: Any, arguments: list[exp.Expr], distinct: bool, star: bool) -> Value:
        name = node.this.upper()
        if self.scope.inside in NO_AGGREGATES:
            raise fault(
                node, f"{name} is an aggregate and cannot stand in {self.scope.inside} here; use HAVING"
            )
        if self.scope.inside == "aggregate":
            raise fault(node, f"{name} is an aggregate and cannot stand inside another one")
        mark, outside = len(self.scope.free), self.scope.inside
        self.scope.inside = "aggregate"
        values = [] if star else [self.value(argument) for argument in arguments]
        self.scope.inside, self.scope.aggregates = outside, True
        del self.scope.free[mark:]
        return FUNCTIONS[name].make(self.called(node, values, distinct, star))

    def scalar_query(self, node: Any) -> Value:
        met = self.scope.met
        query = self.query(node.this, self.scope)
        if len(query.columns) != 1:
            raise fault(node, f"a sub-query used as a value has one column, not {len(query.columns)}")
        return Value(f"({query.sql})", query.columns[0], fixed=self.scope.met == met)


def checked_number(node: exp.Expr, value: Value) -> Value:
    if not (value.numeric or value.null):
        raise fault(node, f"a number is expected here, not {value.kind}")
    return value


def constant_of(node: Any) -> int | float | str | None:
    """The number, with its sign, or the text that a node is; None where it is something else."""
    if isinstance(node, exp.Literal):
        return str(node.this) if node.is_string else _number(node)
    if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal) and not node.this.is_string:
        return -_number(node.this)
    return None


def _number(node: exp.Literal) -> int | float:
    text = str(node.this)
    if text.isdigit() and int(text) < LARGEST:
        return int(text)
    try:
        found = float(text)
    except ValueError:
        found = math.inf
    if not math.isfinite(found):
        raise fault(node, f"{text} is not a number that can be computed with")
    return found


def _divided(a: float, b: float) -> int | float:
    if isinstance(a, int) and isinstance(b, int):
        return int(math.copysign(abs(a) // abs(b), a * b)) if abs(a) < 2**52 else abs(a) // abs(b)
    return a / b


FOLDS: Mapping[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.Add: lambda a, b: a + b,
    exp.Sub: lambda a, b: a - b,
    exp.Mul: lambda a, b: a * b,
    exp.Div: _divided,
}
VALUES: Mapping[type[exp.Expr], Callable[[Expressions, Any], Value]] = {
    exp.Column: Expressions.column,
    exp.Literal: Expressions.literal,
    exp.Null: Expressions.null,
    exp.Paren: Expressions.paren,
    exp.Neg: Expressions.negative,
    exp.Add: Expressions.sum,
    exp.Sub: Expressions.sum,
    exp.Mul: Expressions.product,
    exp.Div: Expressions.quotient,
    exp.DPipe: Expressions.concatenation,
    exp.Cast: Expressions.cast,
    exp.Anonymous: Expressions.call,
    exp.Subquery: Expressions.scalar_query,
    exp.Bracket: Expressions.element,
}


def shape_of_column(field: Field) -> Shape | None:
    """The region that a column holds. ObsCore's `adql:REGION` is text: in our tables a circle in STC-S,
    around the columns s_ra and s_dec, which are indexed."""
    xtype = field.column.xtype
    if xtype in REGIONS and field.column.datatype in RANK:
        return column_shape(vectors.doubles(Value(field.sql, field.column)), xtype)
    if xtype != "adql:REGION" or not field.column.std:
        return None
    source = field.source.fields if field.source is not None and field.source.table is not None else ()
    named = {each.name: Value(each.sql, each.column, field=each) for each in source}
    words = [number(f"CAST(split_part({field.sql}, ' ', {place}) AS DOUBLE)") for place in (3, 4, 5)]
    return Shape("circle", (named.get("s_ra", words[0]), named.get("s_dec", words[1]), words[2]))
