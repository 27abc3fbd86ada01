# ruff: noqa: E501 (queries stay on one line)
"""Vector mathematics compared with numpy, and a distance spelt in it with its scan (A49)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from index.release import OpenRelease
from registry_metadata.columns import Column
from service.protocols.examples import examples
from service.query.context import Upload
from tests.service.query.asking import ask, upload
from tests.service.query.conftest import REFERENCE

CONSTANT = f"(SELECT embedding FROM doppel.optical WHERE ssa_pubdid = '{REFERENCE}')"


def stored(archive: OpenRelease) -> tuple[list[str], NDArray[np.float64]]:
    """Identifiers and embeddings (n, 11) as the table has them."""
    found = ask(archive, "SELECT ssa_pubdid, embedding FROM doppel.optical ORDER BY ssa_pubdid")
    return found.column("ssa_pubdid"), np.array(found.column("embedding"), np.float64)


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("embedding[3]", lambda e: e[:, 2]),
        ("arr_sum(embedding)", lambda e: e.sum(1)),
        ("arr_avg(embedding)", lambda e: e.mean(1)),
        ("arr_min(embedding)", lambda e: e.min(1)),
        ("arr_max(embedding)", lambda e: e.max(1)),
        ("arr_stddev(embedding)", lambda e: e.std(1, ddof=1)),
        ("arr_dot(embedding, embedding)", lambda e: (e * e).sum(1)),
        ("arr_sum(embedding[2:4] * embedding[3:5])", lambda e: (e[:, 1:4] * e[:, 2:5]).sum(1)),
        ("arr_sum((embedding - 2 * embedding) / 4)", lambda e: (-e / 4).sum(1)),
        ("(embedding / embedding[1:11] + embedding)[11]", lambda e: 1 + e[:, 10]),
        ("arr_sum(arr_map(ABS(x) + z00, embedding))", lambda e: (abs(e) + e[:, :1]).sum(1)),
        ("SQRT(arr_dot(embedding - 3 * embedding, -embedding))", lambda e: np.sqrt(2 * (e * e).sum(1))),
    ],
)
def test_a49_numbers_are_those_of_numpy(archive: OpenRelease, expression: str, wanted: Any) -> None:
    names, vectors = stored(archive)
    found = ask(archive, f"SELECT {expression} AS r FROM doppel.optical ORDER BY ssa_pubdid")
    np.testing.assert_allclose(np.array(found.column("r")), wanted(vectors), rtol=1e-12, atol=1e-12)
    assert len(names) == len(found.rows)


@pytest.mark.parametrize("vector", ["embedding", "1 * embedding"])
def test_a49_aggregates_go_component_by_component(archive: OpenRelease, vector: str) -> None:
    """A published column is added up in the engine, a computed one row by row: both are numpy's."""
    _, vectors = stored(archive)
    query = f"SELECT SUM({vector}), AVG({vector}), MIN({vector}), MAX({vector}), COUNT({vector}) FROM doppel.optical"
    found = ask(archive, query)
    wanted = [vectors.sum(0), vectors.mean(0), vectors.min(0), vectors.max(0), np.full(11, len(vectors))]
    for part, numbers in zip(found.rows[0], wanted, strict=True):
        np.testing.assert_allclose(part, numbers, rtol=1e-11, atol=1e-11)
    assert [column.datatype for column in found.columns] == ["double"] * 4 + ["long"]
    assert [column.arraysize for column in found.columns] == ["11"] * 5


@pytest.mark.parametrize(
    ("expression", "datatype", "arraysize"),
    [
        ("embedding[1]", "float", None),
        ("embedding[2:4]", "float", "3"),
        ("embedding[2:99]", "float", "10"),
        ("embedding[5:4]", "float", "*"),
        ("embedding[latent_index:4]", "float", "*"),
        ("embedding[1:2] + embedding[1:5]", "double", "5"),
        ("2 * embedding", "double", "11"),
        ("arr_map(x, embedding)", "double", "11"),
        ("arr_dot(embedding, embedding)", "double", None),
        ("arr_count(embedding)", "long", None),
    ],
)
def test_a49_sizes_travel_through_expressions(
    archive: OpenRelease, expression: str, datatype: str, arraysize: str | None
) -> None:
    query = f"SELECT TOP 1 {expression} FROM doppel.optical AS o, doppel.latents AS l"
    (column,) = ask(archive, query).columns
    assert (column.datatype, column.arraysize) == (datatype, arraysize)


