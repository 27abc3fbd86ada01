"""`doppel verify`: a release against its manifest, and a sample of its vectors against the models."""

from __future__ import annotations

import argparse
from contextlib import closing

from index.reencode import differences
from index.release import OpenRelease
from index.releases import Releases
from service.commands.common import add_config, answer, configured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("release", nargs="?", help="id of a release (the published one)")
    parser.add_argument(
        "--encode", type=int, default=0, metavar="N", help="encode N spectra of each model anew and compare"
    )
    add_config(parser)


def main(arguments: argparse.Namespace) -> int:
    config = configured(arguments)
    releases = Releases(config.releases)
    release = arguments.release or releases.current().name
    problems, encoded = list(releases.verify(release)), 0
    sound = f"release {release}: every byte is as it was written"
    if arguments.encode > 0 and not problems:
        with closing(OpenRelease.open(releases.path(release))) as opened:
            problems, encoded = differences(opened, arguments.encode)
        sound += f"; {encoded} vectors were made anew and are the same"
    words = "\n".join(problems) if problems else sound
    values: dict[str, object] = {"release": release, "sound": not problems, "problems": problems}
    if arguments.encode > 0:
        values["encoded"] = encoded
    answer(arguments, words, values)
    return 1 if problems else 0
