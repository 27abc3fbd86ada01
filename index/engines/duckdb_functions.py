"""The functions that our SQL calls, in a small DuckDB file: to copy one is quicker than to create them."""

from __future__ import annotations

import hashlib
import shutil
from functools import cache
from importlib.resources import files
from pathlib import Path

import duckdb


@cache
def _script() -> str:
    return files("index.engines").joinpath("duckdb_functions.sql").read_text("utf-8")


def _file() -> str:
    """Says which functions are in it: those of another version of this program are not taken."""
    return f"functions-{hashlib.sha256(_script().encode()).hexdigest()[:12]}.duckdb"


def write_functions(directory: Path) -> None:
    """The file in the directory of a release, where it is not there already."""
    if not (path := directory / _file()).exists():
        with duckdb.connect(str(path)) as database:
            database.execute(_script())


def copy_functions(directory: Path, target: Path) -> None:
    """A database of one's own with the functions; made anew where the release has none of this version."""
    if (path := directory / _file()).exists():
        shutil.copyfile(path, target)
    else:
        with duckdb.connect(str(target)) as database:
            database.execute(_script())
