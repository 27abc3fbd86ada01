"""`doppel samp` on a real hub: what programs send, and what they get back."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from astropy.table import Table

from index.release import OpenRelease
from tests.samp import Program, doppel_samp, hub, until
from tests.serving import PATIENCE

TABLE, ROW, POINT = "table.load.votable", "table.highlight.row", "coord.pointAt.sky"
SPECTRUM, SCRIPT = "spectrum.load.ssa-generic", "script.aladin.send"
K = 4
pytestmark = pytest.mark.filterwarnings("ignore:.*Angstrom:astropy.units.errors.UnitsWarning")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samp") / "samp.log"


@pytest.fixture(scope="module")
def joined(live: str, lockfile: Path, log: Path) -> Iterator[None]:
    with doppel_samp(live, lockfile, log, "-k", str(K), "--spectra", "2"):
        yield


@pytest.fixture
def topcat(lockfile: Path) -> Iterator[Program]:
    program = Program(lockfile, "a table program", TABLE)
    yield program
    program.leave()


@pytest.fixture
def doppel(joined: None, topcat: Program) -> str:
    return topcat.find("Doppel")


@pytest.fixture(scope="module")
def star(release: OpenRelease) -> tuple[str, float, float]:
    """A spectrum with a position and an embedding: its DID, ra, dec."""
    rows = release.models["optical"].vectors.rows.tolist()
    facts = next(facts for facts, _, _ in release.described(rows) if facts.ra is not None)
    assert facts.ra is not None
    assert facts.dec is not None
    return facts.publisher_did, facts.ra, facts.dec


def table_of(live: str, adql: str) -> str:
    return f"{live}/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': adql})}"


def rows(url: str) -> Table:
    with urlopen(url, timeout=PATIENCE) as stream:
        return Table.read(io.BytesIO(stream.read()), format="votable")


def test_m02_a_highlighted_row_of_a_table_that_was_sent_is_answered(
    live: str, topcat: Program, doppel: str
) -> None:
    url = table_of(live, "SELECT TOP 150 ssa_pubdid AS who, anomaly FROM doppel.optical ORDER BY 1")
    sent = topcat.ask(doppel, TABLE, {"url": url, "table-id": "mine"})
    assert sent["samp.status"] == "samp.error"
    assert "150 spectra, and up to 100 are answered at once" in sent["samp.error"]["samp.errortxt"]
    assert topcat.messages == []
    reply = topcat.ask(doppel, ROW, {"table-id": "mine", "row": "7"})
    assert reply["samp.status"] == "samp.ok"
    (table,) = until(lambda: topcat.messages, "table of neighbours")
    asked = rows(url)["who"][7]
    found = rows(table["url"])
    assert len(found) == K
    assert asked not in set(found["ssa_pubDID"])
    assert table["name"] == f"Likes of {asked.rpartition('?')[2]}"


def test_a_row_of_the_neighbours_is_the_next_question(
    live: str, topcat: Program, doppel: str, star: Any
) -> None:
    url = table_of(live, f"SELECT ssa_pubdid FROM doppel.spectra WHERE ssa_pubdid = '{star[0]}'")
    assert topcat.ask(doppel, TABLE, {"url": url})["samp.status"] == "samp.ok"
    (first,) = until(lambda: topcat.messages, "neighbours")
    reply = topcat.ask(doppel, ROW, {"table-id": first["table-id"], "url": first["url"], "row": "0"})
    assert reply["samp.status"] == "samp.ok"
    _, second = until(lambda: len(topcat.messages) == 2 and topcat.messages, "neighbours of a neighbour")
    nearest = rows(first["url"])["ssa_pubDID"][0]
    assert second["name"] == f"Likes of {nearest.rpartition('?')[2]}"


def test_rows_of_a_table_with_several_spectra_are_answered_together(
    live: str, topcat: Program, doppel: str
) -> None:
    url = table_of(live, "SELECT TOP 3 ssa_pubdid FROM doppel.optical ORDER BY 1")
    assert topcat.ask(doppel, TABLE, {"url": url})["samp.status"] == "samp.ok"
    (table,) = until(lambda: topcat.messages, "neighbours")
    assert len(rows(table["url"])) == 3 * K
    assert len(set(rows(table["url"])["reference"])) == 3


def test_a_position_is_answered_by_the_spectrum_nearest_to_it(
    topcat: Program, doppel: str, star: Any
) -> None:
    reply = topcat.ask(doppel, POINT, {"ra": str(star[1]), "dec": str(star[2] + 0.001)})
    assert reply["samp.status"] == "samp.ok"
    assert until(lambda: topcat.messages, "neighbours")
    nothing = topcat.ask(doppel, POINT, {"ra": "0.0", "dec": "-89.9"})
    assert "no spectrum within 1′" in nothing["samp.error"]["samp.errortxt"]


@pytest.mark.parametrize(
    ("mtype", "params", "words"),
    [
        (ROW, {"table-id": "never seen", "row": "1"}, "send it to Doppel once"),
        (ROW, {"url": "gopher://x/y", "row": "1"}, "addresses begin with"),
        (POINT, {"ra": "ten", "dec": "1"}, "ra must be a number, not ten"),
        (POINT, {"ra": "10", "dec": "100"}, "no position in degrees"),
        (SPECTRUM, {"name": "nothing"}, "neither a url nor an identifier"),
        (TABLE, {"url": "http://127.0.0.1:9/none"}, "can not be read"),
    ],
)
def test_what_can_not_be_answered_is_told(
    topcat: Program, doppel: str, mtype: str, params: dict[str, str], words: str
) -> None:
    reply = topcat.ask(doppel, mtype, params)
    assert reply["samp.status"] == "samp.error"
    assert words in reply["samp.error"]["samp.errortxt"]


def test_m04_neighbours_go_to_a_spectrum_program_called_with_what_it_needs(
    live: str, lockfile: Path, topcat: Program, doppel: str, star: Any
) -> None:
    splat = Program(lockfile, "a spectrum program", SPECTRUM)
    nearest = list(rows(f"{live}/similar_to?{urlencode({'ID': star[0], 'TOP': K})}")["ssa_pubDID"])
    topcat.ask(doppel, SPECTRUM, {"url": "", "spectrum-id": star[0], "name": "mine", "meta": {}})
    got = until(lambda: len(splat.messages) == 2 and splat.messages, "two spectra")
    splat.leave()
    assert [message["spectrum-id"] for message in got] == nearest[:2]
    for message in got:
        assert message["called"]
        meta = message["meta"]
        assert meta["Access.Format"] == "application/x-votable+xml"
        assert meta["Access.Reference"] == message["url"]
        assert message["name"] == meta["Target.Name"]
        table = rows(message["url"])
        assert {meta["Dataset.SpectralAxis"], meta["Dataset.FluxAxis"]} <= set(table.colnames)
        assert all(isinstance(value, str) for value in meta.values())


def test_aladin_gets_table_and_position_and_its_echo_is_no_question(
    lockfile: Path, topcat: Program, doppel: str, star: Any
) -> None:
    aladin = Program(lockfile, "a sky atlas", SCRIPT, TABLE, POINT)
    topcat.ask(doppel, SPECTRUM, {"spectrum-id": star[0]})
    until(lambda: len(aladin.messages) == 2, "table and position")
    (table,), (point,) = aladin.of_kind(TABLE), aladin.of_kind(POINT)
    assert 0 <= float(point["ra"]) <= 360
    place = rows(table["url"])["ssa_location"][0]
    assert (float(point["ra"]), float(point["dec"])) == pytest.approx(tuple(place))
    echo = aladin.ask(doppel, POINT, {"ra": point["ra"], "dec": point["dec"]})
    assert echo["samp.status"] == "samp.ok"
    assert len(aladin.messages) == 2
    aladin.leave()


def test_a_foreign_file_is_compared_by_its_pixels(
    live: str, release: OpenRelease, topcat: Program, doppel: str, star: Any, tmp_path: Path
) -> None:
    row = release.row_of(star[0])
    assert row is not None
    file = tmp_path / "mine.fits"
    file.write_bytes(release.original(row).read_bytes())
    reply = topcat.ask(
        doppel,
        SPECTRUM,
        {"url": file.as_uri(), "meta": {"ssa:Curation.PublisherDID": "ivo://elsewhere/x?1"}},
    )
    assert reply["samp.status"] == "samp.ok", reply
    (table,) = until(lambda: topcat.messages, "neighbours")
    assert rows(table["url"])["ssa_pubDID"][0] == star[0]


def test_m03_addresses_that_are_sent_are_absolute_and_need_no_cookie(
    live: str, topcat: Program, doppel: str, star: Any
) -> None:
    topcat.ask(doppel, SPECTRUM, {"spectrum-id": star[0]})
    (table,) = until(lambda: topcat.messages, "neighbours")
    assert table["url"].startswith(f"{live}/similar_to?ID=ivo%3A%2F%2F")
    with urlopen(table["url"]) as stream:
        assert stream.headers["Content-Type"].startswith("application/x-votable+xml")
        assert stream.url == table["url"]


def test_without_a_hub_it_says_so(live: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with doppel_samp(live, tmp_path / "none", log) as process:
        assert process.wait(timeout=PATIENCE) == 1
    assert log.read_text().strip() == (
        "doppel samp: no SAMP hub is running: start TOPCAT, Aladin or SPLAT-VO first, they bring one"
    )


def test_without_a_service_it_says_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with doppel_samp("http://127.0.0.1:9", tmp_path / "none", log) as process:
        assert process.wait(timeout=PATIENCE) == 1
    assert "http://127.0.0.1:9 does not answer" in log.read_text()


def names(program: Program) -> list[str]:
    """Of all programs on the hub."""
    client = program.client
    return [client.get_metadata(one).get("samp.name", "") for one in client.get_registered_clients()]


def test_it_joins_the_next_hub_and_ends_cleanly(live: str, tmp_path: Path) -> None:
    lock, log = tmp_path / "samp", tmp_path / "log"
    with ExitStack() as stack:
        with hub(lock):
            process = stack.enter_context(doppel_samp(live, lock, log))
            first = Program(lock, "first", TABLE)
            first.find("Doppel")
            first.leave()
        until(lambda: "the hub has gone" in log.read_text(), "notice of the hub's end")
        stack.enter_context(hub(lock))
        second = Program(lock, "second", TABLE)
        second.find("Doppel")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 0
        assert "Doppel" not in names(second)
        second.leave()
    said = [line.partition(" ")[2] for line in log.read_text().splitlines()]
    assert said == [
        "joined the hub",
        "the hub has gone; waiting for the next",
        "joined the hub again",
        "left the hub",
    ]
