"""The pages for people: search, a spectrum over its nearest neighbours, TAP, and what "similar" means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from index.release import OpenRelease
from service.errors import NotFoundFault, ServiceFault, UsageFault
from service.faults import http_fault
from service.own_spectrum import PLAUSIBLE
from service.protocols.dali import Params, request_params
from service.protocols.encode import FRAMES, MEDIA, keep, kept, sent_spectrum
from service.web import assets
from service.web.archive import MAX_HITS, Archive
from service.web.curves import draw
from service.web.elsewhere import Question, ways
from service.web.entries import Entry, Fact
from service.web.samp import Offer
from service.web.search import Around, Identifier, Named, Search, read_search
from service.web.seen import Seen

HEADINGS = {404: "Not found", 400: "This can not be answered", 413: "Too large"}
DEFAULT_K = 10
MAX_K = 50
TOLD_COLUMNS = {
    "WAVE": "Column of wavelengths",
    "FLUX": "of flux",
    "ERROR": "of errors",
    "LAYOUT": "Layout of a FITS image",
}
SERVICES = (
    ("/tap", "Tables, and likeness in ADQL", "TAP 1.1, ADQL 2.1"),
    ("/ssa", "Spectra by position, wavelength, time, labels; SIMILAR_TO for their likes", "SSA 1.1"),
    ("/similar_to", "The spectra most like one of this archive, or like one that is sent", ""),
    ("/encode", "What the models say of a spectrum that is sent: labels, how unusual, a word for it", ""),
    ("/scs", "Spectra around a position", "Simple Cone Search 1.03"),
    ("/datalink/links", "What there is for a spectrum: files, preview, services", "DataLink 1.1"),
    ("/soda/sync", "Part of a spectrum, normalised, at another resolution; /soda/async as a job", "SODA 1.0"),
    ("/derived/reconstruction", "A spectrum as a model sees it; /derived/traversal along a latent", ""),
    ("/moc", "Where on the sky the spectra are", "MOC 2.0"),
    ("/oai", "What the registry of the Virtual Observatory is told", "OAI-PMH 2.0"),
)
EXAMPLE = """SELECT TOP 10 ssa_pubdid, ssa_targname, spectral_class, teff
FROM doppel.spectra
WHERE teff BETWEEN 5600 AND 5900"""


@dataclass(frozen=True, slots=True)
class Ask:
    """What the address of a page says; an empty space is that of the first model with the spectrum."""

    text: str
    reference: str  # a DID or upload:<token>
    space: str
    k: int

    @classmethod
    def of(cls, params: Params) -> Ask:
        k = params.integer("K", low=1, high=MAX_K)
        text, reference, space = ((params.one(name) or "").strip() for name in ("Q", "ID", "SPACE"))
        return cls(text, reference, space, DEFAULT_K if k is None else k)

    def address(self, path: str, reference: str) -> str:
        """Of the page that shows another spectrum, asked in the same way."""
        asked = {"id": reference, "space": self.space, "k": "" if self.k == DEFAULT_K else self.k}
        return f"{path}/?{urlencode({name: value for name, value in asked.items() if value})}"


@dataclass(frozen=True, slots=True)
class Space:
    """One choice of what alike means."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Site:
    """What every page knows of the installation."""

    title: str
    base: str  # absolute, for what is copied
    path: str  # of the base, for links within the pages: they work under any name of the host
    release: str
    similarity: str  # the URI of the term
    models: tuple[str, ...]
    spaces: tuple[Space, ...]
    max_k: int = MAX_K

    @classmethod
    def of(cls, release: OpenRelease, title: str, base: str, similarity: str) -> Site:
        models = tuple(model.recipe.model_id for model in release.models.values())
        path, spaces = urlsplit(base).path.rstrip("/"), tuple(_spaces(release))
        return cls(title, base, path, release.id, similarity, models, spaces)


def _spaces(release: OpenRelease) -> list[Space]:
    found = [Space("", "default of the model that covers it")]
    for model in release.models.values():
        grid = model.recipe.grid
        where = f"{grid.start:.0f}–{grid.stop:.0f} Å" if grid.pixels else "vectors made elsewhere"
        found += [
            Space(f"{model.name}:{preset}", f"{model.name} · {preset} ({where})")
            for preset in model.recipe.presets
        ]
    return found


