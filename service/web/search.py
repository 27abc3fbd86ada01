"""What somebody typed into the search box: an identifier, a position or a name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.errors import UsageFault
from service.protocols.dali import finite, position

RADIUS = 1.0  # degrees, where none is typed
MAX_LENGTH = 400
DECIMAL = re.compile(r"[+-]?\d+(?:\.\d*)?|[+-]?\.\d+")
SEXAGESIMAL = re.compile(r"\d{1,2}\s*[:h\s]\s*\d{1,2}\s*[:m\s].*\d", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Identifier:
    """A publisher DID, or an upload's token."""

    did: str


@dataclass(frozen=True, slots=True)
class Around:
    """A circle on the sky, ICRS degrees."""

    ra: float
    dec: float
    radius: float


@dataclass(frozen=True, slots=True)
class Named:
    """Part of a name or of the archive's own identifier; `key` as catalogues normalise names."""

    text: str
    key: str


Search = Identifier | Around | Named


def read_search(text: str) -> Search:
    """`ivo://…` or `upload:…`; `ra dec [radius]` in degrees or sexagesimal; anything else is a name."""
    words = " ".join(text.split())
    if len(words) > MAX_LENGTH:
        raise UsageFault(f"The search is {len(words)} characters long; {MAX_LENGTH} are allowed")
    if words.startswith(("ivo://", "upload:")):
        return Identifier(words)
    numbers = words.replace(",", " ").split()
    if len(numbers) in (2, 3) and all(DECIMAL.fullmatch(number) for number in numbers):
        return _around(numbers[0], numbers[1], numbers[2] if len(numbers) == 3 else str(RADIUS))
    if SEXAGESIMAL.match(words):
        return _sexagesimal(words)
    return Named(words, name_key(words))


def _around(ra: str, dec: str, radius: str) -> Around:
    size = finite("the radius", radius)
    if not 0 < size <= 180:
        raise UsageFault(f"The radius is outside 0 to 180 degrees: {radius}")
    return Around(*position("the position", ra, dec), size)


def _sexagesimal(words: str) -> Around:
    from astropy.coordinates import SkyCoord

    try:
        place = SkyCoord(words, unit=("hourangle", "deg"), frame="icrs")
    except ValueError as error:
        raise UsageFault(
            f"This looks like a position but can not be read as one: {words} ({error})"
        ) from None
    return Around(float(place.ra.deg), float(place.dec.deg), RADIUS)


def name_key(name: str) -> str:
    """Upper case, no spaces, no zeros before a number: HD 005820 and hd5820 are HD5820."""
    joined = re.sub(r"[\s_]+", "", name).upper()
    return re.sub(r"(?<=[A-Z])0+(?=\d)", "", joined)
