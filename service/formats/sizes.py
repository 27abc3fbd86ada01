"""How much an upload may hold; asked before anything is unpacked."""

from __future__ import annotations

from service.errors import TooLargeFault
from service.limits import Limits

UNPACKED = 5  # times the bytes of an upload is what it may unpack to


def check_size(name: str, columns: int, rows: int, limits: Limits) -> None:
    for count, most, what in (
        (columns, limits.upload_columns, "columns"),
        (rows, limits.upload_rows, "rows"),
    ):
        if count > most:
            raise TooLargeFault(f"The upload {name} has {count} {what}: at most {most} are allowed")


def check_unpacked(size: int, limits: Limits) -> None:
    most = UNPACKED * limits.upload_bytes
    if size > most:
        raise TooLargeFault(f"The upload unpacks to {size} bytes: at most {most} are allowed")
