"""`doppel encode`: collections of another file, encoded with the published models into one Parquet file."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from encoder.collection import Collection
from index.encode import encode_collections
from index.release import OpenRelease
from index.releases import Releases
from service.commands.common import Bar, add_config, answer, configured
from service.config import read_collections


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--collection", type=Path, required=True, metavar="FILE", help="TOML with the [[collection]] tables"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="Parquet file to write")


def main(arguments: argparse.Namespace) -> int:
    config = configured(arguments)
    base = arguments.collection.resolve().parent
    collections = [
        Collection.from_config(one, base, config.archive.authority)
        for one in read_collections(arguments.collection)
    ]
    release = OpenRelease.open(Releases(config.releases).current(), config.index.limits)
    bar = Bar()
    try:
        rows, refused = encode_collections(collections, list(release.models.values()), arguments.out, bar)
    finally:
        bar.close()
        release.close()
    lines = [f"{rows} rows in {arguments.out}, {len(refused)} refused"]
    lines += [f"  {one.spectrum_id}: {one.reason}" for one in refused]
    answer(arguments, "\n".join(lines), {"rows": rows, "refused": [asdict(one) for one in refused]})
    return 0
