"""Which way to find the nearest rows: decided by counting, before anything is searched (DESIGN section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Strategy(StrEnum):
    """Words that an answer shows to its reader."""

    EMPTY = "empty"  # no row passes: nothing is read
    SUBSET = "exact on the subset"
    SCAN = "exact scan"
    COLUMNS = "exact scan of the weighted columns"
    CERTIFIED = "exact by bounds of the lists"
    LISTS = "lists"
    COUNTED_LISTS = "counted lists"
    WEIGHTED_LISTS = "weighted lists"
    GRAPH = "graph of pgvector, searched on until enough rows pass"


EXACT = frozenset(
    {Strategy.EMPTY, Strategy.SUBSET, Strategy.SCAN, Strategy.COLUMNS, Strategy.CERTIFIED},
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Where one way becomes cheaper or surer than another; measured by tests/benchmarks/search.py."""

    subset_rows: int = 10_000  # so many rows are compared one by one; smaller sets have no lists
    column_share: float = 0.25  # of the latents carry weight: scanned where lists tell little
    explained: float = 0.9  # of the weighted variance lies between lists: their means are a good guide
    explained_few: float = 0.975  # the same where only `few` latents share that variance
    few: float = 4.5
    large_k: float = 0.02  # of the passing rows are wanted: all are compared
    recall: float = 0.996  # wanted of searches without a condition, on a sample: their lists follow from it
    worst: float = 0.9
    lists_plain: int = 21  # visited then at least, and one more for ten rows wanted
    lists_first: int = 32  # visited before the first look at the answer, and per further round
    rows_first: int = 1000  # passing rows seen before it, and at least
    rows_per_match: int = 20  # of them for each row wanted
    farther: float = 1.5  # than the last row found are the means of lists that are left unseen
    # by other weights: where at least so many latents share the variance, so many lists before that look, and
    # half as many per further round
    weighted: tuple[tuple[float, int], ...] = ((16, 24), (10, 32), (0, 64))


DEFAULT = Limits()


class Conditions(NamedTuple):
    """What is known before the search; made for every one."""

    n_rows: int
    n_pass: int
    k: int
    exact: bool = False
    listed: bool = True  # the set has lists
    default_metric: bool = True  # the one the lists were made for
    kept: float = 1.0  # share of the latents that carry weight
    explained: float = 1.0  # share of the weighted variance that lies between lists
    effective: float = 100.0  # number of latents that share it


@dataclass(frozen=True, slots=True)
class Plan:
    """What was done for an answer: rows in the set, rows that passed, rows whose distance was computed."""

    strategy: Strategy
    n_rows: int
    n_pass: int
    n_visited: int
    exact: bool


def choose(asked: Conditions, limits: Limits) -> Strategy:
    """How to find the `k` nearest among the `n_pass` rows that meet the other conditions."""
    if min(asked.n_pass, asked.k) == 0:
        return Strategy.EMPTY
    whole, few = asked.n_pass == asked.n_rows, asked.k <= limits.large_k * asked.n_pass
    if asked.listed and whole and few and asked.default_metric and not asked.exact:
        return Strategy.LISTS
    if not asked.listed or asked.n_pass <= limits.subset_rows:
        return Strategy.SCAN if whole else Strategy.SUBSET
    if not few:
        return Strategy.SCAN
    if asked.default_metric:
        return Strategy.CERTIFIED if asked.exact else Strategy.COUNTED_LISTS
    wanted = limits.explained_few if asked.effective < limits.few else limits.explained
    if not asked.exact and asked.explained >= wanted:
        return Strategy.WEIGHTED_LISTS
    return Strategy.COLUMNS if asked.kept <= limits.column_share else Strategy.CERTIFIED
