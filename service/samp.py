"""A member of a SAMP hub: answers with tables to who asked, spectra to SPLAT-VO, positions to Aladin."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xmlrpc.client import Error as XmlRpcError

from service import samp_messages as messages
from service.errors import ServiceFault, UsageFault
from service.samp_answers import Archive, Neighbours
from service.samp_messages import ASKED, POINTING, Message, Question, Tables

if TYPE_CHECKING:
    from pyvo.samp import SAMPIntegratedClient

NAME = "Doppel"
DESCRIPTION = "Answers a highlighted row, a position or a spectrum with the spectra that look like it"
LOOK_SECONDS = 2.0  # how often the hub is looked for, or asked whether it is still there
TAG = "doppel"  # of all our calls: their answers are only looked at for complaints
Say = Callable[[str], None]


class NoHub(ServiceFault):
    """There is no running hub, or it has gone."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A message; `id` is empty if it wants no reply, `serial` counts those of its sender that point."""

    mtype: str
    params: Mapping[str, Any]
    sender: str
    id: str
    serial: int


class Member:
    """One registration with a hub. Messages come in on its threads, and are answered one by one."""

    def __init__(self, hub: SAMPIntegratedClient, archive: Archive, spectra: int, say: Say) -> None:
        self._hub, self._archive, self._spectra, self._say = hub, archive, spectra, say
        self._waiting: queue.Queue[Asked] = queue.Queue()
        self._newest: dict[str, int] = {}  # by sender
        self._tables = Tables()
        self._pointed: Mapping[str, str] | None = None  # where we sent Aladin: it may tell everybody

    def subscribe(self) -> None:
        for mtype in ASKED:
            self._hub.bind_receive_message(mtype, self._receive)
        self._hub.bind_receive_response(TAG, self._complain)

    def answer_next(self) -> None:
        """Answers one message, or finds after a while without any that the hub is still there; else NoHub."""
        try:
            asked = self._waiting.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            with hub_errors():
                self._hub.ping()
            return
        with hub_errors():
            self._answer(asked)

    def _receive(
        self, _key: str, sender: str, id_: str | None, mtype: str, params: Mapping[str, Any], _extra: object
    ) -> None:
        serial = self._newest.get(sender, 0) + 1
        if mtype in POINTING:
            self._newest[sender] = serial
        self._waiting.put(Asked(mtype, params, sender, id_ or "", serial))

    def _answer(self, asked: Asked) -> None:
        name = self._name(asked.sender)
        if asked.mtype in POINTING and asked.serial < self._newest[asked.sender]:
            return self._reply(asked, "somebody pointed elsewhere since")
        if asked.mtype == messages.POINT and asked.params == self._pointed:
            return self._reply(asked)
        try:
            found = self._archive.answer(self._question(asked))
        except ServiceFault as fault:
            self._say(f"{name}, {asked.mtype}: {fault}")
            return self._reply(asked, str(fault))
        self._say(f"{name}, {asked.mtype}: {found.title}, {len(found.rows)} rows")
        self._send(found, asked.sender)
        return self._reply(asked)

    def _question(self, asked: Asked) -> Question:
        if asked.mtype == messages.POINT:
            return messages.place_question(asked.params)
        if asked.mtype == messages.SPECTRUM_LOAD:
            return messages.spectrum_question(asked.params)
        if asked.mtype == messages.ROW:
            return messages.row_question(self._dids(asked.params), asked.params)
        dids = self._archive.dids(str(asked.params.get("url", "")))
        self._tables.keep(asked.params, dids)
        return messages.table_question(dids)

    def _dids(self, params: Mapping[str, str]) -> tuple[str, ...]:
        """Of a table that was sent about, or else has an address where it can be read."""
        found = self._tables.find(params)
        if found is None:
            url = params.get("url", "")
            if not url:
                raise UsageFault(
                    f"this table is not known here: send it to {NAME} once, then its rows are answered"
                )
            found = self._archive.dids(url)
            self._tables.keep(params, found)
        return found

    def _send(self, found: Neighbours, sender: str) -> None:
        """The table to who asked, spectra to every program that plots them, table and position to Aladin."""
        table = messages.table_message(found.url, found.title)
        self._tables.keep(table["samp.params"], [row["ssa_pubDID"] for row in found.rows])
        aladins = self._subscribed(messages.ALADIN)
        for client in dict.fromkeys([sender, *aladins]):
            if client in self._subscribed(messages.TABLE_LOAD):
                self._hub.call(client, TAG, table)
        for client in self._subscribed(messages.SPECTRUM_LOAD):
            for row in found.rows[: self._spectra]:
                self._hub.call(client, TAG, messages.spectrum_message(row, found.utypes))
        self._point(found, aladins)

    def _point(self, found: Neighbours, aladins: list[str]) -> None:
        """At the nearest neighbour that has a position."""
        place = next(((ra, dec) for ra, dec in found.positions if ra == ra and dec == dec), None)
        if place is None:
            return
        message = messages.point_message(*place)
        self._pointed = message["samp.params"]
        for client in aladins:
            self._hub.call(client, TAG, message)

    def _subscribed(self, mtype: str) -> list[str]:
        """Programs that understand a message, without ourselves."""
        return sorted(self._hub.get_subscribed_clients(mtype))

    def _name(self, client: str) -> str:
        try:
            return str(self._hub.get_metadata(client).get("samp.name", client))
        except XmlRpcError:
            return client  # it has left

    def _reply(self, asked: Asked, problem: str = "") -> None:
        if not asked.id:
            return
        if problem:
            self._hub.ereply(asked.id, "samp.error", error={"samp.errortxt": problem})
        else:
            self._hub.ereply(asked.id, "samp.ok", result={})

    def _complain(self, _key: str, sender: str, _tag: str, response: Message) -> None:
        if response.get("samp.status") != "samp.ok":
            reason = (response.get("samp.error") or {}).get("samp.errortxt", "no reason given")
            self._say(f"{sender} does not take it: {reason}")


