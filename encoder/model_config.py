"""One `[[model]]` of the configuration: what to train, checked at the door."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection as Names
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields

from encoder.recipe import NO_GRID, GridSpec

EXTERNAL = "external"
KINDS = ("linear", "blocks", EXTERNAL)
SCALES = ("unit", "repeats")
OTHER_TABLES: Mapping[str, str] = {  # of the schema that model tables share
    "spectra": "what the archive says of the spectra",
    "models": "the models themselves",
    "latents": "what latents mean",
    "grids": "the wavelengths of prepared spectra",
}
FLUX = "flux_"  # tables of prepared spectra begin with it
PIXELS = (64, 65_536)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One `[[model]]` table."""

    name: str = field(metadata={"doc": "names the table doppel.<name>: a regular ADQL identifier"})
    grid: GridSpec = field(
        default=NO_GRID,
        metadata={"doc": "{ start, stop, pixels }: vacuum Ångström, equal steps in ln wavelength"},
    )
    kind: str = field(
        default="blocks",
        metadata={"doc": "linear; blocks: linear with a network on top; external: vectors made elsewhere"},
    )
    vectors: str = field(
        default="",
        metadata={"doc": "external: Parquet of spectrum_id, vector and, if known, sigma and collection"},
    )
    scales: str = field(
        default="unit",
        metadata={"doc": "external: what distances are counted in: unit, or repeats: scatter of one object"},
    )
    min_coverage: float = field(
        default=0.5, metadata={"doc": "share of the grid that must hold valid flux, 0 to 1"}
    )
    collections: tuple[str, ...] = field(
        default=(), metadata={"doc": "collections to train on and to embed; empty: all"}
    )
    object_class: str = field(
        default="star", metadata={"doc": "class of the spectra to train on; empty: every class"}
    )
    seed: int = field(default=1, metadata={"doc": "of views, folds and network: equal seed, equal model"})
    components: int = field(default=128, metadata={"doc": "principal components, at most"})
    axes: int = field(default=24, metadata={"doc": "intrinsic axes, at most"})
    window: float = field(
        default=19_000.0, metadata={"doc": "width of the running mean that is the continuum, km/s"}
    )
    align: bool = field(
        default=True, metadata={"doc": "find the velocity and take it out before the axes are found"}
    )
    epochs: int = field(default=40, metadata={"doc": "passes of the network over the training spectra"})
    publish_flux: bool = field(
        default=False,
        metadata={"doc": "publish the spectra on the grid as arrays: doppel.flux_<name> and doppel.grids"},
    )
    lists: tuple[str, ...] = field(
        default=(),
        metadata={"doc": "spaces as 'all; velocity:0' that leave out what varies most: lists of their own"},
    )

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.kind not in KINDS:
            raise ValueError(f"[[model]] {self.name}: kind is {self.kind!r}; allowed: {', '.join(KINDS)}")
        _check_source(self)
        for key, low, high in (
            ("min_coverage", 0.0, 1.0), ("seed", 0, 2**31 - 1), ("components", 4, 512), ("axes", 2, 64),
            ("window", 500.0, 200_000.0), ("epochs", 1, 1000),
        ):  # fmt: skip
            value = getattr(self, key)
            if not low <= value <= high:
                raise ValueError(
                    f"[[model]] {self.name}: {key} is {value}; it must lie between {low} and {high}"
                )
        if self.axes > self.components:
            raise ValueError(
                f"[[model]] {self.name}: {self.axes} axes of {self.components} components are too many"
            )

    @property
    def training(self) -> dict[str, object]:
        """What the trained model depends on: neither vectors made elsewhere nor what is published of it."""
        without = ("vectors", "scales", "publish_flux", "lists")
        return {name: value for name, value in asdict(self).items() if name not in without}

    @classmethod
    def from_table(cls, table: Mapping[str, object], reserved: Names[str] = frozenset()) -> ModelConfig:
        """Checked settings of one table; ValueError names an unknown, missing or mistyped key.

        `reserved` are the words, in capitals, that no table may have as its name.
        """
        known = {setting.name: setting for setting in fields(cls)}
        for key in table:
            if key not in known:
                raise ValueError(f"[[model]] has no key {key!r}{_meant(key, known)}")
        missing = [
            name for name, setting in known.items() if setting.default is MISSING and name not in table
        ]
        if missing:
            raise ValueError(f"[[model]] needs {' and '.join(missing)}")
        values = {key: _typed(key, value) for key, value in table.items()}
        if str(values["name"]).upper() in reserved:
            raise ValueError(f"[[model]] name {values['name']!r} is a reserved word of ADQL")
        return cls(**values)  # type: ignore[arg-type]


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name):
        raise ValueError(
            f"[[model]] name {name!r} must be a regular ADQL identifier: a letter, then up to 39 letters, "
            "digits or _"
        )
    if name.lower() in OTHER_TABLES:
        raise ValueError(
            f"[[model]] name {name!r} is taken: doppel.{name.lower()} holds {OTHER_TABLES[name.lower()]}"
        )
    if name.lower().startswith(FLUX):
        raise ValueError(f"[[model]] name {name!r} is taken: doppel.{FLUX}… are tables of prepared spectra")


