# ruff: noqa: E501 (queries stay on one line)
"""latent_distance and similar_to: every plan gives what computing all distances and sorting them gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from index.metric import parse_space
from index.release import OpenRelease
from service.errors import UsageFault
from service.query import build
from tests.service.query.asking import ask, upload
from tests.service.query.conftest import OUTSIDE, REFERENCE

SECOND = "ivo://doppel.example/second?syn-0002"
THIRD = "ivo://doppel.example/first?syn-0003"
SPACES = ("", "halpha:physics", "optical:all", "physics; teff:2, z05:0", "halpha:velocity")
WHERES = (
    "",
    "WHERE teff > 6000",
    "WHERE teff > 7900",
    "WHERE 1=CONTAINS(POINT(ra,dec),CIRCLE(180,10,70))",
    "WHERE teff > 6000 OR ssa_snr < 30",
    "WHERE ssa_pubdid IN (SELECT obs_publisher_did FROM ivoa.obscore WHERE em_max < 5e-7)",
    "WHERE teff < 0",
    "WHERE spectral_class LIKE 'G%' AND NOT ra IS NULL",
)


def expected(
    release: OpenRelease, space: str, where: str, top: int, offset: int = 0
) -> list[tuple[str, float]]:
    """By (distance, DID), NULL last; the condition by the engine, distances and order by us."""
    passing = ask(release, f"SELECT ssa_pubdid FROM doppel.spectra {where}").column("ssa_pubdid")
    model = release.models["halpha" if space.startswith("halpha") else "optical"]
    row = release.row_of(REFERENCE)
    assert row is not None
    distances = model.vectors.distances(model.vectors.vector(row), parse_space(space, model.recipe))
    known = dict(zip(map(int, model.vectors.rows), map(float, distances), strict=True))
    pairs = [(known.get(release.row_of(did) or 0, np.inf), did) for did in passing]
    zero = release.did_of(0)
    pairs = [(known.get(0, np.inf) if did == zero else distance, did) for distance, did in pairs]
    return [(did, distance) for distance, did in sorted(pairs)[offset : offset + top]]


def nearest(rows: list[tuple[Any, ...]]) -> list[tuple[str, float]]:
    return [(row[0], np.inf if row[1] is None else row[1]) for row in rows]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("where", WHERES)
def test_the_index_and_the_whole_column_agree(archive: OpenRelease, space: str, where: str) -> None:
    call = f"latent_distance(ssa_pubdid, '{REFERENCE}'" + (f", '{space}')" if space else ")")
    for top, offset in ((7, 0), (5, 3), (250, 0), (1, 0)):
        query = f"SELECT TOP {top} ssa_pubdid, {call} AS d FROM doppel.spectra {where} ORDER BY d"
        query += f" OFFSET {offset}" if offset else ""
        assert nearest(ask(archive, query).rows) == expected(archive, space, where, top, offset)
        whole = ask(archive, f"SELECT ssa_pubdid, {call} AS d FROM doppel.spectra {where} ORDER BY d, 1").rows
        assert nearest(whole)[offset : offset + top] == expected(archive, space, where, top, offset)


CALL = f"latent_distance(s.ssa_pubdid, '{REFERENCE}')"
SHAPES = {
    "by position": f"SELECT TOP 6 s.ssa_pubdid, {CALL} FROM doppel.spectra AS s ORDER BY 2",
    "directly": f"SELECT TOP 6 s.ssa_pubdid FROM doppel.spectra AS s ORDER BY {CALL} ASC",
    "in parentheses": f"SELECT TOP 6 s.ssa_pubdid FROM doppel.spectra AS s ORDER BY ({CALL})",
    "after a star": f"SELECT TOP 6 s.*, {CALL} AS d FROM doppel.spectra AS s ORDER BY d",
    "with further keys": f"SELECT TOP 6 s.ssa_pubdid FROM doppel.spectra AS s ORDER BY {CALL}, s.teff DESC",
    "obscore": f"SELECT TOP 6 s.obs_publisher_did FROM ivoa.obscore AS s ORDER BY {CALL}".replace(
        "s.ssa_pubdid", "s.obs_publisher_did"
    ),
    "model table": f"SELECT TOP 6 s.ssa_pubdid FROM doppel.optical AS s ORDER BY {CALL}",
    "join": f"SELECT TOP 6 s.ssa_pubdid, o.em_min FROM doppel.spectra AS s JOIN ivoa.obscore AS o"
    f" ON s.ssa_pubdid = o.obs_publisher_did ORDER BY {CALL}",
    "outer join": f"SELECT TOP 6 s.ssa_pubdid FROM ivoa.obscore AS o LEFT JOIN doppel.spectra AS s"
    f" ON s.ssa_pubdid = o.obs_publisher_did ORDER BY {CALL}",
    "derived": f"SELECT q.ssa_pubdid FROM (SELECT TOP 6 s.ssa_pubdid, {CALL} AS d FROM doppel.spectra AS s"
    " ORDER BY d) AS q ORDER BY q.d",
    "of derived": f"SELECT TOP 6 s.ssa_pubdid FROM (SELECT ssa_pubdid FROM doppel.spectra) AS s ORDER BY {CALL}",
    "common table": f"WITH s AS (SELECT ssa_pubdid FROM doppel.spectra) SELECT TOP 6 ssa_pubdid FROM s ORDER BY {CALL}",
    "in common table": f"WITH n AS (SELECT TOP 6 s.ssa_pubdid, {CALL} AS d FROM doppel.spectra AS s ORDER BY d)"
    " SELECT ssa_pubdid FROM n ORDER BY d",
    "group": f"SELECT TOP 6 s.ssa_pubdid, MIN(s.teff) FROM doppel.spectra AS s GROUP BY s.ssa_pubdid ORDER BY {CALL}",
    "group by distance": f"SELECT TOP 6 MAX(s.ssa_pubdid), {CALL} AS d FROM doppel.spectra AS s"
    f" WHERE {CALL} >= 0 GROUP BY {CALL} ORDER BY d",
    "distinct": f"SELECT DISTINCT TOP 6 s.ssa_pubdid, {CALL} AS d FROM doppel.spectra AS s ORDER BY d",
    "radius": f"SELECT TOP 6 s.ssa_pubdid FROM doppel.spectra AS s WHERE {CALL} < 3 ORDER BY {CALL}",
    "radius or": f"SELECT TOP 6 s.ssa_pubdid FROM doppel.spectra AS s WHERE {CALL} < 3 OR {CALL} < 2 ORDER BY {CALL}",
    "union": f"SELECT s.ssa_pubdid, {CALL} AS d FROM doppel.spectra AS s WHERE {CALL} < 1.7"
    f" UNION SELECT s.ssa_pubdid, {CALL} AS d FROM doppel.spectra AS s WHERE {CALL} < 1.7 ORDER BY 2, 1",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_nearest_are_the_same_wherever_the_distance_stands(archive: OpenRelease, shape: str) -> None:
    wanted = [did for did, _ in expected(archive, "", "", 6)]
    found = [row[0] for row in ask(archive, SHAPES[shape]).rows]
    assert found[:6] == wanted


def test_nearest_by_scalar_sub_query(archive: OpenRelease) -> None:
    query = (
        f"SELECT TOP 1 (SELECT TOP 1 s.ssa_pubdid FROM doppel.spectra AS s WHERE {CALL} > 0 ORDER BY {CALL})"
        " AS nearest FROM doppel.models"
    )
    assert ask(archive, query).rows == [(expected(archive, "", "", 2)[1][0],)]


def test_two_references_in_one_query(archive: OpenRelease) -> None:
    other = f"latent_distance(s.ssa_pubdid, '{SECOND}')"
    query = f"SELECT TOP 9 s.ssa_pubdid, {CALL} AS a, {other} AS b FROM doppel.spectra AS s ORDER BY a"
    rows = ask(archive, query).rows
    assert [row[0] for row in rows] == [did for did, _ in expected(archive, "", "", 9)]
    single = dict(ask(archive, f"SELECT s.ssa_pubdid, {other} FROM doppel.spectra AS s").rows)
    assert all(row[2] == single[row[0]] for row in rows)


def test_a_spectrum_without_embedding_has_no_distance_and_comes_last(archive: OpenRelease) -> None:
    query = f"SELECT s.ssa_pubdid, {CALL} AS d FROM doppel.spectra AS s"
    assert dict(ask(archive, query).rows)[OUTSIDE] is None
    for order in ("d", "d DESC"):
        assert ask(archive, f"{query} ORDER BY {order}").rows[-1][1] is None
    own = f"SELECT {CALL} FROM doppel.spectra AS s WHERE s.ssa_pubdid = '{REFERENCE}'"
    assert ask(archive, own).rows == [(0.0,)]


def test_similar_to_looks_before_other_conditions_and_leaves_the_reference_out(archive: OpenRelease) -> None:
    query = f"SELECT ssa_pubdid, teff FROM doppel.spectra WHERE 1=similar_to(ssa_pubdid, '{REFERENCE}', 12)"
    found = ask(archive, query)
    wanted = [did for did, _ in expected(archive, "", "", 13)][1:]
    assert sorted(found.column("ssa_pubdid")) == sorted(wanted)
    warm = ask(archive, query + " AND teff > 6500").rows
    assert sorted(warm) == sorted(row for row in found.rows if row[1] is not None and row[1] > 6500)
    rest = ask(
        archive, f"SELECT COUNT(*) FROM doppel.spectra WHERE similar_to(ssa_pubdid, '{REFERENCE}', 12) = 0"
    )
    assert rest.rows == [(288,)]
    total = ask(archive, f"SELECT SUM(similar_to(ssa_pubdid, '{REFERENCE}', 12)) FROM doppel.spectra")
    assert total.rows == [(12,)]


def mine() -> Mapping[str, Any]:
    dids = [REFERENCE, SECOND, THIRD, OUTSIDE, "ivo://nobody?x", None]
    return {"mine": upload({"n": ("int", list(range(6))), "did": ("char", dids)})}


@pytest.mark.parametrize(
    "join",
    [
        "TAP_UPLOAD.mine AS u JOIN doppel.spectra AS s ON 1=similar_to(s.ssa_pubdid, u.did, 4)",
        "TAP_UPLOAD.mine AS u, doppel.spectra AS s WHERE 1=similar_to(s.ssa_pubdid, u.did, 4)",
        "doppel.spectra AS s JOIN TAP_UPLOAD.mine AS u ON similar_to(s.ssa_pubdid, u.did, 4)=1",
        "TAP_UPLOAD.mine AS u JOIN doppel.spectra AS s ON (1=similar_to(s.ssa_pubdid, u.did, 4) OR 1=2)",
    ],
)
def test_the_nearest_of_each_uploaded_star_by_a_join(archive: OpenRelease, join: str) -> None:
    rows = ask(archive, f"SELECT u.n, s.ssa_pubdid FROM {join}", uploads=mine()).rows
    for number, did in enumerate([REFERENCE, SECOND, THIRD]):
        one = f"SELECT ssa_pubdid FROM doppel.spectra WHERE 1=similar_to(ssa_pubdid, '{did}', 4)"
        assert {d for n, d in rows if n == number} == {d for (d,) in ask(archive, one).rows}
    assert {n for n, _ in rows} == {0, 1, 2}


def test_a_left_join_keeps_stars_without_neighbours(archive: OpenRelease) -> None:
    query = (
        "SELECT u.n, s.ssa_pubdid FROM TAP_UPLOAD.mine AS u LEFT JOIN doppel.spectra AS s"
        " ON 1=similar_to(s.ssa_pubdid, u.did, 2)"
    )
    rows = ask(archive, query, uploads=mine()).rows
    assert sorted(n for n, _ in rows) == [0, 0, 1, 1, 2, 2, 3, 4, 5]


def test_distances_between_two_columns(archive: OpenRelease) -> None:
    query = (
        "SELECT u.n, s.ssa_pubdid, latent_distance(s.ssa_pubdid, u.did) FROM TAP_UPLOAD.mine AS u"
        " JOIN doppel.spectra AS s ON 1=similar_to(s.ssa_pubdid, u.did, 4) WHERE u.n < 2"
    )
    rows = ask(archive, query, uploads=mine()).rows
    assert len(rows) == 8
    for number, did in ((0, REFERENCE), (1, SECOND)):
        single = f"SELECT ssa_pubdid, latent_distance(ssa_pubdid, '{did}') FROM doppel.spectra"
        known = dict(ask(archive, single).rows)
        for n, found, distance in rows:
            if n == number:
                assert distance == pytest.approx(known[found], rel=1e-12)


@pytest.mark.parametrize("order", ["", "ORDER BY d", "ORDER BY d DESC, ssa_pubdid"])
def test_spectra_without_an_embedding_have_no_distance_to_themselves(
    archive: OpenRelease, order: str
) -> None:
    query = "SELECT ssa_pubdid, latent_distance(ssa_pubdid, ssa_pubdid) AS d FROM doppel.spectra"
    found = dict(ask(archive, f"{query} {order}").rows)
    embedded = set(archive.dids_of(archive.models["optical"].vectors.rows).to_pylist())
    assert {did for did, distance in found.items() if distance == 0} == embedded
    assert {did for did, distance in found.items() if distance is None} == set(found) - embedded != set()


def test_an_uploaded_spectrum_is_a_reference(archive: OpenRelease) -> None:
    model = archive.models["optical"]
    row = archive.row_of(REFERENCE)
    assert row is not None

    def references(release: OpenRelease, token: str) -> Mapping[str, Any]:
        if token != "abc":  # noqa: S105 (a token of this test)
            raise UsageFault(f"upload:{token} has expired")
        return {"optical": model.vectors.vector(row)}

    query = "SELECT TOP 5 ssa_pubdid FROM doppel.spectra ORDER BY latent_distance(ssa_pubdid, 'upload:{}')"
    found = ask(archive, query.format("abc"), references=references)
    assert found.column("ssa_pubdid") == [did for did, _ in expected(archive, "", "", 5)]
    with pytest.raises(UsageFault, match="expired"):
        ask(archive, query.format("old"), references=references)


@pytest.mark.parametrize(
    "others", ["s.ssa_pubdid <> '{}'", "'{}' <> s.ssa_pubdid", "NOT s.ssa_pubdid = '{}'"]
)
def test_all_but_the_reference_are_no_condition(archive: OpenRelease, others: str) -> None:
    query = f"SELECT TOP 6 s.ssa_pubdid, {CALL} FROM doppel.spectra AS s WHERE {others} ORDER BY 2"
    found = ask(archive, query.format(REFERENCE))
    assert found.rows == expected(archive, "", "", 7)[1:]
    other = ask(archive, query.format(SECOND))
    assert [did for did, _ in other.rows] == [
        did for did, _ in expected(archive, "", "", 7) if did != SECOND
    ][:6]


def test_the_answer_tells_how_it_was_found(archive: OpenRelease) -> None:
    query = f"SELECT TOP 3 ssa_pubdid FROM doppel.spectra WHERE teff > 6000 ORDER BY {CALL.replace('s.ssa', 'ssa')}"
    infos = ask(archive, query).infos
    assert infos["release"] == archive.id
    assert infos["model"] == archive.models["optical"].recipe.model_id
    assert (infos["space"], infos["plan"], infos["exact"]) == ("physics", "exact on the subset", "true")
    assert 0 < int(infos["n_pass"]) < 240


def test_a_join_tells_the_space_that_it_was_asked_in(archive: OpenRelease) -> None:
    """A model's name alone is its default preset; weights of one's own are told with the preset."""
    join = "TAP_UPLOAD.mine AS u JOIN doppel.spectra AS s ON 1=similar_to(s.ssa_pubdid, u.did, 4, '{}')"
    for space, told in (("halpha", "physics"), ("; z00:2", "physics; z00:2"), ("optical:ALL", "all")):
        infos = ask(archive, f"SELECT u.n FROM {join.format(space)}", uploads=mine()).infos
        assert infos["space"] == told
        assert infos["model"].startswith("halpha" if space == "halpha" else "optical")


def test_the_model_is_that_of_the_table_that_the_identifier_comes_from(archive: OpenRelease) -> None:
    query = "SELECT TOP 3 h.ssa_pubdid, latent_distance(h.ssa_pubdid, '{}') AS d FROM doppel.halpha AS h ORDER BY d"
    found = ask(archive, query.format(REFERENCE))
    assert found.infos["model"] == archive.models["halpha"].recipe.model_id
    assert nearest(found.rows) == expected(archive, "halpha:physics", "", 3)


def test_a_tree_made_of_values_is_the_same_question(archive: OpenRelease) -> None:
    did = build.column("ssa_pubdid", "s")
    where = build.both(
        [
            build.cone(build.column("ra"), build.column("dec"), (180.0, -10.0), 70.0),
            build.overlaps(build.column("ssa_specstart"), build.column("ssa_specend"), 4e-7, float("inf")),
            build.either([build.like(build.column("object"), "hd%"), None]),
            build.between(build.column("teff"), 5500, 7000),
            build.negated(build.is_null(build.column("ssa_snr"))),
        ]
    )
    tree = build.select(
        [did, build.alias(build.latent_distance(did, REFERENCE), "distance")],
        build.table("doppel.spectra", "s"),
        where=where,
        order_by=[build.ascending(build.column("distance"))],
        top=5,
    )
    text = (
        f"SELECT TOP 5 ssa_pubdid, latent_distance(ssa_pubdid, '{REFERENCE}') AS d FROM doppel.spectra"
        " WHERE 1=CONTAINS(POINT(ra, dec), CIRCLE(180, -10, 70)) AND ssa_specend >= 4e-7"
        " AND object ILIKE 'hd%' AND teff BETWEEN 5500 AND 7000 AND ssa_snr IS NOT NULL ORDER BY d"
    )
    assert ask(archive, tree).rows == ask(archive, text).rows
    assert len(ask(archive, tree).rows) == 5
