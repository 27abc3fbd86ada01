"""`/spectra/<DID>.<suffix>`: a spectrum in every format, its preview, and the archive's original file.

The DID is percent-encoded as a whole; the last suffix says what is wanted, so that `+ # & ? /` and dots
inside an identifier survive. A DID without a suffix means the original file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from encoder.spectrum import RefusedSpectrum, Spectrum
from index.release import OpenRelease
from service.errors import NotFoundFault, ServiceFault
from service.formats.preview import write_png, write_svg
from service.formats.spectrum import CSV, FITS, VOTABLE, write_csv, write_fits, write_votable

ORIGINAL = ".orig"


@dataclass(frozen=True, slots=True)
class Product:
    """One way to have a spectrum; `write` takes the publisher's name too."""

    suffix: str
    media_type: str
    description: str
    write: Callable[[Spectrum, str], bytes]


PRODUCTS: Mapping[str, Product] = {
    product.suffix: product
    for product in (
        Product(
            ".vot",
            VOTABLE,
            "Spectrum as a VOTable, vacuum wavelengths",
            lambda spectrum, publisher: write_votable(spectrum, publisher=publisher),
        ),
        Product(
            ".fits",
            FITS,
            "Spectrum as a FITS table, vacuum wavelengths",
            lambda spectrum, publisher: write_fits(spectrum, publisher=publisher),
        ),
        Product(".csv", CSV, "Spectrum as CSV, vacuum wavelengths", lambda spectrum, _: write_csv(spectrum)),
        Product(".png", "image/png", "Plot of the spectrum", lambda spectrum, _: write_png(spectrum)),
        Product(".svg", "image/svg+xml", "Plot of the spectrum", lambda spectrum, _: write_svg(spectrum)),
    )
}


def product_url(base_url: str, did: str, suffix: str) -> str:
    """Absolute, with the identifier fully encoded (SSA 1.1, 4.2.5.1)."""
    return f"{base_url}/spectra/{quoted(did)}{suffix}"


@lru_cache(maxsize=1024)
def quoted(did: str) -> str:
    """Every letter that means something in a URL encoded: one identifier is in many links."""
    return quote(did, safe="")


def find(release: OpenRelease, path: str) -> tuple[int, str]:
    """Row and suffix that a decoded path means; NotFoundFault where there is no such spectrum."""
    path = re.sub(r"^(\w+):/+", r"\1://", path)  # proxies merge slashes
    stem, dot, ending = path.rpartition(".")
    suffix = dot + ending
    if suffix in PRODUCTS or suffix == ORIGINAL:
        row = release.row_of(stem)
        if row is not None:
            return row, suffix
    row = release.row_of(path)
    if row is None:
        known = ", ".join(PRODUCTS)
        raise NotFoundFault(f"No spectrum {path} here; the identifier is followed by one of {known}")
    return row, ORIGINAL


def etag(release: OpenRelease, row: int, suffix: str) -> str:
    """Changes with the release; releases do not change."""
    return '"' + hashlib.sha256(f"{release.id} {row} {suffix}".encode()).hexdigest()[:24] + '"'


def product(release: OpenRelease, row: int, suffix: str, publisher: str) -> bytes:
    """The file; NotFoundFault where the original can no longer be read."""
    try:
        spectrum = release.spectrum(row)
    except RefusedSpectrum as reason:
        raise NotFoundFault(f"{release.did_of(row)} cannot be read: {reason}") from reason
    return PRODUCTS[suffix].write(spectrum, publisher)


def file_name(did: str, suffix: str) -> str:
    """A name to save under: the last part of the identifier."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", re.split(r"[/?]", did)[-1]) + suffix


def byte_range(header: str, size: int) -> slice | None:
    """The one range that `Range` asks for; None for the whole (RFC 9110, 14.2)."""
    asked = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.strip())
    if not asked or not (asked[1] or asked[2]):
        return None
    if not asked[1]:
        return slice(max(size - int(asked[2]), 0), size)
    start, stop = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else size, size)
    return slice(start, stop) if start < stop else slice(size, size)


def part(request: Request, body: bytes, media_type: str, headers: dict[str, str]) -> Response:
    """The body, or the range of it that was asked for."""
    headers = {**headers, "Accept-Ranges": "bytes"}
    wanted = byte_range(request.headers.get("range", ""), len(body))
    if wanted is None or request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
        return Response(body, media_type=media_type, headers=headers)
    if wanted.start >= len(body):
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{len(body)}"})
    headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{len(body)}"
    return Response(body[wanted], 206, headers, media_type)


async def get_product(request: Request) -> Response:
    state = request.app.state
    with state.holder.pin() as release:
        try:
            row, suffix = find(release, request.path_params["path"])
            headers = {"ETag": etag(release, row, suffix), "Cache-Control": "public, max-age=3600"}
            if request.headers.get("if-none-match") == headers["ETag"]:
                return Response(status_code=304, headers=headers)
            if suffix == ORIGINAL:
                return await run_in_threadpool(original, release, row)
            publisher = state.config.registry.publisher
            body = await run_in_threadpool(product, release, row, suffix, publisher)
        except ServiceFault as fault:
            return PlainTextResponse(f"{fault.fault}: {fault}", fault.status)
        name = file_name(release.did_of(row), suffix)
        headers["Content-Disposition"] = f'inline; filename="{name}"'
        return part(request, body, PRODUCTS[suffix].media_type, headers)


def original(release: OpenRelease, row: int) -> Response:
    """The file of the archive, byte for byte."""
    try:
        path: Path = release.original(row)
    except RefusedSpectrum as reason:
        raise NotFoundFault(f"The original of {release.did_of(row)} cannot be had: {reason}") from reason
    facts = release.facts_of(row)
    headers = {"Cache-Control": "public, max-age=3600"}
    return FileResponse(path, media_type=facts.media_type, filename=path.name, headers=headers)


routes: list[BaseRoute] = [Route("/spectra/{path:path}", get_product, methods=["GET", "HEAD"])]
