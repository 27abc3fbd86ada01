"""TAP beside another server on the same table, in one run: 200,000 rows of 20 columns.

    python -m tests.benchmarks.tap [--peer http://127.0.0.1:8089/tap --peer-table wide.main --peer-pid PID …]

Our side is a release that our own writer makes of the peer's table, served by a process of its own. No two
queries are alike, so that an answer kept from before does not win. Every request opens a connection. Printed
are medians, first bytes, CPU time of the server's processes per request, and the ratio of the two.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np
import pyarrow as pa

from encoder.collection import CollectionConfig
from index.release import Releases
from registry_metadata.columns import Column, Table
from tests import synthetic
from tests.conftest import write_config
from tests.serving import serving

ROWS = 200_000
NUMBER = itertools.count(1)
TICK = os.sysconf("SC_CLK_TCK")
MULTIPART = "form-data-of-this-benchmark"
FLOATS = tuple(f"f{place:02d}" for place in range(1, 18))


@dataclass(frozen=True)
class Service:
    """A TAP service, its 20-column table, and its processes."""

    tap: str
    table: str
    pids: Sequence[int] = ()

    def sync(self, query: str, **more: str) -> Timed:
        form = {"LANG": "ADQL", "REQUEST": "doQuery", "QUERY": query, **more}
        return self.send("/sync", urlencode(form).encode(), "application/x-www-form-urlencoded")

    def send(self, path: str, body: bytes | None = None, kind: str = "") -> Timed:
        parts = urlsplit(self.tap + path if path.startswith("/") else path)
        started = time.perf_counter()
        connection = http.client.HTTPConnection(parts.netloc, timeout=300)
        headers = {"Content-Type": kind} if kind else {}
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("POST" if body is not None else "GET", target, body, headers)
        response = connection.getresponse()
        first = response.read(1)
        at_first = time.perf_counter() - started
        content = first + response.read()
        connection.close()
        if response.status >= 400 or b'value="ERROR"' in content[:4000] + content[-2000:]:
            raise SystemExit(f"{target}: HTTP {response.status}\n{content[:1500].decode(errors='replace')}")
        place = response.getheader("Location") or ""
        return Timed(time.perf_counter() - started, at_first, len(content), content, place)


@dataclass(frozen=True)
class Timed:
    """Seconds to the last and to the first byte."""

    seconds: float
    first: float
    size: int
    content: bytes = b""
    location: str = ""


Ask = Callable[[Service], Timed]


def number() -> float:
    """A small number that has not been before."""
    return next(NUMBER) * 1e-6


def one_row(service: Service) -> Timed:
    return service.sync(f"SELECT TOP 1 * FROM {service.table} WHERE f01 > {number() - 20:.6f}")


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


def upload(service: Service) -> Timed:
    """100 rows, joined by position."""
    draw = np.random.default_rng(next(NUMBER))
    places = zip(draw.uniform(0, 360, 100), np.degrees(np.arcsin(draw.uniform(-1, 1, 100))), strict=True)
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
    form = {"LANG": "ADQL", "REQUEST": "doQuery", "QUERY": query, "UPLOAD": "mine,param:part"}
    return service.send("/sync", multipart(form, table), f"multipart/form-data; boundary={MULTIPART}")


def multipart(form: dict[str, str], file: str) -> bytes:
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in form.items()]
    kind = "Content-Type: application/x-votable+xml"
    parts.append(f'Content-Disposition: form-data; name="part"; filename="t.vot"\r\n{kind}\r\n\r\n{file}')
    return ("".join(f"--{MULTIPART}\r\n{part}\r\n" for part in parts) + f"--{MULTIPART}--\r\n").encode()


def job(service: Service) -> Timed:
    """From creating it until it is told COMPLETED, asked every 5 ms."""
    started = time.perf_counter()
    query = f"SELECT TOP 1 * FROM {service.table} WHERE f01 > {number() - 20:.6f}"
    form = {"LANG": "ADQL", "REQUEST": "doQuery", "QUERY": query}
    kind = "application/x-www-form-urlencoded"
    place = service.send("/async", urlencode(form).encode(), kind).location
    service.send(f"{place}/phase", b"PHASE=RUN", kind)
    while service.send(f"{place}/phase").content not in (b"COMPLETED", b"ERROR"):
        time.sleep(0.005)
    return Timed(time.perf_counter() - started, 0.0, 0)


LEGS: tuple[tuple[str, Ask, int], ...] = (
    ("TOP 1", one_row, 60),
    ("200,000 rows BINARY2, numbers", whole, 6),
    ("200,000 rows BINARY2, texts and NULLs", mixed, 4),
    ("10,000 rows CSV", text, 12),
    ("cone of 1 degree", cone, 40),
    ("upload of 100 rows, joined by position", upload, 12),
    ("job, from creation to COMPLETED", job, 8),
)


def processes(roots: Sequence[int]) -> set[int]:
    """The processes and all below them."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu(roots: Sequence[int]) -> float:
    """Seconds that they have used, ended children included."""
    spent = 0
    for pid in processes(roots):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        spent += sum(map(int, fields[11:15]))
    return spent / TICK


