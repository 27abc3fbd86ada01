"""Vectors made elsewhere over a table of facts: matched, published, searched; what is wrong is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from encoder.collection import Collection, CollectionConfig
from encoder.spectrum import Facts, RefusedSpectrum, Spectrum
from index.build import Report, build
from index.facts import read_facts
from index.metric import parse_space
from index.release import OpenRelease
from index.releases import Releases
from index.rows import facts_of
from index.strategy import DEFAULT
from index.work import BuildError
from service.cli import main
from service.config import Config
from service.errors import NotFoundFault, UsageFault
from service.own_spectrum import Own
from service.protocols.datalink import find_links
from service.protocols.encode import answer
from service.protocols.products import product

CONFIG = """
[archive]
authority = "doppel.example"

[[collection]]
name = "elsewhere"
path = "facts.parquet"
reader = "none"

[[model]]
name = "given"
kind = "external"
vectors = "vectors.parquet"
scales = "repeats"
"""
N, D = 120, 6


def written(directory: Path, config: str = CONFIG, **changes: pa.Array) -> Path:
    """Facts of N spectra, two of each object, and vectors in another order, one missing, one a stranger's."""
    r = np.random.default_rng(5)
    ids = [f"S{number}" for number in range(N)]
    facts = {
        "spectrum_id": ids,
        "object": [f"star {number // 2}" for number in range(N)],
        "object_key": [f"star{number // 2}" for number in range(N)],
        "ra_deg": r.uniform(0, 360, N),
        "dec_deg": r.uniform(-90, 90, N),
        "teff": r.uniform(4000, 7000, N),
    }
    parquet.write_table(pa.table(facts), directory / "facts.parquet")
    vectors = np.repeat(r.normal(size=(N // 2, D)), 2, axis=0) + 0.1 * r.normal(size=(N, D))
    order = r.permutation(N - 1)
    held: dict[str, object] = {
        "spectrum_id": [*np.array(ids)[order], "stranger"],
        "vector": [*vectors[order].astype(np.float32).tolist(), [0.0] * D],
        "sigma": [[0.1] * D] * N,
    }
    parquet.write_table(pa.table(held | changes), directory / "vectors.parquet")
    (directory / "doppel.toml").write_text(config, encoding="utf-8")
    return directory / "doppel.toml"


def built(path: Path) -> Report:
    return build(Config.read(path, {}).plan)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    path = written(tmp_path_factory.mktemp("external"))
    return path.parent, built(path)


@pytest.fixture(scope="module")
def given(report: tuple[Path, Report]) -> Iterator[OpenRelease]:
    with closing(OpenRelease.open(Releases(report[0] / "releases").current())) as opened:
        yield opened


def test_what_belongs_to_nothing_is_told(report: tuple[Path, Report], given: OpenRelease) -> None:
    assert (report[1].read, report[1].embedded) == ({"elsewhere": N}, {"given": N - 1})
    assert [(one.spectrum_id, one.reason) for one in report[1].refused] == [
        ("stranger", "model given: a vector of no spectrum of the archive")
    ]
    last = given.row_of(f"ivo://doppel.example/elsewhere?S{N - 1}")
    assert last is not None
    assert given.no_embedding(last, "given") == "vectors.parquet has no vector of it"


def test_every_vector_belongs_to_its_spectrum(report: tuple[Path, Report], given: OpenRelease) -> None:
    table = parquet.read_table(report[0] / "vectors.parquet").to_pydict()
    for name, vector in zip(table["spectrum_id"], table["vector"], strict=True):
        row = given.row_of(f"ivo://doppel.example/elsewhere?{name}")
        assert (row is None) == (name == "stranger")
        if row is not None:
            np.testing.assert_array_equal(given.models["given"].vectors.vector(row), np.float32(vector))


def test_scales_are_the_scatter_of_repeats(given: OpenRelease) -> None:
    recipe = given.models["given"].recipe
    assert [latent.name for latent in recipe.latents] == [f"z{number:02d}" for number in range(D)]
    assert all(0.05 < latent.scale < 0.2 for latent in recipe.latents)
    assert len(given.models["given"].repeat_distances("physics")) == N // 2 - 1


def test_a_space_with_lists_of_its_own_makes_another_release(
    report: tuple[Path, Report], tmp_path: Path
) -> None:
    with_lists = written(tmp_path, CONFIG + 'lists = ["; z00:0"]')
    first = built(with_lists)
    assert first.release != report[1].release
    assert (again := built(with_lists)).release == first.release
    assert not again.new
    strange = written(tmp_path, CONFIG + 'lists = ["; z0:0"]')
    with pytest.raises(BuildError, match=r"given lists '; z0:0': 'z0' is not a latent"):
        built(strange)


def test_verify_names_the_changed_file_of_a_space_with_lists_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, CONFIG.replace("repeats", "unit") + 'lists = ["; z00:0"]')
    ids = [f"S{number}" for number in range(DEFAULT.subset_rows + 1)]  # fewer have no lists
    vectors = np.random.default_rng(6).normal(size=(len(ids), D)).astype(np.float32)
    parquet.write_table(pa.table({"spectrum_id": ids}), tmp_path / "facts.parquet")
    parquet.write_table(
        pa.table({"spectrum_id": ids, "vector": vectors.tolist()}), tmp_path / "vectors.parquet"
    )
    release = Releases(tmp_path / "releases").path(built(config).release)
    assert main(["verify", "--config", str(config)]) == 0
    files = sorted((release / "vectors/given/lists-1").iterdir())
    assert {"index.faiss", "vectors.npy", "columns.npy", "offsets.npy"} <= {path.name for path in files}
    capsys.readouterr()
    for path in files:
        sound = path.read_bytes()
        path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        assert main(["verify", "--config", str(config)]) == 1
        assert capsys.readouterr().out == f"{path.relative_to(release).as_posix()} has changed\n"
        path.write_bytes(sound)


def test_nothing_new_does_nothing(report: tuple[Path, Report]) -> None:
    again = built(report[0] / "doppel.toml")
    assert (again.release, again.new) == (report[1].release, False)


def test_there_are_facts_and_links_but_no_files(given: OpenRelease) -> None:
    did = "ivo://doppel.example/elsewhere?S3"
    row = given.row_of(did)
    assert row is not None
    assert given.facts_of(row).object == "star 1"
    with pytest.raises(NotFoundFault, match="the archive gives no file of this spectrum"):
        product(given, row, ".vot", "")
    links = find_links(given, [did], "http://a")
    assert [link.error_message for link in links.rows][:1] == [
        "NotFoundFault: the archive gives no file of this spectrum"
    ]
    assert {link.local_semantics for link in links.rows[1:]} == {"similar_to", "similar_to_page"}
    told = given.engine.rows("SELECT wave_start, pixels FROM release.doppel.models")
    assert told == [(None, None)]


def test_other_spectra_can_not_be_embedded(given: OpenRelease) -> None:
    with pytest.raises(RefusedSpectrum, match="the vectors of given were made elsewhere"):
        given.models["given"].encoder  # noqa: B018
    wave = np.linspace(3800.0, 7000.0, 300)
    with pytest.raises(UsageFault, match="No model of this archive can embed"):
        answer(given, Own(Spectrum(wave, wave, wave, wave < 0, Facts("x", "", "", "x"))))


VECTOR = pa.array(np.ones((N, D), np.float32).tolist())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vector": pa.array([1.0] * N)}, "vector is double; it must hold lists of floats"),
        ({"vector": pa.array([[1.0]] * (N - 1) + [[1.0, 2.0]])}, "one length in all rows"),
        ({"sigma": pa.array([[1.0]] * N)}, "sigma has 1 values where vector has 6"),
        ({"spectrum_id": pa.array(["S1"] * N)}, "vectors.parquet has 'S1' twice"),
        ({"spectrum_id": pa.array([f"T{n}" for n in range(N)])}, "no vector of a spectrum of the archive"),
        ({"vector": VECTOR}, "value 0 is the same in all repeats"),
        ({"vector": pa.array([[1e12] * D] * N)}, r"no vector of finite numbers up to 1e\+09 of a spectrum"),
        (
            {"vector": pa.array([None] * N, pa.list_(pa.float32()))},
            "one length in all rows; there are \\[\\]",
        ),
    ],
)
def test_vectors_that_can_not_be_used(tmp_path: Path, changes: Mapping[str, pa.Array], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        built(written(tmp_path, **changes))


def test_a_row_without_a_vector_or_an_error_stops_no_build(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(N, D)).tolist()
    vectors[1], vectors[2][0] = None, None
    errors = [[0.1] * D for _ in range(N)]
    errors[3], errors[4], errors[5][:2] = None, [-0.1] * D, [0.0, np.inf]
    lists = {"vector": pa.array(vectors, pa.list_(pa.float64())), "sigma": pa.array(errors)}
    names = pa.array([f"S{number}" for number in range(N)])
    report = built(written(tmp_path, CONFIG, spectrum_id=names, **lists))
    assert report.embedded == {"given": N - 2}
    with closing(OpenRelease.open(Releases(tmp_path / "releases").current())) as opened:
        rows = {name: opened.row_of(f"ivo://doppel.example/elsewhere?{name}") for name in names.to_pylist()}
        assert {opened.no_embedding(rows[name] or 0, "given") for name in ("S1", "S2")} == {
            "its vector is NULL, or not of finite numbers up to 1e+09"
        }
        sql = "SELECT ssa_pubdid, z00_sigma, z02_sigma FROM release.doppel.given"
        held = {did.partition("?")[2]: errors for did, *errors in opened.engine.rows(sql)}
        assert held["S6"] == pytest.approx([0.1, 0.1])
        assert [held[name] for name in ("S3", "S4")] == [[None, None]] * 2
        assert held["S5"] == [None, pytest.approx(0.1)]
        assert parse_space("all", opened.models["given"].recipe).all()


BAD = """spectrum_id,file,publisher_did,ra_deg,dec_deg,teff,date_obs,flux_unit,wave_medium,R
a b,x,,10,20,5000,2014-03-28T18:38:06,erg/s/cm2/AA,air,1800
a b,x,,10,20,5000,,,,
b,x,no uri,,,,,,,
c,x,,10,,,,,,
d,x,,400,0,,,,,
e,x,,,,warm,,,,
f,x,,,,inf,,,,
g,x,,,,nan,yesterday,,,
h,x,,,,,2014-03-28,counts,water,
i,x,ivo://other/x?i,,,,,relative,vacuum,
"""


def test_columns_are_judged_as_rows_are(tmp_path: Path) -> None:
    (tmp_path / "facts.csv").write_text(BAD, encoding="utf-8")

    def collection(reader: str) -> Collection:
        config = CollectionConfig("c", "facts.csv", reader=reader, telescope="T", columns={})
        return Collection(config, tmp_path, "doppel.example")

    seen, refused = read_facts(collection("none"))
    entries = list(collection("auto").entries())
    assert [one.reason for one in refused] == [one.refused for one in entries if one.refused]
    ignored = {"layout", "media_type", "size"}
    one_by_one = [asdict(one.facts) for one in entries if not one.refused]
    by_column = [asdict(facts_of(row)) for row in seen.to_pylist()]
    assert [{k: v for k, v in one.items() if k not in ignored} for one in by_column] == [
        {k: v for k, v in one.items() if k not in ignored} for one in one_by_one
    ]
