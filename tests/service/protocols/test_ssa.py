"""SSA 1.1: rows that answer the question, in the words that clients look for."""

import io
import re
from urllib.parse import urlsplit

import numpy as np
import pytest
from astropy.io import votable
from astropy.table import Table

from tests.stilts import votlint

pytestmark = pytest.mark.filterwarnings("ignore:The unit '(Angstrom|erg)' has been deprecated")


def ask(client, status=200, **params):
    answer = client.get("/ssa", params=params)
    assert answer.status_code == status, answer.text
    return answer


def parsed(client, **params):
    return votable.parse(io.BytesIO(ask(client, **params).content))


def rows(client, **params) -> Table:
    return parsed(client, **params).get_first_table().to_table(use_names_over_ids=True)


def status_of(body: bytes) -> list[str]:
    return re.findall(rb'name="QUERY_STATUS" value="(\w+)"', body)


@pytest.fixture(scope="module")
def everything(client):
    return rows(client, REQUEST="queryData")


@pytest.fixture(scope="module")
def embedded(release):
    """A DID that both models know something of."""
    return release.did_of(int(release.models["optical"].vectors.rows[10]))


def test_s02_request_is_optional_and_in_any_case(client, everything):
    for params in ({}, {"REQUEST": "querydata"}, {"request": "QUERYDATA", "Version": "1.1"}):
        assert len(rows(client, **params)) == len(everything)
    for params in ({"REQUEST": "getData"}, {"VERSION": "2.0"}):
        body = ask(client, status=400, **params).content
        assert status_of(body) == [b"ERROR"]
        assert next(iter(params)).encode() in body


def test_s20_the_document_is_as_the_standard_has_it(client):
    answer = ask(client, MAXREC="1")
    assert answer.headers["content-type"] == "application/x-votable+xml"
    assert b'<RESOURCE type="results">' in answer.content
    assert b'<INFO name="SERVICE_PROTOCOL" value="1.1">SSAP</INFO>' in answer.content
    assert answer.content.index(b"QUERY_STATUS") < answer.content.index(b"<TABLE")


MANDATORY = [
    "Access.Reference",
    "Access.Format",
    "Dataset.DataModel",
    "Dataset.Length",
    "DataID.Title",
    "Curation.Publisher",
]
RECOMMENDED = [
    "Access.Size", "DataID.Collection", "DataID.Creator", "DataID.CreatorDID", "DataID.DataSource",
    "DataID.CreationType", "Curation.Reference", "Char.SpatialAxis.Coverage.Bounds.Extent",
    "Char.TimeAxis.Coverage.Bounds.Extent", "Char.SpectralAxis.Coverage.Location.Value",
    "Char.SpectralAxis.Coverage.Bounds.Extent", "Char.SpectralAxis.Calibration", "Target.VarAmpl",
    "Char.SpatialAxis.Accuracy.StatError", "Char.SpatialAxis.Calibration", "Char.SpatialAxis.Resolution",
    "Curation.PublisherDID", "CoordSys.SpaceFrame.Name", "Target.Name", "Target.Pos", "DataID.Date",
    "DataID.Instrument", "Char.FluxAxis.Ucd", "Char.SpectralAxis.Ucd",
    "Char.SpatialAxis.Coverage.Location.Value", "Derived.SNR", "Char.TimeAxis.Coverage.Location.Value",
    "Char.SpectralAxis.Coverage.Bounds.Start", "Char.SpectralAxis.Coverage.Bounds.Stop",
    "Char.SpectralAxis.Resolution", "Char.FluxAxis.Calibration",
]  # fmt: skip


def test_s22_s23_columns_are_found_by_utype_with_the_prefix(client):
    fields = parsed(client, MAXREC="0").get_first_table().fields
    assert {f"ssa:{utype}" for utype in (*MANDATORY, *RECOMMENDED)} <= {field.utype for field in fields}


