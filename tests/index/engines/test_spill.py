"""Directories of spilled data are gone when their process is, however it ended."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from index.engines.spill import Spill

USE = """
import sys
from index.engines.spill import Spill
kept = Spill()
print(kept.path, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    mine = Spill()
    with subprocess.Popen(
        [sys.executable, "-c", USE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().decode().strip())
        (left / "spilled.tmp").write_bytes(b"much")
        between = Spill()
        assert left.is_dir()  # it is in use
        other.kill()
    assert left.is_dir()
    after = Spill()
    assert not left.exists()
    for one in (mine, between, after):
        assert one.path.is_dir()
        one.remove()
    assert not list(tmp_path.iterdir())
