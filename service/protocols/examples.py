"""`/tap/examples`, `/soda/examples`: what people can start from, and runs as it stands (DALI 1.1, 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from encoder.spectrum import RefusedSpectrum
from registry_metadata.tables import flux_name
from service.formats.spectrum import FITS, VOTABLE
from service.formats.votable import attribute, escape

if TYPE_CHECKING:
    from index.release import Model, OpenRelease

LIKES, UNLIKES = 5, 2
TRIED = 20  # spectra, until one can be read
STYLE = "body{font-family:sans-serif;max-width:50em;margin:2em auto}pre{background:#f4f4f4;padding:1em}"


@dataclass(frozen=True, slots=True)
class Example:
    """A query."""

    id: str
    name: str
    query: str
    table: str
    text: str

    def element(self) -> str:
        """With its query (TAP 1.1, 2.6)."""
        table = f'Table: <em property="table">{escape(self.table)}</em>'
        return element(self, f" {table}", f'<pre property="query">{escape(self.query)}</pre>')


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a service with these parameters."""

    id: str
    name: str
    parameters: Sequence[tuple[str, str]]
    text: str

    def element(self) -> str:
        """With its parameters (DALI 1.1, 2.3.3)."""
        items = "".join(
            '<li property="generic-parameter" typeof="keyval">'
            f'<code property="key">{key}</code> = <code property="value">{escape(value)}</code></li>\n'
            for key, value in self.parameters
        )
        return element(self, "", f"<ul>\n{items}</ul>")


def examples(release: OpenRelease) -> Iterator[Example]:
    """Queries on what this release holds."""
    ra, dec = place(release)
    yield Example(
        "cone",
        "Spectra near a position",
        "SELECT TOP 100 ssa_pubdid, ssa_targname, ra, dec, accref\n"
        "FROM doppel.spectra\n"
        f"WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', {ra:.4f}, {dec:.4f}, 5))",
        "doppel.spectra",
        "All spectra within five degrees of a place on the sky.",
    )
    yield Example(
        "suns",
        "Stars like the Sun, by the archive's own labels",
        "SELECT TOP 50 ssa_targname, spectral_class, teff, logg, feh\n"
        "FROM doppel.spectra\n"
        "WHERE teff BETWEEN 5600 AND 5900 AND logg > 4\n"
        "ORDER BY teff",
        "doppel.spectra",
        "Labels are NULL where the archive has none.",
    )
    yield Example(
        "obscore",
        "Spectra through ObsCore",
        "SELECT TOP 20 obs_publisher_did, target_name, em_min, em_max, access_url\n"
        "FROM ivoa.obscore\n"
        "WHERE dataproduct_type = 'spectrum' AND em_min < 4.5e-7",
        "ivoa.obscore",
        "The table that every ObsTAP service has.",
    )
    if release.models:
        yield from likeness(release)
    for model in release.models:
        if (table := flux_name(model)) in release.tables:
            yield from of_flux(table)
            return


def place(release: OpenRelease) -> tuple[float, float]:
    """Of a spectrum that has one; else anywhere."""
    sql = "SELECT ra, dec FROM release.doppel.spectra WHERE ra IS NOT NULL AND dec IS NOT NULL LIMIT 1"
    return next(((float(ra), float(dec)) for ra, dec in release.engine.rows(sql)), (0.0, 0.0))


def likeness(release: OpenRelease) -> Iterator[Example]:
    """What only this service answers."""
    model = next(iter(release.models.values()))
    did = release.did_of(int(model.vectors.rows[0])).replace("'", "''")
    yield Example(
        "nearest",
        "The twenty spectra most like a given one",
        f"SELECT TOP 20 ssa_pubdid, ssa_targname, teff,\n"
        f"  latent_distance(ssa_pubdid, '{did}') AS d\n"
        f"FROM doppel.spectra\n"
        f"ORDER BY d",
        "doppel.spectra",
        "The reference itself comes first, with distance 0. Conditions in WHERE are met before the search.",
    )
    yield Example(
        "among",
        "Which of the ten most like it are hot",
        f"SELECT ssa_pubdid, ssa_targname, teff\n"
        f"FROM doppel.spectra\n"
        f"WHERE 1 = similar_to(ssa_pubdid, '{did}', 10) AND teff > 5000",
        "doppel.spectra",
        "similar_to counts its neighbours before any other condition.",
    )
    yield unlike(release, model)
    other = release.did_of(int(model.vectors.rows[-1])).replace("'", "''")
    yield Example(
        "together",
        "Like both of two spectra",
        f"SELECT TOP 20 s.ssa_pubdid, AVG(latent_distance(s.ssa_pubdid, u.ssa_pubdid)) AS d\n"
        f"FROM doppel.{model.name} AS s, doppel.{model.name} AS u\n"
        f"WHERE u.ssa_pubdid IN ('{did}', '{other}')\n"
        f"GROUP BY s.ssa_pubdid\nORDER BY d",
        f"doppel.{model.name}",
        "The examples may also be a column of an uploaded table.",
    )
    yield Example(
        "odd",
        f"The strangest spectra for the model {model.name}",
        f"SELECT TOP 10 s.ssa_targname, s.spectral_class, anomaly\n"
        f"FROM doppel.{model.name} AS m JOIN doppel.spectra AS s ON s.ssa_pubdid = m.ssa_pubdid\n"
        f"ORDER BY anomaly DESC",
        f"doppel.{model.name}",
        "anomaly is a percentile: 100 is the strangest.",
    )
    yield Example(
        "meaning",
        "What the latents mean",
        "SELECT * FROM doppel.latents",
        "doppel.latents",
        "Every latent with its block and what it tells of the labels.",
    )


