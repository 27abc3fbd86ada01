"""What "alike" means: a preset of latent blocks, or the user's own weights by name."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from encoder.recipe import Block, Recipe
from index.distance import HEAVIEST, Reals


@dataclass(frozen=True, slots=True)
class Metric:
    """A `space` as its user wrote it: `[model:]preset[; name:weight, …]`; absent parts are the defaults.

    A model's name alone is that model with its default preset, once `among` has seen the models.
    """

    model: str | None = None
    preset: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Metric:
        """`'physics'`, `'optical:physics'`, `'physics; teff:2, z07:0'`, `'; velocity:0'`, `''`."""
        head, _, tail = text.partition(";")
        model, colon, preset = head.rpartition(":")
        if colon and not (model.strip() and preset.strip()):
            raise ValueError(f"space {text!r} has an empty name beside its colon; write 'model:preset'")
        own: dict[str, float] = {}
        for name, weight in (_weight(item, text) for item in tail.split(",") if item.strip()):
            if name in own:
                raise ValueError(f"space {text!r} names {name!r} twice")
            own[name] = weight
        return cls(model.strip() or None, preset.strip() or None, own)

    def among(self, recipes: Collection[Recipe]) -> Metric:
        """The same, its model spelt as one of these. Raises ValueError for a model that is none of them."""
        models = {recipe.name.lower(): recipe.name for recipe in recipes}
        if self.model is None:
            alone = models.get((self.preset or "").lower())
            presets = {preset.lower() for recipe in recipes for preset in recipe.presets}
            is_model = alone is not None and alone.lower() not in presets
            return replace(self, model=alone, preset=None) if is_model else self
        try:
            return replace(self, model=_known(self.model, models.values(), "model of this archive"))
        except ValueError as error:
            hint = "weights of your own stand after a semicolon: 'physics; teff:2'"
            raise ValueError(f"{error}; {hint}") from None

    def told(self, recipe: Recipe) -> str:
        """The space in full: which preset of the model, and the user's own weights."""
        preset = self._preset(recipe)
        own = ", ".join(f"{name}:{weight!r}".removesuffix(".0") for name, weight in self.weights.items())
        return f"{preset}; {own}" if own else preset

    def of(self, recipe: Recipe) -> Reals:
        """The weights (n_latent,) of a model, 1/scale² included: d² = Σ weights (q − z)².

        A named weight replaces the preset's. Raises ValueError for an unknown name, with a suggestion.
        """
        if self.model is not None and self.model.lower() != recipe.name.lower():
            raise ValueError(f"space names the model {self.model!r}; the vectors are of {recipe.name!r}")
        units = dict(recipe.presets[self._preset(recipe)])
        for name, weight in self.weights.items():
            units.update(dict.fromkeys(_latents(name, recipe), weight))
        weights = np.array([units.get(latent.name, 0.0) / latent.scale**2 for latent in recipe.latents])
        if not weights.any():
            raise ValueError("all weights of the space are zero; at least one must be above zero")
        for latent in (recipe.latents[place] for place in np.flatnonzero(weights > HEAVIEST)):
            raise ValueError(
                f"the weight of {latent.label or latent.name!r} is {units[latent.name]:g}; "
                f"at most {HEAVIEST * latent.scale**2:.3g} is possible"
            )
        return weights

    def _preset(self, recipe: Recipe) -> str:
        if self.preset is None:
            return recipe.default_preset
        return _known(self.preset, recipe.presets, f"preset of {recipe.name}")


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one latent adds to a squared distance."""

    latent: str
    block: Block
    label: str | None
    squared: float


def parse_space(text: str, recipe: Recipe) -> Reals:
    """The weights (n_latent,) that a `space` means for a model, 1/scale² included."""
    return Metric.parse(text).of(recipe)


def contributions(
    query: ArrayLike, vector: ArrayLike, weights: ArrayLike, recipe: Recipe
) -> list[Contribution]:
    """Why two spectra are as far apart as they are: the parts of d², largest first; zero weights left out."""
    factors = np.asarray(weights, dtype=np.float64)
    squares = factors * np.subtract(query, vector, dtype=np.float64) ** 2
    parts = [
        Contribution(latent.name, latent.block, latent.label, float(square))
        for latent, square, weight in zip(recipe.latents, squares, factors, strict=True)
        if weight > 0
    ]
    return sorted(parts, key=lambda part: -part.squared)


def by_block(parts: Iterable[Contribution]) -> dict[str, float]:
    """The parts of d² summed over each block, largest first."""
    sums: dict[str, float] = {}
    for part in parts:
        sums[part.block] = sums.get(part.block, 0.0) + part.squared
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def noisy_distances(
    query: ArrayLike,
    query_sigma: ArrayLike,
    vectors: ArrayLike,
    sigmas: ArrayLike,
    weights: ArrayLike,
    recipe: Recipe,
) -> Reals:
    """Distances in units of the errors, (n,): d² = Σ u (q − z)² / (σq² + σz²), u = weights · scale².

    `query` and `query_sigma` (d,), `vectors` and `sigmas` (n, d). For re-ranking of matches of a model whose
    sigmas passed the pull test; sigmas of the latents that carry weight must be above zero.
    """
    factors = np.asarray(weights, dtype=np.float64)
    kept = np.flatnonzero(factors)
    units = (factors * np.array([latent.scale for latent in recipe.latents]) ** 2)[kept]
    own, others = (np.asarray(sigma, dtype=np.float64)[..., kept] for sigma in (query_sigma, sigmas))
    if not ((own > 0).all() and (others > 0).all()):
        raise ValueError("sigmas must be above zero where the latent carries weight")
    gaps = np.subtract(vectors, query, dtype=np.float64)[..., kept]
    return np.asarray(np.sqrt((units * gaps**2 / (own**2 + others**2)).sum(axis=-1)))


def _weight(item: str, text: str) -> tuple[str, float]:
    name, _, number = item.partition(":")
    try:
        weight = float(number)
    except ValueError:
        raise ValueError(f"{item.strip()!r} in space {text!r} is not 'name:weight'") from None
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(
            f"the weight of {name.strip()!r} is {number.strip()}; it must be finite and not negative"
        )
    return name.strip(), weight


def _latents(name: str, recipe: Recipe) -> list[str]:
    """Names of the latents that a latent's, a label's or a block's name means."""
    groups: dict[str, list[str]] = {}
    for latent in recipe.latents:
        for key in filter(None, (latent.name, latent.label, latent.block)):
            groups.setdefault(key, []).append(latent.name)
    return groups[_known(name, groups, f"latent, label or block of {recipe.name}")]


def _known(name: str, names: Iterable[str], kind: str) -> str:
    """The spelling of `name` among `names`, whatever its case."""
    spellings = {known.lower(): known for known in names}
    if name.lower() in spellings:
        return spellings[name.lower()]
    close = difflib.get_close_matches(name.lower(), spellings, n=1)
    hint = f" Did you mean {spellings[close[0]]!r}?" if close else ""
    raise ValueError(f"{name!r} is not a {kind}.{hint} Known: {', '.join(sorted(spellings.values()))}")
