"""All measures of likeness of one embedding, as figures that compare between models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from encoder.evaluate.retrieval import (
    Archive,
    cross,
    distances,
    neighbour_errors,
    purity,
    resampled_error,
    same,
)
from encoder.prepare import Float32
from encoder.spectrum import Bool, Float64

Figures = dict[str, Any]
SHARED = 5  # objects in common that make two collections libraries of each other
LABELS = ("teff", "logg", "feh")
FEWEST = 20  # labelled spectra of a collection, to predict its labels from another


def libraries(archive: Archive) -> list[str]:
    """Collections that share objects with another, in order of name."""
    names = sorted(set(archive.collections.tolist()))
    keys = {name: set(archive.keys[archive.collections == name].tolist()) - {""} for name in names}
    return [
        name
        for name in names
        if any(other != name and len(keys[name] & keys[other]) >= SHARED for other in names)
    ]


def measure(archive: Archive, vectors: Sequence[Float64]) -> Figures:
    """Cross, mixed and same retrieval, label errors of neighbours, purity; `vectors` as in `retrieval`."""
    among, far = libraries(archive), distances(archive, vectors)
    figures: Figures = {"libraries": among}
    for name, mixed in (("cross", False), ("mixed", True)):
        figures[name] = cross(archive, far, among, mixed).figures()
    for collection in sorted(set(archive.collections.tolist())):
        found = same(archive, far, archive.collections == collection)
        if len(found.rank) >= FEWEST:
            figures[f"same {collection}"] = found.figures()
    inside = np.isin(archive.collections, among)
    figures["knn"] = label_errors(archive, far, inside, inside)
    figures |= _from_the_richest(archive, far, among)
    figures["purity"] = purity(archive, far)
    return figures


def paired(archive: Archive, vectors: Sequence[Float64], baseline: Sequence[Float64]) -> Figures:
    """Difference of the mean reciprocal rank to a baseline in the same searches, and its error."""
    among = libraries(archive)
    spaces = [distances(archive, kind) for kind in (vectors, baseline)]
    figures = {}
    for name, mixed in (("cross", False), ("mixed", True)):
        mine, other = (cross(archive, far, among, mixed) for far in spaces)
        if len(mine.rank):
            gain = mine.reciprocal - other.reciprocal
            figures[name] = {"difference": float(gain.mean()), "error": resampled_error(gain, mine.objects)}
    return figures


def label_errors(archive: Archive, far: Float32, queries: Bool, gallery: Bool) -> dict[str, float]:
    """Median absolute error of each label told by neighbours."""
    found = {name: neighbour_errors(archive, far, name, queries, gallery) for name in LABELS}
    return {name: float(np.median(np.abs(errors))) for name, errors in found.items() if errors.size}


def node_errors(archive: Archive, told: Sequence[Float64], names: Sequence[str]) -> Figures:
    """Median absolute error of label nodes on held-out objects, for every labelled collection.

    `told[k]` (N, n_label) are labels in their units by the model that did not see fold k.
    """
    held = np.stack(told)[archive.folds, np.arange(len(archive.folds))]
    figures: Figures = {}
    for collection in sorted(set(archive.collections.tolist())):
        inside = archive.collections == collection
        errors = {name: np.abs(held[:, n] - archive.labels[name])[inside] for n, name in enumerate(names)}
        known = {name: error[np.isfinite(error)] for name, error in errors.items()}
        if any(len(error) >= FEWEST for error in known.values()):
            figures[collection] = {
                name: float(np.median(error)) for name, error in known.items() if len(error)
            }
    return figures


def _from_the_richest(archive: Archive, far: Float32, among: list[str]) -> Figures:
    """Labels of every other collection told by the library with most labels."""
    labelled = np.isfinite(archive.labels["teff"])
    if not among:
        return {}
    richest = max(among, key=lambda name: int(np.sum(labelled & (archive.collections == name))))
    gallery = archive.collections == richest
    figures = {}
    for collection in sorted(set(archive.collections.tolist()) - {richest}):
        queries = archive.collections == collection
        if np.sum(queries & labelled) >= FEWEST:
            figures[f"{richest}>{collection}"] = label_errors(archive, far, queries, gallery)
    return figures