def arrays(values: dict[str, list[list[float | None] | None]], unit: str | None = None) -> Upload:
    columns = tuple(Column(name, "double", "*", unit=unit) for name in values)
    kind = pa.list_(pa.float64())
    return Upload(columns, pa.table({name: pa.array(each, kind) for name, each in values.items()}))


def test_a49_lengths_that_differ_and_missing_elements(archive: OpenRelease) -> None:
    """As DaCHS 2.7 answers on the same arrays: what one array lacks is NaN, sums leave missing elements out."""
    table = arrays({"a": [[1, 2, 4], [1, 2, 4], [1, None, 4]], "b": [[3, 5, 7], [3, 5], [0.5, 1, 2]]}, "m")
    query = "SELECT a + b, a - b, a * b, arr_dot(a, b), arr_sum(a), arr_avg(a), arr_stddev(a), arr_map(x*2+1, a) FROM TAP_UPLOAD.t"
    found = ask(archive, query, uploads={"t": table})
    nan, root = math.nan, math.sqrt(7 / 3)
    wanted = [
        ([4, 7, 11], [-2, -3, -3], [3, 10, 28], 41, 7, 7 / 3, root, [3, 5, 9]),
        ([4, 7, nan], [-2, -3, nan], [3, 10, nan], nan, 7, 7 / 3, root, [3, 5, 9]),
        ([1.5, nan, 6], [0.5, nan, 2], [0.5, nan, 8], nan, 5, 2.5, math.sqrt(4.5), [3, None, 9]),
    ]
    for row, numbers in zip(found.rows, wanted, strict=True):
        for one, other in zip(row, numbers, strict=True):
            np.testing.assert_allclose(np.array(one, float), np.array(other, float), rtol=1e-15)
    assert [column.unit for column in found.columns] == ["m", "m", "m**2", "m**2", "m", "m", "m", "m"]


def test_a49_missing_arrays_are_null_and_left_out_of_aggregates(archive: OpenRelease) -> None:
    table = arrays({"a": [[1, 2], None, [3, 5, 7]]})
    found = ask(
        archive,
        "SELECT a + a, 2 * a, a[1], a[1:1], arr_sum(a) FROM TAP_UPLOAD.t WHERE a IS NULL",
        uploads={"t": table},
    )
    assert found.rows == [(None,) * 5]
    found = ask(
        archive, "SELECT MIN(a), MAX(a), COUNT(a), SUM(a), AVG(a) FROM TAP_UPLOAD.t", uploads={"t": table}
    )
    low, high, count, total, mean = found.rows[0]
    assert (low, high, count) == ([1, 2, 7], [3, 5, 7], [2, 2, 1])
    assert (total[:2], mean[:2]) == ([4, 7], [2, 3.5])
    assert math.isnan(total[2])
    assert math.isnan(mean[2])


