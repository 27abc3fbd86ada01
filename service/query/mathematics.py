"""Mathematics, text and aggregates with ADQL's meaning (ADQL 2.1, 2.3, 4.4, 4.8) in DuckDB's words."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

from registry_metadata.columns import Column
from service.query import vectors
from service.query.call import Call
from service.query.units import factor, product_of_powers
from service.query.value import (
    DOUBLE,
    INT,
    INTEGERS,
    LONG,
    RANK,
    TEXT,
    Value,
    described,
    number,
    plain,
    text_type,
)

Make = Callable[[Call], Value]


def real(template: str, unit: str | None = None) -> Make:
    """A function of numbers with a DOUBLE value; `{0}`, `{1}` stand for the arguments."""

    def make(call: Call) -> Value:
        arguments = [f"CAST({value.sql} AS DOUBLE)" for value in call.numbers()]
        return number(template.format(*arguments), unit=unit)

    return make


def same(template: str) -> Make:
    """A function whose value has the type and the words of its argument."""

    def make(call: Call) -> Value:
        value = call.number(0)
        return Value(template.format(value.sql), plain(value.column, ucd=value.column.ucd))

    return make


def rounded(name: str) -> Make:
    """ROUND and TRUNCATE to a number of decimal places, which may be negative."""

    def make(call: Call) -> Value:
        value = call.number(0)
        decimals = ""
        if len(call.args) == 2:
            places = call.integer(1).sql  # greatest and least pass over NULL
            decimals = f", CASE WHEN {places} < 400 THEN CAST(greatest(-400, {places}) AS INTEGER) "
            decimals += f"WHEN {places} >= 400 THEN 400 END"
        column = plain(value.column, datatype="double")
        return Value(f"{name}(CAST({value.sql} AS DOUBLE){decimals})", column)

    return make


def modulo(call: Call) -> Value:
    left, right = call.numbers()
    datatype = max(left.column.datatype, right.column.datatype, "int", key=lambda kind: RANK[kind])
    if datatype in INTEGERS:
        return Value(f"({left.sql} % {right.sql})", plain(left.column, datatype=datatype))
    sql = f"(CAST({left.sql} AS DOUBLE) % CAST({right.sql} AS DOUBLE))"
    return Value(sql, plain(left.column, datatype="double"))


def power(call: Call) -> Value:
    base, exponent = call.numbers()
    unit = product_of_powers(base.column.unit, exponent.literal)
    return number(f"power(CAST({base.sql} AS DOUBLE), CAST({exponent.sql} AS DOUBLE))", unit=unit)


def square_root(call: Call) -> Value:
    value = call.number(0)
    unit = product_of_powers(value.column.unit, 0.5)
    return number(f"sqrt(CAST({value.sql} AS DOUBLE))", unit=unit)


def random(call: Call) -> Value:
    """A number from 0 to 1; one with a seed is the same for the same seed, NULL for NULL."""
    if not call.args:
        return number("random()")
    seed = call.integer(0).sql
    share = f"CAST(hash({seed}) >> 11 AS DOUBLE) / 9007199254740992.0"
    return number(f"(CASE WHEN {seed} IS NOT NULL THEN {share} END)")


def bitwise(operator: str) -> Make:
    def make(call: Call) -> Value:
        left, right = call.integer(0), call.integer(1)
        wide = LONG if "long" in (left.column.datatype, right.column.datatype) else INT
        sql = f"xor({left.sql}, {right.sql})" if operator == "xor" else f"({left.sql} {operator} {right.sql})"
        return Value(sql, wide)

    return make


def bitwise_not(call: Call) -> Value:
    value = call.integer(0)
    return Value(f"(~{value.sql})", plain(value.column))


def text_case(name: str) -> Make:
    def make(call: Call) -> Value:
        value = call.text(0)
        return Value(f"{name}({value.sql})", plain(value.column))

    return make


def coalesce(call: Call) -> Value:
    """The first that is not NULL; all of one kind (ADQL 2.1, 4.8.1)."""
    column, sql = common(list(call.args), call), ", ".join(value.sql for value in call.args)
    return Value(f"COALESCE({sql})", column)


def common(values: list[Value], call: Call) -> Column:
    known = [value for value in values if not value.null]
    if not known:
        return TEXT
    first = known[0]
    for value in known[1:]:
        if (value.numeric, value.text, value.array) != (first.numeric, first.text, first.array):
            raise call.fault(f"{call.name} mixes {first.kind} and {value.kind}; expected one datatype")
    if not first.numeric:
        words = {"datatype": text_type(*(value.column for value in known))} if first.text else {}
        return replace(plain(first.column, **words), did=all(value.column.did for value in known))
    datatype = functools.reduce(
        lambda kind, value: max(kind, value.column.datatype, key=lambda name: RANK[name]), known, "short"
    )
    return plain(first.column, datatype=datatype)


def in_unit(call: Call) -> Value:
    """The number in another unit (ADQL 2.1, 4.9.1): a constant factor, never a guess."""
    value, wanted = call.number(0), call.words(1)
    try:
        scale = factor(value.column.unit, wanted)
    except ValueError as error:
        raise call.fault(f"IN_UNIT: {error}", 1) from None
    sql = f"(CAST({value.sql} AS DOUBLE) * {call.bind(scale)})"
    return Value(sql, plain(value.column, datatype="double", unit=wanted))


def count(call: Call) -> Value:
    if call.star:
        return Value("count(*)", described("long", ucd="meta.number"))
    if call.args[0].vector:
        return vectors.counted(call)
    return Value(f"count({_distinct(call)}{call.args[0].sql})", described("long", ucd="meta.number"))


def extreme(name: str) -> Make:
    def make(call: Call) -> Value:
        value = call.args[0]
        if value.vector:
            return vectors.aggregated(call, {"min": "vec_lows", "max": "vec_highs"}[name], name)
        if value.array:
            raise call.fault(f"{call.name} takes a number or text, not {value.kind}", 0)
        ucd = f"stat.{name};{value.column.ucd}" if value.column.ucd else None
        return Value(f"{name}({value.sql})", plain(value.column, ucd=ucd))

    return make


def total(call: Call) -> Value:
    if call.args[0].vector:
        return vectors.aggregated(call, "vec_sums", "sum")
    value = call.number(0)
    datatype = "long" if value.column.datatype in INTEGERS else "double"
    cast = value.sql if datatype == "long" else f"CAST({value.sql} AS DOUBLE)"
    return Value(f"sum({_distinct(call)}{cast})", plain(value.column, datatype=datatype, ucd=None))


def average(call: Call) -> Value:
    if call.args[0].vector:
        return vectors.aggregated(call, "vec_means", "avg")
    value = call.number(0)
    ucd = f"stat.mean;{value.column.ucd}" if value.column.ucd else None
    sql = f"avg({_distinct(call)}CAST({value.sql} AS DOUBLE))"
    return Value(sql, plain(value.column, datatype="double", ucd=ucd))


def _distinct(call: Call) -> str:
    return "DISTINCT " if call.distinct else ""


PI = Value("pi()", DOUBLE)
