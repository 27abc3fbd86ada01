"""`doppel append`: spectra that are new in the collections, added to the published release as it is."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from index.append import append
from service.commands.build import words
from service.commands.common import Bar, add_config, answer, configured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)


def main(arguments: argparse.Namespace) -> int:
    config = configured(arguments)
    bar = Bar()
    try:
        report = append(config.plan, bar)
    finally:
        bar.close()
    answer(arguments, words(report, str(config.releases / report.release)), asdict(report))
    return 0
