"""Twenty small clinics and a year of their treatments, each in a ledger of its own.

Everything goes the way it goes in a clinic: pens' sealed records through the real intake, notes,
overrides, acknowledgements and stock movements into the real ledger, a registry that changes. No two
clinics have the same registry. Pens of different clinics have the same names, on purpose. The same
numbers always give the same year. Not here: points, and what dashboards should show of them.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from gateway_clinic import GTIN, OTHER_GTIN, badge, cartridge_tag, clinic_document, pen, person
from gateway_desk import Desk
from honest_pen import HonestPen
from sqlalchemy import event

from needletrail_gateway.core.notes import (
    NOTE,
    OVERRIDE,
    STOCK,
    Acknowledgement,
    OverrideNote,
    StockNote,
    TreatmentNote,
    body_of,
)
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.record.alerts import acknowledge, alerts
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.replay.amend import amend
from needletrail_gateway.shell.documents import keys_of
from needletrail_protocol import messages

CLINICS = 20
SESSIONS = 101
END = datetime(2026, 9, 30, 18, tzinfo=UTC)
BEGIN = END - timedelta(days=365)
MINUTE_MS = 60_000
# Of every clinic's soft reasons, those that a person may set aside.
SOFT = ("SCREENING_MISSING", "CARTRIDGE_MISSING", "PRACTITIONER_MISSING")
OVERRIDE_WORDS = (
    "asked by telephone",
    "the tag was torn; box and lot were seen",
    'said "yes, we asked" of c-0000abcd1234, as always',
)

# Who works how deep (um) without breaking a rule, and how deep when they do.
WORKERS = (("est-01", 300, 800), ("md-01", 1500, None), ("rn-01", 1000, None), ("me-01", 400, 900))


def utc_ms(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def clinic_id(number: int) -> str:
    """A clinic's id."""
    return f"clinic-{number:02}"


def registry(number: int, months: int) -> Registry:
    """A clinic's registry after so many months: people, pens and lots differ by its number."""
    last = END.date()
    people = [
        person("est-01", "esthetician", "cosmetic"),
        person("md-01", "physician", "medical"),
        person("rn-01", "nurse", "medical", supervision="on_premises", supervisor="md-01"),
        person("me-01", "master_esthetician", "cosmetic"),
    ]
    people[0]["license_expires"] = last + timedelta(days=10 + 9 * number)
    if number % 5 == 0:
        people[3]["license_expires"] = last - timedelta(days=number)
    if number % 7 == 0:
        people[2] |= {"suspended_from": last - timedelta(days=20)}
    lots: list[dict[str, Any]] = [
        {"gtin": GTIN, "lot": "LOT24A", "received": 40, "expires": date(2027, 12, 31)},
        {
            "gtin": GTIN,
            "lot": "SOON",
            "received": 4 + number,
            "expires": last + timedelta(days=5 * number),
        },
        {"gtin": GTIN, "lot": "PAST", "received": 6, "expires": last - timedelta(days=30 + number)},
        {"gtin": GTIN, "lot": "BAD", "received": 12},
        {"gtin": OTHER_GTIN, "lot": "LOT25Q", "received": 20 + number},
    ]
    lots += [
        {"gtin": GTIN, "lot": f"M{month:02}", "received": 9 + number % 4} for month in range(1, months)
    ]
    if months > 5:
        lots[3] |= {"recalled": BEGIN.date() + timedelta(days=150), "recall": "the maker's letter"}
    return Registry.model_validate(
        clinic_document(
            clinic={
                "id": clinic_id(number),
                "name": f"Clinic {number}",
                "policy": "default",
                "medical_director": "md-01",
            },
            practitioner=people,
            pen=[
                pen(f"pen-{index:02}", key=bytes([number, index] * 16).hex())
                for index in range(1, 3 + number % 3)
            ],
            cartridge_product=[
                {
                    "gtin": GTIN,
                    "name": "12 needles, 2.5 mm",
                    "needle_max_mm": 2.5,
                    "sterile_single_use": True,
                    "reorder_at": 20 + 8 * number,
                },
                {
                    "gtin": OTHER_GTIN,
                    "name": "36 needles, 1.0 mm",
                    "needle_max_mm": 1.0,
                    "sterile_single_use": True,
                },
            ],
            cartridge_lot=lots,
            consumable=[
                {"id": "sleeve", "name": "Sleeves", "kind": "sleeve", "unit": "piece", "received": 60}
                | {"reorder_at": 10 + number},
                {"id": "glide", "name": "Glide", "kind": "glide", "unit": "bottle", "received": 5},
            ],
        )
    )