def test_a49_arr_map_of_a_missing_array_is_null_however_it_was_computed(archive: OpenRelease) -> None:
    """An array without elements has none after it, too."""
    table = arrays({"n": [[1], [2], [3]], "a": [[1, 2], None, []], "b": [[3, 4], [5], []]})
    computed = ("a", "a + b", "2 * a", "a / 2", "-a", "a[1:2]", "COALESCE(a, NULL)", "arr_map(x + 1, a * b)")
    for array in computed:
        query = f"SELECT arr_map(x - x, {array}), arr_sum(arr_map(x * arr_sum(arr_map(x, a + b)), {array}))"
        found = ask(archive, f"{query} FROM TAP_UPLOAD.t ORDER BY n[1]", uploads={"t": table}).rows
        assert found[0][0] == [0, 0], array
        assert found[0][1] is not None, array
        assert found[1] == (None, None), array
    kept = "SELECT arr_map(x, 2 * a) AS r FROM TAP_UPLOAD.t ORDER BY n[1]"
    assert ask(archive, kept, uploads={"t": table}).column("r") == [[2, 4], None, []]
    of_all = "SELECT arr_map(x / 2, SUM(a)) AS r FROM TAP_UPLOAD.t"
    assert ask(archive, f"{of_all} WHERE n[1] = 1", uploads={"t": table}).rows == [([0.5, 1],)]
    assert ask(archive, f"{of_all} WHERE a IS NULL", uploads={"t": table}).rows == [(None,)]


def test_a49_missing_elements_are_left_out_of_aggregates(archive: OpenRelease) -> None:
    """AVG(a)[i] is AVG(a[i]), so that a mean spectrum has every pixel that any spectrum has; NaN is no gap."""
    table = arrays({"a": [[1, None, 4, 1], [3, 5, None, math.nan], [None, None, None, 2]]})
    functions = ("SUM", "AVG", "MIN", "MAX", "COUNT")
    whole = ", ".join(f"{function}(a)" for function in functions)
    each = ", ".join(f"{function}(a[{place}])" for function in functions for place in (1, 2, 3, 4))
    found = ask(archive, f"SELECT {whole}, {each} FROM TAP_UPLOAD.t", uploads={"t": table})
    row = [[float(number) for number in cell] for cell in found.rows[0][:5]]
    wanted = [[4, 5, 4, math.nan], [2, 5, 4, math.nan], [1, 5, 4, 1], [3, 5, 4, math.nan], [2, 1, 1, 3]]
    np.testing.assert_array_equal(row, wanted)
    np.testing.assert_array_equal(np.array(found.rows[0][5:], float).reshape(5, 4), wanted)


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ([[1, 2], []], ([math.nan, math.nan], [math.nan, math.nan], [1, 2], [1, 2], [1, 1])),
        ([[], [1, 2]], ([math.nan, math.nan], [math.nan, math.nan], [1, 2], [1, 2], [1, 1])),
        ([[1, None], [2]], ([3, math.nan], [1.5, math.nan], [1, None], [2, None], [2, 0])),
        ([[], None], ([], [], [], [], [])),
        ([None], (None, None, None, None, None)),
    ],
)
def test_a49_aggregates_of_arrays_that_are_too_short(
    archive: OpenRelease, stored: Any, wanted: tuple[Any, ...]
) -> None:
    """An array without elements is one that is too short for each of them; the order of rows changes nothing."""
    query = "SELECT SUM(a) AS s, AVG(a) AS v, MIN(a) AS l, MAX(a) AS h, COUNT(a) AS c FROM TAP_UPLOAD.t"
    (found,) = ask(archive, query, uploads={"t": arrays({"a": stored})}).rows
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        np.testing.assert_array_equal(np.array(one, float), np.array(other, float))


def test_a49_aggregates_of_groups_and_in_conditions(archive: OpenRelease) -> None:
    table = arrays({"a": [[1, 2], [3, 6], [5, 10], None]})
    groups = "SELECT arr_sum(AVG(a)) AS s, COUNT(*) AS n FROM TAP_UPLOAD.t GROUP BY arr_sum(a) HAVING arr_max(MAX(a)) > 2 ORDER BY arr_sum(AVG(a)) DESC"
    assert ask(archive, groups, uploads={"t": table}).rows == [(15, 1), (9, 1)]
    of_mean = "SELECT arr_map(x - 1, m) AS r, m[1] AS f FROM (SELECT AVG(a) AS m FROM TAP_UPLOAD.t) AS s"
    assert ask(archive, of_mean, uploads={"t": table}).rows == [([2, 5], 3)]
    nothing = "SELECT AVG(a), COUNT(a) FROM TAP_UPLOAD.t WHERE a IS NULL"
    assert ask(archive, nothing, uploads={"t": table}).rows == [(None, None)]


