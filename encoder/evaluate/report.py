"""The report of a model: figures as JSON, and a card for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoder.recipe import Recipe

HOW = "five folds by object; components and templates were found on all spectra, without names or labels"
UNITS = {"teff": "K", "logg": "dex", "feh": "dex"}


def write_report(
    directory: Path,
    recipe: Recipe,
    figures: Mapping[str, Any],
    velocity: Mapping[str, float],
    trained_on: int,
) -> dict[str, Any]:
    """report.json: what held-out objects say of the model; the whole of it is returned."""
    report = {
        "model": recipe.name,
        "model_id": recipe.model_id,
        "kind": recipe.kind,
        "trained_on": trained_on,
        "how": HOW,
        **figures,
        "velocity": dict(velocity),
    }
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=True)
    (directory / "report.json").write_text(text.replace("NaN", "null"), encoding="utf-8")
    return report


def card(recipe: Recipe, report: Mapping[str, Any]) -> str:
    """Markdown that says what the model is, how good it is and what its numbers mean."""
    grid = recipe.grid
    lines = [
        f"# {recipe.name} ({recipe.model_id})",
        "",
        f"A model of kind `{recipe.kind}` for {grid.start:g}–{grid.stop:g} Å (vacuum, {grid.pixels} pixels",
        f"of equal steps in ln λ), trained on {report['trained_on']} spectra. A spectrum must cover",
        f"{recipe.min_coverage:.0%} of the range.",
        "",
        f"Held out: {report['how']}.",
        "",
        "| measure | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in _rows(report)),
        "",
        "| latent | block | scale | meaning |",
        "|---|---|---|---|",
        *(f"| {one.name} | {one.block} | {one.scale:.3g} | {one.description} |" for one in recipe.latents),
        "",
    ]
    return "\n".join(lines)


def _rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, value in report.items():
        if isinstance(value, Mapping) and "mrr" in value:
            rows.append(
                (
                    name,
                    f"MRR {value['mrr']:.3f} ± {value['mrr_error']:.3f}, first {value['recall_1']:.2f} "
                    f"({value['queries']} searches of {value['objects']} objects)",
                )
            )
        elif isinstance(value, Mapping) and set(value) & set(UNITS):
            rows.append(
                (name, ", ".join(f"{label} {error:.3g} {UNITS[label]}" for label, error in value.items()))
            )
    if report.get("purity") is not None:
        rows.append(("purity", f"{report['purity']:.2f}"))
    velocity = report["velocity"]
    rows.append(("velocity", f"found in {velocity['found']:.0%}, error {velocity['error_kms']:.1f} km/s"))
    return rows