def megabytes(roots: Sequence[int], key: str = "VmRSS") -> float:
    status = (Path(f"/proc/{pid}/status").read_text() for pid in roots)
    lines = (line for one in status for line in one.splitlines() if line.startswith(key))
    return sum(int(line.split()[1]) for line in lines) / 1024


def measured(name: str, ask: Ask, count: int, services: Sequence[Service]) -> None:
    """One line: both services, asked in turns so that the machine is the same to both."""
    told: list[list[Timed]] = [[] for _ in services]
    spent = [0.0 for _ in services]
    for service in services:
        ask(service)
    for _ in range(count):
        for place, service in enumerate(services):
            before = cpu(service.pids)
            told[place].append(ask(service))
            spent[place] += cpu(service.pids) - before
    medians = [statistics.median(one.seconds for one in timed) for timed in told]
    firsts = [statistics.median(one.first for one in timed) for timed in told]
    cells = [
        f"{1e3 * median:9.1f} {1e3 * first:9.1f} {1e3 * used / count:9.1f}"
        for median, first, used in zip(medians, firsts, spent, strict=True)
    ]
    ratio = f"{medians[-1] / medians[0]:9.1f}" if len(services) > 1 else ""
    print(f"{name:40}{' |'.join(cells)} |{ratio}", flush=True)


def together(services: Sequence[Service], clients: int, seconds: float) -> None:
    """Requests per second of TOP 1 by many clients."""
    rates, spent = [], []
    for service in services:
        before = cpu(service.pids)
        answers = hammered(service, clients, seconds)
        rates.append(answers / seconds)
        spent.append(1e3 * (cpu(service.pids) - before) / max(answers, 1))
    cells = [f"{rate:9.1f}/s {used:6.1f} ms CPU" for rate, used in zip(rates, spent, strict=True)]
    ratio = f"{rates[0] / rates[-1]:9.1f}" if len(services) > 1 else ""
    print(f"{f'TOP 1, {clients} clients':40}{' |'.join(cells)} |{ratio}", flush=True)


def hammered(service: Service, clients: int, seconds: float) -> int:
    until, answers = time.perf_counter() + seconds, [0] * clients

    def client(place: int) -> None:
        while time.perf_counter() < until:
            one_row(service)
            answers[place] += 1

    threads = [threading.Thread(target=client, args=(place,)) for place in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answers)


def wide_table() -> tuple[Table, pa.Table]:
    """The peer's table: an identifier, a position, 17 normally distributed numbers; by zones of the sky."""
    draw = np.random.default_rng(20240229)
    place = [
        Column("id", "long", ucd="meta.id;meta.main"),
        Column("ra", "double", unit="deg", ucd="pos.eq.ra"),
    ]
    place.append(Column("dec", "double", unit="deg", ucd="pos.eq.dec"))
    floats = [Column(name, "float", ucd="stat.value", description="A random number") for name in FLOATS]
    ra, dec = draw.uniform(0, 360, ROWS), np.degrees(np.arcsin(draw.uniform(-1, 1, ROWS)))
    order = np.lexsort((ra, np.floor(2 * dec)))
    values = {"id": np.arange(ROWS), "ra": ra, "dec": dec}
    values |= {name: draw.normal(n, 1, ROWS).astype("f4") for n, name in enumerate(FLOATS, 1)}
    rows = pa.table({name: column[order] for name, column in values.items()})
    return Table("doppel.wide", "Random numbers", (*place, *floats)), rows


def archive(directory: Path) -> Path:
    """The configuration of an archive whose release holds the table."""
    content = synthetic.content(directory / "trained", 60)
    releases = Releases(directory / "releases")
    releases.publish(releases.write(replace(content, extra=(wide_table(),))))
    return write_config(directory, (CollectionConfig(name="first", path="."),))


@contextmanager
def ours(workers: int) -> Iterator[Service]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        config = archive(directory)
        environment = {**os.environ, "DOPPEL_SERVICE_WORKERS": str(workers)}
        before = processes([os.getpid()])
        with serving(config, directory / "log", environment) as base:
            pids = sorted(processes([os.getpid()]) - before)
            yield Service(f"{base}/tap", "doppel.wide", pids)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--peer")
    options.add_argument("--peer-table", default="wide.main")
    options.add_argument("--peer-pid", type=int, nargs="*", default=[])
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--clients", type=int, default=16)
    options.add_argument("--seconds", type=float, default=8)
    options.add_argument("--only", default="", help="legs whose name contains this")
    given = options.parse_args()
    with ours(given.workers) as service:
        services = [service]
        if given.peer:
            services.append(Service(given.peer, given.peer_table, given.peer_pid))
        print(
            f"{'':40}{'      ms     first    CPU ms':>29} |{'   peer ms     first    CPU ms':>30} |    ratio"
        )
        for name, ask, count in LEGS:
            if given.only in name:
                measured(name, ask, count, services)
                print(
                    f"{'':40}{megabytes(service.pids):.0f} MB, at most {megabytes(service.pids, 'VmHWM'):.0f}"
                )
        together(services, given.clients, given.seconds)
        print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
