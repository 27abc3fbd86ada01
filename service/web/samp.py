"""What a page offers to programs on the desktop by SAMP: the neighbours as a table, and the spectra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from service.samp_messages import AXES
from service.web.elsewhere import VOTABLE, Question
from service.web.entries import Entry

NAME = "Doppel"
DESCRIPTION = "A page of an archive of spectra, with a spectrum and those that look like it"


@dataclass(frozen=True, slots=True)
class Offer:
    """Paths are those of this site; the page makes them absolute, as its reader reached it."""

    question: Question
    shown: Sequence[Entry]  # the chosen spectrum first, where the archive has it
    path: str

    def as_json(self) -> dict[str, object]:
        asked = {"ID": self.question.reference, "TOP": self.question.k, "SPACE": self.question.space}
        table = {
            "url": f"{self.path}/similar_to?{urlencode(asked)}",
            "name": f"Likes of {self.shown[0].name}",
        }
        return {
            "name": NAME,
            "description": DESCRIPTION,
            "documentation": f"{self.path}/rdf/similarity",
            "icon": f"{self.path}/static/icon.svg",
            "table": table,
            "spectra": [spectrum(one) for one in self.shown if one.votable],
        }


def spectrum(one: Entry) -> dict[str, object]:
    """With the metadata that SPLAT-VO wants (CHECKLIST M04)."""
    meta = {
        "Access.Format": VOTABLE,
        "Curation.PublisherDID": one.did,
        "Target.Name": one.name,
        "DataID.Title": one.label,
        **AXES,
    }
    return {"url": one.votable, "did": one.did, "name": one.label, "meta": meta}
