"""`doppel remove`: spectra taken out of the published release; their files and catalogues are not touched."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from index.append import remove
from service.commands.common import add_config, answer, configured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="*", default=[], help="publisher DID of a spectrum")
    which.add_argument(
        "--from", type=Path, dest="file", metavar="FILE", help="a file of publisher DIDs, one in each line"
    )
    add_config(parser)


def main(arguments: argparse.Namespace) -> int:
    dids = arguments.id if arguments.file is None else arguments.file.read_text(encoding="utf-8").split()
    done = remove(configured(arguments).plan, dids)
    words = (
        f"{len(done.removed)} removed, {done.left} left; published release {done.release}.\n"
        "The next append or build brings back what is still in the catalogues: take them out there too."
    )
    answer(arguments, words, asdict(done))
    return 0
