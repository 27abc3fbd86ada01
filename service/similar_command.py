"""`doppel similar ID_OR_FILE`: nearest neighbours on the terminal, of a running service or local release."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from encoder.spectrum import RefusedSpectrum
from service.errors import ServiceFault, UsageFault
from service.own_spectrum import Told, read_own
from service.similar_client import Client, Likes
from service.similar_plot import Line, write_picture
from service.web.entries import Entry

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_K = 10
MAX_K = 1000
PICTURES = (".png", ".svg", ".pdf")
TELLING = {
    "unit": "unit of its wavelengths",
    "medium": "air or vacuum",
    "frame": "rest, heliocentric, barycentric or observed",
    "wave": "name of the column of wavelengths",
    "flux": "name of the column of flux",
    "error": "name of the column of errors",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reference", metavar="ID_OR_FILE", help="identifier or name in the archive, or the file of a spectrum"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", metavar="BASE", default=DEFAULT_URL, help=f"service to ask ({DEFAULT_URL})")
    where.add_argument("--config", metavar="FILE", type=Path, help="ask its release; no service need run")
    parser.add_argument("-k", type=int, default=DEFAULT_K, metavar="N", help=f"neighbours ({DEFAULT_K})")
    parser.add_argument("--space", default="", help="what alike means: a preset, or model:preset")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="picture over them (png, svg, pdf)")
    parser.add_argument("--json", action="store_true", help="answer in JSON, for scripts")
    of_file = parser.add_argument_group("of a file, where it does not say it itself")
    for name, words in TELLING.items():
        of_file.add_argument(f"--{name}", default="", metavar="TEXT", help=words)


def main(arguments: argparse.Namespace) -> int:
    """0, or 1 with the reason on standard error."""
    try:
        check(arguments)
        local = arguments.config is not None
        with served(arguments.config) if local else nullcontext(arguments.url.rstrip("/")) as base:
            run(arguments, Client(base))
    except (ServiceFault, RefusedSpectrum) as fault:
        print(f"doppel similar: {fault}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def served(path: Path) -> Iterator[str]:
    """The published release of a configuration, served on a free port for a moment; its base URL."""
    import uvicorn

    from service.commands.serve import listen, make_application
    from service.config import Config, ServiceConfig

    config = Config.read(path)
    listening = listen(ServiceConfig(port=0))
    service = replace(config.service, port=listening.getsockname()[1], host="127.0.0.1", base_url="")
    app = make_application(replace(config, service=service))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield service.url
    finally:
        server.should_exit = True
        thread.join()
        app.state.holder.close()
        app.state.state.close()


def run(arguments: argparse.Namespace, client: Client) -> None:
    file, told = Path(arguments.reference), told_of(arguments)
    if file.is_file():
        likes = client.likes_of_file(file, told, arguments.k, arguments.space)
    else:
        likes = client.likes_of(arguments.reference, arguments.k, arguments.space)
    print(as_json(likes) if arguments.json else as_text(likes, arguments.reference))
    if arguments.plot is not None:
        write_picture(arguments.plot, lines(likes, file, told, client), likes.grid.start, likes.grid.stop)


def told_of(arguments: argparse.Namespace) -> Told:
    return Told(**{name: getattr(arguments, name) for name in TELLING})


def check(arguments: argparse.Namespace) -> None:
    if not 1 <= arguments.k <= MAX_K:
        raise UsageFault(f"-k is out of range: {arguments.k}; allowed 1 to {MAX_K}")
    if arguments.plot is not None and arguments.plot.suffix not in PICTURES:
        raise UsageFault(
            f"--plot can not write {arguments.plot}: its name ends in one of {', '.join(PICTURES)}"
        )


HEAD = ("", "object", "type", "Teff/K", "log g", "[Fe/H]", "distance", "farther", "collection", "identifier")


def as_text(likes: Likes, reference: str) -> str:
    """A table; the query first, then the nearest. `farther`: share of known repeat pairs farther apart."""
    first = ("query", *cells(likes.chosen)) if likes.chosen else ("", reference, *[""] * (len(HEAD) - 2))
    rows = [HEAD, first, *((str(number), *cells(near)) for number, near in enumerate(likes.nearest, 1))]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEAD))]
    padded = (map(str.ljust, row, widths) for row in rows)
    return "\n".join("  ".join(row).rstrip() for row in padded)


def cells(one: Entry) -> tuple[str, ...]:
    """What HEAD names; a dash where the archive does not say."""
    return (
        one.name,
        one.kind or "-",
        _cell(one.teff, ".0f"),
        _cell(one.logg, ".2f"),
        _cell(one.feh, "+.2f"),
        _cell(one.distance, ".3f"),
        _cell(one.share, ".0%"),
        one.collection or "-",
        one.did,
    )


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def as_json(likes: Likes) -> str:
    told = {
        "query": None if likes.chosen is None else likes.chosen.did,
        "neighbours": [
            {
                "publisher_did": near.did, "object": near.name, "type": near.kind, "teff": near.teff,
                "logg": near.logg, "feh": near.feh, "distance": near.distance, "repeats_farther": near.share,
            }
            for near in likes.nearest
        ],
    }  # fmt: skip
    return json.dumps(told, ensure_ascii=False, indent=1)


def lines(likes: Likes, file: Path, told: Told, client: Client) -> list[Line]:
    """The query and its neighbours with their pixels."""
    if likes.chosen is None:
        first = Line(file.name, "own spectrum", read_own(file.read_bytes(), told).spectrum)
    else:
        first = Line(likes.chosen.name, described(likes.chosen), client.spectrum(likes.chosen))
    return [first, *(Line(near.name, described(near), client.spectrum(near)) for near in likes.nearest)]


def described(one: Entry) -> str:
    """Type, temperature and distance, as far as known."""
    words = [one.kind, None if one.teff is None else f"{one.teff:.0f} K"]
    known = ", ".join(word for word in words if word)
    return known if one.distance is None else f"{known} · distance {one.distance:.2f}".removeprefix(" · ")
