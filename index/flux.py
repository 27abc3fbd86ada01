"""Prepared spectra as rows of `doppel.flux_<model>`, made a few at a time, and their wavelengths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from encoder.prepare import Grid, Prepared
from encoder.recipe import Recipe
from index.catalogue import arrow_schema
from registry_metadata.columns import Table

BATCH_ROWS = 256  # spectra in memory at once
METRE = 1e-10  # of an Ångström


def flux_batches(
    table: Table, spectra: Iterable[tuple[int, Prepared]], dids: pa.ChunkedArray
) -> Iterator[pa.RecordBatch]:
    """doppel.flux_<model> from spectra with their row numbers, in the order in which they come.

    `dids` are of all rows.
    """
    schema, coming = arrow_schema(table), iter(spectra)
    while batch := list(islice(coming, BATCH_ROWS)):
        rows = np.array([row for row, _ in batch], np.int64)
        columns = {
            "row_number": pa.array(rows),
            "ssa_pubdid": dids.take(pa.array(rows)).combine_chunks(),
            **_on_grid([one for _, one in batch]),
        }
        yield pa.record_batch([columns[name] for name in schema.names], schema=schema)


def _on_grid(spectra: Sequence[Prepared]) -> dict[str, pa.Array]:
    masked = np.array([one.mask for one in spectra])  # (n, P)
    ivar = np.array([one.ivar for one in spectra])
    return {
        "coverage": pa.array([one.coverage for one in spectra], pa.float64()),
        "flux_scale": pa.array([one.scale for one in spectra], pa.float64()),
        "flux": _arrays(np.array([one.flux for one in spectra]), masked),
        "ivar": _arrays(ivar, masked, missing=np.asarray(~ivar.any(axis=1))),
    }


def _arrays(
    values: NDArray[np.float32], masked: NDArray[np.bool_], missing: NDArray[np.bool_] | None = None
) -> pa.Array:
    """(n, P) as n arrays; elements are NULL where `masked` (n, P), whole arrays where `missing` (n,)."""
    flat = pa.array(values.reshape(-1), pa.float32(), mask=masked.reshape(-1))
    absent = None if missing is None else pa.array(missing)
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=absent)


def grids_rows(table: Table, recipes: Sequence[Recipe]) -> pa.Table:
    """doppel.grids: one row per model."""
    return pa.Table.from_pylist([_grid(recipe) for recipe in recipes], schema=arrow_schema(table))


def _grid(recipe: Recipe) -> dict[str, object]:
    grid = Grid(recipe.grid)
    return {
        "model": recipe.name,
        "pixels": recipe.grid.pixels,
        "wave_start": recipe.grid.start * METRE,
        "wave_stop": recipe.grid.stop * METRE,
        "velocity_step": grid.step_kms,
        "wavelength": (grid.wave * METRE).tolist(),
    }
