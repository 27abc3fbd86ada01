"""`/derived/reconstruction`, `/derived/traversal`: what a model makes of spectra, as tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from encoder.recipe import Latent
from encoder.spectrum import RefusedSpectrum, Spectrum
from index.release import Model, OpenRelease
from service.derived import Derived, reconstruction, traversal
from service.errors import NotFoundFault, UsageFault
from service.formats.choose import Format, choose_format
from service.formats.derived_plot import reconstruction_png, traversal_png
from service.formats.spectrum import CSV, FITS, VOTABLE
from service.formats.votable import InputParam, ServiceDescriptor
from service.protocols.dali import Interval, MediaType, Params, choose_word, interval, request_params
from service.protocols.descriptors import identifier
from service.protocols.encode import PREFIX, kept
from service.protocols.products import quoted
from service.respond import Document, respond

if TYPE_CHECKING:
    from service.state import State

PNG = "image/png"
FARTHEST = 5.0  # spreads from the start
USUAL = (-2.0, 2.0)
STEPS, MAX_STEPS = 5, 25
SEEN = "The spectrum as a model sees it, and what it does not see"
RECONSTRUCTION, TRAVERSAL = "/derived/reconstruction", "/derived/traversal"


def decoding(release: OpenRelease) -> dict[str, Model]:
    """The models that tell spectra from vectors: those that make vectors here."""
    return {name: model for name, model in release.models.items() if model.encodes}


def covers(model: Model, band: Interval) -> bool:
    """Whether a spectrum from one wavelength to another (metres) reaches over enough of the model's grid."""
    grid = model.recipe.grid
    low, high = max(band[0] * 1e10, grid.start), min(band[1] * 1e10, grid.stop)
    return high > low and math.log(high / low) >= model.recipe.min_coverage * math.log(grid.stop / grid.start)


def chosen_model(release: OpenRelease, text: str | None) -> list[Model]:
    """The model that is named, else all that may do."""
    known = decoding(release)
    if not known:
        raise UsageFault(
            "MODEL: the vectors of this archive were made elsewhere; nothing is derived from them"
        )
    return list(known.values()) if text is None else [known[choose_word("MODEL", text, tuple(known))]]


def walked(model: Model) -> list[Latent]:
    """The latents that a spectrum at rest changes with."""
    return [one for one in model.recipe.latents if one.block != "velocity"]


def chosen_latent(model: Model, text: str | None) -> Latent:
    """By its name or that of its label; the first where none is named."""
    known = {name: one for one in walked(model) for name in (one.label, one.name) if name}
    return known[choose_word("LATENT", text, tuple(known))] if text else walked(model)[0]


def steps_asked(params: Params) -> list[float]:
    """Spreads from the start, evenly from one end of SIGMA to the other."""
    text = params.one("SIGMA")
    low, high = USUAL if text is None else interval("SIGMA", text)
    if max(abs(low), abs(high)) > FARTHEST:
        raise UsageFault(f"SIGMA goes from -{FARTHEST:g} to {FARTHEST:g} spreads, not {text}")
    count = params.integer("STEPS", low=2, high=MAX_STEPS) or STEPS
    return [float(value) for value in np.linspace(low, high, count)]


def spectrum_of(release: OpenRelease, state: State, did: str) -> Spectrum:
    if did.startswith(PREFIX):
        return kept(state, did).spectrum
    row = release.row_of(did)
    if row is None:
        raise NotFoundFault(f"ID: no spectrum has the identifier {did}")
    try:
        return release.spectrum(row)
    except RefusedSpectrum as reason:
        raise NotFoundFault(f"ID: {did} cannot be read: {reason}") from reason


def by_the_first(models: list[Model], make: Callable[[Model], Derived]) -> Derived:
    """What the first model makes of it that can; UsageFault with everyone's reason."""
    reasons = []
    for model in models:
        try:
            return make(model)
        except RefusedSpectrum as reason:
            reasons.append(f"{model.name}: {reason}")
    raise UsageFault(f"MODEL: no model can embed this spectrum: {'; '.join(reasons)}")


# --- HTTP ---


def reconstruction_of(release: OpenRelease, state: State, params: Params) -> Derived:
    spectrum = spectrum_of(release, state, params.required("ID"))
    models = chosen_model(release, params.one("MODEL"))
    return by_the_first(models, lambda model: reconstruction(model, spectrum, release.id))


