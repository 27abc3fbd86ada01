"""`doppel releases`: what there is, and which is published; old ones are dropped."""

from __future__ import annotations

import argparse
from pathlib import Path

from index.manifest import Manifest
from index.release import ReleaseError
from index.releases import Releases
from service.commands.common import add_config, answer, configured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--drop", metavar="RELEASE", help="remove an old one, from the servers too")
    add_config(parser)


def main(arguments: argparse.Namespace) -> int:
    config = configured(arguments)
    releases = Releases(config.releases, config.index.database, config.index.servers)
    if arguments.drop:
        releases.drop(arguments.drop)
    try:
        current = releases.current().name
    except ReleaseError:
        current = None
    found = {name: _manifest(releases.root / name) for name in releases.list()}
    lines = [_line(name, told, name == current) for name, told in found.items()]
    rows = [
        {"release": name, "rows": told.rows, "models": told.models} if told else {"release": name}
        for name, told in found.items()
    ]
    answer(arguments, "\n".join(lines) or "no release", {"published": current, "releases": rows})
    return 0


def _manifest(path: Path) -> Manifest | None:
    """None where it is damaged, or of a version that writes another."""
    try:
        return Manifest.read(path)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _line(name: str, told: Manifest | None, current: bool) -> str:
    mark = "  published" if current else ""
    if told is None:
        return f"{name}  its manifest can not be read: damaged, or of another version{mark}"
    models = ", ".join(told.models)
    later = f", {told.segments} segment{'s'[: told.segments != 1]} appended" if told.segments else ""
    later += f", {told.removed} removed" if told.removed else ""
    return f"{name}  {told.rows['doppel.spectra']} spectra, models {models}{later}{mark}"
