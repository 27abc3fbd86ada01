"""An open release: rows agree between its files, identifiers lead to them; what has no vector says why."""

from __future__ import annotations

import numpy as np

from index.release import OpenRelease


def test_rows_agree_between_tables_vectors_and_identifiers(synthetic_release: OpenRelease) -> None:
    table = synthetic_release.engine.table(
        "SELECT m.row_number, m.ssa_pubdid, m.embedding FROM release.doppel.optical AS m "
        "JOIN release.doppel.spectra AS s ON s.row_number = m.row_number AND s.ssa_pubdid = m.ssa_pubdid "
        "JOIN release.ivoa.obscore AS o ON o.row_number = m.row_number AND o.obs_publisher_did = m.ssa_pubdid"
    )
    assert table.num_rows == len(synthetic_release.models["optical"].vectors)
    for row, did, vector in zip(*(column.to_pylist() for column in table.columns), strict=True):
        assert synthetic_release.row_of(did) == row
        assert synthetic_release.did_of(row) == did
        found = synthetic_release.models["optical"].vectors.vector(row)
        assert found is not None
        np.testing.assert_array_equal(found, np.array(vector, np.float32))


def test_plus_sign_that_became_a_space_is_found(synthetic_release: OpenRelease) -> None:
    did = next(did for did in map(synthetic_release.did_of, range(len(synthetic_release))) if "+" in did)
    assert synthetic_release.row_of(did.replace("+", " ")) == synthetic_release.row_of(did)
    assert synthetic_release.row_of("ivo://nobody/nothing?1") is None


def test_spectrum_outside_the_grid_says_why(synthetic_release: OpenRelease) -> None:
    rows = [
        row
        for row in range(len(synthetic_release))
        if synthetic_release.models["optical"].vectors.vector(row) is None
    ]
    assert rows
    for row in rows:
        assert synthetic_release.no_embedding(row, "optical") == "covers 31 % of 3800–7000 Å, needs 50 %"


def test_rows_are_in_zones_of_the_sky(synthetic_release: OpenRelease) -> None:
    table = synthetic_release.engine.table("SELECT dec FROM release.doppel.spectra ORDER BY row_number")
    zones = [np.floor(2 * dec) if dec is not None else np.inf for dec in table.column(0).to_pylist()]
    assert zones == sorted(zones)
