"""The questions that pages ask the archive; they go the way of every other query."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from encoder.collection import NO_READER
from encoder.recipe import GridSpec
from encoder.spectrum import Spectrum
from index.release import Model, OpenRelease
from service.errors import NotFoundFault, UsageFault
from service.own_spectrum import Own
from service.protocols.spectra import (
    NEAR,
    Likeness,
    Uploads,
    alias,
    ascending,
    default_model,
    named_model,
    parsed_space,
    table,
)
from service.protocols.where import MODEL, SPECTRA, column
from service.query.build import call, literal
from service.query.run import Question, answer
from service.web.entries import COLUMNS, Entry, entry
from service.web.predicted import Predicted, predicted
from service.web.search import Around, Named

MAX_HITS = 100
VISIBLE = GridSpec(3800.0, 9200.0, 2048)  # what is drawn where no model of the release has a grid
MAX_POINTS = 3000  # of the map
EXAMPLES = 6
SECONDS = 20.0
UPLOAD = "upload:"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Archive:
    """An open release, asked for pages; `base` stands before paths, `uploaded` has what people sent."""

    release: OpenRelease
    base: str
    references: Uploads
    uploaded: Callable[[str], Own]

    def ask(self, query: exp.Query, rows: int) -> tuple[list[Row], dict[str, str]]:
        """Rows by column name, and the answer's remarks."""
        question = Question(query, maxrec=rows, timeout=SECONDS)
        with answer(self.release, question, base_url=self.base, references=self.references) as found:
            names = [one.column.name for one in found.columns]
            lines = [dict(zip(names, line, strict=True)) for batch in found.batches for line in _lines(batch)]
            return lines, {info.name: info.value for info in found.infos}

    def search(self, wanted: Around | Named) -> list[Entry]:
        """At most MAX_HITS: the nearest around a position, the best matches of a name."""
        return self._around(wanted) if isinstance(wanted, Around) else self._named(wanted)

    def _named(self, wanted: Named) -> list[Entry]:
        like = [("object_key", wanted.key), ("ssa_targname", wanted.text), ("spectrum_id", wanted.text)]
        query = spectra().where(exp.or_(*(_contains(name, text) for name, text in like)))
        rows, _ = self.ask(query, 20 * MAX_HITS)
        found = sorted((entry(row, self.base) for row in rows), key=lambda hit: _match(hit, wanted))
        return found[:MAX_HITS]

    def _around(self, wanted: Around) -> list[Entry]:
        place = call("DISTANCE", column("ra"), column("dec"), literal(wanted.ra), literal(wanted.dec))
        query = spectra(alias(place, "separation"))
        query = query.where(exp.LTE(this=place.copy(), expression=literal(wanted.radius)))
        query = nearest_first(query, "separation", MAX_HITS)
        rows, _ = self.ask(query, MAX_HITS)
        return [replace(entry(row, self.base), separation=60 * float(row["separation"])) for row in rows]

    def chosen(self, reference: str) -> Entry:
        """The spectrum of a DID or of an upload's token; NotFoundFault else."""
        if reference.startswith(UPLOAD):
            return own(reference, self.uploaded(reference))
        row = self.release.row_of(reference)
        if row is None:
            raise NotFoundFault(f"No spectrum of this archive has the identifier {reference}")
        same = exp.EQ(this=column("ssa_pubdid"), expression=literal(self.release.did_of(row)))
        (found,), _ = self.ask(spectra().where(same), 1)
        known = entry(found, self.base)
        return replace(known, files=()) if self.release.facts_of(row).layout == NO_READER else known

    def spectrum(self, did: str) -> Spectrum:
        """Its pixels; RefusedSpectrum or OSError where the file can no longer be read."""
        row = None if did.startswith(UPLOAD) else self.release.row_of(did)
        return self.uploaded(did).spectrum if row is None else self.release.spectrum(row)

    def predicted(self, did: str) -> list[Predicted]:
        """What the models say of a spectrum that was sent, one by one."""
        return predicted(self.release, self.uploaded(did)) if did.startswith(UPLOAD) else []

    def likes(self, chosen: Entry, space: str, k: int) -> Likes:
        """The k nearest to a spectrum; a space without a model is that of the first with the spectrum."""
        try:
            likeness = Likeness.of(self.release, chosen.did, space, "id", self.references)
            query = spectra(alias(likeness.distance(), NEAR))
            query = query.where(exp.NEQ(this=column("ssa_pubdid"), expression=literal(chosen.did)))
            rows, infos = self.ask(nearest_first(query, NEAR, k), k)
        except UsageFault as fault:
            problem = str(fault).removeprefix("in the query: ")  # of which people here see no text
            return Likes(space, self._grid(space), [], problem, "")
        found = [self._near(row, chosen, likeness) for row in rows if row[NEAR] is not None]
        grid = self._drawn_on(likeness.model)
        return Likes(likeness.space, grid, found, "", caption(infos), likeness.model)

    def _near(self, row: Row, chosen: Entry, likeness: Likeness) -> Entry:
        near, distance = entry(row, self.base), float(row[NEAR])
        repeats = likeness.model.repeat_distances(likeness.preset) if likeness.preset else np.empty(0)
        share = float(np.mean(repeats > distance)) if len(repeats) else None
        same = near.object_key is not None and near.object_key == chosen.object_key
        return replace(near, distance=distance, share=share, same_object=same)

    def _grid(self, space: str) -> GridSpec:
        """Of the model that a space names, else of the first."""
        try:
            model = named_model(self.release, parsed_space(self.release, space))
        except UsageFault:
            model = None
        return self._drawn_on(model or default_model(self.release))

    def _drawn_on(self, model: Model) -> GridSpec:
        """The model's grid; for vectors made elsewhere that of the first model with one, else all light."""
        grids = (one.recipe.grid for one in (model, *self.release.models.values()))
        return next((grid for grid in grids if grid.pixels), VISIBLE)

    def examples(self) -> list[Entry]:
        """A few spectra from cool to hot, of equal steps through those with a temperature."""
        query = spectra().where(exp.Not(this=exp.Is(this=column("teff"), expression=exp.Null())))
        query.set(
            "order", exp.Order(expressions=[ascending(column("teff")), ascending(column("ssa_pubdid"))])
        )
        rows, _ = self.ask(query, MAX_POINTS)
        if not rows:
            rows, _ = self.ask(spectra().limit(exp.Literal.number(EXAMPLES)), EXAMPLES)
        places = np.linspace(0, len(rows) - 1, min(EXAMPLES, len(rows))).astype(int).tolist()
        return [entry(rows[place], self.base) for place in places]

    def holdings(self) -> str:
        """How many spectra there are, and of which collections, in a sentence."""
        names = column("ssa_collection")
        query = exp.select(names).from_(table("doppel", "spectra", SPECTRA)).distinct()
        query.set("order", exp.Order(expressions=[ascending(names.copy())]))
        rows, _ = self.ask(query, MAX_HITS)
        found = [str(row["ssa_collection"]) for row in rows]
        words = " and ".join(filter(None, (", ".join(found[:-1]), *found[-1:])))
        return f"{len(self.release)} spectra of {words}."

    def latent_map(self, link: Callable[[str], str]) -> Map | None:
        """Two intrinsic coordinates of the first model over all spectra, or of as many as a page can draw."""
        model = default_model(self.release)
        axes = map_axes(model)
        if axes is None:
            return None
        key = exp.EQ(this=column("ssa_pubdid", MODEL), expression=column("ssa_pubdid"))
        query = spectra(*(alias(column(axis, MODEL), name) for axis, name in zip(axes, "xy", strict=True)))
        query = query.join(table("doppel", model.name, MODEL), on=key)
        rows, _ = self.ask(query, MAX_POINTS)
        points = [
            {"x": row["x"], "y": row["y"], "label": one.label, "colour": one.teff, "href": link(one.did)}
            for row, one in ((row, entry(row, self.base)) for row in rows)
        ]
        titles = {"x_title": axes[0], "y_title": axes[1], "colour_title": "T<sub>eff</sub> (K)"}
        words = f"{len(points)} spectra by two intrinsic coordinates of {model.name}; colour is temperature."
        return Map(words, {**titles, "points": points})


