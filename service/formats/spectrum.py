"""One spectrum as a file: VOTable by the Spectrum data model, FITS table, CSV.

Columns are `wavelength` (vacuum Ångström), `flux`, `error` (only where the archive gives errors) and `mask`;
masked pixels are NaN and flagged, never interpolated over. SPLAT-VO finds its columns by these names.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from encoder.readers.stated import FRAMES
from encoder.spectrum import Facts, Spectrum

MODEL = "Spectrum-1.1"
VOTABLE, FITS, CSV = "application/x-votable+xml", "application/fits", "text/csv"

F_LAMBDA = "erg.s**-1.cm**-2.Angstrom**-1"
# Spellings that archives use and no unit parser understands, with the factor that goes into the data.
SPELLINGS = {
    "erg/s/cm2/angstroms": (F_LAMBDA, 1.0),
    "erg/s/cm^2/angstrom": (F_LAMBDA, 1.0),
    "ergcm-2s-1a-1": (F_LAMBDA, 1.0),
    "ergss-1cm-2a-1": (F_LAMBDA, 1.0),
    "1e-17ergcm-2s-1a-1": (F_LAMBDA, 1e-17),
    "1e-17ergcm-2s-1a-1spaxel-1": (F_LAMBDA, 1e-17),
    "jy": ("Jy", 1.0),
    "counts": ("ct", 1.0),
    "count": ("ct", 1.0),
    "adu": ("adu", 1.0),
}
FITS_UNITS = {F_LAMBDA: "erg s-1 cm-2 Angstrom-1", "ct": "count"}
SPECSYS = {frame: keyword for keyword, frame in FRAMES.items()}
# Values of TELESCOP that make specutils take a file for one of an archive's own layouts.
CLAIMED_TELESCOPES = {"SDSS 2.5-M", "HST", "JWST", "MULTI"}
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class FluxUnit:
    """`votable` in VOUnit spelling, "" where the scale is arbitrary; values are multiplied by `factor`."""

    votable: str
    fits: str
    factor: float
    ucd: str


@lru_cache(maxsize=256)
def flux_unit(text: str | None) -> FluxUnit:
    """What the archive calls the unit, as a VOUnit; "relative" and what nobody can read is without unit.

    FITS has `adu` in place of no unit: specutils and others know no flux column without one.
    """
    unit, factor = SPELLINGS.get(re.sub(r"\s", "", text or "").lower(), ("", 1.0))
    if not unit and text:
        unit, factor = _parsed_unit(text)
    ucd = {"Jy": "phot.flux.density;em.freq", "ct": "phot.count;em.wl", "adu": "phot.count;em.wl"}
    return FluxUnit(
        unit, FITS_UNITS.get(unit, unit) or "adu", factor, ucd.get(unit, "phot.flux.density;em.wl")
    )


def _parsed_unit(text: str) -> tuple[str, float]:
    """A flux density that astropy can read, with its power of ten moved into the factor; else no unit."""
    from astropy import units as u

    above, *below = text.split("/")
    try:
        unit = u.Unit(f"{above}/({' '.join(below)})" if below else text)
    except (ValueError, TypeError):
        return "", 1.0
    if not unit.is_equivalent(u.Jy, equivalencies=u.spectral_density(1 * u.um)):
        return "", 1.0
    powers = zip(unit.bases, unit.powers, strict=True)
    words = [base.name if power == 1 else f"{base.name}**{power}" for base, power in powers]
    return ".".join(words), float(unit.scale)


def pixels(spectrum: Spectrum) -> dict[str, NDArray[Any]]:
    """wavelength float64 (N,) Å, flux and, where there are errors, error float32, mask bool (True is bad)."""
    factor = flux_unit(spectrum.facts.flux_unit).factor
    flux = np.where(spectrum.mask, np.nan, spectrum.flux * factor).astype(np.float32)
    columns: dict[str, NDArray[Any]] = {"wavelength": spectrum.wave.astype(np.float64), "flux": flux}
    if spectrum.has_errors:
        good = (spectrum.ivar > 0) & ~spectrum.mask
        error = np.full(len(flux), np.nan)
        error[good] = factor / np.sqrt(spectrum.ivar[good])
        columns["error"] = error.astype(np.float32)
    columns["mask"] = spectrum.mask.astype(bool)
    return columns


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of metadata: PARAM of the VOTable and card of the FITS header (`key`)."""

    name: str
    key: str
    utype: str
    of: Callable[[Facts], object]
    ucd: str = ""
    unit: str = ""
    ref: str = ""
    xtype: str = ""


