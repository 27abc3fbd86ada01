"""TOPCAT itself: tables by SAMP, likes by its form of the service descriptor, `doppel samp` on its hub."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from astropy.table import Table

from tests.samp import Program, doppel_samp, until
from tests.topcat import ACTIONS, CONTROL, INVOKE, PLOT, TAP, Topcat

TABLE = "table.load.votable"


@pytest.fixture(scope="module")
def script(topcat: Topcat) -> Iterator[Program]:
    program = Program(topcat.lockfile, "a script")
    yield program
    program.leave()


def ssa(live: str, **asked: str) -> str:
    return f"{live}/ssa?{urlencode({'REQUEST': 'queryData', **asked})}"


def tap(live: str, query: str, **asked: str) -> str:
    return f"{live}/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': query, **asked})}"


def read(url: str) -> Table:
    with urlopen(url, timeout=60) as stream:
        return Table.read(io.BytesIO(stream.read()), format="votable")


def send(script: Program, topcat: Topcat, url: str, name: str) -> None:
    """By SAMP; TOPCAT replies when it has read the table."""
    reply = script.ask(script.find("topcat"), TABLE, {"url": url, "table-id": url, "name": name})
    assert reply["samp.status"] == "samp.ok", reply
    until(lambda: name in topcat.tables(), f"table {name} in TOPCAT")


def bring(script: Program, topcat: Topcat, table: Table, file: Path) -> int:
    """Sends a table from a file; how many TOPCAT has then, which is its number there."""
    table.write(file, format="votable")
    send(script, topcat, file.as_uri(), file.stem)
    return len(topcat.tables())


def use_tap(topcat: Topcat, live: str) -> None:
    """Opens the TAP window for our service and waits until it knows our functions."""
    topcat.wait("click", CONTROL, TAP)
    topcat.wait("fill", TAP, "TAP URL", f"{live}/tap")
    topcat.wait("click", TAP, "Use Service")
    until(lambda: any("latent_distance" in text for text in topcat.do("texts", TAP)), "functions in TOPCAT")


def act(topcat: Topcat, action: str) -> str:
    """Opens the activation window of the current table and chooses an action; the title of the window."""
    window = topcat.window(ACTIONS)
    topcat.wait("click", CONTROL, ACTIONS)
    topcat.wait("choose", window, action)
    return window


@pytest.mark.parametrize("form", ["votable", "votable/td", "votable/b2"])
def test_topcat_loads_tap_results_in_every_serialisation(
    live: str, topcat: Topcat, script: Program, form: str
) -> None:
    url = tap(live, "SELECT TOP 7 * FROM doppel.spectra ORDER BY ssa_pubdid", RESPONSEFORMAT=form)
    send(script, topcat, url, form.replace("/", " as "))
    assert topcat.rows() == 7
    assert str(read(url)["ssa_pubdid"][0]) in topcat.cells()


@pytest.mark.parametrize("kind", ["ssa", "tap"])
def test_l35_topcat_invokes_the_similar_service_through_its_activation_window(
    live: str, topcat: Topcat, script: Program, kind: str
) -> None:
    query = "SELECT TOP 3 ssa_pubdid, teff_pred FROM doppel.optical ORDER BY ssa_pubdid"
    url = {
        "ssa": ssa(live, MAXREC="3", SPACE="optical:physics", TEFF_PRED="4000/9000"),
        "tap": tap(live, query),
    }[kind]
    send(script, topcat, url, f"{kind} to invoke")
    before = len(topcat.tables())
    actions = act(topcat, "Invoke Service")
    topcat.wait("choose", actions, "Similar spectra", "Cutout")
    topcat.wait("choose", actions, "Load Table", "Report URL")
    topcat.wait("fill", actions, "TOP", "6")
    topcat.wait("click", actions, INVOKE)
    until(lambda: len(topcat.tables()) > before, "table of neighbours in TOPCAT")
    did = str(read(url)[0][{"ssa": "ssa_pubDID", "tap": "ssa_pubdid"}[kind]])
    expected = read(f"{live}/similar_to?{urlencode({'ID': did, 'TOP': 6})}")
    assert topcat.rows() == 6
    cells = topcat.cells()
    assert [cell for cell in cells if cell in set(expected["ssa_pubDID"])] == list(expected["ssa_pubDID"])
    assert any("OK" in text for text in topcat.wait("texts", actions))


@pytest.fixture(scope="module")
def links(live: str, topcat: Topcat, script: Program) -> str:
    """The window with the links of a star's row."""
    send(script, topcat, ssa(live, MAXREC="2", SPACE="optical:physics", TEFF_PRED="4000/9000"), "with links")
    topcat.wait("click", act(topcat, "View Datalink Table"), INVOKE)
    window = topcat.window("Activation - View Datalink Table")
    until(lambda: window in topcat.do("titles"), "window of links")
    return window


