"""Every function of our ADQL, declared once, for check, lowering, result metadata and capabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.query import geometry, mathematics, userdefined, vectors
from service.query.call import Call
from service.query.value import Value


@dataclass(frozen=True, slots=True)
class Function:
    """`forms` are signatures, one for each number of arguments (TAPRegExt 1.0, 2.4)."""

    name: str
    forms: tuple[str, ...]
    make: Callable[[Call], Value]
    description: str = ""
    udf: bool = False
    aggregate: bool = False
    arities: tuple[int, ...] | None = None  # where the forms do not tell; empty: any number

    def takes(self, n: int) -> bool:
        if self.arities is not None:
            return not self.arities or n in self.arities
        return any(n == _arguments(form) for form in self.forms)


@dataclass(frozen=True, slots=True)
class Declaration:
    """A user-defined function as the capabilities tell it."""

    form: str
    description: str


def _arguments(form: str) -> int:
    inside = (
        form.partition("(")[2].rpartition(")")[0]
        if "->" not in form
        else form.partition("(")[2].partition(")")[0]
    )
    return len(inside.split(",")) if inside.strip() else 0


def _f(name: str, arguments: str, make: Callable[[Call], Value], *others: str) -> Function:
    return Function(name, tuple(f"{name}({a})" for a in (arguments, *others)), make)


def _geo(name: str, form: str, make: Callable[[Call], Value], *arities: int) -> Function:
    return Function(name, (f"{name}({form})",), make, arities=arities)


_MATHEMATICS = (
    _f("ABS", "x", mathematics.same("abs({0})")),
    _f("CEILING", "x", mathematics.rounded("ceil")),
    _f("FLOOR", "x", mathematics.rounded("floor")),
    _f("DEGREES", "x", mathematics.real("degrees({0})", "deg")),
    _f("RADIANS", "x", mathematics.real("radians({0})", "rad")),
    _f("EXP", "x", mathematics.real("exp({0})")),
    _f("LOG", "x", mathematics.real("ln({0})")),
    _f("LOG10", "x", mathematics.real("log10({0})")),
    _f("MOD", "x, y", mathematics.modulo),
    _f("PI", "", lambda call: mathematics.PI),
    _f("POWER", "x, y", mathematics.power),
    _f("RAND", "", mathematics.random, "seed"),
    _f("ROUND", "x", mathematics.rounded("round"), "x, n"),
    _f("SQRT", "x", mathematics.square_root),
    _f("TRUNCATE", "x", mathematics.rounded("trunc"), "x, n"),
    _f("ACOS", "x", mathematics.real("acos({0})", "rad")),
    _f("ASIN", "x", mathematics.real("asin({0})", "rad")),
    _f("ATAN", "x", mathematics.real("atan({0})", "rad")),
    _f("ATAN2", "y, x", mathematics.real("atan2({0}, {1})", "rad")),
    _f("COS", "x", mathematics.real("cos({0})")),
    _f("COT", "x", mathematics.real("cot({0})")),
    _f("SIN", "x", mathematics.real("sin({0})")),
    _f("TAN", "x", mathematics.real("tan({0})")),
    _f("LOWER", "text", mathematics.text_case("lower")),
    _f("UPPER", "text", mathematics.text_case("upper")),
    _f("IN_UNIT", "x, 'unit'", mathematics.in_unit),
    Function("COALESCE", ("COALESCE(a, b, ...)",), mathematics.coalesce, arities=()),
)
_BITS = tuple(  # of a draft of ADQL 2.1 that clients still know
    Function(f"BITWISE_{word}", (f"BITWISE_{word}({arguments}) -> BIGINT",), make, words, udf=True)
    for word, arguments, make, words in (
        ("AND", "a BIGINT, b BIGINT", mathematics.bitwise("&"), "Bits that both numbers have"),
        ("OR", "a BIGINT, b BIGINT", mathematics.bitwise("|"), "Bits that one of the numbers has"),
        ("XOR", "a BIGINT, b BIGINT", mathematics.bitwise("xor"), "Bits in which the numbers differ"),
        ("NOT", "a BIGINT", mathematics.bitwise_not, "All bits of the number turned"),
    )
)
_AGGREGATES = (
    Function("COUNT", ("COUNT(x)",), mathematics.count, aggregate=True),
    Function("MIN", ("MIN(x)",), mathematics.extreme("min"), aggregate=True),
    Function("MAX", ("MAX(x)",), mathematics.extreme("max"), aggregate=True),
    Function("SUM", ("SUM(x)",), mathematics.total, aggregate=True),
    Function("AVG", ("AVG(x)",), mathematics.average, aggregate=True),
)
_VECTORS = tuple(
    Function(form.partition("(")[0].upper(), (form,), make, f"{words} (VECTORMATH)", udf=True)
    for form, make, words in (
        ("arr_dot(v ARRAY, w ARRAY) -> DOUBLE PRECISION", vectors.dot, "The scalar product of two arrays"),
        ("arr_sum(v ARRAY) -> DOUBLE PRECISION", vectors.total, "The sum of the elements"),
        ("arr_avg(v ARRAY) -> DOUBLE PRECISION", vectors.reduced("vec_mean"), "The mean of the elements"),
        ("arr_min(v ARRAY) -> DOUBLE PRECISION", vectors.reduced("vec_least"), "The smallest element"),
        ("arr_max(v ARRAY) -> DOUBLE PRECISION", vectors.reduced("vec_greatest"), "The largest element"),
        (
            "arr_stddev(v ARRAY) -> DOUBLE PRECISION", vectors.reduced("vec_deviation"),
            "The sample standard deviation of the elements",
        ),
        (
            "arr_count(v ARRAY) -> BIGINT", vectors.reduced("vec_known", "long"),
            "How many elements are not NULL",
        ),
        (
            "arr_map(expr_over_x DOUBLE PRECISION, v ARRAY) -> ARRAY", vectors.unread,
            "The expression for each element, which it calls x",
        ),
    )
)  # fmt: skip
_GEOMETRY = (
    _geo("POINT", "ra, dec", geometry.constructor("point", 2), 2, 3),
    _geo("CIRCLE", "ra, dec, radius", geometry.constructor("circle", 3), 2, 3, 4),
    _geo("BOX", "ra, dec, width, height", geometry.box, 3, 4, 5),
    _geo("POLYGON", "ra, dec, ra, dec, ra, dec, ...", geometry.constructor("polygon", 6, 20_000)),
    _geo("REGION", "'CIRCLE ra dec radius'", geometry.region, 1),
    _geo("CENTROID", "region", geometry.centroid, 1),
    _geo("COORD1", "point", geometry.coordinate(0), 1),
    _geo("COORD2", "point", geometry.coordinate(1), 1),
    _geo("COORDSYS", "region", geometry.coordinate_system, 1),
    _geo("AREA", "region", geometry.area, 1),
    _geo("DISTANCE", "point, point", geometry.distance, 2, 4),
    _geo("CONTAINS", "region, region", geometry.contains, 2),
    _geo("INTERSECTS", "region, region", geometry.intersects, 2),
)
_SIMILARITY = (
    Function(
        "LATENT_DISTANCE",
        (
            "latent_distance(did VARCHAR, ref VARCHAR) -> DOUBLE PRECISION",
            "latent_distance(did VARCHAR, ref VARCHAR, space VARCHAR) -> DOUBLE PRECISION",
        ),
        lambda call: call.likeness.distance(call),
        "How unlike two spectra are: 0 for the same, small for alike, NULL where one has no embedding. "
        "ref is a publisher DID or upload:<token>; space is 'preset' or 'model:preset', with weights of "
        "your own after a semicolon ('physics; teff:2, z07:0')",
        udf=True,
    ),
    Function(
        "SIMILAR_TO",
        (
            "similar_to(did VARCHAR, ref VARCHAR, k INTEGER) -> INTEGER",
            "similar_to(did VARCHAR, ref VARCHAR, k INTEGER, space VARCHAR) -> INTEGER",
        ),
        lambda call: call.likeness.similar(call),
        "1 where did is among the k spectra most alike to ref, the reference itself excluded, before any "
        "other condition; else 0",
        udf=True,
    ),
)
_USER_DEFINED = tuple(
    Function(u.forms[0].partition("(")[0].upper(), u.forms, u.make, u.description, True, u.aggregate)
    for u in userdefined.DECLARED
)
FUNCTIONS: Mapping[str, Function] = {
    function.name: function
    for function in (
        *_MATHEMATICS,
        *_BITS,
        *_AGGREGATES,
        *_GEOMETRY,
        *_SIMILARITY,
        *_VECTORS,
        *_USER_DEFINED,
    )
}


def declared_udfs() -> tuple[Declaration, ...]:
    """What the capabilities list: one form for each number of arguments, ours first."""
    return tuple(
        Declaration(form, function.description)
        for function in (*_SIMILARITY, *_VECTORS, *_USER_DEFINED, *_BITS)
        for form in function.forms
    )
