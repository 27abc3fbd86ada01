"""What a request asks of spectra, in SSA's parameters and range lists: shared by SSA and `/similar_to`.

Ranges may be written as SSA does (`4e-7/7e-7`, open ends, lists with commas) or as DALI does (`4e-7 7e-7`,
`-Inf`). Every scalar column of doppel.spectra and of the model's table is a parameter too: TEFF=5600/5900.
"""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlglot import exp

from registry_metadata.columns import Column, Table
from service.errors import UsageFault
from service.protocols.dali import Interval, Params, choose_word, finite, iso, mjd, number, position
from service.query import build
from service.query.build import both, call, either, literal

DEFAULT_SIZE = 1.0  # degrees, diameter
MAX_VALUES = 1000
FRAMES = {
    "ICRS": "",
    "FK5": "fk5",
    "FK4": "fk4",
    "GALACTIC": "galactic",
    "ECLIPTIC": "barycentrictrueecliptic",
}
CALIBRATIONS = ("ABSOLUTE", "CALIBRATED", "RELATIVE", "NORMALIZED", "UNCALIBRATED", "ANY")

# Names of parts of the spectrum (www.ivoa.net/rdf/messenger) and of common filters, in metres.
BANDS: Mapping[str, Interval] = {
    "gamma-ray": (0.0, 1e-11),
    "x-ray": (1e-11, 1e-8),
    "euv": (1e-8, 1e-7),
    "uv": (1e-8, 3e-7),
    "optical": (3e-7, 1e-6),
    "infrared": (1e-6, 1e-4),
    "ir": (1e-6, 1e-4),
    "nir": (1e-6, 5e-6),
    "mir": (5e-6, 3e-5),
    "fir": (3e-5, 1e-4),
    "millimeter": (1e-4, 1e-2),
    "radio": (1e-2, math.inf),
    "u": (3.3e-7, 4.0e-7),
    "b": (3.9e-7, 4.9e-7),
    "v": (5.05e-7, 5.95e-7),
    "r": (5.5e-7, 7.9e-7),
    "i": (7.0e-7, 9.0e-7),
    "j": (1.1e-6, 1.4e-6),
    "h": (1.5e-6, 1.8e-6),
    "k": (2.0e-6, 2.4e-6),
    "halpha": (6.53e-7, 6.60e-7),
}


@dataclass(frozen=True, slots=True)
class Cone:
    """ICRS degrees; `radius` is half of SSA's SIZE."""

    ra: float
    dec: float
    radius: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """The spectrum's own interval, from column `low` to column `high`, meets one of the intervals."""

    low: str
    high: str
    intervals: tuple[Interval, ...]
    source_frame: bool = False  # the intervals are wavelengths at rest (BAND=…;source)


@dataclass(frozen=True, slots=True)
class Within:
    """The column's number lies in one of the intervals, both ends included."""

    column: str
    intervals: tuple[Interval, ...]
    of_model: bool = False  # a column of doppel.<model>, not of doppel.spectra


@dataclass(frozen=True, slots=True)
class Words:
    """The column's text is one of the patterns in any letter case; `*` and `?` are wildcards."""

    column: str
    patterns: tuple[str, ...]
    key: str | None = None  # column with the same names in capitals without blanks


@dataclass(frozen=True, slots=True)
class Moments:
    """The column's ISO time lies in one of the intervals of MJD."""

    column: str
    intervals: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Identifier:
    """The column is exactly this identifier."""

    column: str
    value: str


@dataclass(frozen=True, slots=True)
class Listed:
    """The column is one of these identifiers."""

    column: str
    values: tuple[str, ...]


Condition = Cone | Overlap | Within | Words | Moments | Identifier | Listed
Reader = Callable[[str, str], Interval]  # name and word → first and last value that the word stands for


def conditions(params: Params, spectra: Table, model: Table | None) -> tuple[Condition, ...]:
    """All that the parameters ask; those that name nothing here are ignored (SSA 1.1, 8.7.1)."""
    readers: tuple[Callable[[Params], Iterator[Condition]], ...] = (
        _cone,
        _band,
        _times,
        _numbers,
        _words,
        _identifiers,
        lambda p: _columns(p, spectra, of_model=False),
        lambda p: _columns(p, model, of_model=True) if model else iter(()),
    )
    return tuple(condition for read in readers for condition in read(params))


# --- the parameters of SSA 1.1, section 4.1 ---


