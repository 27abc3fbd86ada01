"""Facts of collections that are tables alone: a million rows checked and laid out by column.

The rules are those of `encoder.catalogue` for one row; a test holds the two together.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from encoder import catalogue
from encoder.catalogue import CALIBRATIONS, EXTENTS, LABELS, MEDIA, NUMBERS, TEXTS, URI
from encoder.collection import UNSAFE, Collection, CollectionError
from encoder.spectrum import RefusedSpectrum
from index.content import Refusal
from index.engines.columns import selected
from index.rows import SEEN_SCHEMA

ROW = "number of the row"
SCALARS = {**NUMBERS, **LABELS, **{name: name for name in EXTENTS}}


def _literal(text: str | None) -> str:
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


class Held(Protocol):
    """Spectra that a release has already."""

    def strange_ids(self, collection: str, ids: pa.ChunkedArray) -> NDArray[np.int64]:
        """Ascending places of those `ids` that no spectrum of the collection has; NULL is nobody's."""

    def known(self, dids: pa.ChunkedArray) -> pa.ChunkedArray:
        """Which of many publisher DIDs are there: truth values."""


def read_facts(collection: Collection, held: Held | None = None) -> tuple[pa.Table, list[Refusal]]:
    """The spectra of a collection that nobody reads (columns of `SEEN_SCHEMA`), and the rows refused.

    Rows of spectra that are `held` are left out; the others keep the numbers that they have in the catalogue.
    """
    given = _given(collection)
    if held is not None and "publisher_did" not in given.column_names:  # else the id alone tells nothing
        given = given.take(pa.array(held.strange_ids(collection.name, given["spectrum_id"])))
    told = selected(_told(collection, given), given=given)
    if held is not None:
        told = told.filter(pc.invert(held.known(told["publisher_did"])))
    checked = selected(_checked(), given=_dated(told))
    refused = checked.filter(checked["reason"].is_valid())
    names = ("spectrum_id", "path", "reason")
    refusals = [
        Refusal(collection.name, spectrum_id, path, reason)
        for spectrum_id, path, reason in zip(*(refused[name].to_pylist() for name in names), strict=True)
    ]
    seen = checked.filter(checked["reason"].is_null()).select(SEEN_SCHEMA.names).cast(SEEN_SCHEMA)
    if not len(checked) and held is None:
        raise CollectionError(f"collection {collection.name}: no spectrum in {collection.config.path}")
    return seen, refusals


def _given(collection: Collection) -> pa.Table:
    """The catalogue under our names, in its own types, and the number of every row, from 1 on."""
    path = collection.table()
    renamed = collection.config.columns
    try:
        if path.suffix == ".parquet":
            table = parquet.read_table(path, pre_buffer=False)  # local files are read twice as fast so
        else:
            texts = dict.fromkeys([*catalogue.COLUMNS, *renamed.values()], pa.string())
            table = csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=texts))
    except (pa.ArrowException, OSError) as error:
        raise CollectionError(f"collection {collection.name}: {path.name} cannot be read: {error}") from error
    sources = {name: renamed.get(name, name) for name in sorted(catalogue.COLUMNS)}
    found = {name: table[source] for name, source in sources.items() if source in table.column_names}
    if "spectrum_id" not in found:
        raise CollectionError(
            f"collection {collection.name}: {path.name} has no column spectrum_id; "
            "name the catalogue's columns in [collection.columns]"
        )
    return pa.table({**found, ROW: np.arange(1, len(table) + 1)})


def _told(collection: Collection, given: pa.Table) -> str:
    """The statement that makes texts of what is text, numbers of what is a number, and identifiers."""
    defaults = collection.config.defaults

    def text(name: str) -> str:
        held = f"nullif(trim(CAST(\"{name}\" AS VARCHAR)), '')" if name in given.column_names else "NULL"
        return f"coalesce({held}, CAST({_literal(defaults.get(name) or None)} AS VARCHAR))"

    def number(name: str) -> str:
        """What a file holds as a number stays one; the rules on texts hold for it too."""
        kind = given.schema.field(name).type if name in given.column_names else pa.null()
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            return text(name)
        held = f"nullif(CAST(\"{name}\" AS DOUBLE), CAST('nan' AS DOUBLE))"
        return f"coalesce({held}, CAST({_literal(defaults.get(name) or None)} AS DOUBLE))"

    columns = {field: text(name) for name, field in TEXTS.items()} | {
        f"{field}_text": number(name) for name, field in SCALARS.items()
    }
    columns["spectrum_id"] = f"coalesce({text('spectrum_id')}, 'row ' || \"{ROW}\")"
    columns["path"] = f"coalesce({text('file')}, '')"
    columns["collection"] = _literal(collection.name)
    prefix = _literal(collection.publisher_did(""))
    made = f"{prefix} || regexp_replace(spectrum_id, '{UNSAFE.pattern}', '_', 'g')"
    listed = ", ".join(f'{sql} AS "{name}"' for name, sql in columns.items())
    given_did = text("publisher_did")
    return (
        f"WITH told AS (SELECT {listed}, {given_did} AS given_did FROM given)"  # noqa: S608
        f" SELECT *, coalesce(given_did, {made}) AS publisher_did FROM told"
    )


