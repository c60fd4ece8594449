"""A clinic's year: 20 pens, thousands of sessions, as sealed records that a real intake takes in.

The treatments are scripts for the bench's tape recorder, longer than those in tapes/bench: each becomes
a tape, and the firmware's recorder makes its records. A session of the year is one of them with another
number, time, stroke count and cartridge, sealed anew under its pen's key; only what differs is encoded
again, so that a year is made in minutes. Every pen boots and says hello on each of its days; a note
goes before every second session, and each month the registry changes. Not here: what is measured.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random
from typing import Any

from needletrail_gateway.bench import recorder
from needletrail_gateway.bench.tapes import Tape, read_tape
from needletrail_gateway.core.notes import NOTE, TreatmentNote, body_of
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.record.ledger import Group, Ledger
from needletrail_gateway.shell.documents import keys_of, read_policy
from needletrail_gateway.shell.intake import Intake
from needletrail_protocol import cbor, conversation, messages, topics
from needletrail_protocol.authentication import MacKey, external_data, seal
from needletrail_protocol.readings import Readings, decode_record
from parts import fleet

DAYS = 365
BEGIN_UTC_MS = round(datetime(2026, 1, 1, 8, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000
_AFTER_THE_YEAR = date(2030, 12, 31)
BETWEEN_MS = 900_000  # from a session's end to the pen's next one
RECORDS_IN_A_COMMIT = 100  # as many as the service gathers when it is busy
CLIENTS = 400
REUSED_EVERY = 150  # one session in so many takes the cartridge of the one before
_SERIAL = b"/21/000000"
_OPEN_BADGE, _OPEN_CARTRIDGE, _OPEN_STROKES, _OPEN_GRANT = 5, 6, 8, 9

# Who works how deep (mm), and whether they turn the ring too far once.
HABITS = (
    ("est-01", 0.30, None),
    ("md-01", 2.00, None),
    ("rn-01", 1.50, None),
    ("me-01", 1.20, None),
    ("est-01", 0.45, 0.80),
    ("rn-01", 1.00, None),
    ("md-01", 1.50, None),
    ("rn-02", 0.30, None),
    ("me-01", 1.40, 1.80),
    ("np-02", 0.40, None),
)


def scripts(count: int, minutes: float) -> Iterator[recorder.Script]:
    """Treatments of half to one and a half times so many minutes."""
    rng = Random(20)
    for number in range(count):
        who, depth_mm, beyond_mm = HABITS[number % len(HABITS)]
        wanted_ms = minutes * 60_000 * (0.5 + number % 5 / 4)
        steps: list[dict[str, Any]] = []
        length_ms = 0
        while length_ms < wanted_ms:
            duration_ms = rng.randrange(4_000, 14_000, 20)
            pause_ms = rng.choice([400, 1_200, 1_200, 2_600, 8_000])
            step = {
                "kind": "pass",
                "depth_mm": depth_mm,
                "duration_ms": duration_ms,
                "pause_after_ms": pause_ms,
            }
            if beyond_mm is not None and len(steps) == 3:
                step["excursions"] = [{"at_ms": 1_000, "depth_mm": beyond_mm, "hold_ms": 400}]
            steps.append(step)
            length_ms += duration_ms + pause_ms
        yield recorder.Script.model_validate(
            {
                "tape": f"treatment {number}",
                "pen": "pen-01",
                "start": datetime(2026, 1, 1, 9, tzinfo=UTC),
                "badge": who,
                "cartridge": {
                    "gtin": "09506000134369",
                    "lot": "LOT25Q",
                    "serial": "000000",
                    "expires": "2028-12-31",
                },
                "steps": steps,
                "seed": number,
            }
        )


def tapes(count: int, minutes: float) -> Iterator[Tape]:
    """Their tapes, recorded."""
    calibration = fleet.clinic(1).pen[0].calibration
    points = [(counts, round(mm * 1000)) for counts, mm in calibration]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tape.csv"
        for script in scripts(count, minutes):
            path.write_text(recorder.record(script, points, Random(script.seed))[0])
            yield read_tape(path)


@dataclass(frozen=True)
class Step:
    """A record of a treatment. For samples, `parts` is what stays the same of the payload."""

    items: list[Any]
    after_ms: int
    parts: tuple[bytes, bytes, bytes] | None


class Treatment:
    """A session as the firmware's recorder wrote it, to be done again and again."""

    def __init__(self, registry: Registry, tape: Tape) -> None:
        journal = fleet.Journal()
        fleet.record(registry, fleet.pen_ids(1)[0], tape, journal, 0)
        found: list[list[Any]] = []
        for payload in journal.payloads:
            items = cbor.decode(payload)
            assert isinstance(items, list)
            if items[0] != messages.BOOT:
                found.append(items)
        opened = found[0]
        if opened[0] != messages.OPEN or sum(items[0] == messages.OPEN for items in found) != 1:
            raise ValueError(f"{tape.name}: not one session")
        self.practitioner = next(
            row.event.message for row in tape.rows if row.event and row.event.kind == "badge"
        )
        self._strokes = int(opened[_OPEN_STROKES])
        self.steps = [Step(items, items[2] - opened[2], _parts(items)) for items in found]
        self.samples = sum(items[5] for items in found if items[0] == messages.SAMPLES)
        self.length_ms = self.steps[-1].after_ms
        self.strokes = max(
            Readings(decode_record(payload)).strokes[-1]
            for payload in journal.payloads
            if decode_record(payload).kind == messages.SAMPLES
        )

    def payload(self, step: Step, seq: int, pen: "Pen", serial: int, grant_utc_ms: int) -> bytes:
        """One of its records, in the pen's session that is under way."""
        t_ms = pen.t_ms + step.after_ms
        stroke_shift = pen.strokes - self._strokes
        if step.parts is not None:
            head, middle, end = step.parts
            encode = cbor.encode
            strokes = encode(step.items[8] + stroke_shift)
            return b"".join(
                (head, encode(seq), encode(t_ms), encode(pen.session), middle, strokes, end)
            )
        items = [*step.items]
        items[1], items[2] = seq, t_ms
        items[3] = pen.session
        if items[0] == messages.OPEN:
            items[_OPEN_STROKES] = items[_OPEN_STROKES] + stroke_shift
            items[_OPEN_GRANT] = grant_utc_ms
            items[_OPEN_CARTRIDGE] = items[_OPEN_CARTRIDGE].replace(_SERIAL, b"/21/%06d" % serial)
        return cbor.encode(items)


