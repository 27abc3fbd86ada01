# ruff: noqa: S608 (SQL of our own fragments; what the client wrote is bound)
"""ORDER BY a distance with TOP: the index finds the nearest that pass, the engine looks the rest up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from service.query.lookup import Lookup, Target, source_of
from service.query.parts import Parts
from service.query.scope import Source
from service.query.similarity import MAX_NEIGHBOURS, Similarity
from service.query.straight import ROUNDING
from service.query.value import Value


class Ranking:
    """The plans of one query in which the vectors put rows into order."""

    def __init__(self, similarity: Similarity) -> None:
        self.similarity, self.context = similarity, similarity.context

    def plan(self, parts: Parts) -> None:
        """With TOP and a distance as first key of ORDER BY, the index answers and the rest is looked up."""
        node = parts.first_key
        while isinstance(node, exp.Paren):
            node = node.this
        lookup = self.similarity.distance_at(node) if node is not None else None
        if lookup is None:
            if (asked := self.similarity.straight.asked(parts, node)) is not None:
                self.nearest_to(parts, *asked)
            return
        if parts.distinct or parts.grouped:
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
        lookup.table = self.similarity.match_table(lookup, matches, kept)
        if full:
            self.kept_alone(parts, lookup, source)
        self.similarity.remark(target.model, target.space, str(plan.strategy), plan)

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
        """Leaves the rows that can be among the nearest to a point by plain L2; the engine sorts them.

        The search is approximate, but a certified radius search with its k-th distance follows: nothing
        nearer can be missing, so that the answer is that of the scan.
        """
        chosen, body, k = self.context.release.models[model], parts.body(), (parts.top or 0) + parts.offset
        source = source_of(embedding)
        if source is None or source not in parts.scope.sources or k >= MAX_NEIGHBOURS:
            return
        weights, point = np.ones(len(chosen.recipe.latents)), exact.astype(np.float32)
        lookup = Lookup(
            self.similarity.name("near"), Target("", chosen, "", weights, point, None), embedding, True
        )
        among = self.passing(parts, lookup, source, body)
        first = chosen.vectors.search(point, k, weights, among=among, exact=self.context.exact)
        self.similarity.remark(
            chosen, "every latent, weight 1", f"{first.plan.strategy}, then the radius", first.plan
        )
        if len(first.rows) < k:
            return
        rounded = float(np.linalg.norm(exact - point))
        radius = (float(first.distance[k - 1]) + 2 * rounded) * ROUNDING
        matches = chosen.vectors.within(point, radius, weights, among=among)
        lookup.table = self.similarity.match_table(lookup, matches)
        self.similarity.lookups.append(lookup)
        parts.where.append(f"({lookup.key} IN (SELECT r FROM {lookup.name}))")

    def passing(self, parts: Parts, lookup: Lookup, source: Source, body: str) -> NDArray[np.int64] | None:
        """Row numbers of the spectra that meet all other conditions; None for every one; where there are
        conditions all the same, for every one but the reference."""
        table = source.table
        whole = table is not None and table.has_rows and table.model in (None, lookup.target.model.name)
        if whole and parts.tree is source and not source.joined and self.all_but_itself(parts, lookup):
            return None
        each = "" if parts.tree is source and not source.joined else "DISTINCT "
        found = self.similarity.run(f"SELECT {each}{lookup.key} AS k {body}").column(0).drop_null()
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
