"""`doppel config`: every key of the configuration with its default and its meaning."""

from __future__ import annotations

import argparse

from service.config import reference


def add_arguments(parser: argparse.ArgumentParser) -> None: ...


def main(arguments: argparse.Namespace) -> int:
    print(reference(), end="")
    return 0
