"""What sub-commands share: the configuration they are given, progress, answers for people or scripts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from service.config import Config

OFTEN, SELDOM = 0.2, 5.0  # seconds between two looks at the progress: on a terminal, in a log


def add_config(parser: argparse.ArgumentParser) -> None:
    """`--config FILE` and `--json`."""
    parser.add_argument(
        "--config", type=Path, default=Path("doppel.toml"), metavar="FILE", help="configuration (doppel.toml)"
    )
    parser.add_argument("--json", action="store_true", help="answer in JSON, for scripts")


def configured(arguments: argparse.Namespace) -> Config:
    return Config.read(arguments.config)


def answer(arguments: argparse.Namespace, words: str, values: Mapping[str, object]) -> None:
    """The values as JSON where asked for, else the words."""
    print(json.dumps(values, ensure_ascii=False) if arguments.json else words)


class Bar:
    """Progress on standard error: one bar or line per step."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._tqdm = tqdm
        self._bar: tqdm[NoReturn] | None = None
        self._step = ""

    def __call__(self, step: str, done: int, total: int) -> None:
        """`done` of `total` of a step; a new step closes the bar of the one before."""
        if step != self._step:
            self.close()
            self._step = step
            if not total:
                print(step, file=sys.stderr, flush=True)
                return
            interval = OFTEN if sys.stderr.isatty() else SELDOM
            self._bar = self._tqdm(total=total, desc=step, mininterval=interval, file=sys.stderr)
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._step = None, ""