def test_topcat_shows_the_links_of_a_row(topcat: Topcat, links: str) -> None:
    assert {"#this", "#preview", "#cutout"} <= set(topcat.wait("texts", links))


def invoke(topcat: Topcat, links: str, kind: str, action: str, **fields: str) -> None:
    """Chooses a row by its `local_semantics`, fills in TOPCAT's form of its service and calls it."""
    topcat.wait("select", links, kind)
    topcat.wait("choose", links, action, "Report URL")
    for name, value in fields.items():
        topcat.wait("fill", links, name, value)
    topcat.wait("click", links, "Invoke")


@pytest.mark.parametrize(
    ("kind", "hint", "fields"),
    [
        ("reconstruct", "MODEL: optical, halpha", {"MODEL": "optical"}),
        ("traversal", "LATENT: teff", {"LATENT": "teff", "SIGMA": "-1 1", "STEPS": "3"}),
    ],
)
def test_topcat_calls_and_plots_what_a_model_makes_of_a_spectrum(
    topcat: Topcat, links: str, kind: str, hint: str, fields: dict[str, str]
) -> None:
    before = len(topcat.tables())
    invoke(topcat, links, kind, "Load Table", **fields)
    assert any(hint in text for text in topcat.wait("texts", links))
    until(lambda: len(topcat.tables()) > before, f"table of {kind} in TOPCAT")
    assert topcat.rows() == 1024  # pixels of the model
    invoke(topcat, links, kind, "Plot Table", **fields)
    until(lambda: PLOT in topcat.do("titles"), "plot in TOPCAT")
    drawn = topcat.wait("texts", PLOT)
    assert [drawn[drawn.index(word) - 1] for word in ("Y:  ", "X ↔ Y")] == ["wavelength", "flux"]
    topcat.wait("click", PLOT, "Close")


@pytest.mark.parametrize(
    ("action", "kind"),
    [("Send row index", "tap"), ("Send Spectrum", "ssa"), ("Send Sky Coordinates", "ssa")],
)
def test_m02_a_row_that_topcat_sends_comes_back_as_its_neighbours(
    live: str, topcat: Topcat, script: Program, tmp_path: Path, action: str, kind: str
) -> None:
    query = "SELECT TOP 3 ssa_pubdid FROM doppel.optical ORDER BY ssa_pubdid"
    rows = ssa(live, MAXREC="3", TEFF_PRED="4000/9000", RUNID=action)  # TOPCAT takes no table twice
    url = {"ssa": rows, "tap": tap(live, query)}[kind]
    with doppel_samp(live, topcat.lockfile, tmp_path / "log", "-k", "5"):
        script.find("Doppel")
        send(script, topcat, url, f"{action} of {kind}")
        before = len(topcat.tables())
        topcat.send(action)
        until(lambda: len(topcat.tables()) > before, "answer to a row that was sent")
        row = read(url)[0]
        there = {str(row[{"ssa": "ssa_pubDID", "tap": "ssa_pubdid"}[kind]])}
        if action == "Send Sky Coordinates":  # one of the spectra of this star
            there = set(read(ssa(live, POS=f"{row['ra']},{row['dec']}", SIZE="0.001"))["ssa_pubDID"])
        assert {f"Likes of {did.rpartition('?')[2]}" for did in there} & set(topcat.tables())
        assert topcat.rows() == 5


