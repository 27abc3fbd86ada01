"""What all protocols share of DALI 1.1: reading parameters, and the literals they are written in."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from service.errors import UsageFault

if TYPE_CHECKING:
    from starlette.datastructures import UploadFile
    from starlette.requests import Request

Interval = tuple[float, float]
MAX_FIELDS = 20_000
MAX_FILES = 32


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters of one request: names upper case, values as sent, empty values left out (DALI 4.1)."""

    values: Mapping[str, tuple[str, ...]]
    files: Mapping[str, UploadFile]  # by the part's own name, letter case kept (`param:<name>` refers to it)

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]], files: Mapping[str, UploadFile] | None = None) -> Params:
        values: dict[str, list[str]] = {}
        for name, value in pairs:
            if value.strip():
                values.setdefault(name.upper(), []).append(value)
        return cls({name: tuple(given) for name, given in values.items()}, files or {})

    def all(self, name: str) -> tuple[str, ...]:
        return self.values.get(name.upper(), ())

    def one(self, *names: str) -> str | None:
        """The value of a single-valued parameter under any of its names; twice is refused (DALI 4.2)."""
        found = [value for name in names for value in self.all(name)]
        if len(found) > 1:
            raise UsageFault(f"{'/'.join(names)} is given {len(found)} times: it takes one value")
        return found[0] if found else None

    def required(self, name: str) -> str:
        value = self.one(name)
        if value is None:
            raise UsageFault(f"The parameter {name} is missing")
        return value

    def integer(self, name: str, low: int | None = None, high: int | None = None) -> int | None:
        text = self.one(name)
        return None if text is None else whole_number(name, text, low, high)

    def maxrec(self, default: int, hard: int) -> int:
        """Rows to give at most: what MAXREC asks for, the default without it, never more than `hard`."""
        asked = self.integer("MAXREC", low=0)
        return min(default if asked is None else asked, hard)

    def pairs(self) -> list[tuple[str, str]]:
        return [(name, value) for name, values in self.values.items() for value in values]


async def request_params(request: Request) -> Params:
    """The parameters of a GET or a POST (urlencoded or multipart, query string included) in one form."""
    pairs = list(request.query_params.multi_items())
    files: dict[str, UploadFile] = {}
    if request.method == "POST":
        form = await request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=16 * 1024 * 1024)
        request.state.form = form  # closed when the answer is out
        for name, value in form.multi_items():
            if isinstance(value, str):
                pairs.append((name, value))
            else:
                files[name] = value
    params = Params.of(pairs, files)
    request.state.runid = params.one("RUNID") or "-"
    return params


def whole_number(name: str, text: str, low: int | None = None, high: int | None = None) -> int:
    if not re.fullmatch(r"\s*[+-]?\d{1,18}\s*", text):
        raise UsageFault(f"{name} is not a whole number: {text}")
    value = int(text)
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = " to ".join(str(b) for b in (low, high) if b is not None)
        raise UsageFault(f"{name} is out of range: {text}; allowed {'from ' if high is None else ''}{bounds}")
    return value


def number(name: str, text: str) -> float:
    """A float as TABLEDATA spells it; NaN is no answer to any question and refused."""
    try:
        value = float(text)
    except ValueError:
        raise UsageFault(f"{name} is not a number: {text}") from None
    if math.isnan(value) or "_" in text:
        raise UsageFault(f"{name} is not a number: {text}")
    return value


def finite(name: str, text: str) -> float:
    value = number(name, text)
    if math.isinf(value):
        raise UsageFault(f"{name} must be finite: {text}")
    return value


def numbers(name: str, text: str, count: int | None = None) -> tuple[float, ...]:
    """Numbers with spaces between them, `count` of them where it is given."""
    values = tuple(number(name, word) for word in text.split())
    if count is not None and len(values) != count:
        raise UsageFault(f"{name} takes {count} numbers with spaces between, not {len(values)}: {text}")
    return values


def interval(name: str, text: str) -> Interval:
    """`low high`; one number stands for both (DALI 3.4)."""
    values = numbers(name, text)
    if len(values) not in (1, 2):
        raise UsageFault(f"{name} is not an interval of two numbers: {text}")
    return ordered(name, text, values[0], values[-1])


def ordered(name: str, text: str, low: float, high: float) -> Interval:
    if high < low:
        raise UsageFault(f"{name} runs backwards: {text}")
    return low, high


def position(name: str, lon: str, lat: str) -> tuple[float, float]:
    """ICRS longitude and latitude in degrees."""
    ra, dec = finite(name, lon), finite(name, lat)
    if not 0 <= ra <= 360:
        raise UsageFault(f"{name} has a longitude outside 0 to 360 degrees: {lon}")
    if not -90 <= dec <= 90:
        raise UsageFault(f"{name} has a latitude outside -90 to 90 degrees: {lat}")
    return ra, dec


def circle(name: str, text: str) -> tuple[float, float, float]:
    """`lon lat radius` in degrees (DALI 3.8)."""
    words = text.split()
    if len(words) != 3:
        raise UsageFault(f"{name} is not a circle of three numbers (lon lat radius): {text}")
    ra, dec = position(name, words[0], words[1])
    radius = finite(name, words[2])
    if not 0 <= radius <= 180:
        raise UsageFault(f"{name} has a radius outside 0 to 180 degrees: {words[2]}")
    return ra, dec, radius


def timestamp(name: str, text: str) -> datetime:
    """`YYYY-MM-DD['T'hh:mm:ss[.sss]['Z']]`, UTC (DALI 3.3); a year or month means its first moment."""
    word = text.strip().removesuffix("Z").replace(" ", "T")
    if re.fullmatch(r"\d{4}", word):
        word += "-01-01"
    if re.fullmatch(r"\d{4}-\d{2}", word):
        word += "-01"
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?", word):
        raise UsageFault(f"{name} is not a time as YYYY-MM-DDThh:mm:ss: {text}")
    try:
        return datetime.fromisoformat(_microseconds(word)).replace(tzinfo=UTC)
    except ValueError:
        raise UsageFault(f"{name} is not a time that exists: {text}") from None


def _microseconds(word: str) -> str:
    head, dot, fraction = word.partition(".")
    return f"{head}.{fraction[:6]:0<6}" if dot else head


def mjd(when: datetime) -> float:
    """Modified Julian Date of a moment in UTC."""
    return (when - datetime(1858, 11, 17, tzinfo=UTC)).total_seconds() / 86400.0


def iso(when: datetime) -> str:
    """A moment as every document of ours writes it: milliseconds, UTC, `Z`."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"


@dataclass(frozen=True, slots=True)
class MediaType:
    """`type/subtype; name=value`, compared without regard to case, spaces and quotes (D13)."""

    essence: str
    parameters: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> MediaType:
        essence, *rest = text.split(";")
        pairs = (part.partition("=") for part in rest if part.strip())
        return cls(
            essence.strip().lower(),
            tuple(
                sorted((name.strip().lower(), value.strip().strip("\"'").lower()) for name, _, value in pairs)
            ),
        )

    def parameter(self, name: str) -> str | None:
        return dict(self.parameters).get(name)


def client_of(request: Request) -> str:
    """Nobody logs in here: clients are told apart by the address they come from."""
    return request.client.host if request.client else "-"


def choose_word(name: str, text: str, allowed: Sequence[str]) -> str:
    """The allowed word that `text` spells in any letter case."""
    for word in allowed:
        if word.lower() == text.strip().lower():
            return word
    raise UsageFault(f"{name} is not known here: {text}; allowed are {', '.join(allowed)}")
