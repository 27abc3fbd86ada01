"""`doppel demo`: everything at once, in a directory of its own."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from encoder.collection import CollectionConfig, CollectionError
from encoder.simulate import simulate
from index.build import build
from index.release import OpenRelease
from index.work import write_whole
from service.commands.build import words
from service.commands.common import Bar
from service.commands.serve import listen, serve
from service.config import Config

STARS, SEED = 400, 1
MODELS = """
[[model]]
name = "optical"
grid = { start = 3800.0, stop = 7000.0, pixels = 4096 }

[[model]]
name = "halpha"
grid = { start = 6519.0, stop = 6732.0, pixels = 512 }
"""
TRY = """
Doppel answers on {base}/
Five things to try:

  1. a page               {base}/
  2. TAP with curl        curl -s {base}/tap/sync -d LANG=ADQL -d FORMAT=csv \\
                            --data-urlencode "QUERY=SELECT TOP 5 spectrum_id, object, teff,
                            latent_distance(ssa_pubdid, '{did}') AS d
                            FROM doppel.spectra ORDER BY d"
  3. SSA in SPLAT-VO      {base}/ssa      (SSAP browser, add a new server; try SIMILAR_TO={did})
  4. TAP in TOPCAT        {base}/tap      (VO, Table Access Protocol, TAP URL)
  5. pyvo                 python -c "import pyvo; print(pyvo.dal.TAPService('{base}/tap').search(
                            \\"SELECT * FROM doppel.spectra WHERE 1=similar_to(ssa_pubdid, '{did}', 5)\\"))"

Ctrl-C ends the service.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="directory of collections (DOPPEL_DATA; else stars are simulated)",
    )
    parser.add_argument("--port", type=int, default=8080, metavar="N", help="port to listen on (8080)")
    parser.add_argument(
        "--directory", type=Path, default=Path("demo"), metavar="DIR", help="where everything is kept (demo)"
    )
    parser.add_argument("--stars", type=int, default=STARS, metavar="N", help=f"simulated stars ({STARS})")


def main(arguments: argparse.Namespace) -> int:
    os.environ["DOPPEL_SERVICE_PORT"] = str(arguments.port)
    data = arguments.data or (Path(os.environ["DOPPEL_DATA"]) if os.environ.get("DOPPEL_DATA") else None)
    arguments.directory.mkdir(parents=True, exist_ok=True)
    bar = Bar()
    try:
        collections = found(data) if data else simulated(arguments.directory, arguments.stars, bar)
        path = write_config(arguments.directory, collections)
        config = Config.read(path)
        listening = listen(config.service)
        report = build(config.plan, bar)
    finally:
        bar.close()
    print(words(report, str(config.releases / report.release)))
    print(TRY.format(base=config.service.url, did=example(config.releases / report.release)), flush=True)
    serve(path, config.service, listening)
    return 0


def found(data: Path) -> tuple[CollectionConfig, ...]:
    """One collection for each directory with a catalogue; CollectionError where there is none."""
    if not data.is_dir():
        raise CollectionError(f"{data} is not a directory")
    catalogues = sorted(data.glob("*/catalogue.csv"))
    if not catalogues:
        raise CollectionError(f"no collection in {data}: a collection is a directory with a catalogue.csv")
    return tuple(CollectionConfig(path.parent.name, str(path.parent.resolve())) for path in catalogues)


def simulated(directory: Path, stars: int, bar: Bar) -> tuple[CollectionConfig, ...]:
    """The collections of simulated stars; their files are written where they are not there yet."""
    archive = directory / f"simulated-{stars}"
    kept = archive / "collections.json"
    print(f"No --data and no DOPPEL_DATA: {stars} stars are simulated in {archive}.", file=sys.stderr)
    if not kept.exists():
        written = simulate(archive, stars, SEED, lambda done, total: bar("simulate", done, total))
        beside = [replace(one, path=f"{archive.name}/{one.path}") for one in written]
        write_whole(kept, json.dumps([asdict(one) for one in beside]).encode())
    return tuple(CollectionConfig(**one) for one in json.loads(kept.read_text(encoding="utf-8")))


def write_config(directory: Path, collections: Sequence[CollectionConfig]) -> Path:
    """`doppel.toml` of the demonstration."""
    path = directory / "doppel.toml"
    path.write_text("\n".join([*_lines(collections), MODELS]), encoding="utf-8")
    return path


def _lines(collections: Sequence[CollectionConfig]) -> Iterator[str]:
    yield "# Written anew by each `doppel demo`; `doppel config` prints every key."
    yield '[archive]\nauthority = "doppel.example"\n'
    for one in collections:
        told = {name: value for name, value in asdict(one).items() if isinstance(value, str) and value}
        yield "\n".join(
            ["[[collection]]", *(f"{name} = {json.dumps(value)}" for name, value in told.items()), ""]
        )


def example(release: Path) -> str:
    """An identifier that the first model has embedded."""
    opened = OpenRelease.open(release)
    try:
        model = next(iter(opened.models.values()))
        return opened.did_of(int(model.vectors.rows[len(model.vectors) // 2]))
    finally:
        opened.close()
