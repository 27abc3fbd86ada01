"""What the published release covers: sky as a MOC, time, light; found out once per release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from registry_metadata.resources import Coverage
from service.kept import once_each

if TYPE_CHECKING:
    from mocpy import MOC

    from index.release import OpenRelease

FINE, COARSE = 10, 6  # orders: cells of 3.4 arc minutes for the file, of 55 for the records
JOULE_METRES = 1.98644586e-25  # h c
# Shortest wavelengths in metres, by VODataService 1.1, 3.2
WAVEBANDS = (
    ("Gamma-ray", 0.0), ("X-ray", 1e-11), ("EUV", 1e-8), ("UV", 1e-7), ("Optical", 3e-7), ("Infrared", 1e-6),
    ("Millimeter", 1e-4), ("Radio", 1e-2),
)  # fmt: skip
PLACES = (
    "SELECT obs_collection, s_ra, s_dec FROM release.ivoa.obscore"
    " WHERE s_ra IS NOT NULL AND s_dec IS NOT NULL ORDER BY obs_collection"
)
SPANS = (
    "SELECT obs_collection, min(t_min), max(t_max), min(em_min), max(em_max),"
    " list_sort(list(DISTINCT facility_name)), list_sort(list(DISTINCT instrument_name))"
    " FROM release.ivoa.obscore GROUP BY obs_collection ORDER BY obs_collection"
)
ALL = ""


@once_each
def mocs(release: OpenRelease) -> Mapping[str, MOC]:
    """The MOC of each collection that has positions, and that of all, named by the empty text."""
    import numpy as np
    from astropy import units
    from mocpy import MOC

    found = {ALL: MOC.new_empty(FINE)}
    with release.engine.run(PLACES) as batches:
        for batch in batches:
            names = np.asarray(batch.column(0).to_pylist())
            ra, dec = (batch.column(at).to_numpy(zero_copy_only=False) * units.deg for at in (1, 2))
            for name in np.unique(names).tolist():
                held = MOC.from_lonlat(ra[names == name], dec[names == name], max_norder=FINE)
                found[name] = found[name].union(held) if name in found else held
                found[ALL] = found[ALL].union(held)
    return found


def spans(release: OpenRelease) -> dict[str, tuple[Coverage, Sequence[str], Sequence[str]]]:
    """Coverage, facilities and instruments of each collection; all of it by the empty text."""
    cells = {name: ascii_moc(moc.degrade_to_order(COARSE)) for name, moc in mocs(release).items()}
    rows = [tuple(row.values()) for row in release.engine.table(SPANS).to_pylist()]
    found = {
        name: (_coverage(cells.get(name, ""), (start, stop), (low, high)), facilities, instruments)
        for name, start, stop, low, high, facilities, instruments in rows
    }
    times = [one.temporal for one, _, _ in found.values() if one.temporal]
    low, high = min(row[3] for row in rows), max(row[4] for row in rows)
    time = (min(start for start, _ in times), max(stop for _, stop in times)) if times else (None, None)
    return {**found, ALL: (_coverage(cells[ALL], time, (low, high)), (), ())}


def _coverage(spatial: str, time: tuple[float | None, float | None], light: tuple[float, float]) -> Coverage:
    low, high = light
    start, stop = time
    temporal = None if start is None or stop is None else (start, stop)
    return Coverage(spatial, temporal, (JOULE_METRES / high, JOULE_METRES / low), wavebands(low, high))


def wavebands(low: float, high: float) -> list[str]:
    """Terms that the wavelengths (metres) touch."""
    ends = [start for _, start in WAVEBANDS[1:]] + [float("inf")]
    return [term for (term, start), end in zip(WAVEBANDS, ends, strict=True) if start < high and low < end]


def ascii_moc(moc: MOC) -> str:
    """`6/12-15 18 7/`, in one line; empty where nothing is covered (MOC 2.0, 4.3.2)."""
    return "" if moc.empty() else " ".join(moc.to_string(format="ascii").split())
