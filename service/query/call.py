"""One call of a function: its arguments lowered, and the checks that its declaration makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sqlglot import exp

from service.errors import UsageFault
from service.query.context import Context
from service.query.parse import fault
from service.query.scope import Scope
from service.query.value import DOUBLE, INT, INTEGERS, Value


class Likeness(Protocol):
    """What functions ask of the vectors."""

    def distance(self, call: Call) -> Value:
        """latent_distance."""

    def similar(self, call: Call) -> Value:
        """similar_to."""

    def squared(self, call: Call, left: Value, right: Value) -> None:
        """Takes note that the call is the squared distance of two vectors."""


@dataclass(frozen=True, slots=True)
class Call:
    """`scope` is that of the SELECT in which it stands; `likeness` answers what needs the vectors."""

    node: exp.Anonymous
    args: Sequence[Value]
    context: Context
    scope: Scope
    likeness: Likeness
    distinct: bool = False
    star: bool = False

    def bind(self, value: object) -> str:
        """The parameter that stands for a constant."""
        return self.context.bind(value)

    @property
    def name(self) -> str:
        return str(self.node.this).upper()

    def fault(self, message: str, place: int | None = None) -> UsageFault:
        parts = self.node.expressions
        return fault(parts[place] if place is not None and place < len(parts) else self.node, message)

    def number(self, place: int) -> Value:
        """The argument, which must be a number; NULL is one of datatype double."""
        value = self.args[place]
        if value.null:
            return replace(value, column=DOUBLE)
        if not value.numeric:
            raise self.fault(f"argument {place + 1} of {self.name} must be a number, not {value.kind}", place)
        return value

    def numbers(self) -> list[Value]:
        return [self.number(place) for place in range(len(self.args))]

    def integer(self, place: int) -> Value:
        value = self.number(place)
        if value.null:
            return Value("CAST(NULL AS INTEGER)", INT)
        if value.column.datatype not in INTEGERS:
            raise self.fault(f"argument {place + 1} of {self.name} must be an integer", place)
        return value

    def text(self, place: int) -> Value:
        value = self.args[place]
        if not value.text:
            raise self.fault(f"argument {place + 1} of {self.name} must be text, not {value.kind}", place)
        return value

    def words(self, place: int) -> str:
        """The argument, which must be a literal text."""
        literal = self.args[place].literal
        if not isinstance(literal, str):
            raise self.fault(f"argument {place + 1} of {self.name} must be a text in quotes", place)
        return literal
