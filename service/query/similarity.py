# ruff: noqa: S608 (SQL of our own fragments; what the client wrote is bound)
"""latent_distance and similar_to: look-ups in tables that the vectors fill, and the plan for it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlglot import exp

from index.metric import Metric
from service.query.context import Context, Info
from service.query.scope import Scope, Source
from service.query.straight import ROUNDING, Straight
from service.query.value import Value, described, truth
from service.query.words import suggestion

if TYPE_CHECKING:
    from index.nearest import Matches
    from index.release import Model, OpenRelease
    from index.strategy import Plan
    from service.query.call import Call
    from service.query.joins import Watch
    from service.query.queries import Parts

TOKEN = "upload:"  # noqa: S105 (how references to uploaded spectra begin)
NO_REASON = "outside its grid"
MAX_REFERENCES = 10_000
MAX_NEIGHBOURS = 10_000
MAX_PAIRS = 1_000_000
DISTANCE = described(
    "double", ucd="stat.distance", description="How unlike the two spectra are; small is near"
)
_DIDS: weakref.WeakKeyDictionary[OpenRelease, dict[str, pa.Array]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Target:
    """What is compared with: a vector of one model under one metric; `row` where it is a spectrum of ours."""

    ref: str
    model: Model
    space: str
    weights: NDArray[np.float64]
    vector: NDArray[np.float32]
    row: int | None


@dataclass(eq=False, slots=True)
class Lookup:
    """A table (r, distance) or (did, distance) of this query; what is not in it has the distance NULL."""

    name: str
    target: Target
    did: Value
    by_row: bool
    radius: float | None = None
    table: pa.Table | None = None

    @property
    def key(self) -> str:
        source = source_of(self.did)
        return f"{source.row}" if self.by_row and source is not None else self.did.sql

    @property
    def column(self) -> str:
        return "r" if self.by_row else "did"

    @property
    def sql(self) -> str:
        return f"(SELECT {self.name}.distance FROM {self.name} WHERE {self.name}.{self.column} = {self.key})"


@dataclass(frozen=True, slots=True)
class Pairs:
    """The k nearest of every reference in a column: a table (did, ref)."""

    name: str
    did: Value
    ref: Value

    def attached(self, watch: Watch) -> str | None:
        """The condition as a join with the table, where the source of `did` may be joined to it."""
        source = source_of(self.did)
        if source is None or source.joined or not watch.may_change(source) or source_of(self.ref) is source:
            return None
        source.joined = f"JOIN {self.name} ON {self.name}.did = {self.did.sql}"
        source.keys.append(f"{self.name}.ref AS p0")
        return f"({source.alias}.p0 = {self.ref.sql})"


class Similarity:
    """All that one query asks of the vectors."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.scope = Scope()
        self.lookups: list[Lookup] = []
        self._by_key: dict[tuple[object, ...], Lookup] = {}
        self._by_node: dict[int, Lookup] = {}
        self._numbers = 0
        self.vectors = Straight(self)

    def name(self, stem: str) -> str:
        self._numbers += 1
        return f"{stem}{self._numbers}"

    # --- references and metrics ---

    def target(self, call: Call, place: int, ref: str) -> Target:
        """The reference's vector; UsageFault where there is none, with the reason."""
        space = self.space(call, place)
        metric = self.metric(call, place, space)
        release = self.context.release
        row = None if ref.startswith(TOKEN) else release.row_of(ref)
        if row is None and not ref.startswith(TOKEN):
            raise call.fault(f"there is no spectrum {ref}; expected a publisher DID or upload:<token>", 1)
        vectors = self.uploaded(call, ref) if row is None else {}
        for model in self.models(call, place, metric):
            vector = model.vectors.vector(row) if row is not None else vectors.get(model.name)
            if vector is not None:
                return Target(ref, model, space, self.weights(call, place, metric, model), vector, row)
        raise call.fault(self.why_not(ref, row, self.models(call, place, metric)), 1)

    def why_not(self, ref: str, row: int | None, models: Sequence[Model]) -> str:
        release = self.context.release
        reasons = [
            (release.no_embedding(row, model.name) if row is not None else None) or NO_REASON
            for model in models
        ]
        told = [f"{model.name}: {reason}" for model, reason in zip(models, reasons, strict=True)]
        return f"{ref} has no embedding ({'; '.join(told)})"

    def uploaded(self, call: Call, ref: str) -> Any:
        if self.context.references is None:
            raise call.fault("references to uploaded spectra (upload:<token>) are not offered here", 1)
        return self.context.references(self.context.release, ref.removeprefix(TOKEN))

    def space(self, call: Call, place: int) -> str:
        return call.words(place) if len(call.args) > place else ""

    def metric(self, call: Call, place: int, space: str) -> Metric:
        try:
            return Metric.parse(space)
        except ValueError as error:
            raise call.fault(str(error), place) from None

    def weights(self, call: Call, place: int, metric: Metric, model: Model) -> NDArray[np.float64]:
        try:
            return metric.of(model.recipe)
        except ValueError as error:
            raise call.fault(str(error), place) from None

    def models(self, call: Call, place: int, metric: Metric) -> list[Model]:
        """The named model, else that of the table which the DID comes from, else all in their order."""
        known = self.context.release.models
        if not known:
            raise call.fault("this archive has no model: nothing is embedded")
        if metric.model is not None:
            found = next((m for name, m in known.items() if name.lower() == metric.model.lower()), None)
            if found is None:
                raise call.fault(
                    f"there is no model {metric.model}{suggestion(metric.model, known)}; "
                    f"known: {', '.join(known)}",
                    place,
                )
            return [found]
        source = source_of(call.args[0])
        own = source.table.model if source is not None and source.table is not None else None
        return [known[own]] if own else list(known.values())

    # --- the functions ---

    def distance(self, call: Call) -> Value:
        did, ref = call.text(0), call.text(1)
        if not isinstance(ref.literal, str):
            return self.distance_of_columns(call, did, ref)
        lookup = self.lookup(did, self.target(call, 2, ref.literal))
        self._by_node[id(call.node)] = lookup
        return Value(lookup.sql, DISTANCE, lookup=lookup)

    def lookup(self, did: Value, target: Target) -> Lookup:
        source = source_of(did)
        by_row = source is not None and source.row is not None and not self.scope.grouping
        key = (id(self.scope), did.sql, target.ref, target.model.name, target.weights.tobytes())
        found = self._by_key.get(key)
        if found is None:
            found = self._by_key[key] = Lookup(self.name("near"), target, did, by_row)
            self.lookups.append(found)
        return found

    def distance_of_columns(self, call: Call, did: Value, ref: Value) -> Value:
        """Both spectra vary from row to row: the engine computes from coordinates."""
        metric = self.metric(call, 2, self.space(call, 2))
        model = self.models(call, 2, metric)[0]
        weights = self.weights(call, 2, metric, model)
        vectors, names = coordinates(model, weights), dids(self.context.release, model)
        tokens = self.tokens(call, ref, model, weights)
        if tokens:
            names = pa.concat_arrays([names, pa.array(list(tokens), pa.string())])
            vectors = np.concatenate([vectors, np.stack(list(tokens.values()))])
        # As lists: DuckDB 2 can not order rows of which some have no array.
        ends = np.arange(len(vectors) + 1) * vectors.shape[1]
        table = pa.table({"did": names, "z": pa.LargeListArray.from_arrays(ends, vectors.reshape(-1))})
        name = self.name("coordinates")
        self.context.tables[name] = table
        one, other = (f"(SELECT z FROM {name} WHERE {name}.did = {value.sql})" for value in (did, ref))
        self.remark(model, self.space(call, 2), "every pair by itself", None)
        return Value(f"list_distance({one}, {other})", DISTANCE)

    def tokens(
        self, call: Call, ref: Value, model: Model, weights: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float64]]:
        """Coordinates of the uploaded spectra that a column of references names."""
        found: dict[str, NDArray[np.float64]] = {}
        for text in self.references(call, ref):
            if text.startswith(TOKEN) and (vector := self.uploaded(call, text).get(model.name)) is not None:
                kept = np.flatnonzero(weights)
                found[text] = vector[kept].astype(np.float64) * np.sqrt(weights[kept])
        return found

    def references(self, call: Call, ref: Value) -> list[str]:
        """The different values of a column of references."""
        source = source_of(ref)
        if source is None:
            raise call.fault("the reference must be a text in quotes or a column of a table in FROM", 1)
        origin = f"{source.sql} AS {source.alias} WHERE {ref.sql} IS NOT NULL"
        sql = f"SELECT DISTINCT {ref.sql} AS ref FROM {origin} LIMIT {MAX_REFERENCES + 1}"
        found: list[str] = self.run(sql).column(0).to_pylist()
        return sorted(found)

    def similar(self, call: Call) -> Value:
        did, ref, k = call.text(0), call.text(1), call.args[2].literal
        if not isinstance(k, int) or not 1 <= k <= MAX_NEIGHBOURS:
            raise call.fault(f"k must be a whole number from 1 to {MAX_NEIGHBOURS}", 2)
        if not isinstance(ref.literal, str):
            return self.similar_to_column(call, did, ref, k)
        target = self.target(call, 3, ref.literal)
        matches = target.model.vectors.search(
            target.vector, k, target.weights, exclude=target.row, exact=self.context.exact
        )
        self.remark(target.model, target.space, "the nearest before other conditions", matches.plan)
        lookup = Lookup(self.name("similar"), target, did, self.lookup_by_row(did))
        self.context.tables[lookup.name] = self.match_table(lookup, matches)
        return truth(f"({lookup.key} IN (SELECT {lookup.column} FROM {lookup.name}))")

    def lookup_by_row(self, did: Value) -> bool:
        source = source_of(did)
        return source is not None and source.row is not None and not self.scope.grouping

    def similar_to_column(self, call: Call, did: Value, ref: Value, k: int) -> Value:
        """For each reference its k nearest: one search for all of them."""
        metric = self.metric(call, 3, self.space(call, 3))
        model = self.models(call, 3, metric)[0]
        weights, found = self.weights(call, 3, metric, model), self.references(call, ref)
        if len(found) > MAX_REFERENCES or len(found) * k > MAX_PAIRS:
            raise call.fault(
                f"{len(found)} references with {k} neighbours are too many; allowed are {MAX_REFERENCES} "
                f"references and {MAX_PAIRS} pairs", 1,
            )  # fmt: skip
        known = self.placed(call, found, model)
        name = self.name("pairs")
        self.context.tables[name] = self.pair_table(model, weights, known, k)
        pairs = Pairs(name, did, ref)
        condition = f"(({did.sql}, {ref.sql}) IN (SELECT did, ref FROM {name}))"
        return Value(f"CAST({condition} AS INTEGER)", described("int"), condition=condition, pairs=pairs)

    def placed(
        self, call: Call, refs: Sequence[str], model: Model
    ) -> list[tuple[str, NDArray[np.float32], int | None]]:
        """Those of the references that have an embedding, with it and with their rows."""
        stored = [ref for ref in refs if not ref.startswith(TOKEN)]
        rows = dict(zip(stored, self.context.release.rows_of(stored), strict=True))
        vectors = model.vectors.taken([row for row in rows.values() if row is not None])
        found = [(ref, vectors[row], row) for ref, row in rows.items() if row is not None and row in vectors]
        sent = {ref: self.uploaded(call, ref).get(model.name) for ref in refs if ref.startswith(TOKEN)}
        return [*found, *((ref, vector, None) for ref, vector in sent.items() if vector is not None)]

    def pair_table(
        self, model: Model, weights: NDArray[np.float64], known: Sequence[Any], k: int
    ) -> pa.Table:
        refs: list[str] = []
        names: list[str] = []
        if known:
            vectors = np.stack([vector for _, vector, _ in known])
            answers = model.vectors.search_batch(
                vectors, k, weights, exclude=[row for _, _, row in known], exact=self.context.exact
            )
            for (ref, _, _), matches in zip(known, answers, strict=True):
                refs += [ref] * len(matches.rows)
                names += [self.context.release.did_of(int(row)) for row in matches.rows]
            self.remark(model, "", f"one search for {len(known)} references", answers[0].plan)
        return pa.table({"did": pa.array(names, pa.string()), "ref": pa.array(refs, pa.string())})

    # --- the plan ---

    def plan(self, parts: Parts) -> None:
        """With TOP and a distance as first key of ORDER BY, the index answers and the rest is looked up."""
        node = parts.first_key
        while isinstance(node, exp.Paren):
            node = node.this
        lookup = self._by_node.get(id(node)) if node is not None else None
        if lookup is None:
            self.vectors.plan(parts, node)
        if lookup is None or parts.distinct or parts.grouped:
            return
        parts.order.append(f"{lookup.did.sql} ASC NULLS LAST")
        if parts.top and not parts.scope.correlated and lookup.table is None:
            self.nearest(parts, lookup, parts.top + parts.offset)

    def nearest(self, parts: Parts, lookup: Lookup, k: int) -> None:
        body = parts.body()
        source, target = source_of(lookup.did), lookup.target
        if source is None or source not in parts.scope.sources or lookup.name in body or k >= MAX_NEIGHBOURS:
            return
        among, left_out = self.passing(parts, lookup, source, body), None
        if among is None:
            left_out = target.row if parts.where else None
        vectors = target.model.vectors
        matches = vectors.search(
            target.vector, k + 1, target.weights, among=among, exclude=left_out, exact=self.context.exact
        )
        plan = matches.plan
        if len(matches.rows) > k and matches.distance[k] == matches.distance[k - 1]:
            radius = float(matches.distance[k])
            ties = vectors.within(target.vector, radius, target.weights, among=among, exclude=left_out)
            matches = ties if len(ties.rows) > k else matches
        full = len(matches.rows) > k
        kept = (
            int(np.searchsorted(matches.distance, matches.distance[k - 1], side="right"))
            if full
            else len(matches.rows)
        )
        lookup.table = self.match_table(lookup, matches, kept)
        if full:
            self.kept_alone(parts, lookup, source)
        self.remark(target.model, target.space, str(plan.strategy), plan)

    def kept_alone(self, parts: Parts, lookup: Lookup, source: Source) -> None:
        """No other rows than those of the lookup: by a join where it may be one, with the distance."""
        if not lookup.by_row or source.joined or not parts.always_matches(source):
            parts.where.append(f"({lookup.key} IN (SELECT {lookup.column} FROM {lookup.name}))")
            return
        source.joined = f"JOIN {lookup.name} ON {lookup.name}.r = {lookup.key}"
        parts.spelled[lookup.sql] = f"{lookup.name}.distance"
        if parts.tree is source:
            parts.where.clear()  # `passing` has asked it

    def nearest_to(self, parts: Parts, embedding: Value, model: str, exact: NDArray[np.float64]) -> None:
        """Leaves the rows that can be among the nearest to a point by plain L2; the engine sorts them."""
        chosen, body, k = self.context.release.models[model], parts.body(), (parts.top or 0) + parts.offset
        source = source_of(embedding)
        if source is None or source not in parts.scope.sources or k >= MAX_NEIGHBOURS:
            return
        weights, point = np.ones(len(chosen.recipe.latents)), exact.astype(np.float32)
        lookup = Lookup(self.name("near"), Target("", chosen, "", weights, point, None), embedding, True)
        among = self.passing(parts, lookup, source, body)
        first = chosen.vectors.search(point, k, weights, among=among, exact=self.context.exact)
        self.remark(chosen, "every latent, weight 1", f"{first.plan.strategy}, then the radius", first.plan)
        if len(first.rows) < k:
            return
        rounded = float(np.linalg.norm(exact - point))
        radius = (float(first.distance[k - 1]) + 2 * rounded) * ROUNDING
        matches = chosen.vectors.within(point, radius, weights, among=among)
        lookup.table = self.match_table(lookup, matches)
        self.lookups.append(lookup)
        parts.where.append(f"({lookup.key} IN (SELECT r FROM {lookup.name}))")

    def passing(self, parts: Parts, lookup: Lookup, source: Source, body: str) -> NDArray[np.int64] | None:
        """Row numbers of the spectra that meet all other conditions; None for every one; where there are
        conditions all the same, for every one but the reference."""
        table = source.table
        whole = table is not None and table.has_rows and table.model in (None, lookup.target.model.name)
        if whole and parts.tree is source and not source.joined and self.all_but_itself(parts, lookup):
            return None
        each = "" if parts.tree is source and not source.joined else "DISTINCT "
        found = self.run(f"SELECT {each}{lookup.key} AS k {body}").column(0).drop_null()
        if lookup.by_row:
            rows: NDArray[np.int64] = found.to_numpy()
            return rows
        release = self.context.release
        dids = found.to_pylist()
        numbers = zip(dids, release.rows_of(dids), strict=True)
        return np.array(
            [row for did, row in numbers if row is not None and release.did_of(row) == did], np.int64
        )

    def all_but_itself(self, parts: Parts, lookup: Lookup) -> bool:
        """Whether WHERE says nothing, or that a spectrum is not the reference."""
        target, release = lookup.target, self.context.release
        if not parts.where or target.row is None or release.did_of(target.row) != target.ref:
            return not parts.where
        here, it = lookup.did.sql, self.context.bind(target.ref)
        return all(condition in (f"({here} <> {it})", f"({it} <> {here})") for condition in parts.where)

    def radius(self, lookup: Lookup, watch: Watch, value: object) -> None:
        """A condition of WHERE says that only rows up to this distance matter."""
        if watch.join is None and isinstance(value, int | float) and value >= 0 and lookup.table is None:
            lookup.radius = value if lookup.radius is None else min(lookup.radius, value)

    def run(self, sql: str) -> pa.Table:
        self.fill(sql)
        return self.context.run(sql)

    def fill(self, sql: str) -> None:
        """Registers the tables that the statement looks into."""
        text = self.context.with_common(sql)
        for lookup in self.lookups:
            if lookup.name not in self.context.tables and mentions(text, lookup.name):
                self.context.tables[lookup.name] = (
                    lookup.table if lookup.table is not None else self.column(lookup)
                )

    def column(self, lookup: Lookup) -> pa.Table:
        """The distances of every spectrum, or of those within the radius."""
        target = lookup.target
        if lookup.radius is not None:
            matches = target.model.vectors.within(target.vector, lookup.radius, target.weights)
            self.remark(target.model, target.space, f"radius, {matches.plan.strategy}", matches.plan)
            return self.match_table(lookup, matches)
        vectors = target.model.vectors
        self.remark(target.model, target.space, "the whole distance column", None, len(vectors))
        distance = vectors.distances(target.vector, target.weights)
        columns = {
            "r": pa.array(vectors.rows),
            "did": dids(self.context.release, target.model),
            "distance": distance,
        }
        return pa.table(columns if not lookup.by_row else {"r": columns["r"], "distance": distance})

    def match_table(self, lookup: Lookup, matches: Matches, kept: int | None = None) -> pa.Table:
        """The first `kept` matches under what the lookup finds them by."""
        rows, distance = matches.rows[:kept], matches.distance[:kept]
        found = pa.array(rows) if lookup.by_row else self.context.release.dids_of(rows)
        return pa.table({lookup.column: found, "distance": pa.array(distance)})

    def remark(self, model: Model, space: str, words: str, plan: Plan | None, visited: int = 0) -> None:
        """How it was found, for the reader of the answer."""
        add = self.context.infos.append
        add(Info("model", model.recipe.model_id, "Model whose vectors were compared"))
        add(Info("space", space or model.recipe.default_preset, "What alike means: preset and weights"))
        add(Info("plan", words, "How the nearest spectra were found"))
        if plan is not None:
            add(Info("n_pass", str(plan.n_pass), "Embedded spectra that met the other conditions"))
        add(
            Info(
                "n_visited",
                str(plan.n_visited if plan is not None else visited),
                "Spectra whose distance was computed",
            )
        )
        add(
            Info(
                "exact",
                "true" if plan is None or plan.exact else "false",
                "Whether no nearer one can be missing",
            )
        )


def latent_distance(call: Call) -> Value:
    return call.similarity.distance(call)


def similar_to(call: Call) -> Value:
    return call.similarity.similar(call)


def source_of(value: Value) -> Source | None:
    return value.field.source if value.field is not None else None


def mentions(text: str, name: str) -> bool:
    """Names end with a number: near1 is not part of near10."""
    place = text.find(name)
    while place >= 0:
        if not text[place + len(name) : place + len(name) + 1].isdigit():
            return True
        place = text.find(name, place + 1)
    return False


def dids(release: OpenRelease, model: Model) -> pa.Array:
    """The DIDs of a model's vectors in their order, made once per release."""
    known = _DIDS.setdefault(release, {})
    if model.name not in known:
        known[model.name] = release.dids_of(model.vectors.rows).combine_chunks()
    return known[model.name]


def coordinates(model: Model, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, kept) float64 in which plain L2 is the metric."""
    kept = np.flatnonzero(weights)
    return np.asarray(model.vectors.matrix()[:, kept], np.float64) * np.sqrt(weights[kept])
