"""Functions that archives have come to expect: of the IVOA's catalogue and of GAVO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.query.call import Call
from service.query.healpix import healpix_center, healpix_index
from service.query.units import spectral
from service.query.value import MOMENT, Value, described, number, read, truth

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
    pattern = f"('(^|\\W)' || regexp_escape(lower({needle.sql})) || '($|\\W)')"
    return truth(f"regexp_matches(lower({haystack.sql}), {pattern})")


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
    """Counts of values below, in each of n bins from low to high, and above; NaN counts nowhere, as NULL."""
    value, low, high, bins = call.numbers()
    if not isinstance(bins.literal, int) or not 1 <= bins.literal <= 10_000:
        raise call.fault("the number of bins must be a whole number from 1 to 10000", 3)
    place = f"floor((CAST({value.sql} AS DOUBLE) - {low.sql}) / ({high.sql} - {low.sql}) * {bins.sql})"
    slot = f"CAST(greatest(-1, least({bins.sql}, {place})) AS INTEGER)"
    slots = f"list(CASE WHEN {value.sql} <= CAST('inf' AS DOUBLE) THEN {slot} END)"
    filtered = f"coalesce(len(list_filter({slots}, lambda other: other = slot)), 0)"
    counted = f"list_transform(range(-1, {bins.literal + 1}), lambda slot: {filtered})"
    return Value(counted, described("long", arraysize="*", ucd="meta.number"))


def to_mjd(call: Call) -> Value:
    moment = read(call.text(0).sql, MOMENT, "TIMESTAMP")
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
        ("ivo_healpix_center(hpxorder INTEGER, hpxindex BIGINT) -> POINT",),
        "The centre of a nested HEALPix cell of an order up to 29; NULL where there is no such cell",
        healpix_center,
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
