"""Spectra as SSA rows: the tree of the question, its answer in SSA's spelling; for SSA and `/similar_to`.

A search for likeness comes after all conditions, leaves the reference out, nearest first, ties by identifier:
the same question as `ORDER BY latent_distance(…), ssa_pubdid` in ADQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlglot import exp

from index.metric import Metric
from index.release import Model, OpenRelease
from registry_metadata.columns import Column
from service.errors import UsageFault
from service.kept import once_each
from service.protocols.constraints import Condition, Cones, Within
from service.protocols.where import MODEL, SPECTRA, column, where
from service.query import build
from service.query.build import call, literal

Uploads = Callable[[OpenRelease, str], Mapping[str, NDArray[np.float32]]]  # upload:<token> → vectors by model

TABLE = "doppel.spectra"
NEAR = "distance"
SHARE = "repeat_share"
PLACE = "separation"  # from the centre of a cone; becomes the score
QUALITY = "quality"  # signal to noise; becomes the score where neither likeness nor a place is asked
SCORE = Column(
    "ssa_score",
    "double",
    utype="ssa:Query.Score",
    description="How well the spectrum answers the question, from 0 to 1: rows come in this order. Tells of"
    " likeness, else of nearness to the position, else the share of signal in signal and noise",
)
DISTANCE = Column(
    NEAR,
    "double",
    ucd="stat.param;arith.diff",
    description="Distance from the reference in the chosen space; small is alike",
)
REPEATS = Column(
    SHARE,
    "double",
    ucd="stat.probability",
    description="Share of known pairs of spectra of one object that are farther apart than this",
)


@dataclass(frozen=True, slots=True)
class Likeness:
    """What the spectra are compared with, by which model and weights."""

    reference: str  # as the query path takes it: a DID of this archive or upload:<token>
    space: str
    model: Model
    preset: str | None  # None where the user's own weights are in play

    @classmethod
    def of(
        cls, release: OpenRelease, reference: str, space: str, name: str, uploads: Uploads | None = None
    ) -> Likeness:
        """UsageFault, naming the parameter `name`, for an unknown spectrum, model, preset or latent."""
        metric = parsed_space(release, space)
        if reference.startswith("upload:"):
            vectors = uploads(release, reference) if uploads else {}
            usual = next((release.models[model] for model in vectors), default_model(release))
            return cls.by(release, reference, metric, usual)
        row = release.row_of(reference)
        if row is None:
            raise UsageFault(f"{name}: no spectrum of this archive has the identifier {reference}")
        embedding = [model for model in release.models.values() if model.vectors.vector(row) is not None]
        if not embedding:
            reasons = (f"{model}: {release.no_embedding(row, model)}" for model in release.models)
            raise UsageFault(f"{name}: no model can compare {reference}; {'; '.join(reasons)}")
        return cls.by(release, release.did_of(row), metric, embedding[0])

    @classmethod
    def by(cls, release: OpenRelease, reference: str, metric: Metric, usual: Model) -> Likeness:
        model = named_model(release, metric) or usual
        check_weights(metric, model)
        told = metric.told(model.recipe)
        return cls(reference, f"{model.name}:{told}", model, None if metric.weights else told)

    def distance(self) -> exp.Expr:
        arguments = [column("ssa_pubdid"), literal(self.reference), literal(self.space)]
        return call("LATENT_DISTANCE", *arguments)


def parsed_space(release: OpenRelease, space: str) -> Metric:
    try:
        return Metric.parse(space).among([model.recipe for model in release.models.values()])
    except ValueError as error:
        raise UsageFault(f"SPACE: {error}") from error


def check_weights(metric: Metric, model: Model) -> None:
    """UsageFault for a preset or latent that the model does not have."""
    try:
        metric.of(model.recipe)
    except ValueError as error:
        raise UsageFault(f"SPACE: {error}") from error


def space_model(release: OpenRelease, space: str) -> Model:
    """The model whose columns a request without a reference speaks of."""
    metric = parsed_space(release, space)
    model = named_model(release, metric) or default_model(release)
    check_weights(metric, model)
    return model


def default_model(release: OpenRelease) -> Model:
    return next(iter(release.models.values()))


def named_model(release: OpenRelease, metric: Metric) -> Model | None:
    """The model that a space names; None where it names none."""
    return release.models[metric.model] if metric.model is not None else None


@dataclass(frozen=True, slots=True)
class Form:
    """The format of the products that rows point to; `suffix` as `/spectra` takes it."""

    media_type: str
    suffix: str
    bytes_per_pixel: float = 0.0
    bytes_besides: float = 0.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """One question about spectra; `top` cuts on purpose."""

    conditions: tuple[Condition, ...] = ()
    likeness: Likeness | None = None
    model: Model | None = None  # whose columns are in the conditions
    top: int | None = None
    form: Form | None = None  # None: the VOTable that the catalogue points to

    @property
    def is_ranked(self) -> bool:
        """Whether rows come by a score: by likeness, or because TOP takes the best."""
        return self.likeness is not None or self.top is not None

    @property
    def centre(self) -> Cones | None:
        """Where rows are ranked by place: TOP around one position without a reference."""
        if self.top is None or self.likeness:
            return None
        return next((c for c in self.conditions if isinstance(c, Cones) and len(c.places) == 1), None)

    @property
    def ranking(self) -> exp.Ordered | None:
        """What rows are ranked by, under its name; None where nothing ranks them."""
        if self.likeness:
            return ascending(build.alias(self.likeness.distance(), NEAR))
        if self.centre:
            here = map(literal, self.centre.places[0])
            return ascending(build.alias(call("DISTANCE", column("ra"), column("dec"), *here), PLACE))
        if self.top is not None:
            return descending(build.alias(column("ssa_snr"), QUALITY))
        return None


def ssa_columns(release: OpenRelease) -> tuple[Column, ...]:
    return tuple(column for column in release.tables[TABLE].columns if column.ssa)


def tree(release: OpenRelease, wanted: Wanted) -> exp.Select:
    """The question as ADQL's tree, with SSA's names for the columns."""
    return question(wanted, [build.alias(column(c.name), c.ssa or c.name) for c in ssa_columns(release)])


def short_tree(wanted: Wanted) -> exp.Select:
    """The same question with the identifiers alone, and what they are ranked by."""
    return question(wanted, [column("ssa_pubdid")])


def question(wanted: Wanted, selected: list[exp.Expr]) -> exp.Select:
    """The tree with these columns, then what rows are ranked by."""
    order = [ascending(column("ssa_pubdid"))]
    conditions = where(wanted.conditions)
    if wanted.likeness:
        others = build.differs(column("ssa_pubdid"), wanted.likeness.reference)
        conditions = build.both((conditions, others))
    if ranking := wanted.ranking:
        selected.append(ranking.this)
        ranking.set("this", build.column(ranking.this.alias))
        order.insert(0, ranking)
    joins = []
    if wanted.model and any(isinstance(c, Within) and c.of_model for c in wanted.conditions):
        same = build.equals(column("ssa_pubdid", MODEL), column("ssa_pubdid"))
        joins = [build.join(table("doppel", wanted.model.name, MODEL), same)]
    return build.select(
        selected,
        table("doppel", "spectra", SPECTRA),
        joins=joins,
        where=conditions,
        order_by=order,
        top=wanted.top,
    )


def table(schema: str, name: str, known_as: str) -> exp.Table:
    return build.table(f"{schema}.{name}", known_as)


def alias(value: exp.Expr, name: str) -> exp.Alias:
    return build.alias(value, name)


def ascending(value: exp.Expr) -> exp.Ordered:
    return exp.Ordered(this=value, nulls_first=False)


def descending(value: exp.Expr) -> exp.Ordered:
    return exp.Ordered(this=value, desc=True, nulls_first=False)


# --- the answer ---


def spelled(known: Column) -> Column:
    """A column as SSA responses write it."""
    return replace(known, name=known.ssa or known.name, utype=known.ssa_utype or known.utype)


@once_each
def spelled_columns(release: OpenRelease) -> tuple[Column, ...]:
    """The columns of SSA, as SSA responses write them; the same objects for all of a release's life."""
    return tuple(map(spelled, ssa_columns(release)))


