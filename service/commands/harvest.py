"""`doppel harvest`: spectra of any SSA service as a collection, ready for `doppel build`."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from encoder.harvest import harvest
from encoder.spectrum import RefusedSpectrum
from service.commands.common import Bar, answer
from service.errors import ServiceFault
from service.fetch import fetch

SECONDS = 300.0  # one file may take
REASONS = "refused.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Files are loaded from public addresses only, and from the host of URL, since you named it: what a "
        "service answers can not make this machine ask others of its own network."
    )
    parser.add_argument("url", metavar="URL", help="the SSA service")
    parser.add_argument("directory", type=Path, help="where the collection is written; a stopped one goes on")
    parser.add_argument(
        "--cone", type=float, nargs=3, metavar=("RA", "DEC", "SIZE"), help="ICRS degrees; SIZE is a diameter"
    )
    parser.add_argument("--maxrec", type=int, default=1000, metavar="N", help="most spectra (1000)")
    parser.add_argument("--max-bytes", type=int, default=1 << 28, metavar="N", help="of one file (268435456)")
    parser.add_argument("--json", action="store_true", help="answer in JSON, for scripts")


def main(arguments: argparse.Namespace) -> int:
    """1 where nothing could be kept."""
    bar = Bar()
    done = harvest(
        arguments.url,
        arguments.directory,
        partial(load, urlsplit(arguments.url).hostname),
        cone=arguments.cone and tuple(arguments.cone),
        maxrec=arguments.maxrec,
        most_bytes=arguments.max_bytes,
        progress=lambda at, total: bar("harvest", at, total),
    )
    bar.close()
    reasons = arguments.directory / REASONS
    reasons.write_text(json.dumps(dict(done.refused), indent=1, ensure_ascii=False), encoding="utf-8")
    words = f"{done.kept} spectra in {arguments.directory}"
    words += f", {len(done.refused)} refused (reasons in {reasons})" if done.refused else ""
    answer(arguments, words, {"kept": done.kept, "refused": dict(done.refused)})
    return 0 if done.kept else 1


def load(trusted: str | None, url: str, most_bytes: int) -> bytes:
    """One file; the host that the operator named may be anywhere, all others must be public."""
    try:
        return fetch(url, most_bytes, SECONDS, trusted=trusted)
    except ServiceFault as fault:
        raise RefusedSpectrum(str(fault)) from fault
