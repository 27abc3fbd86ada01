"""`/soda/sync`, `/soda/async`: parts of spectra and other forms of them; errors are plain text (SODA 1.0)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from encoder.spectrum import RefusedSpectrum, Spectrum
from index.release import OpenRelease
from registry_metadata.records import capability, document, examples, self_description
from service.cutouts import HIGHEST_R, LOWEST_R, Area, Cutout, between, inside, within
from service.errors import BusyFault, NotFoundFault, ServiceFault, TimeoutFault, UsageFault
from service.faults import soda_text
from service.formats.spectrum import CSV, FITS, VOTABLE, write_csv, write_fits, write_votable
from service.protocols import uws, vosi
from service.protocols.dali import (
    MediaType,
    Params,
    choose_word,
    circle,
    finite,
    interval,
    numbers,
    request_params,
)
from service.protocols.descriptors import SODA, SODA_ASYNC
from service.protocols.job_documents import Tree
from service.protocols.products import file_name
from service.protocols.ready import described
from service.respond import Document

if TYPE_CHECKING:
    from service.state import Job
    from service.workers import Results, Stop

FILTERS = ("ID", "BAND", "TIME", "CIRCLE", "POLYGON", "POS")  # async takes several values of each
OPTIONS = ("FLUXCALIB", "REDSHIFT", "SPECRP", "FORMAT", "RESPONSEFORMAT")
MAX_RESULTS = 1000  # of one job


class SeveralValuesFault(UsageFault):
    """A parameter is given more often than is answered (SODA 1.0, 3.1)."""

    fault = "MultiValuedParamNotSupported"


@dataclass(frozen=True, slots=True)
class Form:
    """A media type that spectra are written in."""

    media_type: str
    suffix: str
    write: Callable[[Spectrum, str], bytes]


TABLEDATA = f"{VOTABLE};serialization=tabledata"
FORMS: Mapping[str, Form] = {
    VOTABLE: Form(VOTABLE, ".vot", lambda spectrum, by: write_votable(spectrum, publisher=by)),
    TABLEDATA: Form(
        TABLEDATA, ".vot",
        lambda spectrum, by: write_votable(spectrum, publisher=by, serialization="tabledata"),
    ),
    FITS: Form(FITS, ".fits", lambda spectrum, by: write_fits(spectrum, publisher=by)),
    CSV: Form(CSV, ".csv", lambda spectrum, _: write_csv(spectrum)),
}  # fmt: skip
NAMES = {
    "votable": VOTABLE,
    "votable/td": TABLEDATA,
    "votable/b2": VOTABLE,
    f"{VOTABLE};serialization=binary2": VOTABLE,
    "text/xml": VOTABLE,
    "fits": FITS,
    "application/x-fits-bintable": FITS,
    "csv": CSV,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One result that is asked for."""

    id: str
    cutout: Cutout
    form: Form


def single(params: Params) -> Wanted:
    """The one result of a synchronous request."""
    refuse_several(params, (*FILTERS, *OPTIONS))
    if len(areas(params)) > 1:
        raise SeveralValuesFault("CIRCLE, POLYGON and POS are one filter: one of them is taken")
    return every(params)[0]


def every(params: Params) -> list[Wanted]:
    """One result for each combination of the values given (SODA 1.0, 6)."""
    refuse_several(params, OPTIONS)
    form, shared = read_form(params.one("FORMAT", "RESPONSEFORMAT")), options(params)
    bands, times = intervals(params, "BAND") or [None], intervals(params, "TIME") or [None]
    parts = [
        replace(shared, band=band, time=when, area=area)
        for band, when, area in product(bands, times, areas(params) or [None])
    ]
    ids = params.all("ID")
    if not ids:
        raise UsageFault("The parameter ID is missing")
    if len(ids) * len(parts) > MAX_RESULTS:
        raise UsageFault(
            f"{len(ids)} times ID and {len(parts)} cutouts of each are more than {MAX_RESULTS} results"
        )
    return [Wanted(did, part, form) for did in ids for part in parts]


def refuse_several(params: Params, names: Sequence[str]) -> None:
    for name in names:
        if len(params.all(name)) > 1:
            raise SeveralValuesFault(f"{name} is given {len(params.all(name))} times; one value is taken")


def options(params: Params) -> Cutout:
    """What is done to every part."""
    calibration = params.one("FLUXCALIB")
    if calibration is not None:
        choose_word("FLUXCALIB", calibration, ("RELATIVE",))
    return Cutout(
        relative=calibration is not None,
        redshift=read_redshift(params.one("REDSHIFT")),
        resolution=read_resolution(params.one("SPECRP")),
    )


def intervals(params: Params, name: str) -> list[tuple[float, float] | None]:
    return [interval(name, text) for text in params.all(name)]


def read_redshift(text: str | None) -> float | None:
    if text is None:
        return None
    value = finite("REDSHIFT", text)
    if value <= -1:
        raise UsageFault(f"REDSHIFT is above -1, not {text}")
    return value


def read_resolution(text: str | None) -> float | None:
    if text is None:
        return None
    value = finite("SPECRP", text)
    if not LOWEST_R <= value <= HIGHEST_R:
        raise UsageFault(f"SPECRP is a resolving power from {LOWEST_R:g} to {HIGHEST_R:g}, not {text}")
    return value


def read_form(text: str | None) -> Form:
    asked = MediaType.parse(text or VOTABLE)
    serialization = asked.parameter("serialization")
    kind = asked.essence if serialization is None else f"{asked.essence};serialization={serialization}"
    form = FORMS.get(NAMES.get(kind, kind))
    if form is None:
        raise UsageFault(f"FORMAT is not known here: {text}; allowed are {', '.join(FORMS)}")
    return form