@dataclass(frozen=True, slots=True)
class Likes:
    """Neighbours of a spectrum; where there are none, `problem` says why."""

    space: str
    grid: GridSpec
    nearest: list[Entry]
    problem: str
    caption: str  # how the answer was found
    model: Model | None = None  # that embedded the spectrum


@dataclass(frozen=True, slots=True)
class Map:
    """Points of a scatter plot, and what is said above it."""

    caption: str
    data: Mapping[str, Any]


def spectra(*more: exp.Expr) -> exp.Select:
    """SELECT of all that an entry needs."""
    return exp.select(*(column(name) for name in COLUMNS), *more).from_(table("doppel", "spectra", SPECTRA))


def nearest_first(query: exp.Select, by: str, top: int) -> exp.Select:
    """The first rows by a column of the result, ties by identifier."""
    keys = [exp.column(exp.to_identifier(by, quoted=True)), column("ssa_pubdid")]
    query.set("order", exp.Order(expressions=[ascending(key) for key in keys]))
    return query.limit(exp.Literal.number(top))


def map_axes(model: Model) -> tuple[str, str] | None:
    """The two intrinsic latents that tell most of temperature; None where there are not two."""
    intrinsic = [latent for latent in model.recipe.latents if latent.block == "intrinsic"]
    told = sorted(intrinsic, key=lambda latent: -latent.mutual_information.get("teff", 0.0))
    return (told[0].name, told[1].name) if len(told) > 1 else None


def caption(infos: Mapping[str, str]) -> str:
    """How the neighbours were found, from the answer's remarks."""
    words = [f"Model {infos['model']}, {infos['space']}"] if {"model", "space"} <= infos.keys() else []
    words += [infos[name] for name in ("plan",) if name in infos]
    words += [f"{infos['n_pass']} spectra compared"] if "n_pass" in infos else []
    words += ["a nearer one may be missing"] if infos.get("exact") == "false" else []
    return "; ".join(words) + "." if words else ""


def own(reference: str, sent: Own) -> Entry:
    """A spectrum that somebody sent, as a page lists it."""
    nothing: Row = dict.fromkeys(COLUMNS)
    name = sent.spectrum.facts.object or "Your spectrum"
    return replace(
        entry({**nothing, "ssa_pubdid": reference, "spectrum_id": name}, ""),
        votable="",
        datalink="",
        preview="",
        files=(),
        assumed="; ".join(sent.assumed) or None,
    )


def _lines(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    return zip(*(values.to_pylist() for values in batch.columns), strict=True)


def _contains(name: str, text: str) -> exp.Expr:
    """Whether the column holds the text, in any case; % and _ in a text match more than themselves."""
    return exp.Like(this=call("UPPER", column(name)), expression=literal(f"%{text.upper()}%"))


def _match(hit: Entry, wanted: Named) -> tuple[bool, bool, str, str]:
    """Sorts the whole name before its beginning before the rest."""
    key = hit.object_key or ""
    return key != wanted.key, not key.startswith(wanted.key), hit.name, hit.did
