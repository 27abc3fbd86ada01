"""SODA 1.0: what is kept, what is missed, and what errors say."""

import io

import numpy as np
import pytest
from astropy.table import Table

from encoder.spectrum import Spectrum
from service.cutouts import between, inside, separation
from service.errors import BusyFault, NotFoundFault, UsageFault
from service.faults import soda_text
from service.protocols.dali import Params
from service.protocols.soda import SeveralValuesFault, every, result, single
from tests.service.protocols.conftest import STRANGE

pytestmark = pytest.mark.filterwarnings("ignore:The unit '(Angstrom|erg)' has been deprecated")


def wanted(*pairs, **params):
    return single(Params.of([("ID", STRANGE), *pairs, *params.items()]))


def processed(spectrum, wanted):
    return wanted.cutout.of(spectrum)


@pytest.fixture(scope="module")
def spectrum(archive):
    return archive.spectrum(archive.row_of(STRANGE))


BANDS = [
    ("4e-7 5e-7", 4000.0, 5000.0),
    ("-Inf 4.2e-7", 3800.0, 4200.0),
    ("6.9e-7 +Inf", 6900.0, 7000.0),
    ("1e-7 1e-6", 3800.0, 7000.0),
]


@pytest.mark.parametrize(("band", "low", "high"), BANDS)
def test_c02_band_keeps_the_pixels_between_its_ends(spectrum, band, low, high):
    part = processed(spectrum, wanted(BAND=band))
    kept = (spectrum.wave >= low - 1e-6) & (spectrum.wave <= high + 1e-6)
    np.testing.assert_array_equal(part.wave, spectrum.wave[kept])
    np.testing.assert_array_equal(part.flux, spectrum.flux[kept])


OUTSIDE = [
    {"BAND": "1e-6 2e-6"},
    {"BAND": "4.34e-7 4.36e-7"},  # masked pixels only
    {"TIME": "50000 50001"},
    {"CIRCLE": "0 89 0.1"},
    {"POLYGON": "0 80 10 80 10 81"},
    {"POS": "CIRCLE 0 89 0.1"},
    {"POS": "RANGE 0 1 88 89"},
]


@pytest.mark.parametrize("params", OUTSIDE, ids=str)
def test_c04_no_overlap_gives_nothing(archive, params):
    assert result(archive, wanted(**params), "us") is None


def test_c02_time_and_place_are_hit_or_miss(spectrum):
    ra, dec = spectrum.facts.ra, spectrum.facts.dec
    for params in (
        {"TIME": "56744 56745"},
        {"CIRCLE": f"{ra} {dec} 0.1"},
        {"POLYGON": f"{ra - 1} {dec - 1} {ra + 1} {dec - 1} {ra} {dec + 1}"},
        {"POS": f"RANGE {ra - 1} {ra + 1} {dec - 1} {dec + 1}"},
    ):
        assert len(processed(spectrum, wanted(**params)).wave) == 600


@pytest.mark.parametrize(
    ("form", "format"),
    [("application/fits", "fits"), ("text/csv", "ascii.csv"), ("application/x-votable+xml", "votable")],
)
def test_every_form_holds_the_same_part(archive, form, format):
    found = result(archive, wanted(BAND="5e-7 5.5e-7", FORMAT=form), "us")
    table = Table.read(io.BytesIO(b"".join(found.chunks)), format=format)
    assert table["wavelength"][0] == pytest.approx(5000, abs=6)
    assert table["wavelength"][-1] == pytest.approx(5500, abs=6)
    assert found.filename.startswith("f_20g.fits.")


def test_c09_relative_flux_has_median_one_and_keeps_the_signal_to_noise(spectrum):
    part = processed(spectrum, wanted(FLUXCALIB="RELATIVE"))
    good = ~part.mask
    assert np.median(np.abs(part.flux[good])) == pytest.approx(1.0)
    before = (spectrum.flux * np.sqrt(spectrum.ivar))[good]
    np.testing.assert_allclose((part.flux * np.sqrt(part.ivar))[good], before)


def test_c09_redshift_moves_to_the_rest_frame(spectrum):
    part = processed(spectrum, wanted(REDSHIFT="1"))
    np.testing.assert_allclose(part.wave, spectrum.wave / 2)
    assert part.facts.wave_frame == "rest"


BAD = [
    {"BAND": "wide"}, {"BAND": "5e-7 4e-7"}, {"BAND": "1 2 3"}, {"TIME": "2012"  " x"}, {"CIRCLE": "1 2"},
    {"CIRCLE": "1 2 -3"}, {"POLYGON": "1 2 3 4"}, {"POLYGON": "1 2 3 4 5 95"}, {"POS": "BOX 1 2 3 4"},
    {"POS": "RANGE 1 2"}, {"POS": "RANGE 1 2 4 3"}, {"FLUXCALIB": "ABSOLUTE"}, {"FORMAT": "image/png"},
    {"REDSHIFT": "-1"},
]  # fmt: skip


@pytest.mark.parametrize("params", BAD, ids=str)
def test_c05_bad_values_name_the_parameter(params):
    with pytest.raises(UsageFault, match=next(iter(params))):
        wanted(**params)


def test_c03_several_values_are_not_supported_in_sync():
    with pytest.raises(SeveralValuesFault, match="BAND is given 2 times"):
        wanted(("BAND", "1 2"), ("BAND", "3 4"))


