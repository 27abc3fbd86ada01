"""`doppel evaluate`: how well the published models find what is alike, measured on held-out objects."""

from __future__ import annotations

import argparse

from index.release import OpenRelease, Releases
from service.commands.common import add_config, answer, configured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", help="name of a model (all)")
    add_config(parser)


def main(arguments: argparse.Namespace) -> int:
    config = configured(arguments)
    release = OpenRelease.open(Releases(config.releases).current(), config.index.limits)
    try:
        models = [release.model(arguments.model)] if arguments.model else list(release.models.values())
        cards = [(model.directory / "card.md").read_text(encoding="utf-8") for model in models]
        answer(arguments, "\n".join(cards), {model.name: model.report for model in models})
    finally:
        release.close()
    return 0
