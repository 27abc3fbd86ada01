"""`/soda/sync`: parts of a spectrum and other forms of it; errors are plain text (SODA 1.0)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from encoder.spectrum import RefusedSpectrum, Spectrum
from index.release import OpenRelease
from index.rows import exposure_limits
from registry_metadata.records import capability, document
from service.errors import BusyFault, NotFoundFault, ServiceFault, UsageFault
from service.formats.spectrum import CSV, FITS, VOTABLE, write_csv, write_fits, write_votable
from service.protocols import vosi
from service.protocols.dali import (
    Interval,
    MediaType,
    Params,
    choose_word,
    circle,
    finite,
    interval,
    numbers,
    request_params,
)
from service.protocols.descriptors import SODA
from service.protocols.products import file_name
from service.protocols.ready import described

Circle = tuple[float, float, float]
Polygon = tuple[float, ...]
LOWEST_R, HIGHEST_R = 1.0, 1e6
FWHM = 2 * math.sqrt(2 * math.log(2))  # of a Gaussian, in sigmas
MAX_KERNEL = 50_000_000  # pixels times pixels under the kernel
SINGLE = (
    "ID",
    "BAND",
    "TIME",
    "CIRCLE",
    "POLYGON",
    "POS",
    "FLUXCALIB",
    "REDSHIFT",
    "SPECRP",
    "FORMAT",
    "RESPONSEFORMAT",
)


class SeveralValuesFault(UsageFault):
    """A filter is given more than once, which sync does not answer (SODA 1.0, 3.1)."""

    fault = "MultiValuedParamNotSupported"


@dataclass(frozen=True, slots=True)
class Form:
    """A media type that spectra are written in."""

    media_type: str
    suffix: str
    write: Callable[[Spectrum, str], bytes]


FORMS: Mapping[str, Form] = {
    VOTABLE: Form(VOTABLE, ".vot", lambda spectrum, by: write_votable(spectrum, publisher=by)),
    FITS: Form(FITS, ".fits", lambda spectrum, by: write_fits(spectrum, publisher=by)),
    CSV: Form(CSV, ".csv", lambda spectrum, _: write_csv(spectrum)),
}
NAMES = {
    "votable": VOTABLE,
    "text/xml": VOTABLE,
    "fits": FITS,
    "application/x-fits-bintable": FITS,
    "csv": CSV,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of one spectrum; None asks nothing."""

    id: str
    band: Interval | None = None  # metres
    time: Interval | None = None  # MJD
    circles: tuple[Circle, ...] = ()
    polygons: tuple[Polygon, ...] = ()
    relative: bool = False  # flux divided by its median
    redshift: float | None = None  # wavelengths divided by 1 + redshift
    resolution: float | None = None  # smoothed to this resolving power
    form: Form = FORMS[VOTABLE]

    @classmethod
    def read(cls, params: Params) -> Wanted:
        for name in SINGLE:
            if len(params.all(name)) > 1:
                raise SeveralValuesFault(f"{name} is given {len(params.all(name))} times; one value is taken")
        circles, polygons = _areas(params)
        calibration = params.one("FLUXCALIB")
        if calibration is not None:
            choose_word("FLUXCALIB", calibration, ("RELATIVE",))
        return cls(
            params.required("ID"),
            _interval(params, "BAND"),
            _interval(params, "TIME"),
            circles,
            polygons,
            calibration is not None,
            _redshift(params.one("REDSHIFT")),
            _resolution(params.one("SPECRP")),
            _form(params.one("FORMAT", "RESPONSEFORMAT")),
        )


def _interval(params: Params, name: str) -> Interval | None:
    text = params.one(name)
    return None if text is None else interval(name, text)


def _redshift(text: str | None) -> float | None:
    if text is None:
        return None
    value = finite("REDSHIFT", text)
    if value <= -1:
        raise UsageFault(f"REDSHIFT is above -1, not {text}")
    return value


def _resolution(text: str | None) -> float | None:
    if text is None:
        return None
    value = finite("SPECRP", text)
    if not LOWEST_R <= value <= HIGHEST_R:
        raise UsageFault(f"SPECRP is a resolving power from {LOWEST_R:g} to {HIGHEST_R:g}, not {text}")
    return value


def _form(text: str | None) -> Form:
    essence = MediaType.parse(text or VOTABLE).essence
    form = FORMS.get(NAMES.get(essence, essence))
    if form is None:
        raise UsageFault(f"FORMAT is not known here: {text}; allowed are {', '.join(FORMS)}")
    return form


def _areas(params: Params) -> tuple[tuple[Circle, ...], tuple[Polygon, ...]]:
    """CIRCLE, POLYGON, and POS, which is one of the two with its name before it (SODA 1.0, 3.3)."""
    texts = {"CIRCLE": params.all("CIRCLE"), "POLYGON": params.all("POLYGON")}
    pos = params.one("POS")
    if pos is not None:
        kind, _, rest = pos.strip().partition(" ")
        if kind.upper() == "RANGE":
            rest = _range_as_polygon(rest)
            kind = "POLYGON"
        texts[choose_word("POS: the shape", kind, ("CIRCLE", "POLYGON"))] += (rest,)
    return tuple(circle("CIRCLE", text) for text in texts["CIRCLE"]), tuple(map(polygon, texts["POLYGON"]))


