"""A collection: files, the catalogue that describes them, and what its configuration adds."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import tarfile
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath

from encoder import catalogue
from encoder.headers import rows_from_headers
from encoder.readers.read import LAYOUTS, read
from encoder.spectrum import Facts, RefusedSpectrum, Spectrum

NO_READER = "none"  # the catalogue is all that there is: facts of spectra whose files lie elsewhere
UNSAFE = re.compile(r"[^A-Za-z0-9._~-]")


class CollectionError(Exception):
    """The collection as a whole can not be used; the message says why."""


def described(default: object, doc: str) -> str:
    """A text setting with its documentation."""
    return field(default=default, metadata={"doc": doc})  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class CollectionConfig:
    """One `[[collection]]` table of the configuration.

    Settings from `telescope` on hold for every row whose catalogue leaves them empty.
    """

    name: str = field(metadata={"doc": "short name: letters, digits, underscores; part of identifiers"})
    path: str = field(
        metadata={"doc": "directory or tar file with the spectra, relative to the configuration"}
    )
    catalogue: str = described(
        "", "CSV or Parquet with one row per spectrum; empty: catalogue.csv, else headers"
    )
    reader: str = described(
        "auto", "layout of every file, a layout column in the catalogue wins; none: only facts, no files"
    )
    columns: Mapping[str, str] = field(
        default_factory=dict, metadata={"doc": "our column = the catalogue's column, where names differ"}
    )
    title: str = described("", "one line for people; the name where empty")
    description: str = described("", "what is in the collection")
    publisher: str = described("", "who publishes it; the archive's where empty")
    creator: str = described("", "who made the spectra")
    reference: str = described("", "URL or bibcode of the paper")
    data_source: str = described("survey", "survey, pointed, custom, theory or artificial (SSA's DataSource)")
    rights: str = described("public", "SSA's Curation.Rights: public, secure or proprietary")
    rights_uri: str = described("", "licence, as https://spdx.org/licenses/CC-BY-4.0.html")
    doi: str = described("", "DOI of the collection")
    subjects: str = described("", "concepts of the IVOA's UAT, with commas; the archive's where empty")
    telescope: str = described("", "telescope")
    instrument: str = described("", "instrument")
    object_class: str = described("", "star, galaxy, qso, agn, sn or unknown")
    wave_unit: str = described("", "Angstrom, nm, um or m; empty: as the file states")
    wave_medium: str = described("", "air or vacuum; empty: as the file states, else vacuum")
    wave_frame: str = described("", "rest, heliocentric, barycentric or observed; empty: as the file states")
    flux_unit: str = described("", "unit of the flux; 'relative', 'counts' … where it is none")
    flux_calibration: str = described("", "ABSOLUTE, RELATIVE, NORMALIZED or UNCALIBRATED")
    R: str = described("", "resolving power")
    fwhm_aa: str = described("", "resolution element, Ångström")

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", self.name):
            raise ValueError(f"[[collection]] name {self.name!r}: letters, digits, _ and - only")
        if self.reader not in ("auto", NO_READER) and self.reader.partition(":")[0] not in LAYOUTS:
            allowed = ", ".join(("auto", NO_READER, *LAYOUTS))
            raise ValueError(f"[[collection]] {self.name}: no reader {self.reader!r}; allowed: {allowed}")
        for column in self.columns:
            if column not in catalogue.COLUMNS:
                meant = _meant(column, catalogue.COLUMNS)
                raise ValueError(f"[[collection]] {self.name}: columns has no {column!r}{meant}")

    @classmethod
    def from_table(cls, table: Mapping[str, object]) -> CollectionConfig:
        """Checked settings of one table; ValueError names an unknown, missing or mistyped key."""
        known = {setting.name for setting in fields(cls)}
        for key, value in table.items():
            if key not in known:
                raise ValueError(f"[[collection]] has no key {key!r}{_meant(key, known)}")
            if key == "columns":
                if not isinstance(value, Mapping) or not all(
                    isinstance(name, str) for name in value.values()
                ):
                    raise ValueError("[[collection]] columns must map our column names to the catalogue's")
            elif not isinstance(value, str | int | float) or isinstance(value, bool):
                raise ValueError(f"[[collection]] {key} must be a text, not {value!r}")
        missing = [key for key in ("name", "path") if not table.get(key)]
        if missing:
            raise ValueError(f"[[collection]] needs {' and '.join(missing)}")
        return cls(**{key: value if key == "columns" else str(value) for key, value in table.items()})  # type: ignore[arg-type]

    @property
    def defaults(self) -> dict[str, str]:
        """What rows inherit, by catalogue column."""
        inherited = [setting.name for setting in fields(self)]
        return {name: getattr(self, name) for name in inherited[inherited.index("telescope") :]}


def _meant(word: str, known: set[str] | frozenset[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; allowed: {', '.join(sorted(known))}"


def collections_in(directory: Path) -> tuple[CollectionConfig, ...]:
    """One collection for each folder of `directory` that has a catalogue.csv, in order of name.

    Raises CollectionError where there is none.
    """
    found = sorted(path.parent.name for path in directory.glob("*/catalogue.csv"))
    if not found:
        raise CollectionError(f"no folder with a catalogue.csv in {directory}")
    return tuple(CollectionConfig(name=name, path=name, catalogue="catalogue.csv") for name in found)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a collection before its pixels are read. A row refused already carries the reason."""

    facts: Facts
    refused: str = ""


