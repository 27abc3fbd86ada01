"""Collections: facts, identifiers, files, and what is refused."""

from __future__ import annotations

import csv
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from pyarrow import parquet

from encoder.collection import Collection, CollectionConfig, CollectionError, collections_in
from encoder.spectrum import Facts, RefusedSpectrum
from tests.encoder.conftest import OpenCollection

AUTHORITY = "doppel.example"


def write_star(path: Path, **header: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = fits.PrimaryHDU(np.linspace(1, 2, 100, dtype=np.float32))
    image.header.update({"CRVAL1": 5000.0, "CDELT1": 1.0, "CRPIX1": 1, "CUNIT1": "Angstrom", **header})
    image.writeto(path)


def write_catalogue(path: Path, *rows: dict[str, object]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), restval="")
        writer.writeheader()
        writer.writerows(rows)


def star(spectrum_id: str, **more: object) -> dict[str, object]:
    return {"spectrum_id": spectrum_id, "file": "a.fits", **more}


def collection(base: Path, **settings: object) -> Collection:
    table = {"name": "stars", "path": ".", **settings}
    return Collection.from_config(CollectionConfig.from_table(table), base, AUTHORITY)


def facts(found: Collection) -> list[Facts]:
    return [entry.facts for entry in found.entries()]


def test_the_facts_of_real_rows(real_collection: OpenCollection) -> None:
    first = next(real_collection("lamost").entries()).facts
    assert first.publisher_did == "ivo://doppel.example/lamost?lamost-spec-55862-B6212_sp06-003"
    assert (first.ra, first.dec, first.mjd) == (99.316263, 27.23237, 55863)
    assert dict(first.labels) == {
        "teff": 5456.41, "logg": 3.635, "feh": -0.54, "rv": -21.4, "redshift": -7.138e-05,
    }  # fmt: skip
    assert (first.resolving_power, first.snr, first.flux_calibration) == (1800, 99.0, "RELATIVE")
    assert first.size == real_collection("lamost").original(first).stat().st_size
    dated = next(real_collection("stelib").entries()).facts
    assert dated.date_obs == "1994-12-25"
    assert dated.mjd == 49711.0
    assert dated.flux_calibration == "ABSOLUTE"
    assert next(real_collection("rrlyr_mcdonald").entries()).facts.flux_calibration == "UNCALIBRATED"


def test_every_real_identifier_is_one_of_its_own(real_collection: OpenCollection, real_data: Path) -> None:
    dids = [
        fact.publisher_did
        for config in collections_in(real_data)
        for fact in facts(real_collection(config.name))
    ]
    assert len(dids) == len(set(dids)) == 2105


def test_a_row_with_a_bad_value_is_refused_by_name_and_the_rest_goes_on(tmp_path: Path) -> None:
    write_star(tmp_path / "a.fits")
    bad = [
        ({"teff": "hot"}, "teff is not a number: 'hot'"),
        ({"ra_deg": "370", "dec_deg": "1"}, "is no position"),
        ({"ra_deg": "10"}, "half a position"),
        ({"date_obs": "yesterday"}, "no ISO 8601 date: 'yesterday'"),
        ({"wave_medium": "water"}, "wave_medium is 'water'; allowed: air, vacuum"),
        ({"snr": "inf"}, "snr is infinite"),
        ({"flux_calibration": "good"}, "allowed: ABSOLUTE"),
        ({"file": ""}, "names no file"),
        ({"publisher_did": "ivo://a b"}, "publisher_did is no URI: 'ivo://a b'"),
    ]
    columns = {name: "" for row, _ in bad for name in row if name != "file"}
    write_catalogue(
        tmp_path / "catalogue.csv",
        star("good", **columns),
        *(star(f"bad{number}", **{**columns, **row}) for number, (row, _) in enumerate(bad)),
    )
    found = collection(tmp_path)
    entries = list(found.entries())
    assert entries[0].refused == ""
    for entry, (_, why) in zip(entries[1:], bad, strict=True):
        assert why in entry.refused
        with pytest.raises(RefusedSpectrum):
            found.load(entry)


