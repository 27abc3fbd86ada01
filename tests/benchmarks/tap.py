"""TAP beside another server on the same table, in one run: 200,000 rows of 20 columns; and 5 million of ours.

    python -m tests.benchmarks.tap [--peer http://127.0.0.1:8089/tap --peer-table wide.main --peer-pid PID …]

Our side is a release that our own writer makes of the peer's table, served by a process of its own. No two
queries are alike, so that an answer kept from before does not win. Every request opens a connection, and both
services are asked in turns. Printed are medians, first bytes, CPU time of the server's processes per request,
and the ratios of wall and CPU time; requests per second with one and with two processes; memory while rows
stream; questions to 5 million rows; and an upload of 100,000 rows, which the peer would not take.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from urllib.parse import urlencode

import numpy as np

from tests.benchmarks.client import FORM, MULTIPART, Service, Timed, form, hammered, multipart
from tests.benchmarks.server import FLOATS, LARGE, ROWS, archive, cpu, forget_peak, megabytes, served

NUMBER = itertools.count(1)
TURN = 10  # answers of one service before the next is asked
STREAMED = (200_000, 1_000_000, 4_000_000)
FORMATS = (
    "votable", "votable/b2", "votable/b", "csv", "tsv", "json", "fits", "parquet", "arrow", "html", "text"
)  # fmt: skip

Ask = Callable[[Service], Timed]


def number() -> float:
    """A small number that has not been before."""
    return next(NUMBER) * 1e-6


def first_row(table: str) -> str:
    return f"SELECT TOP 1 * FROM {table} WHERE f01 > {number() - 20:.6f}"


def one_row(service: Service) -> Timed:
    return service.sync(first_row(service.table))


def whole(service: Service) -> Timed:
    query = f"SELECT TOP {ROWS} * FROM {service.table} WHERE f01 > {number() - 99:.6f}"
    return service.sync(query, MAXREC=str(ROWS), RESPONSEFORMAT="votable/b2")


def mixed(service: Service) -> Timed:
    """Texts, and NULLs in a third of the cells."""
    floats = ", ".join(f"b.{name}" for name in FLOATS[:8])
    query = (
        f"SELECT TOP {ROWS} 'object ' || CAST(a.id AS VARCHAR(12)) AS name, a.id, a.ra, {floats} "
        f"FROM {service.table} AS a LEFT OUTER JOIN "
        f"(SELECT * FROM {service.table} WHERE f01 > {number() + 0.5:.6f}) AS b ON a.id = b.id"
    )
    return service.sync(query, MAXREC=str(ROWS), RESPONSEFORMAT="votable/b2")


def text(service: Service) -> Timed:
    query = f"SELECT TOP 10000 * FROM {service.table} WHERE f01 > {number() - 99:.6f}"
    return service.sync(query, MAXREC="10000", RESPONSEFORMAT="csv")


def cone(service: Service) -> Timed:
    inside = f"CONTAINS(POINT(ra, dec), CIRCLE({150 + number():.6f}, 2, 1))"
    return service.sync(f"SELECT * FROM {service.table} WHERE 1 = {inside}")


def upload(service: Service, rows: int = 100) -> Timed:
    """Places all over the sky, joined by position."""
    draw = np.random.default_rng(next(NUMBER))
    places = zip(draw.uniform(0, 360, rows), np.degrees(np.arcsin(draw.uniform(-1, 1, rows))), strict=True)
    cells = "".join(f"<TR><TD>{n}</TD><TD>{ra}</TD><TD>{dec}</TD></TR>" for n, (ra, dec) in enumerate(places))
    table = (
        '<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
        '<FIELD name="n" datatype="int"/><FIELD name="ra" datatype="double" unit="deg"/>'
        '<FIELD name="dec" datatype="double" unit="deg"/>'
        f"<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    query = (
        f"SELECT u.n, w.id, w.f01 FROM TAP_UPLOAD.mine AS u JOIN {service.table} AS w "
        "ON 1 = CONTAINS(POINT(w.ra, w.dec), CIRCLE(u.ra, u.dec, 0.5))"
    )
    body = multipart(form(query, UPLOAD="mine,param:part", MAXREC=str(ROWS)), table)
    return service.send("/sync", body, f"multipart/form-data; boundary={MULTIPART}")


def job(service: Service) -> Timed:
    """From creating it until it is told COMPLETED, asked every 5 ms."""
    started = time.perf_counter()
    place = service.send("/async", urlencode(form(first_row(service.table))).encode(), FORM).location
    service.send(f"{place}/phase", b"PHASE=RUN", FORM)
    while service.send(f"{place}/phase").content not in (b"COMPLETED", b"ERROR"):
        time.sleep(0.005)
    return Timed(time.perf_counter() - started, 0.0, 0)


LEGS: tuple[tuple[str, Ask, int], ...] = (
    ("TOP 1", one_row, 60),
    ("200,000 rows BINARY2, numbers", whole, 6),
    ("200,000 rows BINARY2, texts and NULLs", mixed, 4),
    ("10,000 rows CSV", text, 16),
    ("cone of 1 degree", cone, 40),
    ("upload of 100 rows, joined by position", upload, 12),
    ("job, from creation to COMPLETED", job, 6),
)
QUESTIONS: tuple[tuple[str, Callable[[], str]], ...] = (
    ("count", lambda: f"SELECT COUNT(*) FROM {LARGE} WHERE flux > {20 + number():.6f}"),
    (
        "aggregate",
        lambda: f"SELECT AVG(flux), MIN(dec), MAX(ra), SUM(id) FROM {LARGE} WHERE dec > {number():.6f}",
    ),
    (
        "GROUP BY",
        lambda: (
            f"SELECT class, COUNT(*), AVG(flux) FROM {LARGE} WHERE flux > {15 + number():.6f} GROUP BY class"
        ),
    ),
    (
        "cone of 1 degree",
        lambda: (
            f"SELECT * FROM {LARGE} WHERE 1 = "
            f"CONTAINS(POINT(ra, dec), CIRCLE({(next(NUMBER) * 77.7) % 360:.6f}, {number() + 30:.6f}, 1))"
        ),
    ),
)


def measured(name: str, ask: Ask, count: int, services: Sequence[Service]) -> None:
    """One line: all services in turns so that the machine is the same to all, each TURN times after one that
    is not counted: what another has left in the processor's caches is not its own."""
    told: list[list[Timed]] = [[] for _ in services]
    spent = [0.0 for _ in services]
    for begin in range(0, count, TURN):
        for place, service in enumerate(services):
            ask(service)
            before = cpu(service.pids)
            told[place] += [ask(service) for _ in range(min(TURN, count - begin))]
            spent[place] += cpu(service.pids) - before
    medians = [statistics.median(one.seconds for one in timed) for timed in told]
    firsts = [statistics.median(one.first for one in timed) for timed in told]
    cells = [
        f"{1e3 * median:9.1f} {1e3 * first:9.1f} {1e3 * used / count:9.1f}"
        for median, first, used in zip(medians, firsts, spent, strict=True)
    ]
    ratio = ""
    if len(services) > 1:
        ratio = f"{medians[-1] / medians[0]:9.1f} {spent[-1] / max(spent[0], 0.01):9.1f}"
    print(f"{name:40}{' |'.join(cells)} |{ratio}", flush=True)


