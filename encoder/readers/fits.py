"""FITS files as far as spectra need them: header values, images and binary tables, read without delay.

astropy takes 1.5 to 7 ms to open a spectrum, nearly all of it for header cards that nobody asks for, and its
warnings about odd ones are global state. Here a card is parsed when it is read (FITS standard 4.0, sections
4, 7.1 and 7.3). What a file declares is checked against what it holds before any memory is taken.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from encoder.spectrum import RefusedSpectrum

BLOCK = 2880
MOST_BLOCKS = 4000  # of one header: 144,000 cards
MOST_BYTES = 1 << 30  # of one array
MOST_HDUS = 500

IMAGE_TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
COLUMN_TYPES = {
    "L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "C": ">c8", "M": ">c16",
}  # fmt: skip
TFORM = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])([LXBIJKAEDCM]?)")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([EeDd][+-]?\d+)?")

Value = str | int | float | bool
Array = NDArray[np.generic]


class Header:
    """Keywords of one HDU; the first of equal keywords counts; a value is parsed when it is asked for."""

    __slots__ = ("_cards",)

    def __init__(self, text: bytes) -> None:
        cards = range(len(text) - 80, -1, -80)
        self._cards = {text[at : at + 8]: text[at + 8 : at + 80] for at in cards}

    def __contains__(self, keyword: str) -> bool:
        return self.get(keyword) is not None

    def get(self, keyword: str, default: Any = None) -> Any:
        """The value, or `default` where the keyword is absent, has no value, or one that is not FITS."""
        card = self._cards.get(keyword.encode().ljust(8))
        if card is None or not card.startswith(b"= "):
            return default
        value = _value(card[2:].decode("latin-1").strip())
        return default if value is None else value

    def number(self, keyword: str, default: int = 0) -> int:
        """A count; refuses what is not a whole number ≥ 0."""
        value = self.get(keyword, default)
        if not isinstance(value, int) or value < 0:
            raise RefusedSpectrum(f"the header says {keyword} = {value!r}")
        return value

    def words(self, keyword: str) -> str:
        """The value as text; empty where there is none."""
        return str(self.get(keyword, "")).strip()


def _value(text: str) -> Value | None:
    if text.startswith("'"):
        quoted = re.match(r"'((?:[^']|'')*)'", text)
        return quoted[1].replace("''", "'").rstrip() if quoted else None
    text = text.partition("/")[0].strip()
    if text in ("T", "F"):
        return text == "T"
    if not NUMBER.fullmatch(text):
        return None
    return int(text) if text.lstrip("+-").isdigit() else float(text.upper().replace("D", "E"))


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a binary table: where its cell begins in a row, and what is in it."""

    offset: int
    repeat: int
    code: str  # letter of TFORM
    heap_code: str  # of the elements, where the cell only points to them
    scale: float
    zero: float


