"""`/similar_to`: the same neighbours as every other way, from identifiers and from files."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import votable
from starlette.testclient import TestClient

from index.metric import Metric
from service.app import create_app
from service.formats.spectrum import write_csv, write_fits

pytestmark = pytest.mark.filterwarnings("ignore:The unit '(Angstrom|erg)' has been deprecated")


def ask(client, status=200, **params):
    answer = client.get("/similar_to", params=params)
    assert answer.status_code == status, answer.text
    return answer


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def neighbours(client, **params):
    found = lines(ask(client, RESPONSEFORMAT="csv", **params).text)
    return [row["ssa_pubDID"] for row in found], [float(row["distance"]) for row in found]


@pytest.fixture(scope="module")
def embedded(release):
    return release.did_of(int(release.models["optical"].vectors.rows[10]))


@pytest.fixture(scope="module")
def others(release):
    return [release.did_of(int(row)) for row in release.models["optical"].vectors.rows[20:24]]


QUESTIONS = [
    ({}, ""),
    ({"SPACE": "optical:parameters"}, ""),
    ({"SPACE": "optical:all; z00:3"}, ""),
    ({"TEFF": "5000/6000"}, " AND s.teff BETWEEN 5000 AND 6000"),
    ({"BAND": "8e-7/"}, " AND s.ssa_specend >= 8e-7"),
    ({"SPACE": "halpha:physics"}, ""),
    ({"SPACE": "halpha"}, ""),
]


@pytest.mark.parametrize(("params", "condition"), QUESTIONS, ids=[str(pair[0]) for pair in QUESTIONS])
def test_tap_ssa_and_similar_to_give_the_same_neighbours_in_the_same_order(
    client, embedded, params, condition
):
    """DESIGN section 4: asked the same question, all give the same answer."""
    space = params.get("SPACE", "optical:physics")
    query = f"""SELECT TOP 15 s.ssa_pubdid, latent_distance(s.ssa_pubdid, '{embedded}', '{space}') AS d
        FROM doppel.spectra AS s WHERE s.ssa_pubdid <> '{embedded}'{condition} ORDER BY d, s.ssa_pubdid"""
    tap = client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "csv"})
    asked = {"TOP": "15", **params}
    ssa = client.get("/ssa", params={"SIMILAR_TO": embedded, "RESPONSEFORMAT": "csv", **asked})
    dids, distances = neighbours(client, ID=embedded, **asked)
    assert len(dids) == 15
    assert [row["ssa_pubdid"] for row in lines(tap.text)] == dids
    assert [float(row["d"]) for row in lines(tap.text)] == distances
    assert [row["ssa_pubDID"] for row in lines(ssa.text)] == dids


def test_rows_begin_with_distance_and_share(client, embedded):
    table = votable.parse_single_table(io.BytesIO(ask(client, ID=embedded).content)).to_table()
    assert table.colnames[:2] == ["distance", "repeat_share"]
    assert len(table) == 20
    assert list(table["distance"]) == sorted(table["distance"])
    assert embedded not in set(table["ssa_pubDID"])


def test_top_and_maxrec(client, embedded):
    assert len(neighbours(client, ID=embedded, TOP="3")[0]) == 3
    cut = ask(client, ID=embedded, MAXREC="4")
    assert b'value="OVERFLOW"' in cut.content
    assert b'value="OVERFLOW"' not in ask(client, ID=embedded, TOP="4").content
    assert len(neighbours(client, ID=embedded, MAXREC="4")[0]) == 4


def test_repeat_share_is_the_share_of_known_repeats_that_are_farther_apart(client, release, embedded):
    found = lines(ask(client, ID=embedded, RESPONSEFORMAT="csv", SPACE="optical:physics").text)
    known = release.models["optical"].repeat_distances("physics")
    expected = [np.mean(known > float(row["distance"])) for row in found]
    assert [float(row["repeat_share"]) for row in found] == pytest.approx(expected)
    assert len(found) == 20
    assert max(expected) > 0


def test_several_identifiers_are_answered_in_turn(client, others, embedded):
    params = [("ID", did) for did in others] + [("TOP", "3"), ("RESPONSEFORMAT", "csv")]
    found = lines(client.post("/similar_to", data={"ID": others, "TOP": "3", "RESPONSEFORMAT": "csv"}).text)
    assert [row["reference"] for row in found] == [did for did in others for _ in range(3)]
    assert lines(client.get("/similar_to", params=params).text) == found
    alone = neighbours(client, ID=others[1], TOP="3")[0]
    assert [row["ssa_pubDID"] for row in found[3:6]] == alone


def test_an_identifier_among_others_that_cannot_be_compared_is_a_remark(client, others):
    answer = client.get("/similar_to", params={"ID": [others[0], "ivo://no/such", others[1]], "TOP": "2"})
    assert answer.status_code == 200
    assert b'<INFO name="not_compared" value="ivo://no/such">' in answer.content


BAD = [
    ({}, "ID is missing"),
    ({"ID": "ivo://no/such"}, "no spectrum of this archive has the identifier ivo://no/such"),
    ({"ID": "upload:none"}, "upload:none stands for no upload"),
    ({"SPACE": "fysics"}, "physics"),
    ({"SPACE": "infrared:physics"}, "'infrared' is not a model of this archive"),
    ({"SPACE": "physics; z00:-1"}, "weight"),
    ({"SPACE": "optical:physics; intrinsic:0"}, "all weights of the space are zero"),
    ({"SPACE": "physics; intrinsik:1"}, "Did you mean 'intrinsic'"),
    ({"SPACE": "physics; z00:nan"}, "finite"),
    ({"SPACE": "physics; z00:1e300"}, "at most"),
    ({"RERANK": "ivar"}, "RERANK"),
    ({"UNLIKE": "ivo://no/such"}, "UNLIKE: no spectrum of this archive"),
    ({"TOP": "-3"}, "TOP"),
    ({"TOP": "1000000"}, "TOP"),
    ({"TEFF": "warm"}, "TEFF"),
]


@pytest.mark.parametrize(("params", "reason"), BAD, ids=[str(pair[0]) for pair in BAD])
def test_bad_questions_get_an_error_document_with_the_reason(client, embedded, params, reason):
    asked = params if "ID" in params or not params else {"ID": embedded, **params}
    answer = ask(client, status=400, **asked)
    assert answer.headers["content-type"].startswith("application/x-votable+xml")
    assert reason in answer.text


def test_a_spectrum_outside_a_model_says_how_much_it_covers(client, release):
    row = next(row for row in range(len(release)) if release.no_embedding(row, "optical"))
    answer = ask(client, status=400, ID=release.did_of(row), SPACE="optical:physics")
    assert release.no_embedding(row, "optical") in answer.text


def test_a_file_is_compared_at_once(client, release, embedded):
    row = release.row_of(embedded)
    body = write_fits(release.spectrum(row))
    answer = client.post("/similar_to?RESPONSEFORMAT=csv&TOP=5", files={"spectrum": ("mine.fits", body)})
    assert answer.status_code == 200, answer.text
    found = lines(answer.text)
    assert found[0]["ssa_pubDID"] == embedded
    assert float(found[0]["distance"]) < float(found[1]["distance"])


def test_encode_gives_a_word_that_works_everywhere(client, release, embedded):
    body = write_csv(release.spectrum(release.row_of(embedded)))
    told = client.post(
        "/encode?UNIT=Angstrom&MEDIUM=vacuum", content=body, headers={"content-type": "text/csv"}
    )
    assert told.status_code == 200, told.text
    upload = told.json()["upload"]
    query = f"""SELECT TOP 3 ssa_pubdid, latent_distance(ssa_pubdid, '{upload}') AS d
        FROM doppel.spectra ORDER BY d, ssa_pubdid"""
    tap = client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "csv"})
    ssa = client.get("/ssa", params={"SIMILAR_TO": upload, "TOP": "3", "RESPONSEFORMAT": "csv"})
    dids, _ = neighbours(client, ID=upload, TOP="3")
    assert dids[0] == embedded
    assert [row["ssa_pubdid"] for row in lines(tap.text)] == dids
    assert [row["ssa_pubDID"] for row in lines(ssa.text)] == dids


def test_a_word_works_as_long_as_the_configuration_says(client, config, holder, state, release, embedded):
    body = write_fits(release.spectrum(release.row_of(embedded)))
    short = replace(config, limits=replace(config.limits, token_seconds=-1))
    with TestClient(create_app(short, holder, state)) as other:
        upload = other.post("/encode", files={"spectrum": ("a.fits", body)}).json()["upload"]
        query = (
            f"SELECT TOP 1 ssa_pubdid FROM doppel.spectra ORDER BY latent_distance(ssa_pubdid, '{upload}')"
        )
        for path, params in (
            ("/similar_to", {"ID": upload}),
            ("/ssa", {"SIMILAR_TO": upload}),
            (
                "/tap/sync",
                {"LANG": "ADQL", "QUERY": query},
            ),
        ):
            answer = client.get(path, params=params)
            assert "has expired; /encode says until when" in answer.text, path


def test_encode_says_what_is_wrong_with_a_file(client):
    nothing = client.post("/encode")
    assert (nothing.status_code, nothing.text.startswith("UsageFault: There is no spectrum")) == (400, True)
    prose = client.post("/encode", files={"spectrum": ("a.txt", b"no\nspectrum\n")})
    assert prose.status_code == 400
    assert "The spectrum cannot be used: " in prose.text


def test_a_file_that_no_model_can_compare_is_refused_with_every_models_reason(client):
    ultraviolet = "".join(f"{wave} {1 + wave % 7}\n" for wave in range(2000, 2600)).encode()
    for path in ("/encode", "/similar_to"):
        answer = client.post(f"{path}?UNIT=Angstrom", files={"spectrum": ("a.txt", ultraviolet)})
        assert answer.status_code == 400
        assert "No model of this archive can embed the spectrum: optical: covers nothing of " in answer.text
        assert "; halpha: covers nothing of " in answer.text


def test_a_file_that_another_model_can_compare_is_told_where_to_ask(client):
    red = "".join(f"{wave} {1 + wave % 7}\n" for wave in range(6400, 6800)).encode()
    answer = client.post("/similar_to?UNIT=Angstrom&SPACE=optical", files={"spectrum": ("a.txt", red)})
    assert "covers too little of its grid; /encode says how much" in answer.text
    assert client.post("/similar_to?UNIT=Angstrom", files={"spectrum": ("a.txt", red)}).status_code == 200


# --- several references, reasons, errors ---


def test_a_batch_gives_what_each_alone_gives_also_after_conditions(client, others):
    for more in ({}, {"TEFF": "4500/6500"}):
        asked = {"ID": others, "TOP": "4", "SPACE": "optical:physics", "RESPONSEFORMAT": "csv", **more}
        found = lines(client.post("/similar_to", data=asked).text)
        for place, did in enumerate(others):
            dids, distances = neighbours(client, ID=did, TOP="4", SPACE="optical:physics", **more)
            part = found[4 * place : 4 * place + 4]
            assert [row["reference"] for row in part] == [did] * 4
            assert [row["ssa_pubDID"] for row in part] == dids
            assert [float(row["distance"]) for row in part] == distances


def test_d22_a_batch_as_votable_has_the_same_rows_and_marks_what_was_cut(client, others):
    answer = client.post("/similar_to", data={"ID": others, "MAXREC": "3"})
    table = votable.parse_single_table(io.BytesIO(answer.content)).to_table()
    text = client.post("/similar_to", data={"ID": others, "MAXREC": "3", "RESPONSEFORMAT": "csv"}).text
    assert list(table["ssa_pubDID"]) == [row["ssa_pubDID"] for row in lines(text)]
    assert b'value="OVERFLOW"' in answer.content


def test_two_hundred_references_are_one_search(client, release):
    dids = [release.did_of(int(row)) for row in release.models["optical"].vectors.rows[:200]]
    answer = client.post("/similar_to", data={"ID": dids, "TOP": "10", "SPACE": "optical:physics"})
    table = votable.parse_single_table(io.BytesIO(answer.content)).to_table()
    assert len(table) == 2000
    assert list(dict.fromkeys(table["reference"])) == dids
    assert b"one search for 200 references" in answer.content


def test_examples_and_counter_examples_make_one_query(client, release, others):
    model = release.models["optical"]
    vectors = {did: model.vectors.vector(release.row_of(did)) for did in others}
    asked = {"SPACE": "optical:physics", "TOP": "5", "RESPONSEFORMAT": "csv"}
    found = lines(client.get("/similar_to", params={"ID": others[:3], "UNLIKE": others[3], **asked}).text)
    middle = np.mean([vectors[did] for did in others[:3]], axis=0)
    query = middle + 0.5 * (middle - vectors[others[3]])
    weights = Metric.parse("physics").of(model.recipe)
    best = model.vectors.search(query.astype(np.float32), 9, weights)
    expected = [did for row in best.rows if (did := release.did_of(int(row))) not in others][:5]
    assert [row["ssa_pubDID"] for row in found] == expected
    assert "reference" not in found[0]
    alone = lines(client.get("/similar_to", params={"ID": others, "COMBINE": "1", **asked}).text)
    assert not {row["ssa_pubDID"] for row in alone} & set(others)


def test_examples_that_only_different_models_can_compare_are_refused(client, release, embedded):
    other = next(row for row in range(len(release)) if release.no_embedding(row, "optical"))
    params = {"ID": [embedded, release.did_of(other)], "COMBINE": "1"}
    answer = client.get("/similar_to", params=params)
    assert answer.status_code == 400
    assert "one query needs one model, these spectra have halpha, optical; name one in SPACE" in answer.text


def test_a_thousand_identifiers_are_one_request_and_more_are_refused(client, release):
    dids = [release.did_of(row) for row in range(len(release))]
    many = [f"{dids[n % len(dids)]}{'' if n < len(dids) else f'-{n}'}" for n in range(1001)]
    asked = {"ID": many[:1000], "TOP": "2", "SPACE": "halpha:physics", "RESPONSEFORMAT": "csv"}
    found = lines(client.post("/similar_to", data=asked).text)
    known = [did for row, did in enumerate(dids) if not release.no_embedding(row, "halpha")]
    assert list(dict.fromkeys(row["reference"] for row in found)) == known
    assert len(found) == 2 * len(known)
    refused = client.post("/similar_to", data={**asked, "ID": many})
    assert "at most 1000 are answered at once" in refused.text


def test_pixels_without_numbers_make_no_spectrum(client):
    rows = "".join(f"{wave},nan\n" for wave in range(3900, 7000))
    answer = client.post("/similar_to?UNIT=Angstrom", files={"spectrum": ("a.csv", "wave,flux\n" + rows)})
    assert answer.status_code == 400
    assert "no valid pixel" in answer.text


def test_every_hit_says_why(client, embedded, others):
    for asked, n in (({"ID": embedded}, 3), ({"ID": others}, 3 * len(others))):
        answer = client.get(
            "/similar_to", params={**asked, "EXPLAIN": "1", "RESPONSEFORMAT": "csv", "TOP": "3"}
        )
        found = lines(answer.text)
        assert len(found) == n
        for row in found:
            latents = [word.rsplit(":", 1) for word in row["latent_shares"].split()]
            shares = [float(share) for _, share in latents]
            assert sum(shares) == pytest.approx(1, abs=0.02)
            assert shares == sorted(shares, reverse=True)
            assert sum(float(w.rsplit(":", 1)[1]) for w in row["block_shares"].split()) == pytest.approx(
                1, abs=0.01
            )


def test_errors_decide_the_order_only_where_repeats_bear_them_out(client, release, embedded, monkeypatch):
    asked = {"ID": embedded, "RERANK": "sigma", "SPACE": "optical:physics", "RESPONSEFORMAT": "csv"}
    model = release.models["optical"]
    spread = model.report["calibration"]["pulls"]["intrinsic"]
    answer = client.get("/similar_to", params=asked)
    if not 0.8 <= spread <= 1.25:
        assert answer.status_code == 400
        assert "cannot decide the order" in answer.text
        return
    found = lines(answer.text)
    distances = [float(row["distance"]) for row in found]
    assert len(found) == 20
    assert distances == sorted(distances)


def test_spectra_that_no_model_can_compare_are_told(client, release, embedded):
    text = ask(client, ID=embedded, SPACE="optical:physics").text
    missing = len(release) - len(release.models["optical"].vectors)
    assert f'name="not_embedded" value="{missing}"' in text


def test_d24_the_limit_of_neighbours_is_named_where_it_cuts(client, embedded):
    assert b"not_embedded" in ask(client, ID=embedded, MAXREC="5000").content
    assert ask(client, status=400, ID=embedded, EXPLAIN="perhaps")
    assert "Did you mean 'physics'" in ask(client, status=400, ID=embedded, SPACE="fysics").text