def answer_columns(release: OpenRelease, wanted: Wanted) -> tuple[Column, ...]:
    """The columns of an answer: the score before and the distance after those of SSA, where there are."""
    first = (SCORE,) if wanted.is_ranked else ()
    last = (DISTANCE, REPEATS) if wanted.likeness else ()
    return (*first, *spelled_columns(release), *last)


@dataclass(slots=True)
class Spelling:
    """Turns the batches of the tree's answer into SSA's rows, without those that cannot be compared."""

    release: OpenRelease
    wanted: Wanted
    base_url: str
    columns: tuple[Column, ...] = ()
    exhausted: bool = False  # rows that cannot be compared came: all others are out

    def __post_init__(self) -> None:
        self.columns = answer_columns(self.release, self.wanted)

    def batches(self, found: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in found:
            yield self._spelled(batch)

    def _spelled(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        cells = dict(zip((known.ssa for known in ssa_columns(self.release)), batch.columns, strict=False))
        ranking = batch.columns[len(cells)] if len(batch.columns) > len(cells) else None
        if self.wanted.likeness and ranking is not None and ranking.null_count:
            self.exhausted = True
            return self._spelled(batch.filter(ranking.is_valid()))
        self._point(cells, batch.num_rows)
        arrays = [*self._scores(ranking), *cells.values()]
        if self.wanted.likeness and ranking is not None:
            arrays += [ranking, self._shares(self.wanted.likeness, ranking)]
        return pa.RecordBatch.from_arrays(arrays, [known.name for known in self.columns])

    def _scores(self, ranking: pa.Array | None) -> list[pa.Array]:
        if ranking is None:
            return []
        return [pa.array(scores(self.wanted, ranking.to_numpy(zero_copy_only=False).astype(np.float64)))]

    def _shares(self, likeness: Likeness, distances: pa.Array) -> pa.Array:
        shares = repeat_shares(likeness.model, likeness.preset, distances.to_numpy(zero_copy_only=False))
        return pa.nulls(len(distances), pa.float64()) if shares is None else pa.array(shares)

    def _point(self, cells: dict[str | None, pa.Array], rows: int) -> None:
        """Makes the rows point to the product in the wanted format instead of the VOTable."""
        form = self.wanted.form
        if form is None:
            return
        cells["accref"] = pc.replace_substring_regex(cells["accref"], r"\.vot$", form.suffix)
        if form.suffix == ".orig":
            cells["mime"], cells["accsize"] = self._originals(cells["ssa_pubDID"])
            return
        cells["mime"] = pa.array([form.media_type] * rows, pa.string())
        pixels = cells["ssa_length"].to_numpy(zero_copy_only=False).astype(np.float64)
        size = np.ceil((pixels * form.bytes_per_pixel + form.bytes_besides) / 1000)
        cells["accsize"] = pa.array(np.nan_to_num(size).astype(np.int64))

    def _originals(self, dids: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Media type and kilobytes of the original files."""
        held = [row for row in self.release.rows_of(dids.to_pylist()) if row is not None]
        facts = [described[0] for described in self.release.described(held)]
        sizes = [None if fact.size is None else -(-fact.size // 1000) for fact in facts]
        return pa.array([fact.media_type for fact in facts], pa.string()), pa.array(sizes, pa.int64())


@dataclass(frozen=True, slots=True)
class Ranked:
    """Spectra in the order of the answer; `ranking` is what they are ranked by, NaN where unknown."""

    dids: tuple[str, ...]
    ranking: tuple[float, ...]
    overflow: bool  # rows were cut that can be compared


def ranked(wanted: Wanted, rows: Sequence[tuple[Any, ...]], overflow: bool) -> Ranked:
    """Rows (identifier, ranking) of `short_tree`, without those that cannot be compared."""
    if not wanted.is_ranked:
        return Ranked(tuple(row[0] for row in rows), (), overflow)
    good = [row for row in rows if row[1] is not None] if wanted.likeness else rows
    ranking = tuple(np.nan if value is None else value for _, value in good)
    return Ranked(tuple(did for did, _ in good), ranking, overflow and len(good) == len(rows))


def scores(wanted: Wanted, ranking: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + distance) for likeness, what is left of the radius for a cone, else the share of the signal in
    signal and noise, 0 where it is not known."""
    if wanted.likeness:
        return np.asarray(1 / (1 + ranking))
    if wanted.centre:
        return np.clip(1 - ranking / max(wanted.centre.radius, 1e-9), 0.0, 1.0)
    signal = np.maximum(np.nan_to_num(ranking), 0.0)
    return np.asarray(signal / (1 + signal))


def repeat_shares(
    model: Model, preset: str | None, distances: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """The share of known repeat pairs that are farther apart; None where none are known."""
    known = model.repeat_distances(preset) if preset else ()
    if not len(known):
        return None
    return np.asarray(1.0 - np.searchsorted(known, distances, side="right") / len(known))


def overflow_of(spelling: Spelling, answered: Callable[[], bool]) -> Callable[[], bool]:
    """Rows were cut, unless those cut could not be compared at all."""
    return lambda: answered() and not spelling.exhausted


def names(columns: Sequence[Column]) -> list[str]:
    return [known.name for known in columns]