def test_identifiers_are_safe_and_collisions_refused(tmp_path: Path) -> None:
    write_star(tmp_path / "a.fits")
    path = tmp_path / "catalogue.csv"
    write_catalogue(
        path,
        {"publisher_did": "", **star("HD 1/a+b")},
        {"publisher_did": "ivo://org.x/~?dir/file", **star("own")},
    )
    assert [fact.publisher_did for fact in facts(collection(tmp_path))] == [
        "ivo://doppel.example/stars?HD_1_a_b", "ivo://org.x/~?dir/file",
    ]  # fmt: skip
    write_catalogue(path, star("HD 1"), star("HD_1"), star("HD 1"), star(""))
    did = "ivo://doppel.example/stars?HD_1"
    assert [entry.refused for entry in collection(tmp_path).entries()] == [
        "", f"'HD 1' has the same identifier {did}", f"an earlier row has the same identifier {did}", "",
    ]  # fmt: skip


def test_a_path_that_leaves_the_collection_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    write_star(inside / "a.fits")
    write_star(tmp_path / "secret.fits")
    (inside / "link.fits").symlink_to(tmp_path / "secret.fits")
    paths = ["../secret.fits", str(tmp_path / "secret.fits"), "link.fits", "none.fits"]
    write_catalogue(
        inside / "catalogue.csv",
        *(star(f"s{number}") | {"file": path} for number, path in enumerate(paths)),
    )
    found = collection(inside)
    for entry, why in zip(found.entries(), ["outside", "outside", "outside", "no such file"], strict=True):
        with pytest.raises(RefusedSpectrum, match=why):
            found.load(entry)


