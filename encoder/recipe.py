"""A published model as data: grid, latents, presets, labels. The code that applies it is in `infer`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Block = Literal["label", "intrinsic", "nuisance", "velocity"]


@dataclass(frozen=True, slots=True)
class GridSpec:
    """Equal steps in ln λ from `start` to `stop`, vacuum Ångström."""

    start: float
    stop: float
    pixels: int


NO_GRID = GridSpec(0.0, 0.0, 0)  # of vectors that were made elsewhere


@dataclass(frozen=True, slots=True)
class Latent:
    """One coordinate of a vector; `scale` is its spread between repeats of one object."""

    name: str  # z00, z01 … in the order of the vector
    block: Block
    scale: float
    label: str | None = None  # the label this node is trained on
    description: str = ""
    mutual_information: Mapping[str, float] = field(default_factory=dict)  # nats, by label


@dataclass(frozen=True, slots=True)
class Label:
    """A predicted quantity: its published name and how wide its intervals are."""

    name: str  # teff, logg, feh, rv
    unit: str
    ucd: str
    description: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that is needed to encode and to compare, except the weights.

    `presets` maps a preset's name to weights by latent name: the squared distance is the sum of
    weight * (difference / scale)**2 over the named latents.
    """

    name: str  # optical
    model_id: str  # optical-1f3a…: changes with the weights
    kind: str
    grid: GridSpec
    min_coverage: float  # share of the grid's pixels that must be valid
    latents: tuple[Latent, ...]
    presets: Mapping[str, Mapping[str, float]]
    default_preset: str
    labels: tuple[Label, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)  # normalisation and what else the kind needs

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @classmethod
    def read(cls, path: Path) -> Recipe:
        facts = json.loads(path.read_text(encoding="utf-8"))
        facts["grid"] = GridSpec(**facts["grid"])
        facts["latents"] = tuple(Latent(**latent) for latent in facts["latents"])
        facts["labels"] = tuple(Label(**label) for label in facts["labels"])
        return cls(**facts)
