"""Every parameter of SSA 1.1 (4.1) against the same question asked of the rows with numpy."""

from __future__ import annotations

import fnmatch
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import votable
from astropy.time import Time
from numpy.typing import NDArray
from starlette.testclient import TestClient

from index.releases import ReleaseHolder, Releases
from index.rows import Seen, Words
from service.app import create_app
from service.config import Config
from service.protocols.constraints import NUMBERS
from service.state import State
from tests import synthetic

NAMES = ("HD 1204", "SIM_3 b", "M 31, nucleus", "3C 273", "Vega")
CLASSES = ("star", "galaxy", "qso", "AGN", None)
CALIBRATIONS = ("ABSOLUTE", "RELATIVE", "NORMALIZED", "UNCALIBRATED", None)
PUBLISHED = {"first": "2019-05-06", "second": "2021-02-03T04:05:06"}
Rows = dict[str, Any]
Mask = NDArray[np.bool_]


def rich(one: Seen, number: int, draw: np.random.Generator) -> Seen:
    """The same row with something, and now and then nothing, under every fact that a parameter asks for."""

    def sometimes(value: float) -> float | None:
        return None if draw.random() < 0.15 else value

    year, day = 2005 + number % 12, 1 + number % 28
    labels = {**one.facts.labels, "redshift": draw.choice([0.0, 0.1, 0.5, 2.5])}
    facts = replace(
        one.facts,
        object=NAMES[number % len(NAMES)],
        object_key=NAMES[number % len(NAMES)].replace(" ", "").upper(),
        object_class=CLASSES[number % 5],
        flux_calibration=CALIBRATIONS[number % 4],
        date_obs=f"{year}-{1 + number % 12:02d}-{day:02d}T{number % 24:02d}:30:00" if number % 9 else None,
        exposure=float(draw.choice([60.0, 600.0, 3600.0])),
        snr=sometimes(float(draw.uniform(2, 100))),
        resolving_power=sometimes(float(draw.choice([500.0, 2000.0, 50_000.0]))),
        aperture=sometimes(float(draw.choice([1.5, 2.0, 3.0]))),
        spatial_resolution=sometimes(float(draw.choice([0.7, 1.2, 2.5]))),
        variability=sometimes(float(draw.uniform(0, 1))),
        creator_did=f"ivo://creator.example/{number}" if number % 3 else None,
        wave_frame=("rest", "heliocentric", None)[number % 3],
        labels=labels if number % 4 else {},
    )
    low = float(draw.choice([3.0e-7, 3.8e-7, 5.5e-7, 1.1e-6, 1.2e-2]))
    return Seen(facts, 2000, low, low * float(draw.choice([1.05, 1.9, 2.2])))


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReleaseHolder]:
    """A release of 240 spectra where every parameter has something to choose from."""
    root = tmp_path_factory.mktemp("parameters")
    content = synthetic.content(root / "trained", 240)
    draw = np.random.default_rng(3)
    seen = [rich(one, number, draw) for number, one in enumerate(content.seen)]
    words = {name: Words("Tests", published=date) for name, date in PUBLISHED.items()}
    releases = Releases(root / "releases")
    releases.publish(releases.write(replace(content, seen=seen, words=words)))
    holder = ReleaseHolder(releases)
    yield holder
    holder.close()


@pytest.fixture(scope="module")
def asked(addressed: Config, held: ReleaseHolder, state: State) -> Iterator[TestClient]:
    """A service of it."""
    with TestClient(create_app(addressed, held, state)) as opened:
        yield opened


@pytest.fixture(scope="module")
def rows(held: ReleaseHolder) -> Rows:
    """Every row, by column: texts with None, numbers with NaN where nothing is known."""
    with held.pin() as release:
        table = release.engine.table("SELECT * FROM release.doppel.spectra")
    return {name: column_of(table[name]) for name in table.column_names}