class Collection:
    """Files and facts of one `[[collection]]`; `authority` is for publisher DIDs of our making."""

    def __init__(self, config: CollectionConfig, base: Path, authority: str) -> None:
        self.config, self.authority = config, authority
        self.path = (base / config.path).resolve()
        if not self.path.exists():
            raise CollectionError(f"collection {config.name}: {config.path} does not exist")
        self._tar = _Tar(self.path) if self.path.is_file() and tarfile.is_tarfile(self.path) else None
        self.directory = self.path if self.path.is_dir() else self.path.parent

    @classmethod
    def from_config(cls, config: CollectionConfig, base: Path, authority: str) -> Collection:
        """The collection of one configuration table; paths are relative to `base`."""
        return cls(config, base, authority)

    @property
    def name(self) -> str:
        return self.config.name

    def entries(self, known: Mapping[str, int | None] | None = None) -> Iterator[Entry]:
        """Every row in the catalogue's order, without pixels; rows with bad values carry their reason.

        Of two rows with one identifier the first is kept. Rows of `known` identifiers are left out, and not
        looked at, as long as their files have the sizes given. Raises CollectionError where there is no row.
        """
        taken: dict[str, str] = {}
        for row in self._rows():
            if known and self._is_known(row, known):
                taken.setdefault(self._did(row), row["spectrum_id"])
                continue
            entry = self._entry(row)
            did, spectrum_id = entry.facts.publisher_did, entry.facts.spectrum_id
            if did in taken and not entry.refused:
                other = "an earlier row" if taken[did] == spectrum_id else repr(taken[did])
                entry = replace(entry, refused=f"{other} has the same identifier {did}")
            taken.setdefault(did, spectrum_id)
            yield entry
        if not taken:
            raise CollectionError(f"collection {self.name}: no spectrum in {self.config.path}")

    def _entry(self, row: catalogue.Row) -> Entry:
        try:
            facts = catalogue.facts_of(
                row, self.name, self.config.defaults, self.publisher_did, self.config.reader
            )
        except RefusedSpectrum as refusal:
            return Entry(Facts(row["spectrum_id"], self.name, self._did(row), row["file"]), str(refusal))
        return Entry(replace(facts, size=self._size(facts.path)))

    def _did(self, row: catalogue.Row) -> str:
        return row.get("publisher_did") or self.publisher_did(row["spectrum_id"])

    def _is_known(self, row: catalogue.Row, known: Mapping[str, int | None]) -> bool:
        did, absent = self._did(row), -1
        if (size := known.get(did, absent)) == absent:
            return False
        if self._tar is not None:
            return size == self._tar.size(row["file"])
        path = os.path.join(self.directory, row["file"])  # of every row: pathlib takes several times as long
        return size == (os.stat(path).st_size if os.path.isfile(path) else None)

    def _rows(self) -> Iterator[dict[str, str]]:
        """Catalogue rows under our column names; a row without identifier goes by its number."""
        path = self._catalogue()
        if path is None:
            yield from rows_from_headers(self.files(), self.original_file)
            return
        for number, row in enumerate(catalogue.rows(path), start=1):
            mine = row | {name: row.get(source, "") for name, source in self.config.columns.items()}
            absent = [name for name in ("spectrum_id", "file") if name not in mine]
            if absent:
                raise CollectionError(
                    f"collection {self.name}: {path.name} has no column {' and no '.join(absent)}; "
                    "name the catalogue's columns in [collection.columns]"
                )
            yield mine | {"spectrum_id": mine["spectrum_id"] or f"row {number}"}

    def table(self) -> Path:
        """The catalogue's file; CollectionError where the collection has none."""
        path = self._catalogue()
        if path is None:
            raise CollectionError(
                f"collection {self.name}: reader none needs a catalogue in {self.config.path}"
            )
        return path

    def _catalogue(self) -> Path | None:
        if self.path.is_file() and self._tar is None:
            return self.path
        wanted = self.config.catalogue or "catalogue.csv"
        if self._tar is not None and wanted in self._tar:
            return self._tar.file(wanted)
        if self._tar is None and (self.directory / wanted).is_file():
            return self.directory / wanted
        if self.config.catalogue:
            raise CollectionError(f"collection {self.name}: catalogue {wanted} is not in {self.config.path}")
        return None

    def files(self) -> list[str]:
        """Every file of the collection, relative to it, in order of name."""
        if self._tar is not None:
            return sorted(self._tar.names())
        found = (path for path in self.directory.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.directory).as_posix() for path in found)

    def publisher_did(self, spectrum_id: str) -> str:
        """The DID of a spectrum whose archive gives none (DESIGN section 6, Identifiers)."""
        return f"ivo://{self.authority}/{self.name}?{UNSAFE.sub('_', spectrum_id)}"

    def load(self, entry: Entry | Facts) -> Spectrum:
        """The pixels of one row; raises RefusedSpectrum with the reason."""
        if isinstance(entry, Entry):
            if entry.refused:
                raise RefusedSpectrum(entry.refused)
            entry = entry.facts
        return read(self.original(entry), entry)

    def original(self, facts: Facts) -> Path:
        """The original file; refuses a path that leaves the collection."""
        return self.original_file(facts.path)

    def original_file(self, name: str) -> Path:
        """As `original`, by the file's name inside the collection."""
        if self.config.reader == NO_READER:
            raise RefusedSpectrum("the archive gives no file of this spectrum")
        if PurePosixPath(name).is_absolute() and not self._is_table_of_facts:
            raise RefusedSpectrum(f"{name} lies outside the collection")
        if self._tar is not None:
            return self._tar.file(name)
        path = (self.directory / name).resolve()
        if not self._is_table_of_facts and not path.is_relative_to(self.directory):
            raise RefusedSpectrum(f"{name} lies outside the collection")
        if not path.is_file():
            raise RefusedSpectrum(f"no such file: {name}")
        return path

    @property
    def _is_table_of_facts(self) -> bool:
        """The operator named a table whose files lie elsewhere: they may be anywhere it says."""
        return self.path.is_file() and self._tar is None

    def _size(self, name: str) -> int | None:
        if self._tar is not None:
            return self._tar.size(name)
        try:
            return self.original_file(name).stat().st_size
        except RefusedSpectrum:
            return None


class _Tar:
    """Members of a tar file, unpacked when asked for into a directory that goes with this object."""

    def __init__(self, path: Path) -> None:
        self._file = tarfile.open(path)  # noqa: SIM115 (open as long as the collection)
        self._members = {member.name.removeprefix("./"): member for member in self._file if member.isfile()}
        self._unpacked = Path(tempfile.mkdtemp(prefix="doppel-"))
        self._lock = threading.Lock()
        weakref.finalize(self, _put_away, self._file, self._unpacked)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def names(self) -> list[str]:
        return list(self._members)

    def size(self, name: str) -> int | None:
        return self._members[name].size if name in self._members else None

    def file(self, name: str) -> Path:
        """The member as a file; its name there is a number, so that no member's name can lead elsewhere."""
        if name not in self._members:
            raise RefusedSpectrum(f"no such file: {name}")
        member = self._members[name]
        path = self._unpacked / f"{member.offset}{PurePosixPath(name).suffix}"
        with self._lock:
            if not path.exists():
                content = self._file.extractfile(member)
                path.write_bytes(content.read() if content else b"")
        return path


def _put_away(file: tarfile.TarFile, directory: Path) -> None:
    file.close()
    shutil.rmtree(directory, ignore_errors=True)
