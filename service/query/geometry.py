"""ADQL's geometry (2.1, 4.2) as the engine's arithmetic: degrees, ICRS, great circles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from service.query import regions, sphere
from service.query.call import Call
from service.query.value import Shape, Value, described, number, truth

Bind = Callable[[object], str]  # a constant → the parameter that stands for it
SYSTEMS = ("", "ICRS", "ICRS GEOCENTER", "ICRS BARYCENTER", "ICRS TOPOCENTER", "UNKNOWNFRAME")
XTYPES = {"point": "2", "circle": "3", "polygon": "*"}
HALF = math.pi / 360  # half an angle of one degree
TWICE = 360 / math.pi
BELOW_ONE = 1 - 2**-50  # keeps rounding from pushing the sine of a half angle above 1
LONG_RING = 2_000  # numbers; of a shorter polygon the edges are written one by one
MARGIN = 1e-9  # degrees by which bands are wider than the circle, for rounding


def shape_value(kind: str, parts: Sequence[Value]) -> Value:
    """The region as a value: an array as DALI has it, NULL where a number is."""
    return region_value(array_of(parts), Shape(kind, tuple(parts)))


def array_of(parts: Sequence[Value]) -> str:
    """The numbers as an array, NULL where one of them is."""
    known = " AND ".join(f"{part.sql} IS NOT NULL" for part in parts if part.constant is None)
    numbers = f"[{', '.join(f'CAST({part.sql} AS DOUBLE)' for part in parts)}]"
    return f"CASE WHEN {known} THEN {numbers} END" if known else numbers


def polygon_value(call: Call, parts: Sequence[Value]) -> Value:
    """The same of a polygon; a long one of constants is one parameter, not thousands in a long expression."""
    shape = Shape("polygon", tuple(parts))
    if len(parts) <= LONG_RING or (numbers := shape.constant) is None:
        return shape_value("polygon", parts)
    array = f"CAST({call.context.bind_list(numbers)} AS DOUBLE[])"
    return region_value(array, replace(shape, array=array))


def region_value(sql: str, shape: Shape) -> Value:
    ucd = "pos.eq" if shape.kind == "point" else "pos.outline"
    column = described("double", arraysize=XTYPES[shape.kind], xtype=shape.kind, unit="deg", ucd=ucd)
    return Value(sql, column, shape=shape)


def column_shape(sql: str, kind: str) -> Shape:
    """The region that an array column holds."""
    if kind == "polygon":
        return Shape(kind, (number(sql),))
    return Shape(kind, tuple(number(f"{sql}[{place}]") for place in range(1, int(XTYPES[kind]) + 1)))


def shape_of(call: Call, place: int, kinds: Sequence[str] = tuple(XTYPES)) -> Shape:
    """The argument as a region of one of the kinds."""
    shape = shape_at(call, place)
    if shape is None or shape.kind not in kinds:
        wanted, found = " or ".join(kind.upper() for kind in kinds), call.args[place].kind
        if shape is not None:
            found = f"a {shape.kind}"
        raise call.fault(f"argument {place + 1} of {call.name} must be a {wanted}, not {found}", place)
    return shape


def shape_at(call: Call, place: int) -> Shape | None:
    """The region that an argument is. What uploads hold is read when it is asked for, row by row."""
    value = call.args[place]
    source = value.field.source if value.field is not None else None
    if source is None or not source.uploaded or (value.column.xtype or "").lower() not in regions.OF_XTYPE:
        return value.shape
    tables, table, column = call.context.tables, source.sql.strip('"'), value.sql.rpartition(".")[2]
    try:
        kind, name = regions.beside(tables, table, column, value.column)
    except ValueError as problem:
        raise call.fault(str(problem), place) from None
    return column_shape(f"{source.alias}.{name}", kind)


def coordinates(call: Call) -> list[Value]:
    """The arguments without the coordinate system, points replaced by their numbers (ADQL 2.1, 4.2.5)."""
    places = list(range(len(call.args)))
    if places and isinstance(call.args[0].literal, str):
        system = call.args[0].literal.strip().upper()
        if system not in SYSTEMS:
            raise call.fault(
                f"the coordinate system {call.args[0].literal!r} is not known; expected 'ICRS' or ''", 0
            )
        places = places[1:]
    found = [(call.args[place], shape_at(call, place)) for place in places]
    if call.name == "POLYGON" and len({shape is not None for _, shape in found}) > 1:
        raise call.fault("the vertices of POLYGON must be all points or all numbers")
    numbers: list[Value] = []
    for value, shape in found:
        if shape is not None and shape.kind == "point":
            numbers += shape.parts
        elif value.numeric or value.null:
            numbers.append(value)
        else:
            raise call.fault(f"{call.name} takes numbers or points, not {value.kind}")
    return numbers


def constructor(kind: str, least: int, most: int | None = None) -> Callable[[Call], Value]:
    def make(call: Call) -> Value:
        parts = coordinates(call)
        if len(parts) < least or len(parts) > (most or least) or (kind == "polygon" and len(parts) % 2):
            raise call.fault(f"{call.name} has {len(parts)} numbers; expected {regions.expected(kind)}")
        check_constants(call, kind, parts)
        return polygon_value(call, parts) if kind == "polygon" else shape_value(kind, parts)

    return make


def check_constants(call: Call, kind: str, parts: Sequence[Value]) -> None:
    pairs = parts[:2] if kind in ("point", "circle") else parts
    for dec in pairs[1::2]:
        if isinstance(dec.literal, int | float) and not -90 <= dec.literal <= 90:
            raise call.fault(f"{call.name}: the declination {dec.literal} is not between -90 and 90 degrees")
    if kind == "circle" and isinstance(radius := parts[2].literal, int | float) and not 0 <= radius <= 180:
        raise call.fault(f"CIRCLE: the radius {radius} is not between 0 and 180 degrees")


def box(call: Call) -> Value:
    """A polygon whose corners are the centre plus and minus half the extents (ADQL 2.1, 4.2.10)."""
    parts = coordinates(call)
    if len(parts) != 4:
        raise call.fault("BOX takes ra, dec, width, height in degrees")
    constant = Shape("polygon", tuple(parts)).constant
    if constant is None:
        ra, dec, width, height = (part.sql for part in parts)
        east, west = f"({ra} + {width} / 2.0)", f"({ra} - {width} / 2.0)"
        north, south = f"({dec} + {height} / 2.0)", f"({dec} - {height} / 2.0)"
        corners = (west, south, east, south, east, north, west, north)
        return shape_value("polygon", [number(sql) for sql in corners])
    return constant_shape(call, "polygon", regions.box(*on_the_sky(call, "box", constant)))


def on_the_sky(call: Call, kind: str, numbers: Sequence[float]) -> regions.Numbers:
    try:
        return regions.checked(kind, numbers)
    except ValueError as problem:
        raise call.fault(f"{call.name}: {problem}") from None


def constant_shape(call: Call, kind: str, numbers: Sequence[float]) -> Value:
    parts = [Value(call.bind(n), described("double"), literal=n) for n in numbers]
    return polygon_value(call, parts) if kind == "polygon" else shape_value(kind, parts)


def region(call: Call) -> Value:
    """A literal in STC-S or DALI's form: `CIRCLE ICRS 10 20 1`, `POLYGON 1 2 3 4 5 6`, `BOX 1 2 3 4`."""
    return from_text(call, call.words(0))


