"""One thread that ends what runs too long."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from itertools import count

Register = Callable[[Callable[[], None]], None]
STOPPER: ContextVar[Register | None] = ContextVar("STOPPER", default=None)
"""Where statements of this thread say how they are ended; a job that may be aborted sets it."""
AGAIN_SECONDS = 0.1


class Watch:
    """One thing under watch; `expired` tells whether it was ended."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end: Callable[[], None] | None = end
        self._lock = threading.Lock()
        self.expired = False

    def expire(self) -> None:
        """Ends the watched thing, unless it was given up before; and again until it is.

        An engine forgets that it was interrupted when a statement begins only after that.
        """
        with self._lock:
            if self._end is None:
                return
            self.expired = True
            self._end()
        WATCHDOG.remind(self, AGAIN_SECONDS)

    def cancel(self) -> None:
        """Gives the watched thing up; it is not ended from now on."""
        with self._lock:
            self._end = None


class Watchdog:
    """Keeps deadlines in one thread, which is started with the first and is cheaper than a timer for each."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._deadlines: list[tuple[float, int, Watch]] = []
        self._numbers = count()
        self._thread: threading.Thread | None = None

    def watch(self, end: Callable[[], None], timeout: float | None) -> Watch:
        """Calls `end` from another thread after `timeout` seconds, unless the watch is cancelled before."""
        watch = Watch(end)
        if timeout is not None:
            self.remind(watch, timeout)
        return watch

    def remind(self, watch: Watch, timeout: float) -> None:
        """Ends what is under this watch after `timeout` seconds."""
        with self._wake:
            heapq.heappush(self._deadlines, (time.monotonic() + timeout, next(self._numbers), watch))
            self._start()
            if self._deadlines[0][2] is watch:  # others need not wake the thread
                self._wake.notify()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="doppel-watchdog", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._next().expire()

    def _next(self) -> Watch:
        """Waits until the earliest deadline is over and takes it from the heap."""
        with self._wake:
            while True:
                left = self._deadlines[0][0] - time.monotonic() if self._deadlines else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._deadlines)[2]
                self._wake.wait(left)


WATCHDOG = Watchdog()
