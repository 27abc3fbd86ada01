"""Sets of vectors in files: lists, segments and removed rows, ties; what is refused when they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.strategy import Limits, Strategy
from index.vectors import VectorSet
from tests.index.places import (
    DATA,
    DEFAULT,
    FEW,
    OWN,
    RANKS,
    ROWS,
    SMALL,
    brute,
    flat,
    listed,
    recall,
    segmented,
)


def test_weights_that_leave_out_what_varies_most_take_lists_made_without_it(tmp_path: Path) -> None:
    """One latent of five times the spread, as a velocity has; with it the first lists answer as ever."""
    vectors, queries = DATA.vectors.copy(), DATA.queries.copy()
    spread, r = 5 * vectors.std(), np.random.default_rng(6)
    vectors[:, 0], queries[:, 0] = r.normal(0, spread, DATA.n), r.normal(0, spread, len(queries))
    every, without = np.ones(DATA.d), np.r_[0.0, np.ones(DATA.d - 1)]
    two = VectorSet.build(tmp_path, ROWS, vectors, RANKS, every, [without], limits=SMALL)
    wanted = [two.search(query, 10, without, exact=True).rows for query in queries]
    found = [two.search(query, 10, without) for query in queries]
    assert {one.plan.strategy for one in found} == {Strategy.LISTS}
    assert np.mean([recall(one.rows, rows) for one, rows in zip(found, wanted, strict=True)]) >= 0.99
    one = VectorSet.build(tmp_path / "one", ROWS, vectors, RANKS, every, limits=SMALL)
    assert one.search(queries[0], 10, without).plan.n_visited > found[0].plan.n_visited
    np.testing.assert_array_equal(
        one.search(queries[0], 10, every).rows, two.search(queries[0], 10, every).rows
    )
    (tmp_path / "lists-1" / "rows.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="lists-1: a file cannot be read"):
        VectorSet.open(tmp_path, limits=SMALL)


def test_data_that_vary_in_every_latent_take_more_lists(tmp_path: Path) -> None:
    """The mixture has eight parameters, this cloud sixteen: neighbours lie scattered over more lists."""
    cloud = np.random.default_rng(11).standard_normal((20_050, 16), np.float32)
    rows, weights = np.arange(20_000), np.ones(16)
    many = VectorSet.build(tmp_path, rows, cloud[:20_000], rows, weights, limits=SMALL)
    np.save(tmp_path / "needed.npy", 0)
    untried = VectorSet.open(tmp_path, limits=SMALL)

    def recalls(vectors: VectorSet) -> list[float]:
        wanted = [many.search(query, 10, weights, exact=True).rows for query in cloud[20_000:]]
        found = [vectors.search(query, 10, weights).rows for query in cloud[20_000:]]
        return [recall(rows, true) for rows, true in zip(found, wanted, strict=True)]

    assert np.mean(recalls(untried)) < 0.9
    assert np.mean(recalls(many)) >= 0.99
    assert min(recalls(many)) >= 0.8


@pytest.mark.parametrize(
    ("weights", "share", "exact", "strategy"),
    [
        (DEFAULT, 1.0, False, Strategy.LISTS),
        (3 * DEFAULT, 1.0, False, Strategy.LISTS),
        (DEFAULT, 1.0, True, Strategy.CERTIFIED),
        (DEFAULT, 0.3, False, Strategy.COUNTED_LISTS),
        (DEFAULT, 0.01, False, Strategy.SUBSET),
        (FEW, 1.0, False, Strategy.COLUMNS),
        (OWN, 1.0, True, Strategy.CERTIFIED),
    ],
)
def test_the_plan_says_what_was_done(
    tmp_path: Path, weights: NDArray[np.float64], share: float, exact: bool, strategy: Strategy
) -> None:
    vectors = listed(tmp_path)
    among = None if share == 1.0 else ROWS[DATA.passing("random", share, 0)]
    plan = vectors.search(DATA.queries[0], 10, weights, among=among, exact=exact).plan
    assert plan.strategy == strategy
    assert plan.n_rows == DATA.n
    assert plan.n_pass == (DATA.n if among is None else len(among))
    assert 10 <= plan.n_visited <= plan.n_pass


@pytest.mark.parametrize("build", [flat, listed])
def test_ties_are_ordered_by_the_rank_of_the_did(build: Callable[[Path], VectorSet], tmp_path: Path) -> None:
    twins = np.repeat(DATA.vectors[:40], 25, axis=0)
    ranks = np.random.default_rng(1).permutation(1000)
    limits = Limits(subset_rows=100 if build is listed else 10**6)
    vectors = VectorSet.build(tmp_path, np.arange(1000), twins, ranks, DEFAULT, limits=limits)
    for among in (None, np.arange(0, 1000, 2)):
        rows = vectors.search(twins[30], 10, DEFAULT, among=among, exact=True).rows
        wanted = np.arange(25, 50) if among is None else np.arange(26, 50, 2)
        np.testing.assert_array_equal(rows, wanted[np.argsort(ranks[wanted])][:10])


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, "nearest"])
def test_what_is_left_is_found_as_if_the_removed_had_never_been(tmp_path: Path, share: float | str) -> None:
    listed(tmp_path)
    for query in DATA.queries[:12]:
        gone = (
            brute(query, 5000, DEFAULT)
            if isinstance(share, str)
            else np.random.default_rng(2).choice(ROWS, int(share * DATA.n), replace=False)
        )
        left = np.setdiff1d(ROWS, gone)
        vectors = VectorSet.open(tmp_path, removed=gone, limits=SMALL)
        found = vectors.search(query, 10, DEFAULT)
        assert len(found.rows) == 10
        assert recall(found.rows, brute(query, 10, DEFAULT, left)) >= 0.9
        assert (found.plan.strategy is Strategy.LISTS) == (share in (0.01, 0.1))
        (same,) = vectors.search_batch(query[None], 10, DEFAULT)
        np.testing.assert_array_equal(same.rows, found.rows)


def test_removed_rows_are_never_found(tmp_path: Path) -> None:
    segmented(tmp_path)
    gone = ROWS[::2]
    vectors = VectorSet.open(tmp_path / "main", [tmp_path / "late"], removed=gone, limits=SMALL)
    assert len(vectors) == DATA.n // 2
    assert vectors.vector(int(ROWS[4])) is None
    np.testing.assert_array_equal(vectors.rows, ROWS[1::2])
    np.testing.assert_array_equal(vectors.matrix(), DATA.vectors[1::2])
    offsets = DATA.vectors[1::2].astype(np.float64) - DATA.queries[0]
    np.testing.assert_allclose(
        vectors.distances(DATA.queries[0], DEFAULT), np.sqrt(offsets**2 @ DEFAULT), rtol=1e-12
    )
    for weights in (DEFAULT, OWN, FEW):
        for exact in (False, True):
            rows = vectors.search(DATA.vectors[4], 10, weights, exact=exact).rows
            assert len(rows) == 10
            assert not np.isin(rows, gone).any()
        wanted = brute(DATA.vectors[4], 10, weights, ROWS[1::2])
        np.testing.assert_array_equal(vectors.search(DATA.vectors[4], 10, weights, exact=True).rows, wanted)
        batch = vectors.search_batch(DATA.vectors[4:6], 10, weights, exact=True)
        np.testing.assert_array_equal(batch[0].rows, wanted)


def test_few_vectors_or_none_are_a_set_too(tmp_path: Path) -> None:
    one = VectorSet.build(tmp_path / "one", [7], DATA.vectors[:1], [0], DEFAULT)
    assert one.search(DATA.queries[0], 5, DEFAULT).rows.tolist() == [7]
    none = VectorSet.build(tmp_path / "none", [], np.empty((0, 16)), [], DEFAULT)
    assert len(none) == len(none.search(DATA.queries[0], 5, DEFAULT).rows) == 0
    assert len(none.distances(DATA.queries[0], DEFAULT)) == 0


def test_the_set_is_the_same_when_it_is_opened_again(tmp_path: Path) -> None:
    first, again = listed(tmp_path), VectorSet.open(tmp_path, limits=SMALL)
    for query in DATA.queries[:5]:
        one, other = first.search(query, 10, DEFAULT), again.search(query, 10, DEFAULT)
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.distance, other.distance)


@pytest.mark.parametrize(
    ("rows", "changed", "complaint"),
    [
        ([0, 2, 1], {}, "ascending"),
        ([0, 1, 1], {}, "different"),
        ([-1, 0, 1], {}, "not negative"),
        ([0, 1], {}, "must agree"),
        ([4, 5, 6], {1: np.nan}, "the first is of row 5"),
        ([4, 5, 6], {2: np.inf}, "the first is of row 6"),
        ([4, 5, 6], {0: 1e30}, "above 1e.09"),
    ],
)
def test_a_set_with_bad_rows_is_not_built(
    tmp_path: Path, rows: list[int], changed: dict[int, float], complaint: str
) -> None:
    values = DATA.vectors[:3].copy()
    for row, value in changed.items():
        values[row, 2] = value
    with pytest.raises(ValueError, match=complaint):
        VectorSet.build(tmp_path, rows, values, np.arange(3), DEFAULT)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shortened(path: Path) -> None:
    np.save(path, np.load(path)[:-1])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, cut) for name in ("index.faiss", "vectors.npy", "rows.npy", "position.npy", "metric.npy")),
        *((name, cut) for name in ("boxes.npy", "columns.npy", "did_rank.npy")),
        *((name, shortened) for name in ("vectors.npy", "rows.npy", "did_rank.npy", "offsets.npy")),
        ("vectors.npy", Path.unlink),
        ("index.faiss", Path.unlink),
        ("index.faiss", lambda path: path.write_bytes(b"no index")),
    ],
)
def test_damage_is_told_with_the_directory(
    tmp_path: Path, name: str, damage: Callable[[Path], object]
) -> None:
    listed(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(ValueError, match=tmp_path.name):
        VectorSet.open(tmp_path, limits=SMALL)


def test_an_index_of_another_set_is_refused(tmp_path: Path) -> None:
    listed(tmp_path / "one")
    half = slice(0, 10_000)
    VectorSet.build(tmp_path / "two", ROWS[half], DATA.vectors[half], RANKS[half], DEFAULT, limits=SMALL)
    (tmp_path / "two" / "index.faiss").replace(tmp_path / "one" / "index.faiss")
    with pytest.raises(ValueError, match="holds"):
        VectorSet.open(tmp_path / "one")


def test_segments_must_fit(tmp_path: Path) -> None:
    VectorSet.build(tmp_path / "main", [1, 2, 3], DATA.vectors[:3], [0, 1, 2], DEFAULT)
    VectorSet.build(tmp_path / "wide", [4], np.zeros((1, 17)), [3], np.ones(17))
    VectorSet.build(tmp_path / "twice", [3, 4], DATA.vectors[:2], [3, 4], DEFAULT)
    with pytest.raises(ValueError, match="17 dimensions, but the set has 16"):
        VectorSet.open(tmp_path / "main", [tmp_path / "wide"])
    with pytest.raises(ValueError, match="row 3 is in the set already"):
        VectorSet.open(tmp_path / "main", [tmp_path / "twice"])
