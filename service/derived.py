"""What a model's decoder tells as spectra: what it sees of one, and how spectra change along a latent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from encoder.recipe import Latent
from encoder.spectrum import Float64, Spectrum
from index.release import Model
from registry_metadata.columns import Column
from service.formats.spectrum import FluxUnit, flux_unit, title
from service.formats.stream import Info, Rows
from service.protocols.encode import prepared_for

WINDOW = 64  # parts of the grid; the error of what is seen is the rms of what is left over one of them
OVER_CONTINUUM = FluxUnit("", "adu", 1.0, "phot.flux.density;em.wl")  # adu: FITS readers want a unit of flux
WAVELENGTH = Column("wavelength", "double", unit="Angstrom", ucd="em.wl", description="Wavelength in vacuum")


@dataclass(frozen=True, slots=True)
class Derived:
    """A table over wavelength: `wavelength` first, then `flux`, then what belongs to it."""

    columns: tuple[Column, ...]
    values: tuple[Float64, ...]  # each (P,)
    name: str  # to save it under
    description: str
    infos: tuple[Info, ...]
    unit: FluxUnit
    labels: tuple[str, ...] = ()  # of the curves in a picture, for the columns from `flux` on

    def rows(self, fits: bool) -> Rows:
        """As writers take it."""
        columns = tuple(self.fits_column(one) if fits else one for one in self.columns)
        kinds = {"double": np.float64, "float": np.float32}
        arrays = [
            pa.array(values.astype(kinds[column.datatype]))
            for column, values in zip(columns, self.values, strict=True)
        ]
        batch = pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])
        return Rows(columns, iter([batch]), self.infos, name="spectrum", description=self.description)

    def fits_column(self, column: Column) -> Column:
        """With the unit in FITS's spelling. Where there is none, the flux and its error have adu: specutils
        knows no flux without a unit, and takes the next column of the same unit for its error."""
        if column is WAVELENGTH or not (self.unit.votable or column.name in ("flux", "error")):
            return column
        return replace(column, unit=self.unit.fits)


def flux_column(name: str, unit: FluxUnit, description: str) -> Column:
    return Column(name, "float", unit=unit.votable or None, ucd=unit.ucd, description=description)


def facts(model: Model, release: str) -> tuple[Info, ...]:
    return Info("model", model.name), Info("model_id", model.recipe.model_id), Info("release", release)


def reconstruction(model: Model, spectrum: Spectrum, release: str) -> Derived:
    """What the model's components hold of the spectrum, on the model's grid, in its own units and velocity.

    RefusedSpectrum where the model cannot embed it.
    """
    prepared = prepared_for(model, spectrum)
    unit = flux_unit(spectrum.facts.flux_unit)
    scale = prepared.scale * unit.factor
    seen = model.encoder.fitted([prepared])[0].astype(np.float64) * scale
    observed = np.where(prepared.mask, np.nan, prepared.flux * scale)
    left = observed - seen
    stat = replace(unit, ucd=f"stat.error;{unit.ucd}")
    rest = replace(unit, ucd=f"{unit.ucd};stat.fit.residual")
    return Derived(
        (
            WAVELENGTH,
            flux_column("flux", unit, f"Flux as the model {model.name} sees it"),
            flux_column("error", stat, "Rms of what it does not see, over the pixels around"),
            flux_column("observed", unit, "Flux of the archive on the model's grid; NaN where masked"),
            flux_column("residual", rest, "What the model does not see: observed - flux"),
        ),
        (model.encoder.grid.wave, seen, local_rms(left), observed, left),
        "reconstruction",
        f"{title(spectrum.facts)}, as the model {model.name} sees it",
        (Info("publisher_did", spectrum.facts.publisher_did), *facts(model, release)),
        unit,
    )


def local_rms(left: Float64) -> Float64:
    """Rms (P,) over the pixels around each, of those that are there; NaN where none is."""
    good = np.isfinite(left)
    half = max(len(left) // WINDOW // 2, 1)
    sums = [_around(values, half) for values in (np.where(good, left, 0.0) ** 2, good.astype(np.float64))]
    mean = np.divide(sums[0], sums[1], out=np.full(len(left), np.nan), where=sums[1] > 0)
    return np.asarray(np.sqrt(mean))


def _around(values: Float64, half: int) -> Float64:
    """Sums (P,) over `half` pixels on either side, fewer at the ends."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    at = np.arange(len(values))
    return total[np.minimum(at + half + 1, len(values))] - total[np.maximum(at - half, 0)]


def traversal(
    model: Model, latent: Latent, steps: Sequence[float], spectrum: Spectrum | None, release: str
) -> Derived:
    """Spectra at rest, over their continuum, as one latent goes `steps` of its spreads from the spectrum's
    own value, else from the mean; `flux` is where it starts. RefusedSpectrum where the model cannot embed it.
    """
    encoder = model.encoder
    vector = None
    if spectrum is not None:
        vector = encoder.encode([prepared_for(model, spectrum)]).vectors[0]
    shown = encoder.traverse(latent.name, [0.0, *steps], vector).astype(np.float64)
    name, unit = latent.label or latent.name, unit_of(model, latent)
    words = [
        f"{name} = {value:.5g}{unit}" for value in encoder.along(latent.name, [0.0, *steps], vector).tolist()
    ]
    start = "the mean of the training spectra" if spectrum is None else title(spectrum.facts)
    told = [
        f"{step:+.3g} spreads, {word}" if step else word for step, word in zip(steps, words[1:], strict=True)
    ]
    steps_of = [
        flux_column(f"flux_{number}", OVER_CONTINUUM, f"Flux over continuum at {one}")
        for number, one in enumerate(told, 1)
    ]
    about = () if spectrum is None else (Info("publisher_did", spectrum.facts.publisher_did),)
    return Derived(
        (WAVELENGTH, flux_column("flux", OVER_CONTINUUM, f"Flux over continuum, {start}"), *steps_of),
        (encoder.grid.wave, *shown),
        f"traversal-{name}",
        f"Along {name} of the model {model.name} from {start}",
        (*about, *facts(model, release), Info("latent", latent.name, latent.description)),
        OVER_CONTINUUM,
        (f"{start}, {words[0]}", *told),
    )


def unit_of(model: Model, latent: Latent) -> str:
    """Of the label that the latent stands for, as text after its value."""
    return next((f" {one.unit}" for one in model.recipe.labels if one.name == latent.label and one.unit), "")
