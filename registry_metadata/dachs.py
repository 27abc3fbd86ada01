"""A resource descriptor for GAVO DaCHS: the archive as SSA, ObsCore and TAP there, with links to its likes.

DaCHS's spellings and units are kept where its mixins ask for them; `doppel.spectra` feeds its SSA view, and
the tables of the models become TAP tables of the same schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from registry_metadata.columns import Column, Table

TYPES = {
    "boolean": "boolean", "short": "smallint", "int": "integer", "long": "bigint", "float": "real",
    "double": "double precision", "char": "text", "unicodeChar": "unicode",
}  # fmt: skip
SPELLED = {"ssa_spaceres": "ssa_spaceRes"}  # there; SSA leaves it open
# What DaCHS's own mixins (products, plainlocation, simpleCoverage) bring along, or is ours alone
LEFT_OUT = frozenset(
    {
        "accref",
        "mime",
        "accsize",
        "datalink_url",
        "preview_url",
        "ssa_location",
        "ssa_targetpos",
        "ssa_region",
    }
)


@dataclass(frozen=True, slots=True)
class Field:
    """A column as DaCHS declares it; `source` is its name in the VOTable that is imported."""

    name: str
    source: str
    type: str
    column: Column


@dataclass(frozen=True, slots=True)
class ModelTable:
    id: str
    description: str
    fields: Sequence[Field]


@dataclass(frozen=True, slots=True)
class Words:
    """What the descriptor tells of the archive."""

    schema: str
    title: str
    description: str
    creator: str
    created: str  # ISO 8601
    subjects: Sequence[str]
    wavebands: Sequence[str]
    data_source: str
    base_url: str  # of the service that answers `similar_to`
    similarity_uri: str


def descriptor(words: Words, spectra: Table, models: Sequence[Table]) -> str:
    """The text of q.rd."""
    environment = Environment(
        loader=PackageLoader("registry_metadata", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("dachs.rd.xml").render(
        words=words,
        fields=list(fields(spectra, LEFT_OUT)),
        models=[
            ModelTable(one.name.partition(".")[2], one.description, list(fields(one, frozenset())))
            for one in models
        ],
    )


def fields(table: Table, left_out: frozenset[str]) -> Iterator[Field]:
    for column in table.columns:
        if column.name not in left_out:
            yield Field(
                SPELLED.get(column.name) or column.ssa or column.name, column.name, type_of(column), column
            )


def type_of(column: Column) -> str:
    """The type in DaCHS's SQL; fixed arrays keep their length."""
    if column.xtype == "timestamp":
        return "timestamp"
    kind = TYPES[column.datatype]
    return f"{kind}[{(column.arraysize or '').rstrip('*')}]" if column.array else kind
