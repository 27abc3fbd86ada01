"""`arr_dot(e - v, e - v)` with a constant v: distances spelt in vector mathematics, answered by the index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from service.query.call import Call
from service.query.context import Context
from service.query.parts import Parts
from service.query.value import Value

COLUMN = "embedding"
ROUNDING = 1 + 1e-9  # the engine sums in another order than the index
LARGEST = 1e15  # far beyond every latent; the search takes no more
POWERS, FACTORS = (0.25, 4.0), (1e-9, 1e9)


@dataclass(frozen=True, slots=True)
class Difference:
    """A published embedding and what is subtracted from it, or the other way round."""

    embedding: Value
    other: Value


class Straight:
    """The squared distances of one query, by the node that spells them; `run` asks the engine."""

    def __init__(self, context: Context, run: Callable[[str], pa.Table]) -> None:
        self.context, self.run = context, run
        self._by_node: dict[int, Difference] = {}

    def seen(self, call: Call, left: Value, right: Value) -> None:
        for embedding, other in ((left, right), (right, left)):
            if model_of(embedding) is not None:
                self._by_node[id(call.node)] = Difference(embedding, other)
                return

    def asked(self, parts: Parts, node: Any) -> tuple[Value, str, Any] | None:
        """The embedding, its model and the point (n_latent,) float64 where there is a TOP, and the first key
        sorts as the distance between them does."""
        while (inner := same_order(node)) is not None:
            node = inner
        found = self._by_node.get(id(node))
        if found is None or not parts.top or parts.scope.correlated or parts.grouped or parts.distinct:
            return None
        point = self.point(parts, found)
        return None if point is None else (found.embedding, str(model_of(found.embedding)), point)

    def point(self, parts: Parts, found: Difference) -> Any:
        """The constant vector (n_latent,) float64; None where it is none, or not of such numbers."""
        model = self.context.release.models[str(model_of(found.embedding))]
        values = self.constant(parts, found.other)
        if values is None or len(values) != len(model.recipe.latents) or None in values:
            return None
        point = np.asarray(values, np.float64)
        return point if (np.abs(point) < LARGEST).all() else None

    def constant(self, parts: Parts, value: Value) -> list[float] | None:
        """A scalar sub-query, or the column of an upload or a query with one row that is joined to all."""
        if value.fixed:
            found = self.run(f"SELECT {value.sql} AS v").column(0).to_pylist()
            return found[0] if found else None
        source = value.field.source if value.field is not None else None
        if source is None or source.table is not None or not parts.always_matches(source):
            return None
        sql = f"SELECT {value.sql} AS v FROM {source.sql} AS {source.alias} LIMIT 2"  # noqa: S608 (of ours)
        found = self.run(sql).column(0).to_pylist()
        return found[0] if len(found) == 1 else None


def same_order(node: Any) -> Any:
    """What rows could as well be sorted by, less a root, a power or a factor; None where there is none."""
    match node:
        case exp.Paren():
            return node.this
        case exp.Anonymous(this=str(name), expressions=[inner]) if name.upper() == "SQRT":
            return inner
        case exp.Anonymous(this=str(name), expressions=[inner, power]) if name.upper() == "POWER":
            return inner if is_between(power, POWERS) else None
        case exp.Mul() if is_between(node.this, FACTORS):
            return node.expression
        case exp.Mul() | exp.Div() if is_between(node.expression, FACTORS):
            return node.this
    return None


def is_between(node: Any, bounds: tuple[float, float]) -> bool:
    """Whether it is a literal number in these bounds, within which rounding changes no order that matters."""
    literal = isinstance(node, exp.Literal) and not node.is_string
    return literal and bounds[0] <= float(node.name) <= bounds[1]


def model_of(value: Value) -> str | None:
    """The model whose embedding the column is."""
    field = value.field
    if field is None or field.source is None or field.source.table is None or field.name != COLUMN:
        return None
    return field.source.table.model
