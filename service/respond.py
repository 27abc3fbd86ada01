"""Documents on their way to the client: made in a thread, streamed, packed when asked, closed at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain

import anyio
import pyarrow as pa
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.errors import ServiceFault
from service.formats.drain import Drain

log = logging.getLogger(__name__)

AT_ONCE = 256 * 1024  # bytes; an answer up to this size goes out whole, with its Content-Length
WORTH_PACKING = 500
CODINGS = ("zstd", "gzip")


@dataclass(frozen=True, slots=True)
class Document:
    """What a handler answers: pieces of bytes under a media type."""

    media_type: str
    chunks: Iterator[bytes]
    filename: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Work = Callable[[ExitStack], Document]


async def respond(request: Request, work: Work) -> Response:
    """Runs `work` in a thread. What it enters into the stack (a pinned release, an open query) is left when
    the last byte is out, the client is gone, or something failed; faults up to the first piece are raised."""
    stack = ExitStack()
    try:
        return await run_in_threadpool(_begin, request, work, stack)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(stack.close)
        raise


def _begin(request: Request, work: Work, stack: ExitStack) -> Response:
    document = work(stack)
    headers = {"Content-Type": document.media_type, "Vary": "Accept-Encoding", **document.headers}
    if document.filename:
        headers["Content-Disposition"] = f'inline; filename="{document.filename}"'
    first, more = first_pieces(document.chunks)
    coding = wanted_coding(request.headers.get("accept-encoding", ""), len(first))
    if coding:
        headers["Content-Encoding"] = coding
    if not more:
        stack.close()
        body = first if coding is None else b"".join(packed(iter([first]), coding))
        return Response(body, document.status, headers)
    pieces = chain([first], document.chunks)
    chunks = pieces if coding is None else packed(pieces, coding)
    return Stream(chunks, stack, document, headers)


def first_pieces(chunks: Iterator[bytes]) -> tuple[bytes, bool]:
    """The first AT_ONCE bytes or more, and whether there may be others."""
    pieces, size = [], 0
    for chunk in chunks:
        pieces.append(chunk)
        size += len(chunk)
        if size > AT_ONCE:
            return b"".join(pieces), True
    return b"".join(pieces), False


class Stream(StreamingResponse):
    """Sends pieces as they are made and closes the stack, come what may. A fault in a format that has no word
    for it leaves the answer without its end, and the connection is cut: nobody takes it for whole."""

    def __init__(
        self, chunks: Iterator[bytes], stack: ExitStack, document: Document, headers: Mapping[str, str]
    ) -> None:
        super().__init__(chunks, document.status, headers)
        self.stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except ServiceFault as fault:
            log.warning("an answer of %s was cut: %s", scope["path"], fault)
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self.stack.close)


def wanted_coding(accept: str, size: int) -> str | None:
    """The packing that the client asks for by name (`*` is not asking); None for short answers."""
    if size < WORTH_PACKING or not accept:
        return None
    asked = {}
    for part in accept.lower().split(","):
        name, _, quality = part.partition(";")
        asked[name.strip()] = quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return next((coding for coding in CODINGS if asked.get(coding)), None)


def packed(chunks: Iterator[bytes], coding: str) -> Iterator[bytes]:
    sink = Drain()
    with pa.CompressedOutputStream(pa.PythonFile(sink, "w"), coding) as packer:
        for chunk in chunks:
            packer.write(chunk)
            if sink.pieces:
                yield sink.taken()
    yield sink.taken()