def unlike(release: OpenRelease, model: Model) -> Example:
    """Several examples and counter-examples as one question, as `/similar_to` puts it with UNLIKE."""
    rows = model.vectors.rows.tolist()
    likes, unlikes = rows[:LIKES], rows[LIKES:][-UNLIKES:]
    table = f"doppel.{model.name}"
    mean = f"SELECT AVG(embedding) AS v FROM {table} WHERE ssa_pubdid IN"  # noqa: S608 (to be read)
    query = (
        "SELECT TOP 20 s.ssa_pubdid, SQRT(arr_dot(s.embedding - w.v, s.embedding - w.v)) AS d\n"
        f"FROM {table} AS s,\n"
        " (SELECT 1.5 * these.v - 0.5 * those.v AS v FROM\n"
        f"  ({mean}\n   ({quoted(release, likes)})) AS these,\n"
        f"  ({mean}\n   ({quoted(release, unlikes)})) AS those) AS w\n"
        f"WHERE s.ssa_pubdid NOT IN\n   ({quoted(release, [*likes, *unlikes])})\nORDER BY d"
    )
    return Example(
        "unlike",
        f"Like these {len(likes)}, unlike those {len(unlikes)}",
        query,
        table,
        "In vector mathematics: the mean of some, moved away from the mean of others by half of their "
        "difference. All latents count alike.",
    )


def quoted(release: OpenRelease, rows: Sequence[int]) -> str:
    """Identifiers as a list of literals."""
    dids = (release.did_of(row).replace("'", "''") for row in rows)
    return ",\n    ".join(f"'{did}'" for did in dids)


def of_flux(table: str) -> Iterator[Example]:
    """What can be computed with prepared spectra."""
    yield Example(
        "mean",
        "Mean spectra of stars by temperature",
        "SELECT t, COUNT(*) AS n, AVG(flux) AS flux\n"  # noqa: S608 (to be read)
        "FROM (SELECT ROUND(s.teff, -3) AS t, f.flux\n"
        f"  FROM {table} AS f JOIN doppel.spectra AS s ON s.ssa_pubdid = f.ssa_pubdid\n"
        "  WHERE s.teff IS NOT NULL) AS stars\n"
        "GROUP BY t\nORDER BY t",
        table,
        "Aggregates of arrays go pixel by pixel, and leave out pixels without valid flux; "
        "COUNT(flux) tells how many each has; doppel.grids has their wavelengths.",
    )


def cutouts(release: OpenRelease) -> Iterator[Call]:
    """Calls of SODA for a spectrum of this release."""
    found = readable(release)
    if found is None:
        return
    did, (start, stop) = found
    part = f"{start + 0.4 * (stop - start):.6g} {start + 0.6 * (stop - start):.6g}"
    yield Call(
        "band",
        "The middle of a spectrum",
        (("ID", did), ("BAND", part), ("FORMAT", FITS)),
        "BAND is an interval of wavelengths in vacuum, in metres.",
    )
    yield Call(
        "normalised",
        "A spectrum over its continuum, coarser",
        (("ID", did), ("FLUXCALIB", "RELATIVE"), ("SPECRP", "500"), ("FORMAT", VOTABLE)),
        "SPECRP is the resolving power to which the spectrum is made coarser.",
    )


def readable(release: OpenRelease) -> tuple[str, tuple[float, float]] | None:
    """The DID of the first spectrum whose file can be read, and its ends in metres."""
    sql = f"SELECT row_number FROM release.internal.facts ORDER BY 1 LIMIT {TRIED}"  # noqa: S608 (our own number)
    for (row,) in release.engine.rows(sql):  # removed ones are not among them
        with suppress(RefusedSpectrum):
            wave = release.spectrum(row).wave
            return release.did_of(row), (float(wave[0]) * 1e-10, float(wave[-1]) * 1e-10)
    return None


def page(title: str, examples: Iterable[Example | Call]) -> bytes:
    body = "".join(example.element() for example in examples)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" lang="en"><head><title>Examples</title>'
        f'<style>{STYLE}</style></head><body vocab="http://www.ivoa.net/rdf/examples#">\n'
        f"<h1>{title}</h1>\n{body}</body></html>\n"
    ).encode()


def element(example: Example | Call, words: str, detail: str) -> str:
    id_ = attribute(example.id)
    return (
        f'<div typeof="example" id="{id_}" resource="#{id_}">\n'
        f'<h2 property="name">{escape(example.name)}</h2>\n'
        f"<p>{escape(example.text)}{words}</p>\n{detail}\n</div>\n"
    )


async def queries_page(request: Request) -> Response:
    return await answered(request, "Queries to start from", examples)


async def cutouts_page(request: Request) -> Response:
    return await answered(request, "Calls to start from", cutouts)


async def answered(
    request: Request, title: str, of: Callable[[OpenRelease], Iterable[Example | Call]]
) -> Response:
    def made() -> bytes:
        with request.app.state.holder.pin() as release:
            return page(title, of(release))

    body = await run_in_threadpool(made)
    return Response(body, headers={"Content-Type": "application/xhtml+xml"})


routes: list[BaseRoute] = [
    Route("/tap/examples", queries_page),
    Route("/soda/examples", cutouts_page),
]
