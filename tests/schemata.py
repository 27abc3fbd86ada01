"""Validation against the XML schemas of the standards, which are found where GAVO DaCHS keeps them."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from lxml import etree

from tests.clients import missing

PLACES = ("/usr/lib/python3/dist-packages/gavo/resources/schemata", "/usr/share/ivoa-schemata")
IVOA = "http://www.ivoa.net/xml"
SCHEMATA = {
    "http://www.openarchives.org/OAI/2.0/": "OAI-PMH.xsd",
    "http://www.openarchives.org/OAI/2.0/oai_dc/": "oai_dc.xsd",
    f"{IVOA}/RegistryInterface/v1.0": "RegistryInterface.xsd",
    f"{IVOA}/VOResource/v1.0": "VOResource.xsd",
    f"{IVOA}/VODataService/v1.1": "VODataService.xsd",
    f"{IVOA}/VORegistry/v1.0": "VORegistry.xsd",
    f"{IVOA}/TAPRegExt/v1.0": "TAPRegExt.xsd",
    f"{IVOA}/SSA/v1.1": "SSA.xsd",
    f"{IVOA}/ConeSearch/v1.0": "ConeSearch.xsd",
    f"{IVOA}/VOSICapabilities/v1.0": "VOSICapabilities.xsd",
}


class Local(etree.Resolver):  # type: ignore[misc]
    """Finds every schema in one folder, by its file name without the version."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def resolve(self, url: str, public_id: str | None, context: Any) -> Any:
        name = Path(url).name
        path = self.directory / name
        if not path.is_file():
            path = self.directory / re.sub(r"-v?[0-9.]+\.xsd$", ".xsd", name)
        return self.resolve_filename(str(path), context)


def folder() -> Path:
    """Where they are; the test is skipped where they are not on this machine."""
    places = [os.environ.get("DOPPEL_SCHEMATA", ""), *PLACES]
    found = next((Path(place) for place in places if place and Path(place).is_dir()), None)
    return found or missing(
        "no XML schemas are here: DOPPEL_SCHEMATA names their folder, or DaCHS is installed"
    )


@cache
def schema() -> etree.XMLSchema:
    """All of them as one."""
    parser = etree.XMLParser()
    parser.resolvers.add(Local(folder()))
    imports = "".join(
        f'<xs:import namespace="{namespace}" schemaLocation="{name}"/>'
        for namespace, name in SCHEMATA.items()
    )
    text = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">{imports}</xs:schema>'
    return etree.XMLSchema(etree.fromstring(text, parser))


def problems(document: bytes) -> list[str]:
    """What is wrong with it, a sentence each."""
    found = schema()
    found.validate(etree.fromstring(document))
    return [f"line {error.line}: {error.message}" for error in found.error_log]