def together(name: str, service: Service, clients: int, seconds: float) -> float:
    """Requests per second of TOP 1 by many clients."""
    before = cpu(service.pids)
    rate = hammered(service, lambda: first_row(service.table), clients, seconds)
    spent = 1e3 * (cpu(service.pids) - before) / max(rate.answers * seconds, 1)
    print(
        f"TOP 1, {clients} clients, {name:18}{rate.answers:9.1f}/s {spent:6.1f} ms CPU; "
        f"asking took {100 * rate.asking:.0f} % of a core",
        flush=True,
    )
    return rate.answers


def streamed(service: Service, wanted: str) -> None:
    """The most memory of the server while rows stream, in MB, for every format; after one answer, since the
    engine keeps what it has read of the table, up to its limit of memory."""
    service.drain(f"SELECT * FROM {LARGE}", MAXREC=str(STREAMED[-1]), RESPONSEFORMAT="arrow")
    print(f"{'MB resident at most, rows streamed:':40}{''.join(f'{rows:12,}' for rows in STREAMED)}")
    for name in FORMATS:
        if wanted not in name:
            continue
        peaks = []
        for rows in STREAMED:
            forget_peak(service.pids)
            query = f"SELECT TOP {rows} * FROM {LARGE} WHERE dec > {number() - 91:.6f}"
            service.drain(query, MAXREC=str(rows), RESPONSEFORMAT=name)
            peaks.append(megabytes(service.pids, "VmHWM"))
        print(f"{name:40}{''.join(f'{peak:12.0f}' for peak in peaks)}", flush=True)


def large(service: Service, count: int) -> None:
    """Questions to the large table: the first of each; of more the median, the quickest quarter, the CPU time
    of the service."""
    for name, query in QUESTIONS:
        cold, before = service.sync(query()).seconds, cpu(service.pids)
        quarter, median, _ = statistics.quantiles(service.sync(query()).seconds for _ in range(count))
        spent = (cpu(service.pids) - before) / count
        told = f"a quarter in {1e3 * quarter:.1f} ms, {1e3 * spent:.1f} ms CPU, the first {1e3 * cold:.1f} ms"
        print(f"{f'{name} of {LARGE}':40}{1e3 * median:9.1f} ms, {told}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--peer")
    options.add_argument("--peer-table", default="wide.main")
    options.add_argument("--peer-pid", type=int, nargs="*", default=[])
    options.add_argument("--clients", type=int, default=16)
    options.add_argument("--seconds", type=float, default=8)
    options.add_argument("--large", type=int, default=5_000_000, help="rows of the large table")
    options.add_argument("--parts", nargs="*", default=["legs", "rates", "large", "memory"])
    options.add_argument("--only", default="", help="legs and formats whose name contains this")
    given = options.parse_args()
    peers = [Service(given.peer, given.peer_table, given.peer_pid)] if given.peer else []
    with archive(given.large) as config:
        with served(config, 1) as service:
            report(given, service, peers)
        if "rates" in given.parts:
            with served(config, 2) as service:
                together("2 processes", service, given.clients, given.seconds)
    print(f"load average {os.getloadavg()[0]:.1f}")


def report(given: argparse.Namespace, service: Service, peers: Sequence[Service]) -> None:
    """All parts that one process of ours takes part in."""
    if "large" in given.parts:
        large(service, 20)
        measured("upload of 100,000 rows, joined", partial(upload, rows=100_000), 3, [service])
    if "legs" in given.parts:
        heads = (
            f"{'      ms     first    CPU ms':>29} |{'   peer ms     first    CPU ms':>30} |    ratio of CPU"
        )
        print(f"{'':40}{heads}")
        for name, ask, count in LEGS:
            if given.only in name:
                measured(name, ask, count, [service, *peers])
    if "rates" in given.parts:
        rate = together("1 process", service, given.clients, given.seconds)
        for peer in peers:
            theirs = together("peer", peer, given.clients, given.seconds)
            print(f"{'':40}{rate / theirs:9.1f} times the peer's rate")
    if "memory" in given.parts:
        streamed(service, given.only)


if __name__ == "__main__":
    main()
