"""Makes the pictures of docs/topcat.md: `python -m tests.journeys.pictures BASE DIRECTORY`, of a service."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.samp import Program, doppel_samp, until
from tests.topcat import ACTIONS, BROWSER, CONTROL, INVOKE, PLOT, TAP, Topcat, running

QUERY = """SELECT TOP 20 ssa_pubdid, ssa_targname, spectral_class, teff, logg, feh, datalink_url
FROM doppel.spectra
WHERE teff BETWEEN 5600 AND 5900 AND ssa_pubdid IN
  (SELECT ssa_pubdid FROM doppel.optical)
ORDER BY ssa_pubdid"""


def settle(topcat: Topcat, window: str, file: Path) -> None:
    """A picture once the window has painted what it was told."""
    time.sleep(2)
    topcat.wait("shoot", window, str(file))


def ask_tap(topcat: Topcat, base: str, directory: Path) -> None:
    topcat.wait("click", CONTROL, TAP)
    topcat.wait("fill", TAP, "TAP URL", f"{base}/tap")
    topcat.wait("click", TAP, "Use Service")
    until(
        lambda: any("latent_distance" in text for text in topcat.do("texts", TAP)), "metadata of the service"
    )
    topcat.wait("write", TAP, QUERY)
    settle(topcat, TAP, directory / "topcat-tap.png")
    topcat.wait("click", TAP, "Run Query")
    until(topcat.tables, "result of the query")


def invoke(topcat: Topcat, directory: Path) -> None:
    actions = topcat.window(ACTIONS)
    topcat.wait("click", CONTROL, ACTIONS)
    topcat.wait("choose", actions, "Invoke Service")
    topcat.wait("choose", actions, "Similar spectra", "Cutout")
    topcat.wait("choose", actions, "Load Table", "Report URL")
    topcat.wait("fill", actions, "TOP", "10")
    topcat.wait("click", actions, INVOKE)
    until(lambda: len(topcat.tables()) == 2, "neighbours")
    settle(topcat, actions, directory / "topcat-invoke.png")
    browser = topcat.window(BROWSER)
    topcat.wait("click", CONTROL, "Table Data")
    settle(topcat, browser, directory / "topcat-neighbours.png")


def derive(topcat: Topcat, directory: Path) -> None:
    """The form of a traversal in the window of links, and what TOPCAT plots of it."""
    actions, links = topcat.window(ACTIONS), topcat.window("Activation - View Datalink Table")
    topcat.wait("choose", actions, "View Datalink Table")
    topcat.wait("click", actions, INVOKE)
    topcat.wait("select", links, "traversal")
    topcat.wait("choose", links, "Plot Table", "Report URL")
    for name, value in {"LATENT": "teff", "SIGMA": "-1 1", "STEPS": "3"}.items():
        topcat.wait("fill", links, name, value)
    topcat.wait("click", links, "Invoke")
    until(lambda: PLOT in topcat.do("titles"), "plot of the traversal")
    settle(topcat, links, directory / "topcat-derived.png")
    settle(topcat, PLOT, directory / "topcat-plot.png")


def main() -> None:
    base, directory = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as scratch, running(Path(scratch), Path(scratch) / "log") as topcat:
        ask_tap(topcat, base, directory)
        topcat.wait("click", CONTROL, ACTIONS)
        derive(topcat, directory)
        invoke(topcat, directory)
        with doppel_samp(base, topcat.lockfile, Path(scratch) / "samp.log", "-k", "10"):
            script = Program(topcat.lockfile, "watch")
            script.find("Doppel")
            actions = topcat.send("Send Spectrum")
            until(lambda: len(topcat.tables()) == 3, "answer by SAMP")
            settle(topcat, actions, directory / "topcat-send.png")
            script.leave()


if __name__ == "__main__":
    main()
