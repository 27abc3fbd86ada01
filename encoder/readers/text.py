"""Spectra kept as text: columns of numbers between white space or commas."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from encoder.readers.axis import Raw
from encoder.readers.hdus import integer
from encoder.spectrum import RefusedSpectrum


def ascii_columns(path: Path, argument: str) -> Raw:
    """Columns `wavelength,flux[,error]` numbered from 0, `;skip=n` lines of header; `#` starts a comment."""
    columns, _, option = argument.partition(";")
    wanted = [integer(text, "column") for text in columns.split(",")]
    if len(wanted) not in (2, 3):
        raise RefusedSpectrum(f"the layout names {len(wanted)} columns; it must be two or three")
    if option and not option.startswith("skip="):
        raise RefusedSpectrum(f"unknown option {option!r} of ascii_columns; allowed: skip=n")
    skip = integer(option.removeprefix("skip="), "skip") if option else 0
    values = _numbers(path, skip)
    if max(wanted) >= values.shape[1]:
        raise RefusedSpectrum(f"column {max(wanted)} is missing: the file has {values.shape[1]} columns")
    error = values[:, wanted[2]] if len(wanted) == 3 else None
    return Raw(values[:, wanted[0]], values[:, wanted[1]], error=error)


def _numbers(path: Path, skip: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[skip:]
    kept = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not kept:
        raise RefusedSpectrum("the file has no line of numbers")
    separator = "," if "," in kept[0] else None
    try:
        return np.loadtxt(kept, delimiter=separator, ndmin=2, dtype=np.float64)
    except ValueError as error:
        raise RefusedSpectrum(f"not a table of numbers: {error}") from error
