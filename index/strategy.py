"""Which way to find the nearest rows: decided by counting, before anything is searched (DESIGN section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Strategy(StrEnum):
    """Words that an answer shows to its reader."""

    EMPTY = "empty"  # no row passes: nothing is read
    SUBSET = "exact on the subset"
    SCAN = "exact scan"


@dataclass(frozen=True, slots=True)
class Plan:
    """What was done for an answer: rows in the set, rows that passed, rows whose distance was computed."""

    strategy: Strategy
    n_rows: int
    n_pass: int
    n_visited: int
    exact: bool


def choose(n_rows: int, n_pass: int) -> Strategy:
    """How to find the nearest among the `n_pass` rows that meet the other conditions."""
    if n_pass == 0:
        return Strategy.EMPTY
    return Strategy.SCAN if n_pass == n_rows else Strategy.SUBSET
