"""Range lists as SSA 1.1 writes them (8.7.2): values and ranges in any order, open ends, whole years.

`a/b,c,/d,e/`; a range may also be written as DALI does: `a b`, `-Inf b`.
"""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from service.errors import UsageFault
from service.protocols.dali import Interval, mjd, number

MAX_VALUES = 1000
MJD = re.compile(r"\d{5,6}(\.\d*)?")
COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(?:(\d\d)(?:(\d\d)(\.\d+)?)?)?)?(Z|[+-]\d\d(?::?\d\d)?)?")
ORDINAL = re.compile(r"(\d{4})-(\d{3})(?!\d)(.*)")
TIME = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:[T ](?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?P<fraction>\.\d+)?)?)?)?)?)?"
    r"(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?"
)

Reader = Callable[[str, str], Interval]  # name and word → first and last value that the word stands for


def words(name: str, text: str) -> tuple[str, ...]:
    """The texts of a list with commas."""
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise UsageFault(f"{name} has no value in its list: {text}")
    return counted(name, found)


def counted(name: str, values: tuple[str, ...]) -> tuple[str, ...]:
    if len(values) > MAX_VALUES:
        raise UsageFault(f"{name} has {len(values)} values; at most {MAX_VALUES} are taken")
    return values


def range_list(name: str, text: str, ends: Reader, single: Reader | None = None) -> tuple[Interval, ...]:
    """The list as closed intervals, in its order; `single` reads what stands alone."""
    items = counted(name, tuple(item.strip() for item in text.split(",")))
    if not all(items):
        raise UsageFault(f"{name} has an empty value in its list: {text}")
    found = tuple(_range(name, item, ends, single or ends) for item in items)
    for item, (low, high) in zip(items, found, strict=True):
        if low == math.inf or high == -math.inf:
            raise UsageFault(f"{name} is beyond all numbers: {item}")
    return found


def _range(name: str, item: str, ends: Reader, single: Reader) -> Interval:
    if "/" in item:
        parts = item.split("/")
    else:
        parts = re.split(r"\s+(?!\d\d:)", item)  # DALI's spelling; `2012-01-01 10:00` is one time
        if len(parts) == 1:
            return single(name, item)
    if len(parts) != 2 or not any(part.strip() for part in parts):
        raise UsageFault(f"{name} is not a value or a range: {item}")
    low = _end(name, parts[0].strip(), ends, -math.inf)
    high = _end(name, parts[1].strip(), ends, math.inf)
    return min(low[0], high[0]), max(low[1], high[1])


def _end(name: str, word: str, read: Reader, absent: float) -> Interval:
    """An end that is left out, or DALI's infinity, is open."""
    if not word or re.fullmatch(r"[+-]?inf(inity)?", word, re.IGNORECASE):
        infinite = -math.inf if word.startswith("-") else math.inf if word else absent
        return infinite, infinite
    return read(name, word)


# --- what a word of a list stands for ---


def plain(name: str, word: str) -> Interval:
    value = number(name, word)
    return value, value


def nearly(name: str, word: str) -> Interval:
    """A single value stands for those that agree with it to six digits: columns may be float."""
    value = number(name, word)
    slack = abs(value) * 1e-6 if math.isfinite(value) else 0.0
    return value - slack, value + slack


def at_least(name: str, word: str) -> Interval:
    return number(name, word), math.inf


def at_most(name: str, word: str) -> Interval:
    return -math.inf, number(name, word)


def period(name: str, word: str) -> Interval:
    """First and last MJD of a year, month, day, hour, minute or second in ISO 8601; UTC without a zone.

    Calendar dates, extended or compact, and ordinal ones (`2012-034`); five or six digits are an MJD.
    """
    if MJD.fullmatch(word):
        return float(word), float(word)
    found = TIME.fullmatch(_extended(word))
    if not found or (found["zone"] and found["zone"] != "Z" and not found["hour"]):
        raise UsageFault(f"{name} is not a time as yyyy[-mm[-dd[Thh[:mm[:ss]]]]] or yyyy-ddd: {word}")
    given = [
        int(found[part]) if found[part] else None for part in ("month", "day", "hour", "minute", "second")
    ]
    month, day, hour, minute, second = given
    try:
        local = datetime(int(found["year"]), month or 1, day or 1, hour or 0, minute or 0, second or 0)
        start = local.replace(tzinfo=_zone(found["zone"])).astimezone(UTC)
        start += timedelta(seconds=float(found["fraction"] or 0))
        return mjd(start), mjd(start + _length(local, given))
    except (ValueError, OverflowError):
        raise UsageFault(f"{name} is not a time that exists: {word}") from None


def _extended(word: str) -> str:
    """A compact or ordinal date as year, month and day with hyphens."""
    if found := COMPACT.fullmatch(word):
        year, month, day, hour, minute, second, fraction, zone = (part or "" for part in found.groups())
        clock = ":".join(part for part in (hour, minute, second) if part)
        return f"{year}-{month}-{day}{'T' if clock else ''}{clock}{fraction}{zone}"
    if found := ORDINAL.fullmatch(word):
        year, days, rest = found.groups()
        if 1 <= int(days) <= 366 and int(year):
            day = datetime(int(year), 1, 1, tzinfo=UTC) + timedelta(days=int(days) - 1)
            return f"{day:%Y-%m-%d}{rest}" if day.year == int(year) else word
    return word


def _zone(text: str | None) -> timezone:
    """`Z`, `+01`, `+0100` or `+01:00`."""
    if text in (None, "", "Z"):
        return UTC
    digits = text.replace(":", "")
    away = timedelta(hours=int(digits[1:3]), minutes=int(digits[3:] or 0))
    return timezone(-away if digits.startswith("-") else away)


def _length(start: datetime, given: list[int | None]) -> timedelta:
    """How long the period is that is written no finer than this, less a millisecond.

    `given` are month, day, hour, minute and second, None where they are not written.
    """
    month, day, hour, minute, second = given
    if month is None:
        whole = timedelta(days=366 if calendar.isleap(start.year) else 365)
    elif day is None:
        whole = timedelta(days=calendar.monthrange(start.year, month)[1])
    elif hour is None:
        whole = timedelta(days=1)
    elif minute is None:
        whole = timedelta(hours=1)
    elif second is None:
        whole = timedelta(minutes=1)
    else:
        return timedelta()
    return whole - timedelta(milliseconds=1)
