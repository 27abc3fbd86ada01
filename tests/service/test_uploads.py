"""Uploads are read a few at a time: each unpacks to several times its size."""

from __future__ import annotations

import contextlib

import pytest

from service import uploads
from service.errors import BusyFault
from service.limits import Limits


def test_more_uploads_than_are_read_at_a_time_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE", 0.05)
    refs = uploads.upload_refs(["mine,param:mine"], Limits())
    with contextlib.ExitStack() as others:
        for _ in range(uploads.READERS):
            others.enter_context(uploads.turn())
        with pytest.raises(BusyFault, match="try again later"):
            uploads.read_uploads(refs, lambda _: b"a\n1\n", Limits())
    assert uploads.read_uploads(refs, lambda _: b"a\n1\n", Limits())["mine"].table.num_rows == 1
