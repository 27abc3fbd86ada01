"""DALI's rules on parameters and literals (CHECKLIST, section 1)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from service.errors import UsageFault
from service.protocols.dali import (
    MediaType,
    Params,
    choose_word,
    circle,
    interval,
    iso,
    mjd,
    number,
    position,
    timestamp,
)


def test_d01_names_ignore_case_and_d02_values_do_not() -> None:
    params = Params.of([("query", "SELECT x"), ("Lang", "ADQL")])
    assert params.one("QUERY") == "SELECT x"
    assert params.required("lang") == "ADQL"


def test_d03_a_repeated_single_value_is_an_error() -> None:
    params = Params.of([("MAXREC", "1"), ("maxrec", "2"), ("FORMAT", "csv"), ("RESPONSEFORMAT", "csv")])
    with pytest.raises(UsageFault, match="MAXREC is given 2 times"):
        params.maxrec(10, 100)
    with pytest.raises(UsageFault, match="RESPONSEFORMAT/FORMAT"):
        params.one("RESPONSEFORMAT", "FORMAT")


def test_an_empty_value_counts_as_absent() -> None:
    params = Params.of([("QUERY", " "), ("ID", "a"), ("ID", "")])
    assert params.all("ID") == ("a",)
    with pytest.raises(UsageFault, match="QUERY is missing"):
        params.required("QUERY")


@pytest.mark.parametrize(("asked", "given"), [(None, 10), ("5", 5), ("0", 0), ("1000", 100), (" 7 ", 7)])
def test_d20_d21_maxrec(asked: str | None, given: int) -> None:
    assert Params.of([("MAXREC", asked)] if asked else []).maxrec(10, 100) == given


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "1e3", "9" * 30])
def test_a_wrong_maxrec_is_named(text: str) -> None:
    with pytest.raises(UsageFault, match="MAXREC"):
        Params.of([("MAXREC", text)]).maxrec(10, 100)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 2", (1.0, 2.0)),
        ("3", (3.0, 3.0)),
        ("-Inf 5e-7", (-float("inf"), 5e-7)),
        ("0 +Inf", (0.0, float("inf"))),
    ],
)
def test_d51_intervals(text: str, value: tuple[float, float]) -> None:
    assert interval("BAND", text) == value


@pytest.mark.parametrize("text", ["2 1", "a b", "1 2 3", "NaN 1", "1_0 2"])
def test_d51_wrong_intervals(text: str) -> None:
    with pytest.raises(UsageFault, match="BAND"):
        interval("BAND", text)


def test_d52_circles_and_positions() -> None:
    assert circle("CIRCLE", "10 -20 0.5") == (10.0, -20.0, 0.5)
    assert position("POS", "360", "-90") == (360.0, -90.0)
    for wrong in ("10 -91 1", "361 0 1", "1 2", "1 2 inf", "1 2 -1"):
        with pytest.raises(UsageFault, match="CIRCLE"):
            circle("CIRCLE", wrong)


@pytest.mark.parametrize(
    "text",
    ["2020-02-29T12:30:00.5Z", "2020-02-29 12:30:00.5", "2020-02-29T12:30:00.500"],
)
def test_d50_timestamps(text: str) -> None:
    found = timestamp("TIME", text)
    assert found == datetime(2020, 2, 29, 12, 30, 0, 500000, UTC)
    assert iso(found) == "2020-02-29T12:30:00.500Z"
    assert mjd(found) == pytest.approx(58908.52083912037, abs=1e-9)


@pytest.mark.parametrize("text", ["2020-02-30", "2020-13-01", "yesterday", "58000.5", "2020-01-01T25:00"])
def test_d50_wrong_timestamps(text: str) -> None:
    with pytest.raises(UsageFault, match="TIME"):
        timestamp("TIME", text)


def test_d55_numbers_are_spelled_as_in_tabledata() -> None:
    assert number("X", "1e-3") == 0.001
    with pytest.raises(UsageFault, match="X is not a number: 0x10"):
        number("X", "0x10")


def test_d13_media_types_ignore_spaces_quotes_and_case() -> None:
    one = MediaType.parse('Application/X-VOTable+XML ; Content = "DataLink"')
    assert one == MediaType.parse("application/x-votable+xml;content=datalink")
    assert one.parameter("content") == "datalink"


def test_words_ignore_case() -> None:
    assert choose_word("PHASE", "run", ("RUN", "ABORT")) == "RUN"
    with pytest.raises(UsageFault, match="allowed are RUN, ABORT"):
        choose_word("PHASE", "walk", ("RUN", "ABORT"))
