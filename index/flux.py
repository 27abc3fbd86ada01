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
from index.stream import Stream
from registry_metadata.columns import Table

BATCH_ROWS = 256  # spectra in memory at once
METRE = 1e-10  # of an Ångström


def flux_rows(
    table: Table, spectra: Iterable[tuple[int, Prepared]], dids: pa.ChunkedArray, first: int = 0
) -> Stream:
    """doppel.flux_<model>, of spectra that pass by once, in the order in which they come.

    `spectra` are places in the list of all, whose identifiers are `dids`, and what lies there; row numbers
    are places from `first` on.
    """
    schema = arrow_schema(table)
    return Stream(schema, _batches(schema, spectra, dids, first))


def _batches(
    schema: pa.Schema, spectra: Iterable[tuple[int, Prepared]], dids: pa.ChunkedArray, first: int
) -> Iterator[pa.RecordBatch]:
    coming = iter(spectra)
    while batch := list(islice(coming, BATCH_ROWS)):
        places = np.array([place for place, _ in batch], np.int64)
        columns = {
            "row_number": pa.array(places + first),
            "ssa_pubdid": dids.take(pa.array(places)).combine_chunks(),
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
