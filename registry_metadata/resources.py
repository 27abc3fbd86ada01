"""VOResource records of an archive: authority, registry, service, one per collection (VOResource 1.2).

They are built with lxml, which escapes every value: vo-models has no CatalogService, CatalogResource and
coverage, no capability of SSA and cone search, and takes no bibcode as a source. What it has, the capability
of TAP, comes from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lxml import etree
from lxml.builder import ElementMaker

from registry_metadata.records import XSI, packed

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

NAMESPACES = {
    "ri": "http://www.ivoa.net/xml/RegistryInterface/v1.0",
    "vr": "http://www.ivoa.net/xml/VOResource/v1.0",
    "vs": "http://www.ivoa.net/xml/VODataService/v1.1",
    "vg": "http://www.ivoa.net/xml/VORegistry/v1.0",
    "tr": "http://www.ivoa.net/xml/TAPRegExt/v1.0",
    "ssap": "http://www.ivoa.net/xml/SSA/v1.1",
    "cs": "http://www.ivoa.net/xml/ConeSearch/v1.0",
}
VOSI = "http://www.ivoa.net/xml/VOSICapabilities/v1.0"
FRAMES = ("ICRS", "FK5", "FK4", "GALACTIC", "SUPER_GALACTIC", "ECLIPTIC")  # www.ivoa.net/rdf/refframe
DC = "http://purl.org/dc/elements/1.1/"
OAI_DC = "http://www.openarchives.org/OAI/2.0/oai_dc/"
MANAGED = "ivo_managed"
BIBCODE = re.compile(r"\d{4}[A-Za-z0-9.&]{14}[A-Z]")

E = ElementMaker()


@dataclass(frozen=True, slots=True)
class Dates:
    """When the record was made and changed: `2026-11-21T09:00:00Z`."""

    created: str
    updated: str


@dataclass(frozen=True, slots=True)
class Archive:
    """Who publishes, and under which names and addresses."""

    authority: str
    base_url: str
    title: str
    short_name: str
    description: str
    publisher: str
    contact_name: str
    contact_email: str
    reference_url: str
    subjects: Sequence[str]  # concepts of the Unified Astronomy Thesaurus

    @property
    def registry_id(self) -> str:
        return f"ivo://{self.authority}/system/registry"

    @property
    def service_id(self) -> str:
        return f"ivo://{self.authority}/system/service"

    def collection_id(self, name: str) -> str:
        """What stands before the question mark of the collection's publisher DIDs."""
        return f"ivo://{self.authority}/{name}"


@dataclass(frozen=True, slots=True)
class Coverage:
    """Where, when and in which light: an ASCII MOC, MJD, Joule, terms of the messenger vocabulary."""

    spatial: str = ""
    temporal: tuple[float, float] | None = None
    spectral: tuple[float, float] | None = None
    wavebands: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """A collection as the registry tells of it."""

    name: str
    title: str
    description: str
    publisher: str
    creators: Sequence[str]
    reference: str  # bibcode or URL
    rights: str
    rights_uri: str
    doi: str
    subjects: Sequence[str]
    facilities: Sequence[str]
    instruments: Sequence[str]
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input of a service, as its interface declares it."""

    name: str
    description: str
    datatype: str = "char"
    arraysize: str | None = "*"
    unit: str | None = None
    ucd: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Rows of one answer."""

    default: int
    hard: int


Record = Callable[[Dates], "Element"]


def authority(archive: Archive) -> Record:
    """The naming authority of the archive's identifiers."""
    words = f"Names below ivo://{archive.authority} are given by {archive.publisher}."

    def record(dates: Dates) -> Element:
        found = resource(
            archive, "vg:Authority", f"ivo://{archive.authority}", archive.publisher, words, dates
        )
        found.append(E("managingOrg", archive.publisher))
        return found

    return record


def registry(archive: Archive, harvest_url: str, page: int) -> Record:
    """The publishing registry that these records come from (Registry Interfaces 1.1, 3)."""
    words = f"Publishing registry of {archive.publisher}."

    def record(dates: Dates) -> Element:
        title = f"{archive.title} registry"
        found = resource(archive, "vg:Registry", archive.registry_id, title, words, dates)
        harvest = capability(
            "ivo://ivoa.net/std/Registry", interface(harvest_url, "base", "vg:OAIHTTP", "1.0")
        )
        harvest.set(f"{{{XSI}}}type", "vg:Harvest")
        harvest.append(E("maxRecords", str(page)))
        found.extend([harvest, E("full", "false"), E("managedAuthority", archive.authority)])
        return found

    return record


