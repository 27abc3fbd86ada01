"""Hints for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean x?`, or nothing where no known name is near."""
    spellings = {word.lower(): word for word in known}
    close = difflib.get_close_matches(name.lower(), spellings, n=1, cutoff=0.6)
    return f"; did you mean {spellings[close[0]]}?" if close else ""
