"""What the search box makes of what people type."""

from __future__ import annotations

import pytest

from service.errors import UsageFault
from service.web.search import Around, Identifier, Named, name_key, read_search


@pytest.mark.parametrize("text", ["ivo://doppel.example/miles?miles-m0001", "upload:abc"])
def test_an_identifier_is_taken_as_it_is(text: str) -> None:
    assert read_search(f"  {text} ") == Identifier(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("279.23 38.78", Around(279.23, 38.78, 1.0)),
        ("279.23, -38.78", Around(279.23, -38.78, 1.0)),
        ("279.23 +38.78 0.25", Around(279.23, 38.78, 0.25)),
    ],
)
def test_two_numbers_are_a_position_a_third_its_radius(text: str, found: Around) -> None:
    assert read_search(text) == found


@pytest.mark.parametrize(
    "text", ["18 36 56.336 +38 47 01.29", "18:36:56.336 +38:47:01.29", "18h36m56.336s +38d47m01.29s"]
)
def test_sexagesimal_positions_are_of_vega(text: str) -> None:
    found = read_search(text)
    assert isinstance(found, Around)
    assert found.ra == pytest.approx(279.23473, abs=1e-4)
    assert found.dec == pytest.approx(38.78369, abs=1e-4)


@pytest.mark.parametrize("text", ["HD 005820", "hd5820", "HD5820"])
def test_spaces_case_and_leading_zeros_of_a_name_do_not_matter(text: str) -> None:
    found = read_search(text)
    assert isinstance(found, Named)
    assert found.key == "HD5820"


@pytest.mark.parametrize(
    ("name", "key"), [("BD+00 1234", "BD+001234"), ("m0100", "M100"), ("SAO 75179", "SAO75179")]
)
def test_name_keys_keep_what_is_not_a_leading_zero(name: str, key: str) -> None:
    assert name_key(name) == key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("400 10", "longitude"),
        ("10 95", "latitude"),
        ("10 20 0", "radius"),
        ("10 20 -1", "radius"),
        ("25 70 00 +99 00 00", "25 70 00"),
        ("x" * 500, "400 are allowed"),
    ],
)
def test_what_can_not_be_searched_is_told(text: str, said: str) -> None:
    with pytest.raises(UsageFault, match=said.replace("+", r"\+")):
        read_search(text)