def _position(facts: Facts) -> object:
    return None if facts.ra is None or facts.dec is None else (facts.ra, facts.dec)


TIME = "Char.TimeAxis.Coverage."
RESOLUTION, CALIBRATION = "Char.SpectralAxis.ResPower", "Char.FluxAxis.Calibration"
METADATA = (
    Item("title", "TITLE", "DataID.Title", lambda f: title(f), "meta.title;meta.dataset"),
    Item("publisher_did", "DS_IDPUB", "Curation.PublisherDID", lambda f: f.publisher_did, "meta.ref.ivoid"),
    Item("collection", "COLLECT1", "DataID.Collection", lambda f: f.collection),
    Item("target_name", "OBJECT", "Target.Name", lambda f: f.object, "meta.id;src"),
    Item("target_class", "SRCCLASS", "Target.Class", lambda f: f.object_class, "src.class"),
    Item("spectral_type", "SPECTYPE", "Target.SpectralClass", lambda f: f.spectral_class, "src.spType"),
    Item("redshift", "REDSHIFT", "Target.Redshift", lambda f: f.labels.get("redshift"), "src.redshift"),
    Item("target_pos", "", "Target.Pos", _position, "pos.eq;src", "deg", "icrs", "point"),
    Item("ra", "RA", "", lambda f: f.ra, "pos.eq.ra", "deg", "icrs"),
    Item("dec", "DEC", "", lambda f: f.dec, "pos.eq.dec", "deg", "icrs"),
    Item("date_obs", "DATE-OBS", "", lambda f: f.date_obs, "time.start;obs", xtype="timestamp"),
    Item(
        "mjd", "MJD-OBS", "Char.TimeAxis.Coverage.Location.Value", lambda f: f.mjd, "time.epoch", "d", "utc"
    ),
    Item("exposure", "EXPTIME", TIME + "Bounds.Extent", lambda f: f.exposure, "time.duration", "s"),
    Item("telescope", "TELESCOP", "", lambda f: f.telescope, "instr.tel"),
    Item("instrument", "INSTRUME", "DataID.Instrument", lambda f: f.instrument, "meta.id;instr"),
    Item("snr", "DER_SNR", "Derived.SNR", lambda f: f.snr, "stat.snr"),
    Item("resolving_power", "SPEC_RP", RESOLUTION, lambda f: f.resolving_power, "spect.resolution"),
    Item("flux_calibration", "FLUX_CAL", CALIBRATION, lambda f: f.flux_calibration, "meta.code.qual"),
    Item("original_flux_unit", "ORIGUNIT", "", lambda f: f.flux_unit, "meta.unit"),
    Item("spectral_frame", "SPECSYS", "CoordSys.SpectralFrame.RefPos", lambda f: frame(f)),
)


def title(facts: Facts) -> str:
    """`HD 153808, indous (KPNO Coude Feed 0.9m)`."""
    name = facts.object or facts.spectrum_id
    return f"{name}, {facts.collection}" + (f" ({facts.telescope})" if facts.telescope else "")


def frame(facts: Facts) -> str | None:
    """SPECSYS of the FITS standard; None where the archive does not state the frame."""
    return SPECSYS.get(facts.wave_frame or "")


# --- VOTable ---


def write_votable(spectrum: Spectrum, *, publisher: str = "", serialization: str = "binary2") -> bytes:
    """A document of the Spectrum data model; `serialization` is tabledata or binary2 (VOTable 1.4)."""
    root = ET.Element(
        "VOTABLE",
        {
            "version": "1.4",
            "xmlns": "http://www.ivoa.net/xml/VOTable/v1.3",
            "xmlns:spec": "http://www.ivoa.net/xml/SpectrumModel/v1.01",
        },
    )
    resource = ET.SubElement(root, "RESOURCE", type="results", utype="spec:Spectrum")
    _info(resource, "QUERY_STATUS", "OK")
    _systems(resource, spectrum.facts)
    table = ET.SubElement(resource, "TABLE", name="spectrum", utype="spec:Spectrum")
    ET.SubElement(table, "DESCRIPTION").text = clean(title(spectrum.facts))
    columns = pixels(spectrum)
    _params(table, spectrum, publisher)
    _fields(table, columns, flux_unit(spectrum.facts.flux_unit))
    ET.SubElement(table, "DATA")
    head, _, tail = ET.tostring(root, encoding="UTF-8", xml_declaration=True).partition(b"<DATA />")
    body = _binary2(columns) if serialization == "binary2" else _tabledata(columns)
    return b"".join((head, b"<DATA>", body, b"</DATA>", tail, b"\n"))