def _cone(params: Params) -> Iterator[Condition]:
    size = params.one("SIZE")
    diameter = DEFAULT_SIZE if size is None else finite("SIZE", size)
    if not 0 <= diameter <= 360:
        raise UsageFault(f"SIZE is a diameter from 0 to 360 degrees, not {size}")
    text = params.one("POS")
    if text is not None:
        yield Cone(*icrs(text), diameter / 2)


def icrs(text: str) -> tuple[float, float]:
    """`ra,dec[;FRAME]` in decimal degrees as ICRS (SSA 4.1.1.1)."""
    coordinates, _, frame_name = text.partition(";")
    lon, comma, lat = coordinates.partition(",")
    if not comma:
        raise UsageFault(f"POS is not ra,dec[;frame] in decimal degrees: {text}")
    frame = FRAMES[choose_word("POS: the frame", frame_name or "ICRS", tuple(FRAMES))]
    ra, dec = position("POS", lon.strip(), lat.strip())
    if not frame:
        return ra, dec
    from astropy.coordinates import SkyCoord

    place = SkyCoord(ra, dec, unit="deg", frame=frame).icrs
    return float(place.ra.deg), float(place.dec.deg)


def _band(params: Params) -> Iterator[Condition]:
    text = params.one("BAND")
    if text is None:
        return
    values, _, qualifier = text.partition(";")
    source = choose_word("BAND: the qualifier", qualifier or "observer", ("source", "observer")) == "source"
    yield Overlap("ssa_specstart", "ssa_specend", range_list("BAND", values, _wavelength), source)


def _wavelength(name: str, word: str) -> Interval:
    """Metres in vacuum, or the name of a band."""
    if word.lower() in BANDS:
        return BANDS[word.lower()]
    try:
        metres = number(name, word)
    except UsageFault:
        known = ", ".join(BANDS)
        raise UsageFault(f"{name} is neither metres in vacuum nor one of {known}: {word}") from None
    if metres < 0:
        raise UsageFault(f"{name} is a wavelength in metres and not negative: {word}")
    return metres, metres


def _times(params: Params) -> Iterator[Condition]:
    text = params.one("TIME")
    if text is not None:
        yield Overlap("ssa_timestart", "ssa_timestop", range_list("TIME", text, period))
    text = params.one("MTIME")
    if text is not None:
        yield Moments("ssa_pdate", range_list("MTIME", text, period))


def period(name: str, word: str) -> Interval:
    """First and last MJD of a year, month, day, minute or second in ISO 8601, UTC; five digits are an MJD."""
    if re.fullmatch(r"\d{5,6}(\.\d*)?", word):
        return float(word), float(word)
    parts = re.fullmatch(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?)?)?)?Z?", word)
    if not parts:
        raise UsageFault(f"{name} is not a time as yyyy[-mm[-dd[Thh:mm[:ss]]]]: {word}")
    year, month, day, hour, minute, second = (int(part) if part else None for part in parts.groups()[:6])
    try:
        start = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0, tzinfo=UTC)
    except ValueError:
        raise UsageFault(f"{name} is not a time that exists: {word}") from None
    fraction = timedelta(seconds=float(parts[7] or 0))
    return mjd(start + fraction), mjd(start + fraction + _length(start, month, day, hour, second))


def _length(
    start: datetime, month: int | None, day: int | None, hour: int | None, second: int | None
) -> timedelta:
    """How long the period is that is written no finer than this, less a millisecond."""
    if month is None:
        whole = timedelta(days=366 if calendar.isleap(start.year) else 365)
    elif day is None:
        whole = timedelta(days=calendar.monthrange(start.year, month)[1])
    elif hour is None:
        whole = timedelta(days=1)
    elif second is None:
        whole = timedelta(minutes=1)
    else:
        return timedelta()
    return whole - timedelta(milliseconds=1)


def _plain(name: str, word: str) -> Interval:
    value = number(name, word)
    return value, value


def _nearly(name: str, word: str) -> Interval:
    """A single value stands for those that agree with it to six digits: columns may be float."""
    value = number(name, word)
    slack = abs(value) * 1e-6 if math.isfinite(value) else 0.0
    return value - slack, value + slack


def _at_least(name: str, word: str) -> Interval:
    return number(name, word), math.inf


def _at_most(name: str, word: str) -> Interval:
    return -math.inf, number(name, word)


