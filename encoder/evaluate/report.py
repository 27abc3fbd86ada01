"""The report of a model: figures as JSON, and a card for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encoder.recipe import Recipe

HOW = "five folds by object; components and templates were found on all spectra, without names or labels"
HEADINGS = {"raw": "raw cosine", "pca": "PCA-16", "lda": "whitened PCA+LDA"}
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
    for label, covered in report["calibration"]["coverage"].items():
        parts = [
            f"{where}: {held['68']:.0%} and {held['90']:.0%} of {held['spectra']}"
            for where, held in covered.items()
            if "68" in held
        ]
        rows.append((f"68 and 90 % intervals of {label} hold", "; ".join(parts)))
    velocity = report["velocity"]
    rows.append(("velocity", f"found in {velocity['found']:.0%}, error {velocity['error_kms']:.1f} km/s"))
    return rows


def comparison(result: Mapping[str, Any]) -> str:
    """Markdown of what `encoder.training.folds.evaluate` found: a line per measure, a column per model."""
    rows, paired = result["rows"], result["paired"]
    measures = list(dict.fromkeys(name for figures in rows.values() for name in figures))
    lines = [
        f"## {result['model']}: {result['spectra']} spectra, {result['missing']} missing ones as misses, "
        f"{result['folds']} folds by object",
        "",
        _line("measure", [HEADINGS.get(kind, kind) for kind in rows]),
        "|---" * (len(rows) + 1) + "|",
    ]
    for name in measures:
        found = {kind: figures.get(name) for kind, figures in rows.items()}
        if name == "nodes":
            collections = dict.fromkeys(key for one in found.values() if one for key in one)
            for key in collections:
                lines.append(_line(f"nodes {key}", [_cell((one or {}).get(key)) for one in found.values()]))
        elif name != "libraries":
            lines.append(_line(_named(name, found), [_cell(one) for one in found.values()]))
    for name in ("cross", "mixed"):
        gains = [_gain(paired.get(kind, {}).get(name)) for kind in rows]
        lines.append(_line(f"{name} MRR, less that of whitened PCA+LDA, paired", gains))
    return "\n".join([*lines, ""])


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def _named(name: str, found: Mapping[str, Any]) -> str:
    """A measure with its unit, or with the size of its test."""
    some = max(found.values(), key=lambda one: len(one) if isinstance(one, Mapping) else 0)
    if not isinstance(some, Mapping):
        return name
    if "queries" in some:
        return f"{name}: MRR, recall@1 ({some['queries']} searches of {some['objects']} objects)"
    return f"{name}: {', '.join(f'{label} {UNITS.get(label)}' for label in some)}"


def _cell(found: Any) -> str:
    if found is None:
        return ""
    if not isinstance(found, Mapping):
        return f"{found:.2f}"
    if "mrr" in found:
        return f"{found['mrr']:.3f} ± {found['mrr_error']:.3f}, {found['recall_1']:.2f}"
    if "queries" in found:
        return "none"
    return " / ".join(f"{error:.3g}" for error in found.values())


def _gain(found: Mapping[str, float] | None) -> str:
    return f"{found['difference']:+.3f} ± {found['error']:.3f}" if found else ""
