"""One spectrum as a picture, PNG or SVG. matplotlib is loaded with the first picture."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder.spectrum import Spectrum
from service.formats.spectrum import flux_unit, pixels, title

Floats = NDArray[np.float64]
WIDTH, HEIGHT, DPI = 8.0, 4.0, 100  # inches; 800 × 400 pixels
AMPLE = 0.08  # of the flux range, above and below
INFRARED = 30_000.0  # Å: spectra that reach farther are drawn in µm
WILD = 5.0  # times the median error


def write_png(spectrum: Spectrum) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    draw(spectrum, FigureCanvasAgg).savefig(buffer, format="png")
    return buffer.getvalue()


def write_svg(spectrum: Spectrum) -> bytes:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.BytesIO()
    draw(spectrum, FigureCanvasSVG).savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def draw(spectrum: Spectrum, canvas: Any) -> Any:
    """A figure: flux over vacuum wavelength, gaps where masked, the error as a band."""
    from matplotlib.figure import Figure

    columns = pixels(spectrum)
    scale, word = (1e4, "µm") if columns["wavelength"][-1] > INFRARED else (1.0, "Å")
    wave, flux = columns["wavelength"] / scale, columns["flux"].astype(np.float64)
    error = columns["error"].astype(np.float64) if "error" in columns else None
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    canvas(figure)
    axes = figure.add_subplot()
    if error is not None:
        band = np.nan_to_num(error)
        axes.fill_between(wave, flux - band, flux + band, color="#9db8d9", linewidth=0)
    axes.plot(wave, flux, color="#1b3a5b", linewidth=0.8)
    axes.set_xlim(wave[0], wave[-1])
    axes.set_ylim(*limits(flux, error))
    unit = flux_unit(spectrum.facts.flux_unit)
    axes.set_xlabel(f"Wavelength in vacuum ({word})")
    axes.set_ylabel(f"Flux ({unit.fits if unit.votable else 'arbitrary unit'})")
    axes.set_title(plain(title(spectrum.facts)), fontsize=10)
    axes.grid(alpha=0.2)
    return figure


def limits(flux: Floats, error: Floats | None) -> tuple[float, float]:
    """What shows the bulk of the flux: wild pixels, and those with huge errors, may be cut off."""
    valid = np.isfinite(flux)
    if error is not None and np.isfinite(error).any():
        valid &= error <= WILD * np.nanmedian(error)
    if not valid.any():
        return 0.0, 1.0
    low, high = np.percentile(flux[valid], [0.2, 99.8])
    room = (high - low) * AMPLE or abs(high) or 1.0
    return float(low - room), float(high + room)


def plain(text: str) -> str:
    """Text that matplotlib does not read as mathematics."""
    return text.replace("$", r"\$")
