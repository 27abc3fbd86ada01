"""An archive of simulated stars: FITS files and catalogues as three real instruments would leave them.

Every star is observed at least twice, some by two or three instruments, so that repeats and cross-instrument
pairs exist. The files are read back by the same readers as any archive's; nothing downstream knows.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from encoder import atmosphere
from encoder.atmosphere import WAVE, Float32, Float64, Physics, Stars
from encoder.catalogue import mjd_of
from encoder.collection import CollectionConfig
from encoder.readers.axis import air_to_vacuum

Progress = Callable[[int, int], None]  # spectra done, of how many

BATCH = 32  # stars at once: 4 MB per array of spectra
EPOCH = datetime(2013, 1, 1)
EMISSION_SHARE = 0.04
FIELDS = (
    "spectrum_id", "file", "locator", "layout", "object", "object_key", "object_class", "spectral_class",
    "line_class", "ra_deg", "dec_deg", "date_obs", "mjd", "telescope", "instrument", "wave_unit",
    "wave_medium", "wave_frame", "wave_min", "wave_max", "n_pix", "R", "fwhm_aa", "snr", "flux_unit",
    "good_frac", "teff", "logg", "feh", "rv_kms", "redshift", "label_source", "notes", "aperture_arcsec",
    "creator_did",
)  # fmt: skip
TYPES = ((30_000, "O"), (10_000, "B"), (7_500, "A"), (6_000, "F"), (5_200, "G"), (3_700, "K"), (2_400, "M"))


@dataclass(frozen=True)
class Instrument:
    """How a spectrograph and its archive change a star's light."""

    name: str  # of the collection
    title: str
    layout: str
    medium: str  # air or vacuum
    frame: str  # rest or heliocentric
    resolving_power: float
    wave: Float64  # (N,) of its pixels, Å in `medium`
    telluric: float  # share of the atmosphere's lines left in
    response: float  # rms of the error of its flux calibration
    snr: tuple[float, float]
    labelled: float  # share of spectra with Teff, log g, [Fe/H]
    flux_unit: str
    aperture: float  # diameter of its fibre or width of its slit, arcsec
    write: Callable[[Path, Instrument, Float32, Float32], None]
    has_errors: bool = True


def _write_rows(path: Path, instrument: Instrument, flux: Float32, sigma: Float32) -> None:
    """As LAMOST: flux, inverse variance, wavelength, two masks; zero padding where the detector ends."""
    ivar = np.where(flux == 0, 0, sigma**-2)
    rows = np.stack([flux, ivar, instrument.wave, np.zeros_like(flux), np.zeros_like(flux)])
    header = fits.Header()
    header["COEFF0"] = float(np.log10(instrument.wave[0]))
    header["COEFF1"] = float(np.log10(instrument.wave[1] / instrument.wave[0]))
    header["DC-FLAG"] = 1
    fits.PrimaryHDU(rows.astype(np.float32), header).writeto(path, overwrite=True)


def _write_image(path: Path, instrument: Instrument, flux: Float32, sigma: Float32) -> None:
    """As MILES: one row, linear wavelengths in air, no errors."""
    header = fits.Header()
    header["CRVAL1"], header["CRPIX1"] = float(instrument.wave[0]), 1
    header["CDELT1"] = float(instrument.wave[1] - instrument.wave[0])
    fits.PrimaryHDU(flux.astype(np.float32), header).writeto(path, overwrite=True)


