"""What a published model makes of spectra that were read, kept shard by shard."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoder.infer import Encoder
from encoder.prepare import Prepared
from index.content import TrainedModel
from index.reading import Spectra
from index.rows import Embeddings, nothing
from index.work import Progress, Work, digest, write_whole

Arrays = Mapping[str, NDArray[np.float32]]  # of `Encoded`, by name


def embed(name: str, directory: Path, spectra: Spectra, work: Work, progress: Progress) -> TrainedModel:
    """The model of this name in `directory`, and the embeddings of those spectra that it can use."""
    encoder = Encoder.open(directory)
    parts = []
    for number, (key, shard) in enumerate(zip(spectra.keys, spectra.shards, strict=True), start=1):
        if prepared := shard.models[name].prepared:
            path = work.path("embedded", digest(directory.name, key), ".npz")
            parts.append(_encoded(encoder, prepared, path))
        progress(f"embed {name}", number, len(spectra.shards))
    reasons = spectra.reasons(name)
    if not parts:
        return TrainedModel(directory, encoder.recipe, nothing(encoder.recipe, reasons))
    embeddings = _embeddings(spectra.places(name), parts, reasons)
    return TrainedModel(directory, encoder.recipe, embeddings, spectra.laid_out(name))


def _encoded(encoder: Encoder, prepared: Sequence[Prepared], path: Path) -> Arrays:
    """The arrays of one shard, kept in a file."""
    if not path.exists():
        content = io.BytesIO()
        np.savez(content, **asdict(encoder.encode(prepared)))
        write_whole(path, content.getvalue())
    with np.load(path) as arrays:
        return dict(arrays)


def _embeddings(places: NDArray[np.int64], parts: Sequence[Arrays], reasons: dict[int, str]) -> Embeddings:
    def joined(name: str) -> NDArray[np.float32]:
        return np.concatenate([part[name] for part in parts])

    return Embeddings(
        of=places,
        vectors=joined("vectors"),
        sigmas=joined("sigmas"),
        labels=joined("labels"),
        lo68=joined("label_lo68"),
        hi68=joined("label_hi68"),
        lo90=joined("label_lo90"),
        hi90=joined("label_hi90"),
        anomaly=joined("anomaly"),
        reasons=reasons,
    )
