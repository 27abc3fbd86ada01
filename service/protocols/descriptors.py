"""Service descriptors that turn a result with identifiers into links and likeness (DataLink 1.1, 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from index.release import OpenRelease
from registry_metadata.columns import Column
from service.formats.spectrum import CSV, FITS, VOTABLE
from service.formats.votable import InputParam, ServiceDescriptor
from service.protocols.dali import Interval

DATALINK = "ivo://ivoa.net/std/DataLink#links-1.1"
SODA = "ivo://ivoa.net/std/SODA#sync-1.0"
SODA_ASYNC = "ivo://ivoa.net/std/SODA#async-1.0"
SODA_ID = "meta.ref.url;meta.curation"  # UCD of its parameter ID (SODA 1.0, 3.5)
DATALINK_TYPE = "application/x-votable+xml;content=datalink"
ALIKE = "Spectra of this archive that are physically most alike, nearest first"
MAX_NEIGHBOURS = 1000
DEFAULT_NEIGHBOURS = 20


class Described(Protocol):
    """As much of a result's column as matters here."""

    @property
    def column(self) -> Column: ...
    @property
    def did(self) -> bool: ...


def descriptors(columns: Sequence[Described], base_url: str, release: OpenRelease) -> list[ServiceDescriptor]:
    """For every column with publisher DIDs, under whatever name: its links and its likes."""
    names = [column.column.name for column in columns if column.did]
    found: list[ServiceDescriptor] = []
    for number, name in enumerate(dict.fromkeys(names), 1):
        tail = "" if number == 1 else f"_{number}"
        found.append(similar(base_url, name, release, f"similar{tail}"))  # TOPCAT offers the first
        found.append(links(base_url, name, f"links{tail}"))
        found.append(cutout(base_url, name, f"cutout{tail}"))
    return found


def cutout(base_url: str, ref: str, id_: str = "cutout") -> ServiceDescriptor:
    """SODA for the identifiers in the column `ref` (SODA 1.0, 4.1)."""
    return ServiceDescriptor(
        id=id_,
        name=id_.replace("_", " ").capitalize(),
        description="Part of a spectrum, in another format or normalised",
        access_url=f"{base_url}/soda/sync",
        standard_id=SODA,
        params=soda_params(identifier(ref, ucd=SODA_ID)),
    )


def cutouts(base_url: str, ref: str) -> ServiceDescriptor:
    """The same as jobs, for many spectra and parts at once."""
    return replace(
        cutout(base_url, ref, "cutouts"),
        name="Cutouts as a job",
        description="Parts of many spectra: a UWS job, with a result for each combination of values",
        access_url=f"{base_url}/soda/async",
        standard_id=SODA_ASYNC,
    )


def links(base_url: str, ref: str, id_: str = "links") -> ServiceDescriptor:
    """The {links} service for the identifiers in the column `ref`."""
    return ServiceDescriptor(
        id=id_,
        name=id_.replace("links", "DataLink").replace("_", " "),  # names are unique in a document
        description="What there is for a spectrum: formats, the original file, a preview, similar spectra",
        access_url=f"{base_url}/datalink/links",
        standard_id=DATALINK,
        content_type=DATALINK_TYPE,
        params=(identifier(ref),),
    )


def identifier(ref: str | None = None, value: str = "", ucd: str = "meta.id;meta.main") -> InputParam:
    """The PARAM named ID: taken from a column, or fixed."""
    return InputParam(
        "ID", value=value, ref=ref, ucd=ucd, description="Publisher's identifier of the spectrum"
    )


def similar(base_url: str, ref: str, release: OpenRelease, id_: str = "similar") -> ServiceDescriptor:
    """The search for spectra like those in the column `ref` (CHECKLIST L35): no standard has it yet."""
    return ServiceDescriptor(
        id=id_,
        name=id_.replace("similar", "Similar spectra").replace("_", " "),
        description=f"{ALIKE}; TOP: how many; SPACE: {', '.join(presets(release))}",
        access_url=f"{base_url}/similar_to",
        content_type=VOTABLE,
        params=(identifier(ref), *similar_params(release)),
    )


