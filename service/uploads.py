"""TAP uploads: which tables a request brings along, and reading them (TAP 1.1, 2.7.6; DALI 4.3.5)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import BusyFault, TooLargeFault, UsageFault
from service.fetch import Resolver, fetch, resolve
from service.formats.read import read_table
from service.limits import Limits
from service.query.run import Upload

READERS, PATIENCE = 3, 10.0  # uploads read at a time in one process; seconds that others wait for their turn
READING = threading.BoundedSemaphore(READERS)
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class UploadRef:
    """`TAP_UPLOAD.<name>` and where it comes from: `param:part` or a URL."""

    name: str
    uri: str


def upload_refs(values: Iterable[str], limits: Limits) -> tuple[UploadRef, ...]:
    """`name,uri` pairs, repeated (TAP 1.1) or joined by semicolons (TAP 1.0)."""
    refs = [upload_ref(pair) for value in values for pair in split_pairs(value)]
    names = [ref.name.lower() for ref in refs]
    for name in names:
        if names.count(name) > 1:
            raise UsageFault(f"UPLOAD names the table {name} twice")
    if len(refs) > limits.upload_tables:
        raise TooLargeFault(f"{len(refs)} tables are uploaded: at most {limits.upload_tables} are allowed")
    return tuple(refs)


def split_pairs(value: str) -> list[str]:
    """A semicolon begins a new pair only where `name,` follows: URLs may hold semicolons."""
    return [pair for pair in re.split(r";(?=\s*[A-Za-z][A-Za-z0-9_]*\s*,)|;\s*$", value) if pair.strip()]


def upload_ref(pair: str) -> UploadRef:
    name, comma, uri = (part.strip() for part in pair.partition(","))
    if not comma or not uri:
        raise UsageFault(f"UPLOAD is not a pair of name and address (name,uri): {pair}")
    if not NAME.fullmatch(name):
        raise UsageFault(
            f"UPLOAD names a table {name}: a name begins with a letter; letters, digits and _ follow"
        )
    if not uri.startswith(("param:", "http://", "https://")):
        raise UsageFault(f"UPLOAD has an address that is neither param:…, http://… nor https://…: {uri}")
    return UploadRef(name, uri)


def read_uploads(
    refs: Sequence[UploadRef], open_part: Callable[[str], bytes], limits: Limits, resolver: Resolver = resolve
) -> Mapping[str, Upload]:
    """The tables by name. UsageFault names the upload that cannot be read, TooLargeFault the limit."""
    found = {}
    for ref in refs:
        content = upload_content(ref, open_part, limits, resolver)
        if len(content) > limits.upload_bytes:
            raise TooLargeFault(
                f"The upload {ref.name} has {len(content)} bytes: at most {limits.upload_bytes} are allowed"
            )
        with turn():
            columns, table = read_table(content, ref.name, limits)
        found[ref.name] = Upload(columns, table)
    return found


@contextmanager
def turn() -> Iterator[None]:
    """One of READERS: a file unpacks to several times its size, and many at once would be too much."""
    if not READING.acquire(timeout=PATIENCE):
        raise BusyFault("Other uploads are being read: try again later")
    try:
        yield
    finally:
        READING.release()


def upload_content(
    ref: UploadRef, open_part: Callable[[str], bytes], limits: Limits, resolver: Resolver
) -> bytes:
    if ref.uri.startswith("param:"):
        return open_part(ref.uri.removeprefix("param:"))
    return fetch(ref.uri, limits.upload_bytes, limits.fetch_seconds, resolver)
