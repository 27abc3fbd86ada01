"""The registry's records now: made of configuration and holdings, dated by what harvesters were told."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from lxml import etree
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, OperationalError

from registry_metadata import resources
from registry_metadata.records import self_description, table_access, vosi_capabilities
from registry_metadata.resources import Archive, Dates, Holding, Parameter, Record
from registry_metadata.tables import schemas
from service.coverage import ALL, mocs, spans
from service.formats.votable import InputParam
from service.protocols.descriptors import (
    DATALINK,
    SODA,
    SODA_ASYNC,
    SODA_ID,
    identifier,
    similar_params,
    soda_params,
)
from service.protocols.ssa_metadata import inputs
from service.protocols.vosi import declared_keys, document, schema_element, tap_facts
from service.state import RegistryRecord, State

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
    from vo_models.voresource.models import Capability

    from index.release import OpenRelease
    from service.config import Config

PLACE = (
    "SELECT s_ra, s_dec FROM release.ivoa.obscore"
    " WHERE s_ra IS NOT NULL AND s_dec IS NOT NULL ORDER BY obs_publisher_did LIMIT 1"
)
NEVER = Dates("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z")
ATTEMPTS = 3  # another process may be writing the same records


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as harvesters see it; a deleted one has no content any more."""

    identifier: str
    created: int  # seconds since 1970
    updated: int
    record: Record | None

    @property
    def element(self) -> Element:
        """ri:Resource; only of an entry that is not deleted."""
        assert self.record is not None  # noqa: S101 -- callers ask first
        return self.record(Dates(instant(self.created), instant(self.updated)))


