# ruff: noqa: E501 (queries stay on one line)
"""What astronomers do with published flux: mean spectra, line indices, chi², on both engines, beside numpy (A49)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from index.release import OpenRelease
from registry_metadata.columns import Column
from service.query.context import Upload
from tests.service.query.asking import ask

Floats = NDArray[np.float64]
DWARFS = "FROM doppel.flux_optical AS f JOIN doppel.spectra AS s ON s.ssa_pubdid = f.ssa_pubdid WHERE s.spectral_class LIKE 'G%'"
LINE = 4851.9e-10  # metres: at 0.4 of the grid in ln λ is the line of tests/synthetic.py
PIXEL = "1 + CAST(FLOOR(LOG({w} / wave_start) / LOG(wave_stop / wave_start) * pixels) AS INTEGER)"


def flux(archive: OpenRelease) -> tuple[list[str], Floats, Floats]:
    """Identifiers, flux and inverse variance (n, 512), NaN where they are NULL."""
    found = ask(archive, "SELECT ssa_pubdid, flux, ivar FROM doppel.flux_optical ORDER BY ssa_pubdid")
    arrays = np.array(found.column("flux"), float)
    ivar = [np.full(512, np.nan) if one is None else np.array(one, float) for one in found.column("ivar")]
    return found.column("ssa_pubdid"), arrays, np.array(ivar)


def chosen(archive: OpenRelease, condition: str) -> NDArray[np.bool_]:
    names, _, _ = flux(archive)
    found = set(ask(archive, f"SELECT ssa_pubdid FROM doppel.spectra WHERE {condition}").column("ssa_pubdid"))
    return np.array([name in found for name in names])


def test_a49_a_mean_spectrum_has_every_pixel_that_any_spectrum_has(archive: OpenRelease) -> None:
    _, arrays, _ = flux(archive)
    arrays = arrays[chosen(archive, "spectral_class LIKE 'G%'")]
    found = ask(archive, f"SELECT AVG(flux), COUNT(flux), MIN(flux), MAX(flux), SUM(flux), COUNT(*) {DWARFS}")
    mean, count, low, high, total, n = found.rows[0]
    np.testing.assert_allclose(mean, np.nanmean(arrays, 0), rtol=1e-12)
    np.testing.assert_array_equal(count, np.isfinite(arrays).sum(0))
    np.testing.assert_array_equal(low, np.nanmin(arrays, 0))
    np.testing.assert_array_equal(high, np.nanmax(arrays, 0))
    np.testing.assert_allclose(total, np.nansum(arrays, 0), rtol=1e-12)
    assert (n, max(count), min(count)) == (len(arrays), len(arrays), np.isfinite(arrays[:, 0]).sum())
    assert np.argmin(mean) == pytest.approx(0.4 * 512, abs=3)


def test_a49_mean_spectra_of_classes_at_once(archive: OpenRelease) -> None:
    _, arrays, _ = flux(archive)
    query = "SELECT s.spectral_class AS c, AVG(f.flux) AS m FROM doppel.flux_optical AS f JOIN doppel.spectra AS s ON s.ssa_pubdid = f.ssa_pubdid GROUP BY s.spectral_class ORDER BY c"
    found = ask(archive, query).rows
    assert [kind for kind, _ in found] == ["G2 V", "K0 III"]
    for kind, mean in found:
        wanted = np.nanmean(arrays[chosen(archive, f"spectral_class = '{kind}'")], 0)
        np.testing.assert_allclose(mean, wanted, rtol=1e-12)


def test_a49_the_pixel_of_a_wavelength_comes_from_the_grid(archive: OpenRelease) -> None:
    pixel = PIXEL.format(w=LINE)
    found = ask(
        archive,
        f"SELECT {pixel} AS i, wavelength[{pixel}] AS w, velocity_step FROM doppel.grids WHERE model = 'optical'",
    )
    ((place, wavelength, step),) = found.rows
    assert abs(np.log(wavelength / LINE)) * 299792.458 <= step / 2
    assert place == 205
    assert [column.unit for column in found.columns] == [None, "m", "km/s"]


def test_a49_a_line_index_from_slices(archive: OpenRelease) -> None:
    """Depth of the line: mean flux within it over the mean of both sides; gaps are left out."""
    names, arrays, _ = flux(archive)
    pixel = PIXEL.format(w=LINE)
    inside, outside = f"flux[{pixel} - 5:{pixel} + 5]", ["flux[100:150]", "flux[260:310]"]
    index = f"2 * arr_avg({inside}) / (arr_avg({outside[0]}) + arr_avg({outside[1]}))"
    query = f"SELECT ssa_pubdid, {index} AS d FROM doppel.flux_optical, doppel.grids ORDER BY ssa_pubdid"
    found = ask(archive, query)
    sides = np.nanmean(arrays[:, 99:150], 1) + np.nanmean(arrays[:, 259:310], 1)
    np.testing.assert_allclose(found.column("d"), 2 * np.nanmean(arrays[:, 199:210], 1) / sides, rtol=1e-12)
    assert found.column("ssa_pubdid") == names
    assert 0.4 < np.mean(found.column("d")) < 0.7


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("arr_sum(flux)", lambda f, v: np.nansum(f, 1)),
        ("arr_count(flux)", lambda f, v: np.isfinite(f).sum(1)),
        ("arr_dot(flux, flux)", lambda f, v: (f * f).sum(1)),
        ("arr_sum(flux + flux)", lambda f, v: 2 * f.sum(1)),
        ("arr_sum(arr_map(POWER(x - 1, 2), flux))", lambda f, v: np.nansum((f - 1) ** 2, 1)),
        ("arr_dot(ivar * flux, flux)", lambda f, v: (v * f * f).sum(1)),
        ("arr_stddev(flux[200:400])", lambda f, v: np.nanstd(f[:, 199:400], axis=1, ddof=1)),
        ("flux[1]", lambda f, v: f[:, 0]),
    ],
)
def test_a49_gaps_are_left_out_or_told_and_never_zero(
    archive: OpenRelease, expression: str, wanted: object
) -> None:
    """Functions over elements leave gaps out, as numpy's nansum does; arithmetic with a gap is NaN."""
    _, arrays, ivar = flux(archive)
    found = ask(archive, f"SELECT {expression} AS r FROM doppel.flux_optical ORDER BY ssa_pubdid")
    np.testing.assert_allclose(np.array(found.column("r"), float), wanted(arrays, ivar), rtol=1e-12)  # type: ignore[operator]


