"""`doppel rollback`: back to the release that was published before."""

from __future__ import annotations

import argparse

from index.releases import Releases
from service.commands.common import add_config, answer, configured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)


def main(arguments: argparse.Namespace) -> int:
    config = configured(arguments)
    release = Releases(config.releases, config.index.database, config.index.servers).rollback()
    answer(arguments, f"published release {release}, as before", {"release": release})
    return 0