def service(
    archive: Archive,
    coverage: Coverage,
    holdings: Sequence[Holding],
    capabilities: Sequence[Element],
    tableset: Element,
) -> Record:
    """All that the archive answers, on all that it holds."""

    def record(dates: Dates) -> Element:
        found = resource(
            archive,
            "vs:CatalogService",
            archive.service_id,
            archive.title,
            archive.description,
            dates,
            short_name=archive.short_name,
            related=[("IsServiceFor", archive.collection_id(one.name), one.title) for one in holdings],
        )
        found.append(E("rights", "public"))
        found.extend([copied(one) for one in capabilities])
        found.extend([covered(coverage), copied(tableset)])
        return found

    return record


def collection(archive: Archive, holding: Holding, tableset: Element) -> Record:
    """One collection, found by what it covers and asked through the archive's TAP service (TAP 1.1, aux)."""

    def record(dates: Dates) -> Element:
        found = resource(
            archive,
            "vs:CatalogResource",
            archive.collection_id(holding.name),
            holding.title,
            holding.description,
            dates,
            doi=holding.doi,
            publisher=holding.publisher,
            creators=holding.creators,
            subjects=holding.subjects,
            reference=holding.reference,
            related=[("IsServedBy", archive.service_id, archive.title)],
        )
        rights = E("rights", holding.rights)
        if holding.rights_uri:
            rights.set("rightsURI", holding.rights_uri)
        found.append(rights)
        found.append(capability("ivo://ivoa.net/std/TAP#aux", interface(f"{archive.base_url}/tap", "base")))
        found.extend(E("facility", name) for name in holding.facilities)
        found.extend(E("instrument", name) for name in holding.instruments)
        found.extend([covered(holding.coverage), copied(tableset)])
        return found

    return record


def resource(
    archive: Archive,
    kind: str,
    identifier: str,
    title: str,
    description: str,
    dates: Dates,
    *,
    short_name: str = "",
    doi: str = "",
    publisher: str = "",
    creators: Sequence[str] = (),
    subjects: Sequence[str] = (),
    reference: str = "",
    related: Sequence[tuple[str, str, str]] = (),
) -> Element:
    """What all records have (VOResource 1.2, 3.1); `related` is type, identifier and title of each."""
    maker = ElementMaker(namespace=NAMESPACES["ri"], nsmap={**NAMESPACES, "xsi": XSI})
    found = maker("Resource", created=dates.created, updated=dates.updated, status="active")
    found.set(f"{{{XSI}}}type", kind)
    found.set(f"{{{XSI}}}schemaLocation", " ".join(f"{uri} {uri}" for uri in NAMESPACES.values()))
    found.append(E("title", title))
    found.extend([E("shortName", short_name)] if short_name else [])
    found.append(E("identifier", identifier))
    found.extend([E("altIdentifier", f"doi:{doi.removeprefix('doi:')}")] if doi else [])
    found.append(curation(archive, publisher or archive.publisher, creators, dates))
    content = E("content", *(E("subject", one) for one in subjects or archive.subjects))
    content.append(E("description", description))
    if reference:
        content.append(source(reference))
    content.extend(
        [E("referenceURL", archive.reference_url), E("type", "Archive"), E("contentLevel", "Research")]
    )
    content.extend(
        E("relationship", E("relationshipType", how), E("relatedResource", words, {"ivo-id": other}))
        for how, other, words in related
    )
    found.append(content)
    return found


def curation(archive: Archive, publisher: str, creators: Sequence[str], dates: Dates) -> Element:
    contact = E("contact", E("name", archive.contact_name))
    contact.extend([E("email", archive.contact_email)] if archive.contact_email else [])
    return E(
        "curation",
        E("publisher", publisher),
        *(E("creator", E("name", name)) for name in creators or (publisher,)),
        E("date", dates.updated, role="updated"),
        contact,
    )


def source(reference: str) -> Element:
    return E("source", reference, format="bibcode" if BIBCODE.fullmatch(reference) else "url")


def covered(coverage: Coverage) -> Element:
    """Spectral intervals are energies in Joule (VODataService 1.2, 3.2)."""
    found = E("coverage")
    found.extend([E("spatial", coverage.spatial)] if coverage.spatial else [])
    for name, span in (("temporal", coverage.temporal), ("spectral", coverage.spectral)):
        found.extend([E(name, f"{span[0]:.9g} {span[1]:.9g}")] if span else [])
    found.extend(E("waveband", term) for term in coverage.wavebands)
    return found


