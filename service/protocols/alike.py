"""What spectra are compared with, and what came of it: one after the other, or several as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.metric import Metric, by_block, contributions, noisy_distances
from index.nearest import Matches
from index.release import Model, OpenRelease
from service.errors import UsageFault
from service.formats.stream import Info
from service.protocols.constraints import Condition
from service.protocols.spectra import Likeness, Uploads, Wanted, short_tree
from service.query.run import Question, fetch

AWAY = 0.5  # how far a combined query goes beyond its examples, away from those it shall be unlike
CANDIDATES = 5  # times as many as are asked for are looked at when the errors decide the order
UNCOVERED = "covers too little of its grid; /encode says how much"
PULLS = (0.8, 1.25)  # spread of a block's pulls within which its errors are believed


@dataclass(frozen=True, slots=True)
class Reference:
    """One vector to search around, as its answer calls it; `rows` are the spectra that it is made of."""

    name: str
    model: Model
    space: str
    preset: str | None
    vector: NDArray[np.float32]  # (n_latent,)
    rows: tuple[int, ...]

    @property
    def weights(self) -> NDArray[np.float64]:
        """(n_latent,) of the metric, 1/scale² included."""
        return Metric.parse(self.space).of(self.model.recipe)


@dataclass(frozen=True, slots=True)
class Hits:
    """What is nearest to a reference, nearest first."""

    reference: Reference
    dids: tuple[str, ...]
    distances: tuple[float, ...]
    overflow: bool = False
    infos: tuple[Info, ...] = ()


def reference(
    release: OpenRelease, likeness: Likeness, uploads: Uploads | None, name: str = "ID"
) -> Reference:
    """The vector behind an identifier or upload; UsageFault where the model has none for it."""
    model, text = likeness.model, likeness.reference
    row = None if text.startswith("upload:") else release.row_of(text)
    if row is not None:
        vector = model.vectors.vector(row)
    else:
        vector = uploads(release, text).get(model.name) if uploads else None
    if vector is None:
        reason = release.no_embedding(row, model.name) if row is not None else UNCOVERED
        raise UsageFault(f"{name}: the model {model.name} cannot compare {text}: {reason}")
    return Reference(text, model, likeness.space, likeness.preset, vector, () if row is None else (row,))


def combined(likes: Sequence[Reference], unlikes: Sequence[Reference]) -> Reference:
    """One vector for several examples: their mean, moved by AWAY of its difference from the mean of the
    counter-examples (Rocchio's way). All must be compared by one model."""
    models = {one.model.name for one in (*likes, *unlikes)}
    if len(models) > 1:
        raise UsageFault(
            f"ID, UNLIKE: one query needs one model, these spectra have {', '.join(sorted(models))}; "
            "name one in SPACE"
        )
    middle = np.mean([one.vector for one in likes], axis=0)
    if unlikes:
        middle = middle + AWAY * (middle - np.mean([one.vector for one in unlikes], axis=0))
    rows = tuple(row for one in (*likes, *unlikes) for row in one.rows)
    name = " ".join((*(one.name for one in likes), *(f"-{one.name}" for one in unlikes)))
    first = likes[0]
    return Reference(name, first.model, first.space, first.preset, middle.astype(np.float32), rows)


def passing(
    release: OpenRelease, conditions: tuple[Condition, ...], model: Model, seconds: float
) -> NDArray[np.int64] | None:
    """Rows of the spectra that meet the conditions; None where there are no conditions."""
    if not conditions:
        return None
    query = short_tree(Wanted(conditions, model=model))
    query.set("order", None)
    found = fetch(release, Question(query, timeout=seconds))
    return np.array([release.row_of(did) for (did, *_) in found.rows], np.int64)


def search(
    release: OpenRelease, asked: Sequence[Reference], k: int, cut: bool, among: NDArray[np.int64] | None
) -> list[Hits]:
    """The `k` nearest of every reference, all of one model and space: one search for all where every spectrum
    is asked. `cut` says that more than `k` is told as overflow."""
    model, weights = asked[0].model, asked[0].weights
    wanted = k + 1
    if among is None and all(len(one.rows) <= 1 for one in asked):
        rows = [one.rows[0] if one.rows else None for one in asked]
        found = model.vectors.search_batch(
            np.stack([one.vector for one in asked]), wanted, weights, exclude=rows
        )
        words = f"one search for {len(asked)} references" if len(asked) > 1 else str(found[0].plan.strategy)
    else:
        found = [
            model.vectors.search(one.vector, wanted + len(one.rows), weights, among=among) for one in asked
        ]
        words = str(found[0].plan.strategy)
    return [hits(release, one, matches, k, cut, words) for one, matches in zip(asked, found, strict=True)]


def hits(release: OpenRelease, one: Reference, found: Matches, k: int, cut: bool, words: str) -> Hits:
    """The first `k` without the reference's own spectra, and how they were found."""
    own = np.isin(found.rows, one.rows)
    rows, distances = found.rows[~own], found.distance[~own]
    infos = (
        answered_by(release),
        Info("model", one.model.recipe.model_id, "Model whose vectors were compared"),
        Info("space", one.space, "What alike means: preset and weights"),
        Info("plan", words, "How the nearest spectra were found"),
        Info("n_pass", str(found.plan.n_pass), "Embedded spectra that met the other conditions"),
        Info("n_visited", str(found.plan.n_visited), "Spectra whose distance was computed"),
        Info("exact", "true" if found.plan.exact else "false", "Whether no nearer one can be missing"),
    )
    dids = tuple(release.did_of(int(row)) for row in rows[:k])
    return Hits(one, dids, tuple(distances[:k].tolist()), cut and len(rows) > k, infos)


def answered_by(release: OpenRelease) -> Info:
    return Info("release", release.id, "Release of the archive that answered")


# --- by the errors ---


def believed(model: Model, weights: NDArray[np.float64]) -> None:
    """UsageFault unless the errors of the weighted blocks are as large as repeats show (the pull test)."""
    pulls = model.report.get("calibration", {}).get("pulls", {})
    for latent, weight in zip(model.recipe.latents, weights.tolist(), strict=True):
        name = f"label {latent.label}" if latent.block == "label" else latent.block
        spread = pulls.get(name)
        if weight > 0 and not (spread is not None and PULLS[0] <= spread <= PULLS[1]):
            told = "was not tested" if spread is None else f"has pulls of spread {spread:g}, not 1"
            raise UsageFault(
                f"RERANK: the errors of {model.recipe.name} cannot decide the order: its {name} block {told}"
            )


def reranked(release: OpenRelease, found: Hits, k: int) -> Hits:
    """The same spectra, ordered by distance in units of both spectra's errors; `distance` becomes that."""
    one = found.reference
    if len(one.rows) != 1:
        raise UsageFault("RERANK=sigma takes one spectrum of this archive: only its errors are known")
    believed(one.model, one.weights)
    names = [f"{latent.name}_sigma" for latent in one.model.recipe.latents]
    rows = [one.rows[0], *(row for row in map(release.row_of, found.dids) if row is not None)]
    sigmas = sigmas_of(release, one.model, names, rows)
    vectors = one.model.vectors.taken(rows)
    stacked = np.stack([vectors[row] for row in rows])
    distances = noisy_distances(stacked[0], sigmas[0], stacked[1:], sigmas[1:], one.weights, one.model.recipe)
    order = sorted(range(len(found.dids)), key=lambda place: (distances[place], found.dids[place]))[:k]
    remark = Info(
        "rerank", "sigma", f"{len(found.dids)} nearest, ordered by distance in units of both errors"
    )
    return Hits(
        one,
        tuple(found.dids[place] for place in order),
        tuple(float(distances[place]) for place in order),
        found.overflow,
        (*found.infos, remark),
    )


def sigmas_of(
    release: OpenRelease, model: Model, names: Sequence[str], rows: Sequence[int]
) -> NDArray[np.float64]:
    """(n, n_latent) errors of the rows' latents, in the order of `rows`."""
    from service.query import build

    dids = [release.did_of(row) for row in rows]
    known = [build.column("ssa_pubdid"), *map(build.column, names)]
    where = build.one_of(build.column("ssa_pubdid"), list(dict.fromkeys(dids)))
    query = build.select(known, build.table(f"doppel.{model.name}"), where=where)
    found = {did: values for did, *values in fetch(release, Question(query)).rows}
    return np.array([found[did] for did in dids], np.float64)


# --- why ---


def explained(release: OpenRelease, found: Hits) -> list[tuple[str, str]]:
    """Of every hit the shares of its squared distance: by latent, and by block; largest first."""
    one, weights = found.reference, found.reference.weights
    rows, texts = release.rows_of(found.dids), []
    vectors = one.model.vectors.taken([row for row in rows if row is not None])
    for row in rows:
        vector = None if row is None else vectors.get(row)
        if vector is None:
            texts.append(("", ""))
            continue
        parts = contributions(one.vector, vector, weights, one.model.recipe)
        whole = sum(part.squared for part in parts) or 1.0
        latents = [f"{part.label or part.latent}:{part.squared / whole:.3f}" for part in parts]
        blocks = [f"{name}:{squared / whole:.3f}" for name, squared in by_block(parts).items()]
        texts.append((" ".join(latents), " ".join(blocks)))
    return texts