def from_text(call: Call, text: str, kind: str = "") -> Value:
    """A region in words, or the numbers of one of a known kind."""
    try:
        return constant_shape(call, *regions.in_words(text, kind))
    except ValueError as problem:
        raise call.fault(f"{call.name}: {problem}", 0) from None


def separation(first: Sequence[Value], second: Sequence[Value]) -> str:
    """The angle between two points in degrees (haversine: to rounding when near, 12 mas near 180)."""
    return f"({TWICE!r} * asin(sqrt({BELOW_ONE!r} * {haversine(first, second)})))"


def haversine(first: Sequence[Value], second: Sequence[Value], bind: Bind | None = None) -> str:
    """The squared sine of half the angle between two points; `bind` takes what is known of constants."""
    (ra1, dec1), (ra2, dec2) = first, second
    across = f"pow(sin(({ra1.sql} - {ra2.sql}) * {HALF!r}), 2)"
    along = f"pow(sin(({dec1.sql} - {dec2.sql}) * {HALF!r}), 2)"
    return f"({along} + {cosine(dec1, bind)} * {cosine(dec2, bind)} * {across})"


def cosine(angle: Value, bind: Bind | None) -> str:
    if bind is not None and angle.constant is not None:
        return bind(math.cos(angle.constant * 2 * HALF))
    return f"cos({angle.sql} * {2 * HALF!r})"


