"""`doppel publish`: switch to a release that exists, after checking it."""

from __future__ import annotations

import argparse
import sys

from index.releases import Releases
from service.commands.common import add_config, answer, configured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("release", help="id of a release")
    add_config(parser)


def main(arguments: argparse.Namespace) -> int:
    config = configured(arguments)
    releases = Releases(config.releases, config.index.database, config.index.servers)
    if problems := releases.verify(arguments.release):
        print(f"doppel publish: {arguments.release} is damaged: {problems[0]}", file=sys.stderr)
        return 1
    releases.publish(arguments.release)
    answer(arguments, f"published release {arguments.release}", {"release": arguments.release})
    return 0
