"""Uploads by URL never reach what is not public (CHECKLIST T36): a listener on loopback must see nothing."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from service import fetch as fetching
from service.errors import TooLargeFault, UsageFault
from service.fetch import fetch, is_public


class Listener(http.server.BaseHTTPRequestHandler):
    seen: list[str] = []  # noqa: RUF012 -- emptied by the fixture

    def do_GET(self) -> None:
        self.seen.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        body = b"x" * 1000
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    Listener.seen.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "0x7f000001", "127.1"],  # noqa: S104
)
def test_t36_spellings_of_loopback_are_refused(host: str, port: int) -> None:
    with pytest.raises(UsageFault):
        fetch(f"http://{host}:{port}/secret", 10_000, 5)
    assert Listener.seen == []


def test_t36_a_name_that_resolves_to_loopback_is_refused(port: int) -> None:
    with pytest.raises(UsageFault, match="not a public one"):
        fetch(f"http://archive.example:{port}/secret", 10_000, 5, loopback)
    assert Listener.seen == []


def test_t36_one_private_address_among_public_ones_is_refused(port: int) -> None:
    with pytest.raises(UsageFault, match="not a public one"):
        fetch(f"http://archive.example:{port}/", 10_000, 5, lambda *_: ["93.184.215.14", "10.0.0.1"])


@pytest.fixture
def all_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts 127.0.0.1 as public, so that a real server can stand for one; 127.0.0.2 stays private."""
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")


@pytest.mark.usefixtures("all_public")
def test_a_public_file_is_loaded_and_bounded(port: int) -> None:
    assert fetch(f"http://archive.example:{port}/a?b=c", 1000, 5, loopback) == b"x" * 1000
    assert Listener.seen == ["/a?b=c"]
    with pytest.raises(TooLargeFault, match="999 bytes"):
        fetch(f"http://archive.example:{port}/a", 999, 5, loopback)
    with pytest.raises(UsageFault, match="answers 404"):
        fetch(f"http://archive.example:{port}/missing", 1000, 5, loopback)


@pytest.mark.usefixtures("all_public")
def test_t36_redirects_are_checked_again(port: int) -> None:
    def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.1" if host == "archive.example" else "10.0.0.1"]

    with pytest.raises(UsageFault, match="not a public one"):
        fetch(f"http://archive.example:{port}/to/http://inside.example:{port}/secret", 1000, 5, resolver)
    assert all("secret" not in path or path.startswith("/to/") for path in Listener.seen)
    with pytest.raises(UsageFault, match="http and https"):
        fetch(f"http://archive.example:{port}/to/file:///etc/passwd", 1000, 5, resolver)


@pytest.mark.usefixtures("all_public")
def test_the_name_is_resolved_once(port: int) -> None:
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    fetch(f"http://rebinding.example:{port}/a", 1000, 5, resolver)
    assert asked == ["rebinding.example"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/b",
        "file:///etc/passwd",
        "http://u:p@a.example/",
        "http:///x",
        "http://a.example:99999/",
        "http://a.example/a b",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(UsageFault):
        fetch(url, 1000, 5, loopback)


def test_a_host_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object) -> list[str]:
        raise socket.gaierror("nobody")

    with pytest.raises(UsageFault, match="no such host"):
        fetch("http://nowhere.example/", 1000, 5, nobody)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("2002:808:808::", True),
        ("2001:0:7f00:1::", False),
        ("::127.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("64:ff9b:1::7f00:1", False),
        ("fec0::1", False),
        ("fe80::1%eth0", False),
        ("224.0.0.1", False),
    ],
)
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public
