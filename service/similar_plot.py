"""The picture of a spectrum over its nearest neighbours, for `doppel similar --plot` and the README."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoder.prepare import Grid, prepare
from encoder.recipe import GridSpec
from encoder.spectrum import Float64, Spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PIXELS = 1600
COLOURS = ("#0b5a8f", "#c2480f", "#2b7a3d", "#7a3fa0", "#a07400", "#b0246a", "#00787a", "#6b5b4d")


@dataclass(frozen=True, slots=True)
class Line:
    """One spectrum with what is written beside it."""

    title: str
    below: str
    spectrum: Spectrum


def write_picture(path: Path, lines: Sequence[Line], start: float, stop: float) -> None:
    """The first line on top in black, the others below in order; wavelengths from start to stop, vacuum Å.

    The suffix of `path` chooses the format (PNG, SVG, PDF); ValueError for one that is not known.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "doppel"
    figure = Figure(figsize=(9.5, 1.2 + 0.85 * len(lines)), layout="constrained")
    axes = figure.add_subplot()
    draw(axes, lines, Grid(GridSpec(start, stop, PIXELS)))
    figure.savefig(path, dpi=90, metadata={} if path.suffix != ".svg" else {"Date": None})


def draw(axes: Axes, lines: Sequence[Line], grid: Grid) -> None:
    """Fluxes over their medians, each a step below the one before."""
    curves = [_flux(line.spectrum, grid) for line in lines]
    step = 0.8 * float(
        np.median([np.nanpercentile(curve, 97) - np.nanpercentile(curve, 3) for curve in curves])
    )
    for number, (line, curve) in enumerate(zip(lines, curves, strict=True)):
        colour = "black" if number == 0 else COLOURS[(number - 1) % len(COLOURS)]
        height = (
            float(np.nanmedian(curve[-PIXELS // 8 :])) if np.isfinite(curve[-PIXELS // 8 :]).any() else 1.0
        )
        axes.plot(grid.wave, curve - number * step, color=colour, linewidth=1.3 if number == 0 else 0.8)
        at = (1.01, height - number * step)
        weight = "bold" if number == 0 else "normal"
        axes.annotate(
            f"{line.title}\n{line.below}", at, xycoords=("axes fraction", "data"), color=colour,
            fontsize=8.5, fontweight=weight, verticalalignment="center", annotation_clip=False,
        )  # fmt: skip
    axes.set_xlim(grid.spec.start, grid.spec.stop)
    axes.set_xlabel("Wavelength in vacuum (Å)")
    axes.set_ylabel("Flux / median + offset")
    axes.set_yticks([])
    axes.spines[["top", "right"]].set_visible(False)


def _flux(spectrum: Spectrum, grid: Grid) -> Float64:
    """(pixels,), NaN where nothing good was observed."""
    prepared = prepare(spectrum, grid)
    return np.where(prepared.mask, np.nan, prepared.flux.astype(np.float64))
