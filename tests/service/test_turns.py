"""Places in turn: no client has more than its share, and a newcomer does not wait for the many of another."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

import pytest

from service.turns import Turns


async def played(turns: Turns, clients: str, cancelled: int | None = None) -> str:
    """The clients, a letter each, in the order in which they had their turns; one may give up at once."""
    order: list[str] = []
    running: Counter[str] = Counter()

    async def ask(client: str) -> None:
        async with turns.turn(client):
            order.append(client)
            running[client] += 1
            assert running.total() <= turns.places.total_tokens
            assert running[client] <= turns.share
            await asyncio.sleep(0)
            running[client] -= 1

    asking = [asyncio.ensure_future(ask(client)) for client in clients]
    await asyncio.sleep(0)
    if cancelled is not None:
        asking[cancelled].cancel()
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(one) for one in ended} <= {type(None), asyncio.CancelledError}
    assert turns.places.borrowed_tokens == 0
    return "".join(order)


def test_nobody_has_more_than_the_share() -> None:
    assert sorted(asyncio.run(played(Turns(places=4, share=1), "aaabb"))[:4]) == ["a", "a", "b", "b"]


def test_who_waits_for_a_share_keeps_nobody_else_waiting() -> None:
    assert "b" in asyncio.run(played(Turns(places=2, share=2), "aaaaaab"))[:4]


@pytest.mark.parametrize(("cancelled", "rest"), [(0, "ab"), (1, "aa"), (2, "ab")])
def test_who_gives_up_leaves_no_place_taken(cancelled: int, rest: str) -> None:
    turns = Turns(places=1, share=1)
    assert sorted(asyncio.run(played(turns, "aba", cancelled))[-2:]) == sorted(rest)
    gc.collect()  # of the errors with what they passed through
    assert not turns.clients
