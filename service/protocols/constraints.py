"""What a request asks of spectra, in SSA's parameters (SSA 1.1, 4.1): shared by SSA and `/similar_to`.

Every scalar column of doppel.spectra and of the model's table is a parameter too: TEFF=5600/5900.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from registry_metadata.columns import Column, Table
from service.errors import UsageFault
from service.protocols.dali import Interval, Params, choose_word, finite, number, position
from service.protocols.ranges import (
    Reader,
    at_least,
    at_most,
    nearly,
    period,
    plain,
    range_list,
    words,
)

DEFAULT_SIZE = 1.0  # degrees, diameter
MAX_PLACES = 100
# By the names of www.ivoa.net/rdf/refframe, of STC-S and of equinoxes; astropy's name, empty for ICRS
FRAMES = {
    "ICRS": "",
    "FK5": "fk5",
    "J2000": "fk5",
    "FK4": "fk4",
    "B1950": "fk4",
    "GALACTIC": "galactic",
    "GALACTIC_II": "galactic",
    "SUPER_GALACTIC": "supergalactic",
    "ECLIPTIC": "barycentricmeanecliptic",
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
class Cones:
    """Around one of the places, ICRS degrees; `radius` is half of SSA's SIZE."""

    places: tuple[tuple[float, float], ...]
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


Condition = Cones | Overlap | Within | Words | Moments | Identifier | Listed


def conditions(params: Params, spectra: Table, model: Table | None) -> tuple[Condition, ...]:
    """All that the parameters ask; those that name nothing here are ignored (SSA 1.1, 8.7.1)."""
    readers: tuple[Callable[[Params], Iterator[Condition]], ...] = (
        _cones,
        _band,
        _times,
        lambda p: _numbers(p, spectra),
        _words,
        _identifiers,
        lambda p: _columns(p, spectra, of_model=False),
        lambda p: _columns(p, model, of_model=True) if model else iter(()),
    )
    return tuple(condition for read in readers for condition in read(params))


# --- the parameters of SSA 1.1, section 4.1 ---


def _cones(params: Params) -> Iterator[Condition]:
    size = params.one("SIZE")
    diameter = DEFAULT_SIZE if size is None else finite("SIZE", size)
    if not 0 <= diameter <= 360:
        raise UsageFault(f"SIZE is a diameter from 0 to 360 degrees, not {size}")
    text = params.one("POS")
    if text is not None:
        yield Cones(places(text), diameter / 2)


def places(text: str) -> tuple[tuple[float, float], ...]:
    """`ra,dec[,ra,dec…][;FRAME]` in decimal degrees as ICRS (SSA 4.1.1.1)."""
    coordinates, _, frame_name = text.partition(";")
    frame = FRAMES[choose_word("POS: the frame", frame_name or "ICRS", tuple(FRAMES))]
    numbers = [one.strip() for one in coordinates.split(",")]
    if len(numbers) % 2 or len(numbers) > 2 * MAX_PLACES:
        raise UsageFault(
            f"POS is not ra,dec[;frame] in decimal degrees, nor at most {MAX_PLACES} such pairs: {text}"
        )
    found = tuple(position("POS", lon, lat) for lon, lat in zip(numbers[::2], numbers[1::2], strict=True))
    return _icrs(found, frame) if frame else found


def _icrs(found: tuple[tuple[float, float], ...], frame: str) -> tuple[tuple[float, float], ...]:
    from astropy.coordinates import SkyCoord

    sky = SkyCoord(list(found), unit="deg", frame=frame).icrs
    return tuple(zip(sky.ra.deg.tolist(), sky.dec.deg.tolist(), strict=True))


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


NUMBERS: Mapping[str, tuple[str, Reader]] = {
    "SPECRP": ("resolving_power", at_least),
    "SNR": ("ssa_snr", at_least),
    "SPATRES": ("ssa_spaceres", at_most),
    "TIMERES": ("ssa_timeext", at_most),
    "APERTURE": ("ssa_aperture", nearly),
    "REDSHIFT": ("ssa_redshift", nearly),
    "VARAMPL": ("ssa_varampl", nearly),
}
"""Parameters that are ranges of a column, and what a single value of them means."""


def _numbers(params: Params, spectra: Table) -> Iterator[Condition]:
    for name, (column, single) in NUMBERS.items():
        text = params.one(name)
        if text is not None and spectra.column(column):
            yield Within(column, range_list(name, text, plain, single))


def _words(params: Params) -> Iterator[Condition]:
    text = params.one("TARGETNAME")
    if text is not None:  # a name may have a comma
        yield Words(
            "ssa_targname", tuple(dict.fromkeys([*words("TARGETNAME", text), text.strip()])), "object_key"
        )
    text = params.one("TARGETCLASS")
    if text is not None:
        yield Words("ssa_targclass", words("TARGETCLASS", text))
    text = params.one("COLLECTION")
    if text is not None:
        yield Words("ssa_collection", tuple(f"*{word}*" for word in words("COLLECTION", text)))
    for name, column in (("FLUXCALIB", "ssa_fluxcalib"), ("WAVECALIB", "ssa_speccalib")):
        text = params.one(name)
        if text is None:
            continue
        wanted = tuple(choose_word(name, word, CALIBRATIONS) for word in words(name, text))
        if "ANY" not in wanted:
            yield Words(column, wanted)


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


@lru_cache(maxsize=64)
def _by_parameter(table: Table) -> Mapping[str, Column]:
    return {column.name.upper(): column for column in parameter_columns(table)}


def _columns(params: Params, table: Table | None, *, of_model: bool) -> Iterator[Condition]:
    for name, column in _by_parameter(table).items() if table else ():
        text = params.one(name) if name in params.values else None
        if text is None:
            continue
        if column.datatype in ("char", "unicodeChar"):
            yield Words(column.name, words(name, text))
        else:
            yield Within(column.name, range_list(name, text, plain, nearly), of_model)
