"""`/encode`: a spectrum of one's own → labels with intervals, anomaly, coverage, and a word for it.

`upload:<token>` then is a reference in ADQL, SSA and `/similar_to`. What is kept are the pixels: they are
encoded anew under every release.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from encoder.prepare import Prepared, prepare, require_coverage
from encoder.spectrum import RefusedSpectrum, Spectrum
from index.release import Model, OpenRelease
from service.errors import UsageFault
from service.own_spectrum import Own, Told
from service.protocols.dali import Params, choose_word, iso, request_params

if TYPE_CHECKING:
    from encoder.infer import Encoded
    from service.state import State

PREFIX = "upload:"
PART = "spectrum"  # the part of a form that holds the file
MEDIA = ("air", "vacuum")
FRAMES = ("rest", "heliocentric", "barycentric", "observed")


@dataclass(frozen=True, slots=True)
class Sent:
    """A file and what its sender says of it."""

    content: bytes
    told: Told


async def sent_spectrum(request: Request, params: Params) -> Sent | None:
    """The part `spectrum` of a form, the only file of a form, or the bare body; None where there is none."""
    told = told_of(params)
    if params.files:
        part = params.files.get(PART) or next(iter(params.files.values()))
        name, content = told.name or (part.filename or "").rsplit("/", 1)[-1], await part.read()
        for other in params.files.values():
            await other.close()
        return Sent(content, told_of(params, name))
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method == "POST" and kind not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        content = await request.body()
        return Sent(content, told) if content else None
    text = params.one(PART)
    return Sent(text.encode(), told) if text else None


def told_of(params: Params, name: str = "") -> Told:
    medium, frame = params.one("MEDIUM"), params.one("FRAME")
    return Told(
        unit=params.one("UNIT") or "",
        medium=choose_word("MEDIUM", medium, MEDIA) if medium else "",
        frame=choose_word("FRAME", frame, FRAMES) if frame else "",
        wave=params.one("WAVE") or "",
        flux=params.one("FLUX") or "",
        error=params.one("ERROR") or "",
        layout=params.one("LAYOUT") or "",
        name=name or params.one("NAME") or "",
    )


def prepared_for(model: Model, spectrum: Spectrum) -> Prepared:
    """The spectrum on the model's grid; RefusedSpectrum where it covers too little of it."""
    prepared = prepare(spectrum, model.encoder.grid)
    require_coverage(prepared, model.encoder.grid, model.recipe.min_coverage)
    return prepared


def prepared_by(release: OpenRelease, spectrum: Spectrum) -> dict[str, Prepared | RefusedSpectrum]:
    """By model the spectrum on its grid, or why it cannot be embedded; UsageFault where none can."""
    found: dict[str, Prepared | RefusedSpectrum] = {}
    for model in release.models.values():
        try:
            found[model.name] = prepared_for(model, spectrum)
        except RefusedSpectrum as reason:
            found[model.name] = reason
    if all(isinstance(one, RefusedSpectrum) for one in found.values()):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.items())
        raise UsageFault(f"No model of this archive can embed the spectrum: {reasons}")
    return found


def answer(release: OpenRelease, own: Own) -> dict[str, Any]:
    """What every model of the release makes of the spectrum, as JSON writes it; UsageFault where none can."""
    models: dict[str, Any] = {}
    for name, prepared in prepared_by(release, own.spectrum).items():
        if isinstance(prepared, RefusedSpectrum):
            models[name] = {"refused": str(prepared)}
            continue
        model = release.models[name]
        models[name] = model_words(model, prepared, model.encoder.encode([prepared]))
    return {"release": release.id, "spectrum": spectrum_words(own), "models": models}


def spectrum_words(own: Own) -> dict[str, Any]:
    spectrum = own.spectrum
    return {
        "name": spectrum.facts.object,
        "pixels": len(spectrum.wave),
        "masked": int(spectrum.mask.sum()),
        "wave_min_angstrom": spectrum.em_min * 1e10,
        "wave_max_angstrom": spectrum.em_max * 1e10,
        "has_errors": spectrum.has_errors,
        "assumed": list(own.assumed),
    }


def model_words(model: Model, prepared: Prepared, found: Encoded) -> dict[str, Any]:
    """Labels with intervals, anomaly, coverage, latents with errors, of the one spectrum encoded."""
    bounds = {
        "lo68": found.label_lo68,
        "hi68": found.label_hi68,
        "lo90": found.label_lo90,
        "hi90": found.label_hi90,
    }
    labels = {
        label.name: {
            "value": number(found.labels[0, place]),
            "unit": label.unit,
            **{name: number(values[0, place]) for name, values in bounds.items()},
        }
        for place, label in enumerate(model.recipe.labels)
    }
    latents = {
        latent.name: {"value": number(found.vectors[0, place]), "sigma": number(found.sigmas[0, place])}
        for place, latent in enumerate(model.recipe.latents)
    }
    return {
        "model_id": model.recipe.model_id,
        "coverage": round(prepared.coverage, 4),
        "anomaly": number(found.anomaly[0]),
        "labels": labels,
        "latents": latents,
    }


def number(value: Any) -> float | None:
    """Seven digits, which float32 has; what is not finite is null."""
    return float(f"{float(value):.7g}") if math.isfinite(float(value)) else None


# --- tokens ---


def keep(services: Any, name: str, own: Own) -> str:
    """The word upload:<token> that stands for the spectrum until it expires."""
    token: str = services.state.keep_token(name, own.to_bytes(), services.config.limits.token_seconds)
    return PREFIX + token


def kept(state: State, token: str) -> Own:
    """The upload that a token stands for; UsageFault where it is unknown or has expired."""
    word = token.removeprefix(PREFIX)
    found = state.token(word)
    if found is None:
        raise UsageFault(
            f"{PREFIX}{word} stands for no upload, or for one that has expired; "
            "/encode says until when it works"
        )
    return Own.from_bytes(found.content)


def upload_vectors(state: State, release: OpenRelease, token: str) -> Mapping[str, NDArray[np.float32]]:
    """The vector (n_latent,) of an upload by every model that can embed it; UsageFault where none can."""
    return {
        name: release.models[name].encoder.encode([prepared]).vectors[0]
        for name, prepared in prepared_by(release, kept(state, token).spectrum).items()
        if not isinstance(prepared, RefusedSpectrum)
    }


async def post_spectrum(request: Request) -> Response:
    state = request.app.state
    sent = await sent_spectrum(request, await request_params(request))
    if sent is None:
        raise UsageFault(f"There is no spectrum: send the file as the body, or as the part {PART} of a form")

    def work() -> dict[str, Any]:
        own = state.parsers.read(sent.content, sent.told)
        with state.holder.pin() as release:
            words = answer(release, own)
        expires = datetime.now(UTC) + timedelta(seconds=state.config.limits.token_seconds)
        return {"upload": keep(state, sent.told.name, own), "expires": iso(expires), **words}

    words = await run_in_threadpool(work)
    body = json.dumps(words, ensure_ascii=False, indent=1).encode() + b"\n"
    return Response(body, media_type="application/json")


routes: list[BaseRoute] = [Route("/encode", post_spectrum, methods=["POST"])]
