"""Published tables in Arrow: what they declare is what they hold."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from index.catalogue import as_held
from index.release import OpenRelease
from index.releases import Releases
from index.stream import beyond_ascii
from registry_metadata.columns import Column, Table
from tests import synthetic


def test_texts_beyond_ascii_are_declared_so(tmp_path: Path) -> None:
    content = synthetic.content(tmp_path, n=20)
    first = replace(content.seen[0], facts=replace(content.seen[0].facts, spectral_class="G2 V à côté"))
    releases = Releases(tmp_path / "releases")
    release = releases.write(replace(content, seen=[first, *content.seen[1:]]))
    with closing(OpenRelease.open(releases.path(release))) as opened:
        spectra = opened.tables["doppel.spectra"]
        told = opened.engine.table(
            "SELECT column_name, datatype FROM release.tap_schema.columns WHERE table_name = 'doppel.spectra'"
        )
    found = dict(zip(told["column_name"].to_pylist(), told["datatype"].to_pylist(), strict=True))
    declared = {column.name: column.datatype for column in spectra.columns}
    assert declared["spectral_class"] == found["spectral_class"] == "unicodeChar"
    assert declared["ssa_pubdid"] == found["ssa_pubdid"] == "char"


def test_a_table_without_other_letters_stays_as_it_is() -> None:
    table = Table("t", "", (Column("a", "char", "*"), Column("b", "double")))
    assert as_held(table, beyond_ascii(pa.table({"a": ["x", None], "b": [1.0, 2.0]}))) == table
