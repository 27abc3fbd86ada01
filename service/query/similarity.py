# ruff: noqa: S608 (SQL of our own fragments; what the client wrote is bound)
"""latent_distance and similar_to: look-ups in tables that the vectors fill."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.metric import Metric
from service.query.call import Call
from service.query.context import Context, Info
from service.query.lookup import Lookup, Pairs, Target, mentions, source_of
from service.query.scope import Scope
from service.query.straight import Straight
from service.query.value import Value, described, truth

if TYPE_CHECKING:
    from index.nearest import Matches
    from index.release import Model, OpenRelease
    from index.strategy import Plan

TOKEN = "upload:"  # noqa: S105 (how references to uploaded spectra begin)
NO_REASON = "covers too little of its grid"
MAX_REFERENCES = 10_000
MAX_NEIGHBOURS = 10_000
MAX_PAIRS = 1_000_000
DISTANCE = described(
    "double", ucd="stat.distance", description="How unlike the two spectra are; small is near"
)
_DIDS: weakref.WeakKeyDictionary[OpenRelease, dict[str, pa.Array]] = weakref.WeakKeyDictionary()


class Similarity:
    """All that one query asks of the vectors."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.lookups: list[Lookup] = []
        self.straight = Straight(context, self.run)
        self._by_key: dict[tuple[object, ...], Lookup] = {}
        self._by_node: dict[int, Lookup] = {}
        self._numbers = 0

    def name(self, stem: str) -> str:
        self._numbers += 1
        return f"{stem}{self._numbers}"

    # --- references and metrics ---

    def target(self, call: Call, place: int, ref: str) -> Target:
        """The reference's vector; UsageFault where there is none, with the reason."""
        metric = self.metric(call, place)
        release = self.context.release
        row = None if ref.startswith(TOKEN) else release.row_of(ref)
        if row is None and not ref.startswith(TOKEN):
            raise call.fault(f"there is no spectrum {ref}; expected a publisher DID or upload:<token>", 1)
        vectors = self.uploaded(call, ref) if row is None else {}
        for model in self.models(call, metric):
            vector = model.vectors.vector(row) if row is not None else vectors.get(model.name)
            if vector is not None:
                weights = self.weights(call, place, metric, model)
                return Target(ref, model, metric.told(model.recipe), weights, vector, row)
        raise call.fault(self.why_not(ref, row, self.models(call, metric)), 1)

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

    def metric(self, call: Call, place: int) -> Metric:
        space = call.words(place) if len(call.args) > place else ""
        try:
            return Metric.parse(space).among([model.recipe for model in self.context.release.models.values()])
        except ValueError as error:
            raise call.fault(str(error), place) from None

    def weights(self, call: Call, place: int, metric: Metric, model: Model) -> NDArray[np.float64]:
        try:
            return metric.of(model.recipe)
        except ValueError as error:
            raise call.fault(str(error), place) from None

    def models(self, call: Call, metric: Metric) -> list[Model]:
        """The named model, else that of the table which the DID comes from, else all in their order."""
        known = self.context.release.models
        if not known:
            raise call.fault("this archive has no model: nothing is embedded")
        if metric.model is not None:
            return [known[metric.model]]
        source = source_of(call.args[0])
        own = source.table.model if source is not None and source.table is not None else None
        return [known[own]] if own else list(known.values())

    # --- the functions ---

    def distance(self, call: Call) -> Value:
        did, ref = call.text(0), call.text(1)
        if not isinstance(ref.literal, str):
            return self.distance_of_columns(call, did, ref)
        lookup = self.lookup(call, did, self.target(call, 2, ref.literal))
        self._by_node[id(call.node)] = lookup
        return Value(lookup.sql, DISTANCE, bounded=lookup.bounded)

    def distance_at(self, node: Any) -> Lookup | None:
        """The look-up of the distance that an expression is."""
        return self._by_node.get(id(node))

    def squared(self, call: Call, left: Value, right: Value) -> None:
        self.straight.seen(call, left, right)

    def lookup(self, call: Call, did: Value, target: Target) -> Lookup:
        key = (id(call.scope), did.sql, target.ref, target.model.name, target.weights.tobytes())
        found = self._by_key.get(key)
        if found is None:
            found = self._by_key[key] = Lookup(self.name("near"), target, did, by_row(did, call.scope))
            self.lookups.append(found)
        return found

    def distance_of_columns(self, call: Call, did: Value, ref: Value) -> Value:
        """Both spectra vary from row to row: the engine computes from coordinates."""
        metric = self.metric(call, 2)
        model = self.models(call, metric)[0]
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
        self.remark(model, metric.told(model.recipe), "every pair by itself", None)
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
        lookup = Lookup(self.name("similar"), target, did, by_row(did, call.scope))
        self.context.tables[lookup.name] = self.match_table(lookup, matches)
        return truth(f"({lookup.key} IN (SELECT {lookup.column} FROM {lookup.name}))")

    def similar_to_column(self, call: Call, did: Value, ref: Value, k: int) -> Value:
        """For each reference its k nearest: one search for all of them."""
        metric = self.metric(call, 3)
        model = self.models(call, metric)[0]
        weights, found = self.weights(call, 3, metric, model), self.references(call, ref)
        if len(found) > MAX_REFERENCES or len(found) * k > MAX_PAIRS:
            raise call.fault(
                f"{len(found)} references with {k} neighbours are too many; allowed are {MAX_REFERENCES} "
                f"references and {MAX_PAIRS} pairs", 1,
            )  # fmt: skip
        known = self.placed(call, found, model)
        name = self.name("pairs")
        self.context.tables[name] = self.pair_table(model, metric.told(model.recipe), weights, known, k)
        pairs = Pairs(name, did, ref)
        condition = f"(({did.sql}, {ref.sql}) IN (SELECT did, ref FROM {name}))"
        return Value(
            f"CAST({condition} AS INTEGER)", described("int"), condition=condition, joined=pairs.joined
        )

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
        self, model: Model, space: str, weights: NDArray[np.float64], known: Sequence[Any], k: int
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
            self.remark(model, space, f"one search for {len(known)} references", answers[0].plan)
        return pa.table({"did": pa.array(names, pa.string()), "ref": pa.array(refs, pa.string())})

    # --- the tables ---

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
        add(Info("space", space, "What alike means: preset and weights"))
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


def by_row(did: Value, scope: Scope) -> bool:
    """Whether a look-up finds its rows by their numbers."""
    source = source_of(did)
    return source is not None and source.row is not None and not scope.grouping


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
