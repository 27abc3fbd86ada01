"""What FORMAT=METADATA tells of SSA: every parameter, with the ranges of what is held (SSA 1.1, 6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlglot import exp

from index.release import OpenRelease
from registry_metadata.columns import Column
from service.formats.votable import InputParam
from service.kept import once_each
from service.limits import Limits
from service.protocols.constraints import (
    BANDS,
    CALIBRATIONS,
    DEFAULT_SIZE,
    FRAMES,
    NUMBERS,
    parameter_columns,
)
from service.protocols.descriptors import spaces
from service.protocols.spectra import (
    DISTANCE,
    REPEATS,
    SCORE,
    TABLE,
    alias,
    default_model,
    spelled_columns,
    table,
)
from service.protocols.where import SPECTRA, column
from service.query.build import call
from service.query.run import Question, answer

MAX_TOP = 100_000
FORMATS = ("all", "compliant", "native", "graphic", "votable", "fits", "csv", "metadata")
Range = tuple[float, float]


def metadata_columns(release: OpenRelease) -> tuple[Column, ...]:
    """All that an answer may have; the distance and its meaning only come with SIMILAR_TO."""
    return (SCORE, *spelled_columns(release), DISTANCE, REPEATS)


@once_each
def inputs(release: OpenRelease, limits: Limits) -> tuple[InputParam, ...]:
    """Every parameter as `INPUT:…`, with the ranges of what is held; found out once per release."""
    return tuple(all_inputs(release, limits))


def all_inputs(release: OpenRelease, limits: Limits) -> Iterator[InputParam]:
    ranges = held_ranges(release)
    yield from standard_inputs(ranges, release)
    taken = {"SIMILAR_TO", "SPACE"}
    model = default_model(release)
    for name in (TABLE, f"doppel.{model.name}"):
        for known in parameter_columns(release.tables[name]):
            if known.name.upper() not in taken:
                taken.add(known.name.upper())
                yield column_input(known, ranges)
    yield InputParam(
        "INPUT:SIMILAR_TO",
        ucd="meta.ref.ivoid",
        description="Publisher's identifier of a spectrum, or upload:<token>: rows come by likeness to it",
    )
    yield InputParam(
        "INPUT:SPACE",
        ucd="meta.code",
        description="What alike means: a preset, model:preset, or own weights as 'physics; teff:2'",
        options=spaces(release),
    )
    for name, words, high in (
        ("TOP", "Only so many rows, the best", MAX_TOP),
        ("MAXREC", "At most so many rows; more are marked as overflow", limits.max_rows),
    ):
        yield InputParam(f"INPUT:{name}", "int", None, description=words, minimum="0", maximum=str(high))


def standard_inputs(ranges: Mapping[str, Range], release: OpenRelease) -> Iterator[InputParam]:
    known = {c.name: c for c in release.tables[TABLE].columns}
    yield text_input("REQUEST", "queryData, the only operation", options=("queryData",), value="queryData")
    yield text_input(
        "POS",
        f"ra,dec[;frame] in decimal degrees, or several such pairs; frames {', '.join(FRAMES)}",
        unit="deg",
    )
    yield InputParam(
        "INPUT:SIZE",
        "double",
        None,
        str(DEFAULT_SIZE),
        unit="deg",
        description="Diameter of the circle around POS",
        minimum="0",
        maximum="360",
    )
    yield range_input(
        "BAND",
        known["ssa_specstart"],
        f"Wavelengths in vacuum, lo/hi, or one of {', '.join(BANDS)}",
        band_range(ranges),
    )
    yield text_input(
        "TIME", "Time of observation, start/end in ISO 8601; a year or a month means all of it", unit=None
    )
    yield text_input(
        "FORMAT",
        "Format of the spectra that the rows point to",
        options=("all", "compliant", "native", "graphic", "votable", "fits", "csv", "metadata"),
        value="compliant",
    )
    for name, words in (
        ("TARGETNAME", "Names of the object; * and ? stand for any characters"),
        ("TARGETCLASS", "Kinds of object: star, galaxy, qso, agn, sn"),
        ("COLLECTION", "Part of the collection's name"),
        ("PUBDID", "Publisher's identifier"),
        ("CREATORDID", "Creator's identifier"),
        ("MTIME", "Time of publication, start/end"),
    ):
        yield text_input(name, words)
    yield text_input(
        "COMPRESS", "Whether products may be packed; here they come as they are", options=("true", "false")
    )
    yield text_input("RUNID", "A name for the client's own task, written to the log")
    yield text_input("VERSION", "Version of the protocol", options=("1.1",), value="1.1")
    for name in ("FLUXCALIB", "WAVECALIB"):
        yield text_input(name, "Kind of calibration", options=CALIBRATIONS)
    for name, (where_, _) in NUMBERS.items():
        if where_ in known:
            yield range_input(name, known[where_], known[where_].description, ranges.get(where_))


def text_input(
    name: str, words: str, *, options: tuple[str, ...] = (), value: str = "", unit: str | None = None
) -> InputParam:
    return InputParam(f"INPUT:{name}", value=value, unit=unit, description=words, options=options)


def range_input(name: str, known: Column, words: str, held: Range | None) -> InputParam:
    """A parameter that takes lo/hi; MIN and MAX tell what is held."""
    low, high = (f"{end:.8g}" for end in held) if held else (None, None)
    return InputParam(
        f"INPUT:{name}",
        unit=known.unit,
        ucd=known.ucd,
        utype=known.ssa_utype or known.utype,
        description=words,
        minimum=low,
        maximum=high,
    )


def column_input(known: Column, ranges: Mapping[str, Range]) -> InputParam:
    if known.datatype in ("char", "unicodeChar"):
        return text_input(known.name.upper(), f"{known.description}; * and ? stand for any characters")
    return range_input(known.name.upper(), known, f"{known.description}, lo/hi", ranges.get(known.name))


def band_range(ranges: Mapping[str, Range]) -> Range | None:
    low, high = ranges.get("ssa_specstart"), ranges.get("ssa_specend")
    return (low[0], high[1]) if low and high else None


def held_ranges(release: OpenRelease) -> dict[str, Range]:
    """Smallest and largest value of every numeric column that is a parameter, where there is one."""
    spectra = [c.name for c in parameter_columns(release.tables[TABLE])]
    spectra += ["ssa_specstart", "ssa_specend", *(name for name, _ in NUMBERS.values())]
    model = default_model(release)
    own = [c.name for c in parameter_columns(release.tables[f"doppel.{model.name}"])]
    return {
        **column_ranges(release, TABLE, spectra),
        **column_ranges(release, f"doppel.{model.name}", own),
    }


def column_ranges(release: OpenRelease, name: str, columns: Sequence[str]) -> dict[str, Range]:
    described = release.tables[name]
    numeric = [c for c in columns if (d := described.column(c)) and d.datatype not in ("char", "unicodeChar")]
    numeric = list(dict.fromkeys(numeric))
    if not numeric:
        return {}
    ends = [alias(call(word, column(c)), f"{word}_{c}") for c in numeric for word in ("MIN", "MAX")]
    query = exp.select(*ends).from_(table(described.schema, described.name.partition(".")[2], SPECTRA))
    with answer(release, Question(query, 1), base_url="", references=None) as found:
        values = [cell for batch in found.batches for cell in batch.to_pylist()[0].values()]
    pairs = zip(numeric, values[::2], values[1::2], strict=True)
    return {c: (low, high) for c, low, high in pairs if low is not None and low == low}
