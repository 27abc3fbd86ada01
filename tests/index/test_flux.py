"""Prepared spectra in the release: the arrays that the model saw, gaps as NULL; their wavelengths once."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from encoder.prepare import Grid, prepare
from encoder.recipe import GridSpec
from index.content import TrainedModel
from index.flux import BATCH_ROWS, flux_rows, grids_rows
from index.release import OpenRelease
from index.releases import Releases
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


def test_spectra_pass_by_in_batches_and_are_counted_and_hashed_on_their_way() -> None:
    table, n = flux_table("optical", 8), BATCH_ROWS + 10
    dids = pa.chunked_array([[f"ivo://x/y?{row}" for row in range(n)]])
    backwards = range(n - 1, -1, -1)
    rows = flux_rows(table, iter(synthetic.prepared(backwards, 8)), dids, first=100)
    batches = list(rows.reader())
    assert [batch.num_rows for batch in batches] == [BATCH_ROWS, 10]
    assert rows.num_rows == n
    told = pa.Table.from_batches(batches).to_pylist()
    assert [one["row_number"] for one in told] == [100 + place for place in backwards]
    assert all(one["ssa_pubdid"] == f"ivo://x/y?{one['row_number'] - 100}" for one in told)
    assert told[-1]["flux"][:2] == [None, None]  # of place 0
    assert told[-1]["ivar"] is None
    assert told[-2]["ivar"] == [100.0] * 8
    again = flux_rows(table, synthetic.prepared(backwards, 8), dids, first=100)
    again.reader().read_all()
    assert again.content_hash == rows.content_hash


def test_the_release_is_another_with_flux_and_the_same_when_made_again(tmp_path: Path) -> None:
    releases = Releases(tmp_path / "releases")
    without = releases.write(replace(synthetic.content(tmp_path / "a", 30), flux=()))
    with_flux = releases.write(synthetic.content(tmp_path / "b", 30))
    assert with_flux != without
    assert releases.write(synthetic.content(tmp_path / "c", 30)) == with_flux
    assert not releases.verify(with_flux)


def renamed(one: Seen) -> Seen:
    return replace(one, facts=replace(one.facts, publisher_did=f"{one.facts.publisher_did}-more"))


def test_flux_is_appended_and_leaves_with_its_spectrum(tmp_path: Path) -> None:
    releases = Releases(tmp_path / "releases")
    first, more = synthetic.content(tmp_path / "a", 30), synthetic.content(tmp_path / "b", 10)
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
