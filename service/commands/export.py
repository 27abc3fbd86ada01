"""`doppel export dachs DIR`, `doppel export registry DIR`: for DaCHS, or records for a registry."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from index.manifest import MANIFEST
from index.release import OpenRelease
from index.releases import Releases
from registry_metadata import dachs
from service.commands.common import add_config, answer, configured
from service.config import Config
from service.formats.stream import Rows
from service.formats.votable import write_votable
from service.query import build
from service.query import run as query

SPECTRA = "doppel.spectra"
SCHEMA = re.compile(r"[a-z][a-z0-9_]*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("kind", choices=["dachs", "registry"], help="for whom")
    parser.add_argument(
        "directory", type=Path, help="where files are written; for dachs its name is the schema"
    )


def main(arguments: argparse.Namespace) -> int:
    """2 where the directory's name can not be a schema of DaCHS."""
    schema = arguments.directory.resolve().name
    if arguments.kind == "dachs" and not SCHEMA.fullmatch(schema):
        print(f"doppel export: {schema!r} is no name of a schema; allowed: a-z, 0-9, _", file=sys.stderr)
        return 2
    config = configured(arguments)
    release = OpenRelease.open(Releases(config.releases).current(), config.index.limits)
    try:
        if arguments.kind == "registry":
            names = export_records(config, release, arguments.directory)
            words = f"{arguments.directory}: {len(names)} records: {', '.join(names)}"
            answer(arguments, words, {"directory": str(arguments.directory), "records": names})
            return 0
        rows = export(config, release, arguments.directory, schema)
    finally:
        release.close()
    told = ", ".join(f"{count} rows of {name}" for name, count in rows.items())
    answer(arguments, f"{arguments.directory}: q.rd, {told}", {"directory": str(arguments.directory), **rows})
    return 0


def export_records(config: Config, release: OpenRelease, directory: Path) -> list[str]:
    """Writes a VOResource document for each record that `/oai` would tell, but for the registry that `/oai`
    is, dated by the release: for a publishing registry elsewhere. The names of the files."""
    from registry_metadata.records import packed
    from registry_metadata.resources import Dates
    from service.registry import archive_of, instant, records

    moment = instant((release.path / MANIFEST).stat().st_mtime)
    made = records(config, config.service.url, release)
    del made[archive_of(config, config.service.url).registry_id]
    directory.mkdir(parents=True, exist_ok=True)
    names = []
    for identifier, record in made.items():
        names.append(f"{re.sub('[^A-Za-z0-9.-]+', '_', identifier.removeprefix('ivo://'))}.xml")
        (directory / names[-1]).write_bytes(packed(record(Dates(moment, moment))))
    return names


def export(config: Config, release: OpenRelease, directory: Path, schema: str) -> dict[str, int]:
    """Writes the descriptor and one VOTable per table; the rows of each table."""
    models = [release.tables[f"doppel.{name}"] for name in release.models]
    (directory / "data").mkdir(parents=True, exist_ok=True)
    counts = {
        name: written(release, name, directory / "data" / f"{name.partition('.')[2]}.vot", config.service.url)
        for name in (SPECTRA, *(table.name for table in models))
    }
    words = words_of(config, release, schema)
    text = dachs.descriptor(words, release.tables[SPECTRA], models)
    (directory / "q.rd").write_text(text, encoding="utf-8")
    return counts


def words_of(config: Config, release: OpenRelease, schema: str) -> dachs.Words:
    from service.coverage import ALL, spans

    told = config.registry
    return dachs.Words(
        schema=schema,
        title=config.service.title,
        description=told.description,
        creator=told.publisher,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        subjects=[word.strip() for word in told.subjects.split(",") if word.strip()],
        wavebands=spans(release)[ALL][0].wavebands,
        data_source=config.collections[0].data_source,
        base_url=config.service.url,
        similarity_uri=told.similarity_uri,
    )


def written(release: OpenRelease, name: str, path: Path, base_url: str) -> int:
    """One table as a VOTable; its number of rows."""
    question = query.Question(build.select(None, build.table(name)))
    with query.answer(release, question, base_url=base_url) as found, path.open("wb") as file:
        for piece in write_votable(Rows.of(found, name="table"), serialization="TABLEDATA"):
            file.write(piece)
    counted = release.engine.table(f"SELECT count(*) FROM release.{name}")  # noqa: S608 -- a published name
    return int(counted.column(0)[0].as_py())
