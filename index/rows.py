"""What is known of the spectra, by column: rows of the published tables."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from encoder.recipe import Recipe
from encoder.spectrum import Facts
from index.catalogue import arrow_schema
from index.engines.columns import computed
from registry_metadata.columns import Table

Float32 = NDArray[np.float32]

VOTABLE = "application/x-votable+xml"
DATALINK = "application/x-votable+xml;content=datalink"
NOMINAL_APERTURE = 5 / 3600  # degrees, for regions of spectra whose aperture is not stated
VOTABLE_BYTES = 4_000  # of a spectrum as a VOTable: head, and
PIXEL_BYTES = 33  # three doubles in base64
MJD_EPOCH = datetime(1858, 11, 17)
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A spectrum that was read: its facts and what its pixels told."""

    facts: Facts
    n_pixels: int
    em_min: float  # metres in vacuum
    em_max: float


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What a model made of some of the spectra; `of` names them by their place in the list of those seen."""

    of: NDArray[np.int64]  # (n,)
    vectors: Float32  # (n, n_latent)
    sigmas: Float32  # (n, n_latent)
    labels: Float32  # (n, n_label), NaN where a label does not apply
    lo68: Float32
    hi68: Float32
    lo90: Float32
    hi90: Float32
    anomaly: Float32  # (n,)
    reasons: dict[int, str]  # why the others have none

    def taken(self, which: slice | NDArray[np.int64], of: NDArray[np.int64] | None = None) -> Embeddings:
        """Some of them, or all in another order; under other places where `of` gives them."""
        arrays = ("vectors", "sigmas", "labels", "lo68", "hi68", "lo90", "hi90", "anomaly")
        parts = {name: getattr(self, name)[which] for name in arrays}
        return replace(self, of=(self.of if of is None else of)[which], **parts)


def nothing(recipe: Recipe, reasons: dict[int, str]) -> Embeddings:
    """A model's embeddings of spectra that it can not use, for these reasons."""
    latents, labels = (np.empty((0, len(kind)), np.float32) for kind in (recipe.latents, recipe.labels))
    of, anomaly = np.empty(0, np.int64), np.empty(0, np.float32)
    return Embeddings(of, latents, latents, labels, labels, labels, labels, labels, anomaly, reasons)


@dataclass(frozen=True, slots=True)
class Words:
    """What a collection says of itself in every row."""

    publisher: str
    data_source: str = "survey"
    creator: str | None = None
    published: str | None = None  # ISO 8601 date
    reference: str | None = None


LABELS = ("teff", "logg", "feh", "rv", "redshift")  # that archives state
_TEXTS = [one.name for one in fields(Facts) if str(one.type).startswith("str")]
_NUMBERS = [one.name for one in fields(Facts) if str(one.type).startswith("float")]
SEEN_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _TEXTS),
        *((name, pa.float64()) for name in (*_NUMBERS, *LABELS)),
        *((name, pa.int64()) for name in ("size", "n_pixels")),
        *((name, pa.float64()) for name in ("em_min", "em_max")),
    ]
)
"""Spectra by column: fields of `Facts`, labels beside them, and what the pixels told, NULL where nobody read
them."""


FACTS_SCHEMA = pa.schema([("row_number", pa.int64()), *SEEN_SCHEMA, ("reasons", pa.string())])


def seen_table(seen: Sequence[Seen]) -> pa.Table:
    """The spectra by column; refuses labels for which no column is published."""
    unknown = {name for one in seen for name in one.facts.labels} - set(LABELS)
    if unknown:
        raise ValueError(f"no column for the labels {', '.join(sorted(unknown))}")
    columns = {name: [getattr(one.facts, name) for one in seen] for name in (*_TEXTS, *_NUMBERS, "size")}
    columns |= {name: [one.facts.labels.get(name) for one in seen] for name in LABELS}
    columns |= {name: [getattr(one, name) for one in seen] for name in ("n_pixels", "em_min", "em_max")}
    return pa.table({name: columns[name] for name in SEEN_SCHEMA.names}, schema=SEEN_SCHEMA)


def sky_order(seen: pa.Table) -> NDArray[np.int64]:
    """Places in `seen` by zones of half a degree in declination, right ascension, DID; unplaced ones last."""
    placed = pc.and_(pc.is_valid(seen["ra"]), pc.is_valid(seen["dec"]))
    zone = pc.if_else(placed, pc.floor(pc.multiply(seen["dec"], 2.0)), math.inf)
    keys = {"zone": zone, "ra": pc.if_else(placed, seen["ra"], 0.0), "did": seen["publisher_did"]}
    order = pc.sort_indices(pa.table(keys), [(name, "ascending") for name in keys])
    return np.asarray(order, np.int64)