def test_columns_are_mapped_and_defaults_fill_what_is_empty(tmp_path: Path) -> None:
    write_star(tmp_path / "a.fits")
    write_catalogue(tmp_path / "stars.csv", {"id": "x", "fits": "a.fits", "T": "5777", "telescope": ""})
    found = collection(
        tmp_path, catalogue="stars.csv", telescope="INT", wave_medium="air", R=2000, reader="image1d_linear",
        columns={"spectrum_id": "id", "file": "fits", "teff": "T"},
    )  # fmt: skip
    (fact,) = facts(found)
    assert (fact.telescope, fact.labels["teff"], fact.resolving_power) == ("INT", 5777, 2000)
    assert found.load(fact).wave[0] == pytest.approx(5001.394, abs=0.01)
    with pytest.raises(CollectionError, match=r"stars\.csv has no column spectrum_id and no file"):
        facts(collection(tmp_path, catalogue="stars.csv"))


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"name": "a", "path": "b", "pathh": "c"}, "no key 'pathh'; did you mean 'path'"),
        ({"name": "a"}, "needs path"),
        ({"name": "a b", "path": "c"}, "name 'a b'"),
        ({"name": "a", "path": "b", "reader": "cube"}, "no reader 'cube'; allowed: auto, none,"),
        ({"name": "a", "path": "b", "columns": {"tef": "T"}}, "no 'tef'; did you mean 'teff'"),
        ({"name": "a", "path": "b", "columns": "T"}, "columns must map"),
        ({"name": "a", "path": ["b"]}, "path must be a text"),
    ],
)
def test_a_bad_setting_is_named(table: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        CollectionConfig.from_table(table)


def test_a_directory_without_catalogue_is_read_from_headers(tmp_path: Path) -> None:
    write_star(
        tmp_path / "deep" / "vega.fits", OBJECT="Vega", RA="18:36:56.34", DEC="+38:47:01.3",
        **{"DATE-OBS": "2020-05-01T22:00:00", "EXPTIME": 30.0},
    )  # fmt: skip
    write_star(
        tmp_path / "old.fits", OBJECT="Old", RA=10.0, DEC=20.0, EQUINOX=1950.0,
        **{"DATE-OBS": "04/05/89", "EXPTIME": "long"},
    )  # fmt: skip
    (tmp_path / "README.md").write_text("not a spectrum")
    (tmp_path / "broken.fits").write_text("not a spectrum either")
    found = collection(tmp_path)
    broken, vega, old = facts(found)
    assert (vega.spectrum_id, vega.object, vega.exposure) == ("deep/vega", "Vega", 30.0)
    assert vega.ra == pytest.approx(279.23475)
    assert vega.dec == pytest.approx(38.783694)
    assert vega.mjd == pytest.approx(58970.916667)
    assert found.load(vega).flux[0] == 1
    assert (old.object, old.date_obs, old.exposure) == ("Old", None, None)
    assert old.ra is None  # equinox of 1950: not ICRS, and not guessed
    with pytest.raises(RefusedSpectrum):
        found.load(broken)


def test_an_empty_directory_and_a_missing_one_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=r"collection stars: no spectrum in \."):
        facts(collection(tmp_path))
    with pytest.raises(CollectionError, match="nowhere does not exist"):
        collection(tmp_path, path="nowhere")
    with pytest.raises(CollectionError, match=r"catalogue other\.csv is not in"):
        facts(collection(tmp_path, catalogue="other.csv"))
    with pytest.raises(CollectionError, match=r"no folder with a catalogue\.csv"):
        collections_in(tmp_path)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_file_is_a_collection(tmp_path: Path, mode: str) -> None:
    write_star(tmp_path / "a.fits")
    write_catalogue(tmp_path / "catalogue.csv", star("x", wave_unit="Angstrom"))
    with tarfile.open(tmp_path / "stars.tar", mode) as tar:  # type: ignore[call-overload]
        tar.add(tmp_path / "a.fits", "./a.fits")
        tar.add(tmp_path / "catalogue.csv", "./catalogue.csv")
    (tmp_path / "a.fits").unlink()
    found = collection(tmp_path, path="stars.tar")
    (fact,) = facts(found)
    assert fact.size == found.original(fact).stat().st_size
    assert len(found.load(fact).wave) == 100
    with pytest.raises(RefusedSpectrum, match="no such file"):
        found.original_file("../a.fits")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_of_facts_names_files_elsewhere(tmp_path: Path, suffix: str) -> None:
    write_star(tmp_path / "elsewhere" / "a.fits")
    path = tmp_path / f"facts.{suffix}"
    rows = [
        {"spectrum_id": "1", "file": str(tmp_path / "elsewhere" / "a.fits"), "teff": 5000.0},
        {"spectrum_id": "2", "file": "elsewhere/a.fits", "teff": None},
    ]
    if suffix == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        write_catalogue(path, *rows)
    found = collection(tmp_path, path=path.name)
    hot, unknown = facts(found)
    assert dict(hot.labels) == {"teff": 5000.0}
    assert dict(unknown.labels) == {}
    assert len(found.load(hot).wave) == len(found.load(unknown).wave) == 100


@pytest.mark.parametrize(
    ("unit", "calibration"),
    [
        ("erg cm-2 s-1 A-1", "ABSOLUTE"), ("1e-17 erg cm-2 s-1 A-1 spaxel-1", "ABSOLUTE"), ("Jy", "ABSOLUTE"),
        ("ergss-1cm-2A-1", "ABSOLUTE"), ("relative", "RELATIVE"), ("relative (F_lambda)", "RELATIVE"),
        ("Uncalibrated", "UNCALIBRATED"), ("COUNTS", "UNCALIBRATED"), ("ADU", "UNCALIBRATED"),
        ("continuum-normalised", "NORMALIZED"), ("", None), ("furlong", None),
    ],
)  # fmt: skip
def test_the_unit_says_how_far_flux_is_calibrated(unit: str, calibration: str | None) -> None:
    from encoder.catalogue import flux_calibration

    assert flux_calibration(unit) == calibration
