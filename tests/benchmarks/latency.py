"""How fast a running service answers: medians one by one, and requests per second of many clients.

    python -m tests.benchmarks.latency --base http://127.0.0.1:8080 \\
        [--peer tap=URL table=NAME ssa=URL links=URL soda=URL ids=FILE] [--only SSA links]

Every request differs from the one before (another row, another place), so that an answer kept from
before does not win; the text of rows that were written before is kept by us, as facts of spectra are. With
`--peer` the same kinds of request go to another service, and the ratio is printed. Our cone has the diameter
`size`; DaCHS takes SIZE for the radius, so that it is asked for half of it.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

Ask = Callable[[int], str]  # the n-th request's URL


@dataclass(frozen=True)
class Timing:
    """Seconds per request, in order of asking."""

    seconds: list[float]
    size: int

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        return sorted(self.seconds)[int(0.95 * len(self.seconds))]


def fetch(connection: HTTPConnection, url: str) -> bytes:
    parts = urlsplit(url)
    connection.request("GET", f"{parts.path}?{parts.query}")
    response = connection.getresponse()
    body = response.read()
    if response.status != 200 or b'"ERROR"' in body[:4000]:
        raise SystemExit(f"{url}: HTTP {response.status}\n{body[:800].decode(errors='replace')}")
    return body


def connect(url: str) -> HTTPConnection:
    return HTTPConnection(urlsplit(url).netloc, timeout=60)


def one_by_one(ask: Ask, count: int, warm: int = 5) -> Timing:
    """Sequential requests on one kept-alive connection."""
    connection, seconds, size = connect(ask(0)), [], 0
    for number in range(warm + count):
        started = time.perf_counter()
        size = len(fetch(connection, ask(number)))
        seconds.append(time.perf_counter() - started)
    return Timing(seconds[warm:], size)


def together(ask: Ask, clients: int, seconds: float) -> float:
    """Answers per second of that many clients at once."""
    numbers, answers = itertools.count(), [0] * clients
    until = time.perf_counter() + seconds

    def client(place: int) -> None:
        connection = connect(ask(0))
        while time.perf_counter() < until:
            fetch(connection, ask(next(numbers)))
            answers[place] += 1

    threads = [threading.Thread(target=client, args=(place,)) for place in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answers) / seconds


def holdings(base: str) -> list[dict[str, str]]:
    """Identifiers and places of what the service has."""
    query = (
        "SELECT TOP 500 ssa_pubdid, ra, dec FROM doppel.optical "
        "JOIN doppel.spectra USING (ssa_pubdid) WHERE ra IS NOT NULL"
    )
    url = f"{base}/tap/sync?" + urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": query})
    return list(csv.DictReader(io.StringIO(fetch(connect(url), url).decode())))


def place(rows: Sequence[Mapping[str, str]], number: int) -> str:
    """Where spectra are dense, never twice the same."""
    middle = sorted(rows, key=lambda row: float(row["ra"]))[len(rows) // 2]
    return f"{float(middle['ra']) + number * 1e-6:.6f},{middle['dec']}"


def ours(base: str, size: float) -> dict[str, Ask]:
    rows = holdings(base)

    def row(number: int) -> dict[str, str]:
        return rows[number % len(rows)]

    def nearest(number: int, table: str = "doppel.optical") -> str:
        did = row(number)["ssa_pubdid"].replace("'", "''")
        distance = f"latent_distance(ssa_pubdid, '{did}')"
        return f"SELECT TOP 10 ssa_pubdid, {distance} AS d FROM {table} ORDER BY d"

    def tap(query: Callable[[int], str]) -> Ask:
        return lambda n: f"{base}/tap/sync?" + urlencode({"LANG": "ADQL", "QUERY": query(n)})

    return {
        "TAP TOP 1": tap(lambda n: f"SELECT TOP 1 * FROM doppel.spectra WHERE ra > {n * 1e-5:.5f}"),
        "SSA cone": lambda n: (
            f"{base}/ssa?" + urlencode({"REQUEST": "queryData", "POS": place(rows, n), "SIZE": f"{size:g}"})
        ),
        "links": lambda n: f"{base}/datalink/links?" + urlencode({"ID": row(n)["ssa_pubdid"]}),
        "SODA cutout": lambda n: (
            f"{base}/soda/sync?" + urlencode({"ID": row(n)["ssa_pubdid"], "BAND": band(n)})
        ),
        "similar_to": lambda n: f"{base}/similar_to?" + urlencode({"ID": row(n)["ssa_pubdid"], "TOP": "10"}),
        "TAP latent_distance": tap(nearest),
        "TAP latent_distance, WHERE": tap(
            lambda n: nearest(n, f"doppel.spectra WHERE teff > {4800 + n * 0.01:.2f}")
        ),
        "SSA SIMILAR_TO": lambda n: (
            f"{base}/ssa?" + urlencode({"SIMILAR_TO": row(n)["ssa_pubdid"], "TOP": "10"})
        ),
    }


def band(number: int) -> str:
    """A fourth of the optical wavelengths, in metres."""
    return f"{5e-7 + number * 1e-13:.13g} 6e-7"


def peers(
    spec: Mapping[str, str], rows: Sequence[Mapping[str, str]], size: float
) -> Iterator[tuple[str, Ask]]:
    """Requests of the same kind to another service: `spec` has tap and table, ssa, links, soda and ids, a
    file with one identifier in a line. Its cones have the places of our holdings."""
    ids = Path(spec["ids"]).read_text(encoding="utf-8").split() if "ids" in spec else []
    if "tap" in spec:
        query = "SELECT TOP 1 * FROM {table} WHERE ra > {place:.5f}"
        yield (
            "TAP TOP 1",
            lambda n: (
                f"{spec['tap']}/sync?"
                + urlencode(
                    {
                        "LANG": "ADQL",
                        "REQUEST": "doQuery",
                        "QUERY": query.format(table=spec["table"], place=n * 1e-5),
                    }
                )
            ),
        )
    if "ssa" in spec:
        yield (
            "SSA cone",
            lambda n: (
                f"{spec['ssa']}?"
                + urlencode({"REQUEST": "queryData", "POS": place(rows, n), "SIZE": f"{size / 2:g}"})
            ),
        )
    if "links" in spec:
        yield "links", lambda n: f"{spec['links']}?" + urlencode({"ID": ids[n % len(ids)]})
    if "soda" in spec:
        yield (
            "SODA cutout",
            lambda n: f"{spec['soda']}?" + urlencode({"ID": ids[n % len(ids)], "BAND": band(n)}),
        )


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--base", required=True)
    options.add_argument("--peer", nargs="*", default=[], metavar="KEY=VALUE")
    options.add_argument("--only", nargs="*", default=[], metavar="REQUEST", help="beginnings of names")
    options.add_argument("--size", type=float, default=4.0, help="diameter of cones in degrees")
    options.add_argument("--count", type=int, default=60)
    options.add_argument("--clients", type=int, default=16)
    options.add_argument("--seconds", type=float, default=5)
    given = options.parse_args()
    base = given.base.rstrip("/")
    peer = dict(peers(dict(pair.split("=", 1) for pair in given.peer), holdings(base), given.size))
    heads = ("median ms", "p95 ms", "bytes", "req/s", "peer ms", "peer req/s", "ratio")
    print(f"{'request':22}" + "".join(f"{head:>11}" for head in heads))
    for name, ask in ours(base, given.size).items():
        if given.only and not name.startswith(tuple(given.only)):
            continue
        timing, rate = one_by_one(ask, given.count), together(ask, given.clients, given.seconds)
        line = (
            f"{name:22} {timing.median * 1e3:10.1f} {timing.p95 * 1e3:10.1f} {timing.size:10d} {rate:10.1f}"
        )
        if name in peer:
            theirs, their_rate = (
                one_by_one(peer[name], given.count),
                together(peer[name], given.clients, given.seconds),
            )
            line += f" {theirs.median * 1e3:10.1f} {their_rate:10.1f} {rate / their_rate:10.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