# --- areas ---


def areas(params: Params) -> list[Area | None]:
    """CIRCLE, POLYGON, and POS, which is a shape with its name before it (SODA 1.0, 3.3)."""
    found = [(name, text) for name in ("CIRCLE", "POLYGON") for text in params.all(name)]
    for text in params.all("POS"):
        kind, _, rest = text.strip().partition(" ")
        found.append((choose_word("POS: the shape", kind, tuple(SHAPES)), rest))
    return [SHAPES[kind](text) for kind, text in found]


def read_circle(text: str) -> Area:
    return partial(within, *circle("CIRCLE", text))


def read_polygon(text: str) -> Area:
    """`lon lat lon lat …` in degrees, at least three corners (DALI 3.9)."""
    values = numbers("POLYGON", text)
    if len(values) < 6 or len(values) % 2:
        raise UsageFault(f"POLYGON takes three or more pairs of numbers: {text}")
    if not all(map(math.isfinite, values)) or any(abs(latitude) > 90 for latitude in values[1::2]):
        raise UsageFault(f"POLYGON has a corner that is not on the sphere: {text}")
    return partial(inside, values)


def read_range(text: str) -> Area:
    """`west east south north`, with infinities for open ends."""
    west, east, south, north = numbers("POS RANGE", text, 4)
    if south > north:
        raise UsageFault(f"POS RANGE has its latitudes backwards: {text}")
    return partial(between, west, east, south, north)


SHAPES: Mapping[str, Callable[[str], Area]] = {
    "CIRCLE": read_circle,
    "POLYGON": read_polygon,
    "RANGE": read_range,
}


# --- the work ---


def result(release: OpenRelease, wanted: Wanted, publisher: str) -> Document | None:
    """The file; None where nothing overlaps."""
    row = release.row_of(wanted.id)
    if row is None:
        raise NotFoundFault(f"ID: no spectrum has the identifier {wanted.id}")
    try:
        facts = described(release, [row])[0].facts
        spectrum = release.collection(facts.collection).load(facts)
    except RefusedSpectrum as reason:
        raise NotFoundFault(f"ID: {wanted.id} cannot be read: {reason}") from reason
    part = wanted.cutout.of(spectrum)
    if part is None:
        return None
    form, name = wanted.form, file_name(release.did_of(row), wanted.form.suffix)
    return Document(form.media_type, iter([form.write(part, publisher)]), name)


async def sync(request: Request) -> Response:
    state = request.app.state
    wanted = single(await request_params(request))
    with state.holder.pin() as release:
        found = await run_in_threadpool(result, release, wanted, state.config.registry.publisher)
    if found is None:
        return Response(status_code=204)
    headers = {"Content-Disposition": f'inline; filename="{found.filename}"'}
    return Response(b"".join(found.chunks), 200, headers, found.media_type)


def execute(services: Any, job: Job, _: Path, stop: Stop, stack: ExitStack) -> Results:
    """A job's results, one by one; a combination that has none is told so in its place (SODA 1.0, 6)."""
    wanted = every(Params.of([(name, value) for name, value in json.loads(job.parameters)]))
    seconds = job.duration or services.config.limits.max_async_seconds
    end = time.monotonic() + seconds
    release: OpenRelease = stack.enter_context(services.holder.pin())
    if not any(row is not None for row in release.rows_of([one.id for one in wanted])):
        raise NotFoundFault(f"ID: no spectrum has the identifier {wanted[0].id}")
    for number, one in enumerate(wanted, 1):
        if stop.stopped:
            raise BusyFault("The job was stopped")
        if time.monotonic() > end:
            raise TimeoutFault(f"The job took longer than its executionduration of {seconds} s")
        name = "result" if len(wanted) == 1 else f"result-{number}"
        yield name, result_or_reason(release, one, services.config.registry.publisher)


def result_or_reason(release: OpenRelease, wanted: Wanted, publisher: str) -> Document:
    try:
        found = result(release, wanted, publisher)
    except ServiceFault as fault:
        return reason(str(fault), fault.fault)
    return found or reason(f"{wanted.id} has nothing of what was asked for", UsageFault.fault)


def reason(message: str, fault: str) -> Document:
    return Document("text/plain", iter([soda_text(message, fault).encode()]), "error.txt")


def job_error(job: Job) -> Response:
    return PlainTextResponse(soda_text(str(job.error), str(job.fault)))


def capabilities(base_url: str) -> bytes:
    """What stands below /soda (SODA 1.0, 2.4)."""
    from vo_models.vosi.capabilities.models import VOSICapabilities

    found = [
        capability(SODA, f"{base_url}/sync", version="1.0"),
        capability(SODA_ASYNC, f"{base_url}/async", version="1.0"),
        *self_description(base_url),
        examples(base_url),
    ]
    return document(VOSICapabilities(capability=found), skip_empty=True)


async def get_capabilities(request: Request) -> Response:
    body = await run_in_threadpool(capabilities, f"{request.app.state.base_url}/soda")
    return Response(body, headers={"Content-Type": "text/xml"})


KIND = "soda"  # of its jobs
ASYNC = Tree(KIND, "/soda/async", (*FILTERS, *OPTIONS, "RUNID"), job_error)
routes: list[BaseRoute] = [
    Route("/soda/sync", sync, methods=["GET", "POST"]),
    Route("/soda/capabilities", get_capabilities),
    Route("/soda/availability", vosi.availability),
    *uws.routes(ASYNC),
]
