"""Pens whose journals are already full: the tapes, recorded by the firmware's own recorder, sealed.

A tape goes through `needletrail_device.recorder` exactly as in a pen, reading by reading, so the
records are those that a pen would send: one-second batches, sessions that open and close, a boot
before each tape. Only the cartridges' serial numbers are changed, one new cartridge a session, as in
a clinic; otherwise every session but the first would be a reuse. Not here: sending.
"""

import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from needletrail_gateway.bench.tapes import Tape, read_tape
from needletrail_gateway.core.registry.model import Registry, um
from needletrail_gateway.shell.documents import read_registry
from needletrail_protocol import messages, topics
from needletrail_protocol.authentication import MacKey, external_data, seal
from needletrail_protocol.readings import decode_record
from needletrail_protocol.tables import Message

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "device"))  # firmware is no part of the installed package

from needletrail_device.recorder import Recorder  # noqa: E402

BENCH = ROOT / "tapes" / "bench"
EPOCH = 1
_SERIAL = re.compile(rb"/21/[0-9]{6}")


@dataclass
class Journal:
    """The firmware's journal as far as the recorder needs one, in memory."""

    next_seq: int = 1
    boot: int = 0
    session: int = 0
    open_session: int = 0
    open_t_ms: int = 0
    payloads: list[bytes] = field(default_factory=list)

    def append(self, payload: bytes) -> int:
        self.payloads.append(payload)
        self.next_seq += 1
        return self.next_seq - 1

    def may_arm(self) -> bool:
        return True

    def is_warning(self) -> bool:
        return False


class NoGrant:
    """A pen that has not heard of any limit yet: it measures, and breaks no batch for a breach."""

    issued_utc_ms = None
    fault = None
    is_hard = False

    def limit_um(self, *_asked: object) -> None:
        return None


@dataclass(frozen=True)
class FullPen:
    """A pen and the records in its journal."""

    id: str
    key: MacKey
    topic: str
    payloads: tuple[bytes, ...]
    samples: int

    def sealed(self, payload: bytes) -> bytes:
        """The message of a payload, as it goes to the broker."""
        return seal(self.key, external_data(self.topic, self.id, EPOCH), payload)

    def messages(self) -> list[bytes]:
        """All records, sealed, in their order."""
        return [self.sealed(payload) for payload in self.payloads]


def read_tapes(quick: bool = False) -> list[Tape]:
    """The tapes in tapes/bench; three short ones if `quick`."""
    paths = sorted(BENCH.glob("*.csv"))
    return [read_tape(path) for path in (paths[:3] if quick else paths)]


def clinic(pens: int) -> Registry:
    """The clinic of the tapes, with so many pens of its kind, and keys for them."""
    known = read_registry(BENCH / "registry.toml")
    pen = known.pen[0].model_dump()
    document = known.model_dump()
    document["pen"] = [
        pen | {"id": pen_id, "key": hashlib.sha256(pen_id.encode()).hexdigest()}
        for pen_id in pen_ids(pens)
    ]
    return Registry.model_validate(document)


def pen_ids(pens: int) -> list[str]:
    return [f"bench-{number:02}" for number in range(1, pens + 1)]


def fill(registry: Registry, pen_id: str, tapes: Sequence[Tape], repeats: int = 1) -> FullPen:
    """A pen that has recorded all the tapes, so many times over."""
    pen = registry.find_pen(pen_id)
    if pen is None or pen.key is None:
        raise ValueError(f"{pen_id} is no pen with a key")
    journal = Journal()
    number = int(hashlib.sha256(pen_id.encode()).hexdigest(), 16) % 900
    samples = 0
    for repeat in range(repeats):
        for index, tape in enumerate(tapes):
            record(registry, pen_id, tape, journal, number * 1000 + repeat * 50 + index)
    for payload in journal.payloads:
        samples += sample_count(payload)
    key = MacKey(bytes.fromhex(pen.key.get_secret_value()), EPOCH)
    topic = topics.build(registry.clinic.id, pen_id, topics.RECORD)
    return FullPen(pen_id, key, topic, tuple(journal.payloads), samples)


def record(registry: Registry, pen_id: str, tape: Tape, journal: Journal, serial: int) -> None:
    """Play a tape to the firmware's recorder; what it writes is added to the journal."""
    pen = registry.find_pen(pen_id)
    if pen is None:
        raise ValueError(f"{pen_id} is no pen of the registry")

    class Config:
        calibration = pen.counts_to_depth()
        reading_tolerance_um = um(pen.reading_tolerance_mm)
        without_grant = "warn"

    journal.boot += 1
    recorder = Recorder(
        Config, journal, NoGrant(), 1000 // tape.hz, lambda _code: None, lambda *_told: None
    )
    recorder.boot(round(tape.start.timestamp() * 1000), "virtual")
    recorder.begin(tape.rows[0].strokes)
    for row in tape.rows:
        if row.event is not None:
            if row.event.kind == "badge":
                recorder.badge_read(row.t_ms, row.event.message)
            elif row.event.kind == "cartridge":
                tag = _SERIAL.sub(b"/21/%06d" % (serial % 1_000_000), row.event.message)
                recorder.cartridge_arrived(row.t_ms, tag)
            else:
                recorder.cartridge_removed(row.t_ms)
        recorder.reading(row.t_ms, row.dial_counts, row.strokes, row.contact_adc)
    recorder.power_off()


def sample_count(payload: bytes) -> int:
    """How many readings a record carries."""
    found = decode_record(payload)
    return int(found.count) if found.kind == messages.SAMPLES else 0


def sample_records(pen: FullPen) -> Iterator[tuple[bytes, Message]]:
    """The records of a pen that carry readings, as payload and decoded."""
    for payload in pen.payloads:
        found = decode_record(payload)
        if found.kind == messages.SAMPLES:
            yield payload, found