def test_s21_a_column_has_one_role_and_each_role_one_column(client):
    table = parsed(client, MAXREC="1").get_first_table()
    roles = [field.utype for field in table.fields if field.utype]
    assert len(set(roles)) == len(roles) > 40
    assert all(role.startswith("ssa:") for role in roles)
    assert len({field.name for field in table.fields}) == len(table.fields)


UNITS = {
    "Char.SpectralAxis.Coverage.Location.Value": "m", "Char.SpectralAxis.Coverage.Bounds.Extent": "m",
    "Char.SpectralAxis.Coverage.Bounds.Start": "m", "Char.SpectralAxis.Coverage.Bounds.Stop": "m",
    "Char.SpectralAxis.Resolution": "m", "Char.SpatialAxis.Coverage.Location.Value": "deg",
    "Char.SpatialAxis.Coverage.Bounds.Extent": "deg", "Target.Pos": "deg",
    "Char.TimeAxis.Coverage.Location.Value": "d", "Char.TimeAxis.Coverage.Bounds.Start": "d",
    "Char.TimeAxis.Coverage.Bounds.Extent": "s", "Access.Size": "kbyte",
}  # fmt: skip


def test_s26_wavelengths_are_metres_positions_degrees_times_mjd(client, everything):
    fields = {field.utype: field for field in parsed(client, MAXREC="0").get_first_table().fields}
    assert {role: str(fields[f"ssa:{role}"].unit) for role in UNITS} == UNITS
    assert np.all((everything["ssa_specstart"] > 1e-7) & (everything["ssa_specend"] < 1e-6))
    assert np.all((everything["ssa_dateObs"] > 56_000) & (everything["ssa_dateObs"] < 61_000))


def test_s31_the_size_is_whole_kilobytes_of_what_the_row_points_to(client):
    for form in ("votable", "fits", "csv", "native"):
        row = rows(client, FORMAT=form, MAXREC="1")[0]
        held = len(client.get(urlsplit(str(row["accref"])).path).content) / 1000
        assert row["accsize"].dtype.kind == "i"
        assert row["accsize"] == pytest.approx(held, rel=0.35, abs=5), form


def test_topcat_has_a_position_to_point_at(client, everything):
    """Its sky actions take scalar columns by these UCDs, not the pair of ssa:Target.Pos."""
    fields = {field.ucd: field for field in parsed(client, MAXREC="0").get_first_table().fields}
    for ucd, place in (("pos.eq.ra;meta.main", 0), ("pos.eq.dec;meta.main", 1)):
        assert (fields[ucd].datatype, fields[ucd].arraysize, str(fields[ucd].unit)) == ("double", None, "deg")
        np.testing.assert_array_equal(everything[fields[ucd].name], everything["ssa_location"][:, place])


def test_splat_finds_the_identifier_by_name_and_id(client):
    field = parsed(client, MAXREC="0").get_first_table().get_field_by_id("ssa_pubDID")
    assert (field.ID, field.name, field.utype) == ("ssa_pubDID", "ssa_pubDID", "ssa:Curation.PublisherDID")


def test_splat_needs_url_format_and_name_in_every_row(everything):
    for name in ("accref", "mime", "ssa_dstitle"):
        assert not np.ma.is_masked(everything[name])
        assert all(everything[name])


def test_s30_one_row_per_dataset_with_a_link_to_the_others(client, everything, release):
    assert len(everything) == len(release)
    assert len(set(everything["ssa_pubDID"])) == len(release)
    link = urlsplit(str(everything["datalink_url"][0]))
    assert client.get(f"{link.path}?{link.query}").status_code == 200


def test_s25_s50_the_reference_opens_and_is_the_spectrum(client, everything):
    url = urlsplit(str(everything["accref"][4]))
    answer = client.get(url.path)
    assert answer.headers["content-type"] == everything["mime"][4] == "application/x-votable+xml"
    table = votable.parse_single_table(io.BytesIO(answer.content)).to_table()
    assert len(table) == everything["ssa_length"][4]
    start, stop = everything["ssa_specstart"][4], everything["ssa_specend"][4]
    good = table["wavelength"][table["mask"] == 0]
    assert (good[0] * 1e-10, good[-1] * 1e-10) == (pytest.approx(start), pytest.approx(stop))