def nearest(archive: OpenRelease, k: int, passing: Any = None) -> list[tuple[str, float]]:
    names, vectors = stored(archive)
    origin = vectors[names.index(REFERENCE)]
    squares = ((vectors - origin) ** 2).sum(1)
    keep = [place for place in range(len(names)) if passing is None or passing(vectors[place])]
    return [(names[place], squares[place]) for place in sorted(keep, key=lambda place: squares[place])[:k]]


@pytest.mark.parametrize(
    ("select", "order"),
    [
        ("arr_dot(embedding - {v}, embedding - {v}) AS d", "d"),
        ("arr_dot({v} - embedding, {v} - embedding) AS d", "1+0*z00, d"),  # not the first key: the scan
        ("arr_dot(embedding - {v}, embedding - {v}) AS d", "SQRT(arr_dot(embedding - {v}, embedding - {v}))"),
        ("arr_dot({v} - embedding, ({v} - embedding)) AS d", "arr_dot(({v} - embedding), ({v} - embedding))"),
        ("arr_sum((embedding - {v}) * (embedding - {v})) AS d", "d"),
        (
            "arr_dot(embedding - {v}, embedding - {v}) AS d",
            "POWER(arr_dot(embedding - {v}, embedding - {v}), 0.5)",
        ),
        (
            "arr_dot(embedding - {v}, embedding - {v}) AS d",
            "2 * SQRT(arr_sum((embedding - {v}) * (embedding - {v})) / 3)",
        ),
        ("arr_dot(embedding - {v}, embedding - {v}) AS d", "1+0 + arr_dot(embedding - {v}, embedding - {v})"),
    ],
)
def test_a_distance_in_vector_mathematics_takes_the_index(
    archive: OpenRelease, select: str, order: str
) -> None:
    query = f"SELECT TOP 7 ssa_pubdid, {select} FROM doppel.optical WHERE z01 > 0 ORDER BY {order}".format(
        v=CONSTANT
    )
    found = ask(archive, query)
    wanted = nearest(archive, 7, lambda vector: vector[1] > 0)
    assert found.column("ssa_pubdid") == [name for name, _ in wanted]
    np.testing.assert_allclose(found.column("d"), [square for _, square in wanted], atol=1e-12)
    assert ("plan" in found.infos) == (not order.startswith("1+"))


def test_a_distance_from_the_row_of_an_upload_takes_the_index(archive: OpenRelease) -> None:
    names, vectors = stored(archive)
    origin = vectors[names.index(REFERENCE)].tolist()
    query = "SELECT TOP 5 e.ssa_pubdid FROM doppel.optical AS e, TAP_UPLOAD.mine AS u ORDER BY arr_dot(e.embedding - u.v, e.embedding - u.v) OFFSET 1"
    one = ask(archive, query, uploads={"mine": arrays({"v": [origin]})})
    assert one.column("ssa_pubdid") == [name for name, _ in nearest(archive, 6)][1:]
    assert one.infos["plan"].endswith("then the radius")
    two = ask(archive, query, uploads={"mine": arrays({"v": [origin, origin]})})
    assert "plan" not in two.infos


def test_like_these_and_unlike_those_in_one_query(archive: OpenRelease) -> None:
    """Examples and counter-examples from an upload become one point; distances to it take the index."""
    names, vectors = stored(archive)
    marks = upload({"did": ("char", [*names[:5], *names[7:9]]), "likeness": ("int", [1] * 5 + [0] * 2)})
    mean = "SELECT AVG(o.embedding) AS v FROM doppel.optical AS o JOIN TAP_UPLOAD.mine AS u ON u.did = o.ssa_pubdid WHERE u.likeness"
    point = f"(SELECT 1.5 * a.v - 0.5 * b.v FROM ({mean} = 1) AS a, ({mean} = 0) AS b)"
    query = f"SELECT TOP 6 ssa_pubdid FROM doppel.optical ORDER BY arr_dot(embedding - {point}, embedding - {point})"
    found = ask(archive, query, uploads={"mine": marks})
    origin = 1.5 * vectors[:5].mean(0) - 0.5 * vectors[7:9].mean(0)
    places = np.argsort(((vectors - origin) ** 2).sum(1))[:6]
    assert found.column("ssa_pubdid") == [names[place] for place in places]
    assert found.infos["plan"].endswith("then the radius")


