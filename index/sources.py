"""What a build is made of: rows of the collections, before any is read, and a hash of all that goes in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from encoder.collection import NO_READER, Collection, Entry
from encoder.model_config import EXTERNAL, ModelConfig
from index import manifest
from index.settings import BuildPlan
from index.work import BuildError, digest
from registry_metadata import tables

Entries = Mapping[str, Sequence[Entry]]  # by collection


def collections_of(plan: BuildPlan, *, read: bool) -> list[Collection]:
    """Those whose files are read, or those that are tables of facts alone."""
    return [
        Collection.from_config(one, plan.base, plan.archive.authority)
        for one in plan.collections
        if (one.reader != NO_READER) == read
    ]


def trained_models(plan: BuildPlan) -> tuple[ModelConfig, ...]:
    """Those that are trained here; the vectors of the others were made elsewhere."""
    return tuple(model for model in plan.models if model.kind != EXTERNAL)


def list_entries(plan: BuildPlan, known: Mapping[str, int | None] | None = None) -> dict[str, list[Entry]]:
    """Every row of every collection that is read, by its name; a DID in two collections is refused.

    Rows of `known` identifiers are left out as long as their files have these sizes.
    """
    entries = {one.name: list(one.entries(known)) for one in collections_of(plan, read=True)}
    counts = Counter(entry.facts.publisher_did for listed in entries.values() for entry in listed)
    require_different([did for did, count in counts.items() if count > 1])
    return entries


def require_different(twice: Sequence[str]) -> None:
    """BuildError where there are identifiers of more than one spectrum."""
    if twice:
        raise BuildError(f"{len(twice)} identifiers are in two collections, among them {twice[0]}")


def work_key(plan: BuildPlan, entries: Entries) -> str:
    """A hash of the plan, of all facts, sizes of files included, and of what the columns are and mean.

    Equal key, equal release.
    """
    archive = (plan.archive.authority, plan.archive.published, plan.publisher)
    sections = [[asdict(one) for one in plan.collections], [asdict(one) for one in plan.models]]
    files = [one.table() for one in collections_of(plan, read=False)]
    for model in plan.models:
        if model.kind == EXTERNAL:
            path = plan.base / model.vectors
            files += sorted(path.iterdir()) if path.is_dir() else [path]
    facts = [digest(*map(asdict, listed)) for listed in entries.values()]
    hashes = [manifest.file_sha256(path) for path in files]
    return digest(manifest.FORMAT_VERSION, archive, sections, facts, hashes, tables.document())
