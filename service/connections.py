"""Connections that take and never give: bounds on the head of a request, and on waiting for a client."""

from __future__ import annotations

import asyncio
import math
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 256 * 1024
TOO_LONG = f"The head of a request has at most {HEAD_BYTES} bytes"


class Connection(HttpToolsProtocol):
    """A client that sends no whole head or no more of a body, or takes nothing of an answer, is left: it
    keeps memory, a file descriptor and, in the middle of an answer, a release."""

    sending = 30.0  # seconds for a head, and for the next piece of a body
    taking = 120.0  # seconds until there is room for more of the answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self.in_head, self.head_bytes = True, 0
        self.active = self.loop.time()  # when the client, or we, last did what is waited for
        self.look()

    def connection_lost(self, exc: Exception | None) -> None:
        self.looking.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_head, self.head_bytes, self.active = True, 0, self.loop.time()

    def on_headers_complete(self) -> None:
        self.in_head = False
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self.active = self.loop.time()
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        if not self.in_head:
            self.active = self.loop.time()
        super().data_received(data)
        if self.in_head:  # what else came with the end of a head is of the body, or of the next
            self.head_bytes += len(data)
            if self.head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(TOO_LONG)

    def pause_writing(self) -> None:
        self.active = self.loop.time()
        super().pause_writing()

    def look(self) -> None:
        """Leaves a client that was waited for too long; looks again later."""
        if self.loop.time() - self.active > self.allowed:
            self.transport.abort()
        self.looking = self.loop.call_later(self.sending / 3, self.look)

    @property
    def allowed(self) -> float:
        """Seconds for which the client may do nothing; without end where it is not its turn."""
        if self.flow.write_paused:
            return self.taking
        done = self.cycle is None or self.cycle.response_complete
        if done or (self.cycle.more_body and not self.flow.read_paused):
            return self.sending
        return math.inf
