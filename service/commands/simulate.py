"""`doppel simulate`: stars as three instruments of an archive would have left them, in FITS files."""

from __future__ import annotations

import argparse
from pathlib import Path

from encoder.simulate import simulate
from service.commands.common import Bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, help="where the collections are written")
    parser.add_argument("--stars", type=int, default=400, metavar="N", help="how many stars (400)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed writes the same spectra (1)")


def main(arguments: argparse.Namespace) -> int:
    bar = Bar()
    collections = simulate(
        arguments.directory, arguments.stars, arguments.seed, lambda done, total: bar("simulate", done, total)
    )
    bar.close()
    for collection in collections:
        print(f"{collection.name}: {collection.title}")
    return 0