def _parts(items: list[Any]) -> tuple[bytes, bytes, bytes] | None:
    if items[0] != messages.SAMPLES:
        return None
    encode = cbor.encode
    head = bytes((0x80 + len(items), messages.SAMPLES))
    middle = b"".join(encode(item) for item in items[4:8])
    return head, middle, b"".join(encode(item) for item in items[9:])


@dataclass
class Pen:
    """Where a pen stands."""

    id: str
    key: MacKey
    clinic: str
    seq: int = 0
    boot: int = 0
    session: int = 0
    t_ms: int = 0
    strokes: int = 0
    topics: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def seal(self, channel: str, payload: bytes) -> tuple[str, bytes]:
        """Topic and message."""
        known = self.topics.get(channel)
        if known is None:
            topic = topics.build(self.clinic, self.id, channel)
            known = (topic, external_data(topic, self.id, self.key.epoch))
            self.topics[channel] = known
        return known[0], seal(self.key, known[1], payload)

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq


Sealed = tuple[int, str, bytes]  # when (UTC), topic, message


@dataclass(frozen=True)
class Day:
    """What happens on a day: messages in order of time, and notes by their time."""

    messages: list[Sealed]
    notes: list[tuple[int, dict[str, Any]]]
    sessions: int
    samples: int


class Year:
    """The year's days, one after another. A session's treatment is the next one of `treatments`."""

    def __init__(self, sessions: int, pens: int, treatments: list[Tape]) -> None:
        clinic = fleet.clinic(pens)
        self.registry, self.keys = _licensed(clinic), keys_of(clinic)
        self.treatments = [Treatment(self.registry, tape) for tape in treatments]
        self.pens = [
            Pen(pen_id, _mac_key(self.keys[pen_id]), "harbor") for pen_id in fleet.pen_ids(pens)
        ]
        self.sessions = sessions
        policy = read_policy(self.registry.clinic.policy)
        self._answers = {one.condition: False for one in policy.refusal}
        self._made = 0

    def days(self) -> Iterator[Day]:
        """Day after day, as they are wanted."""
        for number in range(DAYS):
            until = self.sessions * (number + 1) // DAYS
            if until > self._made:
                yield self._day(BEGIN_UTC_MS + number * DAY_MS, until)

    def _day(self, utc_ms: int, until: int) -> Day:
        found: list[Sealed] = []
        notes: list[tuple[int, dict[str, Any]]] = []
        booted = set()
        first, samples = self._made, 0
        for number in range(first, until):
            pen = self.pens[number % len(self.pens)]
            if pen.id not in booted:
                booted.add(pen.id)
                found += _boot(pen, utc_ms)
            turn = number + number // len(self.pens)  # so that a pen has another one each time
            treatment = self.treatments[turn % len(self.treatments)]
            samples += treatment.samples
            pen.t_ms += BETWEEN_MS
            if number % 2:
                notes.append(
                    (utc_ms + pen.t_ms - 60_000, self._note(number, utc_ms + pen.t_ms, treatment))
                )
            found += self._session(pen, treatment, number, utc_ms)
        found.sort(key=lambda one: one[0])
        self._made = until
        return Day(found, notes, until - first, samples)

    def _session(
        self, pen: Pen, treatment: Treatment, number: int, boot_utc_ms: int
    ) -> Iterator[Sealed]:
        pen.session += 1
        serial = number - 1 if number % REUSED_EVERY == REUSED_EVERY - 1 else number
        for step in treatment.steps:
            payload = treatment.payload(step, pen.next_seq(), pen, serial, boot_utc_ms)
            yield boot_utc_ms + pen.t_ms + step.after_ms, *pen.seal(topics.RECORD, payload)
        pen.t_ms += treatment.length_ms
        pen.strokes += treatment.strokes

    def _note(self, number: int, begins_utc_ms: int, treatment: Treatment) -> dict[str, Any]:
        practitioner = treatment.practitioner.rpartition(b"/")[2].decode()
        return body_of(
            TreatmentNote(
                who="desk",
                at_utc_ms=begins_utc_ms - 60_000,
                practitioner=practitioner,
                client=f"c-{number % CLIENTS:08}",
                screening=self._answers,
            )
        )


