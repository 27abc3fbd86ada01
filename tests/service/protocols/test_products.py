"""Products come back under any identifier, whole or in part, and say no in plain text."""

import io

import pytest
from astropy.table import Table

from service.errors import NotFoundFault
from service.protocols.products import byte_range, file_name, find, original, product
from tests.service.protocols.conftest import STRANGE


@pytest.mark.parametrize(
    ("path", "suffix"),
    [
        (f"{STRANGE}.vot", ".vot"),
        (f"{STRANGE}.orig", ".orig"),
        (STRANGE, ".orig"),
        (f"{STRANGE}.fits".replace("://", ":/"), ".fits"),
        (f"{STRANGE}.csv".replace("+", " "), ".csv"),
    ],
)
def test_the_last_suffix_says_what_is_wanted(archive, path, suffix):
    row, found = find(archive, path)
    assert (archive.did_of(row), found) == (STRANGE, suffix)


@pytest.mark.parametrize("path", ["nothing", "nothing.vot", "", f"{STRANGE}.vot.vot", f"{STRANGE}/../x.vot"])
def test_an_unknown_spectrum_is_told_so(archive, path):
    with pytest.raises(NotFoundFault, match="No spectrum"):
        find(archive, path)


@pytest.mark.filterwarnings("ignore:The unit '(Angstrom|erg)' has been deprecated")
@pytest.mark.parametrize(
    ("suffix", "format"), [(".vot", "votable"), (".fits", "fits"), (".csv", "ascii.csv")]
)
def test_every_table_has_the_same_pixels(archive, suffix, format):
    table = Table.read(io.BytesIO(product(archive, 4, suffix, "us")), format=format)
    assert table.colnames == ["wavelength", "flux", "error", "mask"]
    assert len(table) == 600
    assert table["wavelength"][0] == 3800.0


def test_previews_are_pictures(archive):
    assert product(archive, 4, ".png", "us").startswith(b"\x89PNG")
    assert b"<svg" in product(archive, 4, ".svg", "us")


def test_the_original_is_the_file_of_the_archive(archive):
    row, _ = find(archive, STRANGE)
    response = original(archive, row)
    assert response.path == archive.original(row)
    assert response.media_type == "application/fits"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9", slice(0, 10)),
        ("bytes=90-", slice(90, 100)),
        ("bytes=-5", slice(95, 100)),
        ("bytes=50-500", slice(50, 100)),
        ("bytes=200-", slice(100, 100)),
        ("bytes=", None),
        (f"bytes={'9' * 5000}-", None),
        ("lines=1-2", None),
        ("", None),
    ],
)
def test_h02_ranges(header, expected):
    assert byte_range(header, 100) == expected


def test_files_are_saved_under_a_plain_name():
    assert file_name(STRANGE, ".vot") == "f_20g.fits.vot"
