"""Nested HEALPix cells in the engine's arithmetic (Górski et al. 2005, ApJ 622, 759)."""

from __future__ import annotations

import math

from service.query.call import Call
from service.query.geometry import shape_of, shape_value
from service.query.value import Value, described, naming, number


def healpix_index(call: Call) -> Value:
    """The nested HEALPix cell at an order; from longitude and latitude, or from a point."""
    order = order_of(call)
    if len(call.args) == 2:
        ra, dec = shape_of(call, 1, ("point",)).parts
    else:
        ra, dec = call.number(1), call.number(2)
    known = f"CASE WHEN a IS NOT NULL AND d IS NOT NULL THEN {cell_of('a', 'd', order)} END"
    inner = naming(f"CAST({dec.sql} AS DOUBLE)", "d", known)
    cell = naming(f"CAST({ra.sql} AS DOUBLE)", "a", inner)
    return Value(cell, described("long", ucd="pos.healpix"))


def order_of(call: Call) -> int:
    order = call.args[0].literal
    if not isinstance(order, int) or not 0 <= order <= 29:
        raise call.fault("the HEALPix order must be a whole number from 0 to 29", 0)
    return order


def healpix_center(call: Call) -> Value:
    """The centre of a nested cell as a point; NULL where there is no such cell."""
    side, cell = 1 << order_of(call), f"CAST({call.integer(1).sql} AS BIGINT)"
    ra, dec = centre_of(cell, side)
    return shape_value("point", [number(ra, unit="deg"), number(dec, unit="deg")])


def centre_of(cell: str, side: int) -> tuple[str, str]:
    """Right ascension and declination in degrees, from the ring r of the cell and its place along it."""
    pixels = side * side
    known = naming(cell, "n", f"CASE WHEN n BETWEEN 0 AND {12 * pixels - 1} THEN n END")
    x, y = _gathered(f"(c % {pixels})"), _gathered(f"((c % {pixels}) >> 1)")
    ring = f"(c // {4 * pixels} + 2) * {side} - {x} - {y} - 1"
    reach = f"least(r, {4 * side} - r, {side})"  # of the ring, in cells along a quarter turn
    cap = f"2.0 * degrees(asin(CAST({reach} AS DOUBLE) / {side * math.sqrt(6)!r}))"
    dec = (
        f"CASE WHEN r < {side} THEN 90.0 - {cap} WHEN r > {3 * side} THEN {cap} - 90.0"
        f" ELSE degrees(asin(CAST({2 * side} - r AS DOUBLE) / {1.5 * side!r})) END"
    )
    turn = f"2 * ((c // {pixels}) % 4) + CASE WHEN c // {4 * pixels} = 1 THEN 0 ELSE 1 END"
    ra = f"fmod(({turn} + CAST({x} - {y} AS DOUBLE) / {reach}) * 45.0 + 360.0, 360.0)"
    found = (naming(known, "c", naming(ring, "r", place)) for place in (ra, dec))
    return next(found), next(found)


def _gathered(number_sql: str) -> str:
    """Bits at the even places of the number moved together."""
    steps = (
        (0, 0x5555555555555555),
        (1, 0x3333333333333333),
        (2, 0x0F0F0F0F0F0F0F0F),
        (4, 0x00FF00FF00FF00FF),
        (8, 0x0000FFFF0000FFFF),
        (16, 0x00000000FFFFFFFF),
    )
    found = number_sql
    for shift, mask in steps:
        found = naming(found, "v", f"(v | (v >> {shift})) & {mask}")
    return found


def cell_of(ra: str, dec: str, order: int) -> str:
    """Górski et al. 2005, ApJ 622, 759: face and place in the face, bits interleaved."""
    side = 1 << order
    z, turn = f"sin(radians({dec}))", f"(fmod({ra} + 720.0, 360.0) / 90.0)"
    up, down = (
        f"CAST(floor({side}.0 * (0.5 + {turn}) {sign} {side}.0 * {z} * 0.75) AS BIGINT)" for sign in "-+"
    )
    return _cell(z, turn, up, down, side)


def _cell(z: str, turn: str, up: str, down: str, side: int) -> str:
    up_face, down_face = f"({up} // {side})", f"({down} // {side})"
    belt_face = (
        f"CASE WHEN {up_face} = {down_face} THEN ({up_face} % 4) + 4"
        f" WHEN {up_face} < {down_face} THEN {up_face} % 4 ELSE ({down_face} % 4) + 8 END"
    )
    belt_x, belt_y = f"({down} % {side})", f"({side - 1} - ({up} % {side}))"
    quarter = f"least(3, CAST(floor({turn}) AS BIGINT))"
    inner, root = f"({turn} - {quarter})", f"({side}.0 * sqrt(3.0 * (1.0 - abs({z}))))"
    a = f"least({side - 1}, CAST(floor({inner} * {root}) AS BIGINT))"
    b = f"least({side - 1}, CAST(floor((1.0 - {inner}) * {root}) AS BIGINT))"
    belt = f"abs({z}) <= 2.0 / 3.0"
    face = f"CASE WHEN {belt} THEN {belt_face} WHEN {z} > 0 THEN {quarter} ELSE {quarter} + 8 END"
    x = f"CASE WHEN {belt} THEN {belt_x} WHEN {z} > 0 THEN {side - 1} - {b} ELSE {a} END"
    y = f"CASE WHEN {belt} THEN {belt_y} WHEN {z} > 0 THEN {side - 1} - {a} ELSE {b} END"
    return f"(({face}) * {side * side} + {_spread(x)} + 2 * {_spread(y)})"


def _spread(number_sql: str) -> str:
    """Bits of the number moved to the even places."""
    sql = f"({number_sql})"
    steps = (
        (16, 0x0000FFFF0000FFFF),
        (8, 0x00FF00FF00FF00FF),
        (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333),
        (1, 0x5555555555555555),
    )
    template = "{0}"
    for shift, mask in steps:
        template = f"list_transform([{template}], lambda v: (v | (v << {shift})) & {mask})[1]"
    return template.format(f"CAST({sql} AS BIGINT)")