def _write_table(path: Path, instrument: Instrument, flux: Float32, sigma: Float32) -> None:
    """As the coudé spectra of Ondřejov: a row per pixel."""
    columns = [
        fits.Column("spectral", "D", unit="Angstrom", array=instrument.wave),
        fits.Column("flux", "E", array=flux),
        fits.Column("error", "E", array=sigma),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(path, overwrite=True)


def _equal_steps(start: float, step: float, pixels: int) -> Float64:
    return start + step * np.arange(pixels, dtype=np.float64)


SURVEY = Instrument(
    "sim_survey", "Simulated fibre survey", "lamost_rows", "vacuum", "heliocentric", 1800.0,
    np.power(10, _equal_steps(3.5682, 1e-4, 3860)), 0.6, 0.05, (15.0, 200.0), 0.7, "relative", 3.3,
    _write_rows,
)  # fmt: skip
LIBRARY = Instrument(
    "sim_library", "Simulated stellar library", "image1d_linear", "air", "rest", 2000.0,
    _equal_steps(3540.5, 0.9, 4300), 0.05, 0.03, (80.0, 300.0), 1.0, "relative", 6.0, _write_image, False,
)  # fmt: skip
COUDE = Instrument(
    "sim_coude", "Simulated coudé spectrograph at Hα", "bintable_columns:spectral,flux,error", "air",
    "heliocentric", 13_000.0, _equal_steps(6262.0, 0.2567, 1997), 1.0, 0.02, (40.0, 250.0), 0.3, "relative",
    0.6, _write_table,
)  # fmt: skip
INSTRUMENTS = (SURVEY, LIBRARY, COUDE)


@dataclass(frozen=True, slots=True)
class Population:
    """S stars with what an archive knows of them besides their spectra."""

    stars: Stars
    rv: Float64  # km/s
    reddening: Float64  # E(B-V)
    ra: Float64  # ICRS degrees
    dec: Float64
    visits: NDArray[np.int64]  # (S, instruments): how often each was observed


def simulate(
    directory: Path, stars: int, seed: int, progress: Progress | None = None
) -> tuple[CollectionConfig, ...]:
    """Writes an archive of `stars` stars below `directory` and returns its collections, for a configuration.

    The same seed writes the same spectra. Catalogues are written last: where they are, all files are.
    """
    random = np.random.default_rng(seed)
    population = draw(stars, random)
    rows: dict[str, list[dict[str, object]]] = {instrument.name: [] for instrument in INSTRUMENTS}
    for instrument in INSTRUMENTS:
        (directory / instrument.name / "spectra").mkdir(parents=True, exist_ok=True)
    total = int(population.visits.sum())
    for done, (row, instrument, flux, sigma) in enumerate(observations(population, random), start=1):
        instrument.write(directory / instrument.name / str(row["file"]), instrument, flux, sigma)
        rows[instrument.name].append(row)
        if progress is not None:
            progress(done, total)
    for name, found in rows.items():
        _write_catalogue(directory / name / "catalogue.csv", found)
    return tuple(_config(instrument) for instrument in INSTRUMENTS if rows[instrument.name])


def _config(instrument: Instrument) -> CollectionConfig:
    return CollectionConfig(
        name=instrument.name,
        path=instrument.name,
        catalogue="catalogue.csv",
        title=instrument.title,
        description=f"{instrument.title}: stars made by a simple physical model, not observed.",
        creator="Doppel",
        data_source="artificial",
    )


def _write_catalogue(path: Path, rows: Sequence[dict[str, object]]) -> None:
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, restval="")
        writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def draw(count: int, random: np.random.Generator) -> Population:
    """Dwarfs along the main sequence and giants, disk and some halo, over the whole sky."""
    giant = random.random(count) < 0.35
    dwarf_teff = np.exp(random.normal(np.log(5800), 0.26, count)).clip(3300, 16_000)
    teff = np.where(giant, random.normal(4700, 350, count).clip(3600, 5600), dwarf_teff)
    giant_logg = 2.4 + (teff - 4700) / 700 + random.normal(0, 0.25, count)
    dwarf_logg = 4.45 - 0.45 * np.tanh((teff - 5600) / 1500) + random.normal(0, 0.12, count)
    halo = random.random(count) < 0.08
    feh = np.where(halo, random.normal(-1.4, 0.4, count), random.normal(-0.1, 0.25, count)).clip(-2.6, 0.5)
    turning = np.where(teff > 6500, random.gamma(2, 45, count), random.gamma(2, 2.5, count)).clip(1, 300)
    be = (teff > 8500) & (random.random(count) < 6 * EMISSION_SHARE)
    stars = Stars(
        teff=teff,
        logg=np.where(giant, giant_logg.clip(0.5, 3.6), dwarf_logg),
        feh=feh,
        alpha=(-0.3 * feh).clip(0, 0.35) + random.normal(0, 0.05, count),
        vsini=turning,
        emission=np.where(be, random.uniform(1.0, 6.0, count), 0.0),
    )
    return Population(
        stars=stars,
        rv=random.normal(0, np.where(halo, 150.0, 35.0)),
        reddening=random.exponential(0.06, count),
        ra=random.uniform(0, 360, count),
        dec=np.degrees(np.arcsin(random.uniform(-1, 1, count))),
        visits=_visits(count, random),
    )


