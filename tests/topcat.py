"""TOPCAT itself, unmodified, in a process of its own, its windows worked by the words that stand on them.

`python -m tests.topcat` starts it in a Java machine inside Python (JPype) and takes orders, one JSON list a
line: `[what, argument, ...]`; it answers each with one JSON object. Java's own toolkit finds the buttons, so
nothing depends on pixels, fonts or a window manager. The screen is Xvfb's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.clients import require
from tests.samp import until
from tests.serving import PATIENCE

JAR = Path("/usr/share/java/starlink-topcat.jar")
START = "uk.ac.starlink.topcat.Driver"
CONTROL, ACTIONS, BROWSER = "TOPCAT", "Activation Actions", "Table Browser"
TAP = "Table Access Protocol (TAP) Query"
INVOKE = "Invoke selected action on current row (1)"
PLOT = "Plane Plot (Downloaded)"
MARK = "> "  # before answers: TOPCAT prints too


class Topcat:
    """A running TOPCAT with its SAMP hub; its windows are named by a part of their titles."""

    def __init__(self, process: subprocess.Popen[str], lockfile: Path) -> None:
        self._process, self.lockfile = process, lockfile

    def do(self, *order: str) -> Any:
        """What comes of an order to `Windows`; None if there is no such window or button yet. A TOPCAT that
        hangs is ended, and an error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        hangs = threading.Timer(PATIENCE, self._process.kill)
        hangs.start()
        try:
            for line in self._process.stdout:
                if line.startswith(MARK):
                    return json.loads(line.removeprefix(MARK)).get("answer")
        finally:
            hangs.cancel()
        raise AssertionError(f"TOPCAT has ended, or did nothing for {PATIENCE:g} s, at {' '.join(order)}")

    def wait(self, *order: str) -> Any:
        """The same, as often as it takes until something comes of it."""
        return until(lambda: self.do(*order), f"{' '.join(order)} in TOPCAT")

    def send(self, action: str) -> str:
        """Sends the current row by SAMP, once TOPCAT has seen who takes it; the title of the window.

        Actions change places when programs come and go, so the choice is made anew each time.
        """
        window = self.window(ACTIONS)
        self.wait("click", CONTROL, ACTIONS)
        until(
            lambda: self.do("choose", window, action) and self.do("click", window, INVOKE), f"action {action}"
        )
        return window

    def tables(self) -> list[str]:
        """Labels of the loaded tables; the last one is current."""
        return [label for _, label in self._numbered()]

    def window(self, kind: str) -> str:
        """The title of a window of the current table."""
        return f"{CONTROL}({self._numbered()[-1][0]}): {kind}"

    def rows(self) -> int:
        """Of the current table."""
        words = self.wait("texts", CONTROL)
        return int(words[words.index("Rows: ") + 1].replace(",", ""))

    def cells(self) -> list[str]:
        """Of the current table, row by row, as its browser shows them."""
        self.wait("click", CONTROL, "Table Data")
        return list(self.wait("texts", self.window(BROWSER)))

    def _numbered(self) -> list[tuple[str, str]]:
        """Number and label of each loaded table, once each."""
        entries = [re.fullmatch(r"(\d+): (.+)", text) for text in self.wait("texts", CONTROL)]
        return list(dict.fromkeys((entry[1], entry[2]) for entry in entries if entry))