def _range_as_polygon(text: str) -> str:
    west, east, south, north = numbers("POS RANGE", text, 4)
    return f"{west} {south} {east} {south} {east} {north} {west} {north}"


def polygon(text: str) -> Polygon:
    """`lon lat lon lat …` in degrees, at least three corners (DALI 3.9)."""
    values = numbers("POLYGON", text)
    if len(values) < 6 or len(values) % 2:
        raise UsageFault(f"POLYGON takes three or more pairs of numbers: {text}")
    if not all(map(math.isfinite, values)) or any(abs(latitude) > 90 for latitude in values[1::2]):
        raise UsageFault(f"POLYGON has a corner that is not on the sphere: {text}")
    return values


# --- on the sphere ---


def separation(ra: float, dec: float, ra2: float, dec2: float) -> float:
    """Degrees between two positions in degrees."""
    a, b, c, d = map(math.radians, (ra, dec, ra2, dec2))
    half = math.sin((d - b) / 2) ** 2 + math.cos(b) * math.cos(d) * math.sin((c - a) / 2) ** 2
    return math.degrees(2 * math.asin(math.sqrt(min(half, 1.0))))


def inside(ra: float, dec: float, corners: Sequence[float]) -> bool:
    """Whether the polygon's corners, seen from the position, go once around it; less than half a sphere."""
    bearings = [bearing(ra, dec, lon, lat) for lon, lat in zip(corners[::2], corners[1::2], strict=True)]
    turns = [
        math.remainder(after - before, 2 * math.pi)
        for before, after in zip(bearings, [*bearings[1:], bearings[0]], strict=True)
    ]
    near = separation(ra, dec, corners[0], corners[1]) < 90
    return near and abs(sum(turns)) > math.pi


def bearing(ra: float, dec: float, ra2: float, dec2: float) -> float:
    """Radians from north over east, at which the second position is seen from the first."""
    a, b, c, d = map(math.radians, (ra, dec, ra2, dec2))
    east = math.sin(c - a) * math.cos(d)
    return math.atan2(east, math.cos(b) * math.sin(d) - math.sin(b) * math.cos(d) * math.cos(c - a))


# --- the work ---


def processed(spectrum: Spectrum, wanted: Wanted) -> Spectrum | None:
    """What is left of the spectrum; None where nothing is (SODA 1.0, 5.1)."""
    facts = spectrum.facts
    if wanted.time and not _during(exposure_limits(facts), wanted.time):
        return None
    if (wanted.circles or wanted.polygons) and not _within(facts.ra, facts.dec, wanted):
        return None
    if wanted.resolution is not None:
        spectrum = smoothed(spectrum, wanted.resolution)
    keep = np.ones(len(spectrum.wave), bool)
    if wanted.band:
        metres = spectrum.wave * 1e-10
        keep = (metres >= wanted.band[0]) & (metres <= wanted.band[1])
    if not (keep & ~spectrum.mask).any():
        return None
    wave, flux = spectrum.wave[keep], spectrum.flux[keep]
    ivar, mask = spectrum.ivar[keep], spectrum.mask[keep]
    part = Spectrum(wave, flux, ivar, mask, spectrum.facts)
    return at_rest(relative(part) if wanted.relative else part, wanted.redshift)


def _during(exposure: tuple[float, float] | tuple[None, None], time: Interval) -> bool:
    start, stop = exposure
    return start is not None and stop is not None and start <= time[1] and stop >= time[0]


def _within(ra: float | None, dec: float | None, wanted: Wanted) -> bool:
    if ra is None or dec is None:
        return False
    hits = [separation(ra, dec, lon, lat) <= radius for lon, lat, radius in wanted.circles]
    return any(hits) or any(inside(ra, dec, corners) for corners in wanted.polygons)


def relative(spectrum: Spectrum) -> Spectrum:
    """The flux divided by the median of its absolute value over valid pixels."""
    scale = float(np.median(np.abs(spectrum.flux[~spectrum.mask]))) or 1.0
    facts = replace(spectrum.facts, flux_unit="relative", flux_calibration="RELATIVE")
    return Spectrum(spectrum.wave, spectrum.flux / scale, spectrum.ivar * scale**2, spectrum.mask, facts)


