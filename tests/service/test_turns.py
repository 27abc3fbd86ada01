"""Places in turn: no client has more than its share, and a newcomer does not wait for the many of another."""

from __future__ import annotations

import asyncio

from service.turns import Turns


async def played(turns: Turns, clients: str, cancelled: int | None = None) -> str:
    """The clients, a letter each, in the order in which they had their turns; one may give up at once."""
    order: list[str] = []

    async def ask(client: str) -> None:
        async with turns.turn(client):
            order.append(client)
            await asyncio.sleep(0)
            assert turns.running.total() <= turns.places
            assert turns.running[client] <= turns.share

    asking = [asyncio.ensure_future(ask(client)) for client in clients]
    await asyncio.sleep(0)
    if cancelled is not None:
        asking[cancelled].cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    return "".join(order)


def test_who_has_least_comes_first() -> None:
    turns = Turns(places=2, share=2)
    assert asyncio.run(played(turns, "aaaaaab")) == "aabaaaa"
    assert (turns.running.total(), turns.waiting) == (0, [])


def test_nobody_has_more_than_the_share() -> None:
    assert asyncio.run(played(Turns(places=4, share=1), "aaabb")) == "ababa"


def test_who_gives_up_leaves_no_place_taken() -> None:
    turns = Turns(places=1, share=1)
    assert asyncio.run(played(turns, "aba", cancelled=0)) == "aba"
    assert asyncio.run(played(turns, "aba", cancelled=1)) == "aa"
    assert (turns.running.total(), turns.waiting) == (0, [])
