"""Reading for a build: every row of the collections once, by several processes, kept in shards."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import accumulate
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from encoder.model_config import ModelConfig
from encoder.prepare import Prepared
from encoder.spectrum import Facts
from index.content import Refusal
from index.rows import Seen
from index.settings import BuildPlan
from index.shards import SHARD_ROWS, Shard, ShardJob, load, write_shard
from index.sources import Entries, trained_models
from index.work import BuildError, Progress, Work, digest


@dataclass(frozen=True, slots=True)
class Spectra:
    """What was read: shards, and for each the key of all that it was made from."""

    keys: Sequence[str]
    shards: Sequence[Shard]

    @property
    def seen(self) -> list[Seen]:
        """All spectra; every other list of places speaks of this one."""
        return [one for shard in self.shards for one in shard.seen]

    @property
    def refused(self) -> list[Refusal]:
        return [one for shard in self.shards for one in shard.refused]

    def laid_out(self, model: str) -> Iterator[tuple[int, Prepared]]:
        """Spectra on a model's grid, those that it can use, with their places in the list of all seen."""
        for first, shard in self._starts():
            on_grid = shard.models[model]
            yield from zip((first + place for place in on_grid.of), on_grid.prepared, strict=True)

    def prepared(self, model: str) -> list[Prepared]:
        """These alone."""
        return [one for _, one in self.laid_out(model)]

    def places(self, model: str) -> NDArray[np.int64]:
        """Their places alone."""
        return np.array([place for place, _ in self.laid_out(model)], np.int64)

    def reasons(self, model: str) -> dict[int, str]:
        """Why a model can not use the others, by their places."""
        return {
            first + place: reason
            for first, shard in self._starts()
            for place, reason in shard.models[model].reasons.items()
        }

    def facts(self, model: str) -> list[Facts]:
        """Of the spectra that a model can use."""
        seen = self.seen
        return [seen[place].facts for place in self.places(model).tolist()]

    def missing(self, model: ModelConfig) -> list[Facts]:
        """Spectra that the model should hold and that its grid does not suit."""
        seen = self.seen
        return [seen[place].facts for place in self.reasons(model.name) if wanted(model, seen[place].facts)]

    def require_any(self) -> None:
        """BuildError where nothing could be read, with the commonest reason."""
        if any(shard.seen for shard in self.shards):
            return
        for commonest, count in Counter(refusal.reason for refusal in self.refused).most_common(1):
            raise BuildError(f"no spectrum could be read; {count} were refused because: {commonest}")
        raise BuildError("no spectrum is read: every collection has the reader none")

    def _starts(self) -> Iterator[tuple[int, Shard]]:
        """Each shard with the place of its first spectrum."""
        firsts = [0, *accumulate(len(shard.seen) for shard in self.shards)][:-1]
        return zip(firsts, self.shards, strict=True)


def wanted(model: ModelConfig, facts: Facts) -> bool:
    """Whether the model's configuration takes this spectrum's collection."""
    return not model.collections or facts.collection in model.collections


def read(plan: BuildPlan, entries: Entries, work: Work, progress: Progress) -> Spectra:
    """The spectra of all `entries`; shards that exist are not made again."""
    jobs = list(_jobs(plan, entries, work))
    missing = [job for job in jobs if not job.path.exists()]
    total = sum(len(job.entries) for job in jobs)
    done = total - sum(len(job.entries) for job in missing)
    progress("read", done, total)
    for job in _carried_out(missing, plan.archive.workers or os.cpu_count() or 1):
        done += len(job.entries)
        progress("read", done, total)
    return Spectra([job.path.stem for job in jobs], [load(job.path) for job in jobs])


def _jobs(plan: BuildPlan, entries: Entries, work: Work) -> Iterator[ShardJob]:
    models = trained_models(plan)
    layouts = [(model.name, asdict(model.grid), model.min_coverage, model.collections) for model in models]
    for config in plan.collections:
        listed = entries.get(config.name, [])
        for start in range(0, len(listed), SHARD_ROWS):
            rows = listed[start : start + SHARD_ROWS]
            key = digest(asdict(config), layouts, *map(asdict, rows))
            path = work.path("shard", key, ".npz")
            yield ShardJob(config, plan.base, plan.archive.authority, rows, models, path)


def _carried_out(jobs: Sequence[ShardJob], workers: int) -> Iterator[ShardJob]:
    """The jobs as they are done, each by one of some processes."""
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            write_shard(job)
            yield job
        return
    try:
        with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn")) as pool:
            running = {pool.submit(write_shard, job): job for job in jobs}
            for future in as_completed(running):
                future.result()
                yield running[future]
    except BrokenProcessPool as error:
        raise BuildError("a process that read spectra was killed, perhaps for want of memory") from error