def numbered(
    seen: pa.Table, words: Mapping[str, Words], reasons: Mapping[str, Mapping[int, str]], first: int = 0
) -> pa.Table:
    """`seen` with row numbers from `first` on, the limits of the exposures, the collections' own words, and
    by model why it left rows out."""
    start, stop = _exposures(seen)
    at = pc.index_in(seen["collection"], pa.array(list(words), pa.string()))
    told = {
        f"its_{one.name}": pa.array([getattr(word, one.name) for word in words.values()], pa.string()).take(
            at
        )
        for one in fields(Words)
    }
    mine = {name: seen[name] for name in seen.column_names}
    rows = pa.array(np.arange(first, first + len(seen)))
    whys = _reasons(reasons, len(seen))
    return pa.table({"row_number": rows, **mine, "t_start": start, "t_stop": stop, **told, "reasons": whys})


def _reasons(reasons: Mapping[str, Mapping[int, str]], n: int) -> pa.Array:
    """JSON texts (n,) from reasons by model and place."""
    words = np.full(n, "{}", object)
    for place in {place for by_place in reasons.values() for place in by_place}:
        words[place] = json.dumps({name: one[place] for name, one in reasons.items() if place in one})
    return pa.array(words, pa.string())


def _exposures(seen: pa.Table) -> tuple[pa.Array, pa.Array]:
    when = zip(*(seen[name].to_pylist() for name in ("date_obs", "mjd", "exposure")), strict=True)
    limits = [_limits(*one) for one in when]
    return tuple(pa.array([one[side] for one in limits], pa.float64()) for side in (0, 1))


def spectra_rows(table: Table, given: pa.Table) -> pa.Table:
    """doppel.spectra from `numbered` spectra."""
    return computed(SPECTRA, given, arrow_schema(table))


def obscore_rows(table: Table, given: pa.Table) -> pa.Table:
    """ivoa.obscore, in the same order."""
    return computed(OBSCORE, given, arrow_schema(table))


def facts_rows(given: pa.Table) -> pa.Table:
    """internal.facts: what the service needs to open the original file."""
    return given.select(FACTS_SCHEMA.names).cast(FACTS_SCHEMA)


def facts_of(row: Mapping[str, Any]) -> Facts:
    """The facts in a row of internal.facts; what a release was made without is unknown."""
    labels = {name: row[name] for name in LABELS if row[name] is not None}
    known = (name for name in (*_TEXTS, *_NUMBERS, "size") if name in row)
    return Facts(**{name: row[name] for name in known}, labels=labels)


def model_rows(
    table: Table, recipe: Recipe, dids: pa.ChunkedArray, embeddings: Embeddings, first: int = 0
) -> pa.Table:
    """doppel.<model>, ascending row numbers from `first` on; NaN becomes NULL. `dids` are of all spectra."""
    columns: dict[str, object] = {
        "row_number": embeddings.of + first,
        "ssa_pubdid": dids.take(pa.array(embeddings.of)).combine_chunks(),
        "anomaly": embeddings.anomaly,
        "embedding": vector_lists(embeddings.vectors),
    }
    for number, label in enumerate(recipe.labels):
        columns[f"{label.name}_pred"] = embeddings.labels[:, number]
        for part in ("lo68", "hi68", "lo90", "hi90"):
            columns[f"{label.name}_pred_{part}"] = getattr(embeddings, part)[:, number]
    for number, latent in enumerate(recipe.latents):
        columns[latent.name] = embeddings.vectors[:, number]
        columns[f"{latent.name}_sigma"] = embeddings.sigmas[:, number]
    schema = arrow_schema(table)
    return pa.table({field.name: _column(columns[field.name], field.type) for field in schema}, schema=schema)


