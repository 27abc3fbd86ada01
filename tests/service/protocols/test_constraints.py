"""Parameters as clients spell them become conditions, or a fault that names the parameter."""

import math

import pytest

from registry_metadata.tables import model_table, tables
from service.errors import UsageFault
from service.protocols.constraints import Cones, Identifier, Overlap, Within, Words, conditions
from service.protocols.dali import Params

INF = math.inf
SPECTRA = next(table for table in tables() if table.name == "doppel.spectra")
MODEL = model_table("optical", [], [])
BAND = ("ssa_specstart", "ssa_specend")


def of(**params):
    found = conditions(Params.of(params.items()), SPECTRA, MODEL)
    return found[0] if len(found) == 1 else found


GOOD = [
    ({"POS": "10.5,-3"}, Cones(((10.5, -3.0),), 0.5)),
    ({"pos": "10.5,-3;ICRS", "size": "0.2"}, Cones(((10.5, -3.0),), 0.1)),
    ({"POS": "0,0", "SIZE": "360"}, Cones(((0.0, 0.0),), 180.0)),
    ({"POS": "1,2,3.5,-4"}, Cones(((1.0, 2.0), (3.5, -4.0)), 0.5)),
    ({"SIZE": "2"}, ()),
    ({"BAND": "4e-7/7e-7"}, Overlap(*BAND, ((4e-7, 7e-7),))),
    ({"BAND": "7e-7/4e-7"}, Overlap(*BAND, ((4e-7, 7e-7),))),
    ({"BAND": "4e-7 7e-7"}, Overlap(*BAND, ((4e-7, 7e-7),))),
    ({"BAND": "-Inf 7e-7"}, Overlap(*BAND, ((-INF, 7e-7),))),
    ({"BAND": "/7e-7"}, Overlap(*BAND, ((-INF, 7e-7),))),
    ({"BAND": "7e-7/"}, Overlap(*BAND, ((7e-7, INF),))),
    ({"BAND": "5e-7"}, Overlap(*BAND, ((5e-7, 5e-7),))),
    ({"BAND": "5e-7,1e-6/2e-6"}, Overlap(*BAND, ((5e-7, 5e-7), (1e-6, 2e-6)))),
    ({"BAND": "4e-7/5e-7;source"}, Overlap(*BAND, ((4e-7, 5e-7),), True)),
    ({"BAND": "Optical"}, Overlap(*BAND, ((3e-7, 1e-6),))),
    ({"BAND": "V,H"}, Overlap(*BAND, ((5.05e-7, 5.95e-7), (1.5e-6, 1.8e-6)))),
    ({"SPECRP": "2000"}, Within("resolving_power", ((2000.0, INF),))),
    ({"SPECRP": "500/2000"}, Within("resolving_power", ((500.0, 2000.0),))),
    ({"SNR": "20/"}, Within("ssa_snr", ((20.0, INF),))),
    ({"SPATRES": "0.1"}, Within("ssa_spaceres", ((-INF, 0.1),))),
    ({"REDSHIFT": "0.1/0.2,1/"}, Within("ssa_redshift", ((0.1, 0.2), (1.0, INF)))),
    ({"TEFF": "5600/5900"}, Within("teff", ((5600.0, 5900.0),))),
    ({"ANOMALY": "95/"}, Within("anomaly", ((95.0, INF),), True)),
    ({"TARGETNAME": "HD 1*"}, Words("ssa_targname", ("HD 1*",), "object_key")),
    ({"COLLECTION": "Miles"}, Words("ssa_collection", ("*Miles*",))),
    ({"SPECTRAL_CLASS": "G*,K0*"}, Words("spectral_class", ("G*", "K0*"))),
    ({"FLUXCALIB": "relative"}, Words("ssa_fluxcalib", ("RELATIVE",))),
    ({"FLUXCALIB": "any"}, ()),
    ({"PUBDID": "ivo://a/b?c,d;e/f"}, Identifier("ssa_pubdid", "ivo://a/b?c,d;e/f")),
    ({"VARAMPL": "0.1/"}, Within("ssa_varampl", ((0.1, INF),))),
    ({"TARGETNAME": "a, b"}, Words("ssa_targname", ("a", "b", "a, b"), "object_key")),
    ({"NOSUCH": "x"}, ()),
    ({"POS": " ", "BAND": ""}, ()),
]


@pytest.mark.parametrize(("params", "expected"), GOOD, ids=[str(pair[0]) for pair in GOOD])
def test_s03_to_s10_parameters_are_read(params, expected):
    assert of(**params) == expected


TIMES = [
    ("2012", 55927, 56293),
    ("2011", 55562, 55927),
    ("2012-02", 55958, 55987),
    ("2012-02-03", 55960, 55961),
    ("2012/2013", 55927, 56658),
    ("2013/2012", 55927, 56658),
    ("2012-01-01/", 55927, INF),
    ("/2012-01-31", -INF, 55958),
    ("2012-01-01 2012-01-31", 55927, 55958),
    ("2012-01-01T12:00", 55927.5, 55927.5 + 1 / 1440),
    ("2012-01-01T12:00:00Z", 55927.5, 55927.5),
    ("2012-01-01 12:00:00.5", 55927.5 + 0.5 / 86400, 55927.5 + 0.5 / 86400),
    ("55927.25", 55927.25, 55927.25),
    ("20120203", 55960, 55961),
    ("20120203T1230", 55960 + 12.5 / 24, 55960 + 12.5 / 24 + 1 / 1440),
    ("2012-034", 55960, 55961),
    ("2012-034T12:00:00", 55960.5, 55960.5),
    ("2012-01-01T12", 55927.5, 55927.5 + 1 / 24),
    ("2012-01-01T12:00:00+01:00", 55927.5 - 1 / 24, 55927.5 - 1 / 24),
    ("2012-01-01T12:00:00-0130", 55927.5 + 1.5 / 24, 55927.5 + 1.5 / 24),
    ("2012-034/2012-036", 55960, 55963),
]


