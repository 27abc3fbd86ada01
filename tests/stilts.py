"""STILTS, the tables of the VO on the command line, as tests run it: a client, and a judge of documents."""

from __future__ import annotations

import subprocess

from tests.clients import require

PATIENCE = 300  # seconds; a busy machine is slow


def stilts(*words: str, given: bytes = b"") -> str:
    """What it prints; AssertionError with its complaint where it fails. `given` is its standard input."""
    said = subprocess.run(
        [require("stilts"), *words], input=given, capture_output=True, timeout=PATIENCE, check=False
    )
    assert said.returncode == 0, said.stderr.decode()
    return said.stdout.decode()


def votlint(document: bytes | str) -> str:
    """What it finds wrong with a VOTable, or with the one at a URL: UCDs and units, too."""
    if isinstance(document, str):
        return stilts("votlint", f"votable={document}", "ucd=true", "unit=true")
    return stilts("votlint", "votable=-", "ucd=true", "unit=true", given=document)


def datalinklint(document: bytes | str) -> str:
    """How many errors and warnings it counts in a document of links, or in the one at a URL."""
    place, given = (document, b"") if isinstance(document, str) else ("-", document)
    return stilts("datalinklint", f"votable={place}", given=given).strip().splitlines()[-1]
