"""`/moc`: where on the sky the archive has spectra (MOC 2.0), as FITS, ASCII or JSON."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from service.coverage import ALL, ascii_moc, mocs
from service.errors import UsageFault
from service.protocols.dali import request_params

if TYPE_CHECKING:
    from mocpy import MOC

FORMATS = {"fits": "application/fits", "ascii": "text/plain", "json": "application/json"}


def coverage(services: Any, form: str) -> Response:
    with services.holder.pin() as release:
        found = mocs(release)[ALL]
    ending = {"ascii": "txt"}.get(form, form)
    headers = {"Content-Disposition": f'inline; filename="coverage.{ending}"'}
    return Response(written(found, form), headers=headers, media_type=FORMATS[form])


def written(moc: MOC, form: str) -> bytes:
    if form == "fits":
        kept = BytesIO()
        moc.serialize(format="fits").writeto(kept)
        return kept.getvalue()
    text: str = moc.to_string(format="json") if form == "json" else ascii_moc(moc)
    return f"{text.strip()}\n".encode()


async def sky(request: Request) -> Response:
    form = (await request_params(request)).one("RESPONSEFORMAT") or "fits"
    known = {**{name: name for name in FORMATS}, **{kind: name for name, kind in FORMATS.items()}}
    if form.lower() not in known:
        raise UsageFault(f"RESPONSEFORMAT is unknown: {form}; allowed: {', '.join(FORMATS)}")
    return await run_in_threadpool(coverage, request.app.state, known[form.lower()])


routes: list[BaseRoute] = [Route("/moc", sky)]