@contextmanager
def hub_errors() -> Iterator[None]:
    """A hub that is gone or refuses is NoHub; ConnectionError and the like are OSErrors."""
    from pyvo.samp import SAMPHubError

    try:
        yield
    except (SAMPHubError, XmlRpcError, OSError) as error:
        raise NoHub(f"the hub does not answer ({error})") from error


@contextmanager
def joined(archive: Archive, spectra: int, say: Say) -> Iterator[Member]:
    """Registered with the hub that runs (lock file `~/.samp`, or what SAMP_HUB says); NoHub if none does."""
    from pyvo.samp import SAMPIntegratedClient, conf

    logging.getLogger("astropy").setLevel(logging.ERROR)  # it tells of every stale lock file
    with conf.set_temp("use_internet", False):  # the hub is on this machine, and so are we
        hub = SAMPIntegratedClient(
            name=NAME,
            description=DESCRIPTION,
            metadata={"samp.documentation.url": f"{archive.client.base}/rdf/similarity"},
        )
        with hub_errors():
            hub.connect()
    try:
        member = Member(hub, archive, spectra, say)
        with hub_errors():
            member.subscribe()
        yield member
    finally:
        with suppress(XmlRpcError, OSError):
            hub.disconnect()


def stay(archive: Archive, spectra: int, say: Say) -> None:
    """Answers until interrupted; when the hub goes away, joins the next one. NoHub if none runs at first."""
    from time import sleep

    known = False
    while True:
        try:
            with joined(archive, spectra, say) as member:
                say("joined the hub again" if known else "joined the hub")
                known = True
                while True:
                    member.answer_next()
        except NoHub:
            if not known:
                raise
        say("the hub has gone; waiting for the next")
        while not hub_runs():
            sleep(LOOK_SECONDS)


def hub_runs() -> bool:
    """Whether there is a hub to join."""
    from pyvo.samp import SAMPHubError, SAMPHubProxy

    proxy = SAMPHubProxy()
    try:
        proxy.connect()
    except (SAMPHubError, XmlRpcError, OSError):
        return False
    proxy.disconnect()
    return True