NUMBERS: Mapping[str, tuple[str, Reader]] = {
    "SPECRP": ("resolving_power", _at_least),
    "SNR": ("ssa_snr", _at_least),
    "SPATRES": ("ssa_spaceres", _at_most),
    "TIMERES": ("ssa_timeext", _at_most),
    "APERTURE": ("ssa_aperture", _nearly),
    "REDSHIFT": ("ssa_redshift", _nearly),
}


def _numbers(params: Params) -> Iterator[Condition]:
    for name, (column, single) in NUMBERS.items():
        text = params.one(name)
        if text is not None:
            yield Within(column, range_list(name, text, _plain, single))


def _words(params: Params) -> Iterator[Condition]:
    for name, column in (("TARGETNAME", "ssa_targname"), ("TARGETCLASS", "ssa_targclass")):
        text = params.one(name)
        if text is not None:
            yield Words(column, _list(name, text), key="object_key" if name == "TARGETNAME" else None)
    text = params.one("COLLECTION")
    if text is not None:
        yield Words("ssa_collection", tuple(f"*{word}*" for word in _list("COLLECTION", text)))
    for name, column in (("FLUXCALIB", "ssa_fluxcalib"), ("WAVECALIB", "ssa_speccalib")):
        text = params.one(name)
        if text is None:
            continue
        words = tuple(choose_word(name, word, CALIBRATIONS) for word in _list(name, text))
        if "ANY" not in words:
            yield Words(column, words)


