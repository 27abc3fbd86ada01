"""`/oai`: a publishing registry (OAI-PMH 2.0; IVOA Registry Interfaces 1.1, 2)."""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lxml import etree
from lxml.builder import ElementMaker
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from registry_metadata.records import XSI
from registry_metadata.resources import MANAGED, NAMESPACES, OAI_DC, dublin_core
from service.registry import Entry, archive_of, entries, instant

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

OAI = "http://www.openarchives.org/OAI/2.0/"
FORMATS = {
    "ivo_vor": (NAMESPACES["ri"], NAMESPACES["ri"]),
    "oai_dc": ("http://www.openarchives.org/OAI/2.0/oai_dc.xsd", OAI_DC),
}  # schema and namespace
DAY, SECOND = re.compile(r"\d{4}-\d\d-\d\d"), re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
TEXT = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")  # what XML can hold
LISTS = frozenset({"ListIdentifiers", "ListRecords", "ListSets"})
SELECTIVE = frozenset({"from", "until", "set"})

E = ElementMaker(namespace=OAI, nsmap={"oai": OAI, "xsi": XSI})  # records have elements without namespace


class OaiError(Exception):
    """An error of the protocol: its code and a sentence (OAI-PMH 2.0, 3.6)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records a list has; `after` is the last identifier that was given, `cursor` how many were."""

    prefix: str
    start: str = ""
    stop: str = ""
    after: str = ""
    cursor: int = 0

    @property
    def token(self) -> str:
        told = json.dumps([self.prefix, self.start, self.stop, self.after, self.cursor])
        return base64.urlsafe_b64encode(told.encode()).decode()

    @classmethod
    def of_token(cls, token: str) -> Selection:
        try:
            prefix, start, stop, after, cursor = json.loads(base64.urlsafe_b64decode(token.encode()))
        except (binascii.Error, ValueError, TypeError):
            raise OaiError("badResumptionToken", f"This service gave no token {token!r}") from None
        texts = (prefix, start, stop, after)
        if (
            not all(isinstance(one, str) for one in texts)
            or not isinstance(cursor, int)
            or prefix not in FORMATS
        ):
            raise OaiError("badResumptionToken", f"This service gave no token {token!r}")
        return cls(prefix, start, stop, after, max(cursor, 0))

    @classmethod
    def of(cls, arguments: Mapping[str, str]) -> Selection:
        prefix = known_format(arguments["metadataPrefix"])
        start, stop = arguments.get("from", ""), arguments.get("until", "")
        for name, text in (("from", start), ("until", stop)):
            check_instant(name, text)
        if start and stop and (len(start) != len(stop) or start > stop):
            raise OaiError("badArgument", f"from={start} and until={stop} are no span of one granularity")
        if arguments.get("set", MANAGED) != MANAGED:
            raise OaiError("noRecordsMatch", f"There is no set {arguments['set']!r}, only {MANAGED}")
        return cls(prefix, start, stop)

    def has(self, entry: Entry) -> bool:
        changed = instant(entry.updated)
        return self.start <= changed and (not self.stop or changed[: len(self.stop)] <= self.stop)


def check_instant(name: str, text: str) -> None:
    if not text:
        return
    form = "%Y-%m-%dT%H:%M:%SZ" if SECOND.fullmatch(text) else "%Y-%m-%d"
    try:
        time.strptime(text, form)
        known = SECOND.fullmatch(text) or DAY.fullmatch(text)
    except ValueError:
        known = None
    if known is None:
        raise OaiError("badArgument", f"{name}={text} is no date as 2026-11-21 or 2026-11-21T09:00:00Z")


def known_format(prefix: str) -> str:
    if prefix not in FORMATS:
        raise OaiError("cannotDisseminateFormat", f"There is no format {prefix!r}, only {', '.join(FORMATS)}")
    return prefix


@dataclass(frozen=True, slots=True)
class Registry:
    """All that a request is answered from."""

    services: Any
    known: Mapping[str, Entry]

    @property
    def url(self) -> str:
        return f"{self.services.base_url}/oai"

    def entry(self, identifier: str) -> Entry:
        """By its identifier, in any case: IVOIDs are compared so."""
        found = next((one for name, one in self.known.items() if name.lower() == identifier.lower()), None)
        if found is None:
            raise OaiError("idDoesNotExist", f"There is no record {identifier!r}")
        return found


def identify(registry: Registry, arguments: Mapping[str, str]) -> list[Element]:
    archive = archive_of(registry.services.config, registry.services.base_url)
    told = {
        "repositoryName": f"{archive.title} registry",
        "baseURL": registry.url,
        "protocolVersion": "2.0",
        "adminEmail": archive.contact_email,
        "earliestDatestamp": instant(min(one.updated for one in registry.known.values())),
        "deletedRecord": "persistent",
        "granularity": "YYYY-MM-DDThh:mm:ssZ",
    }
    described = E("description", registry.known[archive.registry_id].element)
    return [*(E(name, text) for name, text in told.items()), described]


def list_formats(registry: Registry, arguments: Mapping[str, str]) -> list[Element]:
    if "identifier" in arguments:
        registry.entry(arguments["identifier"])
    return [
        E(
            "metadataFormat",
            E("metadataPrefix", prefix),
            E("schema", schema),
            E("metadataNamespace", namespace),
        )
        for prefix, (schema, namespace) in FORMATS.items()
    ]


