"""Faults as each protocol says them: a VOTable on query endpoints, plain text on all others (DALI 5.2)."""

from __future__ import annotations

import logging

from sqlalchemy.exc import OperationalError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index.engines.vector_server import ServerMissing
from service.errors import BusyFault, ServiceFault
from service.formats.stream import Info
from service.formats.votable import MEDIA_TYPE, error_document
from service.query.engine import missing

log = logging.getLogger("doppel.service")

VOTABLE_PATHS = ("/tap/sync", "/ssa", "/similar_to")
SODA_PATHS = ("/soda",)
CONE_PATHS = ("/scs",)
SODA_WORDS = {
    "UsageFault": "UsageError",
    "NotFoundFault": "UsageError",
    "TransientFault": "ServiceUnavailable",
    "AuthorizationFault": "AuthorizationError",
    "MultiValuedParamNotSupported": "MultiValuedParamNotSupported",
}
TOO_LARGE = "The request is larger than this service accepts: at most {limit} bytes"
BROKEN = "The connection ended before the request was whole"
STATE = "Nothing can be kept here now: the disk is full or the database of the state is gone; try again later"
INTERNAL = "Internal error: it is in the log of the service; please tell its operator what you asked and when"


def fault_response(request: Request, message: str, status: int, fault: str) -> Response:
    """The error document of the protocol that the path belongs to."""
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    if path.startswith(CONE_PATHS):
        return Response(cone_error(message), 200, media_type="text/xml")
    if path.startswith(VOTABLE_PATHS):
        return Response(error_document(message, fault), status, {"Content-Type": MEDIA_TYPE})
    if path.startswith(SODA_PATHS):
        return PlainTextResponse(soda_text(message, fault), status)
    return PlainTextResponse(f"{fault}: {message}\n", status)


def soda_text(message: str, fault: str) -> str:
    """A fault in SODA's words for its kind (SODA 1.0, 5.2)."""
    return f"{SODA_WORDS.get(fault, 'Error')}: {message}\n"


def cone_error(message: str) -> bytes:
    """Cone Search says errors by an INFO named Error (SCS 1.03, 2.3)."""
    return error_document(message, infos=[Info("Error", message)])


async def service_fault(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, ServiceFault)  # noqa: S101 -- registered for this class
    response = fault_response(request, str(fault), fault.status, fault.fault)
    if isinstance(fault, BusyFault):
        response.headers["Retry-After"] = str(fault.retry_after)
    return response


async def http_fault(request: Request, fault: Exception) -> Response:
    """What the framework refuses: unknown paths, methods, bodies that are too large or malformed."""
    assert isinstance(fault, HTTPException)  # noqa: S101 -- registered for this class
    message = fault.detail
    if fault.status_code == 413:
        message = TOO_LARGE.format(limit=request.app.state.config.limits.request_bytes)
    elif fault.status_code == 404:
        message = f"There is nothing at {request.url.path}"
    word = "UsageFault" if fault.status_code < 500 else "DefaultFault"
    if fault.status_code == 404:
        word = "NotFoundFault"
    response = fault_response(request, message, fault.status_code, word)
    response.headers.update(fault.headers or {})
    return response


class BodyLimit:
    """Middleware: a body of more bytes than are allowed is refused in the words of its protocol (D41)."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        told = headers.get("content-length", "0")
        if not told.isdigit() or int(told) > self.limit:
            too_large = HTTPException(413)
            await (await http_fault(Request(scope), too_large))(scope, receive, send)
            return
        await self.app(scope, self.counted(receive, told != "0" or "transfer-encoding" in headers), send)

    def counted(self, receive: Receive, has_body: bool) -> Receive:
        size, more = 0, has_body

        async def limited() -> Message:
            nonlocal size, more
            message = await receive()
            if message["type"] == "http.disconnect" and more:
                raise HTTPException(400, BROKEN)
            more = bool(message.get("more_body"))
            size += len(message.get("body", b""))
            if size > self.limit:
                raise HTTPException(413)
            return message

        return limited


async def server_missing(request: Request, error: Exception) -> Response:
    """A server that keeps a part of the vectors does not answer; the others alone are no answer."""
    assert isinstance(error, ServerMissing)  # noqa: S101 -- registered for this class
    return await service_fault(request, missing(error))


async def state_missing(request: Request, error: Exception) -> Response:
    """The state's database is full or does not answer: what needs none of it is answered as ever."""
    assert isinstance(error, OperationalError)  # noqa: S101 -- registered for this class
    log.error("The state cannot be used at %s: %s", request.url.path, error.orig)
    return await service_fault(request, BusyFault(STATE))


async def internal_error(request: Request, error: Exception) -> Response:
    """A bug: all of it in the log, nothing of it to the client."""
    log.error("Internal error at %s %s", request.method, request.url.path, exc_info=error)
    return fault_response(request, INTERNAL, 500, "DefaultFault")
