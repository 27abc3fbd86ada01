"""Vector mathematics beside GAVO DaCHS 2.7 on the same arrays: its answers, and why some differ.

How they were got stands in fixtures/dachs_vectors.json.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from index.release import OpenRelease
from registry_metadata.columns import Column
from service.errors import UsageFault
from service.query.context import Upload
from tests.service.query.asking import ask

TOLD = json.loads(Path(__file__).with_name("fixtures").joinpath("dachs_vectors.json").read_text("utf-8"))
KINDS = {"id": pa.int32(), "g": pa.string(), "s": pa.float64(), "n": pa.int32()}
COLUMNS = (
    Column("id", "int"),
    Column("g", "char", "*"),
    Column("s", "double"),
    Column("n", "int"),
    *(Column(name, "double", "*") for name in ("a", "b", "c")),
)


def numbers(value: Any) -> Any:
    """JSON has no NaN and no infinity: there they are text."""
    if isinstance(value, list):
        return [numbers(one) for one in value]
    return float(value) if value in ("nan", "inf", "-inf") else value


def uploaded() -> Upload:
    columns = zip(*(map(numbers, row) for row in TOLD["rows"]), strict=True)
    arrays = [
        pa.array(values, KINDS.get(column.name, pa.list_(pa.float64())))
        for column, values in zip(COLUMNS, columns, strict=True)
    ]
    return Upload(COLUMNS, pa.table(arrays, names=[column.name for column in COLUMNS]))


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list) and isinstance(found, list | tuple):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if found is None or wanted is None or isinstance(wanted, str):
        return bool(found == wanted)
    if isinstance(found, list):
        return False
    return (math.isnan(found) and math.isnan(wanted)) or math.isclose(found, wanted, rel_tol=1e-12)


@pytest.mark.parametrize("pair", TOLD["pairs"], ids=lambda pair: pair["query"].removeprefix("SELECT "))
def test_a49_answers_are_those_of_dachs_or_differ_for_a_reason(
    archive: OpenRelease, pair: dict[str, Any]
) -> None:
    query = pair["query"].replace("vecmath.arrays", "TAP_UPLOAD.arrays")
    if pair.get("ours") == "refused":
        with pytest.raises(UsageFault, match="is not defined"):
            ask(archive, query, uploads={"arrays": uploaded()})
        return
    found = dict(ask(archive, query, uploads={"arrays": uploaded()}).rows)
    wanted = {key: numbers(value) for key, value in pair.get("answer", [])}
    wanted |= {key: numbers(value) for key, value in pair.get("ours", [])}
    assert same([found[key] for key in wanted], list(wanted.values())), found
    assert len(found) == len(wanted)
    assert ("ours" in pair) == ("why" in pair)
