"""CPU time from file to spectrum, and to vector where a model is given, beside a bare read by astropy.

    DOPPEL_DATA=… python -m tests.benchmarks.reading [--model DIRECTORY]

All are timed in turn, pass by pass, and the least of the passes counts. `bare` is `astropy.io.fits.open` and
`.data` of the HDU with the spectrum; `network` is the model's ONNX session alone. Hold (DESIGN section 7):
file to vector ≤ 1.25 × (bare + network) + 0.3 ms.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from encoder.collection import Collection, CollectionConfig
from encoder.infer import NETWORK, Encoder
from encoder.prepare import prepare
from encoder.readers.read import read
from encoder.spectrum import Facts, RefusedSpectrum, Spectrum

COLLECTIONS = ("miles", "stelib", "lamost", "xqr30", "supernovae")
PIXELS = 327_680
PASSES = 7
SPECTRA = 40  # of each collection


@dataclass(frozen=True)
class Case:
    """Files of one kind, and how each becomes a spectrum."""

    name: str
    paths: Sequence[Path]
    loads: Sequence[Callable[[], Spectrum]]


def cases(data: Path, directory: Path) -> list[Case]:
    """Real collections, and one table of very many pixels."""
    found = [real(data, name) for name in COLLECTIONS]
    path = long_table(directory / "long.fits")
    facts = Facts(
        "long",
        "made",
        "ivo://doppel.example/made?long",
        path.name,
        layout="bintable_columns:WAVE,FLUX,ERROR",
        wave_medium="air",
    )
    return [*found, Case(f"{PIXELS} px", [path] * 5, [lambda: read(path, facts)] * 5)]


def real(data: Path, name: str) -> Case:
    collection = Collection.from_config(CollectionConfig(name, name), data, "doppel.example")
    entries = list(islice(collection.entries(), SPECTRA))
    paths = [collection.original(entry.facts) for entry in entries]
    return Case(name, paths, [lambda entry=entry: collection.load(entry) for entry in entries])  # type: ignore[misc]


def long_table(path: Path) -> Path:
    wave = np.geomspace(3000.0, 10_000.0, PIXELS)
    columns = {"WAVE": wave, "FLUX": 1 + 0.1 * np.sin(wave), "ERROR": np.full(PIXELS, 0.01)}
    made = [
        fits.Column(name, "D", array=values, unit="Angstrom" if name == "WAVE" else None)
        for name, values in columns.items()
    ]
    fits.BinTableHDU.from_columns(made).writeto(path)
    return path


def bare(path: Path) -> None:
    with fits.open(path, memmap=False) as hdus:
        next(hdu.data for hdu in hdus if hdu.data is not None)


def least(works: Sequence[Sequence[Callable[[], object]]]) -> list[float]:
    """CPU milliseconds per call of each list of work, the least of passes that take turns."""
    best = [np.inf] * len(works)
    for _ in range(PASSES):
        for at, calls in enumerate(works):
            start = time.process_time()
            for call in calls:
                call()
            best[at] = min(best[at], (time.process_time() - start) / len(calls) * 1e3)
    return best


def measured(case: Case, model: Path | None) -> str:
    reads = [lambda path=path: bare(path) for path in case.paths]
    if model is None:
        raw, ours = least([reads, case.loads])
        return f"{case.name:12} {raw:8.2f} {ours:8.2f} {ours / raw:6.2f} ×"
    encoder = Encoder.open(model)
    whole = [lambda: vectors_of(encoder, case.loads)]  # in one batch, as a build does it
    raw, ours, network, vector = least([reads, case.loads, [alone(model)] * len(reads), whole])
    vector /= len(case.loads)
    allowed = 1.25 * (raw + network) + 0.3
    more = f"{network:8.2f} {vector:8.2f} {allowed:8.2f}"
    return f"{case.name:12} {raw:8.2f} {ours:8.2f} {ours / raw:6.2f} × {more}"


def vectors_of(encoder: Encoder, loads: Sequence[Callable[[], Spectrum]]) -> None:
    """Also a spectrum outside the grid takes its time to be refused."""
    prepared = []
    for load in loads:
        with suppress(RefusedSpectrum):
            prepared.append(prepare(load(), encoder.grid))
    encoder.encode(prepared)


def alone(model: Path) -> Callable[[], object]:
    """The network on features that are there already."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession((model / NETWORK).read_bytes(), options)
    features = np.zeros((1, session.get_inputs()[0].shape[1]), dtype=np.float32)
    return lambda: session.run(None, {"features": features})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=os.environ.get("DOPPEL_DATA"))
    parser.add_argument("--model", type=Path, help="directory of a published model")
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("say --data or set DOPPEL_DATA")
    warnings.simplefilter("ignore", AstropyUserWarning)
    more = "  network   vector  allowed" if arguments.model else ""
    print(f"CPU ms           bare spectrum   ratio{more}")
    with tempfile.TemporaryDirectory() as directory:
        for case in cases(Path(arguments.data), Path(directory)):
            print(measured(case, arguments.model), flush=True)


if __name__ == "__main__":
    main()
