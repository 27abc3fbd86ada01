"""Asks an application very many requests without a network, and tells what is wrong with its answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message

from tests.service.mutations import Asked

SECONDS = 120.0  # of one request, twice the limit of a query; a slow machine is no bug
CLIENTS = 100  # take turns, so that none has as many jobs as it may have
BUGS = (b"Traceback", b"Internal error", b'File "')


def meets_no_bug(app: ASGIApp, requests: Iterable[Asked], count: int) -> None:
    """Asserts that all `count` of them are answered, and none with a bug, a traceback, or never."""
    counts, wrong = asyncio.run(campaign(app, requests))
    print(dict(counts))
    assert not wrong, "\n".join(wrong[:20])
    assert counts.total() == count


async def campaign(app: ASGIApp, requests: Iterable[Asked]) -> tuple[Counter[int], list[str]]:
    """How often each status came, and what was wrong with which request."""
    counts: Counter[int] = Counter()
    wrong: list[str] = []
    for number, asked in enumerate(requests):
        status, problem = await outcome(app, asked, f"192.0.2.{number % CLIENTS}")
        counts[status] += 1
        if problem:
            wrong.append(f"{asked}: {problem}")
    return counts, wrong


async def outcome(app: ASGIApp, asked: Asked, client: str) -> tuple[int, str]:
    """The status, and in words what is wrong with the answer, if anything is."""
    answering = asyncio.ensure_future(answer(app, asked, client))
    await asyncio.wait({answering}, timeout=SECONDS)
    if not answering.done():
        answering.cancel()
        return 500, f"no answer after {SECONDS:g} s"
    if (bug := answering.exception()) is not None:
        return 500, repr(bug)
    status, text = answering.result()
    good = status < 500 and not any(word in text for word in BUGS)
    return status, "" if good else f"HTTP {status} {text[:300]!r}"


async def answer(app: ASGIApp, asked: Asked, client: str) -> tuple[int, bytes]:
    """Status and the body's first and last part."""
    start: dict[str, Any] = {}
    body: list[bytes] = []
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.sleep(3600)
        sent = True
        return {"type": "http.request", "body": asked.body, "more_body": False}

    async def send(message: Message) -> None:
        start.update(message) if message["type"] == "http.response.start" else body.append(
            message.get("body", b"")
        )

    await app(scope(asked, client), receive, send)
    whole = b"".join(body)
    return int(start["status"]), whole[:20_000] + whole[-5_000:]


def scope(asked: Asked, client: str) -> dict[str, Any]:
    """The request as ASGI has it."""
    path = unquote_to_bytes(asked.path.encode(errors="replace")).decode(errors="replace")
    headers = [(b"host", b"archive.example"), (b"content-length", str(len(asked.body)).encode())]
    if asked.content_type:
        headers.append((b"content-type", asked.content_type.encode()))
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": asked.method,
        "path": path, "raw_path": asked.path.encode(errors="replace"), "query_string": asked.query,
        "headers": headers, "client": (client, 5000), "server": ("archive.example", 80), "root_path": "",
        "state": {}, "scheme": "http",
    }  # fmt: skip