def clean(text: object) -> str:
    """Text without the characters that XML 1.0 forbids."""
    return NOT_XML.sub("\ufffd", str(text))


def _info(parent: ET.Element, name: str, value: str) -> None:
    ET.SubElement(parent, "INFO", name=name, value=value)


def _systems(resource: ET.Element, facts: Facts) -> None:
    """What `ref="icrs"` and `ref="utc"` mean, where something refers to them."""
    if facts.ra is not None or facts.dec is not None:
        ET.SubElement(resource, "COOSYS", ID="icrs", system="ICRS")
    if facts.mjd is not None:
        clock = {"timescale": "UTC", "refposition": "UNKNOWN", "timeorigin": "MJD-origin"}
        ET.SubElement(resource, "TIMESYS", {"ID": "utc", **clock})


def _params(table: ET.Element, spectrum: Spectrum, publisher: str) -> None:
    _param(table, "data_model", MODEL, utype="Dataset.DataModel")
    _param(table, "length", len(spectrum.wave), utype="Dataset.Length")
    if publisher:
        _param(table, "publisher", publisher, utype="Curation.Publisher", ucd="meta.curation")
    for item in METADATA:
        value = item.of(spectrum.facts)
        if value is not None and value != "":
            _param(table, item.name, value, item.utype, item.ucd, item.unit, item.ref, item.xtype)
    if not spectrum.mask.all():
        axis = "Char.SpectralAxis.Coverage.Bounds."
        _param(table, "em_min", spectrum.em_min, axis + "Start", "em.wl;stat.min", "m")
        _param(table, "em_max", spectrum.em_max, axis + "Stop", "em.wl;stat.max", "m")


def _param(
    table: ET.Element,
    name: str,
    value: object,
    utype: str = "",
    ucd: str = "",
    unit: str = "",
    ref: str = "",
    xtype: str = "",
) -> None:
    words = {"name": name, **_typed(value), "ucd": ucd, "unit": unit, "ref": ref, "xtype": xtype}
    words["utype"] = f"spec:{utype}" if utype else ""
    ET.SubElement(table, "PARAM", {key: word for key, word in words.items() if word or key == "value"})


def _typed(value: object) -> dict[str, str]:
    if isinstance(value, tuple):
        return {"datatype": "double", "arraysize": str(len(value)), "value": " ".join(map(repr, value))}
    if isinstance(value, float):
        return {"datatype": "double", "value": repr(float(value))}
    if isinstance(value, int):
        return {"datatype": "int", "value": str(value)}
    return {"datatype": "char", "arraysize": "*", "value": clean(value)}


def _fields(table: ET.Element, columns: dict[str, NDArray[Any]], unit: FluxUnit) -> None:
    flux = {"unit": unit.votable} if unit.votable else {}
    scale = "" if unit.votable else ", in arbitrary units"
    fields = {
        "wavelength": ("double", "em.wl", "SpectralAxis.Value", {"unit": "Angstrom"}, "Wavelength in vacuum"),
        "flux": ("float", unit.ucd, "FluxAxis.Value", flux, f"Flux{scale}; NaN where masked"),
        "error": (
            "float",
            f"stat.error;{unit.ucd}",
            "FluxAxis.Accuracy.StatError",
            flux,
            f"Standard deviation of the flux{scale}",
        ),
        "mask": ("short", "meta.code.qual", "FluxAxis.Quality", {}, "1 where the flux is not valid, else 0"),
    }
    for name in columns:
        datatype, ucd, utype, more, description = fields[name]
        words = {"ID": name, "name": name, "datatype": datatype, "ucd": ucd, "utype": f"spec:Data.{utype}"}
        field = ET.SubElement(table, "FIELD", {**words, **more})
        ET.SubElement(field, "DESCRIPTION").text = description


