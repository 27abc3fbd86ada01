"""What is read of a release and used again: a bounded store of parts that do not change while it does not."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Generic, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Ts = TypeVarTuple("Ts")


class Kept(Generic[K, V]):
    """At most `most` values; those not asked for the longest leave first. Safe for many threads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._values: OrderedDict[K, V] = OrderedDict()

    def all(self, keys: Sequence[K], make: Callable[[Sequence[K]], Mapping[K, V]]) -> list[V]:
        """The values of the keys in their order; `make` is asked once for all that are missing."""
        found = self._found(keys)
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing:
            made = make(missing)
            found.update(made)
            self._keep(made)
        return [found[key] for key in keys]

    def one(self, key: K, make: Callable[[], V]) -> V:
        """The value of the key, made where it is missing."""
        (found,) = self.all([key], lambda _: {key: make()})
        return found

    def _found(self, keys: Iterable[K]) -> dict[K, V]:
        found: dict[K, V] = {}
        with self._lock:
            for key in keys:
                if key in self._values:
                    self._values.move_to_end(key)
                    found[key] = self._values[key]
        return found

    def _keep(self, made: Mapping[K, V]) -> None:
        with self._lock:
            self._values.update(made)
            while len(self._values) > self.most:
                self._values.popitem(last=False)


def once_each(make: Callable[[K, *Ts], V]) -> Callable[[K, *Ts], V]:
    """A function of an object, such as an open release, and of texts or numbers, that is asked once for these
    in the object's life."""
    made: WeakKeyDictionary[K, dict[tuple[*Ts], V]] = WeakKeyDictionary()

    @wraps(make)
    def known(one: K, *others: *Ts) -> V:
        kept = made.setdefault(one, {})
        if others not in kept:
            kept[others] = make(one, *others)
        return kept[others]

    return known
