"""Functions that archives have come to expect: of the IVOA's catalogue and of GAVO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.query.call import Call
from service.query.units import spectral
from service.query.value import Value, described, number, truth

MJD_ZERO = "TIMESTAMP '1858-11-17 00:00:00'"


@dataclass(frozen=True, slots=True)
class UserDefined:
    forms: tuple[str, ...]
    description: str
    make: Callable[[Call], Value]
    aggregate: bool = False


def has_word(call: Call) -> Value:
    """The word as a whole, whatever its case."""
    haystack, needle = call.text(0), call.text(1)
    pattern = f"('(?i)(^|\\W)' || regexp_escape({needle.sql}) || '($|\\W)')"
    return truth(f"regexp_matches({haystack.sql}, {pattern})")


def hash_list_has(call: Call) -> Value:
    items, item = call.text(0), call.text(1)
    return truth(f"list_contains(string_split(lower({items.sql}), '#'), lower({item.sql}))")


def no_case_match(call: Call) -> Value:
    value, pattern = call.text(0), call.text(1)
    return truth(f"(lower({value.sql}) LIKE lower({pattern.sql}))")


def interval_overlaps(call: Call) -> Value:
    low1, high1, low2, high2 = call.numbers()
    return truth(f"({high1.sql} >= {low2.sql} AND {high2.sql} >= {low1.sql})")


def interval_has(call: Call) -> Value:
    """An interval is an array of its two ends (DALI 1.1, 3.3.3)."""
    value, interval = call.number(0), call.args[1]
    if not interval.array or interval.column.arraysize != "2":
        raise call.fault(f"argument 2 of {call.name} must be an interval, not {interval.kind}", 1)
    return truth(f"({value.sql} BETWEEN {interval.sql}[1] AND {interval.sql}[2])")


def joined_text(call: Call) -> Value:
    """The values in ascending order, so that the answer is always the same."""
    value, separator = call.text(0), call.words(1)
    sql = f"string_agg({value.sql}, {call.bind(separator)} ORDER BY {value.sql})"
    return Value(sql, described("unicodeChar", arraysize="*", ucd=value.column.ucd))


def histogram(call: Call) -> Value:
    """Counts of values below, in each of n bins from low to high, and above."""
    value, low, high, bins = call.numbers()
    if not isinstance(bins.literal, int) or not 1 <= bins.literal <= 10_000:
        raise call.fault("the number of bins must be a whole number from 1 to 10000", 3)
    place = f"floor((CAST({value.sql} AS DOUBLE) - {low.sql}) / ({high.sql} - {low.sql}) * {bins.sql})"
    slot = f"CAST(greatest(-1, least({bins.sql}, {place})) AS INTEGER)"
    slots = f"list(CASE WHEN {value.sql} IS NULL THEN NULL ELSE {slot} END)"
    filtered = f"len(list_filter({slots}, lambda other: other = slot))"
    counted = f"list_transform(range(-1, {bins.literal + 1}), lambda slot: {filtered})"
    return Value(counted, described("long", arraysize="*", ucd="meta.number"))


def to_mjd(call: Call) -> Value:
    moment = f"CAST({call.text(0).sql} AS TIMESTAMP)"
    sql = f"(epoch_us({moment}) - epoch_us({MJD_ZERO})) / 86400000000.0"
    return number(f"({sql})", unit="d", ucd="time.epoch")


def to_jd(call: Call) -> Value:
    return number(f"({to_mjd(call).sql} + 2400000.5)", unit="d", ucd="time.epoch")


def spectral_conversion(call: Call) -> Value:
    """Wavelength, frequency or energy into another of them, by unit."""
    value = call.number(0)
    try:
        sql = spectral(f"CAST({value.sql} AS DOUBLE)", value.column.unit, call.words(1))
    except ValueError as error:
        raise call.fault(f"{call.name}: {error}", 1) from None
    return number(sql, unit=call.words(1))


def healpix_index(call: Call) -> Value:
    """The nested HEALPix cell at an order; from longitude and latitude, or from a point."""
    order = call.args[0].literal
    if not isinstance(order, int) or not 0 <= order <= 29:
        raise call.fault("the HEALPix order must be a whole number from 0 to 29", 0)
    if len(call.args) == 2:
        shape = call.args[1].shape
        if shape is None or shape.kind != "point":
            raise call.fault(f"argument 2 of {call.name} must be a POINT", 1)
        ra, dec = shape.parts
    else:
        ra, dec = call.number(1), call.number(2)
    return Value(
        cell_of(f"CAST({ra.sql} AS DOUBLE)", f"CAST({dec.sql} AS DOUBLE)", order),
        described("long", ucd="pos.healpix"),
    )


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


DECLARED: tuple[UserDefined, ...] = (
    UserDefined(
        ("ivo_hasword(haystack VARCHAR, needle VARCHAR) -> INTEGER",),
        "1 where needle is a whole word of haystack, in any case; else 0", has_word,
    ),
    UserDefined(
        ("ivo_hashlist_has(hashlist VARCHAR, item VARCHAR) -> INTEGER",),
        "1 where item is one of the words that # separates in hashlist, in any case; else 0", hash_list_has,
    ),
    UserDefined(
        ("ivo_nocasematch(value VARCHAR, pattern VARCHAR) -> INTEGER",),
        "1 where value matches the LIKE pattern in any case; else 0", no_case_match,
    ),
    UserDefined(
        ("ivo_interval_overlaps(l1 DOUBLE PRECISION, h1 DOUBLE PRECISION, l2 DOUBLE PRECISION,"
         " h2 DOUBLE PRECISION) -> INTEGER",),
        "1 where the intervals [l1, h1] and [l2, h2] have a common point; else 0", interval_overlaps,
    ),
    UserDefined(
        ("ivo_interval_has(val DOUBLE PRECISION, iv INTERVAL) -> INTEGER",),
        "1 where the interval contains the number; else 0", interval_has,
    ),
    UserDefined(
        ("ivo_string_agg(expression VARCHAR, delimiter VARCHAR) -> VARCHAR",),
        "All values of the group in ascending order, with the delimiter between them", joined_text, True,
    ),
    UserDefined(
        ("ivo_histogram(val DOUBLE PRECISION, low DOUBLE PRECISION, high DOUBLE PRECISION,"
         " nbins INTEGER) -> BIGINT",),
        "An array of nbins + 2 counts: below low, in each bin, above high", histogram, True,
    ),
    UserDefined(
        ("ivo_healpix_index(hpxorder INTEGER, ra DOUBLE PRECISION, dec DOUBLE PRECISION) -> BIGINT",
         "ivo_healpix_index(hpxorder INTEGER, p POINT) -> BIGINT"),
        "The nested HEALPix cell of a position at an order up to 29", healpix_index,
    ),
    UserDefined(
        ("gavo_to_mjd(d TIMESTAMP) -> DOUBLE PRECISION",), "The modified Julian date of an ISO time", to_mjd,
    ),
    UserDefined(
        ("gavo_to_jd(d TIMESTAMP) -> DOUBLE PRECISION",), "The Julian date of an ISO time", to_jd,
    ),
    UserDefined(
        ("gavo_specconv(expr DOUBLE PRECISION, dest_unit VARCHAR) -> DOUBLE PRECISION",),
        "A wavelength, frequency or energy in another spectral unit; the unit of expr must be known",
        spectral_conversion,
    ),
)  # fmt: skip
