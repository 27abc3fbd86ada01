"""What is watched of a running service: log line, headers and count for every request; health, metrics."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

access = logging.getLogger("doppel.access")

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
        "script-src 'self'; connect-src 'self' http://localhost:21012 http://127.0.0.1:21012; "
        "object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
    ),
}


class Metrics:
    """Counts since the process began, in Prometheus' text form. Kept by the event loop's thread alone."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.seconds: Counter[str] = Counter()
        self.buckets: Counter[tuple[str, float]] = Counter()
        self.bytes: Counter[str] = Counter()
        self.running = 0
        self.started = time.time()

    def add(self, method: str, path: str, status: int, seconds: float, size: int) -> None:
        name = endpoint(path)
        self.requests[(method, name, status)] += 1
        self.seconds[name] += seconds  # type: ignore[assignment]
        self.bytes[name] += size
        for bound in BUCKETS:
            if seconds <= bound:
                self.buckets[(name, bound)] += 1

    def lines(self) -> Iterator[str]:
        yield "# HELP doppel_requests_total Requests answered."
        yield "# TYPE doppel_requests_total counter"
        for (method, name, status), count in sorted(self.requests.items()):
            yield f'doppel_requests_total{{method="{method}",endpoint="{name}",status="{status}"}} {count}'
        yield "# HELP doppel_response_bytes_total Bytes sent as answers."
        yield "# TYPE doppel_response_bytes_total counter"
        for name, size in sorted(self.bytes.items()):
            yield f'doppel_response_bytes_total{{endpoint="{name}"}} {size}'
        yield "# HELP doppel_request_seconds Time from the request to the last byte of its answer."
        yield "# TYPE doppel_request_seconds histogram"
        yield from self.histogram()
        yield "# HELP doppel_requests_running Requests being answered now."
        yield "# TYPE doppel_requests_running gauge"
        yield f"doppel_requests_running {self.running}"
        yield "# HELP doppel_start_time_seconds When the process began, in Unix time."
        yield "# TYPE doppel_start_time_seconds gauge"
        yield f"doppel_start_time_seconds {self.started:.3f}"

    def histogram(self) -> Iterator[str]:
        totals: Counter[str] = Counter()
        for (_, name, _), count in self.requests.items():
            totals[name] += count
        for name, total in sorted(totals.items()):
            for bound in BUCKETS:
                count = self.buckets[(name, bound)]
                yield f'doppel_request_seconds_bucket{{endpoint="{name}",le="{bound:g}"}} {count}'
            yield f'doppel_request_seconds_bucket{{endpoint="{name}",le="+Inf"}} {total}'
            yield f'doppel_request_seconds_sum{{endpoint="{name}"}} {self.seconds[name]:.6f}'
            yield f'doppel_request_seconds_count{{endpoint="{name}"}} {total}'


ENDPOINTS = frozenset(
    {
        "tap", "ssa", "scs", "datalink", "soda", "similar_to", "encode", "spectra", "oai", "health",
        "derived", "metrics", "rdf", "static",
    }
)  # fmt: skip


def endpoint(path: str) -> str:
    """The first words of a path that are ours, so that strangers' paths make no new series."""
    words = path.strip("/").split("/")
    if words[0] not in ENDPOINTS:
        return "/" if words == [""] else "other"
    return "/".join(words[:2]) if words[0] == "tap" and len(words) > 1 else words[0]


class Watch:
    """Middleware: counts, times and logs a request, RUNID included; puts the common headers on the answer,
    and closes the files that the request brought."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, seen = time.perf_counter(), {"status": 500, "size": 0}
        self.metrics.running += 1
        try:
            await self.app(scope, receive, watched(send, seen))
        finally:
            self.metrics.running -= 1
            if (form := scope.get("state", {}).get("form")) is not None:
                await form.close()
            seconds = time.perf_counter() - began
            self.metrics.add(scope["method"], scope["path"], seen["status"], seconds, seen["size"])
            access.info("%s", log_line(scope, seen, seconds))


def watched(send: Send, seen: MutableMapping[str, int]) -> Send:
    async def passing(message: Message) -> None:
        if message["type"] == "http.response.start":
            seen["status"] = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        elif message["type"] == "http.response.body":
            seen["size"] += len(message.get("body", b""))
        await send(message)

    return passing


def log_line(scope: Scope, seen: MutableMapping[str, int], seconds: float) -> str:
    client = scope.get("client") or ("-",)
    runid = scope.get("state", {}).get("runid", "-")
    words: list[Any] = [client[0], scope["method"], scope["path"], seen["status"], seen["size"]]
    return " ".join(
        (*map(printable, map(str, words)), f"{1000 * seconds:.1f}ms", f"RUNID={printable(runid)}")
    )


def printable(text: str) -> str:
    """Nothing that could begin a log line of its own."""
    return "".join(c if c.isprintable() else "?" for c in text)[:500]


async def health(request: Request) -> Response:
    """Alive, and which release answers."""
    with request.app.state.holder.pin() as release:
        return JSONResponse({"status": "ok", "release": release.id})


async def metrics(request: Request) -> Response:
    body = "\n".join(request.app.state.metrics.lines()) + "\n"
    return PlainTextResponse(body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
