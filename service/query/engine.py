"""Failures of the engine in the client's words: nothing of the server shows."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from index.engines.engine import EngineError, EngineTimeout
from index.engines.vector_server import ServerMissing
from service.errors import BusyFault, TimeoutFault, UsageFault

LOG = logging.getLogger(__name__)
BY_DATA = (
    (re.compile(r"division by zero", re.I), "a division by zero"),
    (re.compile(r"overflow", re.I), "a number that is too large for its type"),
    (re.compile(r"out of range", re.I), "a number outside the range of a function or type"),
    (re.compile(r"^Conversion Error", re.I), "a value that cannot be cast to the type asked for"),
    (re.compile(r"more than one row returned by a subquery", re.I), "a sub-query with more than one row"),
    (
        re.compile(r"^(Out of Range|Invalid Input|Invalid) Error", re.I),
        "a value that a function does not take",
    ),
    (re.compile(r"^Binder Error", re.I), "types or names that do not go together"),
)

NESTED = re.compile(r"expression depth|nested too deeply|stack depth limit", re.I)
TOO_DEEP = (
    "the query is nested too deeply: a chain of operators such as a + b + c counts a level for each; take"
    " sums and texts of fewer parts, or make them in steps by WITH"
)
LOST = re.compile(
    r"^cannot reach PostgreSQL|terminating connection|closed the connection|no connection to the server", re.I
)


def missing(error: ServerMissing) -> BusyFault:
    """Which server of the archive is missing, by its number; its address is for the log."""
    LOG.error("%s", error)
    return BusyFault(f"the archive is not complete now: {error.place} does not answer; try again later")


@contextmanager
def told(limit: float | None) -> Iterator[None]:
    """UsageFault where the data are the cause, TimeoutFault for the limit of time, BusyFault where a server
    or the database is missing; all else is a bug."""
    try:
        yield
    except EngineTimeout:
        raise TimeoutFault(
            f"the query ran longer than the limit of {limit or 0:g} s; run it as an asynchronous "
            "job (/tap/async), which may take longer, or ask for less"
        ) from None
    except ServerMissing as error:
        raise missing(error) from None
    except EngineError as error:
        message = str(error)
        if LOST.search(message):
            LOG.error("%s", message)
            raise BusyFault("the database of this archive does not answer; try again later") from None
        if NESTED.search(message):
            raise UsageFault(TOO_DEEP) from None
        for pattern, words in BY_DATA:
            if pattern.search(message):
                LOG.info("query failed on its data: %s", message)
                raise UsageFault(f"the query failed on its data: {words}") from None
        if message.startswith("Out of Memory"):
            raise UsageFault("the query needs more memory than is allowed; ask for less at once") from None
        raise