def column_of(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return column.cast(pa.float64()).to_numpy()
    return np.array(column.to_pylist(), object)


def found(client: TestClient, **params: str) -> set[str]:
    answer = client.get("/ssa", params={"REQUEST": "queryData", "MAXREC": "10000", **params})
    assert answer.status_code == 200, answer.text
    dids = votable.parse_single_table(io.BytesIO(answer.content)).array["ssa_pubDID"].tolist()
    assert len(dids) == len(set(dids))  # one row per dataset
    return set(dids)


def within(column: str, low: float = -np.inf, high: float = np.inf) -> Callable[[Rows], Mask]:
    return lambda rows: (rows[column] >= low) & (rows[column] <= high)


def any_of(*tests: Callable[[Rows], Mask]) -> Callable[[Rows], Mask]:
    return lambda rows: np.any([test(rows) for test in tests], axis=0)


def all_of(*tests: Callable[[Rows], Mask]) -> Callable[[Rows], Mask]:
    return lambda rows: np.all([test(rows) for test in tests], axis=0)


def text(column: str, test: Callable[[str], bool]) -> Callable[[Rows], Mask]:
    return lambda rows: np.array([value is not None and test(value) for value in rows[column]])


def like(column: str, *patterns: str) -> Callable[[Rows], Mask]:
    return text(column, lambda value: any(fnmatch.fnmatch(value.lower(), one.lower()) for one in patterns))


def overlaps(low: str, high: str, start: float = -np.inf, stop: float = np.inf) -> Callable[[Rows], Mask]:
    return lambda rows: (rows[low] <= stop) & (rows[high] >= start)


def band(start: float = -np.inf, stop: float = np.inf) -> Callable[[Rows], Mask]:
    return overlaps("ssa_specstart", "ssa_specend", start, stop)


def source(start: float, stop: float) -> Callable[[Rows], Mask]:
    """The band at the source: as it is where spectra are at rest, else moved by the object's redshift."""

    def test(rows: Rows) -> Mask:
        redshift = np.nan_to_num(rows["ssa_redshift"])
        stretch = np.where(rows["wave_frame"] == "rest", 1.0, 1.0 + redshift)
        return (rows["ssa_specstart"] <= stop * stretch) & (rows["ssa_specend"] >= start * stretch)

    return test


def time(start: str | None, stop: str | None) -> Callable[[Rows], Mask]:
    """From one moment to just before another."""
    low = -np.inf if start is None else Time(start).mjd
    high = np.inf if stop is None else Time(stop).mjd - 1e-8
    return overlaps("ssa_timestart", "ssa_timestop", low, high)


def near(*places: tuple[float, float], diameter: float, frame: str = "icrs") -> Callable[[Rows], Mask]:
    def test(rows: Rows) -> Mask:
        placed = np.isfinite(rows["ra"])
        sky = SkyCoord(rows["ra"][placed], rows["dec"][placed], unit="deg")
        centres = SkyCoord([SkyCoord(*place, unit="deg", frame=frame).icrs for place in places])
        mask = np.zeros(len(placed), bool)
        mask[placed] = np.any([sky.separation(one).deg <= diameter / 2 for one in centres], axis=0)
        return mask

    return test


QUESTIONS: list[tuple[dict[str, str], Callable[[Rows], Mask]]] = [
    ({"POS": "150,10", "SIZE": "60"}, near((150, 10), diameter=60)),
    ({"POS": "150,10;ICRS", "SIZE": "60"}, near((150, 10), diameter=60)),
    ({"POS": "150,10,300,-20,0,89", "SIZE": "40"}, near((150, 10), (300, -20), (0, 89), diameter=40)),
    ({"POS": "150,10;FK4", "SIZE": "61"}, near((150, 10), diameter=61, frame="fk4")),
    ({"POS": "150,10;FK5", "SIZE": "61"}, near((150, 10), diameter=61, frame="fk5")),
    ({"POS": "150,10,10,40;GALACTIC", "SIZE": "50"},
     near((150, 10), (10, 40), diameter=50, frame="galactic")),
    ({"POS": "150,10;ECLIPTIC", "SIZE": "90"}, near((150, 10), diameter=90, frame="barycentricmeanecliptic")),
    ({"SIZE": "1"}, lambda rows: np.ones(len(rows["ra"]), bool)),
    ({"BAND": "5e-7/5.2e-7"}, band(5e-7, 5.2e-7)),
    ({"BAND": "5.2e-7/5e-7"}, band(5e-7, 5.2e-7)),
    ({"BAND": "5e-7 5.2e-7"}, band(5e-7, 5.2e-7)),
    ({"BAND": "/3.1e-7"}, band(stop=3.1e-7)),
    ({"BAND": "2e-6/"}, band(start=2e-6)),
    ({"BAND": "5.6e-7"}, band(5.6e-7, 5.6e-7)),
    ({"BAND": "3.1e-7,1.2e-2/"}, any_of(band(3.1e-7, 3.1e-7), band(start=1.2e-2))),
    ({"BAND": "v"}, band(5.05e-7, 5.95e-7)),
    ({"BAND": "RADIO,K"}, any_of(band(start=1e-2), band(2.0e-6, 2.4e-6))),
    ({"BAND": "5e-7/5.2e-7;source"}, source(5e-7, 5.2e-7)),
    ({"BAND": "5e-7/5.2e-7;observer"}, band(5e-7, 5.2e-7)),
    ({"TIME": "2010"}, time("2010-01-01", "2011-01-01")),
    ({"TIME": "2009-05"}, time("2009-05-01", "2009-06-01")),
    ({"TIME": "2007/2009"}, time("2007-01-01", "2010-01-01")),
    ({"TIME": "2009/2007"}, time("2007-01-01", "2010-01-01")),
    ({"TIME": "2014-03-05/"}, time("2014-03-05", None)),
    ({"TIME": "/2006-12"}, time(None, "2007-01-01")),
    ({"TIME": "2007-03-11T00:00:00/2008-07-01T12:00"}, time("2007-03-11", "2008-07-01T12:01")),
    ({"TIME": "20070311T000000Z/2008-183T12"}, time("2007-03-11", "2008-07-01T13:00")),
    ({"TIME": "2006,2010-01/2010-06,2016/"}, any_of(
        time("2006-01-01", "2007-01-01"), time("2010-01-01", "2010-07-01"), time("2016-01-01", None))),
    ({"TIME": "54000/54400.5"}, overlaps("ssa_timestart", "ssa_timestop", 54000, 54400.5)),
    ({"APERTURE": f"{2 / 3600}"}, within("ssa_aperture", 1.999 / 3600, 2.001 / 3600)),
    ({"APERTURE": "0.0005/0.001"}, within("ssa_aperture", 0.0005, 0.001)),
    ({"SPECRP": "2000"}, within("resolving_power", 2000)),
    ({"SPECRP": "/1000"}, within("resolving_power", high=1000)),
    ({"SPATRES": "0.0004"}, within("ssa_spaceres", high=0.0004)),
    ({"SPATRES": "0.0003/0.0004"}, within("ssa_spaceres", 0.0003, 0.0004)),
    ({"TIMERES": "600"}, within("ssa_timeext", high=600)),
    ({"TIMERES": "100/1000"}, within("ssa_timeext", 100, 1000)),
    ({"SNR": "50"}, within("ssa_snr", 50)),
    ({"SNR": "/10,90/"}, any_of(within("ssa_snr", high=10), within("ssa_snr", 90))),
    ({"REDSHIFT": "0.1"}, within("ssa_redshift", 0.0999, 0.1001)),
    ({"REDSHIFT": "0.2/1,2/"}, any_of(within("ssa_redshift", 0.2, 1), within("ssa_redshift", 2))),
    ({"VARAMPL": "0.5/"}, within("ssa_varampl", 0.5)),
    ({"VARAMPL": "0.1/0.2,0.7/"}, any_of(within("ssa_varampl", 0.1, 0.2), within("ssa_varampl", 0.7))),
    ({"TARGETNAME": "hd 1204"}, like("ssa_targname", "HD 1204")),
    ({"TARGETNAME": "HD1204"}, like("ssa_targname", "HD 1204")),
    ({"TARGETNAME": "*2*"}, like("ssa_targname", "*2*")),
    ({"TARGETNAME": "?C 273,vega"}, like("ssa_targname", "?C 273", "vega")),
    ({"TARGETNAME": "M 31, nucleus"}, like("ssa_targname", "M 31, nucleus")),
    ({"TARGETCLASS": "QSO,agn"}, like("ssa_targclass", "qso", "agn")),
    ({"FLUXCALIB": "absolute"}, like("ssa_fluxcalib", "absolute")),
    ({"FLUXCALIB": "relative,NORMALIZED"}, like("ssa_fluxcalib", "relative", "normalized")),
    ({"FLUXCALIB": "any"}, lambda rows: np.ones(len(rows["ra"]), bool)),
    ({"WAVECALIB": "absolute"}, like("ssa_speccalib", "absolute")),
    ({"WAVECALIB": "relative"}, like("ssa_speccalib", "relative")),
    ({"PUBDID": "ivo://doppel.example/first?syn-0005+x"}, like("ssa_pubdid", "*syn-0005+x")),
    ({"PUBDID": "ivo://doppel.example/first?syn-0005 x"}, like("ssa_pubdid", "*syn-0005+x")),
    ({"CREATORDID": "ivo://creator.example/7"}, like("ssa_creatordid", "ivo://creator.example/7")),
    ({"COLLECTION": "IRS"}, like("ssa_collection", "*irs*")),
    ({"COLLECTION": "sec,nothing"}, like("ssa_collection", "second")),
    ({"MTIME": "2019-05-06"}, like("ssa_collection", "first")),
    ({"MTIME": "2020/"}, like("ssa_collection", "second")),
    ({"MTIME": "/2021-02-03T04:05:06"}, like("ssa_collection", "*")),
    ({"MTIME": "2018,2022/"}, like("ssa_collection", "none")),
    ({"COMPRESS": "true", "RUNID": "me", "VERSION": "1.1"}, like("ssa_collection", "*")),
    ({"POS": "150,10", "SIZE": "120", "BAND": "V", "SNR": "30"},
     all_of(near((150, 10), diameter=120), band(5.05e-7, 5.95e-7), within("ssa_snr", 30))),
]  # fmt: skip


@pytest.mark.parametrize(("params", "test"), QUESTIONS, ids=[str(one) for one, _ in QUESTIONS])
def test_s03_s04_s05_s06_s08_s10_parameters_choose_what_the_rows_say(
    asked: TestClient, rows: Rows, params: dict[str, str], test: Callable[[Rows], Mask]
) -> None:
    expected = set(rows["ssa_pubdid"][test(rows)].tolist())
    assert found(asked, **params) == expected
    missing = ("MTIME=2018", "WAVECALIB=relative")
    assert expected or "&".join(f"{k}={v}" for k, v in params.items()).startswith(missing)


def test_the_archive_has_something_for_every_parameter(rows: Rows) -> None:
    for column in (
        "ssa_aperture",
        "ssa_spaceres",
        "ssa_varampl",
        "ssa_snr",
        "ssa_redshift",
        "resolving_power",
    ):
        assert 0 < np.isfinite(rows[column]).sum() < len(rows[column]), column


def best(client: TestClient, **params: str) -> Any:
    answer = client.get("/ssa", params=params)
    return votable.parse_single_table(io.BytesIO(answer.content)).to_table()


def test_s12_top_takes_the_best_signal_where_nothing_else_ranks(asked: TestClient, rows: Rows) -> None:
    told = best(asked, TOP="240", BAND="V")
    mask = band(5.05e-7, 5.95e-7)(rows)
    ordered = sorted(zip(-np.nan_to_num(rows["ssa_snr"][mask]), rows["ssa_pubdid"][mask], strict=True))
    assert told["ssa_pubDID"].tolist() == [did for _, did in ordered]
    snr = np.nan_to_num(told["ssa_snr"].filled(np.nan))
    np.testing.assert_allclose(told["ssa_score"], snr / (1 + snr), rtol=1e-6)
    assert best(asked, TOP="7", BAND="V")["ssa_pubDID"].tolist() == told["ssa_pubDID"].tolist()[:7]


def test_s12_top_takes_the_nearest_to_a_position(asked: TestClient, rows: Rows) -> None:
    told = best(asked, TOP="5", POS="150,10", SIZE="120")
    placed = np.isfinite(rows["ra"])
    away = SkyCoord(rows["ra"][placed], rows["dec"][placed], unit="deg").separation(
        SkyCoord(150, 10, unit="deg")
    )
    nearest = np.argsort(away.deg)[:5]
    assert told["ssa_pubDID"].tolist() == rows["ssa_pubdid"][placed][nearest].tolist()
    np.testing.assert_allclose(told["ssa_score"], 1 - away.deg[nearest] / 60, atol=1e-9)


def test_s41_ranges_are_those_of_the_holdings(asked: TestClient, rows: Rows) -> None:
    answer = asked.get("/ssa", params={"REQUEST": "queryData", "FORMAT": "METADATA"})
    document = votable.parse(io.BytesIO(answer.content))
    told = {param.name.removeprefix("INPUT:"): param for param in document.resources[0].params}
    assert set(told) >= {name for question, _ in QUESTIONS for name in question} | {"TOP", "MAXREC", "FORMAT"}
    for name, (column, _) in NUMBERS.items():
        ends = (float(told[name].values.min), float(told[name].values.max))
        assert ends == pytest.approx((np.nanmin(rows[column]), np.nanmax(rows[column])), rel=1e-6), name
    low, high = np.nanmin(rows["ssa_specstart"]), np.nanmax(rows["ssa_specend"])
    assert (float(told["BAND"].values.min), float(told["BAND"].values.max)) == pytest.approx(
        (low, high), rel=1e-6
    )
    assert "ssa:Query.Score" in {field.utype for field in document.get_first_table().fields}
