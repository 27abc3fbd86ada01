"""The table of a comparison says what the figures say."""

from __future__ import annotations

from encoder.evaluate.report import comparison

FOUND = {"mrr": 0.5, "mrr_error": 0.01, "recall_1": 0.25, "recall_5": 0.75, "queries": 8, "objects": 4}
NONE = {"queries": 0, "objects": 0}


def test_a_line_per_measure_and_a_column_per_model() -> None:
    errors = {"teff": 123.4, "logg": 0.2, "feh": 0.1}
    raw = {"libraries": ["a", "b"], "cross": NONE, "knn": errors, "purity": 0.75}
    linear = {"libraries": ["a", "b"], "cross": FOUND, "knn": errors, "nodes": {"a": errors}}
    gain = {"cross": {"difference": 0.1, "error": 0.02}}
    text = comparison(
        {
            "model": "optical",
            "folds": 5,
            "spectra": 9,
            "missing": 2,
            "rows": {"raw": raw, "linear": linear},
            "paired": {"linear": gain},
        }
    )
    assert "9 spectra, 2 missing ones as misses, 5 folds by object" in text
    assert "| measure | raw cosine | linear |" in text
    assert "| cross: MRR, recall@1 (8 searches of 4 objects) | none | 0.500 ± 0.010, 0.25 |" in text
    assert "| knn: teff K, logg dex, feh dex | 123 / 0.2 / 0.1 | 123 / 0.2 / 0.1 |" in text
    assert "| nodes a |  | 123 / 0.2 / 0.1 |" in text
    assert "| purity | 0.75 |  |" in text
    assert "paired |  | +0.100 ± 0.020 |" in text
    assert "libraries" not in text