def _tabledata(columns: dict[str, NDArray[Any]]) -> bytes:
    cells = [_cells(column) for column in columns.values()]
    rows = ("<TR><TD>" + "</TD><TD>".join(row) + "</TD></TR>" for row in zip(*cells, strict=True))
    return ("<TABLEDATA>\n" + "\n".join(rows) + "\n</TABLEDATA>").encode()


def _cells(column: NDArray[Any], missing: str = "NaN") -> Iterator[str]:
    if column.dtype == np.bool_:
        return iter(np.where(column, "1", "0").tolist())
    texts = column.astype(str)  # numpy's shortest text that reads back to the same float
    return iter(np.where(np.isnan(column), missing, texts).tolist())


def _binary2(columns: dict[str, NDArray[Any]]) -> bytes:
    """One null-flag byte (nothing is null: missing floats are NaN), then the fields, big-endian."""
    types = {"wavelength": ">f8", "flux": ">f4", "error": ">f4", "mask": ">i2"}
    rows = np.zeros(
        len(columns["wavelength"]), dtype=[("null", "u1"), *((name, types[name]) for name in columns)]
    )
    for name, column in columns.items():
        rows[name] = column
    return (
        b'<BINARY2><STREAM encoding="base64">' + base64.encodebytes(rows.tobytes()) + b"</STREAM></BINARY2>"
    )


# --- FITS and CSV ---


def write_fits(spectrum: Spectrum, *, publisher: str = "") -> bytes:
    """Binary table, one row per pixel, metadata in the primary header: read by specutils (`tabular-fits`),
    SPLAT-VO and `Table.read`."""
    from astropy.io import fits

    unit = flux_unit(spectrum.facts.flux_unit)
    columns = pixels(spectrum)
    units = {"wavelength": "Angstrom", "flux": unit.fits, "error": unit.fits}
    codes = {"wavelength": "D", "flux": "E", "error": "E", "mask": "L"}
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column(name=name, format=codes[name], unit=units.get(name), array=array)
            for name, array in columns.items()
        ],
        name="SPECTRUM",
    )
    _describe_columns(table.header, list(columns), unit)
    primary = fits.PrimaryHDU()
    _describe(primary.header, spectrum, publisher)
    buffer = io.BytesIO()
    fits.HDUList([primary, table]).writeto(buffer)
    return buffer.getvalue()


def _describe_columns(header: Any, names: list[str], unit: FluxUnit) -> None:
    utypes = {
        "wavelength": ("spec:Data.SpectralAxis.Value", "em.wl"),
        "flux": ("spec:Data.FluxAxis.Value", unit.ucd),
        "error": ("spec:Data.FluxAxis.Accuracy.StatError", f"stat.error;{unit.ucd}"),
        "mask": ("spec:Data.FluxAxis.Quality", "meta.code.qual"),
    }
    for number, name in enumerate(names, 1):
        header[f"TUTYP{number}"], header[f"TUCD{number}"] = utypes[name]
    header["VOCLASS"] = (MODEL.replace("-", " "), "data model and version")
    if not unit.votable:
        header.add_comment("The scale of the flux is arbitrary; adu stands for that.")


def _describe(header: Any, spectrum: Spectrum, publisher: str) -> None:
    header["VOCLASS"] = (MODEL.replace("-", " "), "data model and version")
    if publisher:
        header["VOPUB"] = (_ascii(publisher), "publisher")
    for item in METADATA:
        value = item.of(spectrum.facts)
        claimed = item.key == "TELESCOP" and value in CLAIMED_TELESCOPES
        if item.key and value is not None and value != "" and not claimed:
            header[item.key] = _card(value, item.name)
    header["RADESYS"] = ("ICRS", "frame of RA and DEC")


def _card(value: Any, comment: str) -> Any:
    """The value with its comment where an 80-character card has room for both."""
    if not isinstance(value, str):
        return value, comment
    text = _ascii(value)
    return text if len(text) + len(comment) > 60 else (text, comment)


def _ascii(text: str) -> str:
    """What a FITS card can hold: printable ASCII."""
    return re.sub(r"[^ -~]", "?", text)


def write_csv(spectrum: Spectrum) -> bytes:
    """A header line and one line per pixel; an empty cell where there is no valid value."""
    columns = pixels(spectrum)
    cells = [_cells(column, missing="") for column in columns.values()]
    lines = [",".join(columns), *(",".join(row) for row in zip(*cells, strict=True))]
    return ("\n".join(lines) + "\n").encode()