def test_a49_chi2_to_a_constant_spectrum_where_nothing_is_missing(archive: OpenRelease) -> None:
    """The template is an upload; chi² counts errors, and only whole spectra with errors have one."""
    names, arrays, ivar = flux(archive)
    template = 1 + 0.01 * np.arange(512)
    columns, kind = (Column("v", "double", "512"),), pa.list_(pa.float64())
    upload = Upload(columns, pa.table({"v": pa.array([template.tolist()], kind)}))
    query = "SELECT TOP 5 f.ssa_pubdid, arr_dot(f.ivar * (f.flux - t.v), f.flux - t.v) AS chi2 FROM doppel.flux_optical AS f, TAP_UPLOAD.mine AS t WHERE f.coverage = 1 AND f.ivar IS NOT NULL ORDER BY chi2"
    found = ask(archive, query, uploads={"mine": upload})
    chi2 = (ivar * (arrays - template) ** 2).sum(1)
    order = np.argsort(np.where(np.isnan(chi2), np.inf, chi2))[:5]
    assert found.column("ssa_pubdid") == [names[place] for place in order]
    np.testing.assert_allclose(found.column("chi2"), chi2[order], rtol=1e-12)


def test_the_model_of_flux_is_that_of_its_likeness(archive: OpenRelease) -> None:
    """The flux of the nearest spectra, in one query; the rows of doppel.flux_optical are those of the model."""
    did = flux(archive)[0][0]
    query = f"SELECT TOP 3 ssa_pubdid, latent_distance(ssa_pubdid, '{did}') AS d, flux FROM doppel.flux_optical ORDER BY d"
    found = ask(archive, query)
    plain = ask(archive, query.replace(", flux", "").replace("flux_optical", "optical"))
    assert found.column("ssa_pubdid") == plain.column("ssa_pubdid")
    assert found.infos["model"].startswith("optical")


def test_a49_flux_is_told_as_tap_schema_has_it(archive: OpenRelease) -> None:
    query = "SELECT TOP 1 f.*, g.wavelength FROM doppel.flux_optical AS f, doppel.grids AS g"
    told = {
        row[0]: row[1:]
        for row in ask(
            archive,
            "SELECT column_name, datatype, arraysize, unit, ucd, utype FROM tap_schema.columns WHERE table_name IN ('doppel.flux_optical', 'doppel.grids')",
        ).rows
    }
    for column in ask(archive, query).columns:
        assert told[column.name] == (column.datatype, column.arraysize, column.unit, column.ucd, column.utype)
    keys = ask(
        archive,
        "SELECT from_table, target_table, from_column FROM tap_schema.keys AS k JOIN tap_schema.key_columns AS c ON c.key_id = k.key_id",
    ).rows
    assert ("doppel.flux_optical", "doppel.spectra", "ssa_pubdid") in keys
    assert ("doppel.grids", "doppel.models", "model") in keys
