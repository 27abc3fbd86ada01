"""How much a latent tells of a label: mutual information in nats, from counts in equal bins."""

from __future__ import annotations

import numpy as np

from encoder.spectrum import Float64

PER_CELL = 5  # spectra that a cell should hold on average
MOST_BINS = 12
FEWEST = 60  # spectra with the label


def mutual_information(latent: Float64, label: Float64) -> float:
    """Nats between two values (n,), NaN ignored; bins of equal counts, the bias of counting taken off.

    NaN where fewer than FEWEST spectra have the label.
    """
    known = np.isfinite(label) & np.isfinite(latent)
    count = int(known.sum())
    if count < FEWEST:
        return float("nan")
    bins = int(np.clip(np.sqrt(count / PER_CELL), 3, MOST_BINS))
    table = np.zeros((bins, bins))
    np.add.at(table, (_bin(latent[known], bins), _bin(label[known], bins)), 1)
    share = table / count
    expected = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    filled = share > 0
    found = float(np.sum(share[filled] * np.log(share[filled] / expected[filled])))
    rows, columns = (int(np.count_nonzero(table.sum(axis=axis))) for axis in (1, 0))
    bias = (int(filled.sum()) - rows - columns + 1) / (2 * count)  # Miller and Madow
    return max(found - bias, 0.0)


def _bin(values: Float64, bins: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    limits = np.quantile(values, np.arange(1, bins) / bins)
    return np.searchsorted(limits, values, side="right")
