"""A file in memory that a library writes to and a stream empties."""

from __future__ import annotations


class Drain:
    """Only written to; `taken` gives and forgets what has come so far."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.closed = False
        self.position = 0

    def write(self, data: bytes) -> int:
        self.pieces.append(bytes(data))
        self.position += len(data)
        return len(data)

    def tell(self) -> int:
        return self.position

    def flush(self) -> None:
        """Nothing is held back."""

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    def taken(self) -> bytes:
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data
