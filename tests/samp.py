"""A SAMP hub and programs on it, for tests: a hub on loopback, and clients that keep what they are sent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pyvo.samp import SAMPHubServer, SAMPIntegratedClient, conf
from pyvo.samp.lockfile_helpers import read_lockfile

from tests.serving import PATIENCE, finish

conf.use_internet = False
T = TypeVar("T")


def until(look: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """What `look` finds, looked for again and again; AssertionError says what never came."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"after {patience:g} s still no {what}")


@contextmanager
def hub(lockfile: Path) -> Iterator[SAMPHubServer]:
    """A hub whose lock file is this one, with the web profile off."""
    server = SAMPHubServer(lockfile=str(lockfile), web_profile=False, addr="127.0.0.1")
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Program:
    """A program on the hub that keeps every message of the kinds it subscribes to."""

    def __init__(self, lockfile: Path, name: str, *mtypes: str) -> None:
        self.client = SAMPIntegratedClient(name=name)
        self.client.connect(hub_params=read_lockfile(str(lockfile)))
        self.messages: list[dict[str, Any]] = []
        self.calls = 0
        for mtype in mtypes:
            self.client.bind_receive_message(mtype, self._keep)

    def _keep(
        self, _key: str, sender: str, id_: str | None, mtype: str, params: dict[str, Any], _extra: object
    ) -> None:
        self.messages.append({"mtype": mtype, "sender": sender, "called": id_ is not None, **params})
        if id_ is not None:
            self.client.reply(id_, {"samp.status": "samp.ok", "samp.result": {}})

    def of_kind(self, mtype: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["mtype"] == mtype]

    def find(self, name: str, mtype: str = "table.load.votable") -> str:
        """The id of the program of this name, once it takes such messages."""

        def look() -> str | None:
            for id_ in self.client.get_subscribed_clients(mtype):
                if self.client.get_metadata(id_).get("samp.name") == name:
                    return str(id_)
            return None

        return until(look, f"{name} on the hub")

    def ask(self, who: str, mtype: str, params: dict[str, Any], patience: float = PATIENCE) -> dict[str, Any]:
        """The reply to a call."""
        message = {"samp.mtype": mtype, "samp.params": params}
        reply: dict[str, Any] = self.client.call_and_wait(who, message, str(int(patience)))
        return reply

    def leave(self) -> None:
        self.client.disconnect()


@contextmanager
def doppel_samp(base: str, lockfile: Path, log: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`doppel samp` in a process of its own on this hub."""
    command = [sys.executable, "-m", "service.cli", "samp", "--url", base, *words]
    environment = {**os.environ, "SAMP_HUB": f"std-lockurl:{lockfile.as_uri()}"}
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    try:
        yield process
    finally:
        finish(process)
