"""`/ssa/capabilities`, `/ssa/availability` and the same of `/scs` and `/similar_to` (VOSI 1.1)."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from registry_metadata.resources import capabilities_document
from service.protocols import vosi
from service.registry import capabilities

SERVICES = ("/ssa", "/scs", "/similar_to")


def document(services: Any, path: str) -> bytes:
    """The capabilities of the service at this path, as the registry's record has them."""
    with services.holder.pin() as release:
        return capabilities_document(capabilities(services.config, services.base_url, release)[path])


async def get_capabilities(path: str, request: Request) -> Response:
    body = await run_in_threadpool(document, request.app.state, path)
    return Response(body, headers={"Content-Type": vosi.XML, **vosi.last_modified(request)})


routes: list[BaseRoute] = [
    *(Route(f"{path}/capabilities", partial(get_capabilities, path)) for path in SERVICES),
    *(Route(f"{path}/availability", vosi.availability) for path in SERVICES),
]