@dataclass(frozen=True, slots=True)
class Hdu:
    """One header and where its data lie."""

    header: Header
    start: int
    file: IO[bytes]
    file_size: int | None  # None where the file is compressed

    @property
    def name(self) -> str:
        return self.header.words("EXTNAME").upper()

    @property
    def kind(self) -> str:
        """`image`, `table`, or empty where there are no data."""
        if self.header.words("XTENSION") == "BINTABLE":
            return "table"
        return "image" if self.header.number("NAXIS") else ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the data as numpy sees it: last FITS axis first."""
        axes = self.header.number("NAXIS")
        return tuple(self.header.number(f"NAXIS{axis}") for axis in range(axes, 0, -1))

    @property
    def size(self) -> int:
        """Bytes of the data with the heap."""
        shape = self.shape
        cells = int(np.prod(shape, dtype=object)) if shape else 0
        width = abs(int(self.header.get("BITPIX", 8))) // 8
        return width * (cells + self.header.number("PCOUNT"))

    def bytes_at(self, offset: int, count: int) -> bytes:
        """`count` bytes of the data section; refuses a file cut short before it reads."""
        end = self.start + offset + count
        if self.file_size is not None and end > self.file_size:
            raise RefusedSpectrum(f"the file is cut short: {self.file_size} of {end} bytes")
        if count > MOST_BYTES:
            raise RefusedSpectrum(f"the header declares an array of {count} bytes; at most {MOST_BYTES}")
        self.file.seek(self.start + offset)
        found = self.file.read(count)
        if len(found) < count:
            raise RefusedSpectrum(f"the file is cut short: {len(found)} of {count} bytes of an array")
        return found

    def image(self, row: int | None = None) -> Array:
        """The image, or only one row of its first axis (numpy's order), scaled by BSCALE and BZERO."""
        shape = self.shape
        if self.kind != "image" or 0 in shape:
            raise RefusedSpectrum(f"HDU {self.name or 'PRIMARY'} holds no image")
        dtype = IMAGE_TYPES.get(self.header.get("BITPIX"))
        if dtype is None:
            raise RefusedSpectrum(f"BITPIX is {self.header.get('BITPIX')!r}")
        first = 0
        if row is not None:
            if not 0 <= row < shape[0]:
                raise RefusedSpectrum(f"row {row} is outside the file's {shape[0]} spectra")
            shape, first = shape[1:], row
        count = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
        values = np.frombuffer(self.bytes_at(first * count, count), dtype=dtype).reshape(shape)
        return self._scaled(values, self.header.get("BSCALE", 1), self.header.get("BZERO", 0), "BLANK")

    def _scaled(self, values: Array, scale: float, zero: float, blank: str) -> Array:
        empty = self.header.get(blank) if values.dtype.kind in "iu" else None
        if scale == 1 and zero == 0 and empty is None:
            return values
        scaled = values.astype(np.float64) * scale + zero
        return scaled if empty is None else np.where(values == empty, np.nan, scaled)

    def columns(self) -> dict[str, int]:
        """Number of each column of the table, by its name."""
        numbers = range(1, self.header.number("TFIELDS") + 1)
        return {self.header.words(f"TTYPE{number}"): number for number in numbers}

    def is_vector(self, name: str) -> bool:
        """Whether the column's cells are arrays."""
        field = self._field(self.columns()[name])
        return bool(field.heap_code) or field.repeat > 1

    def cells(self, column: int, row: int | None = None) -> Array:
        """One column for all rows, (rows,) or (rows, n); or the array in the cell of one row, (n,)."""
        width, rows = self.header.number("NAXIS1"), self.header.number("NAXIS2")
        field = self._field(column)
        if row is not None and row >= rows:
            raise RefusedSpectrum(f"row {row} is outside the table's {rows} rows")
        if field.heap_code:
            return self._heap_cell(field, row, rows, width, column)
        dtype = _dtype(field.code, field.repeat)
        if row is not None:
            content = self.bytes_at(row * width + field.offset, dtype.itemsize)
            values: Array = np.frombuffer(content, dtype=dtype)[0]
        else:
            record = np.dtype(
                {"names": ["cell"], "formats": [dtype], "offsets": [field.offset], "itemsize": width}
            )
            values = np.frombuffer(self.bytes_at(0, rows * width), dtype=record)["cell"]
        return self._scaled(values, field.scale, field.zero, f"TNULL{column}")

    def _heap_cell(self, field: Field, row: int | None, rows: int, width: int, column: int) -> Array:
        """The array that a P or Q cell points to (section 7.3.5)."""
        if row is None and rows != 1:
            raise RefusedSpectrum("cells of variable length need a row")
        pointer = np.dtype(">i4" if field.code == "P" else ">i8")
        content = self.bytes_at((row or 0) * width + field.offset, 2 * pointer.itemsize)
        count, offset = np.frombuffer(content, dtype=pointer).tolist()
        dtype = _dtype(field.heap_code, 1)
        heap = self.header.number("THEAP", width * rows)
        values = np.frombuffer(self.bytes_at(heap + offset, count * dtype.itemsize), dtype=dtype)
        return self._scaled(values, field.scale, field.zero, f"TNULL{column}")

    def _field(self, column: int) -> Field:
        offset = 0
        for number in range(1, column + 1):
            form = TFORM.match(self.header.words(f"TFORM{number}"))
            if form is None:
                raise RefusedSpectrum(f"TFORM{number} is {self.header.words(f'TFORM{number}')!r}")
            repeat, code, inner = int(form[1] or 1), form[2], form[3]
            start, offset = offset, offset + _width(repeat, code)
        scale, zero = self.header.get(f"TSCAL{column}", 1), self.header.get(f"TZERO{column}", 0)
        return Field(start, repeat, code, inner if code in "PQ" else "", scale, zero)


def _width(repeat: int, code: str) -> int:
    """Bytes of a cell."""
    if code == "X":
        return (repeat + 7) // 8
    each = {"A": 1, "P": 8, "Q": 16}.get(code) or np.dtype(COLUMN_TYPES[code]).itemsize
    return repeat * each


def _dtype(code: str, repeat: int) -> np.dtype[Any]:
    if code not in COLUMN_TYPES or code in "LCM":
        raise RefusedSpectrum(f"a column of TFORM {code} holds no numbers")
    return np.dtype((COLUMN_TYPES[code], (repeat,)) if repeat != 1 else COLUMN_TYPES[code])


class FitsFile:
    """The HDUs of an open file, found as they are asked for."""

    def __init__(self, file: IO[bytes], size: int | None) -> None:
        self._file, self._size = file, size
        self._found: list[Hdu] = []
        self._next = 0

    def __getitem__(self, number: int) -> Hdu:
        while len(self._found) <= number:
            if not self._step():
                raise RefusedSpectrum(f"the file has no HDU {number}")
        return self._found[number]

    def __iter__(self) -> Iterator[Hdu]:
        number = 0
        while number < len(self._found) or self._step():
            yield self._found[number]
            number += 1

    def at(self, locator: str, default: int) -> Hdu:
        """The HDU named or numbered by `locator`; without one, number `default`."""
        if not locator or locator.isdigit():
            return self[int(locator or default)]
        found = next((hdu for hdu in self if hdu.name == locator.upper()), None)
        if found is None:
            raise RefusedSpectrum(f"the file has no HDU {locator}")
        return found

    def _step(self) -> bool:
        """Finds one HDU more; false at the end of the file."""
        if self._found:
            last = self._found[-1]
            self._next = last.start + -(-last.size // BLOCK) * BLOCK
        if len(self._found) >= MOST_HDUS or (self._size is not None and self._next >= self._size):
            return False
        self._file.seek(self._next)
        text = self._header_text()
        if not text:
            return False
        self._found.append(Hdu(Header(text), self._file.tell(), self._file, self._size))
        return True

    def _header_text(self) -> bytes:
        blocks: list[bytes] = []
        while len(blocks) < MOST_BLOCKS:
            block = self._file.read(BLOCK)
            if not blocks and not block.startswith((b"SIMPLE  ", b"XTENSION")):
                if self._found:
                    return b""  # the standard allows special records after the last HDU
                raise RefusedSpectrum("not a FITS file")
            if len(block) < BLOCK:
                raise RefusedSpectrum("the file is cut short inside a header")
            blocks.append(block)
            if any(block[at : at + 8] == b"END     " for at in range(0, BLOCK, 80)):
                return b"".join(blocks)
        raise RefusedSpectrum(f"a header without END in {MOST_BLOCKS} blocks")


@contextmanager
def opened(path: Path) -> Iterator[FitsFile]:
    """The file, plain or compressed by gzip; refuses what can not be read."""
    try:
        with path.open("rb") as file:
            if file.read(2) != b"\x1f\x8b":
                yield FitsFile(file, file.seek(0, io.SEEK_END))
                return
            file.seek(0)
            with gzip.open(file) as unpacked:
                yield FitsFile(unpacked, None)  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error) as error:
        raise RefusedSpectrum(f"can not be read: {error}") from error


def integer(text: str, what: str) -> int:
    """A number ≥ 0 of a layout or locator."""
    if not text.strip().isdigit():
        raise RefusedSpectrum(f"{what} must be a whole number, not {text!r}")
    return int(text)
