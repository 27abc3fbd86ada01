"""Vector mathematics on columns of arrays, as GAVO proposes it (ADQLVectorMath; feature VECTORMATH).

Elements and slices, arithmetic component by component, `arr_…` functions over the elements, and aggregates of
every component. What is missing, since one of two arrays is shorter, is NaN.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from registry_metadata.columns import Column
from service.query.call import Call
from service.query.parse import fault
from service.query.units import product, quotient
from service.query.value import Value, described, naming, number, plain

Make = Callable[[Call], Value]
WIDEST = 256  # components of a column whose aggregates are computed one by one: more are too much to plan
WORDS: dict[type, tuple[str, str]] = {
    exp.Add: ("vec_add", "+"), exp.Sub: ("vec_subtract", "-"),
    exp.Mul: ("vec_multiply", "*"), exp.Div: ("vec_divide", "/"),
}  # fmt: skip


def doubles(value: Value) -> str:
    """The array as DOUBLE[]."""
    return value.sql if value.column.datatype == "double" else f"CAST({value.sql} AS DOUBLE[])"


def size(column: Column) -> int | None:
    """How many elements each array has; None where that differs."""
    return int(column.arraysize) if column.arraysize and column.arraysize.isdigit() else None


def longer(left: Column, right: Column) -> str:
    sizes = size(left), size(right)
    return "*" if None in sizes else str(max(each for each in sizes if each is not None))


def combined(node: exp.Expr, left: Value, right: Value) -> Value:
    """Two vectors component by component, or a vector times or over a number."""
    function, sign = WORDS[type(node)]
    if left.vector and right.vector:
        unit = unit_of(node, left.column, right.column)
        column = described("double", arraysize=longer(left.column, right.column), unit=unit)
        pair = (left, right) if isinstance(node, exp.Sub) else None
        squared = left.difference if isinstance(node, exp.Mul) and twice(node.this, node.expression) else None
        sql = f"{function}({doubles(left)}, {doubles(right)})"
        return Value(sql, column, difference=pair, squared=squared)
    if isinstance(node, exp.Mul) and right.vector:
        left, right = right, left
    number_follows = right.numeric or right.null
    if not isinstance(node, exp.Mul | exp.Div) or not left.vector or not number_follows:
        raise fault(
            node,
            f"{left.kind} {sign} {right.kind} is not defined; expected two vectors, number * vector or "
            "vector / number; arr_map(expression of x, vector) does anything else",
        )
    unit = unit_of(node, left.column, right.column)
    column = described("double", arraysize=left.column.arraysize, unit=unit)
    function = "vec_scale" if isinstance(node, exp.Mul) else "vec_shrink"
    return Value(f"{function}({doubles(left)}, CAST({right.sql} AS DOUBLE))", column)


def unit_of(node: exp.Expr, left: Column, right: Column) -> str | None:
    match node:
        case exp.Mul():
            return product(left.unit, right.unit)
        case exp.Div():
            return quotient(left.unit, right.unit)
    return left.unit if left.unit == right.unit else None


def negative(value: Value) -> Value:
    column = described("double", arraysize=value.column.arraysize, unit=value.column.unit)
    return Value(f"vec_scale({doubles(value)}, CAST(-1 AS DOUBLE))", column)


def element(value: Value, place: Value) -> Value:
    """Counted from 1; NULL outside."""
    column = plain(value.column, arraysize=None, xtype=None)
    return Value(f"{value.sql}[greatest(CAST({place.sql} AS BIGINT), 0)]", column)


def part(value: Value, low: Value, high: Value) -> Value:
    """Both ends included; what lies outside the array is left out."""
    ends = f"greatest(CAST({low.sql} AS BIGINT), 1):greatest(CAST({high.sql} AS BIGINT), 0)"
    whole, length = size(value.column), "*"
    if whole is not None and isinstance(low.literal, int) and isinstance(high.literal, int):
        n = min(high.literal, whole) - max(low.literal, 1) + 1
        length = str(n) if n > 0 else "*"
    return Value(f"({value.sql})[{ends}]", plain(value.column, arraysize=length, ucd=value.column.ucd))


def vector(call: Call, place: int) -> Value:
    value = call.args[place]
    if not value.vector:
        raise call.fault(
            f"argument {place + 1} of {call.name} must be an array of numbers, not {value.kind}", place
        )
    return value


def dot(call: Call) -> Value:
    left, right = vector(call, 0), vector(call, 1)
    unit = product(left.column.unit, right.column.unit)
    found = number(f"vec_dot({doubles(left)}, {doubles(right)})", unit=unit)
    if left.difference is not None and twice(*call.node.expressions):
        call.likeness.squared(call, *left.difference)
    return found


def twice(one: exp.Expr, other: exp.Expr) -> bool:
    """Whether both are the same expression."""
    return one.unnest() == other.unnest()


def total(call: Call) -> Value:
    """The sum of the elements; that of (a - b) * (a - b) is a squared distance."""
    squared = vector(call, 0).squared
    if squared is not None:
        call.likeness.squared(call, *squared)
    return reduced("vec_total")(call)


def reduced(function: str, datatype: str = "double") -> Make:
    """A number computed from the elements."""

    def make(call: Call) -> Value:
        value = vector(call, 0)
        unit = value.column.unit if datatype == "double" else None
        return number(f"{function}({doubles(value)})", datatype, unit=unit)

    return make


def unread(call: Call) -> Value:
    """arr_map is read before its arguments are values (Expressions.mapped)."""
    raise call.fault("arr_map takes an expression of x and an array")


def mapped(array: Value, variable: str, body: Value) -> Value:
    """The expression for each element, NULL for a missing array; `variable` is the engine's name of `x`."""
    change = f"lambda {variable}: CAST({body.sql} AS DOUBLE)"
    if array.field is not None:
        sql = f"CASE WHEN {array.sql} IS NOT NULL THEN list_transform({doubles(array)}, {change}) END"
    else:
        whole = f"{variable}s"
        sql = naming(
            doubles(array), whole, f"CASE WHEN {whole} IS NOT NULL THEN list_transform({whole}, {change}) END"
        )
    column = described("double", arraysize=array.column.arraysize, unit=body.column.unit)
    return Value(sql, column)


def aggregated(call: Call, whole: str, single: str) -> Value:
    """SUM, AVG, MIN or MAX of every component."""
    value = once(call)
    column = plain(value.column, datatype="double", ucd=None)
    return Value(components(value, single) or f"{whole}({value.sql})", column)


def counted(call: Call) -> Value:
    value = once(call)
    column = described("long", arraysize=value.column.arraysize, ucd="meta.number")
    return Value(components(value, "count") or f"vec_counts({value.sql})", column)


def once(call: Call) -> Value:
    if call.distinct:
        raise call.fault(f"{call.name}(DISTINCT …) takes numbers or text, not arrays")
    return call.args[0]


def components(value: Value, function: str) -> str | None:
    """The aggregate of each component by itself, for published columns whose arrays are all as long."""
    n, source = size(value.column), value.field.source if value.field is not None else None
    if n is None or n > WIDEST or source is None or source.table is None:
        return None
    each = (f"{function}(CAST({value.sql}[{place}] AS DOUBLE))" for place in range(1, n + 1))
    return f"CASE WHEN count({value.sql}) > 0 THEN [{', '.join(each)}] END"