def test_topcat_asks_tap_itself_and_knows_our_functions(live: str, topcat: Topcat) -> None:
    before = len(topcat.tables())
    use_tap(topcat, live)
    star = str(read(tap(live, "SELECT TOP 1 ssa_pubdid FROM doppel.optical ORDER BY 1"))["ssa_pubdid"][0])
    distance = f"latent_distance(ssa_pubdid, '{star}')"
    topcat.wait("write", TAP, f"SELECT TOP 4 ssa_pubdid, {distance} AS d FROM doppel.optical ORDER BY d")
    topcat.wait("click", TAP, "Run Query")
    until(lambda: len(topcat.tables()) > before, "result of the query")
    assert topcat.rows() == 4
    assert star in topcat.cells()


SSA, MULTIPLE = "Simple Spectral Access (SSA) Query", "Multiple SSA"


@pytest.fixture(scope="module")
def placed(live: str) -> Table:
    """Three spectra with their positions in degrees."""
    return read(
        tap(live, "SELECT TOP 3 ssa_pubdid, ra, dec FROM doppel.spectra WHERE ra IS NOT NULL ORDER BY ra")
    )


def test_topcat_asks_ssa_in_its_own_window(live: str, topcat: Topcat, placed: Table) -> None:
    before = len(topcat.tables())
    topcat.wait("click", CONTROL, "Load Table")
    topcat.wait("click", "Load New Table", SSA)
    for label, words in {"SSA URL": f"{live}/ssa", "RA": placed["ra"][0], "Dec": placed["dec"][0]}.items():
        topcat.wait("fill", SSA, label, str(words))
    topcat.wait("fill", SSA, "Diameter", "20")
    topcat.wait("click", SSA, "OK")
    until(lambda: len(topcat.tables()) > before, "SSA result in TOPCAT")
    expected = read(ssa(live, POS=f"{placed['ra'][0]},{placed['dec'][0]}", SIZE="20"))
    assert topcat.rows() == len(expected) > 0
    assert set(expected["ssa_pubDID"]) <= set(topcat.cells())


def test_topcat_asks_ssa_for_every_row_of_a_table(
    live: str, topcat: Topcat, script: Program, placed: Table, tmp_path: Path
) -> None:
    before = bring(script, topcat, placed, tmp_path / "stars.vot")
    topcat.wait("click", CONTROL, MULTIPLE)
    topcat.wait("fill", MULTIPLE, "SSA URL", f"{live}/ssa")
    topcat.wait("choose", MULTIPLE, f"{before}: stars")
    topcat.wait("fill", MULTIPLE, "Search Radius column", "1")  # arcsec
    topcat.wait("choose", MULTIPLE, "New joined table with all matches")
    topcat.wait("click", MULTIPLE, "Go")
    until(lambda: len(topcat.tables()) > before, "joined table in TOPCAT")
    cells = topcat.cells()
    assert topcat.rows() >= len(placed)
    assert all(cells.count(str(did)) >= 2 for did in placed["ssa_pubdid"])  # as asked and as found


def test_topcat_uploads_its_table_to_tap(
    live: str, topcat: Topcat, script: Program, placed: Table, tmp_path: Path
) -> None:
    before = bring(script, topcat, placed, tmp_path / "mine.vot")
    use_tap(topcat, live)
    topcat.wait(
        "write", TAP,
        f"SELECT m.ssa_pubdid AS mine, s.ssa_pubdid AS theirs FROM TAP_UPLOAD.t{before} AS m "
        "JOIN doppel.spectra AS s ON 1=CONTAINS(POINT(s.ra, s.dec), CIRCLE(m.ra, m.dec, 0.001))",
    )  # fmt: skip
    topcat.wait("click", TAP, "Run Query")
    until(lambda: len(topcat.tables()) > before, "result of the join")
    cells = topcat.cells()
    assert all(cells.count(str(did)) >= 2 for did in placed["ssa_pubdid"])
