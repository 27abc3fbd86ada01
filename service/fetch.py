"""Loads a file that a client names by URL, never from a private address (CHECKLIST T36)."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from urllib.parse import SplitResult, urljoin, urlsplit

from service.errors import TooLargeFault, UsageFault

Resolver = Callable[[str, int], Sequence[str]]
PORTS = {"http": 80, "https": 443}
REDIRECTS = (301, 302, 303, 307, 308)
MAX_REDIRECTS = 5
PIECE = 256 * 1024
UNICAST = ipaddress.IPv6Network("2000::/3")  # all that is given to anybody; what lies outside can wrap IPv4


def resolve(host: str, port: int) -> Sequence[str]:
    """All addresses of a host; OSError where it has none."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def fetch(
    url: str, max_bytes: int, seconds: float, resolver: Resolver = resolve, trusted: str | None = None
) -> bytes:
    """The content of an http or https URL. Every hop's name is resolved once, all its addresses must be
    public unless it is the `trusted` host, and the connection goes to the address that was checked.
    UsageFault, TooLargeFault."""
    deadline = time.monotonic() + seconds
    for _ in range(MAX_REDIRECTS + 1):
        connection = connect(url, deadline, resolver, trusted)
        try:
            found = _get(connection, url, max_bytes, deadline)
        except (OSError, http.client.HTTPException) as error:
            raise UsageFault(f"Cannot load {url}: {error}") from None
        finally:
            connection.close()
        if isinstance(found, bytes):
            return found
        url = found
    raise UsageFault(f"Cannot load {url}: more than {MAX_REDIRECTS} redirects")


def connect(
    url: str, deadline: float, resolver: Resolver, trusted: str | None = None
) -> http.client.HTTPConnection:
    parts = checked_url(url)
    host, port = str(parts.hostname), parts.port or PORTS[parts.scheme]
    address = address_of(url, host, port, resolver, host == trusted)
    timeout = max(deadline - time.monotonic(), 0.1)
    if parts.scheme == "https":
        return PinnedHTTPS(host, port, address, timeout)
    return PinnedHTTP(host, port, address, timeout)


def checked_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageFault(f"This is not a URL: {url}") from None
    if parts.scheme not in PORTS or not parts.hostname or parts.username is not None:
        raise UsageFault(f"Only http and https URLs without a user are loaded: {url}")
    if port == 0 or any(c <= " " or c == "\x7f" for c in url):
        raise UsageFault(f"This is not a URL: {url!r}")
    return parts


def address_of(url: str, host: str, port: int, resolver: Resolver, is_trusted: bool) -> str:
    """The first address of the host; refused where any is not a public one, unless the host is trusted."""
    try:
        addresses = resolver(host, port)
    except (OSError, UnicodeError):
        raise UsageFault(f"Cannot load {url}: no such host") from None
    if not addresses:
        raise UsageFault(f"Cannot load {url}: no such host")
    if not is_trusted and not all(is_public(address) for address in addresses):
        raise UsageFault(f"Cannot load {url}: its host is not a public one")
    return addresses[0]


def is_public(address: str) -> bool:
    """Reachable by everybody; addresses that wrap another (IPv4 in IPv6) are judged by both."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not isinstance(found, ipaddress.IPv6Address):
        return found.is_global and not found.is_multicast
    if found.ipv4_mapped is not None:
        return is_public(str(found.ipv4_mapped))
    inner = [found.sixtofour, *(found.teredo or ())]
    return (
        found in UNICAST and found.is_global and all(is_public(str(one)) for one in inner if one is not None)
    )


class PinnedHTTP(http.client.HTTPConnection):
    """Speaks to the given address, whatever the name resolves to by now."""

    def __init__(self, host: str, port: int, address: str, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self.address = address

    def connect(self) -> None:
        self.sock = socket.create_connection((self.address, self.port), self.timeout)


class PinnedHTTPS(http.client.HTTPSConnection):
    """The same over TLS; the certificate must be the name's."""

    def __init__(self, host: str, port: int, address: str, timeout: float) -> None:
        self.tls = ssl.create_default_context()
        super().__init__(host, port, timeout=timeout, context=self.tls)
        self.address = address

    def connect(self) -> None:
        plain = socket.create_connection((self.address, self.port), self.timeout)
        self.sock = self.tls.wrap_socket(plain, server_hostname=self.host)


def _get(connection: http.client.HTTPConnection, url: str, max_bytes: int, deadline: float) -> bytes | str:
    """The content, or the URL that a redirect leads to."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", path, headers={"User-Agent": "doppel", "Accept-Encoding": "identity"})
    response = connection.getresponse()
    if response.status in REDIRECTS:
        return urljoin(url, response.getheader("Location") or "")
    if response.status != 200:
        raise UsageFault(f"Cannot load {url}: it answers {response.status}")
    return _content(response, url, max_bytes, deadline)


def _content(response: http.client.HTTPResponse, url: str, max_bytes: int, deadline: float) -> bytes:
    pieces, size = [], 0
    while piece := response.read1(PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            raise TooLargeFault(f"{url} is larger than the {max_bytes} bytes allowed for an upload")
        if time.monotonic() > deadline:
            raise UsageFault(f"Cannot load {url}: it takes too long")
    return b"".join(pieces)
