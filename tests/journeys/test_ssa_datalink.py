"""From an SSA search to files, cutouts and likes, with the clients that astronomers have."""

import io
import subprocess
import warnings
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import pyvo
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from pyvo.dal.adhoc import DatalinkResults

from service.protocols.datalink import SIMILAR
from tests.clients import require
from tests.stilts import datalinklint, stilts, votlint

pytestmark = pytest.mark.filterwarnings("ignore")  # what clients warn of is theirs


@pytest.fixture(scope="module")
def service(live):
    return pyvo.dal.SSAService(f"{live}/ssa")


@pytest.fixture(scope="module")
def placed(live, release):
    """A spectrum with a position and an embedding: its DID, ra, dec."""
    rows = release.models["optical"].vectors.rows.tolist()
    facts = next(facts for facts, _, _ in release.described(rows) if facts.ra is not None)
    return facts.publisher_did, facts.ra, facts.dec


@pytest.fixture(scope="module")
def found(service, placed):
    _, ra, dec = placed
    return service.search(pos=SkyCoord(ra, dec, unit="deg"), diameter=30 * u.deg)


def test_pyvo_searches_by_place_band_and_time(service, found, placed):
    assert placed[0] in {record["ssa_pubDID"] for record in found}
    narrow = service.search(
        pos=SkyCoord(placed[1], placed[2], unit="deg"), diameter=0.01 * u.deg, band=(6e-7, 6.5e-7) * u.m
    )
    assert 0 < len(narrow) <= len(found)


def test_pyvo_reads_what_records_say_of_themselves(found, placed):
    record = next(record for record in found if record["ssa_pubDID"] == placed[0])
    assert (record.ra, record.dec) == (pytest.approx(placed[1]), pytest.approx(placed[2]))
    assert record.title
    assert record.format == "application/x-votable+xml"
    assert record.acref.startswith("http")
    body = urlopen(record.acref).read()  # getdataset() would fetch a vocabulary from elsewhere
    assert Table.read(io.BytesIO(body), format="votable").colnames[:2] == ["wavelength", "flux"]


def test_pyvo_follows_all_datalinks_by_one_descriptor(found):
    links = list(found.iter_datalinks())
    assert len(links) == len(found)
    for record, link in zip(found, links, strict=True):
        assert {row["ID"] for row in link} == {record["ssa_pubDID"]}
        types = {row["content_type"] for row in link.bysemantics("#this", include_narrower=False)}
        assert types >= {"application/x-votable+xml", "application/fits"}  # pyvo's sorting mixes the order


def test_pyvo_calls_the_similar_service_from_a_link(live, found, placed):
    links = next(
        link
        for record, link in zip(found, found.iter_datalinks(), strict=True)
        if record["ssa_pubDID"] == placed[0]
    )
    row = next(links.bysemantics(SIMILAR, include_narrower=False))
    table = Table.read(io.BytesIO(row.process(TOP=5).read()), format="votable")
    assert len(table) == 5
    assert list(table["distance"]) == sorted(table["distance"])


def test_pyvo_asks_what_a_model_makes_of_a_spectrum(live, placed):
    links = DatalinkResults.from_result_url(f"{live}/datalink/links?{urlencode({'ID': placed[0]})}")
    file, form, walk = links.bysemantics("#derivation", include_narrower=False)
    for seen in (urlopen(file.access_url), form.process(MODEL="optical")):
        table = Table.read(io.BytesIO(seen.read()), format="votable")
        assert table.colnames == ["wavelength", "flux", "error", "observed", "residual"]
    steps = Table.read(
        io.BytesIO(walk.process(LATENT="teff", SIGMA=(-1, 1), STEPS=2).read()), format="votable"
    )
    assert steps.colnames == ["wavelength", "flux", "flux_1", "flux_2"]


def test_pyvo_calls_the_similar_service_from_a_result(found, placed):
    adhoc = found.get_adhocservice_by_id("similar")
    assert {param.name for param in adhoc.groups[0].entries} >= {"ID", "TOP", "SPACE"}


def test_pyvo_cuts_out_by_soda(live, placed):
    links = DatalinkResults.from_result_url(f"{live}/datalink/links?{urlencode({'ID': placed[0]})}")
    cut = next(links.bysemantics("#cutout", include_narrower=False)).process(band=(6.5e-7, 6.6e-7) * u.m)
    table = Table.read(io.BytesIO(cut.read()), format="votable")
    assert table["wavelength"].min() >= 6500
    assert table["wavelength"].max() <= 6600


@pytest.fixture
def cutouts(live, placed):
    """The address of a job of one cutout, not run yet; clients of UWS know it by its documents alone."""
    form = urlencode({"ID": placed[0], "BAND": "6.5e-7 6.6e-7"}).encode()
    with urlopen(Request(f"{live}/soda/async", data=form)) as answer:
        return answer.url


def test_pyvo_follows_a_job_of_cutouts(cutouts):
    job = pyvo.dal.AsyncTAPJob(cutouts)
    assert job.phase == "PENDING"
    job.run().wait(timeout=60)
    assert (job.phase, [result.id_ for result in job.results]) == ("COMPLETED", ["result"])
    table = Table.read(io.BytesIO(urlopen(job.result_uri).read()), format="votable")
    assert table["wavelength"].min() >= 6500
    job.delete()
    with pytest.raises(HTTPError):
        urlopen(cutouts)