@contextmanager
def screen() -> Iterator[str]:
    """A display in memory."""
    command = [require("Xvfb"), "-displayfd", "1", "-screen", "0", "1400x1000x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            yield f":{server.stdout.readline().strip()}"
        finally:
            server.terminate()


@contextmanager
def running(home: Path, log: Path, words: Sequence[str] = ("-hub",)) -> Iterator[Topcat]:
    """TOPCAT with its hub, at home in a directory of its own, so that it finds no other hub."""
    require("topcat")
    environment = {name: value for name, value in os.environ.items() if name != "SAMP_HUB"}
    with (
        screen() as display,
        log.open("w") as stream,
        _start(words, stream, {**environment, "DISPLAY": display}, home) as process,
    ):
        topcat = Topcat(process, home / ".samp")
        try:
            until(lambda: CONTROL in (topcat.do("titles") or []), "window of TOPCAT")
            until(topcat.lockfile.exists, "hub of TOPCAT")
            yield topcat
        finally:
            process.kill()


def _start(
    words: Sequence[str], log: IO[str], environment: dict[str, str], home: Path
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.topcat", str(home), *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip


class Windows:
    """What is on the screen, as Java knows it. Orders are done in the thread in which Java changes windows,
    so that none finds a list that is shorter than a moment ago, or a table without its number of rows."""

    def __init__(self) -> None:
        import jpype

        self._class, self._proxy = jpype.JClass, jpype.JProxy
        self._window, self._queue = jpype.JClass("java.awt.Window"), jpype.JClass("java.awt.EventQueue")

    def obey(self, order: str, *arguments: str) -> dict[str, Any]:
        """The answer to an order, or what is missing for it."""
        told: list[dict[str, Any]] = []

        def work() -> None:
            try:
                told.append({"answer": getattr(self, order)(*arguments)})
            except StopIteration:
                told.append({"missing": arguments})

        self._queue.invokeAndWait(self._runnable(work))
        return told[0]

    def titles(self) -> list[str]:
        return [str(window.getTitle()) for window in self._shown()]

    def texts(self, title: str) -> list[str]:
        """Of all labels, buttons, fields and table cells of a window."""
        return [text for part in self._parts(self._named(title)) for text in texts(part)]

    def click(self, title: str, words: str) -> bool:
        """The button or menu entry with these words, once it can be used."""
        button = next(part for part in self._parts(self._named(title)) if words in button_words(part))
        if button.isEnabled():  # a question that it asks would keep this thread
            self._queue.invokeLater(self._runnable(button.doClick))
        return bool(button.isEnabled())

    def choose(self, title: str, words: str, beside: str = "") -> bool:
        """The entry with these words, of the list that has the entry `beside` too."""
        for part in self._parts(self._named(title)):
            if hasattr(part, "getModel") and hasattr(part, "setSelectedIndex"):
                entries = texts(part)
                if words in entries and (beside in entries or not beside):
                    part.setSelectedIndex(entries.index(words))
                    return True
        return False

    def select(self, title: str, words: str) -> bool:
        """The first row of a table that has a cell with these words."""
        for part in self._parts(self._named(title)):
            if hasattr(part, "getColumnCount") and words in texts(part):
                row = texts(part).index(words) // part.getColumnCount()
                part.setRowSelectionInterval(row, row)
                return True
        return False

    def fill(self, title: str, label: str, words: str) -> bool:
        """The field behind this label."""
        parts = self._parts(self._named(title))
        next(part for part in parts if [text.strip(" :") for text in texts(part)] == [label])
        field = next(part for part in parts if hasattr(part, "setText") and hasattr(part, "isEditable"))
        field.setText(words)
        return True

    def write(self, title: str, words: str) -> bool:
        """Into the text area of a window that people write in."""
        parts = self._parts(self._named(title))
        area = next(
            part for part in parts if hasattr(part, "getRows") and part.isEditable() and part.isShowing()
        )
        area.setText(words)
        return True

    def shoot(self, title: str, file: str) -> bool:
        """A picture of one window, as it paints itself."""
        window = self._named(title)
        size = window.getSize()
        image_class = self._class("java.awt.image.BufferedImage")
        image = image_class(size.width, size.height, image_class.TYPE_INT_RGB)
        window.printAll(image.getGraphics())
        return bool(
            self._class("javax.imageio.ImageIO").write(image, "png", self._class("java.io.File")(file))
        )

    def _shown(self) -> list[Any]:
        return [
            window
            for window in self._window.getWindows()
            if window.isVisible() and hasattr(window, "getTitle")
        ]

    def _named(self, title: str) -> Any:
        return next(window for window in self._shown() if title in str(window.getTitle()))

    def _parts(self, part: Any) -> Iterator[Any]:
        yield part
        bar = getattr(part, "getJMenuBar", lambda: None)()
        inner = [*part.getComponents(), *(getattr(part, "getMenuComponents", list)())]
        for one in [*inner, *([bar] if bar is not None else [])]:
            yield from self._parts(one)

    def _runnable(self, work: Callable[[], object]) -> Any:
        return self._proxy("java.lang.Runnable", dict={"run": work})


def button_words(part: Any) -> tuple[str, ...]:
    if not hasattr(part, "doClick"):
        return ()
    action = part.getAction()
    name = action.getValue("Name") if action is not None else None
    return str(part.getText() or ""), str(name or "")


def entry_words(entry: Any) -> str:
    """Of one entry of a list: services have a name, actions a type that has one."""
    for named in (entry, getattr(entry, "getType", lambda: None)()):
        if hasattr(named, "getName"):
            return str(named.getName())
    return str(entry)


def texts(part: Any) -> list[str]:
    if hasattr(part, "getColumnCount") and hasattr(part, "getValueAt"):
        cells = [
            part.getValueAt(row, column)
            for row in range(part.getRowCount())
            for column in range(part.getColumnCount())
        ]
        return [str(cell) for cell in cells]
    if hasattr(part, "getModel") and hasattr(part.getModel(), "getElementAt"):
        model = part.getModel()
        return [entry_words(model.getElementAt(place)) for place in range(model.getSize())]
    return [str(part.getText())] if hasattr(part, "getText") and part.getText() else []


def main() -> None:
    import jpype

    home, *words = sys.argv[1:]
    jpype.startJVM(f"-Duser.home={home}", classpath=[str(JAR)], convertStrings=True)
    jpype.JClass(START).main(words)
    windows = Windows()
    for line in sys.stdin:
        print(MARK + json.dumps(windows.obey(*json.loads(line))), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