def traversal_of(release: OpenRelease, state: State, params: Params) -> Derived:
    did, steps = params.one("ID"), steps_asked(params)
    spectrum = None if did is None else spectrum_of(release, state, did)
    models, latent = chosen_model(release, params.one("MODEL")), params.one("LATENT")
    return by_the_first(
        models, lambda model: traversal(model, chosen_latent(model, latent), steps, spectrum, release.id)
    )


def picture(derived: Derived) -> bytes:
    wave, *curves = derived.values
    if derived.labels:
        return traversal_png(wave, curves, derived.labels, derived.description)
    return reconstruction_png(wave, curves[0], curves[2], derived.description)


def document(derived: Derived, form: Format | None) -> Document:
    """The table in a format, or the picture."""
    if form is None:
        return Document(PNG, iter([picture(derived)]), f"{derived.name}.png")
    rows = derived.rows(fits=form.name == "fits")
    return Document(form.media_type, form.write(rows, (), ()), f"{derived.name}.{form.suffix}")


def read_form(params: Params) -> Format | None:
    text = params.one("FORMAT", "RESPONSEFORMAT")
    if text is not None and MediaType.parse(text).essence in (PNG, "png"):
        return None
    return choose_format(text)


async def answer(make: Callable[[OpenRelease, State, Params], Derived], request: Request) -> Response:
    services = request.app.state
    params = await request_params(request)
    form = read_form(params)

    def work(stack: ExitStack) -> Document:
        release = stack.enter_context(services.holder.pin())
        return document(make(release, services.state, params), form)

    return await respond(request, work)


# --- descriptors ---


def reconstruction_url(base_url: str, did: str) -> str:
    return f"{base_url}{RECONSTRUCTION}?ID={quoted(did)}"


def services(base_url: str, ref: str, release: OpenRelease) -> tuple[ServiceDescriptor, ...]:
    """How both are called for the identifiers in the column `ref`.

    Descriptions tell what the fields take: TOPCAT 4.8 shows the names of parameters and nothing else of them.
    """
    models = decoding(release)
    labels = dict.fromkeys(one.label for model in models.values() for one in walked(model) if one.label)
    return (
        ServiceDescriptor(
            id="reconstruction",
            name="Reconstruction",
            description=f"{SEEN}; MODEL: {', '.join(models)}",
            access_url=f"{base_url}{RECONSTRUCTION}",
            content_type=VOTABLE,
            params=(identifier(ref), *reconstruction_params(release)),
        ),
        ServiceDescriptor(
            id="traversal",
            name="Latent traversal",
            description="How the spectrum would change along a latent; "
            f"LATENT: {', '.join(labels)} or another of doppel.latents; "
            f"SIGMA: from and to, as in {USUAL[0]:g} {USUAL[1]:g}; STEPS: how many spectra",
            access_url=f"{base_url}{TRAVERSAL}",
            content_type=VOTABLE,
            params=(identifier(ref), *traversal_params(release)),
        ),
    )


def reconstruction_params(release: OpenRelease) -> tuple[InputParam, ...]:
    return (
        InputParam(
            "MODEL",
            ucd="meta.modelled;meta.id",
            description="The model; the first that can embed the spectrum if left empty",
            options=tuple(decoding(release)),
        ),
        InputParam(
            "FORMAT",
            ucd="meta.code.mime",
            description="Media type of the answer; VOTable if left empty",
            options=(VOTABLE, FITS, CSV, PNG),
        ),
    )


def traversal_params(release: OpenRelease) -> tuple[InputParam, ...]:
    latents = [one.label or one.name for model in decoding(release).values() for one in walked(model)]
    model, form = reconstruction_params(release)
    return (
        model,
        InputParam(
            "LATENT",
            ucd="meta.id",
            description="Along what: a label or latent of the model; the first if left empty",
            options=tuple(dict.fromkeys(latents)),
        ),
        InputParam(
            "SIGMA",
            "double",
            "2",
            ucd="stat.stdev",
            xtype="interval",
            description="From where to where, in the latent's standard deviations; -2 2 if left empty",
            minimum=repr(-FARTHEST),
            maximum=repr(FARTHEST),
        ),
        InputParam(
            "STEPS",
            "int",
            None,
            ucd="meta.number",
            description=f"How many spectra; {STEPS} if left empty",
            minimum="2",
            maximum=str(MAX_STEPS),
        ),
        form,
    )


routes: list[BaseRoute] = [
    Route(RECONSTRUCTION, partial(answer, reconstruction_of), methods=["GET", "POST"]),
    Route(TRAVERSAL, partial(answer, traversal_of), methods=["GET", "POST"]),
]
