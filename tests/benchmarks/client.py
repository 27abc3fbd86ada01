"""Clients of a TAP service: one that times every answer, one that only counts, as many at once as wanted."""

from __future__ import annotations

import http.client
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

FORM = "application/x-www-form-urlencoded"
MULTIPART = "form-data-of-this-benchmark"
PIECE = 1 << 20


@dataclass(frozen=True)
class Timed:
    """Seconds to the last and to the first byte."""

    seconds: float
    first: float
    size: int
    content: bytes = b""
    location: str = ""


@dataclass(frozen=True)
class Service:
    """A TAP service, its 20-column table, and its processes."""

    tap: str
    table: str
    pids: Sequence[int] = ()

    def sync(self, query: str, **more: str) -> Timed:
        return self.send("/sync", urlencode(form(query, **more)).encode(), FORM)

    def send(self, path: str, body: bytes | None = None, kind: str = "") -> Timed:
        """One request on a connection of its own; all of the answer is kept."""
        started = time.perf_counter()
        response = self.open(path, body, kind)
        first = response.read(1)
        at_first = time.perf_counter() - started
        content = first + response.read()
        self.check(response, content[:4000] + content[-2000:])
        place = response.getheader("Location") or ""
        return Timed(time.perf_counter() - started, at_first, len(content), content, place)

    def drain(self, query: str, **more: str) -> int:
        """Bytes of an answer of which nothing is kept but its end."""
        response = self.open("/sync", urlencode(form(query, **more)).encode(), FORM)
        size, last = 0, b""
        while piece := response.read(PIECE):
            size, last = size + len(piece), piece
        self.check(response, last[-2000:])
        return size

    def open(self, path: str, body: bytes | None, kind: str) -> http.client.HTTPResponse:
        parts = urlsplit(self.tap + path if path.startswith("/") else path)
        connection = http.client.HTTPConnection(parts.netloc, timeout=300)
        headers = {"Connection": "close"} | ({"Content-Type": kind} if kind else {})
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("POST" if body is not None else "GET", target, body, headers)
        return connection.getresponse()

    def check(self, response: http.client.HTTPResponse, ends: bytes) -> None:
        if response.status >= 400 or b'value="ERROR"' in ends:
            raise SystemExit(f"{self.tap}: HTTP {response.status}\n{ends[:1500].decode(errors='replace')}")


def form(query: str, **more: str) -> dict[str, str]:
    return {"LANG": "ADQL", "REQUEST": "doQuery", "QUERY": query, **more}


def multipart(fields: dict[str, str], file: str) -> bytes:
    parts = [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()
    ]
    kind = "Content-Type: application/x-votable+xml"
    parts.append(f'Content-Disposition: form-data; name="part"; filename="t.vot"\r\n{kind}\r\n\r\n{file}')
    return ("".join(f"--{MULTIPART}\r\n{part}\r\n" for part in parts) + f"--{MULTIPART}--\r\n").encode()


@dataclass(frozen=True)
class Rate:
    """Answers per second of many clients, and the share of a core that asking took."""

    answers: float
    asking: float


def hammered(service: Service, query: Callable[[], str], clients: int, seconds: float) -> Rate:
    """Closed loops, each on a new connection when it has its answer: one thread and bare sockets, so that
    asking leaves the machine to the servers."""
    parts = urlsplit(service.tap + "/sync")
    until, before, answers = time.perf_counter() + seconds, time.process_time(), 0
    with selectors.DefaultSelector() as waiting:

        def ask() -> None:
            target = f"{parts.path}?{urlencode(form(query()))}"
            head = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
            connection = socket.create_connection((str(parts.hostname), parts.port or 80))
            connection.sendall(head.encode())
            waiting.register(connection, selectors.EVENT_READ, (connection, []))

        for _ in range(clients):
            ask()
        while waiting.get_map():
            for key, _ in waiting.select():
                connection, pieces = key.data
                if piece := connection.recv(PIECE):
                    pieces.append(piece)
                    continue
                waiting.unregister(connection)
                connection.close()
                require_answer(b"".join(pieces))
                if time.perf_counter() < until:
                    answers += 1
                    ask()
    return Rate(answers / seconds, (time.process_time() - before) / seconds)


def require_answer(document: bytes) -> None:
    if b" 200 " not in document[:20] or b'value="ERROR"' in document:
        raise SystemExit(document[:1500].decode(errors="replace"))
