"""One spectrum in vacuum Ångström, with what its archive knows about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]


class RefusedSpectrum(Exception):
    """This file or row cannot be used; the message is the reason, told to people."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the archive states about one spectrum; None means unknown, nothing is invented."""

    spectrum_id: str
    collection: str
    publisher_did: str
    path: str  # of the original file, relative to the collection's directory
    locator: str = ""  # row or extension inside that file
    layout: str = ""
    media_type: str = "application/fits"
    size: int | None = None  # bytes of the original file
    object: str | None = None
    object_key: str | None = None  # equal key: same object, also across collections
    object_class: str | None = None
    spectral_class: str | None = None
    line_class: str | None = None
    ra: float | None = None  # ICRS degrees
    dec: float | None = None
    date_obs: str | None = None  # ISO 8601, UTC
    mjd: float | None = None
    exposure: float | None = None  # seconds
    telescope: str | None = None
    instrument: str | None = None
    wave_unit: str | None = None  # of the file; None: the reader takes it from the file, or refuses
    wave_medium: str | None = None  # of the file: air, vacuum
    wave_frame: str | None = None  # rest, heliocentric, barycentric, observed
    resolving_power: float | None = None
    fwhm: float | None = None  # Ångström
    snr: float | None = None
    aperture: float | None = None  # diameter on the sky, arcsec
    spatial_resolution: float | None = None  # arcsec
    variability: float | None = None  # amplitude of the object's flux, 0 to 1 of its mean
    creator_did: str | None = None
    flux_unit: str | None = None
    flux_calibration: str | None = None  # ABSOLUTE, RELATIVE, NORMALIZED, UNCALIBRATED
    label_source: str | None = None
    notes: str | None = None
    labels: Mapping[str, float] = field(
        default_factory=dict
    )  # teff (K), logg, feh (dex), rv (km/s), redshift


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Arrays of one length (N,); `wave` ascends strictly; bad pixels are True in `mask` and have ivar 0."""

    wave: Float64  # vacuum Ångström
    flux: Float64  # in facts.flux_unit
    ivar: Float64  # inverse variance; 0 where masked; all 0 where the archive gives no errors
    mask: Bool
    facts: Facts

    @property
    def has_errors(self) -> bool:
        return bool(np.any(self.ivar > 0))

    @property
    def em_min(self) -> float:
        """Shortest wavelength with valid flux, metres in vacuum."""
        return float(self.wave[~self.mask][0]) * 1e-10

    @property
    def em_max(self) -> float:
        """Longest wavelength with valid flux, metres in vacuum."""
        return float(self.wave[~self.mask][-1]) * 1e-10
