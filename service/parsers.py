"""Warm processes that read one uploaded spectrum each, in bounded memory and time, and are gone.

`python -m service.parsers` is such a process: it has loaded what it needs before it is asked, reads one
request from its standard input and writes one answer.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from encoder.spectrum import RefusedSpectrum
from service.errors import TimeoutFault, TooLargeFault, UsageFault
from service.own_spectrum import Own, Told, read_own

LENGTH = struct.Struct(">Q")
READY, GOOD, REFUSED = b"!", b"+", b"-"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one upload may take."""

    file_bytes: int = 64 * 1024 * 1024
    memory_bytes: int = 2 * 1024**3
    seconds: float = 20.0  # from when its process is ready


class Parsers:
    """Keeps one process warm; the first is started with the first upload."""

    def __init__(self, bounds: Bounds = Bounds()) -> None:
        self.bounds = bounds
        self._lock = threading.Lock()
        self._spare: subprocess.Popen[bytes] | None = None

    def read(self, content: bytes, told: Told) -> Own:
        """The spectrum; UsageFault with the reader's reason, TooLargeFault, TimeoutFault."""
        if len(content) > self.bounds.file_bytes:
            limit = self.bounds.file_bytes
            raise TooLargeFault(f"The spectrum has {len(content)} bytes; at most {limit} are taken")
        with tempfile.TemporaryDirectory(prefix="doppel-") as scratch:
            answer = self._answer(
                content, {**asdict(told), "memory": self.bounds.memory_bytes, "scratch": scratch}
            )
        if answer[:1] == GOOD:
            return Own.from_bytes(answer[1:])
        reason = answer[1:].decode() or "reading it took more memory than is allowed, or failed"
        raise UsageFault(f"The spectrum cannot be used: {reason}")

    def _answer(self, content: bytes, told: Mapping[str, object]) -> bytes:
        """What a process says of the file; TimeoutFault where it had to be killed."""
        head = json.dumps(told).encode()
        with self._take() as process:
            if process.stdout is not None:
                process.stdout.read(len(READY))  # nothing, where it has ended
            try:
                answer, _ = process.communicate(LENGTH.pack(len(head)) + head + content, self.bounds.seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise TimeoutFault(f"The spectrum was not read within {self.bounds.seconds:g} s") from None
        return answer

    def _take(self) -> subprocess.Popen[bytes]:
        """The warm process; the next one starts at once."""
        with self._lock:
            process, self._spare = self._spare or _start(), _start()
        return process

    def close(self) -> None:
        with self._lock:
            process, self._spare = self._spare, None
        if process:
            process.communicate(b"")


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "service.parsers"],  # its standard error is ours: bugs are seen in the log
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def main() -> None:
    """Reads one request, answers it, ends."""
    import astropy.io.fits
    import astropy.io.votable
    import astropy.table  # noqa: F401 -- loaded while nobody waits

    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    size = sys.stdin.buffer.read(LENGTH.size)
    if len(size) < LENGTH.size:
        return
    head = json.loads(sys.stdin.buffer.read(LENGTH.unpack(size)[0]))
    memory, tempfile.tempdir = head.pop("memory"), head.pop("scratch")  # what it writes goes with the request
    content = sys.stdin.buffer.read()
    limit_memory(memory)
    warnings.simplefilter("ignore")
    try:
        answer = GOOD + read_own(content, Told(**head)).to_bytes()
    except RefusedSpectrum as refusal:
        answer = REFUSED + str(refusal).encode()
    except MemoryError:
        answer = REFUSED + b"reading it takes more memory than is allowed"
    sys.stdout.buffer.write(answer)


def limit_memory(size: int) -> None:
    """Of this process's address space; systems that know no such limit go without."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    except (ValueError, OSError):
        return


if __name__ == "__main__":
    main()
