"""Conditions and the way that is chosen for them."""

from __future__ import annotations

import pytest

from index.strategy import Conditions, Limits, Strategy, choose

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("asked", "strategy"),
    [
        (Conditions(MILLION, 0, 10), Strategy.EMPTY),
        (Conditions(MILLION, 500, 0), Strategy.EMPTY),
        (Conditions(0, 0, 10), Strategy.EMPTY),
        (Conditions(2105, 2105, 10, listed=False), Strategy.SCAN),
        (Conditions(2105, 2104, 10, listed=False), Strategy.SUBSET),
        (Conditions(MILLION, 10_000, 10), Strategy.SUBSET),
        (Conditions(MILLION, 10_000, 10, exact=True, default_metric=False, explained=0.1), Strategy.SUBSET),
        (Conditions(MILLION, 10_001, 10), Strategy.COUNTED_LISTS),
        (Conditions(MILLION, MILLION, 10), Strategy.LISTS),
        (Conditions(5000, 5000, 10), Strategy.LISTS),
        (Conditions(5000, 5000, 101), Strategy.SCAN),
        (Conditions(5000, 5000, 10, exact=True), Strategy.SCAN),
        (Conditions(MILLION, MILLION, 100_000), Strategy.SCAN),
        (Conditions(MILLION, 20_000, 1000), Strategy.SCAN),
        (Conditions(MILLION, MILLION, 10, exact=True), Strategy.CERTIFIED),
        (Conditions(MILLION, MILLION, 10, default_metric=False, kept=0.25), Strategy.WEIGHTED_LISTS),
        (Conditions(MILLION, MILLION, 10, default_metric=False, kept=0.25, explained=0.5), Strategy.COLUMNS),
        (Conditions(MILLION, MILLION, 10, True, default_metric=False, kept=0.25), Strategy.COLUMNS),
        (Conditions(MILLION, MILLION, 10, default_metric=False, explained=0.95), Strategy.WEIGHTED_LISTS),
        (Conditions(MILLION, 50_000, 10, default_metric=False, explained=0.95), Strategy.WEIGHTED_LISTS),
        (Conditions(MILLION, MILLION, 10, default_metric=False, explained=0.5), Strategy.CERTIFIED),
        (
            Conditions(MILLION, MILLION, 10, default_metric=False, explained=0.95, effective=3),
            Strategy.CERTIFIED,
        ),
        (Conditions(MILLION, MILLION, 10, default_metric=False, effective=2), Strategy.WEIGHTED_LISTS),
        (Conditions(MILLION, MILLION, 10, True, default_metric=False), Strategy.CERTIFIED),
    ],
)
def test_the_way_is_chosen_by_counting(asked: Conditions, strategy: Strategy) -> None:
    assert choose(asked, Limits()) is strategy


def test_limits_can_be_set() -> None:
    assert choose(Conditions(2000, 2000, 10), Limits(subset_rows=100)) is Strategy.LISTS
