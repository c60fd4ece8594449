"""The clinic's notes: what people write down beside what pens record, each an entry of the ledger.

A treatment note says who was treated (a pseudonym), what the questionnaire brought, and what was used.
It is written before the needles touch the skin and belongs to what the practitioner then does: a
session's note is the newest one of its practitioner that is not younger than the session and not older
than NOTE_GOOD_MS. So the answer follows from times alone, whatever arrived first. A note can name its
session instead; that is how a forgotten one is written afterwards.

An attested treatment was done without a pen (a roller), so all that is known of it is somebody's word.
An override is a person's word that a soft rule does not hold in one session; an acknowledgement, that
somebody has seen an alert and deals with it. A stock movement says what came or went. Pseudonyms are
all that is ever known here of a client.
"""

import re
import unicodedata
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from needletrail_gateway.core.packs.model import Code, Outcome
from needletrail_gateway.core.registry.model import BadgeId, Count, DeviceKind, Gtin, Identifier, Text
from needletrail_gateway.core.stock import Cause

NOTE_GOOD_MS = 4 * 3_600_000

NOTE, ATTESTED, OVERRIDE, STOCK = "note", "attested", "override", "stock"
ACKNOWLEDGED = "acknowledged"

_PSEUDONYM = re.compile(r"c-[a-z0-9]{8,32}")
_IN_TEXT = re.compile(r"(?<![a-z0-9])c-[a-z0-9]{8,}", re.IGNORECASE)
# The same as people type it: within a word, with a word processor's dash, with blanks, with no dash.
# Better one too many: without a dash, or with blanks, it takes a digit to be one.
_DASH = "[-\N{HYPHEN}\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}_]"
_AS_TYPED = re.compile(
    rf"c{_DASH}[a-z0-9]{{8,}}"
    rf"|(?<![a-z0-9])c\s*{_DASH}?\s*(?=[a-z]*[0-9])[a-z0-9]{{8,}}"
    rf"|c{_DASH}(?=[a-z]*[0-9])(?:[a-z0-9][\s._-]?){{7}}[a-z0-9]+",
    re.IGNORECASE,
)
_INVISIBLE = "Cf"  # Unicode's category: soft hyphens, joiners, blanks of no width


def _pseudonym(value: object) -> object:
    if not isinstance(value, str) or not _PSEUDONYM.fullmatch(value):
        raise ValueError("must be a pseudonym: c- and 8 to 32 of a-z and 0-9, never a name")
    return value


Pseudonym = Annotated[str, BeforeValidator(_pseudonym)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TreatmentNote(_Entry):
    """What the clinic says of a treatment. `screening`: answers by condition; None: nobody asked.

    at_utc_ms: when the treatment begins. used: consumables by id.
    """

    who: Text
    at_utc_ms: int
    practitioner: BadgeId
    client: Pseudonym
    session: Text | None = None
    screening: Mapping[Identifier, bool] | None = None
    prevented: tuple[Identifier, ...] = ()
    area: Identifier | None = None
    used: Mapping[Identifier, Count] = {}


class AttestedTreatment(_Entry):
    """A treatment without a pen: what was done, by the word of whoever did it.

    verdict, reasons, policy: what the judge made of it when it was entered, and by which pack.
    """

    who: Text
    at_utc_ms: int
    practitioner: BadgeId
    client: Pseudonym
    device: DeviceKind
    needle_mm: Annotated[float, Field(ge=0, le=20)]
    minutes: Annotated[float, Field(gt=0, le=1440)]
    screening: Mapping[Identifier, bool] | None = None
    prevented: tuple[Identifier, ...] = ()
    area: Identifier | None = None
    used: Mapping[Identifier, Count] = {}
    verdict: Outcome | None = None
    reasons: tuple[Code, ...] = ()
    policy: Text | None = None


class OverrideNote(_Entry):
    """A soft rule that does not hold in one session, and why."""

    who: Text
    session: Text
    code: Code
    why: Text


class Acknowledgement(_Entry):
    """An alert that a person has seen and deals with; each alert is acknowledged once."""

    who: Text
    session: Text
    code: Code
    why: Text | None


class StockNote(_Entry):
    """What came (above 0) or went (below 0) of a lot of cartridges or of a consumable."""

    who: Text
    why: Text
    gtin: Gtin | None = None
    lot: Text | None = None
    consumable: Identifier | None = None
    change: int
    cause: Cause


@dataclass(frozen=True)
class Noted:
    """A treatment note with the number of its entry."""

    entry: int
    note: TreatmentNote


class Notes:
    """All treatment notes, by session and by practitioner. Ask in any order."""

    def __init__(self, noted: Iterable[Noted] = ()) -> None:
        self._of_session: dict[str, Noted] = {}
        self._of_person: dict[str, list[tuple[int, int, Noted]]] = {}
        for one in noted:
            self.add(one)

    def add(self, one: Noted) -> None:
        """One more; of two for the same session the newer entry counts."""
        note = one.note
        if note.session is not None:
            known = self._of_session.get(note.session)
            if known is None or known.entry < one.entry:
                self._of_session[note.session] = one
            return
        of_person = self._of_person.setdefault(note.practitioner, [])
        insort(of_person, (note.at_utc_ms, one.entry, one), key=lambda known: known[:2])

    def forget(self, first: int, last: int) -> None:
        """Drop the notes of these entries, both ends included."""
        for session_id in [
            name for name, one in self._of_session.items() if first <= one.entry <= last
        ]:
            del self._of_session[session_id]
        for of_person in self._of_person.values():
            of_person[:] = [row for row in of_person if not first <= row[1] <= last]

    def find(self, session_id: str, practitioner: str | None, utc_ms: int | None) -> Noted | None:
        """The note on a session of that practitioner which began then."""
        named = self._of_session.get(session_id)
        if named is not None:
            return named
        if practitioner is None or utc_ms is None:
            return None
        of_person = self._of_person.get(practitioner, [])
        index = bisect_right(of_person, utc_ms, key=lambda known: known[0]) - 1
        if index < 0 or utc_ms - of_person[index][0] > NOTE_GOOD_MS:
            return None
        return of_person[index][2]


def without_clients(text: str, instead: str = "(client)") -> str:
    """A text with something else in place of whatever may be a client's pseudonym, however typed."""
    shown = "".join(one for one in text if unicodedata.category(one) != _INVISIBLE)
    plain = unicodedata.normalize("NFKC", shown)
    return text if _AS_TYPED.search(plain) is None else _AS_TYPED.sub(instead, plain)


def names_client(text: str) -> bool:
    """Whether a client's pseudonym stands in it, written as it is."""
    return _IN_TEXT.search(text) is not None


def body_of(entry: BaseModel) -> dict[str, Any]:
    """What an entry's body says of a note; defaults are left out."""
    return entry.model_dump(mode="json", exclude_defaults=True)