def test_s03_s04_cone_and_diameter(client, everything):
    placed = everything[~everything["ssa_location"].mask[:, 0]]
    ra, dec = placed["ssa_location"][7]
    for size in (0.01, 20.0):
        found = rows(client, POS=f"{ra},{dec}", SIZE=str(size))
        a, d = np.radians(np.asarray(placed["ssa_location"])).T
        r, e = np.radians((ra, dec))
        apart = np.degrees(
            np.arccos(np.clip(np.sin(d) * np.sin(e) + np.cos(d) * np.cos(e) * np.cos(a - r), -1, 1))
        )
        assert set(found["ssa_pubDID"]) == set(placed["ssa_pubDID"][apart <= size / 2])
        assert len(found) > 0


@pytest.mark.parametrize("band", ["6.5e-7/6.6e-7", "/4e-7", "8e-7/", "4e-7,8e-7", "6.6e-7/6.5e-7", "V"])
def test_s05_band_finds_what_overlaps(client, everything, band):
    from service.protocols.constraints import Overlap, conditions
    from service.protocols.dali import Params

    (condition,) = conditions(Params.of([("BAND", band)]), table_of("doppel.spectra"), None)
    assert isinstance(condition, Overlap)
    start, stop = everything["ssa_specstart"], everything["ssa_specend"]
    meets = np.zeros(len(everything), bool)
    for low, high in condition.intervals:
        meets |= (start <= high) & (stop >= low)
    assert set(rows(client, BAND=band)["ssa_pubDID"]) == set(everything["ssa_pubDID"][meets])


def table_of(name):
    from registry_metadata.tables import tables

    return next(table for table in tables() if table.name == name)


def test_s06_time_finds_the_nights_of_a_year(client, everything):
    dates = everything["ssa_dateObs"]
    year = 1858 + (float(np.ma.median(dates)) + 321) / 365.2425
    found = rows(client, TIME=str(int(year)))
    known = ~np.ma.getmaskarray(dates)
    first = np.asarray([np.datetime64(f"{int(year)}-01-01"), np.datetime64(f"{int(year) + 1}-01-01")])
    low, high = (first - np.datetime64("1858-11-17")).astype(int)
    inside = (
        known
        & (everything["ssa_timeStop"].filled(-1) >= low)
        & (everything["ssa_timeStart"].filled(1e9) < high)
    )
    assert set(found["ssa_pubDID"]) == set(everything["ssa_pubDID"][inside])


