"""`doppel build`: a configuration in, a published release out."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

from index.build import Report, build
from index.settings import BuildPlan
from service.commands.common import Bar, add_config, answer, configured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)


def main(arguments: argparse.Namespace) -> int:
    return published(arguments, build)


def published(arguments: argparse.Namespace, work: Callable[[BuildPlan, Bar], Report]) -> int:
    """Does it with a bar for the steps, and tells what came of it."""
    config = configured(arguments)
    bar = Bar()
    try:
        report = work(config.plan, bar)
    finally:
        bar.close()
    answer(arguments, words(report, str(config.releases / report.release)), asdict(report))
    return 0


def words(report: Report, path: str) -> str:
    """`2105 read, 3 refused (reasons in …)`, and what became of them."""
    lines = [] if report.new else [f"Nothing new since release {report.release}."]
    lines.append(_counts(report, path))
    lines += [f"  {name}: {count} read" for name, count in report.read.items()]
    lines += [f"  refused, {count} times: {why}" for why, count in _reasons(report)]
    lines += [f"  model {name}: {count} embedded" for name, count in report.embedded.items()]
    lines += [f"  {step}: {seconds:.1f} s" for step, seconds in report.seconds.items()]
    if report.new:
        lines.append(f"Published release {report.release}.")
    return "\n".join(lines)


def _counts(report: Report, path: str) -> str:
    where = f" (reasons in {path}/refused.json)" if report.refused else ""
    return f"{sum(report.read.values())} read, {len(report.refused)} refused{where}"


def _reasons(report: Report) -> list[tuple[str, int]]:
    return Counter(refusal.reason for refusal in report.refused).most_common(5)
