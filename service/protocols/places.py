"""Where spectra lie, kept in memory while a release is open: a cone and nothing else needs no engine.

To the engine, planning such a question is most of the work. It is asked all the same where a spectrum lies on
the edge, so that both ways give the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from index.release import OpenRelease
from service.kept import once_each
from service.protocols.constraints import Cones
from service.protocols.where import SPECTRA, column
from service.query import build
from service.query.places import Places
from service.query.run import Question, answer

MOST = 500_000  # spectra whose places are kept, some 80 bytes each


@dataclass(frozen=True, slots=True)
class Located:
    """Spectra and their places; those without a position have none."""

    dids: pa.Array  # (n,) text
    places: Places

    def within(self, cones: Cones, most: int) -> list[str] | None:
        """The spectra in at least one of the cones, in no order; None where they are more than `most`, or the
        places do not tell."""
        found = [self.places.near(ra, dec, cones.radius) for ra, dec in cones.places]
        known = [rows for rows in found if rows is not None]
        if len(known) < len(found):
            return None
        rows = np.unique(np.concatenate(known))
        inside: list[str] | None = self.dids.take(pa.array(rows)).to_pylist() if len(rows) <= most else None
        return inside


def in_cones(release: OpenRelease, cones: Cones, most: int) -> list[str] | None:
    """Identifiers of the spectra in the cones, in no order; None where the engine is to be asked."""
    return located(release).within(cones, most) if len(release) <= MOST else None


@once_each
def located(release: OpenRelease) -> Located:
    names = ("ssa_pubdid", "ra", "dec")
    query = build.select([column(name) for name in names], build.table("doppel.spectra", SPECTRA))
    schema = pa.schema([("did", pa.string()), ("ra", pa.float64()), ("dec", pa.float64())])
    with answer(release, Question(query)) as found:
        read = [batch.rename_columns(schema.names) for batch in found.batches]
    held = pa.Table.from_batches(read, schema)
    return Located(held["did"].combine_chunks(), Places.of(held["ra"].to_numpy(), held["dec"].to_numpy()))
