"""A directory for what does not fit into memory; one that a killed process left behind is removed."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from pathlib import Path

PREFIX, LOCK = "doppel-spill-", "lock"


class Spill:
    """Below the system's temporary directory; as long as it is in use, its process holds the lock in it."""

    def __init__(self) -> None:
        sweep()
        self._directory = tempfile.TemporaryDirectory(prefix=PREFIX)
        self.path = Path(self._directory.name)
        young = self.path / f".{LOCK}"
        self._held = young.open("w")
        fcntl.flock(self._held, fcntl.LOCK_EX)
        young.rename(self.path / LOCK)  # nobody sees it without its holder

    def remove(self) -> None:
        self._directory.cleanup()
        self._held.close()


def sweep() -> None:
    """Removes directories whose lock nobody holds; those of other users are theirs."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            with (path / LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
