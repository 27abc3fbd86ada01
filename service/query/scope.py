# ruff: noqa: S608 (SQL of our own fragments; what the client wrote is bound)
"""Names: which columns a query sees, and to whom they belong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from sqlglot import exp

from registry_metadata.columns import Column, Table
from service.query.parse import fault
from service.query.words import suggestion


@dataclass(eq=False, slots=True)
class Field:
    """A column as a query may name it; `sql` addresses it in the engine."""

    name: str
    column: Column
    sql: str
    source: Source | None = None  # None for a column that USING has merged


@dataclass(eq=False, slots=True)
class Source:
    """A table, derived table or common table in FROM; `alias` is the engine's name for it, made by us."""

    names: tuple[str, ...]  # name, or schema and name; as written
    alias: str
    sql: str
    fields: list[Field] = field(default_factory=list)
    table: Table | None = None
    uploaded: bool = False
    keys: list[str] = field(default_factory=list)  # columns that a plan adds: "expression AS name"
    joined: str = ""  # what a plan joins to it: "JOIN … ON …"

    def called(self, qualifier: Sequence[str]) -> bool:
        """Whether the qualifier (t, or schema.t) means this source."""
        wanted = tuple(part.lower() for part in qualifier)
        return tuple(name.lower() for name in self.names)[-len(wanted) :] == wanted

    @property
    def row(self) -> str | None:
        """The row number of a published spectrum, where the source has it."""
        return f"{self.alias}.row_number" if self.table is not None and self.table.has_rows else None

    def rendered(self) -> str:
        if not self.keys:
            return f"{self.sql} AS {self.alias}{f' {self.joined}' if self.joined else ''}"
        columns = ", ".join([f"{self.alias}.*", *self.keys])
        return f"(SELECT {columns} FROM {self.sql} AS {self.alias} {self.joined}) AS {self.alias}"


@dataclass(eq=False, slots=True)
class Scope:
    """The sources of one SELECT; `reach` those that the ON of a join may name, while one is read; `free` are
    columns met outside aggregates, for the check of GROUP BY."""

    parent: Scope | None = None
    sources: list[Source] = field(default_factory=list)
    reach: Sequence[Source] | None = None
    visible: list[Field] = field(default_factory=list)
    free: list[str] = field(default_factory=list)
    correlated: bool = False
    aggregates: bool = False  # met so far
    inside: str = ""  # the clause or aggregate that is being read; aggregates are refused in some
    grouping: bool = False  # it has a GROUP BY
    group_keys: frozenset[str] = frozenset()
    _by_name: dict[str, list[Field]] | None = None

    @property
    def met(self) -> int:
        """Columns of this and the enclosing queries met so far: a sub-query that adds none is constant."""
        return len(self.free) + (self.parent.met if self.parent is not None else 0)

    @property
    def named(self) -> Sequence[Source]:
        """The sources that a qualifier may mean."""
        return self.sources if self.reach is None else self.reach

    def see(self, fields: Iterable[Field]) -> None:
        self.visible = list(fields)
        self._by_name = None

    def find(self, node: exp.Column) -> Field:
        """The column that the node means, here or in an enclosing query; UsageFault else."""
        scope: Scope | None = self
        passed: list[Scope] = []
        while scope is not None:
            found = scope.candidates(node)
            if len(found) > 1:
                owners = ", ".join(sorted({f.source.names[-1] for f in found if f.source}))
                raise fault(node, f"{node.name} is ambiguous: it is a column of {owners}")
            if found:
                for inner in passed:
                    inner.correlated = True
                scope.free.append(found[0].name)
                return found[0]
            passed.append(scope)
            scope = scope.parent
        raise self.unknown(node)

    def candidates(self, node: exp.Column) -> list[Field]:
        identifier = node.this
        if qualifier := qualifiers(node):
            sources = [source for source in self.named if source.called(qualifier)]
            return [f for source in sources for f in matching(source.fields, identifier)]
        if self._by_name is None:
            self._by_name = {}
            for each in self.visible:
                self._by_name.setdefault(each.name.lower(), []).append(each)
        name = identifier.name
        found = self._by_name.get(name.lower(), [])
        return [f for f in found if f.name == name] if identifier.args.get("quoted") else found

    def unknown(self, node: exp.Column) -> Exception:
        qualifier = qualifiers(node)
        scopes: list[Scope] = []
        scope: Scope | None = self
        while scope is not None:
            scopes.append(scope)
            scope = scope.parent
        sources = [source for each in scopes for source in each.named]
        if qualifier:
            named = [source for source in sources if source.called(qualifier)]
            if not named:
                known = [source.names[-1] for source in sources]
                place = "FROM" if all(each.reach is None for each in scopes) else "this JOIN"
                return fault(
                    node,
                    f"there is no table {'.'.join(qualifier)} in {place}"
                    f"{suggestion(qualifier[-1], known)}; it has {', '.join(known)}",
                )
            sources = named
        names = [each.name for source in sources for each in source.fields]
        where = f" in {sources[0].names[-1]}" if len(sources) == 1 else ""
        return fault(node, f"there is no column {node.name}{where}{suggestion(node.name, names)}")


def qualifiers(node: exp.Column) -> tuple[str, ...]:
    if node.args.get("table") is None:
        return ()
    return tuple(str(part.name) for key in ("db", "table") if (part := node.args.get(key)) is not None)


def matching(fields: Iterable[Field], identifier: exp.Expr) -> list[Field]:
    """Delimited identifiers match letter for letter, regular ones in any case (ADQL 2.1, 2.1.6)."""
    name = identifier.name
    if identifier.args.get("quoted"):
        return [f for f in fields if f.name == name]
    return [f for f in fields if f.name.lower() == name.lower()]


@lru_cache(maxsize=4096)
def quoted(name: str) -> str:
    """A published name as the engine's identifier."""
    return '"' + name.replace('"', '""') + '"'


def published(table: Table, names: tuple[str, ...], alias: str, base_url: str) -> Source:
    """A table of the release; url columns are completed by the service's base URL, given as a parameter."""
    schema, _, name = table.name.partition(".")
    source = Source(names, alias, f"release.{quoted(schema)}.{quoted(name)}", table=table)
    for column in table.columns:
        sql = f"{alias}.{quoted(column.name)}"
        source.fields.append(
            Field(column.name, column, f"({base_url} || {sql})" if column.url else sql, source)
        )
    return source


def derived(sql: str, names: tuple[str, ...], alias: str, columns: Sequence[Column]) -> Source:
    """A source whose n-th column is called c<n> in the engine."""
    source = Source(names, alias, sql)
    source.fields = [
        Field(column.name, column, f"{alias}.c{number}", source) for number, column in enumerate(columns)
    ]
    return source


def merged(left: Field, right: Field, side: str) -> Field:
    """The one column that USING and NATURAL make of two."""
    column = replace(left.column, did=left.column.did or right.column.did)
    if side == "FULL":
        return Field(left.name, column, f"COALESCE({left.sql}, {right.sql})")
    kept = right if side == "RIGHT" else left
    return Field(left.name, column, kept.sql, kept.source)