def _dated(told: pa.Table) -> pa.Table:
    """With what dates, units of flux and other rows say; a date that is none has its reason."""
    mjds, reasons = [], []
    for text in told["date_obs"].to_pylist():
        mjd, reason = _mjd(text) if text else (None, None)
        mjds.append(mjd)
        reasons.append(reason)
    units = told["flux_unit"].to_pylist()
    calibration = {unit: catalogue.flux_calibration(unit) for unit in set(units)}
    return (
        told.append_column("observed", pa.array(mjds, pa.float64()))
        .append_column("no_date", pa.array(reasons, pa.string()))
        .append_column("by_unit", pa.array([calibration[unit] for unit in units], pa.string()))
        .append_column("known_before", pa.array(_repeated(told["publisher_did"])))
    )


def _repeated(texts: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Whether an earlier row has the same text: dictionaries number texts as they come."""
    numbers = texts.combine_chunks().dictionary_encode().indices.to_numpy()
    highest = np.maximum.accumulate(np.append(-1, numbers))
    return np.asarray(numbers <= highest[:-1])


def _mjd(date_obs: str) -> tuple[float | None, str | None]:
    try:
        return catalogue.mjd_of(date_obs), None
    except RefusedSpectrum as refusal:
        return None, str(refusal)


def _checked() -> str:
    """The statement that gives every fact, and the first reason against the row."""
    numbers = ", ".join(f'{_number(field)} AS "{field}"' for field in SCALARS.values() if field != "mjd")
    texts = [field for name, field in TEXTS.items() if name not in ("locator", "flux_calibration")]
    reasons = ", ".join([*(_no_number(name, field) for name, field in SCALARS.items()), *_RULES])
    return (
        f"WITH n AS (SELECT *, {numbers}, coalesce({_number('mjd')}, observed) AS mjd FROM given)"  # noqa: S608
        f" SELECT {', '.join(texts)}, spectrum_id, collection, publisher_did, path,"
        " coalesce(locator, '') AS locator,"
        " 'none' AS layout, 'application/fits' AS media_type, NULL AS size,"
        " coalesce(flux_calibration, by_unit) AS flux_calibration,"
        f" {', '.join([*NUMBERS.values(), *LABELS.values()])}, CAST(n_pixels AS BIGINT) AS n_pixels,"
        " wave_min_aa * 1e-10 AS em_min, wave_max_aa * 1e-10 AS em_max,"
        f" coalesce({reasons}) AS reason FROM n"
    )


def _number(field: str) -> str:
    """NULL for NaN, as for what is empty."""
    value = f'TRY_CAST("{field}_text" AS DOUBLE)'
    return f"CASE WHEN isnan({value}) THEN NULL ELSE {value} END"


def _no_number(name: str, field: str) -> str:
    text, value = f'"{field}_text"', f'TRY_CAST("{field}_text" AS DOUBLE)'
    return (
        f"CASE WHEN {text} IS NOT NULL AND {value} IS NULL"
        f" THEN '{name} is not a number: ''' || {text} || ''''"
        f" WHEN isinf({value}) THEN '{name} is infinite: ''' || {text} || '''' END"
    )


def _word(name: str, allowed: tuple[str, ...]) -> str:
    listed = ", ".join(map(_literal, allowed))
    told = f"'{name} is ''' || {name} || '''; allowed: {', '.join(allowed)}'"
    return f"CASE WHEN {name} NOT IN ({listed}) THEN {told} END"


_RULES = (
    f"CASE WHEN NOT regexp_full_match(publisher_did, '{URI.pattern}')"
    " THEN 'publisher_did is no URI: ''' || publisher_did || '''' END",
    "CASE WHEN (ra IS NULL) <> (dec IS NULL) THEN"
    " 'half a position: ra_deg ' || coalesce(CAST(ra AS VARCHAR), 'None') ||"
    " ', dec_deg ' || coalesce(CAST(dec AS VARCHAR), 'None') END",
    "CASE WHEN NOT (ra BETWEEN 0 AND 360 AND dec BETWEEN -90 AND 90) THEN"
    " 'ra_deg ' || ra || ', dec_deg ' || dec || ' is no position (0–360, −90–90)' END",
    _word("wave_medium", MEDIA),
    _word("flux_calibration", CALIBRATIONS),
    "no_date",
    "CASE WHEN NOT (wave_min_aa > 0 AND wave_max_aa >= wave_min_aa)"
    " OR (wave_min_aa IS NULL) <> (wave_max_aa IS NULL)"
    " THEN 'wave_min_aa and wave_max_aa are no range in Ångström' END",
    "CASE WHEN NOT (n_pixels >= 1 AND n_pixels = floor(n_pixels) AND n_pixels < 1e12)"
    " THEN 'n_pixels is no whole number above 0: ' || n_pixels END",
    "CASE WHEN known_before THEN 'an earlier row has the same identifier ' || publisher_did END",
)