def _column(values: object, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values.cast(kind)
    return pa.array(values, kind, from_pandas=True)


def vector_lists(vectors: Float32) -> pa.Array:
    """(n, d) as n lists."""
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def models_rows(table: Table, models: Sequence[tuple[Recipe, int, str]]) -> pa.Table:
    """doppel.models from recipe, number of embedded spectra, report."""
    rows = [_model(recipe, count, report) for recipe, count, report in models]
    return pa.Table.from_pylist(rows, schema=arrow_schema(table))


def _model(recipe: Recipe, count: int, report: str) -> dict[str, object]:
    return {
        "model": recipe.name,
        "model_id": recipe.model_id,
        "kind": recipe.kind,
        "wave_start": recipe.grid.start * 1e-10 if recipe.grid.pixels else None,
        "wave_stop": recipe.grid.stop * 1e-10 if recipe.grid.pixels else None,
        "pixels": recipe.grid.pixels or None,
        "min_coverage": recipe.min_coverage if recipe.grid.pixels else None,
        "n_latents": len(recipe.latents),
        "n_spectra": count,
        "default_preset": recipe.default_preset,
        "presets": " ".join(recipe.presets),
        "report": report,
    }


def latents_rows(table: Table, recipes: Sequence[Recipe]) -> pa.Table:
    """doppel.latents: one row per latent of each model."""
    rows = [
        {
            "model": recipe.name,
            "latent": latent.name,
            "latent_index": number,
            "block": latent.block,
            "label": latent.label,
            "latent_scale": latent.scale,
            "mutual_information": json.dumps(dict(latent.mutual_information)),
            "description": latent.description,
        }
        for recipe in recipes
        for number, latent in enumerate(recipe.latents)
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(table))


def exposure_limits(facts: Facts) -> tuple[float, float] | tuple[None, None]:
    """MJD between which the exposure lay; a date without time means the whole day."""
    return _limits(facts.date_obs, facts.mjd, facts.exposure)


def _limits(
    date_obs: str | None, mjd: float | None, exposure: float | None
) -> tuple[float, float] | tuple[None, None]:
    if date_obs and (parsed := _moment(date_obs)) is not None:
        moment, whole_day = parsed
        start = (moment - MJD_EPOCH).total_seconds() / DAY
        return start, start + (1.0 if whole_day else (exposure or 0.0) / DAY)
    if mjd is None:
        return None, None
    if mjd == math.floor(mjd):
        return mjd, mjd + 1.0
    return mjd, mjd + (exposure or 0.0) / DAY


def _moment(text: str) -> tuple[datetime, bool] | None:
    """The beginning, and whether only the date is known; None for what is no date."""
    try:
        return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=None), re.search(
            r"\dT\d", text
        ) is None
    except ValueError:
        return None


BANDS = (
    (1.2e-11, "Gamma-ray"),
    (1.0e-8, "X-ray"),
    (1.0e-7, "EUV"),
    (3.0e-7, "UV"),
    (1.0e-6, "Optical"),
    (1.0e-4, "Infrared"),
    (1.0e-2, "Millimeter"),
)  # terms of the messenger vocabulary, below these wavelengths in metres