class ClinicYear:
    """One clinic's year, in a ledger at a place."""

    def __init__(self, number: int, place: Path, policy: Policy, sessions: int = SESSIONS) -> None:
        self.number = number
        self._rng = Random(number)
        self._months = 1
        self.ledger = Ledger.open(place)
        event.listen(self.ledger.engine, "connect", _hurry)
        self.ledger.engine.dispose()
        found = registry(number, 1)
        self._begin_ms = utc_ms(BEGIN)
        self._end_ms = utc_ms(END)
        self.ledger.import_registry(
            found, keys_of(found), self._begin_ms - 86_400_000, "desk", "a new clinic"
        )
        self._desk = Desk(self.ledger, policy)
        self._pens = [
            HonestPen(one.id, key=bytes(found_key), clinic=clinic_id(number))
            for one in found.pen
            if isinstance(found_key := keys_of(found)[one.id], bytes)
        ]
        self._answers = {one.condition: False for one in policy.refusal}
        self._tags: list[bytes] = []  # of the cartridges that were seen
        self._sessions = sessions

    def play(self) -> None:
        """The whole year."""
        for index in range(self._sessions):
            at_ms = self._begin_ms + (self._end_ms - self._begin_ms) * (index + 1) // (
                self._sessions + 1
            )
            at_ms += self._rng.randrange(0, 90 * MINUTE_MS)
            if index == self._sessions - 1:
                at_ms = self._end_ms - 50 * MINUTE_MS + 1_000 * self.number  # one of today
            self._deliver(at_ms)
            session_id = self._session(index, at_ms)
            self._aftermath(session_id, index, at_ms + 20 * MINUTE_MS)

    def _deliver(self, at_ms: int) -> None:
        """The registry changes once a month."""
        months = 1 + int((at_ms - self._begin_ms) / (30 * 86_400_000))
        if months != self._months:
            self._months = months
            self.ledger.import_registry(
                registry(self.number, months), {}, at_ms - 1, "desk", "a delivery"
            )
            self._desk.intake.reload()

    def _session(self, index: int, at_ms: int) -> str:
        rng = self._rng
        who, depth_um, beyond_um = WORKERS[rng.randrange(len(WORKERS))]
        mishap = rng.random()
        pen_at = self._pens[index % len(self._pens)]
        if mishap > 0.06:  # else nobody asked the client
            self.ledger.note(NOTE, self._note(who, index, at_ms), at_ms - 2 * MINUTE_MS)
        pen_at.grant_utc_ms = at_ms - MINUTE_MS
        before = len(pen_at.sent)
        pen_at.boot(at_ms)
        pen_at.strokes = 0
        shown: bytes | None = badge(who)
        if 0.06 < mishap < 0.09:
            shown = badge("nobody-99")
        elif 0.09 < mishap < 0.12:
            shown = None
        tag = self._tag(mishap)
        cause = messages.OPENED_BY_MOTOR if tag is None else messages.OPENED_BY_CARTRIDGE
        pen_at.open(shown, tag, cause)
        for number in range(rng.randrange(1, 3)):
            pen_at.work(depth_um, rng.randrange(600, 1_000, 20))
            if beyond_um is not None and number == 0 and rng.random() < 0.25:
                pen_at.work(beyond_um, rng.randrange(100, 700, 20))
            pen_at.rest(rng.randrange(400, 900, 20))
        pen_at.close()
        self._desk.now_utc_ms = at_ms + pen_at.t_ms + rng.randrange(200, 40_000)
        self._desk.take(pen_at.sent[before:])
        return f"{pen_at.pen_id}-1-{pen_at.session}"

    def _tag(self, mishap: float) -> bytes | None:
        if 0.12 < mishap < 0.15:
            return None
        if 0.15 < mishap < 0.19 and self._tags:
            return self._rng.choice(self._tags)
        lot, gtin, expires = self._rng.choice(["LOT24A", "SOON"]), GTIN, "271231"
        if 0.19 < mishap < 0.24:
            lot = "BAD"
        elif 0.24 < mishap < 0.27:
            lot, expires = "PAST", "250101"
        elif 0.27 < mishap < 0.30:
            lot = "ELSEWHERE"
        elif mishap > 0.93:
            lot, gtin = "LOT25Q", OTHER_GTIN
        self._tags.append(cartridge_tag(f"{len(self._tags) + 1:06}", lot, gtin, expires))
        return self._tags[-1]

    def _note(self, who: str, index: int, at_ms: int) -> dict[str, Any]:
        note = TreatmentNote(
            who="desk",
            at_utc_ms=at_ms - MINUTE_MS,
            practitioner=who,
            client=f"c-{self.number:04}{index:04}",
            screening=self._answers,
            used={"sleeve": 1} | ({"glide": 1} if index % 30 == 0 else {}),
        )
        return body_of(note)

    def _aftermath(self, session_id: str, index: int, at_ms: int) -> None:
        """What people do later in the day: override, acknowledge, count."""
        rng = self._rng
        said = self.ledger.statement(self.ledger.session(session_id))
        assert said is not None
        soft = [code for code in said["reasons"] if code in SOFT]
        if soft and rng.random() < 0.6:
            word = OverrideNote(
                who="md-01", session=session_id, code=soft[0], why=rng.choice(OVERRIDE_WORDS)
            )
            self.ledger.note(OVERRIDE, body_of(word), at_ms, session_id)
            amend(self.ledger, session_id, "override", at_ms)
        for one in alerts(self.ledger, is_open=True)[-3:] if index % 4 == 0 else []:
            if rng.random() < 0.6:
                seen = Acknowledgement(who="md-01", session=one.session_id, code=one.code, why=None)
                acknowledge(self.ledger, seen, at_ms + MINUTE_MS)
        if index % 20 == 19:
            change = StockNote(
                who="desk",
                why="a count",
                consumable="sleeve",
                change=-rng.randrange(1, 4),
                cause="counted",
            )
            self.ledger.note(STOCK, body_of(change), at_ms + 2 * MINUTE_MS)


def years(
    folder: Path, policy: Policy, clinics: int = CLINICS, sessions: int = SESSIONS
) -> Iterator[ClinicYear]:
    """One clinic after another, played."""
    for number in range(1, clinics + 1):
        one = ClinicYear(number, folder / f"clinic-{number}.sqlite", policy, sessions)
        one.play()
        yield one
        one.ledger.close()


def _hurry(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous = OFF")
