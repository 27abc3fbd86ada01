"""What is known of the spectra, as rows of the published tables."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from encoder.recipe import Recipe
from encoder.spectrum import Facts
from index.catalogue import arrow_schema
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
    reasons: Mapping[int, str]  # why the others have none


@dataclass(frozen=True, slots=True)
class Words:
    """What a collection says of itself in every row."""

    publisher: str
    data_source: str = "survey"
    creator: str | None = None
    published: str | None = None  # ISO 8601 date
    reference: str | None = None


def sky_order(seen: Sequence[Seen]) -> list[int]:
    """Places in `seen` by zones of half a degree in declination, right ascension, DID; unplaced ones last."""

    def key(place: int) -> tuple[float, float, str]:
        facts = seen[place].facts
        if facts.ra is None or facts.dec is None:
            return math.inf, 0.0, facts.publisher_did
        return math.floor(2 * facts.dec), facts.ra, facts.publisher_did

    return sorted(range(len(seen)), key=key)


def spectra_rows(table: Table, seen: Sequence[Seen], words: Mapping[str, Words]) -> pa.Table:
    """doppel.spectra; the row number is the place in `seen`."""
    rows = [
        {"row_number": row, **_spectrum(one, words[one.facts.collection])} for row, one in enumerate(seen)
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(table))


def obscore_rows(table: Table, seen: Sequence[Seen]) -> pa.Table:
    """ivoa.obscore, in the same order."""
    rows = [{"row_number": row, **_observation(one)} for row, one in enumerate(seen)]
    return pa.Table.from_pylist(rows, schema=arrow_schema(table))


FACTS_SCHEMA = pa.schema(
    [
        ("row_number", pa.int64()),
        ("publisher_did", pa.string()),
        ("facts", pa.string()),  # all of them, as JSON
        ("reasons", pa.string()),  # by model, why it has no embedding, as JSON
    ]
)


def facts_rows(seen: Sequence[Seen], models: Mapping[str, Embeddings]) -> pa.Table:
    """internal.facts: what the service needs to open the original file, and why models left it out."""
    rows = [
        {
            "row_number": row,
            "publisher_did": one.facts.publisher_did,
            "facts": json.dumps(asdict(one.facts), ensure_ascii=False),
            "reasons": json.dumps({name: e.reasons[row] for name, e in models.items() if row in e.reasons}),
        }
        for row, one in enumerate(seen)
    ]
    return pa.Table.from_pylist(rows, schema=FACTS_SCHEMA)


def model_rows(table: Table, recipe: Recipe, seen: Sequence[Seen], embeddings: Embeddings) -> pa.Table:
    """doppel.<model>, ascending row numbers; NaN becomes NULL."""
    columns: dict[str, object] = {
        "row_number": embeddings.of,
        "ssa_pubdid": [seen[row].facts.publisher_did for row in embeddings.of.tolist()],
        "anomaly": embeddings.anomaly,
        "embedding": _vectors(embeddings.vectors),
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
        return values
    return pa.array(values, kind, from_pandas=True)


def _vectors(vectors: Float32) -> pa.Array:
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
        "wave_start": recipe.grid.start * 1e-10,
        "wave_stop": recipe.grid.stop * 1e-10,
        "pixels": recipe.grid.pixels,
        "min_coverage": recipe.min_coverage,
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


def product_url(did: str, suffix: str) -> str:
    """`/spectra/ivo%3A%2F%2F….vot`, below the base URL; the DID fully encoded (SSA 1.1, 4.2.5.1)."""
    return f"/spectra/{quote(did, safe='')}{suffix}"


def links_url(did: str) -> str:
    """Below the service's base URL."""
    return f"/datalink/links?ID={quote(did, safe='')}"


def _spectrum(seen: Seen, words: Words) -> dict[str, object]:
    facts = seen.facts
    return {
        **_access(seen),
        **_identity(facts, words),
        **_place(facts),
        **_times(facts),
        **_wavelengths(seen),
        **_axes(facts),
        **_own(facts),
    }


def _access(seen: Seen) -> dict[str, object]:
    did = seen.facts.publisher_did
    return {
        "ssa_pubdid": did,
        "accref": product_url(did, ".vot"),
        "mime": VOTABLE,
        "accsize": _kilobytes(seen),
        "datalink_url": links_url(did),
        "preview_url": product_url(did, ".png"),
        "ssa_length": seen.n_pixels,
        "ssa_model": "Spectrum-1.1",
        "ssa_dstype": "Spectrum",
    }


def _kilobytes(seen: Seen) -> int:
    return math.ceil((VOTABLE_BYTES + PIXEL_BYTES * seen.n_pixels) / 1000)


def _title(facts: Facts) -> str:
    return f"{facts.object or facts.spectrum_id} ({facts.collection})"


def _identity(facts: Facts, words: Words) -> dict[str, object]:
    return {
        "ssa_dstitle": _title(facts),
        "ssa_pdate": words.published,
        "ssa_cdate": None,
        "ssa_targname": facts.object or facts.spectrum_id,
        "ssa_targclass": facts.object_class,
        "ssa_redshift": facts.labels.get("redshift"),
        "ssa_snr": facts.snr,
        "ssa_publisher": words.publisher,
        "ssa_creator": words.creator,
        "ssa_collection": facts.collection,
        "ssa_instrument": facts.instrument or facts.telescope,
        "ssa_datasource": words.data_source,
        "ssa_creationtype": "archival",
        "ssa_reference": words.reference,
    }


def _place(facts: Facts) -> dict[str, object]:
    point = None if facts.ra is None or facts.dec is None else [facts.ra, facts.dec]
    return {
        "ssa_targetpos": point,
        "ssa_location": point,
        "ssa_csysname": "ICRS",
        "ssa_region": _circle(facts),
    }