def smoothed(spectrum: Spectrum, resolution: float) -> Spectrum:
    """At a lower resolving power: a Gaussian in ln wavelength, less what the spectrum has already (before a
    cut, so that edges have their neighbours). UsageFault where the spectrum has no more than is asked for.

    Pixels keep their places; masked ones give nothing, so that they stay masked and reach no others.
    """
    own = spectrum.facts.resolving_power
    if own is not None and own <= resolution:
        raise UsageFault(
            f"SPECRP: the spectrum has a resolving power of {own:g}, which is not above {resolution:g}"
        )
    width = 1 / resolution**2 - (1 / own**2 if own else 0.0)
    sigma = math.sqrt(width) / FWHM
    weight = np.where(spectrum.mask, 0.0, np.gradient(spectrum.wave))
    flux, squares, total = _convolved(np.log(spectrum.wave), sigma, weight, spectrum)
    good = ~spectrum.mask & (total > 0)
    known = good & (squares > 0)
    ivar = np.divide(total**2, squares, out=np.zeros_like(total), where=known)
    facts = replace(spectrum.facts, resolving_power=resolution)
    return Spectrum(
        spectrum.wave,
        np.divide(flux, total, out=np.zeros_like(flux), where=good),
        ivar if spectrum.has_errors else np.zeros_like(ivar),
        ~good,
        facts,
    )


def _convolved(
    place: NDArray[np.float64], sigma: float, weight: NDArray[np.float64], spectrum: Spectrum
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sums (N,) of kernel times flux, of its square times variance, and of the kernel, over 4 sigma."""
    low = np.searchsorted(place, place - 4 * sigma, side="left")
    high = np.searchsorted(place, place + 4 * sigma, side="right")
    if int((high - low).sum()) > MAX_KERNEL:
        raise UsageFault(
            "SPECRP is too coarse for so many pixels; cut by BAND elsewhere or ask for more resolution"
        )
    good = ~spectrum.mask & (spectrum.ivar > 0)
    variance = np.divide(1.0, spectrum.ivar, out=np.zeros(len(place)), where=good)
    sums = np.zeros((3, len(place)))
    for at, (first, last) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        part = slice(first, last)
        kernel = np.exp(-0.5 * ((place[part] - place[at]) / sigma) ** 2) * weight[part]
        sums[:, at] = kernel @ spectrum.flux[part], kernel**2 @ variance[part], kernel.sum()
    return sums[0], sums[1], sums[2]


def at_rest(spectrum: Spectrum, redshift: float | None) -> Spectrum:
    """Wavelengths divided by 1 + redshift; the flux is left as it is."""
    if redshift is None:
        return spectrum
    facts = replace(spectrum.facts, wave_frame="rest")
    return replace(spectrum, wave=spectrum.wave / (1 + redshift), facts=facts)


def cutout(release: OpenRelease, wanted: Wanted, publisher: str) -> tuple[bytes, str] | None:
    """The file and the name to save it under; None where nothing overlaps."""
    row = release.row_of(wanted.id)
    if row is None:
        raise NotFoundFault(f"ID: no spectrum has the identifier {wanted.id}")
    try:
        facts = described(release, [row])[0].facts
        spectrum = release.collections[facts.collection].load(facts)
    except RefusedSpectrum as reason:
        raise NotFoundFault(f"ID: {wanted.id} cannot be read: {reason}") from reason
    part = processed(spectrum, wanted)
    if part is None:
        return None
    return wanted.form.write(part, publisher), file_name(release.did_of(row), wanted.form.suffix)


def fault_text(fault: ServiceFault) -> Response:
    """SODA's words for the kinds of fault (SODA 1.0, 5.2)."""
    word = "Error"
    if isinstance(fault, SeveralValuesFault):
        word = fault.fault
    elif isinstance(fault, BusyFault):
        word = "ServiceUnavailable"
    elif fault.status < 500:
        word = "UsageError"
    return PlainTextResponse(f"{word}: {fault}\n", fault.status)


async def sync(request: Request) -> Response:
    state = request.app.state
    try:
        wanted = Wanted.read(await request_params(request))
        with state.holder.pin() as release:
            found = await run_in_threadpool(cutout, release, wanted, state.config.registry.publisher)
    except ServiceFault as fault:
        return fault_text(fault)
    if found is None:
        return Response(status_code=204)
    headers = {"Content-Disposition": f'inline; filename="{found[1]}"'}
    return Response(found[0], 200, headers, wanted.form.media_type)


def capabilities(base_url: str) -> bytes:
    """What stands below /soda (SODA 1.0, 2.4)."""
    from vo_models.vosi.capabilities.models import VOSICapabilities

    found = [
        capability(SODA, f"{base_url}/sync", version="1.0"),
        capability("ivo://ivoa.net/std/VOSI#capabilities", f"{base_url}/capabilities"),
        capability("ivo://ivoa.net/std/VOSI#availability", f"{base_url}/availability"),
    ]
    return document(VOSICapabilities(capability=found), skip_empty=True)


async def get_capabilities(request: Request) -> Response:
    body = await run_in_threadpool(capabilities, f"{request.app.state.base_url}/soda")
    return Response(body, headers={"Content-Type": "text/xml"})


routes: list[BaseRoute] = [
    Route("/soda/sync", sync, methods=["GET", "POST"]),
    Route("/soda/capabilities", get_capabilities),
    Route("/soda/availability", vosi.availability),
]
