"""A spectrum of one's own: what the models make of it, and the word that stands for it afterwards."""

import json

import numpy as np
import pytest

from encoder.spectrum import Facts, RefusedSpectrum, Spectrum
from service.errors import UsageFault
from service.formats.spectrum import write_fits
from service.own_spectrum import Own, Told, read_own
from service.protocols.dali import Params
from service.protocols.encode import answer, kept, number, prepared_for, told_of, upload_vectors
from service.state import State


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    made = State("", tmp_path_factory.mktemp("state"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def embedded(release):
    """A row that `optical` embeds."""
    return int(release.models["optical"].vectors.rows[3])


@pytest.fixture(scope="module")
def own(release, embedded):
    return read_own(write_fits(release.spectrum(embedded)), Told(name="mine.fits", frame="rest"))


def test_an_archive_spectrum_sent_back_is_where_it_was(release, embedded, own, state):
    token = state.keep_token("mine", own.to_bytes(), 60)
    vectors = upload_vectors(state, release, f"upload:{token}")
    model = release.models["optical"]
    np.testing.assert_allclose(vectors["optical"], model.vectors.vector(embedded), rtol=2e-2, atol=2e-2)


def test_the_answer_tells_labels_intervals_anomaly_coverage(release, own):
    words = answer(release, own)
    optical = words["models"]["optical"]
    assert 0.5 <= optical["coverage"] <= 1
    assert 0 <= optical["anomaly"] <= 100
    assert set(optical["labels"]) == {label.name for label in release.models["optical"].recipe.labels}
    for label in optical["labels"].values():
        if label["value"] is not None:
            assert label["lo90"] <= label["lo68"] <= label["value"] <= label["hi68"] <= label["hi90"]
    assert len(optical["latents"]) == len(release.models["optical"].recipe.latents)
    assert words["spectrum"]["name"] == "mine.fits"
    json.dumps(words, allow_nan=False)


def elsewhere() -> Own:
    wave = np.linspace(20_000.0, 24_000.0, 300)
    flux = np.ones(300)
    return Own(Spectrum(wave, flux, np.zeros(300), np.zeros(300, bool), Facts("x", "", "", "x")))


def test_a_spectrum_outside_every_grid_is_a_fault_with_the_reasons(release):
    with pytest.raises(UsageFault, match=r"optical: covers nothing of 3800.*halpha: "):
        answer(release, elsewhere())


def test_a_spectrum_that_covers_too_little_says_how_much(release, own):
    spectrum = own.spectrum
    part = spectrum.wave < spectrum.wave[0] + 400
    short = Spectrum(
        spectrum.wave[part], spectrum.flux[part], spectrum.ivar[part], spectrum.mask[part], spectrum.facts
    )
    with pytest.raises(RefusedSpectrum, match=r"covers \d+ % of 3800.* needs 50 %"):
        prepared_for(release.models["optical"], short)


def test_unknown_and_expired_tokens_are_told(state, own):
    with pytest.raises(UsageFault, match="upload:nothing stands for no upload"):
        kept(state, "upload:nothing")
    with pytest.raises(UsageFault, match=r"^upload:nothing stands"):
        kept(state, "nothing")  # as ADQL's references are handed on
    old = state.keep_token("old", own.to_bytes(), -1)
    with pytest.raises(UsageFault, match="stands for no upload"):
        kept(state, f"upload:{old}")


def test_what_the_sender_says_is_read_and_checked():
    told = told_of(Params.of([("unit", "nm"), ("MEDIUM", "Air"), ("frame", "rest"), ("WAVE", "w")]), "a.csv")
    assert told == Told(unit="nm", medium="air", frame="rest", wave="w", name="a.csv")
    for name in ("MEDIUM", "FRAME"):
        with pytest.raises(UsageFault, match=name):
            told_of(Params.of([(name, "water")]))


def test_numbers_are_json():
    assert number(np.float32(0.1)) == 0.1
    assert number(np.nan) is None