# Published columns as expressions of those that `numbered` gives
_KILOBYTES = f"CAST(ceil(({VOTABLE_BYTES} + {PIXEL_BYTES} * n_pixels) / 1000) AS BIGINT)"
_TARGET = "coalesce(nullif(object, ''), spectrum_id)"
_TITLE = f"{_TARGET} || ' (' || collection || ')'"
_INSTRUMENT = "coalesce(nullif(instrument, ''), telescope)"
_PLACED = "ra IS NOT NULL AND dec IS NOT NULL"
_APERTURE = "aperture / 3600"
_RADIUS = f"coalesce({_APERTURE}, {NOMINAL_APERTURE!r}) / 2"
_MIDDLE, _WIDTH = "((em_min + em_max) / 2)", "(em_max - em_min)"
_POWER = f"coalesce(resolving_power, CASE WHEN fwhm <> 0 THEN {_MIDDLE} / (fwhm * 1e-10) END)"
_ENCODED = "url_encode(publisher_did)"
_LINKS = f"'/datalink/links?ID=' || {_ENCODED}"
_BANDPASS = " ".join(f"WHEN {_MIDDLE} < {limit!r} THEN '{term}'" for limit, term in BANDS)
_OWN = (
    *("spectrum_id", "object", "object_key", "object_class", "spectral_class", "line_class", "ra", "dec"),
    *("date_obs", "telescope", "wave_frame", "label_source", "notes", *LABELS),
)
SPECTRA: Mapping[str, str] = {
    **{name: name for name in ("row_number", *_OWN)},
    "ssa_pubdid": "publisher_did",
    "accref": f"'/spectra/' || {_ENCODED} || '.vot'",  # the DID fully encoded (SSA 1.1, 4.2.5.1)
    "mime": f"'{VOTABLE}'",
    "accsize": _KILOBYTES,
    "datalink_url": _LINKS,
    "preview_url": f"'/spectra/' || {_ENCODED} || '.png'",
    "ssa_length": "n_pixels",
    "ssa_model": "'Spectrum-1.1'",
    "ssa_dstype": "'Spectrum'",
    "ssa_dstitle": _TITLE,
    "ssa_pdate": "its_published",
    "ssa_cdate": "CAST(NULL AS VARCHAR)",
    "ssa_targname": _TARGET,
    "ssa_targclass": "object_class",
    "ssa_redshift": "redshift",
    "ssa_snr": "snr",
    "ssa_publisher": "its_publisher",
    "ssa_creator": "its_creator",
    "ssa_collection": "collection",
    "ssa_instrument": _INSTRUMENT,
    "ssa_datasource": "its_data_source",
    "ssa_creationtype": "'archival'",
    "ssa_reference": "its_reference",
    "ssa_targetpos": f"CASE WHEN {_PLACED} THEN [ra, dec] END",
    "ssa_location": f"CASE WHEN {_PLACED} THEN [ra, dec] END",
    "ssa_csysname": "'ICRS'",
    "ssa_region": f"CASE WHEN {_PLACED} THEN [ra, dec, {_RADIUS}] END",
    "ssa_aperture": _APERTURE,
    "ssa_spaceres": "spatial_resolution / 3600",
    "ssa_varampl": "variability",
    "ssa_creatordid": "creator_did",
    "ssa_dateobs": "(t_start + t_stop) / 2",
    "ssa_timeext": "exposure",
    "ssa_timestart": "t_start",
    "ssa_timestop": "t_stop",
    "ssa_timesi": "'86400 T'",
    "ssa_specmid": _MIDDLE,
    "ssa_specext": _WIDTH,
    "ssa_specstart": "em_min",
    "ssa_specend": "em_max",
    "ssa_binsize": f"CASE WHEN n_pixels > 1 THEN {_WIDTH} / (n_pixels - 1) END",
    "ssa_specres": f"CASE WHEN {_POWER} <> 0 THEN {_MIDDLE} / {_POWER} END",
    "resolving_power": _POWER,
    "ssa_bandpass": f"CASE WHEN em_min IS NULL THEN NULL {_BANDPASS} ELSE 'Radio' END",
    "ssa_spectralsi": "'1E-10 L'",
    "ssa_spectralucd": "'em.wl'",
    "ssa_spectralunit": "'Angstrom'",
    "ssa_fluxucd": "'phot.flux.density;em.wl'",
    "ssa_fluxunit": "flux_unit",
    "ssa_fluxcalib": "flux_calibration",
    "ssa_speccalib": "'ABSOLUTE'",
}
OBSCORE: Mapping[str, str] = {
    "row_number": "row_number",
    "dataproduct_type": "'spectrum'",
    "calib_level": "CASE WHEN flux_calibration = 'UNCALIBRATED' THEN 1 ELSE 2 END",
    "obs_collection": "collection",
    "obs_id": "spectrum_id",
    "obs_publisher_did": "publisher_did",
    "access_url": _LINKS,
    "access_format": f"'{DATALINK}'",
    "access_estsize": _KILOBYTES,
    "target_name": _TARGET,
    "s_ra": "ra",
    "s_dec": "dec",
    # as ObsCore's clients read it (ADQL 2.0's REGION, STC-S)
    "s_region": f"CASE WHEN {_PLACED} THEN 'Circle ICRS ' || ra || ' ' || dec || ' ' || {_RADIUS} END",
    "s_fov": _APERTURE,
    "s_resolution": "spatial_resolution",
    "s_xel1": "1",
    "s_xel2": "1",
    "t_min": "t_start",
    "t_max": "t_stop",
    "t_exptime": "exposure",
    "t_resolution": "exposure",
    "t_xel": "1",
    "em_min": "em_min",
    "em_max": "em_max",
    "em_res_power": _POWER,
    "em_xel": "n_pixels",
    "o_ucd": "'phot.flux.density;em.wl'",
    "pol_xel": "0",
    "facility_name": "telescope",
    "instrument_name": _INSTRUMENT,
    "obs_title": _TITLE,
    "target_class": "object_class",
    "obs_creator_name": "its_creator",
    "obs_creator_did": "creator_did",
    "obs_release_date": "its_published",
    "bib_reference": "its_reference",
    "data_rights": "'public'",
    "em_ucd": "'em.wl'",
    "em_calib_status": "'calibrated'",
    "o_calib_status": "CASE WHEN flux_calibration IN ('ABSOLUTE', 'RELATIVE', 'NORMALIZED')"
    " THEN lower(flux_calibration) END",
}
