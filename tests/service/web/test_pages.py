"""Pages as the server sends them: what is found, what is said when nothing is, and no way in for markup."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from index.release import OpenRelease
from index.releases import ReleaseHolder
from service.app import create_app
from service.config import Config
from service.state import State
from service.web.pages import SERVICES


@pytest.fixture(scope="module")
def client(
    config: Config, holder: ReleaseHolder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    state = State("", tmp_path_factory.mktemp("state"))
    with TestClient(create_app(config, holder, state), base_url=config.service.url) as opened:
        yield opened
    state.close()


def dids(html: str) -> list[str]:
    return [unescape(did) for did in re.findall(r'<tr data-did="([^"]*)"', html)]


@pytest.fixture(scope="module")
def star(release: OpenRelease) -> str:
    """A spectrum with an embedding."""
    row = int(release.models["optical"].vectors.rows[0])
    return release.did_of(row)


def test_the_start_page_offers_spectra_and_a_map(client: TestClient) -> None:
    html = client.get("/").text
    assert html.count('<ul class="chips">') == 1
    data = re.search(r'id="map-data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    assert len(json.loads(data[1])["points"]) > 100


def test_the_start_page_tells_what_there_is(client: TestClient, release: OpenRelease) -> None:
    html = client.get("/").text
    assert f"{len(release)} spectra of sim_coude, sim_library and sim_survey." in html


def test_the_files_of_a_spectrum_are_links_of_its_page(client: TestClient, star: str) -> None:
    html = client.get("/", params={"id": star, "k": 1}).text
    facts = re.search(r'<p class="facts">(.*?)</p>', html, re.DOTALL)
    assert facts is not None
    links = {words: unescape(href) for href, words in re.findall(r'<a href="([^"]*)">([^<]*)</a>', facts[1])}
    assert set(links) == {"VOTable", "FITS", "CSV", "original file"}
    assert all(client.get(link).status_code == 200 for link in links.values())


def test_a_wrong_address_is_a_page_in_a_browser_and_a_line_elsewhere(client: TestClient) -> None:
    browser = client.get("/nowhere", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (browser.status_code, 'class="problem"' in browser.text) == (404, True)
    java = client.get("/nowhere", headers={"Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"})
    assert (java.status_code, java.text) == (404, "NotFoundFault: There is nothing at /nowhere\n")


def test_every_address_that_the_page_of_services_tells_is_there(client: TestClient) -> None:
    rows = re.findall(r'<th scope="row"><code>(/[\w/]*)</code>', client.get("/tap").text)
    assert len(rows) == len(SERVICES)
    assert all(client.get(path).status_code != 404 for path in rows)


def test_the_page_of_a_spectrum_shows_what_the_model_sees_of_it(client: TestClient, star: str) -> None:
    html = client.get("/", params={"id": star, "k": 1}).text
    picture = re.search(r'<img class="picture" src="([^"]*)"', html)
    assert picture is not None
    assert client.get(unescape(picture[1])).content.startswith(b"\x89PNG")
    form = re.search(r'<form class="actions" action="([^"]*)"(.*?)</form>', html, re.DOTALL)
    assert form is not None
    hidden = {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form[2])}
    assert hidden["ID"] == star
    latents = re.findall("<option>(.*?)</option>", form[2])
    assert latents[0] == "teff"
    drawn = client.get(form[1], params={**hidden, "LATENT": latents[0]})
    assert drawn.content.startswith(b"\x89PNG")


def test_a_chosen_spectrum_is_drawn_over_its_neighbours(client: TestClient, star: str) -> None:
    html = client.get("/", params={"id": star, "k": 5}).text
    assert len(dids(html)) == 5
    assert star not in dids(html)
    data = re.search(r'id="plot-data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    plot = json.loads(data[1])
    assert [curve["did"] for curve in plot["curves"]] == [star, *dids(html)]
    assert all(len(curve["flux"]) == len(plot["wave"]) for curve in plot["curves"])


def test_the_page_and_its_own_links_agree(client: TestClient, star: str) -> None:
    """SSA, /similar_to and TAP as the page writes them give the same spectra in the same order."""
    html = client.get("/", params={"id": star}).text
    shown = dids(html)
    for way in ("adql", "ssa", "similar_to"):
        link = re.search(rf'id="{way}-link" href="([^"]*)"', html)
        assert link is not None
        href = unescape(link[1])
        text = client.get(href if way == "adql" else f"{href}&RESPONSEFORMAT=csv").text
        assert _in_order(text, shown), (way, text[:500])


def _in_order(text: str, wanted: list[str]) -> bool:
    places = [text.find(did) for did in wanted]
    return -1 not in places and places == sorted(places)


def test_one_hit_is_shown_at_once_and_keeps_how_it_was_asked(client: TestClient, star: str) -> None:
    answer = client.get("/", params={"q": star, "k": 7}, follow_redirects=False)
    assert answer.status_code == 303
    assert "k=7" in answer.headers["location"]
    assert len(dids(client.get(answer.headers["location"]).text)) == 7


def test_a_position_finds_the_nearest_first(client: TestClient, release: OpenRelease, star: str) -> None:
    facts = release.facts_of(release.row_of(star) or 0)
    html = client.get("/", params={"q": f"{facts.ra} {facts.dec} 180"}).text
    separations = [float(cell) for cell in re.findall(r'<td class="number">([\d.]+)</td><td><code>', html)]
    assert len(separations) == 100
    assert separations == sorted(separations)
    assert separations[0] == 0.0


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"q": "no such star"}, 200, "No spectrum has “no such star”"),
        ({"q": "400 10"}, 400, "longitude outside 0 to 360"),
        (
            {"id": "ivo://nobody/nothing"},
            404,
            "No spectrum of this archive has the identifier ivo://nobody/nothing",
        ),
        ({"id": "upload:unknown"}, 400, "stands for no upload"),
        ({"k": "0"}, 400, "K is out of range: 0"),
        ({"k": "many"}, 400, "K is not a whole number: many"),
    ],
)
def test_what_can_not_be_shown_is_told(
    client: TestClient, asked: dict[str, str], status: int, said: str
) -> None:
    answer = client.get("/", params=asked)
    assert answer.status_code == status
    assert said in unescape(answer.text)


def test_an_unknown_space_is_told_beside_the_spectrum(client: TestClient, star: str) -> None:
    html = unescape(client.get("/", params={"id": star, "space": "optical:fysics"}).text)
    assert "fysics" in html
    assert "physics" in html
    assert dids(html) == []


def test_a_spectrum_outside_the_model_says_what_it_covers(client: TestClient, release: OpenRelease) -> None:
    outside = next(row for row in range(len(release)) if release.no_embedding(row, "optical"))
    did = release.did_of(outside)
    html = unescape(client.get("/", params={"id": did, "space": "optical:physics"}).text)
    assert re.search(r"covers \d+ % of 3800–7000 Å, needs \d+ %", html)
    assert len(dids(client.get("/", params={"id": did}).text)) == 10  # the model that covers it is taken


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}"])
def test_what_people_type_is_text_only(client: TestClient, text: str) -> None:
    html = client.get("/", params={"q": text}).text
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "49 spectra" not in html


def test_nothing_runs_inline(client: TestClient, star: str) -> None:
    for html in (client.get("/").text, client.get("/", params={"id": star}).text):
        scripts = re.findall(r"<script([^>]*)>", html)
        assert all("src=" in script or 'type="application/json"' in script for script in scripts)
        assert " onclick=" not in html
        assert not re.findall(r'(?:src|href)="https?://(?!127\.0\.0\.1)', html)


def test_static_files_are_packed_and_kept_under_their_version(client: TestClient) -> None:
    html = client.get("/").text
    link = re.search(r'src="(/static/plotly\.min\.js\?v=\w+)"', html)
    assert link is not None
    with client.stream("GET", link[1], headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert len(packed) < 2_000_000 < len(gzip.decompress(packed))
    again = client.get(link[1], headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert client.get("/static/page.css").headers["cache-control"] == "no-cache"
    assert client.get("/static/../pages.py").status_code == 404


def test_l22_the_meaning_of_similar_is_served(client: TestClient) -> None:
    html = client.get("/rdf/similarity").text
    assert 'id="similar"' in html
    assert "similar_to" in html
    assert "<code>optical:physics</code>" in html
    assert "<code></code>" not in html


def test_l22_the_uri_of_links_leads_to_its_meaning_where_it_is_set_so(
    config: Config, holder: ReleaseHolder, star: str, tmp_path: Path
) -> None:
    uri = f"{config.service.url}/rdf/similarity#similar"
    set_so = replace(config, registry=replace(config.registry, similarity_uri=uri))
    state = State("", tmp_path)
    with TestClient(create_app(set_so, holder, state), base_url=config.service.url) as own:
        links = own.get("/datalink/links", params={"ID": star}).text
        (told,) = set(re.findall(r"<TD>([^<]*#similar)</TD>", links))
        page = own.get(told)
    state.close()
    assert told == uri
    assert (page.status_code, f"<code>{uri}</code>" in page.text) == (200, True)
    assert f'id="{uri.partition("#")[2]}"' in page.text


def test_t03_the_base_of_tap_is_a_page_for_people(client: TestClient) -> None:
    html = unescape(client.get("/tap").text)
    assert "doppel.spectra" in html
    assert "/tap/capabilities" in html


def test_the_form_says_what_a_file_does_not(client: TestClient) -> None:
    """Columns of names that nobody knows, in a unit and a medium that only the form tells."""
    lines = "".join(f"{380 + pixel / 10},{1 + 0.1 * (pixel % 7)}\n" for pixel in range(3200))
    files = {"spectrum": ("mine.csv", f"lam,f\n{lines}".encode())}
    said = {"UNIT": "nm", "MEDIUM": "air", "FRAME": "", "WAVE": "lam", "FLUX": "f", "ERROR": "", "LAYOUT": ""}
    assert set(said) <= set(re.findall(r'name="([A-Z]+)"', client.get("/").text))
    assert client.post("/", files=files, data={"MEDIUM": "air"}).status_code == 400
    html = unescape(client.post("/", files=files, data=said).text)
    assert "mine.csv" in html
    assert re.search(r"Taken for granted</span> .*frame", html)
    assert len(dids(html)) == 10


def test_a_file_that_is_no_spectrum_is_refused_with_a_reason(client: TestClient, tmp_path: Path) -> None:
    answer = client.post("/", files={"spectrum": ("note.txt", b"this is no spectrum")})
    assert answer.status_code == 400
    assert 'class="problem"' in answer.text
    assert client.post("/", data={"k": "5"}).status_code == 400


def test_the_page_of_an_upload_shows_what_encode_says(
    client: TestClient, release: OpenRelease, star: str
) -> None:
    """Every label with its unit and both intervals, rounded; and what no model could embed."""
    row = release.row_of(star)
    assert row is not None
    content = release.original(row).read_bytes()
    told = client.post("/encode", content=content).json()
    html = client.get("/", params={"id": told["upload"]}).text
    html = html.partition("predicted by halpha")[0]
    shown = re.findall(r'<tr><th scope="row">(.*?)</th>' + 3 * r'<td class="number">(.*?)</td>', html)
    labels = {
        name: one for name, one in told["models"]["optical"]["labels"].items() if one["value"] is not None
    }
    assert {"teff", "logg", "feh"} <= labels.keys()
    (teff,) = [words for words in shown if words[0] == "Effective temperature"]
    assert teff[1].endswith(" K")
    ends = [float(end) for words in teff[2:] for end in words.removesuffix(" K").split(" to ")]
    wanted = [labels["teff"][key] for key in ("lo68", "hi68", "lo90", "hi90")]
    assert ends == pytest.approx(wanted, rel=1e-2)
    (feh,) = [words for words in shown if words[0] == "[Fe/H]"]
    assert re.fullmatch(r"[+-]\d\.\d+ dex", feh[1])
    assert "of the spectra that it was trained on are less unusual" in html


def test_the_page_of_an_archive_spectrum_has_no_predictions_of_an_upload(
    client: TestClient, star: str
) -> None:
    assert "What the models say of it" not in client.get("/", params={"id": star}).text