def test_stilts_takes_up_a_job_of_cutouts(cutouts):
    urlopen(Request(f"{cutouts}/phase", data=b"PHASE=RUN"))
    text = stilts("tapresume", f"joburl={cutouts}", "delete=never", "poll=200", "ofmt=csv")
    names, *rows = (line.split(",") for line in text.splitlines())
    assert names[:2] == ["wavelength", "flux"]
    wavelengths = [float(row[0]) for row in rows]
    assert 6500 <= min(wavelengths) < 6505
    assert 6595 < max(wavelengths) <= 6600


def test_specutils_and_astropy_read_the_files_of_the_links(live, placed, tmp_path):
    from specutils import Spectrum

    links = DatalinkResults.from_result_url(f"{live}/datalink/links?{urlencode({'ID': placed[0]})}")
    by_kind = {row["local_semantics"]: row for row in links}
    file = tmp_path / "spectrum.fits"
    file.write_bytes(urlopen(by_kind["fits"].access_url).read())
    spectrum = Spectrum.read(file, format="tabular-fits")
    assert len(Spectrum.read(file).flux) == len(spectrum.flux)  # recognised without being told
    table = Table.read(by_kind["vot"].access_url, format="votable")
    assert len(spectrum.flux) == len(table)
    assert urlopen(by_kind["preview"].access_url).read().startswith(b"\x89PNG")
    assert int(by_kind["original"]["content_length"]) == len(urlopen(by_kind["original"].access_url).read())


def test_stilts_cone_speaks_ssa(live, placed):
    text = stilts(
        "cone", "servicetype=ssa", f"serviceurl={live}/ssa", f"lon={placed[1]}", f"lat={placed[2]}",
        "radius=1", "ofmt=csv",
    )  # fmt: skip
    assert placed[0] in text


@pytest.mark.parametrize(("kind", "path"), [("servicetype=cone", "/scs"), ("servicetype=ssa", "/ssa")])
def test_k_stilts_coneskymatch_asks_for_each_row_of_a_table(live, placed, tmp_path, kind, path):
    mine = tmp_path / "mine.csv"
    mine.write_text(f"star,ra,dec\n1,{placed[1]},{placed[2]}\n2,{placed[1]},{-placed[2]}\n")
    text = stilts(
        "coneskymatch", kind, f"serviceurl={live}{path}", f"in={mine}", "ifmt=csv", "ra=ra", "dec=dec",
        "sr=0.01", "ofmt=csv", "find=all",
    )  # fmt: skip
    rows = text.splitlines()[1:]
    assert placed[0] in text
    assert all(row.startswith("1,") for row in rows)


@pytest.mark.parametrize("path", ["/ssa?MAXREC=2", "/ssa?FORMAT=METADATA"])
def test_votlint_finds_nothing_in_ssa(live, path):
    assert votlint(f"{live}{path}") == ""


def test_datalinklint_finds_nothing_over_http(live, placed):
    url = f"{live}/datalink/links?{urlencode([('ID', placed[0]), ('ID', 'ivo://no/such')])}"
    assert datalinklint(url).startswith("Totals: Errors: 0; Warnings: 0;")


def test_similar_descriptor_of_a_tap_result_resolves(live):
    query = "SELECT TOP 2 ssa_pubdid AS who FROM doppel.spectra"
    url = f"{live}/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': query})}"
    table = pyvo.dal.TAPService(f"{live}/tap").search(query)
    assert table.get_adhocservice_by_id("similar") is not None
    assert b'ref="who"' in urlopen(url).read()


def test_products_have_tags_ranges_and_head(live, placed):
    links = DatalinkResults.from_result_url(f"{live}/datalink/links?{urlencode({'ID': placed[0]})}")
    url = next(row for row in links if row["local_semantics"] == "fits").access_url
    whole = urlopen(url)
    body, tag = whole.read(), whole.headers["ETag"]
    part = urlopen(Request(url, headers={"Range": "bytes=0-79"}))
    assert (part.status, part.read()) == (206, body[:80])
    head = urlopen(Request(url, method="HEAD"))
    assert (int(head.headers["Content-Length"]), head.headers["ETag"]) == (len(body), tag)


def test_curl_sends_a_spectrum_and_gets_its_likes(live, release, placed, tmp_path: Path):
    file = tmp_path / "my.fits"
    file.write_bytes(release.original(release.row_of(placed[0])).read_bytes())
    said = subprocess.run(
        [require("curl"), "-s", "-F", f"spectrum=@{file}", f"{live}/similar_to?RESPONSEFORMAT=csv&TOP=3"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    lines = said.stdout.strip().splitlines()
    assert lines[0].startswith("distance,repeat_share,")
    assert len(lines) == 4
    assert placed[0] in lines[1]


def test_the_whole_way_makes_no_warning_of_overflow(service):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        service.search(MAXREC=1000000)
    assert not [w for w in said if "verflow" in str(w.message)]
