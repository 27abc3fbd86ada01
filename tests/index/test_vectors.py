"""One contract for every way to search: sets without lists, with them, with segments, on servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.nearest import Nearest
from index.strategy import Limits, Strategy
from index.vectors import VectorSet
from tests import pg
from tests.index import on_servers
from tests.index.mixture import Mixture

DATA = Mixture(20_000, 16, n_queries=40)
ROWS = 3 * np.arange(DATA.n) + 5  # a release embeds some of its rows only
RANKS = np.random.default_rng(3).permutation(DATA.n)
DEFAULT = np.r_[np.ones(12), np.zeros(4)]  # the last block is left out by default
OWN = np.random.default_rng(4).lognormal(0, 1, DATA.d)
FEW = np.r_[np.zeros(13), 1.0, 2.0, 0.0]
WEIGHTS = pytest.mark.parametrize("weights", [DEFAULT, OWN, FEW], ids=["default", "own", "few"])
EXACT = pytest.mark.parametrize("exact", [False, True], ids=["quick", "exact"])
SMALL = Limits(subset_rows=500)  # so that twenty thousand rows take every path


def flat(directory: Path) -> VectorSet:
    """So few rows by its limits that it has no lists."""
    return VectorSet.build(directory, ROWS, DATA.vectors, RANKS, DEFAULT, limits=Limits(subset_rows=10**6))


def listed(directory: Path) -> VectorSet:
    return VectorSet.build(directory, ROWS, DATA.vectors, RANKS, DEFAULT, limits=SMALL)


def segmented(directory: Path) -> VectorSet:
    """The last tenth was appended, and only what was built has lists for own weights too."""
    main, late = slice(0, 18_000), slice(18_000, None)
    for name, part, others in (("main", main, [OWN]), ("late", late, [])):
        given = ROWS[part], DATA.vectors[part], RANKS[part], DEFAULT, others
        VectorSet.build(directory / name, *given, limits=SMALL)
    return VectorSet.open(directory / "main", [directory / "late"], limits=SMALL)


@pytest.fixture(
    scope="module",
    params=[flat, listed, segmented, 2],
    ids=lambda place: getattr(place, "__name__", f"postgres {place}"),
)
def vectors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nearest]:
    """A number is that of the PostgreSQL databases that the vectors lie in."""
    if not isinstance(request.param, int):
        yield request.param(tmp_path_factory.mktemp("vectors"))
        return
    server = request.getfixturevalue("pgvector_server")
    uris = [pg.database(server, f"contract-{request.param}-{number}") for number in range(request.param)]
    given = on_servers.source(ROWS, DATA.vectors, RANKS, DEFAULT, ["miles", "stelib", "miles", "indo-us"])
    with closing(on_servers.loaded(uris, given, SMALL)) as opened:
        yield opened


def brute(
    query: NDArray[np.float32], k: int, weights: NDArray[np.float64], among: NDArray[np.int64] = ROWS
) -> NDArray[np.int64]:
    places = np.searchsorted(ROWS, among)
    squares = ((DATA.vectors[places].astype(np.float64) - query) ** 2 * weights).sum(axis=1)
    return among[np.lexsort((RANKS[places], squares))[:k]]


def recall(rows: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    return len(np.intersect1d(rows, wanted)) / len(wanted)


def test_a_spectrum_is_its_own_nearest_neighbour(vectors: Nearest) -> None:
    matches = vectors.search(DATA.vectors[7], 3, DEFAULT)
    assert matches.rows[0] == ROWS[7]
    assert matches.distance[0] == 0.0
    assert (np.diff(matches.distance) >= 0).all()


@WEIGHTS
def test_exact_answers_are_those_of_brute_force(vectors: Nearest, weights: NDArray[np.float64]) -> None:
    for query in DATA.queries[:10]:
        matches = vectors.search(query, 10, weights, exact=True)
        np.testing.assert_array_equal(matches.rows, brute(query, 10, weights))
        assert matches.plan.exact


@WEIGHTS
def test_exact_answers_hold_under_a_condition(vectors: Nearest, weights: NDArray[np.float64]) -> None:
    for number, query in enumerate(DATA.queries[:5]):
        among = ROWS[DATA.passing("outside", 0.3, number)]
        matches = vectors.search(query, 10, weights, among=among, exact=True)
        np.testing.assert_array_equal(matches.rows, brute(query, 10, weights, among))
        assert matches.plan.n_pass == len(among)


@WEIGHTS
def test_quick_answers_lose_little(vectors: Nearest, weights: NDArray[np.float64]) -> None:
    recalls = [
        recall(vectors.search(query, 10, weights).rows, brute(query, 10, weights)) for query in DATA.queries
    ]
    assert np.mean(recalls) >= 0.99
    assert min(recalls) >= 0.9


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


@pytest.mark.parametrize("share", [0.5, 0.1, 0.03, 0.01, 0.001])
@pytest.mark.parametrize("kind", ["random", "inside", "outside"])
def test_filtered_recall_in_fifteen_cells(vectors: Nearest, kind: str, share: float) -> None:
    recalls = []
    for number, query in enumerate(DATA.queries):
        among = ROWS[DATA.passing(kind, share, number)]
        rows = vectors.search(query, 10, DEFAULT, among=among).rows
        assert np.isin(rows, among).all()
        assert len(rows) == min(10, len(among))
        recalls.append(recall(rows, brute(query, 10, DEFAULT, among)))
    assert np.mean(recalls) >= 0.995
    assert min(recalls) >= 0.9


@WEIGHTS
@EXACT
def test_never_fewer_than_k_while_k_pass(vectors: Nearest, weights: NDArray[np.float64], exact: bool) -> None:
    for k in (1, 300, 2500, DATA.n, DATA.n + 10):
        matches = vectors.search(DATA.queries[0], k, weights, exact=exact)
        assert len(matches.rows) == len(np.unique(matches.rows)) == min(k, DATA.n)
    among = ROWS[DATA.passing("outside", 0.2, 0)]
    assert len(vectors.search(DATA.queries[0], 3000, weights, among=among).rows) == 3000


@WEIGHTS
def test_every_path_gives_bit_equal_distances(vectors: Nearest, weights: NDArray[np.float64]) -> None:
    query = DATA.queries[1]
    column = dict(zip(vectors.rows.tolist(), vectors.distances(query, weights).tolist(), strict=True))
    answers = [
        vectors.search(query, 20, weights),
        vectors.search(query, 20, weights, exact=True),
        vectors.search(query, 20, weights, among=ROWS[DATA.passing("random", 0.01, 0)]),
        vectors.search_batch(DATA.queries[:3], 20, weights)[1],
        vectors.within(query, sorted(column.values())[50], weights),
    ]
    for matches in answers:
        assert matches.distance.tolist() == [column[row] for row in matches.rows.tolist()]


def test_rows_and_distances_are_aligned_in_order_of_rows(vectors: Nearest) -> None:
    np.testing.assert_array_equal(vectors.rows, ROWS)
    assert len(vectors) == DATA.n
    assert vectors.distances(DATA.vectors[11], DEFAULT)[11] == 0.0


@WEIGHTS
def test_the_excluded_reference_is_left_out_and_replaced(
    vectors: Nearest, weights: NDArray[np.float64]
) -> None:
    query = DATA.vectors[42]
    whole = vectors.search(query, 6, weights, exact=True)
    others = vectors.search(query, 5, weights, exclude=int(ROWS[42]), exact=True)
    np.testing.assert_array_equal(others.rows, whole.rows[whole.rows != ROWS[42]][:5])


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


@WEIGHTS
@EXACT
def test_a_batch_answers_as_single_searches_do(
    vectors: Nearest, weights: NDArray[np.float64], exact: bool
) -> None:
    queries, left_out = DATA.vectors[:12], [*ROWS[:11].tolist(), None]
    batch = vectors.search_batch(queries, 10, weights, exclude=left_out, exact=exact)
    for query, row, matches in zip(queries, left_out, batch, strict=True):
        single = vectors.search(query, 10, weights, exclude=row, exact=exact)
        np.testing.assert_array_equal(matches.rows, single.rows)
        np.testing.assert_array_equal(matches.distance, single.distance)
    assert vectors.search_batch(np.empty((0, DATA.d)), 10, weights) == []


@WEIGHTS
def test_within_a_radius_are_the_rows_of_brute_force(vectors: Nearest, weights: NDArray[np.float64]) -> None:
    among = ROWS[DATA.passing("inside", 0.4, 2)]
    query = DATA.queries[2]
    column = vectors.distances(query, weights)
    for size in (1, 10, 1000):
        radius = float(np.sort(column)[size - 1])
        matches = vectors.within(query, radius, weights)
        assert set(matches.rows.tolist()) == set(ROWS[column <= radius].tolist())
        assert matches.plan.exact
        near = vectors.within(query, radius, weights, among=among)
        assert set(near.rows.tolist()) == set(matches.rows.tolist()) & set(among.tolist())
    assert len(vectors.within(DATA.vectors[3], 0.0, DEFAULT, exclude=int(ROWS[3])).rows) == 0


def test_rows_without_a_vector_do_not_count(vectors: Nearest) -> None:
    matches = vectors.search(DATA.queries[0], 10, DEFAULT, among=np.arange(-3, 50))
    assert set(matches.rows.tolist()) <= set(ROWS.tolist())
    assert matches.plan.n_pass == 15
    assert vectors.vector(6) is None
    assert vectors.vector(10**9) is None
    vector = vectors.vector(int(ROWS[19_999]))
    assert vector is not None
    np.testing.assert_array_equal(vector, DATA.vectors[19_999])
    several = vectors.taken([int(ROWS[19_999]), 6, 10**9, 5])
    assert list(map(int, sorted(several))) == [5, int(ROWS[19_999])]
    np.testing.assert_array_equal(several[5], DATA.vectors[0])


def test_the_order_of_the_condition_and_repeated_rows_do_not_matter(vectors: Nearest) -> None:
    among = ROWS[DATA.passing("inside", 0.2, 0)]
    shuffled = np.random.default_rng(0).permutation(np.concatenate([among, among]))
    ordered = vectors.search(DATA.queries[0], 10, DEFAULT, among=among)
    other = vectors.search(DATA.queries[0], 10, DEFAULT, among=shuffled)
    np.testing.assert_array_equal(ordered.rows, other.rows)
    assert ordered.plan == other.plan


def test_nothing_passes_and_nothing_is_asked(vectors: Nearest) -> None:
    nothing = vectors.search(DATA.queries[0], 10, DEFAULT, among=[])
    assert (len(nothing.rows), nothing.plan.strategy) == (0, Strategy.EMPTY)
    assert len(vectors.search(DATA.queries[0], 0, DEFAULT).rows) == 0
    assert len(vectors.within(DATA.queries[0], 1.0, DEFAULT, among=[]).rows) == 0


@pytest.mark.parametrize(
    ("query", "k", "weights", "complaint"),
    [
        (np.zeros(15), 5, np.ones(16), r"query has shape \(15,\)"),
        (np.full(16, np.nan), 5, np.ones(16), "not finite"),
        (np.zeros(16), -1, np.ones(16), "k is -1"),
        (np.zeros(16), 10**9, np.ones(16), "between 0 and 100000"),
        (np.zeros(16), 5, np.zeros(16), "at least one above zero"),
        (np.zeros(16), 5, -np.ones(16), "between 0 and"),
        (np.zeros(16), 5, np.full(16, np.nan), "between 0 and"),
        (np.zeros(16), 5, np.ones(3), r"weights have shape \(3,\)"),
    ],
)
def test_bad_questions_are_refused(
    vectors: Nearest, query: object, k: int, weights: object, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        vectors.search(query, k, weights)  # type: ignore[arg-type]


def test_a_radius_below_zero_and_a_short_list_of_exclusions_are_refused(vectors: Nearest) -> None:
    with pytest.raises(ValueError, match="radius is -1"):
        vectors.within(DATA.queries[0], -1.0, DEFAULT)
    with pytest.raises(ValueError, match="2 rows to exclude for 3 queries"):
        vectors.search_batch(DATA.queries[:3], 5, DEFAULT, exclude=[1, 2])


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
    assert len(vectors.distances(DATA.queries[0], DEFAULT)) == len(vectors)
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
