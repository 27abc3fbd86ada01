"""Places for what takes long: no client has more than its share of them, in use or waited for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from anyio import CapacityLimiter


class Turns:
    """`places` in all; who comes first has one first, but of one client no more than `share` have one or wait
    for one at a time, so that its others keep nobody else waiting. For one event loop."""

    def __init__(self, places: int, share: int) -> None:
        self.places, self.share = CapacityLimiter(places), share
        self.clients: WeakValueDictionary[str, CapacityLimiter] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """A place while the context lasts, as soon as it is the client's turn."""
        own = self.clients.get(client) or CapacityLimiter(self.share)
        self.clients[client] = own
        async with own, self.places:
            yield