def _boot(pen: Pen, utc_ms: int) -> list[Sealed]:
    pen.boot += 1
    pen.t_ms = pen.strokes = 0
    fields = (pen.seq + 1, pen.seq + 1, pen.boot, "1.0.0", utc_ms, 0, 1, 0, utc_ms)
    boot = (pen.next_seq(), 0, pen.boot, utc_ms, "1.0.0", "esp32_s3")
    return [
        (utc_ms, *pen.seal(topics.HELLO, conversation.encode_hello(fields))),
        (utc_ms, *pen.seal(topics.RECORD, messages.encode_record(messages.BOOT, boot))),
    ]


def _mac_key(key: Any) -> MacKey:
    assert isinstance(key, bytes)
    return MacKey(key, fleet.EPOCH)


def _licensed(registry: Registry) -> Registry:
    """The registry without a licence that lapses: late in the year sessions are as they were early."""
    document = registry.model_dump()
    for person in document["practitioner"]:
        person["license_expires"] = _AFTER_THE_YEAR
    return Registry.model_validate(document)


def _with_lots(registry: Registry, months: int) -> Registry:
    """The registry after so many monthly deliveries."""
    document = registry.model_dump()
    document["cartridge_lot"] += [
        {"gtin": "09506000134369", "lot": f"M{month:02}", "received": 500}
        for month in range(1, months + 1)
    ]
    return Registry.model_validate(document)


class LiveClinic:
    """A real intake on a real ledger, fed by hand: receive, judge, commit, acknowledge."""

    def __init__(self, location: Path, year: Year) -> None:
        self.ledger = Ledger.open(location)
        self._year = year
        self._now_utc_ms = BEGIN_UTC_MS - DAY_MS
        self._month = 0
        self.ledger.import_registry(
            year.registry, year.keys, self._now_utc_ms, "bench", "the year begins"
        )
        self.start()

    def start(self) -> None:
        """A new intake, as after a restart of the gateway."""
        self.intake = Intake(self.ledger, read_policy, lambda: self._now_utc_ms)

    def prepare(self, day: Day) -> None:
        """What people write before the day begins: notes, and once a month a delivery."""
        utc_ms = day.messages[0][0]
        self._now_utc_ms = max(self._now_utc_ms, utc_ms)
        month = datetime.fromtimestamp(utc_ms / 1000, UTC).month
        if month != self._month:
            self._month = month
            registry = _with_lots(self._year.registry, month)
            self.ledger.import_registry(registry, {}, utc_ms, "bench", "a delivery")
            self.intake.reload()
        for at_utc_ms, body in day.notes:
            self.ledger.note(NOTE, body, min(at_utc_ms, self._now_utc_ms))

    def take(self, day: Day) -> None:
        """A day's messages. Everything in here is the gateway's work."""
        receive = self.intake.receive
        for at in range(0, len(day.messages), RECORDS_IN_A_COMMIT):
            for utc_ms, topic, message in day.messages[at : at + RECORDS_IN_A_COMMIT]:
                self._now_utc_ms = utc_ms
                receive(topic, message)
            group, self.intake.group = self.intake.group, Group()
            self.ledger.commit(group, self._now_utc_ms)
            for (pen_id, epoch), seq in group.acks.items():
                self.intake.ack(pen_id, epoch, seq)