def instant(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


_ENTRIES: WeakKeyDictionary[State, tuple[str, Mapping[str, Entry]]] = WeakKeyDictionary()


def entries(services: Any, release: OpenRelease) -> Mapping[str, Entry]:
    """Every record there is or was, by its identifier, in that order; made once per release and process."""
    known = _ENTRIES.get(services.state)
    if known is None or known[0] != release.id:
        made = records(services.config, services.base_url, release)
        known = _ENTRIES[services.state] = release.id, dated(services.state, made)
    return known[1]


def archive_of(config: Config, base_url: str) -> Archive:
    told = config.registry
    return Archive(
        authority=config.archive.authority,
        base_url=base_url,
        title=config.service.title,
        short_name=told.short_name[:16],
        description=told.description,
        publisher=told.publisher,
        contact_name=told.contact_name or told.publisher,
        contact_email=told.contact_email or f"postmaster@{config.archive.authority}",
        reference_url=told.reference_url or f"{base_url}/",
        subjects=listed(told.subjects),
    )


def listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def records(config: Config, base_url: str, release: OpenRelease) -> dict[str, Record]:
    """Authority, registry, service and every collection that the release has spectra of."""
    archive, held = archive_of(config, base_url), holdings(config, release)
    found = {
        f"ivo://{archive.authority}": resources.authority(archive),
        archive.registry_id: resources.registry(archive, f"{base_url}/oai", config.registry.page),
        archive.service_id: resources.service(
            archive,
            spans(release)[ALL][0],
            held,
            [one for found in capabilities(config, base_url, release).values() for one in found],
            tableset(release, {"doppel", "ivoa"}),
        ),
    }
    spectra = tableset(release, {"doppel"}, only={"doppel.spectra"})
    for one in held:
        found[archive.collection_id(one.name)] = resources.collection(archive, one, spectra)
    return found


def holdings(config: Config, release: OpenRelease) -> list[Holding]:
    """In the words of the configuration, else of the one that the release was built from."""
    words = {**release.collections, **{one.name: one for one in config.collections}}
    found = []
    for name, (coverage, facilities, instruments) in spans(release).items():
        if name == ALL:
            continue
        told = words[name]
        found.append(
            Holding(
                name=name,
                title=told.title or name,
                description=told.description or f"Spectra of the collection {told.title or name}.",
                publisher=told.publisher,
                creators=[told.creator] if told.creator else [],
                reference=told.reference,
                rights=told.rights,
                rights_uri=told.rights_uri,
                doi=told.doi,
                subjects=listed(told.subjects),
                facilities=[facility for facility in facilities if facility],
                instruments=[instrument for instrument in instruments if instrument],
                coverage=coverage,
            )
        )
    return found


def capabilities(config: Config, base_url: str, release: OpenRelease) -> dict[str, list[Element]]:
    """What each service is, by its path, and its VOSI documents."""
    limits, cutting = config.limits, soda_params(identifier(ucd=SODA_ID))
    rows = resources.Limits(limits.default_rows, limits.max_rows)
    ssa = [parameter(one) for one in inputs(release, limits)]
    sources = sorted({one.data_source for one in config.collections})
    tap = [table_access(tap_facts(base_url, limits)), *vosi_capabilities(f"{base_url}/tap")]

    def described(standard: str, path: str, params: Sequence[InputParam]) -> Element:
        told = [parameter(one) for one in params]
        return resources.capability(
            standard,
            resources.interface(f"{base_url}{path}", result="application/x-votable+xml", parameters=told),
        )

    def own(path: str) -> list[Element]:
        return elements(self_description(f"{base_url}{path}"))

    alike = [identifier(), *similar_params(release)]
    return {
        "/tap": elements(tap),
        "/ssa": [resources.ssa_capability(f"{base_url}/ssa", ssa, rows, sources), *own("/ssa")],
        "/scs": [resources.cone_capability(f"{base_url}/scs", rows, place(release)), *own("/scs")],
        "/similar_to": [described(config.registry.similarity_uri, "/similar_to", alike), *own("/similar_to")],
        "/datalink/links": [described(DATALINK, "/datalink/links", [identifier()])],
        "/soda": [
            described(SODA, "/soda/sync", cutting),
            described(SODA_ASYNC, "/soda/async", cutting),
            *own("/soda"),
        ],
    }


def elements(found: Sequence[Capability]) -> list[Element]:
    """Models of vo-models as elements."""
    return [etree.fromstring(one.to_xml(skip_empty=True)) for one in found]


def parameter(told: InputParam) -> Parameter:
    name = told.name.removeprefix("INPUT:")
    return Parameter(name, told.description, told.datatype, told.arraysize, told.unit, told.ucd)


def place(release: OpenRelease) -> tuple[float, float]:
    """The position of some spectrum, for test queries."""
    found = mocs(release)[ALL]
    if found.empty():
        return 0.0, 0.0
    row = release.engine.table(PLACE).to_pylist()[0]
    return row["s_ra"], row["s_dec"]


def tableset(release: OpenRelease, names: set[str], only: set[str] | None = None) -> Element:
    """The same words as /tap/tables, for some schemas or tables of them."""
    known = {name: table for name, table in release.tables.items() if only is None or name in only}
    body = "".join(
        schema_element(schema, known, declared_keys(release), brief=False)
        for schema in schemas()
        if schema.name.lower() in names
    )
    found = etree.fromstring(document("tableset", "", body))
    found.tag = "tableset"
    return found


def dated(state: State, made: Mapping[str, Record]) -> dict[str, Entry]:
    """The records with their dates; what is new, changed or gone is noted in the state database."""
    digests = {
        name: hashlib.sha256(etree.tostring(record(NEVER))).hexdigest() for name, record in made.items()
    }
    for attempt in range(ATTEMPTS):
        try:
            noted = note(state, digests, int(time.time()))
            break
        except (IntegrityError, OperationalError):
            if attempt == ATTEMPTS - 1:
                raise
    return {
        one.identifier: Entry(one.identifier, one.created, one.updated, made.get(one.identifier))
        for one in noted
    }


def note(state: State, digests: Mapping[str, str], now: int) -> Sequence[RegistryRecord]:
    """Every record ever told of, in the order of identifiers."""
    with state.session() as session:
        known = {one.identifier: one for one in session.scalars(select(RegistryRecord))}
        for name, digest in digests.items():
            if name not in known:
                known[name] = RegistryRecord(identifier=name, digest=digest, created=now, updated=now)
                session.add(known[name])
            elif known[name].digest != digest or known[name].deleted:
                known[name].digest, known[name].updated, known[name].deleted = digest, now, False
        for name in known.keys() - digests.keys():
            if not known[name].deleted:
                known[name].updated, known[name].deleted = now, True
    return [known[name] for name in sorted(known)]