def _check_source(model: ModelConfig) -> None:
    """Vectors come from a file, or spectra are laid out on a grid."""
    external = model.kind == EXTERNAL
    if model.scales not in SCALES:
        raise ValueError(f"[[model]] {model.name}: scales is {model.scales!r}; allowed: {', '.join(SCALES)}")
    if external != bool(model.vectors):
        raise ValueError(f'[[model]] {model.name}: vectors goes with kind = "external": set both or neither')
    if external:
        if model.grid != NO_GRID:
            raise ValueError(f"[[model]] {model.name}: vectors made elsewhere have no grid of ours")
        if model.publish_flux:
            raise ValueError(
                f"[[model]] {model.name}: publish_flux needs a grid, which vectors made elsewhere lack"
            )
    elif model.grid == NO_GRID:
        raise ValueError(f"[[model]] needs grid: {model.name} lays spectra out on it")
    else:
        _check_grid(model.name, model.grid)


def _check_grid(name: str, grid: GridSpec) -> None:
    if not 10.0 <= grid.start < grid.stop <= 1e7:
        raise ValueError(
            f"[[model]] {name}: grid from {grid.start} to {grid.stop} Å; it must ascend within 10 Å and 1 mm"
        )
    low, high = PIXELS
    if not low <= grid.pixels <= high:
        raise ValueError(f"[[model]] {name}: grid of {grid.pixels} pixels; allowed: {low} to {high}")


def _typed(key: str, value: object) -> object:
    """The value in its setting's type, or ValueError."""
    if key == "grid":
        return _grid(value)
    if key in ("collections", "lists"):
        if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
            what = "names" if key == "collections" else "spaces"
            raise ValueError(f"[[model]] {key} must be a list of {what}, not {value!r}")
        return tuple(value)
    wanted = {
        "name": str,
        "kind": str,
        "vectors": str,
        "scales": str,
        "object_class": str,
        "align": bool,
        "publish_flux": bool,
        "min_coverage": float,
        "window": float,
    }
    kind = wanted.get(key, int)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ValueError(f"[[model]] {key} must be {kind.__name__}, not {value!r}")
    return value


def _grid(value: object) -> GridSpec:
    parts = ("start", "stop", "pixels")
    if not isinstance(value, Mapping) or set(value) != set(parts):
        raise ValueError(f"[[model]] grid must be {{ start = …, stop = …, pixels = … }}, not {value!r}")
    numbers = [value[part] for part in parts]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise ValueError(f"[[model]] grid needs numbers, not {numbers!r}")
    if numbers[2] != int(numbers[2]):
        raise ValueError(f"[[model]] grid needs a whole number of pixels, not {numbers[2]!r}")
    return GridSpec(float(numbers[0]), float(numbers[1]), int(numbers[2]))


def _meant(word: str, known: Names[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; allowed: {', '.join(sorted(known))}"
