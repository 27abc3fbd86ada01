"""What a page offers of what a model makes of a spectrum: the spectrum as it sees it, and along a latent."""

from __future__ import annotations

from dataclasses import dataclass

from index.release import Model
from service.protocols.derived import PNG, RECONSTRUCTION, TRAVERSAL, walked
from service.protocols.products import quoted


@dataclass(frozen=True, slots=True)
class Seen:
    """Addresses below `base`, and the words of a form."""

    did: str
    model: str
    picture: str
    traversal: str
    latents: tuple[str, ...]
    format: str = PNG

    @classmethod
    def of(cls, model: Model | None, did: str, base: str) -> Seen | None:
        """None where no model here embedded the spectrum."""
        if model is None or not model.encodes:
            return None
        picture = f"{base}{RECONSTRUCTION}?ID={quoted(did)}&MODEL={model.name}&FORMAT={quoted(PNG)}"
        latents = tuple(one.label or one.name for one in walked(model))
        return cls(did, model.name, picture, f"{base}{TRAVERSAL}", latents)
