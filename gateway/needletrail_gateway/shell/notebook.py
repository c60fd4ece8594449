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
from needletrail_gateway.record import overdue
from needletrail_gateway.record.ledger import CONFLICT, Entry, Ledger
from needletrail_gateway.record.retention import REDACTION, Removal

_READ = (NOTE, OVERRIDE, CONFLICT, REDACTION)
_WATCHED = (*_READ, ATTESTED, "verdict")  # all that may change what is known of a client or a session


class Notebook:
    """Treatment notes, overrides and conflicts, read on as they are written.

    version: another one after something came from elsewhere that may change an answer given here.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read_to: int | None = None
        self.version = 0
        self._notes = Notes()
        self._late: list[Noted] = []
        self._tampered: set[str] = set()
        self._overrides: defaultdict[str, dict[Code, Override]] = defaultdict(dict)
        # By sessions judged a moment ago, whose verdicts wait for their commit: rows of visits.
        self._coming: dict[str, dict[str, Any] | None] = {}

    def read_on(self) -> None:
        """Take in what was written since."""
        if self._read_to is None:
            self._read_to = self._ledger.last_entry_id()
            self._read(0, self._read_to)
            return
        news = self._ledger.news(_WATCHED, self._read_to)
        if not news:
            return
        before, self._read_to = self._read_to, news[-1][0]
        are_ours = [kind == "verdict" and self._is_ours(session_id) for _, kind, session_id in news]
        self.version += not all(are_ours)
        if any(kind in _READ for _, kind, _ in news):
            self._read(before, self._read_to)

    def _is_ours(self, session_id: str | None) -> bool:
        """Whether a verdict is the one that this session waits for; it waits no longer."""
        is_ours = session_id in self._coming
        self._coming.pop(session_id or "", None)
        return is_ours

    def _read(self, after_id: int, until_id: int) -> None:
        for entry in self._ledger.all_entries(*_READ, after_id=after_id, until_id=until_id):
            if entry.kind == REDACTION:
                for first, last in Removal.read(entry.kind, entry.body).ranges:
                    self._forget(first, last)
            elif entry.kind == CONFLICT:
                self._tampered.add(entry.session_id or "")
            elif entry.kind == NOTE:
                noted = Noted(entry.id, TreatmentNote.model_validate(entry.json()))
                self._notes.add(noted)
                if noted.note.session is None and entry.committed_utc_ms > noted.note.at_utc_ms:
                    self._late.append(noted)
            else:
                word = OverrideNote.model_validate(entry.json())
                self._overrides[word.session][word.code] = Override(
                    word.who, word.why, entry.committed_utc_ms
                )

    def _forget(self, first: int, last: int) -> None:
        self._notes.forget(first, last)
        self._late = [one for one in self._late if not first <= one.entry <= last]
        for session_id, row in self._coming.items():
            if row is not None and first <= row["note_entry"] <= last:
                self._coming[session_id] = None

    def noted(self, session_id: str, practitioner: str | None, utc_ms: int | None) -> Noted | None:
        """The note on a session of that practitioner which began then."""
        return self._notes.find(session_id, practitioner, utc_ms)

    def overtaken(self) -> dict[str, str]:
        """Sessions that were judged before their note was written, which was late."""
        if not self._late:
            return {}
        newest = max(one.entry for one in self._late)
        from_utc_ms = min(one.note.at_utc_ms for one in self._late)
        return {
            session_id: NOTE
            for session_id, practitioner, utc_ms, verdict_entry in overdue.judged_before(
                self._ledger, newest, from_utc_ms
            )
            if (found := self.noted(session_id, practitioner, utc_ms)) and found.entry > verdict_entry
        }

    # ---- clients ----

    def visit(self, session_id: str, practitioner: str | None, utc_ms: int | None) -> Visit | None:
        """The note on a session, with what the client had before."""
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
        rows = self._ledger.visits(note.client, before_utc_ms)
        if self._coming:
            known = {row["session_id"] for row in rows}
            rows += [
                row
                for row in self._coming.values()
                if row is not None
                and row["client"] == note.client
                and row["started_utc_ms"] < before_utc_ms
                and row["session_id"] not in known
            ]
        return Visit(
            entry,
            note.client,
            note.screening,
            frozenset(note.prevented),
            note.area,
            tuple(
                Earlier(_day(row["started_utc_ms"]), row["tier"])
                for row in rows
                if row["note_entry"] != entry  # another part of the same treatment
            ),
        )

    def add_verdict(self, session_id: str, visit: dict[str, Any] | None) -> list[str]:
        """A session was judged a moment ago, and is still to be committed. visit: a row, or None.

        Returns the client's later sessions that were judged already, without knowing of it.
        """
        coming = [row for row in self._coming.values() if row is not None]
        self._coming[session_id] = visit
        if visit is None:
            return []
        later = [
            row["session_id"]
            for row in coming
            if row["client"] == visit["client"]
            and row["started_utc_ms"] > visit["started_utc_ms"]
            and row["note_entry"] != visit["note_entry"]
        ]
        return list(dict.fromkeys([*overdue.later_sessions(self._ledger, visit), *later]))

    def is_tampered(self, session_id: str) -> bool:
        """Whether two different records claim one place in a session."""
        return session_id in self._tampered

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