def distance(call: Call) -> Value:
    """Great circle distance of two points, or of ra, dec, ra, dec."""
    if len(call.args) == 2:
        parts = [*shape_of(call, 0, ("point",)).parts, *shape_of(call, 1, ("point",)).parts]
    else:
        parts = call.numbers()
    check_constants(call, "polygon", parts)
    first, second = parts[:2], parts[2:]
    column = described("double", unit="deg", ucd="pos.angDistance")
    four = (parts[0], parts[1], parts[2], parts[3])
    return Value(separation(first, second), column, separation=four)


def near(bind: Bind, four: Sequence[Value], radius: Value, operator: str = "<=") -> str:
    """The condition that two points lie within a radius; bounds of both coordinates go first, which prune."""
    far, limit = separation(four[:2], four[2:]), radius.sql
    if radius.constant is not None and 0 <= radius.constant <= 90:
        chord = 2 * sine(radius.constant / 2)
        far, limit = f"4.0 * {haversine(four[:2], four[2:], bind)}", bind(chord * chord)
    return f"({band(bind, four, radius)} AND {far} {operator} {limit})"


def band(bind: Bind, four: Sequence[Value], radius: Value) -> str:
    one, other = (four[:2], four[2:]) if four[1].constant is None else (four[2:], four[:2])
    ra, dec = (angle.constant for angle in other)
    if dec is None or radius.constant is None:
        return f"abs({one[1].sql} - {other[1].sql}) <= {radius.sql} + {MARGIN!r}"
    reach = radius.constant + MARGIN
    found = f"{one[1].sql} BETWEEN {bind(dec - reach)} AND {bind(dec + reach)}"
    if ra is not None and abs(dec) + reach < 90:
        span = math.degrees(math.asin(sine(reach) / sine(90 - dec)))
        found += f" AND {lune(bind, one[0].sql, ra, span + MARGIN)}"
    return found


def lune(bind: Bind, ra: str, middle: float, span: float) -> str:
    """Right ascensions at most `span` from the middle, and those that are not given as 0 to 360 degrees."""
    west, east = (middle - span) % 360, (middle + span) % 360
    if west > east:
        return f"({ra} >= {bind(west)} OR {ra} <= {bind(east)})"
    return f"({ra} BETWEEN {bind(west)} AND {bind(east)} OR {ra} NOT BETWEEN 0.0 AND 360.0)"


def sine(angle: float) -> float:
    return math.sin(math.radians(angle))


def contains(call: Call) -> Value:
    """1 where the first region lies inside the second."""
    inner, outer = shape_of(call, 0), shape_of(call, 1)
    return cone(truth(inside(call, inner, outer)), inner, outer)


def cone(value: Value, inner: Shape, outer: Shape) -> Value:
    """Remembers the two points and the radius, so that a join by them can be planned."""
    if inner.kind != "point" or outer.kind != "circle":
        return value
    four = (inner.parts[0], inner.parts[1], outer.parts[0], outer.parts[1])
    return replace(value, separation=four, radius=outer.parts[2])


def inside(call: Call, inner: Shape, outer: Shape) -> str:
    match inner.kind, outer.kind:
        case "point", "point":
            return f"({separation(inner.parts, outer.parts)} = 0)"
        case "point", "circle":
            return near(call.bind, [*inner.parts, *outer.parts[:2]], outer.parts[2])
        case "point", "polygon":
            return in_polygon(call, inner, outer)
        case "circle", "circle":
            far = separation(inner.parts[:2], outer.parts[:2])
            return f"({far} + {inner.parts[2].sql} <= {outer.parts[2].sql})"
        case "circle", "polygon":
            clear = f"ring_distance({ring(outer)}, {pair(inner)}) >= {inner.parts[2].sql}"
            return f"({in_polygon(call, Shape('point', inner.parts[:2]), outer)} AND {clear})"
        case "polygon", "circle":
            return f"(ring_reach({ring(inner)}, {pair(outer)}) <= {outer.parts[2].sql})"
        case "polygon", "polygon":
            return f"ring_within({ring(inner)}, {ring(outer)})"
    return inside(call, inner, Shape("circle", (*outer.parts, number("0.0"))))  # in a point