@pytest.mark.parametrize(("text", "low", "high"), TIMES)
def test_s06_an_imprecise_time_means_the_whole_period(text, low, high):
    found = of(TIME=text)
    assert (found.low, found.high) == ("ssa_timestart", "ssa_timestop")
    assert found.intervals[0] == (pytest.approx(low, abs=2e-8), pytest.approx(high, abs=2e-8))


def test_s06_a_list_of_times_is_one_interval_each():
    found = of(TIME="2012,2014-02/2014-03,/2001,2020-01-01/")
    lows, highs = zip(*found.intervals, strict=True)
    assert lows == pytest.approx((55927, 56689, -INF, 58849))
    assert highs == pytest.approx((56293, 56748, 52275, INF), abs=2e-8)


# the galactic centre in each frame; by definition, by SIMBAD, and by the rotations of the almanacs
CENTRES = {
    "ICRS": (266.404996, -28.936172),
    "FK5": (266.404996, -28.936172),
    "J2000": (266.404996, -28.936172),
    "FK4": (265.6108, -28.9167),
    "B1950": (265.6108, -28.9167),
    "GALACTIC": (0.0, 0.0),
    "GALACTIC_II": (0.0, 0.0),
    "SUPER_GALACTIC": (185.7861, 42.3103),
    "ECLIPTIC": (266.8396, -5.5363),
}


@pytest.mark.parametrize("frame", CENTRES)
def test_s03_frames_become_icrs(frame):
    lon, lat = CENTRES[frame]
    ((ra, dec),) = of(POS=f"{lon},{lat};{frame.lower()}").places
    assert (ra, dec) == (pytest.approx(266.405, abs=2e-3), pytest.approx(-28.936, abs=2e-3))


def test_s03_a_frame_holds_for_every_position():
    found = of(POS="0,0,0,90;GALACTIC").places
    assert found[1] == (pytest.approx(192.859, abs=1e-3), pytest.approx(27.128, abs=1e-3))


BAD = [
    ("POS", "spam"),
    ("POS", "1"),
    ("POS", "1,2,3"),
    ("POS", "1,91"),
    ("POS", "400,0"),
    ("POS", "nan,0"),
    ("POS", "1,2;MARS"),
    ("POS", "1,2,3,4,"),
    ("POS", "1/2,3"),
    ("POS", ",".join(["1,2"] * 101)),
    ("VARAMPL", "what"),
    ("APERTURE", "1/2/3"),
    ("SIZE", "big"),
    ("SIZE", "-1"),
    ("SIZE", "inf"),
    ("BAND", "wide"),
    ("BAND", "1/2/3"),
    ("BAND", "/"),
    ("BAND", "1e-7,,2e-7"),
    ("BAND", "-1"),
    ("BAND", "nan"),
    ("BAND", "1e-7;moon"),
    ("TIME", "yesterday"),
    ("TIME", "2012-13"),
    ("TIME", "2012-02-30"),
    ("TIME", "20"),
    ("TIME", "2011-366"),
    ("TIME", "0000-001"),
    ("TIME", "0000"),
    ("TIME", "2012+01:00"),
    ("TIME", "2012-01-01T12:00:00+99:00"),
    ("TIME", "2012-01-01T25"),
    ("TIME", "9999-12-31T23:59:59-12:00"),
    ("TIME", "2012,,2013"),
    ("MTIME", "soon"),
    ("SNR", "high"),
    ("SPECRP", "1_000"),
    ("REDSHIFT", "0.1/0.2/0.3"),
    ("TEFF", "hot"),
    ("ANOMALY", "x"),
    ("FLUXCALIB", "good"),
    ("BAND", ",".join(["1e-7"] * 1001)),
]


@pytest.mark.parametrize(("name", "text"), BAD, ids=[f"{n}={t[:20]}" for n, t in BAD])
def test_s09_a_value_that_cannot_be_read_is_a_fault_that_names_the_parameter(name, text):
    with pytest.raises(UsageFault, match=name):
        of(**{name: text})


@pytest.mark.parametrize("name", ["TARGETNAME", "COLLECTION", "FLUXCALIB", "TARGETCLASS"])
def test_a_list_of_nothing_is_a_fault(name):
    with pytest.raises(UsageFault, match=name):
        conditions(Params.of([(name, ",,")]), SPECTRA, MODEL)


@pytest.mark.parametrize(("name", "text"), [("TEFF", "inf"), ("SNR", "1e999"), ("REDSHIFT", "inf/inf")])
def test_what_is_beyond_all_numbers_is_a_fault(name, text):
    with pytest.raises(UsageFault, match=f"{name} is beyond all numbers"):
        conditions(Params.of([(name, text)]), SPECTRA, MODEL)
