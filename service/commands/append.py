"""`doppel append`: spectra that are new in the collections, added to the published release as it is."""

from __future__ import annotations

import argparse

from index.append import append
from service.commands.build import published
from service.commands.common import add_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)


def main(arguments: argparse.Namespace) -> int:
    return published(arguments, append)
