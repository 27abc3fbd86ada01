"""`doppel samp`: joins the hub of TOPCAT, Aladin, SPLAT-VO and answers what they point at with its likes."""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import datetime
from typing import NoReturn

from service.errors import ServiceFault
from service.samp import NoHub, stay
from service.samp_answers import Archive
from service.similar_client import Client

BASE = "http://127.0.0.1:8080"
NO_HUB = "no SAMP hub is running: start TOPCAT, Aladin or SPLAT-VO first, they bring one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default=BASE, metavar="BASE", help=f"running service ({BASE})")
    parser.add_argument("-k", type=int, default=10, help="neighbours of each spectrum (10)")
    parser.add_argument("--space", default="", help="what alike means: a preset, or model:preset")
    parser.add_argument(
        "--spectra", type=int, default=5, metavar="N", help="how many neighbours are sent as spectra (5)"
    )


def main(arguments: argparse.Namespace) -> int:
    archive = Archive(Client(arguments.url.rstrip("/")), arguments.k, arguments.space)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        archive.client.table(f"{archive.client.base}/ssa?FORMAT=METADATA", {}, {})
        stay(archive, arguments.spectra, say)
    except KeyboardInterrupt:
        say("left the hub")
    except NoHub:
        print(f"doppel samp: {NO_HUB}", file=sys.stderr)
        return 1
    except ServiceFault as fault:
        print(f"doppel samp: {fault}", file=sys.stderr)
        return 1
    return 0


def interrupt(*_: object) -> NoReturn:
    """Ending is the same by signal and by Ctrl-C."""
    raise KeyboardInterrupt


def say(words: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {words}", flush=True)
