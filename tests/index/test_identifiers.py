"""DIDs and rows: found both ways, alone and by many, in one file or several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from index import identifiers
from index.identifiers import Identifiers

FIRST = [f"ivo://a.b/c?{word}" for word in ("b", "a", "é", "B", "aa", "𝛼", "z")]
SECOND = ["ivo://a.b/c?new", "ivo://a.b/c?0"]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / name for name in ("one", "two", "none")]
    for path, dids in zip(found, (FIRST, SECOND, []), strict=True):
        identifiers.write(path, pa.chunked_array([pa.array(dids, pa.string())]))
    return found


def test_ranks_are_those_of_code_points(tmp_path: Path) -> None:
    rank = identifiers.write(tmp_path / "one", pa.chunked_array([FIRST]))
    assert [FIRST[place] for place in np.argsort(rank)] == sorted(FIRST)


def test_rows_and_identifiers_agree(paths: list[Path]) -> None:
    known = Identifiers(paths)
    dids = FIRST + SECOND
    assert len(known) == len(dids)
    assert [known.did_of(row) for row in range(len(dids))] == dids
    assert [known.row_of(did) for did in dids] == list(range(len(dids)))
    assert known.dids_of([8, 0, 3]).to_pylist() == [dids[8], dids[0], dids[3]]
    with pytest.raises(IndexError, match="no row 9; there are 9"):
        known.did_of(9)


@pytest.mark.parametrize("removed", [(), (1, 7)])
def test_many_at_once_are_found_as_one_by_one(paths: list[Path], removed: tuple[int, ...]) -> None:
    known = Identifiers(paths, removed)
    asked = ["ivo://a.b/c?", *FIRST, "", *SECOND, "ivo://a.b/c?zz", *FIRST]
    assert known.rows_of(asked) == [known.row_of(did) for did in asked]


def test_what_was_removed_is_known_and_not_found(paths: list[Path]) -> None:
    known = Identifiers(paths, [1, 7])
    assert (known.row_of(FIRST[1]), known.row_of(SECOND[0])) == (None, None)
    assert known.was_removed(FIRST[1])
    assert not known.was_removed(FIRST[0])
    assert not known.was_removed("ivo://a.b/c?never")
