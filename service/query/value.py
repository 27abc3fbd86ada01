"""What an expression becomes: the engine's SQL beside everything that a FIELD tells of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from registry_metadata.columns import Column

if TYPE_CHECKING:
    from service.query.scope import Field, Source

INTEGERS = ("short", "int", "long")
RANK = {"short": 0, "int": 1, "long": 2, "float": 3, "double": 4}
REGIONS = ("point", "circle", "polygon")
UNKNOWN = Column("", "char", "*")  # of NULL


@dataclass(frozen=True, slots=True)
class Shape:
    """A region: the numbers of a point (ra, dec), circle (ra, dec, radius) or polygon (ra, dec, …); degrees.

    A polygon that is a column has its array as the only part; `array` is that of a long constant one.
    """

    kind: str
    parts: tuple[Value, ...]
    array: str = ""

    @property
    def constant(self) -> tuple[float, ...] | None:
        """The numbers, where all are literals."""
        found = tuple(number for part in self.parts if (number := part.constant) is not None)
        return found if len(found) == len(self.parts) else None


@dataclass(frozen=True, slots=True)
class Value:
    """`condition` is the truth value where the number is 1 or 0; `separation` ra, dec, ra, dec of two points,
    with `radius` where the condition is that they lie so near; `difference` the two vectors of which one is
    subtracted from the other, `squared` those whose difference is multiplied by itself; `fixed` one value for
    all rows. `bounded` takes note that WHERE lets it be no larger than a constant; `joined` gives the
    condition as a join, where it can be one, if told whether rows of a source may be repeated or left out."""

    sql: str
    column: Column
    literal: str | int | float | None = None
    shape: Shape | None = None
    field: Field | None = None
    condition: str | None = None
    separation: tuple[Value, Value, Value, Value] | None = None
    radius: Value | None = None
    difference: tuple[Value, Value] | None = None
    squared: tuple[Value, Value] | None = None
    fixed: bool = False
    bounded: Callable[[object], None] | None = None
    joined: Callable[[Callable[[Source | None], bool]], str | None] | None = None

    @property
    def constant(self) -> float | None:
        """The number, where it is a literal."""
        return float(self.literal) if isinstance(self.literal, int | float) else None

    @property
    def numeric(self) -> bool:
        return self.column.datatype in RANK and self.column.arraysize is None

    @property
    def text(self) -> bool:
        return self.column.text

    @property
    def null(self) -> bool:
        return self.sql == "NULL"

    @property
    def array(self) -> bool:
        return self.column.array

    @property
    def vector(self) -> bool:
        """An array of numbers that is no region."""
        return self.array and self.column.datatype in RANK and self.column.xtype not in REGIONS

    @property
    def kind(self) -> str:
        """For people."""
        if self.null:
            return "NULL"
        if self.text:
            return "text"
        if self.column.xtype in REGIONS:
            return f"a {self.column.xtype}"
        return "an array" if self.array else ("a number" if self.numeric else f"a {self.column.datatype}")


def described(datatype: str, **words: Any) -> Column:
    """A column of an expression, without a name."""
    return Column("", datatype, **words)


INT = described("int")
LONG = described("long")
DOUBLE = described("double")
TEXT = described("char", arraysize="*")


def number(sql: str, datatype: str = "double", **words: Any) -> Value:
    return Value(sql, described(datatype, **words))


def truth(condition: str) -> Value:
    """The 1 or 0 that ADQL has in place of a truth value."""
    return Value(f"CAST(({condition}) AS INTEGER)", INT, condition=condition)


def naming(value: str, name: str, expression: str) -> str:
    """The expression with a name for a value that it uses several times; the engine computes it once."""
    return f"list_transform([{value}], lambda {name}: {expression})[1]"


WHOLE = "^ *[-+]?[0-9]+ *$"
DECIMAL = "^ *[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]+)? *$"
MOMENT = "^ *[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-5][0-9]([.][0-9]+)?)?)?Z? *$"


def read(text: str, pattern: str, kind: str) -> str:
    """A text that matches the pattern as a value of the engine; another one is an error of the data."""
    cast = f"CAST({text} AS {kind}) ELSE CAST('refused: ' || {text} AS {kind})"
    return f"CASE WHEN regexp_matches({text}, '{pattern}') THEN {cast} END"


def whole(text: str) -> str:
    """A text as BIGINT; fractions are cut off, as they are of numbers."""
    fraction = f"CAST(trunc({read(text, DECIMAL, 'DOUBLE')}) AS BIGINT)"
    return f"CASE WHEN regexp_matches({text}, '{WHOLE}') THEN CAST({text} AS BIGINT) ELSE {fraction} END"


def wider(left: Column, right: Column) -> str:
    """The datatype that holds the numbers of both; at least int."""
    return max((left.datatype, right.datatype, "int"), key=lambda name: RANK[name])


def text_type(*columns: Column) -> str:
    """The datatype of a text made of these: unicodeChar where one of them may hold more than ASCII."""
    return "unicodeChar" if any(column.datatype == "unicodeChar" for column in columns) else "char"


def plain(column: Column, **words: Any) -> Column:
    """As much of a column's words as hold for a value computed from it."""
    return replace(
        column, utype=None, std=False, principal=False, indexed=False, did=False, url=False, ssa=None,
        ssa_utype=None, **words,
    )  # fmt: skip