def intersects(call: Call) -> Value:
    """1 where the regions share a point; with a POINT the same as CONTAINS (ADQL 2.1, 4.2.17)."""
    one, other = sorted(
        (shape_of(call, 0), shape_of(call, 1)), key=lambda shape: list(XTYPES).index(shape.kind)
    )
    if one.kind == "point":
        return cone(truth(inside(call, one, other)), one, other)
    if one.kind == "circle" and other.kind == "circle":
        radius = number(f"({one.parts[2].sql} + {other.parts[2].sql})")
        return truth(near(call.bind, [*one.parts[:2], *other.parts[:2]], radius))
    if one.kind == "circle":
        touches = f"ring_distance({ring(other)}, {pair(one)}) <= {one.parts[2].sql}"
        within = in_polygon(call, Shape("point", one.parts[:2]), other)
        return truth(f"({beside(call, one, other)}({within} OR {touches}))")
    return truth(f"rings_meet({ring(one)}, {ring(other)})")


def beside(call: Call, circle: Shape, polygon: Shape) -> str:
    """The beginning of a condition that a circle touches a polygon: of one with literal numbers the band of
    declinations goes first."""
    if polygon.constant is None:
        return ""
    low, high = (call.bind(edge) for edge in sphere.Polygon(polygon.constant).band())
    dec, radius = circle.parts[1].sql, circle.parts[2].sql
    return f"{dec} >= {low} - {radius} - {MARGIN!r} AND {dec} <= {high} + {radius} + {MARGIN!r} AND "


def pair(shape: Shape) -> str:
    """The position of a point or circle as two arguments."""
    return ", ".join(f"CAST({part.sql} AS DOUBLE)" for part in shape.parts[:2])


def ring(shape: Shape) -> str:
    """The numbers of a polygon as an array."""
    if shape.array or len(shape.parts) == 1:
        return shape.array or shape.parts[0].sql
    return array_of(shape.parts)


def in_polygon(call: Call, point: Shape, polygon: Shape) -> str:
    """As ring_holds, and quicker where all numbers are literals: the edges are found here, and the band of
    declinations goes first."""
    if polygon.constant is None:
        return f"ring_holds({ring(polygon)}, {pair(point)})"
    known = sphere.Polygon(polygon.constant)
    low, high = known.band()
    within = f"{point.parts[1].sql} BETWEEN {call.bind(low - MARGIN)} AND {call.bind(high + MARGIN)}"
    if polygon.array:
        return f"({within} AND ring_holds({ring(polygon)}, {pair(point)}))"
    ra, dec = (f"radians({part.sql})" for part in point.parts)
    crossings = [
        f"CAST((fmod({point.parts[0].sql} - {call.bind(edge.west)} + 720.0, 360.0) < {call.bind(edge.width)}"
        " AND "
        f"{call.bind(edge.x)} * cos({dec}) * cos({ra}) + {call.bind(edge.y)} * cos({dec}) * sin({ra})"
        f" + {call.bind(edge.z)} * sin({dec}) < 0) AS INTEGER)"
        for edge in known.edges()
    ]
    parity = "1" if not known.north_pole_inside else "0"
    return f"({within} AND ({added(crossings) or '0'}) % 2 = {parity})"


def added(parts: Sequence[str]) -> str:
    """A sum that is nested no deeper than it must be."""
    if len(parts) < 100:
        return " + ".join(parts)
    half = len(parts) // 2
    return f"({added(parts[:half])}) + ({added(parts[half:])})"


def area(call: Call) -> Value:
    """Square degrees."""
    shape = shape_of(call, 0)
    column = {"unit": "deg**2", "ucd": "phys.angArea"}
    if shape.kind == "point":
        return number(f"({shape.parts[0].sql} * 0.0)", **column)
    if shape.kind == "circle":
        factor = 4 * math.pi * (180 / math.pi) ** 2  # and no cosine, which is 1 for an aperture
        return number(f"({factor!r} * pow(sin({shape.parts[2].sql} * {HALF!r}), 2))", **column)
    return number(f"ring_area({ring(shape)})", **column)


def centroid(call: Call) -> Value:
    shape = shape_of(call, 0)
    if shape.kind == "polygon":
        return region_value(sql := f"ring_centroid({ring(shape)})", column_shape(sql, "point"))
    return shape_value("point", shape.parts[:2])


def coordinate(place: int) -> Callable[[Call], Value]:
    def make(call: Call) -> Value:
        ucd = ("pos.eq.ra", "pos.eq.dec")[place]
        part = shape_of(call, 0, ("point",)).parts[place]
        return number(f"CAST({part.sql} AS DOUBLE)", unit="deg", ucd=ucd)

    return make


def coordinate_system(call: Call) -> Value:
    shape_of(call, 0)
    return Value(call.bind("ICRS"), described("char", arraysize="*"), literal="ICRS")
