"""Files that pages load: ours, and Plotly as its Python package ships it. Nothing from elsewhere."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

PLACES = {  # name in the URL: package, file in it
    "page.css": ("service.web", "static/page.css"),
    "plots.js": ("service.web", "static/plots.js"),
    "samp.js": ("service.web", "static/samp.js"),
    "icon.svg": ("service.web", "static/icon.svg"),
    "plotly.min.js": ("plotly", "package_data/plotly.min.js"),
}
MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """Packed once; `version` changes with the content, so that browsers may keep it for a year."""

    packed: bytes  # gzip
    version: str
    media_type: str

    @property
    def plain(self) -> bytes:
        return gzip.decompress(self.packed)


def _content(name: str) -> bytes:
    package, path = PLACES[name]
    return resources.files(package).joinpath(path).read_bytes()


@cache
def version(name: str) -> str:
    return hashlib.sha256(_content(name)).hexdigest()[:12]


@cache
def asset(name: str) -> Asset:
    packed = gzip.compress(_content(name), 6, mtime=0)
    return Asset(packed, version(name), MEDIA_TYPES[name.rpartition(".")[2]])


async def static(request: Request) -> Response:
    """`/static/{name}?v=…`: the file, for good under its version, else to be asked for again."""
    name = request.path_params["name"]
    if name not in PLACES:
        return PlainTextResponse(f"There is no {name} here; there are {', '.join(PLACES)}", 404)
    found = await run_in_threadpool(asset, name)
    known = request.query_params.get("v") == found.version
    headers = {
        "Cache-Control": FOREVER if known else "no-cache",
        "ETag": f'"{found.version}"',
        "Vary": "Accept-Encoding",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            found.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=found.media_type
        )
    return Response(found.plain, headers=headers, media_type=found.media_type)
