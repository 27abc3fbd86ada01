"""Fit the way back from latents to coefficients."""

from __future__ import annotations

import numpy as np

from encoder.decode import Decoder
from encoder.spectrum import Float64

PENALTY = 1e-3  # of the number of spectra: label nodes and axes tell much the same


def fit_decoder(vectors: Float64, values: Float64) -> Decoder:
    """Least squares from training spectra's latents (N, n_latent) to coefficients (N, K).

    The velocity is the last latent; it is taken out before the coefficients, and tells nothing of them.
    """
    centre, spread, usual = vectors.mean(axis=0), vectors.std(axis=0), values.mean(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    white, left = (vectors - centre) / spread, values - usual
    white[:, -1] = 0.0
    moments = white.T @ left
    joint = np.linalg.solve(white.T @ white + PENALTY * len(values) * np.eye(len(centre)), moments)
    return Decoder(centre, spread, usual, joint, moments / len(values))
