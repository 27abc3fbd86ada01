"""The work directory of a build: finished outputs of steps, named by a hash of all that went into them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

Progress = Callable[[str, int, int], None]  # step, done, of how many; 0 where that is not known

BUILD_FORMAT = 5  # changes when the same input gives other work files


class BuildError(Exception):
    """The build as a whole cannot go on; the message says why."""


class Work:
    """A work directory that one build at a time writes to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._used: set[Path] = set()

    @classmethod
    @contextmanager
    def locked(cls, root: Path) -> Iterator[Work]:
        """BuildError where another build is running."""
        root.mkdir(parents=True, exist_ok=True)
        with (root / ".lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BuildError(f"another build is running in {root}") from None
            yield cls(root)

    def path(self, kind: str, key: str, suffix: str = "") -> Path:
        """Where an output is, or will be; what this build asks for survives its sweep."""
        path = self.root / f"{kind}-{key}{suffix}"
        self._used.add(path)
        return path

    def sweep(self) -> None:
        """Removes what this build has not used."""
        for path in self.root.iterdir():
            if path.is_dir() and path not in self._used:
                shutil.rmtree(path)
            elif path not in self._used and path.name != ".lock":
                path.unlink()


def digest(*parts: object) -> str:
    """Sixteen hexadecimal digits for values that JSON can write."""
    told = json.dumps([BUILD_FORMAT, version("doppel"), *parts], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def write_whole(path: Path, content: bytes) -> None:
    """The file with this content on the disk, or the one that was there before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Clock:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._step, self._since = "", 0.0

    def __call__(self, step: str) -> Clock:
        self._step, self._since = step, time.monotonic()
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.seconds[self._step] = round(time.monotonic() - self._since, 2)