def test_c05_errors_begin_with_the_words_of_soda():
    assert soda_text("x", UsageFault.fault) == "UsageError: x\n"
    assert soda_text("x", NotFoundFault.fault) == "UsageError: x\n"
    assert soda_text("x", SeveralValuesFault.fault) == "MultiValuedParamNotSupported: x\n"
    assert soda_text("x", BusyFault.fault) == "ServiceUnavailable: x\n"
    assert soda_text("x", "DefaultFault") == "Error: x\n"


def test_no_identifier_and_an_unknown_one_are_faults(archive):
    with pytest.raises(UsageFault, match="ID is missing"):
        single(Params.of([]))
    with pytest.raises(NotFoundFault, match="no spectrum"):
        result(archive, single(Params.of([("ID", "ivo://x/y")])), "us")


def test_c03_every_combination_of_values_is_a_result():
    pairs = [
        ("ID", "a"),
        ("ID", "b"),
        ("BAND", "1 2"),
        ("BAND", "3 4"),
        ("CIRCLE", "1 2 3"),
        ("POS", "RANGE 1 2 3 4"),
    ]
    found = every(Params.of(pairs))
    assert [one.id for one in found] == ["a"] * 4 + ["b"] * 4
    assert [one.cutout.band for one in found[:4]] == [(1, 2), (1, 2), (3, 4), (3, 4)]
    assert len({one.cutout for one in found}) == 4
    with pytest.raises(UsageFault, match="more than 1000 results"):
        every(Params.of([("ID", str(n)) for n in range(501)] + pairs[2:4]))
    with pytest.raises(SeveralValuesFault, match="FLUXCALIB"):
        every(Params.of([("ID", "a"), ("FLUXCALIB", "RELATIVE"), ("FLUXCALIB", "RELATIVE")]))


def test_c03_shapes_are_one_filter_in_sync():
    with pytest.raises(SeveralValuesFault, match="one of them"):
        wanted(CIRCLE="1 2 3", POS="CIRCLE 1 2 3")


def test_c02_a_single_wavelength_has_the_pixel_that_holds_it(spectrum):
    part = processed(spectrum, wanted(BAND="5.0013e-7 5.0013e-7"))
    (wave,) = part.wave
    assert abs(wave - 5001.3) <= np.gradient(spectrum.wave)[0] / 2
    assert processed(spectrum, wanted(BAND="3.79e-7 3.79e-7")) is None


def test_c02_ranges_go_over_the_poles_and_through_zero():
    assert between(0, 360, 89, 90, 123.0, 89.5)
    assert between(350, 10, -2, 2, 355.0, 0.0)
    assert between(350, 10, -2, 2, 5.0, 0.0)
    assert not between(350, 10, -2, 2, 180.0, 0.0)
    assert between(0, 360, -2, 2, 200.0, 1.9)
    assert between(float("-inf"), float("inf"), 0, float("inf"), 10.0, 80.0)
    assert not between(0, 360, 0, float("inf"), 10.0, -1.0)


def test_polygons_agree_with_circles_on_the_sphere():
    """A polygon around the pole, and one over RA 0, judged by distance from their centres."""
    ring = [part for lon in range(0, 360, 10) for part in (float(lon), 80.0)]
    assert inside(ring, 123.0, 85.0)
    assert not inside(ring, 123.0, 75.0)
    square = [359.0, -1.0, 1.0, -1.0, 1.0, 1.0, 359.0, 1.0]
    assert inside(square, 0.5, 0.5)
    assert inside(square, 359.5, -0.5)
    assert not inside(square, 2.0, 0.0)
    assert not inside(square, 180.0, 0.0)
    assert separation(0, 0, 0, 90) == pytest.approx(90)


def test_specrp_widens_a_line_and_keeps_its_strength(spectrum):
    """A line of 4 Å sigma, at R = 1800, seen at R = 500."""
    line = Spectrum(
        np.arange(6000.0, 7000.0),
        1 - 0.5 * np.exp(-(((np.arange(6000.0, 7000.0) - 6500) / 4.0) ** 2) / 2),
        np.full(1000, 400.0),
        np.zeros(1000, bool),
        spectrum.facts,
    )
    seen = processed(line, wanted(SPECRP="500"))
    depth = 1 - seen.flux
    middle = slice(200, 800)
    assert depth[middle].sum() == pytest.approx((1 - line.flux)[middle].sum(), rel=1e-3)
    width = np.sqrt((depth * (seen.wave - 6500) ** 2)[middle].sum() / depth[middle].sum())
    added = 6500 / 2.3548 * np.sqrt(1 / 500**2 - 1 / line.facts.resolving_power**2)
    assert width == pytest.approx(np.hypot(4.0, added), rel=0.01)
    assert seen.facts.resolving_power == 500
    assert (seen.ivar[middle] > line.ivar[middle]).all()  # noise is averaged


@pytest.mark.parametrize("text", ["5000", "0", "-1", "NaN", "Inf", "sharp"])
def test_specrp_that_cannot_be_is_refused(archive, text):
    with pytest.raises(UsageFault, match="SPECRP"):
        result(archive, wanted(SPECRP=text), "us")


def test_specrp_leaves_masked_pixels_masked(spectrum):
    seen = processed(spectrum, wanted(SPECRP="300"))
    np.testing.assert_array_equal(seen.mask, spectrum.mask)
    assert np.isfinite(seen.flux).all()
