"""What the ledger says beside records, read back: notes, overrides, stock, and cartridges seen."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from needletrail_gateway.core.judging.facts import Earlier, Override, Visit
from needletrail_gateway.core.notes import (
    ATTESTED,
    NOTE,
    OVERRIDE,
    STOCK,
    AttestedTreatment,
    Noted,
    Notes,
    OverrideNote,
    StockNote,
    TreatmentNote,
)
from needletrail_gateway.core.packs.model import Code
from needletrail_gateway.core.stock import Item, Movement, Opened
from needletrail_gateway.core.treatment import utc
from needletrail_gateway.record.ledger import CONFLICT, Entry, Ledger
from needletrail_gateway.record.retention import REDACTION, Removal


class Notebook:
    """Treatment notes, overrides and conflicts, read on as they are written."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read_to = 0
        self._notes = Notes()
        self._tampered: set[str] = set()
        self._overrides: defaultdict[str, dict[Code, Override]] = defaultdict(dict)

    def read_on(self) -> None:
        """Take in what was written since."""
        kinds = (NOTE, OVERRIDE, CONFLICT, REDACTION)
        for entry in self._ledger.all_entries(*kinds, after_id=self._read_to):
            self._read_to = entry.id
            if entry.kind == REDACTION:
                for first, last in Removal.read(entry.kind, entry.body).ranges:
                    self._notes.forget(first, last)
            elif entry.kind == CONFLICT:
                self._tampered.add(entry.session_id or "")
            elif entry.kind == NOTE:
                self._notes.add(Noted(entry.id, TreatmentNote.model_validate(entry.json())))
            else:
                word = OverrideNote.model_validate(entry.json())
                self._overrides[word.session][word.code] = Override(
                    word.who, word.why, entry.committed_utc_ms
                )

    def noted(self, session_id: str, practitioner: str | None, utc_ms: int | None) -> Noted | None:
        """The note on a session of that practitioner which began then."""
        return self._notes.find(session_id, practitioner, utc_ms)

    def visit(self, session_id: str, practitioner: str | None, utc_ms: int | None) -> Visit | None:
        """The same, with what the client had before."""
        found = self.noted(session_id, practitioner, utc_ms)
        if found is None:
            return None
        return self.visit_of(
            found.note, found.entry, found.note.at_utc_ms if utc_ms is None else utc_ms
        )

    def visit_of(
        self, note: TreatmentNote | AttestedTreatment, entry: int, before_utc_ms: int
    ) -> Visit:
        """What a note says, with what the client had before."""
        return Visit(
            entry,
            note.client,
            note.screening,
            frozenset(note.prevented),
            note.area,
            tuple(
                Earlier(_day(row["started_utc_ms"]), row["tier"])
                for row in self._ledger.visits(note.client, before_utc_ms)
                if row["note_entry"] != entry  # another part of the same treatment
            ),
        )

    def is_tampered(self, session_id: str) -> bool:
        """Whether two different records claim one place in a session."""
        return session_id in self._tampered

    def tampered(self) -> list[str]:
        """The sessions of which that is so."""
        return sorted(self._tampered)

    def overrides(self, session_id: str) -> Mapping[Code, Override]:
        """What a person has set aside in a session; of two words on one code the newer one counts."""
        return self._overrides.get(session_id, {})


def read_attested(ledger: Ledger) -> list[tuple[Entry, AttestedTreatment]]:
    """Treatments without a pen, oldest entry first."""
    return [
        (entry, AttestedTreatment.model_validate(entry.json()))
        for entry in ledger.all_entries(ATTESTED)
    ]


def movements(ledger: Ledger) -> list[Movement]:
    """What was recorded of stock, and what treatment notes say was used."""
    found = []
    for entry in ledger.all_entries(STOCK):
        note = StockNote.model_validate(entry.json())
        item = Item(note.consumable) if note.consumable else Item(note.gtin or "", note.lot or "")
        found.append(Movement(item, _day(entry.committed_utc_ms), note.change, note.cause))
    for entry in ledger.all_entries(NOTE, ATTESTED):
        said = entry.json()
        for name, count in said.get("used", {}).items():
            found.append(Movement(Item(name), _day(said["at_utc_ms"]), -count, "used"))
    return found


def opened_cartridges(sessions: Iterable[Mapping[str, Any]]) -> list[Opened]:
    """Each cartridge that a pen has seen, once; one without a serial number counts each time."""
    found: dict[tuple[str, str], Opened] = {}
    for row in sessions:
        if row["gtin"] is None:
            continue
        name = row["serial"] or row["session_id"]
        on = _day(row["started_utc_ms"] or 0)
        before = found.get((row["gtin"], name))
        found[row["gtin"], name] = Opened(
            row["gtin"],
            row["lot"],
            row["serial"],
            on if before is None else min(on, before.on),
            bool(row["worked"]) or (before is not None and before.is_treated),
        )
    return list(found.values())


def _day(utc_ms: int) -> date:
    return utc(utc_ms).date()
