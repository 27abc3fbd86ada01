"""`doppel verify`: every file of a release against its manifest."""

from __future__ import annotations

import argparse

from index.release import Releases
from service.commands.common import add_config, answer, configured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("release", nargs="?", help="id of a release (the published one)")
    add_config(parser)


def main(arguments: argparse.Namespace) -> int:
    releases = Releases(configured(arguments).releases)
    release = arguments.release or releases.current().name
    problems = releases.verify(release)
    words = "\n".join(problems) if problems else f"release {release}: every byte is as it was written"
    answer(arguments, words, {"release": release, "sound": not problems, "problems": list(problems)})
    return 1 if problems else 0