@pytest.mark.parametrize("path", ["/spectra/nothing.vot", "/spectra/ivo%3A%2F%2Fno%2Fsuch%3Fx.fits"])
def test_s52_what_can_not_be_had_is_told_by_the_status_and_in_words(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")
    assert "No spectrum" in answer.text


RESERVED = {  # SSA 1.1, 4.1 and 8; DALI 1.1, 3.4
    "REQUEST", "VERSION", "POS", "SIZE", "BAND", "TIME", "FORMAT", "APERTURE", "SPECRP", "SPATRES", "TIMERES",
    "SNR", "REDSHIFT", "VARAMPL", "TARGETNAME", "TARGETCLASS", "FLUXCALIB", "WAVECALIB", "PUBDID",
    "CREATORDID", "COLLECTION", "TOP", "MAXREC", "MTIME", "COMPRESS", "RUNID", "RESPONSEFORMAT", "UPLOAD",
    "LANG", "QUERY", "ID",
}  # fmt: skip


def test_s11_parameters_of_our_own_have_names_of_their_own_and_are_told(client, release):
    from service.protocols.constraints import parameter_columns

    told = [p.name.removeprefix("INPUT:") for p in parsed(client, FORMAT="METADATA").resources[0].params]
    assert len(set(told)) == len(told)
    own = {"SIMILAR_TO", "SPACE"}
    for name in ("doppel.spectra", "doppel.optical"):
        own |= {column.name.upper() for column in parameter_columns(release.tables[name])}
    assert own <= set(told)
    assert not own & RESERVED


FORMS = {
    "compliant": ("application/x-votable+xml", ".vot"),
    "all": ("application/x-votable+xml", ".vot"),
    "application/fits, votable": ("application/x-votable+xml", ".vot"),
    "FITS": ("application/fits", ".fits"),
    "text/csv": ("text/csv", ".csv"),
    "graphic": ("image/png", ".png"),
    "native": ("application/fits", ".orig"),
    "image/svg+xml": ("image/svg+xml", ".svg"),
}


@pytest.mark.parametrize("form", FORMS)
def test_s07_format_says_what_the_rows_point_to(client, form):
    media_type, suffix = FORMS[form]
    found = rows(client, FORMAT=form, MAXREC="2")
    assert set(found["mime"]) == {media_type}
    assert all(url.endswith(suffix) for url in found["accref"])
    answer = client.get(urlsplit(str(found["accref"][0])).path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == media_type


def test_s07_a_format_that_nobody_has_finds_nothing(client):
    answer = ask(client, FORMAT="application/x-nothing")
    assert status_of(answer.content) == [b"OK"]
    assert len(rows(client, FORMAT="application/x-nothing")) == 0


def test_s08_other_parameters(client, everything):
    name, collection = str(everything["ssa_targname"][3]), str(everything["ssa_collection"][3])
    did = str(everything["ssa_pubDID"][3])
    questions = {
        "TARGETNAME": (name.lower(), "ssa_targname", lambda v: v == name),
        "COLLECTION": (collection[2:].upper(), "ssa_collection", lambda v: v == collection),
        "PUBDID": (did, "ssa_pubDID", lambda v: v == did),
        "SNR": ("40/", "ssa_snr", lambda v: v >= 40),
        "TEFF": ("5000/6000", "teff", lambda v: 5000 <= v <= 6000),
    }
    for parameter, (text, column, holds) in questions.items():
        found = rows(client, **{parameter: text})
        assert len(found) > 0, parameter
        assert all(holds(value) for value in found[column]), parameter
    wild = rows(client, TARGETNAME=name[:3] + "*")
    assert {str(value)[:3] for value in wild["ssa_targname"]} == {name[:3]}


def test_s06_d06_unknown_parameters_are_ignored(client, everything):
    assert len(rows(client, NOSUCH="1", COMPRESS="true", RUNID="x")) == len(everything)


@pytest.mark.parametrize(
    ("name", "value"),
    [("POS", "spam"), ("SIZE", "big"), ("BAND", "wide"), ("TIME", "yesterday"), ("MAXREC", "-1"),
     ("TOP", "0"), ("COMPRESS", "maybe"), ("VARAMPL", "much"), ("MTIME", "soon"),
     ("SNR", "x"), ("SIMILAR_TO", "ivo://no/such"), ("SPACE", "nothing"), ("TEFF", "hot")],
)  # fmt: skip
def test_s09_s28_a_bad_value_is_an_error_document_that_names_the_parameter(client, name, value):
    answer = ask(client, status=400, **{name: value})
    assert answer.headers["content-type"].startswith("application/x-votable+xml")
    assert status_of(answer.content) == [b"ERROR"]
    assert name.encode() in answer.content
    assert b"Traceback" not in answer.content


def test_s27_maxrec_is_marked_only_where_rows_were_cut(client, everything):
    n = len(everything)
    assert status_of(ask(client, MAXREC=str(n)).content) == [b"OK"]
    cut = ask(client, MAXREC=str(n - 1)).content
    assert status_of(cut) == [b"OK", b"OVERFLOW"]
    assert len(rows(client, MAXREC=str(n - 1))) == n - 1
    assert len(rows(client, MAXREC="0").columns) == len(everything.columns)


def test_s12_top_cuts_on_purpose_and_ranks(client, everything):
    answer = ask(client, TOP="3")
    assert status_of(answer.content) == [b"OK"]
    ra, dec = everything["ssa_location"][~everything["ssa_location"].mask[:, 0]][0]
    ranked = rows(client, POS=f"{ra},{dec}", SIZE="60", TOP="5")
    scores = list(ranked["ssa_score"])
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(1.0)
    assert scores[-1] < 1


def test_similar_to_gives_the_nearest_first_and_leaves_the_reference_out(client, embedded):
    found = rows(client, SIMILAR_TO=embedded, TOP="12")
    assert len(found) == 12
    assert embedded not in set(found["ssa_pubDID"])
    assert list(found["distance"]) == sorted(found["distance"])
    assert found.meta is not None
    shares = list(found["repeat_share"])
    assert shares == sorted(shares, reverse=True)
    assert all(0 <= share <= 1 for share in shares)
    np.testing.assert_allclose(found["ssa_score"], 1 / (1 + found["distance"]))


def test_similar_to_searches_after_the_conditions(client, embedded):
    found = rows(client, SIMILAR_TO=embedded, TOP="10", TEFF="5000/6000", SPACE="optical:parameters")
    assert len(found) == 10
    assert all(5000 <= teff <= 6000 for teff in found["teff"])


def test_similar_to_leaves_out_what_cannot_be_compared(client, release, embedded):
    answer = ask(client, SIMILAR_TO=embedded, SPACE="optical:physics", MAXREC="100000")
    found = votable.parse(io.BytesIO(answer.content)).get_first_table().to_table()
    assert len(found) == len(release.models["optical"].vectors) - 1
    assert status_of(answer.content) == [b"OK"]


def test_latents_and_anomaly_are_parameters(client, release):
    found = rows(client, ANOMALY="90/", SPACE="optical:physics")
    wanted = release.engine.table("SELECT ssa_pubdid FROM release.doppel.optical WHERE anomaly >= 90")
    assert set(found["ssa_pubDID"]) == set(wanted.column(0).to_pylist())


def test_s40_s41_metadata_tells_the_inputs_directly_in_the_first_resource(client, release):
    answer = ask(client, FORMAT="METADATA", POS="ignored", BAND="nonsense")
    document = votable.parse(io.BytesIO(answer.content))
    first = document.resources[0]
    told = {param.name: param for param in first.params}
    for name in (
        "POS",
        "SIZE",
        "BAND",
        "TIME",
        "FORMAT",
        "SIMILAR_TO",
        "SPACE",
        "TOP",
        "TEFF",
        "ANOMALY",
        "Z00",
    ):
        assert told[f"INPUT:{name}"].description, name
    low, high = (float(told["INPUT:TEFF"].values.min), float(told["INPUT:TEFF"].values.max))
    held = release.engine.table("SELECT MIN(teff), MAX(teff) FROM release.doppel.spectra")
    assert (low, high) == (pytest.approx(held.column(0)[0].as_py()), pytest.approx(held.column(1)[0].as_py()))
    assert "optical:physics" in [option[1] for option in told["INPUT:SPACE"].values.options]
    assert len(document.get_first_table().array) == 0
    assert len(document.get_first_table().fields) > 40


def test_s29_descriptors_follow_at_top_level(client):
    document = parsed(client, MAXREC="1")
    meta = {resource.ID: resource for resource in document.resources if resource.type == "meta"}
    assert set(meta) == {"links", "similar", "cutout"}
    for resource in meta.values():
        assert resource.utype == "adhoc:service"
        assert {p.name: p.ref for p in resource.groups[0].entries}["ID"] == "ssa_pubDID"


@pytest.mark.parametrize(
    "params", [{"MAXREC": "3"}, {"FORMAT": "METADATA"}, {"TOP": "3"}, {"POS": "x"}], ids=str
)
def test_votlint_finds_nothing(client, params):
    assert votlint(client.get("/ssa", params=params).content) == ""


def test_other_response_formats_are_extras(client):
    answer = ask(client, RESPONSEFORMAT="csv", MAXREC="2")
    assert answer.headers["content-type"].startswith("text/csv")
    assert len(answer.text.strip().splitlines()) == 3
    assert b"No such output format" in ask(client, status=400, RESPONSEFORMAT="xyz").content