def _circle(facts: Facts) -> list[float] | None:
    if facts.ra is None or facts.dec is None:
        return None
    return [facts.ra, facts.dec, NOMINAL_APERTURE / 2]


def _stc_circle(facts: Facts) -> str | None:
    """The same as ObsCore's clients read it (ADQL 2.0's REGION, STC-S)."""
    circle = _circle(facts)
    return None if circle is None else "Circle ICRS {!r} {!r} {!r}".format(*circle)


def _times(facts: Facts) -> dict[str, object]:
    start, stop = exposure_limits(facts)
    return {
        "ssa_dateobs": None if start is None or stop is None else (start + stop) / 2,
        "ssa_timeext": facts.exposure,
        "ssa_timestart": start,
        "ssa_timestop": stop,
        "ssa_timesi": "86400 T",
    }


def exposure_limits(facts: Facts) -> tuple[float, float] | tuple[None, None]:
    """MJD between which the exposure lay; a date without time means the whole day."""
    if facts.date_obs and (parsed := _moment(facts.date_obs)) is not None:
        moment, whole_day = parsed
        start = (moment - MJD_EPOCH).total_seconds() / DAY
        return start, start + (1.0 if whole_day else (facts.exposure or 0.0) / DAY)
    if facts.mjd is None:
        return None, None
    if facts.mjd == math.floor(facts.mjd):
        return facts.mjd, facts.mjd + 1.0
    return facts.mjd, facts.mjd + (facts.exposure or 0.0) / DAY


def _moment(text: str) -> tuple[datetime, bool] | None:
    """The beginning, and whether only the date is known; None for what is no date."""
    try:
        return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=None), re.search(
            r"\dT\d", text
        ) is None
    except ValueError:
        return None


def _wavelengths(seen: Seen) -> dict[str, object]:
    middle, width = (seen.em_min + seen.em_max) / 2, seen.em_max - seen.em_min
    power = resolving_power(seen)
    return {
        "ssa_specmid": middle,
        "ssa_specext": width,
        "ssa_specstart": seen.em_min,
        "ssa_specend": seen.em_max,
        "ssa_binsize": width / (seen.n_pixels - 1) if seen.n_pixels > 1 else None,
        "ssa_specres": middle / power if power else None,
        "resolving_power": power,
        "ssa_bandpass": bandpass(middle),
    }


def resolving_power(seen: Seen) -> float | None:
    """The archive's, or the middle wavelength over the width of its resolution element."""
    facts = seen.facts
    if facts.resolving_power is not None:
        return facts.resolving_power
    return (seen.em_min + seen.em_max) / 2 / (facts.fwhm * 1e-10) if facts.fwhm else None


BANDS = (
    (1.2e-11, "Gamma-ray"),
    (1.0e-8, "X-ray"),
    (1.0e-7, "EUV"),
    (3.0e-7, "UV"),
    (1.0e-6, "Optical"),
    (1.0e-4, "Infrared"),
    (1.0e-2, "Millimeter"),
)


def bandpass(wavelength: float) -> str:
    """The term of the messenger vocabulary for a wavelength in metres."""
    return next((term for limit, term in BANDS if wavelength < limit), "Radio")


def _axes(facts: Facts) -> dict[str, object]:
    return {
        "ssa_spectralsi": "1E-10 L",
        "ssa_spectralucd": "em.wl",
        "ssa_spectralunit": "Angstrom",
        "ssa_fluxucd": "phot.flux.density;em.wl",
        "ssa_fluxunit": facts.flux_unit,
        "ssa_fluxcalib": facts.flux_calibration,
        "ssa_speccalib": "ABSOLUTE",
    }


def _own(facts: Facts) -> dict[str, object]:
    labels = {name: facts.labels.get(name) for name in ("teff", "logg", "feh", "rv", "redshift")}
    names = (
        "spectrum_id",
        "object",
        "object_key",
        "object_class",
        "spectral_class",
        "line_class",
        "ra",
        "dec",
    )
    others = ("date_obs", "telescope", "wave_frame", "label_source", "notes")
    return {name: getattr(facts, name) for name in names + others} | labels


CALIB_STATUS = {"ABSOLUTE": "absolute", "RELATIVE": "relative", "NORMALIZED": "normalized"}


def _observation(seen: Seen) -> dict[str, object]:
    facts = seen.facts
    start, stop = exposure_limits(facts)
    return {
        "dataproduct_type": "spectrum",
        "calib_level": 1 if facts.flux_calibration == "UNCALIBRATED" else 2,
        "obs_collection": facts.collection,
        "obs_id": facts.spectrum_id,
        "obs_publisher_did": facts.publisher_did,
        "access_url": links_url(facts.publisher_did),
        "access_format": DATALINK,
        "access_estsize": _kilobytes(seen),
        "target_name": facts.object or facts.spectrum_id,
        "s_ra": facts.ra,
        "s_dec": facts.dec,
        "s_region": _stc_circle(facts),
        "s_xel1": 1,
        "s_xel2": 1,
        "t_min": start,
        "t_max": stop,
        "t_exptime": facts.exposure,
        "t_resolution": facts.exposure,
        "t_xel": 1,
        "em_min": seen.em_min,
        "em_max": seen.em_max,
        "em_res_power": resolving_power(seen),
        "em_xel": seen.n_pixels,
        "o_ucd": "phot.flux.density;em.wl",
        "pol_xel": 0,
        "facility_name": facts.telescope,
        "instrument_name": facts.instrument or facts.telescope,
        "obs_title": _title(facts),
        "target_class": facts.object_class,
        "em_ucd": "em.wl",
        "o_calib_status": CALIB_STATUS.get(facts.flux_calibration or ""),
    }