def similar_params(release: OpenRelease) -> tuple[InputParam, ...]:
    """What a user may say about the search."""
    return (
        InputParam(
            "TOP",
            datatype="int",
            arraysize=None,
            ucd="meta.number",
            description=f"How many neighbours; {DEFAULT_NEIGHBOURS} if left empty",
            minimum="1",
            maximum=str(MAX_NEIGHBOURS),
        ),
        InputParam(
            "SPACE",
            ucd="meta.code",
            description="What alike means: a preset of the default model, or model:preset",
            options=spaces(release),
        ),
        InputParam(
            "RESPONSEFORMAT",
            ucd="meta.code.mime",
            description="Format of the answer; VOTable if left empty",
            options=("votable", "csv", "json", "html"),
        ),
    )


def presets(release: OpenRelease) -> tuple[str, ...]:
    """Those of the default model."""
    return next((tuple(model.recipe.presets) for model in release.models.values()), ())


def spaces(release: OpenRelease) -> tuple[str, ...]:
    """Presets of the default model, then every `model:preset`."""
    models = list(release.models.values())
    return (
        *presets(release),
        *(f"{model.name}:{preset}" for model in models for preset in model.recipe.presets),
    )


def soda_params(
    did: InputParam, band: Interval | None = None, time: Interval | None = None
) -> tuple[InputParam, ...]:
    """Parameters of the SODA service, by name, UCD and unit (SODA 1.0, 3.5), with the limits of the spectrum
    where it is one: wavelengths in metres, MJD."""
    return did, *limited(BAND, band), *limited(TIME, time), *OTHERS


def limited(param: InputParam, limits: Interval | None) -> tuple[InputParam]:
    if limits is None:
        return (param,)
    return (replace(param, minimum=repr(limits[0]), maximum=repr(limits[1])),)


BAND = InputParam(
    "BAND",
    "double",
    "2",
    unit="m",
    ucd="em.wl;stat.interval",
    xtype="interval",
    description="Wavelengths in vacuum to keep",
)
TIME = InputParam(
    "TIME",
    "double",
    "2",
    unit="d",
    ucd="time.interval;obs.exposure",
    xtype="interval",
    description="MJD (UTC): the spectrum, if it was exposed then",
)
OTHERS = (
    InputParam(
        "CIRCLE",
        "double",
        "3",
        unit="deg",
        ucd="pos.outline;obs",
        xtype="circle",
        description="ICRS: the spectrum, if it was taken in this circle",
    ),
    InputParam(
        "POLYGON",
        "double",
        "*",
        unit="deg",
        ucd="pos.outline;obs",
        xtype="polygon",
        description="ICRS: the spectrum, if it was taken in this polygon",
    ),
    InputParam(
        "POS",
        ucd="pos.outline;obs",
        description="The same as a word and numbers: CIRCLE, POLYGON, or RANGE west east south north",
    ),
    InputParam(
        "FLUXCALIB",
        ucd="phot.calib",
        utype="ssa:Char.FluxAxis.Calibration",
        description="RELATIVE divides the flux by its median",
        options=("RELATIVE",),
    ),
    InputParam(
        "REDSHIFT",  # text: pyvo stumbles over an empty number
        ucd="src.redshift",
        description="Moves the spectrum to the rest frame: wavelengths are divided by 1 + REDSHIFT",
    ),
    InputParam(
        "SPECRP",
        ucd="spect.resolution",
        description="Smooths the spectrum to this resolving power, which is below its own",
    ),
    InputParam(
        "FORMAT",
        ucd="meta.code.mime",
        utype="ssa:Access.Format",
        description="Media type of the answer; VOTable if left empty",
        options=(VOTABLE, FITS, CSV),
    ),
)
