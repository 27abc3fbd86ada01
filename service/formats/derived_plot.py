"""Pictures of derived spectra: what a model sees over what was observed, and spectra along a latent."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from encoder.spectrum import Float64
from service.formats.preview import DPI, limits, plain

SIZE = (10.0, 5.0)  # inches
MARGINS = {"left": 0.08, "right": 0.97, "bottom": 0.1, "top": 0.93, "hspace": 0.15}  # shares of the figure
OBSERVED, SEEN = "#1b3a5b", "#c8401e"
COLD, START, WARM = "#2166ac", "#222222", "#b2182b"  # one end, where it starts, the other end


def reconstruction_png(wave: Float64, seen: Float64, observed: Float64, title: str) -> bytes:
    """The two over each other, what is left below; arrays (P,), NaN where there is nothing."""
    figure = _figure()
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot(wave, observed, color=OBSERVED, linewidth=0.7, label="observed, on the model's grid")
    above.plot(wave, seen, color=SEEN, linewidth=0.8, label="as the model sees it")
    above.set_ylim(*limits(observed, None))
    above.set_ylabel("flux", fontsize=9)
    above.legend(fontsize=8, loc="upper right")
    above.set_title(plain(title), fontsize=10)
    below.axhline(0, color=SEEN, linewidth=0.8)
    below.plot(wave, observed - seen, color=OBSERVED, linewidth=0.6)
    below.set_ylim(*limits(observed - seen, None))
    below.set_ylabel("residual", fontsize=9)
    return _png(figure, below, wave)


def traversal_png(wave: Float64, curves: Sequence[Float64], labels: Sequence[str], title: str) -> bytes:
    """The first curve is where it starts; the others go from blue to red."""
    figure = _figure()
    axes = figure.add_subplot()
    for curve, label, color in zip(curves[1:], labels[1:], _colors(len(curves) - 1), strict=True):
        axes.plot(wave, curve, color=color, linewidth=0.8, label=plain(label))
    axes.plot(wave, curves[0], color=START, linewidth=0.9, linestyle="--", label=plain(labels[0]))
    axes.set_ylim(*limits(np.concatenate(list(curves)), None))
    axes.legend(fontsize=7, loc="lower right")
    axes.set_ylabel("flux over continuum", fontsize=9)
    axes.set_title(plain(title), fontsize=10)
    return _png(figure, axes, wave)


def _figure() -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI)
    figure.subplots_adjust(**MARGINS)  # layouts that are reckoned draw everything twice
    FigureCanvasAgg(figure)
    return figure


def _colors(count: int) -> list[Any]:
    from matplotlib.colors import LinearSegmentedColormap

    return list(LinearSegmentedColormap.from_list("steps", [COLD, "#bbbbbb", WARM])(np.linspace(0, 1, count)))


def _png(figure: Any, axes: Any, wave: Float64) -> bytes:
    axes.set_xlim(wave[0], wave[-1])
    axes.set_xlabel("Wavelength in vacuum (Å)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
