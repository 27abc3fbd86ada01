"""What the service declares of itself: the capabilities document (VOSI 1.1, TAPRegExt 1.0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lxml import etree

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
    from pydantic_xml import BaseXmlModel
    from vo_models.tapregext.models import Language, TableAccess
    from vo_models.voresource.models import Capability, Interface

IVOA_SCHEMATA = "http://www.ivoa.net/xml/"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
ADQL_FEATURES = "ivo://ivoa.net/std/TAPRegExt#features-"
OBSCORE = (
    ("ObsCore-1.1", "ivo://ivoa.net/std/ObsCore#core-1.1"),
    ("ObsCore-1.0", "ivo://ivoa.net/std/ObsCore-1.0"),  # for SPLAT; taplint objects to …/ObsCore/v1.0
)
LANGUAGE = (  # also what has no feature: STILTS remarks on types that are not TAPRegExt's own, such as GAVO's
    "The Astronomical Data Query Language: SQL with geometry on the sky, and similarity of spectra. COALESCE "
    "is offered, and GAVO's VECTORMATH (ivo://org.gavo.dc/std/exts#extra-adql-keywords): v[i], v[a:b] count "
    "from 1; + - * / go component by component, as do SUM, AVG, MIN, MAX and COUNT; arr_dot to arr_map."
)


@dataclass(frozen=True, slots=True)
class Feature:
    """An optional part of ADQL, or a function of ours: `kind` is a word of TAPRegExt or a full URI."""

    kind: str
    form: str
    description: str = ""

    @property
    def uri(self) -> str:
        return self.kind if "://" in self.kind else ADQL_FEATURES + self.kind


STANDARD_FEATURES: tuple[Feature, ...] = (
    *(
        Feature("adqlgeo", form)
        for form in (
            "AREA", "BOX", "CENTROID", "CIRCLE", "CONTAINS", "COORD1", "COORD2", "COORDSYS", "DISTANCE",
            "INTERSECTS", "POINT", "POLYGON", "REGION",
        )
    ),
    *(Feature("adql-string", form) for form in ("LOWER", "UPPER", "ILIKE")),
    *(Feature("adql-sets", form) for form in ("UNION", "EXCEPT", "INTERSECT")),
    Feature("adql-common-table", "WITH"),
    Feature("adql-type", "CAST"),
    Feature("adql-unit", "IN_UNIT"),
    Feature("adql-offset", "OFFSET"),
    # COALESCE works too; its key adql-conditional is not declared: STILTS 3.4 calls it unknown, an error
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OutputFormat:
    media_type: str
    aliases: tuple[str, ...] = ()
    ivo_id: str | None = None


@dataclass(frozen=True, slots=True)
class TapFacts:
    """The limits and abilities of a TAP service; seconds, rows and bytes of an anonymous client."""

    url: str
    features: Sequence[Feature]
    formats: Sequence[OutputFormat]
    uploads: Sequence[str]  # upload-inline, upload-http, upload-https
    retention: tuple[int, int]  # default, hard
    duration: tuple[int, int]
    rows: tuple[int, int]
    upload_rows: int
    upload_bytes: int
    obscore: bool = True


def capabilities(facts: TapFacts, others: Sequence[Capability] = ()) -> bytes:
    """The document of /tap/capabilities."""
    from vo_models.vosi.capabilities.models import VOSICapabilities

    found = [table_access(facts), *vosi_capabilities(facts.url), *others]
    return document(VOSICapabilities(capability=found), skip_empty=True)


def document(model: BaseXmlModel, skip_empty: bool = False) -> bytes:
    """A model of vo-models as an XML document in UTF-8."""
    return packed(etree.fromstring(model.to_xml(skip_empty=skip_empty)))


def packed(root: Element) -> bytes:
    """The document; it says where its schemas are: at their names."""
    used = {uri for element in root.iter() for uri in element.nsmap.values() if uri.startswith(IVOA_SCHEMATA)}
    root.set(f"{{{XSI}}}schemaLocation", " ".join(f"{uri} {uri}" for uri in sorted(used)))
    body: bytes = etree.tostring(root, xml_declaration=True, encoding="utf-8")
    return body


def interface(
    url: str, use: Literal["full", "base"] = "full", role: str | None = None, version: str | None = None
) -> Interface:
    from pydantic import AnyUrl
    from vo_models.voresource.models import AccessURL, Interface

    address = AccessURL(value=AnyUrl(url), use=use)
    return Interface(type="vs:ParamHTTP", role=role, version=version, access_url=[address])


def capability(standard: str, url: str, version: str | None = None) -> Capability:
    """A capability without a description language of its own."""
    from pydantic import AnyUrl
    from vo_models.voresource.models import Capability

    return Capability(standard_id=AnyUrl(standard), interface=[interface(url, version=version)])


def vosi_capabilities(url: str) -> list[Capability]:
    """The documents below a TAP service."""
    return [
        *self_description(url),
        capability("ivo://ivoa.net/std/VOSI#tables-1.1", f"{url}/tables", version="1.1"),
        examples(url),
    ]


def examples(url: str) -> Capability:
    """The page of examples below a service."""
    return capability("ivo://ivoa.net/std/DALI#examples", f"{url}/examples")


def self_description(url: str) -> list[Capability]:
    """The documents below every service."""
    return [
        capability("ivo://ivoa.net/std/VOSI#capabilities", f"{url}/capabilities"),
        capability("ivo://ivoa.net/std/VOSI#availability", f"{url}/availability"),
    ]


def table_access(facts: TapFacts) -> TableAccess:
    from vo_models.tapregext import models as tr

    return tr.TableAccess(
        interface=[interface(facts.url, "base", role="std", version="1.1")],
        data_model=[tr.DataModelType(value=name, ivo_id=uri) for name, uri in OBSCORE if facts.obscore],
        language=[language(facts.features)],
        output_format=[
            tr.OutputFormat(mime=known.media_type, alias=list(known.aliases), ivo_id=known.ivo_id)
            for known in facts.formats
        ],
        upload_method=[
            tr.UploadMethod(ivo_id=f"ivo://ivoa.net/std/TAPRegExt#{method}") for method in facts.uploads
        ],
        retention_period=tr.TimeLimits(default=facts.retention[0], hard=facts.retention[1]),
        execution_duration=tr.TimeLimits(default=facts.duration[0], hard=facts.duration[1]),
        output_limit=tr.DataLimits(
            default=tr.DataLimit(value=facts.rows[0], unit="row"),
            hard=tr.DataLimit(value=facts.rows[1], unit="row"),
        ),
        upload_limit=tr.DataLimits(
            default=tr.DataLimit(value=facts.upload_rows, unit="row"),
            hard=tr.DataLimit(value=facts.upload_bytes, unit="byte"),
        ),
    )


def language(features: Sequence[Feature]) -> Language:
    from vo_models.tapregext import models as tr

    kinds = list(dict.fromkeys(feature.uri for feature in features))
    return tr.Language(
        name="ADQL",
        version=[
            tr.Version(value="2.1", ivo_id="ivo://ivoa.net/std/ADQL#v2.1"),
            tr.Version(value="2.0", ivo_id="ivo://ivoa.net/std/ADQL#v2.0"),
        ],
        description=LANGUAGE,
        language_features=[
            tr.LanguageFeatureList(
                type=kind,
                feature=[
                    tr.LanguageFeature(form=feature.form, description=feature.description or None)
                    for feature in features
                    if feature.uri == kind
                ],
            )
            for kind in kinds
        ],
    )