def _visits(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """(S, 3): at least two observations of each star, within or across instruments."""
    plan = random.choice(4, count, p=(0.35, 0.35, 0.20, 0.10))
    visits = np.array([(2, 0, 0), (1, 1, 0), (2, 1, 0), (1, 1, 1)])[plan]
    visits[:, 2] += random.choice(3, count, p=(0.85, 0.10, 0.05))
    return visits


Observation = tuple[dict[str, object], Instrument, Float32, Float32]


def observations(population: Population, random: np.random.Generator) -> Iterator[Observation]:
    """Catalogue row, instrument, flux (N,) and its standard error (N,), star by star."""
    physics = Physics()
    for first in range(0, len(population.stars), BATCH):
        part = slice(first, first + BATCH)
        at_star = physics.flux(population.stars.part(part))
        at_star *= _reddened(population.reddening[part])
        for number, instrument in enumerate(INSTRUMENTS):
            visits = population.visits[part, number]
            which = np.repeat(np.arange(len(visits)), visits)
            if not len(which):
                continue
            flux, snr = observe(at_star[which], population.rv[first + which], instrument, physics, random)
            epochs = np.concatenate([np.arange(count) for count in visits])
            for spectrum, quality, star, epoch in zip(flux, snr, first + which, epochs, strict=True):
                noisy, sigma = _with_noise(spectrum, float(quality), random)
                padded = _with_gaps(noisy, instrument, random)
                row = _row(population, int(star), int(epoch), instrument, float(quality), padded, random)
                yield row, instrument, padded, sigma


def _reddened(colour_excess: Float64) -> Float32:
    """(S, P): extinction falling as λ to the −1.3, R_V 3.1, relative to 5500 Å."""
    magnitudes = 3.1 * colour_excess[:, None] * ((WAVE / 5500) ** -1.3 - 1)
    return (10 ** (-0.4 * magnitudes)).astype(np.float32)


def observe(
    at_star: Float32, rv: Float64, instrument: Instrument, physics: Physics, random: np.random.Generator
) -> tuple[Float32, Float64]:
    """Spectra (S, N) on the instrument's pixels without noise, and their S/N (S,).

    The atmosphere's lines stay at rest with the telescope: in the frame of the archive they move by the
    Earth's and, where the archive moved the spectrum to rest, by the star's velocity.
    """
    count = len(at_star)
    earth = random.uniform(-28, 28, count)
    residual = random.normal(0, 3, count)
    in_frame = (rv if instrument.frame == "heliocentric" else np.zeros(count)) + residual
    telluric_in_frame = earth - (0 if instrument.frame == "heliocentric" else rv)
    moved = atmosphere.broadened(at_star, atmosphere.shift(in_frame))
    thickness = (instrument.telluric * random.gamma(4, 0.35, count))[:, None].astype(np.float32)
    air = np.exp(-thickness * physics.telluric)
    moved *= atmosphere.broadened(air, atmosphere.shift(telluric_in_frame))
    seen = atmosphere.broadened(moved, atmosphere.resolution(instrument.resolving_power))
    wave = air_to_vacuum(instrument.wave) if instrument.medium == "air" else instrument.wave
    flux = np.array([np.interp(wave, WAVE, spectrum) for spectrum in seen])
    snr = np.exp(random.uniform(np.log(instrument.snr[0]), np.log(instrument.snr[1]), count))
    return (flux * _response(instrument, count, random)).astype(np.float32), snr


def _response(instrument: Instrument, count: int, random: np.random.Generator) -> Float64:
    """(S, N): an instrument's own slow error, the same in all its spectra, times one of the night."""
    x = np.linspace(-1, 1, len(instrument.wave))
    falling = instrument.response / np.array([1, 2, 2, 3, 4, 6])
    own = np.random.default_rng(len(instrument.name)).normal(0, falling)
    nights = random.normal(0, falling, (count, len(falling)))
    basis = np.polynomial.legendre.legvander(x, len(falling))[:, 1:]
    scale = np.exp(random.normal(0, 0.5, count))[:, None]
    result: Float64 = scale * np.exp((own + nights) @ basis.T)
    return result


def _with_noise(flux: Float32, snr: float, random: np.random.Generator) -> tuple[Float32, Float32]:
    """Photon noise and a floor; `snr` holds where the flux is at its median."""
    typical = float(np.median(flux))
    sigma = typical / snr * np.sqrt(0.2 + 0.8 * np.maximum(flux / typical, 0))
    noise = random.standard_normal(len(flux))
    return (flux + sigma * noise).astype(np.float32), sigma.astype(np.float32)


def _with_gaps(flux: Float32, instrument: Instrument, random: np.random.Generator) -> Float32:
    """What archives do: zeros at the ends of some spectra, a few dead pixels."""
    if instrument is LIBRARY:
        return flux
    padded = flux.copy()
    if random.random() < 0.3:
        padded[len(flux) - int(random.integers(5, 60)) :] = 0
    padded[random.integers(0, len(flux), int(random.poisson(3)))] = 0
    return padded


def _row(
    population: Population, star: int, epoch: int, instrument: Instrument, snr: float, flux: Float32,
    random: np.random.Generator,
) -> dict[str, object]:  # fmt: skip
    """The catalogue's row; labels as a literature source would give them, with its errors."""
    name = star_name(float(population.ra[star]), float(population.dec[star]))
    spectrum_id = f"{instrument.name}-{star:05d}-{epoch + 1}"
    date = (EPOCH + timedelta(seconds=int(random.integers(0, 12 * 365 * 86_400)))).isoformat()
    valid = instrument.wave[flux != 0]
    return {
        "spectrum_id": spectrum_id, "file": f"spectra/{spectrum_id}.fits", "layout": instrument.layout,
        "object": name, "object_key": name.replace(" ", ""), "object_class": "star",
        "spectral_class": spectral_class(population.stars, star),
        "line_class": _line_class(population.stars, star) if instrument is COUDE else "",
        "ra_deg": f"{population.ra[star]:.6f}", "dec_deg": f"{population.dec[star]:.6f}",
        "date_obs": date, "mjd": f"{mjd_of(date):.5f}",
        "telescope": "simulated", "instrument": instrument.title, "wave_unit": "Angstrom",
        "wave_medium": instrument.medium, "wave_frame": instrument.frame,
        "wave_min": f"{valid[0]:.3f}", "wave_max": f"{valid[-1]:.3f}", "n_pix": len(flux),
        "R": f"{instrument.resolving_power:.0f}", "snr": f"{snr:.1f}", "flux_unit": instrument.flux_unit,
        "good_frac": f"{len(valid) / len(flux):.4f}", "notes": "simulated, not observed",
        "aperture_arcsec": f"{instrument.aperture:.1f}",
        "creator_did": f"ivo://simulated.example/{instrument.name}?{spectrum_id}",
    } | _labels(population, star, instrument, random)  # fmt: skip


def _labels(
    population: Population, star: int, instrument: Instrument, random: np.random.Generator
) -> dict[str, object]:
    stars = population.stars
    velocity = float(population.rv[star] + random.normal(0, 2))
    labels: dict[str, object] = {"rv_kms": f"{velocity:.1f}", "label_source": "simulation with errors"}
    if instrument.frame == "heliocentric":
        labels["redshift"] = f"{velocity / atmosphere.LIGHT:.6g}"
    if random.random() < instrument.labelled:
        labels["teff"] = f"{stars.teff[star] * (1 + random.normal(0, 0.012)):.0f}"
        labels["logg"] = f"{stars.logg[star] + random.normal(0, 0.10):.2f}"
        labels["feh"] = f"{stars.feh[star] + random.normal(0, 0.07):.2f}"
    return labels


def star_name(ra: float, dec: float) -> str:
    """`SIM HHMMSS.s±DDMMSS`, cut and not rounded, as the IAU asks of names by position."""
    hours, degrees = int(ra / 15 * 36_000), int(abs(dec) * 3600)
    right = f"{hours // 36_000:02d}{hours // 600 % 60:02d}{hours // 10 % 60:02d}.{hours % 10}"
    declination = f"{degrees // 3600:02d}{degrees // 60 % 60:02d}{degrees % 60:02d}"
    return f"SIM {right}{'-' if dec < 0 else '+'}{declination}"


def spectral_class(stars: Stars, star: int) -> str:
    """Roughly, by temperature and gravity: `G2 V`, `K3 III`, `B8 Ve`."""
    teff, logg = float(stars.teff[star]), float(stars.logg[star])
    place = next(number for number in range(1, len(TYPES)) if teff >= TYPES[number][0])
    (hot, _), (cool, letter) = TYPES[place - 1], TYPES[place]
    subclass = int(9.99 * (hot - teff) / (hot - cool))
    luminosity = "I" if logg < 1 else "III" if logg < 3.3 else "IV" if logg < 3.9 else "V"
    return f"{letter}{subclass} {luminosity}{'e' if stars.emission[star] else ''}"


def _line_class(stars: Stars, star: int) -> str:
    if not stars.emission[star]:
        return "absorption"
    return "double-peak" if stars.vsini[star] > 160 else "emission"
