"""Places for what takes long, in turn: no client has more than its share, and who has least comes first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """`places` in all, of which one client has at most `share`; others wait. For one event loop."""

    def __init__(self, places: int, share: int) -> None:
        self.places, self.share = places, share
        self.running: Counter[str] = Counter()
        self.waiting: list[tuple[str, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """A place while the context lasts, as soon as it is the client's turn."""
        given = asyncio.get_running_loop().create_future()
        self.waiting.append((client, given))
        self._give()
        try:
            await given
            yield
        finally:
            if given.done() and not given.cancelled():
                self.running[client] -= 1
            else:
                self.waiting.remove((client, given))
            self._give()

    def _give(self) -> None:
        """Free places, to the clients with the fewest; of one client's the first that came."""
        while self.running.total() < self.places:
            entitled = [each for each in self.waiting if self.running[each[0]] < self.share]
            if not entitled:
                break
            chosen = min(entitled, key=lambda each: self.running[each[0]])
            self.waiting.remove(chosen)
            self.running[chosen[0]] += 1
            chosen[1].set_result(None)
        self.running = +self.running  # forgets who has none