def test_the_example_of_unlike_spectra_takes_the_index(archive: OpenRelease) -> None:
    """A query in FROM with one row is a point as well; the answer is that of numpy."""
    held = archive.models["optical"].vectors
    rows: list[int] = held.rows.tolist()
    names = [archive.did_of(row) for row in rows]
    vectors = np.stack([held.vector(row) for row in rows]).astype(float)
    (example,) = (each for each in examples(archive) if each.id == "unlike")
    found = ask(archive, example.query)
    origin = 1.5 * vectors[:5].mean(0) - 0.5 * vectors[-2:].mean(0)
    far = np.sqrt(((vectors - origin) ** 2).sum(1))
    places = [place for place in np.argsort(far).tolist() if 5 <= place < len(rows) - 2][:20]
    assert found.column("ssa_pubdid") == [names[place] for place in places]
    np.testing.assert_allclose(found.column("d"), far[places], rtol=1e-6)
    assert found.infos["plan"].endswith("then the radius")


@pytest.mark.parametrize("point", ["TAP_UPLOAD.mine", "(SELECT v FROM TAP_UPLOAD.mine)"])
def test_a_point_that_not_every_row_is_joined_to_is_none_for_the_index(
    archive: OpenRelease, point: str
) -> None:
    """Rows without a partner have no distance, and so come after all that have one."""
    names, vectors = stored(archive)
    mine = arrays({"v": [vectors[names.index(REFERENCE)].tolist()]})
    query = f"SELECT TOP 6 e.ssa_pubdid FROM doppel.optical AS e {{}} JOIN {point} AS u ON e.z00 > 0.5 ORDER BY arr_dot(e.embedding - u.v, e.embedding - u.v)"
    wanted = [name for name, _ in nearest(archive, 6, lambda vector: vector[0] > 0.5)]
    for side in ("", "LEFT"):
        found = ask(archive, query.format(side), uploads={"mine": mine})
        assert found.column("ssa_pubdid") == wanted
        assert ("plan" in found.infos) == (not side)


def test_mean_distance_to_several_references(archive: OpenRelease) -> None:
    names, _ = stored(archive)
    mine = upload({"did": ("char", names[:3])})
    query = (
        "SELECT TOP 4 s.ssa_pubdid, AVG(latent_distance(s.ssa_pubdid, u.did)) AS d "
        "FROM doppel.optical AS s, TAP_UPLOAD.mine AS u GROUP BY s.ssa_pubdid ORDER BY d"
    )
    found = ask(archive, query, uploads={"mine": mine})
    each = [
        dict(
            ask(archive, f"SELECT ssa_pubdid, latent_distance(ssa_pubdid, '{name}') FROM doppel.optical").rows
        )
        for name in names[:3]
    ]
    means = {name: sum(part[name] for part in each) / 3 for name in names}
    assert found.column("ssa_pubdid") == sorted(means, key=means.__getitem__)[:4]
    np.testing.assert_allclose(found.column("d"), sorted(means.values())[:4])


@pytest.mark.parametrize("other", ["embedding", "2 * embedding", "embedding[1:3]"])
def test_what_is_no_constant_of_the_right_length_is_scanned(archive: OpenRelease, other: str) -> None:
    query = f"SELECT TOP 3 ssa_pubdid FROM doppel.optical ORDER BY arr_dot(embedding - {other}, embedding - {other})"
    found = ask(archive, query)
    assert len(found.rows) == 3
    assert "plan" not in found.infos