def list_sets(registry: Registry, arguments: Mapping[str, str]) -> list[Element]:
    if "resumptionToken" in arguments:
        raise OaiError("badResumptionToken", "The list of sets comes as a whole")
    return [E("set", E("setSpec", MANAGED), E("setName", "All records of this registry"))]


def get_record(registry: Registry, arguments: Mapping[str, str]) -> list[Element]:
    prefix = known_format(arguments["metadataPrefix"])
    return [record(registry.entry(arguments["identifier"]), prefix)]


def list_records(
    registry: Registry, arguments: Mapping[str, str], shape: Callable[[Entry, str], Element]
) -> list[Element]:
    """One page of the records that match, and how to go on (OAI-PMH 2.0, 3.5)."""
    token = arguments.get("resumptionToken")
    wanted = Selection.of(arguments) if token is None else Selection.of_token(token)
    matching = [one for one in registry.known.values() if wanted.has(one)]
    if not matching:
        raise OaiError("noRecordsMatch", "No record was changed in that time")
    page = registry.services.config.registry.page
    left = [one for one in matching if one.identifier > wanted.after]
    found = [shape(one, wanted.prefix) for one in left[:page]]
    if not found:
        raise OaiError("badResumptionToken", "Nothing comes after this token")
    if token is not None or len(left) > page:
        more = len(left) > page
        given = wanted.cursor + len(found)
        follow = Selection(wanted.prefix, wanted.start, wanted.stop, left[len(found) - 1].identifier, given)
        sizes = {"completeListSize": str(len(matching)), "cursor": str(wanted.cursor)}
        found.append(E("resumptionToken", *([follow.token] if more else []), sizes))
    return found


def header(entry: Entry, prefix: str = "") -> Element:
    found = E("header", E("identifier", entry.identifier), E("datestamp", instant(entry.updated)))
    found.append(E("setSpec", MANAGED))
    if entry.record is None:
        found.set("status", "deleted")
    return found


def record(entry: Entry, prefix: str) -> Element:
    found = E("record", header(entry))
    if entry.record is not None:
        content = entry.element
        found.append(E("metadata", content if prefix == "ivo_vor" else dublin_core(content)))
    return found


@dataclass(frozen=True, slots=True)
class Verb:
    """What a verb answers, and the arguments it needs and takes."""

    answer: Callable[[Registry, Mapping[str, str]], list[Element]]
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()


VERBS = {
    "Identify": Verb(identify),
    "ListMetadataFormats": Verb(list_formats, optional=frozenset({"identifier"})),
    "ListSets": Verb(list_sets),
    "GetRecord": Verb(get_record, frozenset({"identifier", "metadataPrefix"})),
    "ListIdentifiers": Verb(partial(list_records, shape=header), frozenset({"metadataPrefix"}), SELECTIVE),
    "ListRecords": Verb(partial(list_records, shape=record), frozenset({"metadataPrefix"}), SELECTIVE),
}


def checked(pairs: Sequence[tuple[str, str]]) -> tuple[str, dict[str, str]]:
    """Verb and other arguments; each at most once, none unknown, none missing."""
    arguments = dict(pairs)
    verbs = [text for name, text in pairs if name == "verb"]
    if len(verbs) != 1 or verbs[0] not in VERBS:
        raise OaiError("badVerb", f"verb must be given once, as one of {', '.join(VERBS)}")
    if not all(TEXT.fullmatch(text) for pair in pairs for text in pair):
        raise OaiError("badArgument", "An argument has characters that XML can not hold")
    verb = VERBS[arguments.pop("verb")]
    if len(pairs) != len(arguments) + 1:
        raise OaiError("badArgument", "An argument is given twice")
    if verbs[0] in LISTS and set(arguments) == {"resumptionToken"}:
        return verbs[0], arguments
    allowed = verb.required | verb.optional
    unknown, missing = sorted(arguments.keys() - allowed), sorted(verb.required - arguments.keys())
    if unknown:
        words = ", ".join(sorted(allowed)) or "none"
        raise OaiError("badArgument", f"{verbs[0]} takes no {', '.join(unknown)}; allowed: {words}")
    if missing:
        raise OaiError("badArgument", f"{verbs[0]} needs {' and '.join(missing)}")
    return verbs[0], arguments


def answered(services: Any, pairs: Sequence[tuple[str, str]]) -> bytes:
    """The document for the arguments of a request."""
    url = f"{services.base_url}/oai"
    try:
        verb, arguments = checked(pairs)
    except OaiError as error:
        return envelope(E("request", url), [E("error", str(error), code=error.code)])
    asked = E("request", url, {"verb": verb, **arguments})
    with services.holder.pin() as release:
        registry = Registry(services, entries(services, release))
        try:
            return envelope(asked, [E(verb, *VERBS[verb].answer(registry, arguments))])
        except OaiError as error:
            told = E("request", url) if error.code == "badArgument" else asked
            return envelope(told, [E("error", str(error), code=error.code)])


def envelope(asked: Element, content: Iterable[Element]) -> bytes:
    root = E("OAI-PMH", E("responseDate", instant(time.time())), asked, *content)
    root.set(f"{{{XSI}}}schemaLocation", f"{OAI} http://www.openarchives.org/OAI/2.0/OAI-PMH.xsd")
    body: bytes = etree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return body


async def oai(request: Request) -> Response:
    pairs = list(request.query_params.multi_items())
    if request.method == "POST":
        async with request.form() as form:
            pairs += [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    body = await run_in_threadpool(answered, request.app.state, pairs)
    return Response(body, media_type="text/xml")


routes: list[BaseRoute] = [Route("/oai", oai, methods=["GET", "POST"])]
