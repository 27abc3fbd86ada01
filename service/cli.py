"""The command `doppel`: finds the sub-command, imports that alone, and turns failures into one sentence."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

FAILED, USAGE, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True, slots=True)
class Command:
    """A sub-command: the module has `add_arguments(parser)` and `main(arguments) -> int`."""

    module: str
    summary: str


COMMANDS = {
    "demo": Command("service.commands.demo", "make an archive, train, publish and serve: everything at once"),
    "build": Command("service.commands.build", "read, train, embed, index and publish a release"),
    "append": Command("service.commands.append", "add what is new in the collections to the release"),
    "remove": Command("service.commands.remove", "take spectra out of the release"),
    "serve": Command("service.commands.serve", "serve the published release"),
    "verify": Command("service.commands.verify", "check every byte of a release"),
    "publish": Command("service.commands.publish", "publish a release that exists"),
    "rollback": Command("service.commands.rollback", "publish the release before this one"),
    "releases": Command("service.commands.releases", "list the releases"),
    "evaluate": Command("service.commands.evaluate", "show how well the published models find what is alike"),
    "encode": Command("service.commands.encode", "encode other collections with the published models"),
    "similar": Command("service.similar_command", "neighbours of a spectrum on the terminal"),
    "export": Command(
        "service.commands.export", "write the release for GAVO DaCHS, or its records for a registry"
    ),
    "harvest": Command("service.commands.harvest", "fetch spectra from an SSA service into a collection"),
    "samp": Command("service.commands.samp", "answer TOPCAT, Aladin and SPLAT-VO with neighbours by SAMP"),
    "simulate": Command("service.commands.simulate", "write an archive of simulated stars"),
    "config": Command("service.commands.config", "print every key of the configuration"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one sub-command; 0, 1 where it failed, 2 where it was asked in the wrong way."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parsed = parser_for(words).parse_args(words)
    run = import_module(COMMANDS[parsed.command].module).main
    try:
        return int(run(parsed))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED
    except OSError as error:
        print(f"doppel {parsed.command}: {told(error)}", file=sys.stderr)
        return FAILED
    except told_failures() as error:
        print(f"doppel {parsed.command}: {error}", file=sys.stderr)
        return USAGE if type(error).__name__ == "ConfigError" else FAILED


def parser_for(words: Sequence[str]) -> argparse.ArgumentParser:
    """All sub-commands by name; arguments of the one that is asked for."""
    parser = argparse.ArgumentParser(prog="doppel", description="Finds spectra that are physically alike.")
    parser.add_argument("--version", action="version", version=f"doppel {version('doppel')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = next((word for word in words if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.summary, description=command.summary.capitalize() + ".")
        if name == asked:
            import_module(command.module).add_arguments(one)
    return parser


def told(error: OSError) -> str:
    """What the system refused, in one sentence."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{where}; what was finished is kept, run the same command again"
    return f"{error.strerror or error}{where}"


def told_failures() -> tuple[type[Exception], ...]:
    """Failures whose message is meant for people; everything else is a bug and shown in full."""
    from encoder.collection import CollectionError
    from encoder.harvest import HarvestError
    from encoder.spectrum import RefusedSpectrum
    from index.engines.engine import EngineError
    from index.release import ReleaseError
    from index.work import BuildError
    from service.config import ConfigError
    from service.state import StateError

    service = ConfigError, StateError
    return BuildError, CollectionError, EngineError, HarvestError, ReleaseError, RefusedSpectrum, *service


if __name__ == "__main__":
    sys.exit(main())