def interface(
    url: str,
    use: str = "full",
    kind: str = "vs:ParamHTTP",
    version: str | None = None,
    result: str | None = None,
    parameters: Sequence[Parameter] = (),
) -> Element:
    found = E("interface", E("accessURL", url, use=use), role="std")
    found.set(f"{{{XSI}}}type", kind)
    if version:
        found.set("version", version)
    if result:
        found.extend([E("queryType", "GET"), E("resultType", result)])  # pyvo warns of a second
    found.extend(parameter_element(one) for one in parameters)
    return found


def parameter_element(parameter: Parameter) -> Element:
    found = E("param", E("name", parameter.name), E("description", parameter.description), use="optional")
    for name, text in (("unit", parameter.unit), ("ucd", parameter.ucd)):
        found.extend([E(name, text)] if text else [])
    datatype = E("dataType", parameter.datatype)
    datatype.set(f"{{{XSI}}}type", "vs:VOTableType")
    if parameter.arraysize:
        datatype.set("arraysize", parameter.arraysize)
    found.append(datatype)
    return found


def capability(standard: str, *content: Element) -> Element:
    return E("capability", *content, standardID=standard)


def ssa_capability(
    url: str, parameters: Sequence[Parameter], limits: Limits, sources: Sequence[str]
) -> Element:
    """SimpleDALRegExt 1.2, 3.4."""
    found = capability(
        "ivo://ivoa.net/std/SSA",
        interface(f"{url}?", "base", "vs:ParamHTTP", "1.1", "application/x-votable+xml", parameters),
        E("complianceLevel", "full"),
        *(E("dataSource", one) for one in sources),
        E("creationType", "archival"),
        *(E("supportedFrame", one) for one in FRAMES),
        E("maxSearchRadius", "180"),
        E("maxRecords", str(limits.hard)),
        E("defaultMaxRecords", str(limits.default)),
        E("testQuery", E("queryDataCmd", "REQUEST=queryData&MAXREC=1")),
    )
    found.set(f"{{{XSI}}}type", "ssap:SimpleSpectralAccess")
    return found


def cone_capability(url: str, limits: Limits, place: tuple[float, float]) -> Element:
    """SimpleDALRegExt 1.2, 3.1; `place` is degrees of something that is held."""
    ra, dec = (f"{degrees:.6f}" for degrees in place)
    found = capability(
        "ivo://ivoa.net/std/ConeSearch",
        interface(f"{url}?", "base", "vs:ParamHTTP", "1.1", "text/xml"),
        E("maxSR", "180"),
        E("maxRecords", str(limits.hard)),
        E("verbosity", "true"),
        E("testQuery", E("ra", ra), E("dec", dec), E("sr", "0.01")),
    )
    found.set(f"{{{XSI}}}type", "cs:ConeSearch")
    return found


def capabilities_document(found: Sequence[Element]) -> bytes:
    """What a service tells of itself (VOSI 1.1, 3.1)."""
    names = {prefix: NAMESPACES[prefix] for prefix in ("vs", "ssap", "cs")}
    root = etree.Element(f"{{{VOSI}}}capabilities", nsmap={"vosi": VOSI, **names, "xsi": XSI})
    root.extend(copied(one) for one in found)
    return packed(root)


def copied(element: Element) -> Element:
    """An element can have one parent only."""
    return etree.fromstring(etree.tostring(element))


def dublin_core(record: Element) -> Element:
    """The record in the fifteen words of oai_dc (Registry Interfaces 1.1, 2.2)."""
    maker = ElementMaker(namespace=DC, nsmap={"oai_dc": OAI_DC, "dc": DC, "xsi": XSI})
    words = {
        "title": "title", "creator": "curation/creator/name", "subject": "content/subject",
        "description": "content/description", "publisher": "curation/publisher", "date": "curation/date",
        "type": "content/type", "identifier": "identifier", "source": "content/source",
        "relation": "content/relationship/relatedResource", "rights": "rights",
    }  # fmt: skip
    found = etree.Element(f"{{{OAI_DC}}}dc", nsmap={"oai_dc": OAI_DC, "dc": DC, "xsi": XSI})
    found.set(f"{{{XSI}}}schemaLocation", f"{OAI_DC} http://www.openarchives.org/OAI/2.0/oai_dc.xsd")
    found.extend(maker(name, one.text or "") for name, path in words.items() for one in record.findall(path))
    return found
