"""Prepared spectra in the release: the arrays that the model saw, gaps as NULL; their wavelengths once."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from encoder.prepare import Grid, Prepared, prepare
from encoder.recipe import GridSpec
from index.content import TrainedModel
from index.flux import BATCH_ROWS, FluxRows, grids_rows
from index.release import OpenRelease, Releases
from index.rows import Seen, nothing
from registry_metadata.tables import flux_table, grids_table
from tests import synthetic

LIGHT = 299_792.458


def arrays(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """(n, P), NaN where an element is NULL."""
    return np.array(column.to_pylist(), np.float64)


def test_every_spectrum_of_the_model_has_its_flux(release: OpenRelease) -> None:
    told = release.engine.table("SELECT ssa_pubdid FROM release.doppel.optical ORDER BY row_number")
    flux = release.engine.table(
        "SELECT ssa_pubdid, row_number FROM release.doppel.flux_optical ORDER BY row_number"
    )
    assert flux["ssa_pubdid"].to_pylist() == told["ssa_pubdid"].to_pylist()
    assert release.rows_of(flux["ssa_pubdid"].to_pylist()) == flux["row_number"].to_pylist()
    assert "doppel.flux_halpha" not in release.tables
    assert release.manifest.rows["doppel.flux_optical"] == len(flux) > BATCH_ROWS / 2


def test_flux_is_what_prepare_makes_of_the_file(release: OpenRelease) -> None:
    grid = Grid(release.models["optical"].recipe.grid)
    found = release.engine.table("SELECT * FROM release.doppel.flux_optical ORDER BY coverage LIMIT 3")
    for row in range(3):
        wanted = prepare(release.spectrum(found["row_number"][row].as_py()), grid)
        flux, ivar = (arrays(found[name].slice(row, 1))[0] for name in ("flux", "ivar"))
        np.testing.assert_array_equal(np.isnan(flux), wanted.mask)
        np.testing.assert_array_equal(flux[~wanted.mask], wanted.flux[~wanted.mask])
        np.testing.assert_array_equal(ivar[~wanted.mask], wanted.ivar[~wanted.mask])
        assert found["coverage"][row].as_py() == pytest.approx(1 - wanted.mask.mean())
        assert found["flux_scale"][row].as_py() == wanted.scale


def test_wavelengths_stand_once_per_grid_in_metres(release: OpenRelease) -> None:
    (row,) = release.engine.table("SELECT * FROM release.doppel.grids").to_pylist()
    wave = np.array(row["wavelength"])
    np.testing.assert_allclose(wave, Grid(GridSpec(3800.0, 7000.0, 1024)).wave * 1e-10, rtol=1e-15)
    assert (row["model"], row["pixels"]) == ("optical", 1024)
    assert row["wave_start"] < wave[0] < wave[-1] < row["wave_stop"]
    np.testing.assert_allclose(np.diff(np.log(wave)) * LIGHT, row["velocity_step"], rtol=1e-9)


def spectra(n: int, pixels: int = 8) -> list[tuple[int, Prepared]]:
    """`n` spectra at places counted backwards; every third has no errors, every second a gap."""
    draw = np.random.default_rng(3)
    found = []
    for place in range(n):
        flux, mask = draw.normal(1, 0.1, pixels).astype(np.float32), np.zeros(pixels, bool)
        mask[:2] = place % 2 == 0
        flux[mask] = 0
        ivar = np.where(mask | (place % 3 == 0), 0, 4).astype(np.float32)
        found.append((n - 1 - place, Prepared(flux, ivar, mask, float((~mask).mean()), 2.0)))
    return found


def test_spectra_pass_by_in_batches_and_are_counted_and_hashed_on_their_way() -> None:
    table, n = flux_table("optical", 8), BATCH_ROWS + 10
    dids = pa.chunked_array([[f"ivo://x/y?{row}" for row in range(n)]])
    rows = FluxRows(table, iter(spectra(n)), dids, first=100)
    batches = list(rows.reader())
    assert [batch.num_rows for batch in batches] == [BATCH_ROWS, 10]
    assert rows.num_rows == n
    told = pa.Table.from_batches(batches).to_pylist()
    assert [one["row_number"] for one in told] == [100 + n - 1 - place for place in range(n)]
    assert all(one["ssa_pubdid"] == f"ivo://x/y?{one['row_number'] - 100}" for one in told)
    assert told[0]["flux"][:2] == [None, None]
    assert told[0]["ivar"] is None
    assert told[1]["ivar"] == [4.0] * 8
    again = FluxRows(table, spectra(n), dids, first=100)
    again.reader().read_all()
    assert again.content_hash == rows.content_hash


def content(directory: Path, n: int = 30) -> Any:
    """A release's content whose model `optical` publishes the flux of the spectra that it embeds."""
    found = synthetic.content(directory, n)
    optical, halpha = found.models
    of, prepared = optical.embeddings.of.tolist(), spectra(n, optical.recipe.grid.pixels)
    on_grid = [(place, one) for place, (_, one) in zip(of, prepared[: len(of)], strict=True)]
    return replace(found, models=[replace(optical, prepared=on_grid), halpha], flux=["optical"])


def test_the_release_is_another_with_flux_and_the_same_when_made_again(tmp_path: Path) -> None:
    releases = Releases(tmp_path / "releases")
    without = releases.write(replace(content(tmp_path / "a"), flux=()))
    with_flux = releases.write(content(tmp_path / "b"))
    assert with_flux != without
    assert releases.write(content(tmp_path / "c")) == with_flux
    assert not releases.verify(with_flux)


def renamed(one: Seen) -> Seen:
    return replace(one, facts=replace(one.facts, publisher_did=f"{one.facts.publisher_did}-more"))


def test_flux_is_appended_and_leaves_with_its_spectrum(tmp_path: Path) -> None:
    releases = Releases(tmp_path / "releases")
    first, more = content(tmp_path / "a"), content(tmp_path / "b", 10)
    more = replace(more, seen=[renamed(one) for one in more.seen])
    before = releases.write(first)
    with closing(OpenRelease.open(releases.path(releases.change(before, more)))) as appended:
        flux = "SELECT m.row_number, f.ssa_pubdid, f.flux FROM release.doppel.optical AS m"
        flux += " JOIN release.doppel.flux_optical AS f ON f.ssa_pubdid = m.ssa_pubdid ORDER BY 1"
        found = appended.engine.table(flux)
        assert len(found) == appended.manifest.rows["doppel.flux_optical"] == 24 + 8
        gone = found["row_number"].to_pylist()[::3]
        added = {name for name in found["ssa_pubdid"].to_pylist() if name.endswith("-more")}
        assert len(added) == 8
        nothing_more = replace(more, seen=more.seen[:0], models=[_of_nothing(one) for one in more.models])
        after = releases.change(appended.id, nothing_more, gone)
    with closing(OpenRelease.open(releases.path(after))) as changed:
        left = changed.engine.table(flux)["row_number"].to_pylist()
        assert left == [row for row in found["row_number"].to_pylist() if row not in gone]
        assert not releases.verify(after)


def _of_nothing(model: TrainedModel) -> TrainedModel:
    return replace(model, embeddings=nothing(model.recipe, {}), prepared=())


def test_grids_tell_only_of_models_whose_flux_is_published() -> None:
    optical, halpha = synthetic.recipe("optical"), synthetic.recipe("halpha")
    assert grids_rows(grids_table(), [optical])["model"].to_pylist() == ["optical"]
    assert grids_rows(grids_table(), [optical, halpha])["pixels"].to_pylist() == [512, 512]