@cache
def environment() -> Environment:
    loader = PackageLoader("service.web", "templates")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def render(template: str, site: Site, context: Mapping[str, object]) -> str:
    def asset(name: str) -> str:
        return f"{site.path}/static/{name}?v={assets.version(name)}"

    return environment().get_template(template).render(site=site, asset=asset, **context)


@dataclass(frozen=True, slots=True)
class Page:
    """A page, or the address of the one to go to."""

    html: str = ""
    go_to: str = ""

    def response(self) -> Response:
        return RedirectResponse(self.go_to, 303) if self.go_to else HTMLResponse(self.html)


def home_page(archive: Archive, site: Site, ask: Ask) -> Page:
    """The start page, what a search found, or a chosen spectrum with its neighbours."""
    if ask.text:
        return found_page(archive, site, ask, read_search(ask.text))
    if ask.reference:
        return Page(neighbours_page(archive, site, ask))
    return Page(search_page(archive, site, ask, None))


def found_page(archive: Archive, site: Site, ask: Ask, search: Search) -> Page:
    """One match is shown at once, several are listed."""
    if isinstance(search, Identifier):
        return Page(go_to=ask.address(site.path, search.did))
    found = Found.of(search, archive.search(search))
    if len(found.hits) == 1:
        return Page(go_to=ask.address(site.path, found.hits[0].did))
    return Page(search_page(archive, site, ask, found))


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and how to say it."""

    heading: str
    nothing: str
    hits: list[Entry]
    around: bool

    @classmethod
    def of(cls, search: Around | Named, hits: list[Entry]) -> Found:
        count = f"The first {len(hits)}" if len(hits) == MAX_HITS else str(len(hits))
        spectra = "spectrum" if count == "1" else "spectra"
        if isinstance(search, Around):
            place = f"{search.radius:g}° around {search.ra:.5g} {search.dec:+.5g}"
            nothing = (
                f"No spectrum within {place} (ICRS). A third number widens the circle: "
                f"“{search.ra:.4f} {search.dec:.4f} 5” is 5°."
            )
            return cls(f"{count} {spectra} within {place}, nearest first", nothing, hits, True)
        nothing = (
            f"No spectrum has “{search.text}” in its name or identifier. Names are spelled as in the source "
            "catalogue; spaces, case and leading zeros do not matter. A position works too: “279.23 38.78”."
        )
        return cls(f"{count} {spectra} with “{search.text}” in name or identifier", nothing, hits, False)


def search_page(archive: Archive, site: Site, ask: Ask, found: Found | None) -> str:
    link = partial(ask.address, site.path)
    start = found is None
    context = {
        "ask": replace(ask, reference=""),
        "found": found,
        "link": link,
        "examples": archive.examples() if found is None or not found.hits else [],
        "latent_map": archive.latent_map(link) if start else None,
        "holdings": archive.holdings() if start else "",
        "units": [unit for unit, *_ in PLAUSIBLE],
        "media": MEDIA,
        "frames": FRAMES,
        "columns": TOLD_COLUMNS,
    }
    return render("search.html", site, context)


def neighbours_page(archive: Archive, site: Site, ask: Ask) -> str:
    """The chosen spectrum over its nearest; where it has no neighbours the page says why."""
    chosen = archive.chosen(ask.reference)
    likes = archive.likes(chosen, ask.space, ask.k)
    drawn = [(one.did, one.label) for one in (chosen, *likes.nearest)]
    plot = draw(likes.grid, drawn, archive.spectrum)
    question = Question(chosen.did, ask.k, likes.space)
    offer = Offer(question, (chosen, *likes.nearest), site.path)
    context = {
        "ask": ask,
        "chosen": chosen,
        "facts": facts(chosen),
        "files": chosen.files,
        "problem": likes.problem,
        "neighbours": likes.nearest,
        "curves": plot.as_json() if plot.curves else None,
        "undrawn": plot.undrawn,
        "caption": likes.caption,
        "predicted": archive.predicted(chosen.did),
        "seen": Seen.of(likes.model, chosen.did, site.path),
        "elsewhere": ways(question, site.base) if likes.nearest else [],
        "offer": offer.as_json() if likes.nearest else None,
        "link": partial(ask.address, site.path),
    }
    return render("neighbours.html", site, context)


def facts(chosen: Entry) -> list[Fact]:
    """What the archive says of the chosen spectrum, as far as it says anything."""
    known = [
        ("Effective temperature", chosen.teff, "{:.0f} K"),
        ("log g", chosen.logg, "{:.2f}"),
        ("[Fe/H]", chosen.feh, "{:+.2f}"),
        ("Radial velocity", chosen.rv, "{:.1f} km/s"),
        ("RA", chosen.ra, "{:.5f}°"),
        ("Dec", chosen.dec, "{:+.5f}°"),
        ("Collection", chosen.collection, "{}"),
        ("Instrument", chosen.instrument, "{}"),
        ("Observed", chosen.date_obs, "{}"),
        ("S/N", chosen.snr, "{:.0f}"),
        ("Resolving power", chosen.resolving_power, "{:.0f}"),
        ("Identifier", chosen.did, "{}"),
        ("Taken for granted", chosen.assumed, "{}"),
    ]
    return [Fact(label, form.format(value)) for label, value, form in known if value is not None]


def tap_page(archive: Archive, site: Site) -> Page:
    tables = sorted(archive.release.tables.values(), key=lambda table: table.name)
    return Page(render("tap.html", site, {"tables": tables, "query": EXAMPLE, "services": SERVICES}))


def similarity_page(_: Archive, site: Site) -> Page:
    return Page(render("similarity.html", site, {}))


Make = Callable[[Archive, Site], Page]


def _answer(request: Request, make: Make) -> Response:
    """Runs in a thread, with the release pinned; a fault becomes a page that says it."""
    state = request.app.state
    with state.holder.pin() as release:
        uri = state.config.registry.similarity_uri
        site = Site.of(release, state.config.service.title, state.base_url, uri)
        archive = Archive(
            release,
            site.path,
            references=state.references,
            uploaded=lambda token: kept(state.state, token),
        )
        try:
            return make(archive, site).response()
        except ServiceFault as fault:
            heading = HEADINGS.get(fault.status, "Sorry")
            html = render("message.html", site, {"heading": heading, "message": str(fault)})
            return HTMLResponse(html, fault.status)


async def home(request: Request) -> Response:
    params = await request_params(request)
    if request.method == "POST":
        return await run_in_threadpool(_answer, request, await _upload(request, params))
    return await run_in_threadpool(
        _answer, request, lambda archive, site: home_page(archive, site, Ask.of(params))
    )


async def _upload(request: Request, params: Params) -> Make:
    """Keeps the spectrum that somebody sent and goes to the page of its neighbours."""
    sent = await sent_spectrum(request, params)
    await request.close()
    state = request.app.state

    def kept_page(_: Archive, site: Site) -> Page:
        if sent is None or not sent.content:
            raise UsageFault("There is no file: choose one with a spectrum in it")
        spectrum = state.parsers.read(sent.content, sent.told)
        return Page(go_to=Ask.of(params).address(site.path, keep(state, sent.told.name, spectrum)))

    return kept_page


async def nothing_here(request: Request, fault: Exception) -> Response:
    """A wrong address: a page for browsers (Java accepts HTML too), its protocol's words for others."""
    if "application/xhtml+xml" not in request.headers.get("Accept", ""):
        return await http_fault(request, fault)

    def nowhere(_: Archive, __: Site) -> Page:
        raise NotFoundFault(f"There is nothing at {request.url.path}")

    return await run_in_threadpool(_answer, request, nowhere)


async def tap(request: Request) -> Response:
    return await run_in_threadpool(_answer, request, tap_page)


async def similarity(request: Request) -> Response:
    return await run_in_threadpool(_answer, request, similarity_page)


routes: list[BaseRoute] = [
    Route("/", home, methods=["GET", "HEAD", "POST"]),
    Route("/tap", tap, methods=["GET", "HEAD"]),
    Route("/rdf/similarity", similarity, methods=["GET", "HEAD"]),
    Route("/static/{name}", assets.static, methods=["GET", "HEAD"]),
]