def _list(name: str, text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise UsageFault(f"{name} has no value in its list: {text}")
    return words


def _identifiers(params: Params) -> Iterator[Condition]:
    for name, column in (("PUBDID", "ssa_pubdid"), ("CREATORDID", "ssa_creatordid")):
        text = params.one(name)
        if text is not None:
            yield Identifier(column, text)


# --- parameters of our own: the columns ---


def parameter_columns(table: Table) -> Iterator[Column]:
    """Columns that are parameters under their own name: labels, predictions, latents, anomaly."""
    taken = {column for column, _ in NUMBERS.values()} | {"ra", "dec", "embedding"}
    for column in table.columns:
        plain = column.xtype is None and not column.name.startswith("ssa_") and not column.url
        if plain and column.name not in taken and column.name not in ("mime", "accsize", "redshift", "notes"):
            yield column


def _columns(params: Params, table: Table | None, *, of_model: bool) -> Iterator[Condition]:
    for column in parameter_columns(table) if table else ():
        name = column.name.upper()
        text = params.one(name) if name in params.values else None
        if text is None:
            continue
        if column.datatype in ("char", "unicodeChar"):
            yield Words(column.name, _list(name, text))
        else:
            yield Within(column.name, range_list(name, text, _plain, _nearly), of_model)


# --- range lists (SSA 1.1, 8.7.2) ---


def range_list(name: str, text: str, ends: Reader, single: Reader | None = None) -> tuple[Interval, ...]:
    """`a/b,c,/d,e/` as closed intervals, in any order; `single` reads what stands alone."""
    items = [item.strip() for item in text.split(",")]
    if len(items) > MAX_VALUES:
        raise UsageFault(f"{name} has {len(items)} values; at most {MAX_VALUES} are taken")
    if not all(items):
        raise UsageFault(f"{name} has an empty value in its list: {text}")
    found = tuple(_range(name, item, ends, single or ends) for item in items)
    for item, (low, high) in zip(items, found, strict=True):
        if low == math.inf or high == -math.inf:
            raise UsageFault(f"{name} is beyond all numbers: {item}")
    return found


def _range(name: str, item: str, ends: Reader, single: Reader) -> Interval:
    if "/" in item:
        words = item.split("/")
    else:
        words = re.split(r"\s+(?!\d\d:)", item)  # DALI's spelling; `2012-01-01 10:00` is one time
        if len(words) == 1:
            return single(name, item)
    if len(words) != 2 or not any(word.strip() for word in words):
        raise UsageFault(f"{name} is not a value or a range: {item}")
    low = _end(name, words[0].strip(), ends, -math.inf)
    high = _end(name, words[1].strip(), ends, math.inf)
    return (min(low[0], high[0]), max(low[1], high[1]))


def _end(name: str, word: str, read: Reader, absent: float) -> Interval:
    """An end that is left out, or DALI's infinity, is open."""
    if not word or re.fullmatch(r"[+-]?inf(inity)?", word, re.IGNORECASE):
        infinite = -math.inf if word.startswith("-") else math.inf if word else absent
        return infinite, infinite
    return read(name, word)


def iso_interval(interval: Interval) -> tuple[str | None, str | None]:
    """An interval of MJD as ISO times; None is an open end."""
    epoch = datetime(1858, 11, 17, tzinfo=UTC)
    low, high = (iso(epoch + timedelta(days=day)) if math.isfinite(day) else None for day in interval)
    return low, high


# --- conditions as a tree of ADQL ---

SPECTRA, MODEL = "s", "m"  # correlation names of doppel.spectra and of the model's table


def where(found: Iterable[Condition]) -> exp.Expr | None:
    """All conditions together; None where there are none."""
    return both(map(_tree, found))


def column(name: str, table: str = SPECTRA) -> exp.Column:
    return build.column(name, table)


def _tree(condition: Condition) -> exp.Expr:
    match condition:
        case Cone(ra, dec, radius):
            return build.cone(column("ra"), column("dec"), (ra, dec), radius)
        case Overlap():
            return _overlap(condition)
        case Within(name, intervals, of_model):
            table = MODEL if of_model else SPECTRA
            return one(_between(name, table, *interval) for interval in intervals)
        case Words():
            return one(_like(condition, pattern) for pattern in condition.patterns)
        case Moments(name, intervals):
            return one(_between(name, SPECTRA, *iso_interval(interval)) for interval in intervals)
        case Identifier(name, value):
            return build.one_of(column(name), sorted({value, value.replace(" ", "+")}))
        case Listed(name, values):
            return build.one_of(column(name), values)


def one(conditions: Iterable[exp.Expr]) -> exp.Expr:
    """At least one of them holds; there is one."""
    found = either(conditions)
    if found is None:
        raise ValueError("a list of conditions is empty")
    return found


def _between(name: str, table: str, low: float | str | None, high: float | str | None) -> exp.Expr:
    """The column's value from `low` to `high`; what is open on both sides only must not be NULL."""
    ends: list[exp.Expr] = []
    if low is not None and low != -math.inf:
        ends.append(exp.GTE(this=column(name, table), expression=literal(low)))
    if high is not None and high != math.inf:
        ends.append(exp.LTE(this=column(name, table), expression=literal(high)))
    return both(ends) or known(column(name, table))


def known(value: exp.Expr) -> exp.Expr:
    return exp.Not(this=exp.Paren(this=build.is_null(value)))


def _overlap(condition: Overlap) -> exp.Expr:
    if not condition.source_frame:
        return one(_meets(condition, interval) for interval in condition.intervals)
    at_rest = both(
        (
            build.equals(column("wave_frame"), "rest"),
            one(_meets(condition, interval) for interval in condition.intervals),
        )
    )
    elsewhere = either((build.differs(column("wave_frame"), "rest"), build.is_null(column("wave_frame"))))
    moved = both((elsewhere, one(_meets(condition, i, stretched=True) for i in condition.intervals)))
    return one(part for part in (at_rest, moved) if part is not None)


def _stretch() -> exp.Expr:
    """1 + redshift: how much longer wavelengths arrive than they were at the source."""
    redshift = call("COALESCE", column("ssa_redshift"), literal(0.0))
    return exp.Paren(this=exp.Add(this=literal(1.0), expression=redshift))


def _meets(condition: Overlap, interval: Interval, *, stretched: bool = False) -> exp.Expr:
    """The spectrum begins before the interval ends and ends after it begins."""
    ends: list[exp.Expr] = []
    for name, compare, end in ((condition.low, exp.LTE, interval[1]), (condition.high, exp.GTE, interval[0])):
        if math.isfinite(end):
            limit = literal(end)
            if stretched:
                limit = exp.Mul(this=limit, expression=_stretch())
            ends.append(compare(this=column(name), expression=limit))
    return both(ends) or known(column(condition.low))


def _like(condition: Words, pattern: str) -> exp.Expr:
    """Equal in any letter case, or like the pattern; for names also in the catalogue's own normal form."""
    text = column(condition.column)
    if "*" in pattern or "?" in pattern:
        return build.like(text, pattern.replace("*", "%").replace("?", "_"))
    same = build.equals(call("LOWER", text), pattern.lower())
    if condition.key is None:
        return same
    key = re.sub(r"[\s_]+", "", pattern).upper()
    return one((same, build.equals(column(condition.key), key)))
