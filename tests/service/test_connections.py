"""Clients that open connections and give nothing: they are left, and nobody else notices."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest
import uvicorn

from index.releases import ReleaseHolder
from service.app import create_app
from service.config import Config
from service.connections import HEAD_BYTES, Connection
from service.state import State
from tests.samp import until
from tests.serving import PATIENCE, in_thread

POST = b"POST /tap/sync HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
WIDE = b"GET /tap/sync?LANG=ADQL&MAXREC=100000&QUERY=SELECT+a.*+FROM+doppel.spectra+AS+a,+doppel.spectra+AS+b"


class Impatient(Connection):
    sending, taking = 0.6, 0.6


class Patient(Connection):
    sending, taking = PATIENCE, PATIENCE


Running = tuple[uvicorn.Server, tuple[str, int]]


@pytest.fixture(scope="module")
def impatient(config: Config, holder: ReleaseHolder, state: State) -> Iterator[Running]:
    with in_thread(create_app(config, holder, state), Impatient) as found:
        yield found


@pytest.fixture(scope="module")
def patient(config: Config, holder: ReleaseHolder, state: State) -> Iterator[Running]:
    with in_thread(create_app(config, holder, state), Patient) as found:
        yield found


def said(connection: socket.socket) -> bytes:
    """All that comes until the other side ends the connection."""
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


@pytest.mark.parametrize(
    "sent",
    [b"", b"\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\nX-", POST + b"Content-Length: 100\r\n\r\nLANG="],
    ids=["nothing", "an empty line", "half a head", "half a body"],
)
def test_who_sends_no_whole_request_is_left(
    impatient: Running, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), socket.create_connection(impatient[1], PATIENCE) as connection:
        connection.sendall(sent)
        assert said(connection) == b""
    assert not [record for record in caplog.records if record.exc_info]


def test_who_takes_nothing_of_an_answer_is_left(impatient: Running) -> None:
    server, address = impatient
    with socket.create_connection(address, PATIENCE) as connection:
        connection.sendall(WIDE + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        until(lambda: not server.server_state.connections, "end of the connection")
        assert not said(connection).endswith(b"\r\n0\r\n\r\n")  # what came does not look whole


@pytest.mark.parametrize("line", [b"X-Long: 1234567\r\n", b"a"], ids=["many lines", "one line"])
def test_a_head_without_end_is_refused(patient: Running, line: bytes) -> None:
    with socket.create_connection(patient[1], PATIENCE) as connection:
        try:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX: ")
            for _ in range(40):
                connection.sendall(line * (HEAD_BYTES // 10 // len(line)))
        except (ConnectionResetError, BrokenPipeError):
            return
        assert said(connection).startswith(b"HTTP/1.1 400 ")


def test_a_body_that_comes_with_the_end_of_its_head_is_not_of_the_head(patient: Running) -> None:
    server, address = patient
    head = POST + b"Connection: close\r\nX-Long: " + b"x" * (HEAD_BYTES - 1000)
    body = b"LANG=ADQL&QUERY=SELECT+TOP+1+*+FROM+doppel.models&X=" + b"x" * 240_000
    with socket.create_connection(address, PATIENCE) as connection:
        connection.sendall(head)
        until(lambda: len(head) in [one.head_bytes for one in list(server.server_state.connections)], "head")
        connection.sendall(b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        answer = said(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"</VOTABLE>\n")
