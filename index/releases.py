"""Releases below one directory: written, published by one rename, dropped; and the published one, in use."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from numpy.typing import ArrayLike

from index import manifest
from index.content import CATALOGUE, Content, write_files
from index.engines.engine import DEFAULT_LIMITS, EngineError, EngineLimits
from index.release import OpenRelease, ReleaseError, tables_of
from index.segments import write_changed

log = logging.getLogger("doppel.releases")

CURRENT = "current"
HISTORY = "published.txt"  # release ids in the order of publishing, for rollback
INCOMING = ".incoming-"


class Releases:
    """The releases below one directory. The published ones are on servers of PostgreSQL too, where these are
    given: their tables in the `database`, their `vectors` in one or several."""

    def __init__(self, root: Path, database: str = "", vectors: Sequence[str] = ()) -> None:
        self.root, self.database, self.vectors = root, database, tuple(vectors)

    def list(self) -> Sequence[str]:
        """Ids of all releases, the oldest first."""
        found = [
            path
            for path in self.root.glob("*")
            if not path.is_symlink() and (path / manifest.MANIFEST).is_file()
        ]
        return [path.name for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)]

    def current(self) -> Path:
        """Directory of the published release; ReleaseError where there is none."""
        try:
            return self.root / os.readlink(self.root / CURRENT)
        except FileNotFoundError:
            raise ReleaseError(f"no release is published in {self.root}; doppel build makes one") from None

    def path(self, release: str) -> Path:
        """Directory of a release; ReleaseError with those that exist."""
        if release not in (known := self.list()):
            raise ReleaseError(
                f"no release {release!r} in {self.root}; there are: {', '.join(known) or 'none'}"
            )
        return self.root / release

    def publish(self, release: str) -> None:
        """Points `current` to the release by one rename."""
        self.path(release)
        with self._lock():
            self._load(release)
            self._switch(release)
            self._write_history([*self._history(), release])

    def rollback(self) -> str:
        """Publishes the release that was published before the current one; its id."""
        with self._lock():
            now, history = self.current().name, self._history()
            last = max((place for place, name in enumerate(history) if name == now), default=len(history))
            earlier = [
                place
                for place in range(last)
                if history[place] != now and (self.root / history[place]).is_dir()
            ]
            if not earlier:
                raise ReleaseError(f"no release was published before {now}")
            self._load(history[earlier[-1]])
            self._switch(history[earlier[-1]])
            self._write_history(history[: earlier[-1] + 1])
            return history[earlier[-1]]

    def drop(self, release: str) -> None:
        """Removes a release from the servers and the disk; ReleaseError where it is the published one."""
        path = self.path(release)
        with self._lock():
            if (self.root / CURRENT).resolve() == path.resolve():
                raise ReleaseError(f"{release} is published; publish another one before it is dropped")
            if self.vectors and self.vectors != (self.database,):
                from index.engines.pgvector_load import VectorReleases

                with closing(VectorReleases.of(self.vectors)) as loaded:
                    loaded.drop(release)
            if self.database:
                from index.engines.postgres_load import PostgresReleases

                PostgresReleases(self.database).drop(release)
            shutil.rmtree(path)

    def verify(self, release: str) -> Sequence[str]:
        """What is wrong with it, one sentence each."""
        return manifest.problems(self.path(release))

    def write(self, content: Content) -> str:
        """Adds a release, all or nothing, unpublished; its id. The same content is the same release."""
        return self._add(lambda directory: write_files(directory, self.root, content))

    def change(self, release: str, content: Content, removed: ArrayLike = ()) -> str:
        """Adds a release that is `release` with more spectra and without `removed` rows, as `write` does."""
        old = self.path(release)
        return self._add(lambda directory: write_changed(directory, old, content, removed))

    def _add(self, fill: Callable[[Path], str]) -> str:
        """A directory that `fill` fills, taken in under the id that it gives."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self._lock():
            self._sweep()
            directory = Path(tempfile.mkdtemp(prefix=INCOMING, dir=self.root))
            try:
                release = fill(directory)
                self._take_in(directory, release)
            finally:
                shutil.rmtree(directory, ignore_errors=True)
        return release

    def _load(self, release: str) -> None:
        """Brings tables and vectors to their servers before the release is the published one.

        Views are switched when everything is there; in one database in one transaction.
        """
        if not self.database:
            if self.vectors:
                self._load_vectors(release)
            return
        from index.engines.postgres_load import PostgresReleases

        loaded, tables = PostgresReleases(self.database), tables_of(self.root / release)
        loaded.load(release, self.root / release / CATALOGUE, tables)
        loaded.publish(release, tables, self._load_vectors(release) if self.vectors else {})

    def _load_vectors(self, release: str) -> Mapping[str, Sequence[str]]:
        """The views of vectors that are still to be made: those in the database of the tables."""
        from index.engines.pgvector_load import SCHEMA, VectorReleases

        with closing(VectorReleases.of(self.vectors)) as loaded:
            with closing(OpenRelease.open(self.root / release)) as opened:
                loaded.load(opened)
                models = list(opened.models)
            if self.vectors == (self.database,):
                return {SCHEMA: loaded.views(release, models, 0)}
            loaded.publish(release, models)
        return {}

    def _take_in(self, directory: Path, release: str) -> None:
        target = self.root / release
        if target.exists():
            if not manifest.problems(target):
                return
            shutil.rmtree(target)
        directory.chmod(0o755)
        manifest.sync_tree(directory)
        directory.rename(target)
        manifest.sync(self.root)

    def _sweep(self) -> None:
        """Removes what a killed build left behind; the lock says that nobody writes it now."""
        for path in self.root.glob(f"{INCOMING}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _switch(self, release: str) -> None:
        temporary = self.root / f".{CURRENT}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(release)
        temporary.replace(self.root / CURRENT)
        manifest.sync(self.root)

    def _history(self) -> Sequence[str]:
        path = self.root / HISTORY
        return path.read_text(encoding="ascii").split() if path.exists() else []

    def _write_history(self, names: Iterable[str]) -> None:
        temporary = self.root / f".{HISTORY}"
        temporary.write_text("".join(f"{name}\n" for name in names), encoding="ascii")
        temporary.replace(self.root / HISTORY)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One writer at a time, also between processes."""
        with (self.root / ".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


class ReleaseHolder:
    """Hands out the published release; a request keeps the one it began with until it ends."""

    def __init__(self, releases: Releases, limits: EngineLimits = DEFAULT_LIMITS) -> None:
        self._releases, self._limits = releases, limits
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._users: Counter[OpenRelease] = Counter()
        self._told = ""
        self._release = OpenRelease.open(releases.current(), limits)

    @contextmanager
    def pin(self) -> Iterator[OpenRelease]:
        """The release as it is now, kept open until the block ends."""
        with self._lock:
            release = self._release
            self._users[release] += 1
        try:
            yield release
        finally:
            self._give_back(release)

    def _give_back(self, release: OpenRelease) -> None:
        with self._lock:
            self._users[release] -= 1
            last = not self._users[release] and release is not self._release
            if last:
                del self._users[release]
        if last:
            release.close()

    def refresh(self) -> bool:
        """Changes over to the release published now; whether there was another. Requests go on meanwhile.

        Where it can not be opened, the log says so once, and the one in use stays: the next call tries again.
        """
        with self._opening:
            try:
                opened = self._published()
            except (ReleaseError, EngineError, OSError) as error:
                self._tell(error)
                return False
            self._told = ""
            if opened is None:
                return False
            with self._lock:
                old, self._release = self._release, opened
                idle = not self._users[old]
            if idle:
                del self._users[old]
                old.close()
            return True

    def _published(self) -> OpenRelease | None:
        """The release published now; None where it is the one in use."""
        path = self._releases.current()
        return None if path.name == self._release.id else OpenRelease.open(path, self._limits)

    def _tell(self, error: Exception) -> None:
        """Logs, once for each release, why it is not changed over to."""
        published = os.path.realpath(self._releases.root / CURRENT)
        if published != self._told:
            log.error("%s is served on, the release published now can not be: %s", self._release.id, error)
        self._told = published

    def close(self) -> None:
        """Closes the release in use; those pinned close with their last user."""
        with self._lock:
            idle = not self._users[self._release]
        if idle:
            self._release.close()
