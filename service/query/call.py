"""One call of a function: its arguments lowered, and the checks that its declaration makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from service.errors import UsageFault
from service.query.parse import fault
from service.query.value import INTEGERS, Value

if TYPE_CHECKING:
    from service.query.similarity import Similarity


@dataclass(frozen=True, slots=True)
class Call:
    """`bind` makes a parameter of a constant; `similarity` answers the functions that need the vectors."""

    node: exp.Anonymous
    args: Sequence[Value]
    bind: Callable[[object], str]
    similarity: Similarity
    distinct: bool = False
    star: bool = False

    @property
    def name(self) -> str:
        return str(self.node.this).upper()

    def fault(self, message: str, place: int | None = None) -> UsageFault:
        parts = self.node.expressions
        return fault(parts[place] if place is not None and place < len(parts) else self.node, message)

    def number(self, place: int) -> Value:
        """The argument, which must be a number."""
        value = self.args[place]
        if not (value.numeric or value.null):
            raise self.fault(f"argument {place + 1} of {self.name} must be a number, not {value.kind}", place)
        return value

    def numbers(self) -> list[Value]:
        return [self.number(place) for place in range(len(self.args))]

    def integer(self, place: int) -> Value:
        value = self.number(place)
        if not value.null and value.column.datatype not in INTEGERS:
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
