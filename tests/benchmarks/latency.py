"""How fast a running service answers: medians one by one, and requests per second of many clients.

    python -m tests.benchmarks.latency --base http://127.0.0.1:8080 \\
        [--peer tap=URL table=NAME ssa=URL links=URL id=DID]

Every request differs from the one before (another row, another place), so that an answer kept from
before does not win. With `--peer` the same kinds of request go to another service in turn, and the ratio is printed.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
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


def ours(base: str) -> dict[str, Ask]:
    rows = holdings(base)

    def row(number: int) -> dict[str, str]:
        return rows[number % len(rows)]

    def place(number: int) -> str:
        return f"{float(row(number)['ra']) + number * 1e-6:.6f},{row(number)['dec']}"

    def nearest(number: int) -> str:
        did = row(number)["ssa_pubdid"].replace("'", "''")
        distance = f"latent_distance(ssa_pubdid, '{did}')"
        return f"SELECT TOP 10 ssa_pubdid, {distance} AS d FROM doppel.optical ORDER BY d"

    def tap(query: Callable[[int], str]) -> Ask:
        return lambda n: f"{base}/tap/sync?" + urlencode({"LANG": "ADQL", "QUERY": query(n)})

    return {
        "TAP TOP 1": tap(lambda n: f"SELECT TOP 1 * FROM doppel.spectra WHERE ra > {n * 1e-5:.5f}"),
        "SSA cone": lambda n: (
            f"{base}/ssa?" + urlencode({"REQUEST": "queryData", "POS": place(n), "SIZE": "2"})
        ),
        "links": lambda n: f"{base}/datalink/links?" + urlencode({"ID": row(n)["ssa_pubdid"]}),
        "similar_to": lambda n: f"{base}/similar_to?" + urlencode({"ID": row(n)["ssa_pubdid"], "TOP": "10"}),
        "TAP latent_distance": tap(nearest),
        "SSA SIMILAR_TO": lambda n: (
            f"{base}/ssa?" + urlencode({"SIMILAR_TO": row(n)["ssa_pubdid"], "TOP": "10"})
        ),
    }


def peers(spec: Mapping[str, str]) -> Iterator[tuple[str, Ask]]:
    """Requests of the same kind to another service, where `spec` has tap and table, ssa, links and id."""
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
                + urlencode({"REQUEST": "queryData", "POS": f"{150 + n * 1e-6:.6f},2", "SIZE": "2"})
            ),
        )
    if "links" in spec:
        yield "links", lambda n: f"{spec['links']}?" + urlencode({"ID": spec["id"], "RUNID": str(n)})


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--base", required=True)
    options.add_argument("--peer", nargs="*", default=[], metavar="KEY=VALUE")
    options.add_argument("--count", type=int, default=60)
    options.add_argument("--clients", type=int, default=16)
    options.add_argument("--seconds", type=float, default=5)
    given = options.parse_args()
    peer = dict(peers(dict(pair.split("=", 1) for pair in given.peer)))
    heads = ("median ms", "p95 ms", "bytes", "req/s", "peer ms", "peer req/s", "ratio")
    print(f"{'request':22}" + "".join(f"{head:>11}" for head in heads))
    for name, ask in ours(given.base.rstrip("/")).items():
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
