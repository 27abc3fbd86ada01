"""Requests that went wrong: no endpoint answers them with a bug, a traceback, or never.

A tenth of the campaign, always the same, in every run; `--full` for all of it.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
from starlette.types import ASGIApp

from encoder.spectrum import Facts, RefusedSpectrum, Spectrum
from index.release import OpenRelease
from index.releases import ReleaseHolder
from service.app import create_app
from service.config import Config
from service.errors import ServiceFault, UsageFault
from service.formats.spectrum import write_csv, write_fits, write_votable
from service.own_spectrum import Own, Told, read_own
from service.protocols import soda
from service.protocols.oai import Selection
from service.state import Job, State
from service.workers import Stop
from tests.service import mutations
from tests.service.campaign import meets_no_bug
from tests.service.mutations import Asked

COUNT = 10_000


class HerePlainly:
    """Reads uploads as the warm processes do, but here, where a bug of the readers is seen."""

    def read(self, content: bytes, told: Told) -> Own:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return read_own(content, told)
            except RefusedSpectrum as refusal:
                raise UsageFault(str(refusal)) from None

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
def app(config: Config, holder: ReleaseHolder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGIApp]:
    """The application, asked without a network."""
    state = State("", Path(tmp_path_factory.mktemp("mutations")))
    served = replace(config, service=replace(config.service, base_url="http://archive.example"))
    made = create_app(served, holder, state)
    made.state.parsers.close()
    made.state.parsers = HerePlainly()
    yield made
    state.close()


CONSTRAINTS = (
    "POS", "SIZE", "BAND", "TIME", "FORMAT", "TARGETNAME", "TARGETCLASS", "COLLECTION", "PUBDID",
    "MTIME", "SNR", "REDSHIFT", "SPECRP", "SPATRES", "TIMERES", "VARAMPL", "APERTURE", "FLUXCALIB",
    "TOP", "MAXREC", "RESPONSEFORMAT", "SIMILAR_TO", "SPACE", "TEFF", "ANOMALY", "Z00", "RUNID", "VERSION",
    "REQUEST", "COMPRESS", "WAVECALIB", "CREATORDID",
)  # fmt: skip
NAMES: dict[str, tuple[str, ...]] = {
    "/ssa": CONSTRAINTS,
    "/similar_to": (*CONSTRAINTS, "ID", "UNLIKE", "COMBINE", "EXPLAIN", "RERANK"),
    "/scs": ("RA", "DEC", "SR", "VERB", "MAXREC", "RESPONSEFORMAT"),
    "/datalink/links": ("ID", "RESPONSEFORMAT", "REQUEST", "RUNID"),
    "/soda/sync": (
        "ID", "BAND", "TIME", "CIRCLE", "POLYGON", "POS", "FLUXCALIB", "REDSHIFT", "SPECRP", "FORMAT",
        "RUNID",
    ),
    "/soda/async": (
        "ID", "BAND", "TIME", "CIRCLE", "POLYGON", "POS", "FORMAT", "PHASE", "EXECUTIONDURATION",
        "DESTRUCTION", "WAIT", "ACTION", "AFTER", "LAST", "RUNID",
    ),
    "/oai": ("verb", "identifier", "metadataPrefix", "from", "until", "set", "resumptionToken"),
    "/moc": ("RESPONSEFORMAT", "RUNID"),
    "/": ("Q", "ID", "SPACE", "K", "UPLOAD"),
    "/derived/reconstruction": ("ID", "MODEL", "FORMAT"),
    "/derived/traversal": ("ID", "MODEL", "LATENT", "SIGMA", "STEPS", "FORMAT"),
    "/encode": ("UNIT", "MEDIUM", "FRAME", "WAVE", "FLUX", "ERROR", "LAYOUT", "NAME", "FORMAT", "spectrum"),
}  # fmt: skip
"""What each endpoint knows, or once knew."""
POSTS = {"/soda/async": 0.9}  # share of the requests that come by POST, where it is not the usual one
COSTLY = {
    "/": 4,
    "/soda/async": 4,
    "/derived/reconstruction": 4,
    "/derived/traversal": 4,
}  # so much less of them each time


def seeds(dids: Sequence[str], token: str) -> dict[str, Sequence[Mapping[str, str]]]:
    """Requests that are right, of the endpoints whose parameters are changed."""
    return {
        "/ssa": (
            {"REQUEST": "queryData", "POS": "10.5,20.25;ICRS", "SIZE": "5", "BAND": "4e-7/7e-7"},
            {"POS": "10.5,20.25,300,-10;GALACTIC", "SIZE": "50", "TOP": "5", "TIME": "2012/2020-05"},
            {"VARAMPL": "/0.5", "MTIME": "2012,2014/", "APERTURE": "0.001", "WAVECALIB": "any"},
            {"SIMILAR_TO": dids[0], "SPACE": "physics; z00:2", "TOP": "5", "TEFF": "4000/7000"},
            {"TARGETNAME": "HD*", "FORMAT": "fits,votable", "MAXREC": "3", "RESPONSEFORMAT": "csv"},
        ),
        "/datalink/links": ({"ID": dids[0]}, {"ID": dids[1], "RESPONSEFORMAT": "votable"}),
        "/soda/sync": (
            {"ID": dids[0], "BAND": "4.5e-7 5e-7", "FLUXCALIB": "RELATIVE", "REDSHIFT": "0.1"},
            {"ID": dids[1], "CIRCLE": "10 20 1", "FORMAT": "fits", "SPECRP": "500"},
            {"ID": dids[2], "POLYGON": "1 1 3 1 3 3", "TIME": "55000 57000", "FORMAT": "csv"},
        ),
        "/soda/async": (
            {"ID": dids[0], "BAND": "4.5e-7 5e-7", "POS": "CIRCLE 10 20 180", "PHASE": "RUN"},
            {"ID": dids[1], "POLYGON": "1 1 3 1 3 3", "EXECUTIONDURATION": "10", "RUNID": "me"},
            {"ID": dids[2], "BAND": "5e-7 +Inf", "DESTRUCTION": "2030-01-01T00:00:00Z", "FORMAT": "csv"},
        ),
        "/similar_to": (
            {"ID": dids[0], "TOP": "5", "SPACE": "parameters"},
            {"ID": dids[1], "UNLIKE": dids[2], "EXPLAIN": "1", "MAXREC": "3", "TEFF": "4000/7000"},
            {"ID": dids[3], "COMBINE": "1", "RESPONSEFORMAT": "csv", "BAND": "4e-7/7e-7"},
        ),
        "/scs": ({"RA": "10.5", "DEC": "-20", "SR": "5", "VERB": "2"}, {"RA": "0", "DEC": "90", "SR": "0"}),
        "/oai": (
            {"verb": "ListRecords", "metadataPrefix": "ivo_vor", "from": "2020-01-01", "set": "ivo_managed"},
            {"verb": "GetRecord", "metadataPrefix": "oai_dc", "identifier": "ivo://doppel.example"},
            {"verb": "ListIdentifiers", "resumptionToken": token},
            {"verb": "ListMetadataFormats", "identifier": "ivo://doppel.example"},
        ),
        "/moc": ({"RESPONSEFORMAT": "json"}, {"RESPONSEFORMAT": "application/fits"}),
        "/": ({"Q": "HD*", "K": "5"}, {"Q": "10.5 20.25 3"}, {"ID": dids[0], "SPACE": "optical:physics"}),
        "/derived/reconstruction": ({"ID": dids[0], "MODEL": "optical"}, {"ID": dids[1], "FORMAT": "csv"}),
        "/derived/traversal": ({"ID": dids[0], "LATENT": "z00", "STEPS": "3"}, {"LATENT": "z01"}),
    }  # fmt: skip


def spectrum(facts: Facts) -> Spectrum:
    wave = np.linspace(4000.0, 6900.0, 300)
    return Spectrum(wave, 2 + np.sin(wave / 60), np.full(300, 25.0), np.zeros(300, bool), facts)


def asked(endpoint: str, release: OpenRelease, count: int, seed: int) -> Iterator[Asked]:
    """The mutated requests of one endpoint."""
    dids = [release.did_of(int(row)) for row in release.models["optical"].vectors.rows[:6]]
    if endpoint == "/spectra/":
        return mutations.paths(endpoint, dids, (".vot", ".csv", ".fits", ".orig", ""), count, seed)
    if endpoint == "/encode":
        facts = Facts("x", "y", "ivo://x", "x.fits", flux_unit="Jy")
        files = (write_csv(spectrum(facts)), write_fits(spectrum(facts)), write_votable(spectrum(facts)))
        return mutations.bodies(endpoint, files, NAMES[endpoint], count, seed)
    token = Selection("oai_dc", after="ivo://doppel.example", cursor=1).token
    posts = POSTS.get(endpoint, mutations.POSTS)
    return mutations.requests(endpoint, seeds(dids, token)[endpoint], NAMES[endpoint], count, seed, posts)


ENDPOINTS = (*NAMES, "/spectra/")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_mutated_requests_meet_no_bug(
    app: ASGIApp, release: OpenRelease, endpoint: str, pytestconfig: pytest.Config
) -> None:
    count = COUNT // (1 if pytestconfig.getoption("--full") else 10 * COSTLY.get(endpoint, 1))
    meets_no_bug(app, asked(endpoint, release, count, seed=1), count)


def test_jobs_of_mutated_requests_end_with_results_or_a_fault(
    app: Any, release: OpenRelease, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    """The same requests as jobs: whatever their parameters are, nothing but a fault comes of them."""
    count = COUNT // (1 if pytestconfig.getoption("--full") else 40)
    ends: Counter[str] = Counter()
    for one in asked("/soda/async", release, count, seed=1):
        pairs = parse_qsl((one.query or one.body).decode(errors="replace"), errors="replace")
        job = Job(id="x", kind="soda", parameters=json.dumps(pairs), duration=60)
        with ExitStack() as stack:
            try:
                for _, document in soda.execute(app.state, job, tmp_path, Stop(), stack):
                    ends[document.media_type] += len(b"".join(document.chunks)) > 0
            except ServiceFault as fault:
                ends[fault.fault] += 1
    print("jobs", dict(ends))
    assert ends["application/x-votable+xml"] > count // 20
    assert ends["UsageFault"] > count // 20
