"""`doppel evaluate`: how well models find what is alike, measured on held-out objects."""

from __future__ import annotations

import argparse

from encoder.evaluate.report import comparison
from index.release import OpenRelease
from index.releases import Releases
from index.training import evaluate
from index.work import BuildError
from service.commands.common import Bar, add_config, answer, configured
from service.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", help="name of a model (all)")
    parser.add_argument("--published", action="store_true", help="show the cards of the published models")
    add_config(parser)


def main(arguments: argparse.Namespace) -> int:
    config = configured(arguments)
    if arguments.published:
        return _published(arguments, config)
    known = [model.name for model in config.plan.models]
    if arguments.model and arguments.model not in known:
        raise BuildError(f"no model {arguments.model!r}; there are: {', '.join(known)}")
    bar = Bar()
    try:
        figures = evaluate(config.plan, [arguments.model] if arguments.model else [], bar)
    finally:
        bar.close()
    answer(arguments, "\n".join(comparison(one) for one in figures.values()), figures)
    return 0


def _published(arguments: argparse.Namespace, config: Config) -> int:
    release = OpenRelease.open(Releases(config.releases).current(), config.index.limits)
    try:
        models = [release.model(arguments.model)] if arguments.model else list(release.models.values())
        cards = [(model.directory / "card.md").read_text(encoding="utf-8") for model in models]
        answer(arguments, "\n".join(cards), {model.name: model.report for model in models})
    finally:
        release.close()
    return 0
