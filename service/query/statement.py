"""What a query becomes: the engine's SQL, the columns of its result; the cone, where it is nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace

from registry_metadata.columns import Column, Table


@dataclass(frozen=True, slots=True)
class Cone:
    """Rows of a published table within `radius` of a place, in degrees; `columns` of them are asked for."""

    table: Table
    columns: tuple[Column, ...]
    ra: str  # the columns of positions
    dec: str
    centre_ra: float
    centre_dec: float
    radius: float


@dataclass(frozen=True, slots=True)
class Query:
    """SQL whose n-th result column is called c<n>, what these columns are, and how many rows are cut; the
    places of columns that are NULL and have no type; of how many columns of tables each is made, as `growth`
    counts them; and the cone, where it asks for one and nothing else."""

    body: str
    columns: tuple[Column, ...]
    limit: int | None = None
    offset: int = 0
    nulls: frozenset[int] = frozenset()
    weights: tuple[int, ...] = ()
    cone: Cone | None = None

    @property
    def sql(self) -> str:
        top = f" LIMIT {self.limit}" if self.limit is not None else ""
        return f"{self.body}{top}{f' OFFSET {self.offset}' if self.offset else ''}"

    def within(self, n_rows: int) -> Query:
        """The same query with at most so many rows."""
        return replace(self, limit=n_rows if self.limit is None else min(self.limit, n_rows))
