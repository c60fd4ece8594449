"""What a boot finds in flash: the journal's numbers, and the session that was left open.

Strategy: take the newest good copy of the state, then walk through every segment once and let each
good frame that is newer than the state move the numbers on. How numbering goes on after a torn or
a damaged end is said in journal.py. Nothing is written until all is understood, so a power cut
during recovery changes nothing.

A session does not outlive its boot: one found open gets its `close` (power lost) before the new
`boot` record, with the time of its last stored reading. The pen's own count went with its power, so
the figures are 0 and null; the verdict never used them. Main forgets this module afterwards.
"""

from io import BytesIO

from needletrail_device import frames
from needletrail_device.journal import STATE_FILES, segment_name
from needletrail_protocol import cbor, messages
from needletrail_protocol.errors import ProtocolError
from needletrail_protocol.readings import Readings, decode_record

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

_LEAST_RECORD_BYTES = frames.HEADER + 8
_STATE_NUMBERS = 7
_KINDS_OF_SESSION = (
    messages.OPEN,
    messages.SAMPLES,
    messages.BADGE,
    messages.CLOSE,
    messages.LOCAL_BREACH,
)


def recover(journal: "Any") -> "int | None":
    """Fill a new journal from its folder, and close what was left open.

    Returns the number of the session that was closed, or None.
    """
    _load_state(journal)
    last, samples = _scan(journal)
    _understand_tail(journal, _decode(last), _decode(samples))
    session = journal.open_session
    if not session:
        return None
    fields = (
        journal.next_seq,
        journal.open_t_ms,
        session,
        messages.CLOSED_BY_POWER_LOSS,
        0,
        None,
        0,
    )
    journal.append(messages.encode_record(messages.CLOSE, fields))
    journal.open_session = 0
    return session


def _load_state(journal: "Any") -> None:
    for name in STATE_FILES:
        data = journal.folder.read(name)
        numbers = _state_numbers(data) if data is not None else None
        if numbers is not None and numbers[0] > journal.version:
            journal.version, journal.boot, journal.session = numbers[:3]
            journal.open_session, journal.open_t_ms = numbers[3:5]
            journal.durable_seq, journal.next_seq = numbers[5:]


def _state_numbers(data: bytes) -> "list[int] | None":
    """The numbers of one copy of the state, or None if it is damaged."""
    found = frames.Reader(BytesIO(data), len(data)).next(1)
    if found is None:
        return None
    try:
        numbers = cbor.decode(found[1])
    except ProtocolError:
        return None
    return numbers if isinstance(numbers, list) and len(numbers) == _STATE_NUMBERS else None


def _scan(journal: "Any") -> "tuple[bytes | None, bytes | None]":
    """Find segments and the next seq. Returns what is newer than the state and tells most.

    That is the payloads of the last record that belongs to a session, and of the last samples.
    """
    numbers = []
    for name in journal.folder.names():
        if len(name) == 12 and name.endswith(".log"):
            numbers.append(int(name[:8], 16))
    numbers.sort()
    known_seq = journal.next_seq  # the state has seen everything before this
    least_seq = 1
    skipped = 0
    last = samples = None
    for number in numbers:
        journal.numbers.append(number)
        with journal.folder.open(segment_name(number), "rb") as file:
            reader = frames.Reader(file, file.seek(0, 2))
            found = reader.next(least_seq)
            journal.firsts.append(found[0] if found else least_seq)
            while found is not None:
                seq, payload = found
                least_seq = seq + 1
                skipped = 0
                kind = payload[1] if len(payload) > 1 else 0
                if seq >= known_seq and kind in _KINDS_OF_SESSION:
                    last = payload
                    if kind == messages.SAMPLES:
                        samples = payload
                found = reader.next(least_seq)
            if reader.damaged_bytes:
                skipped += 1 + reader.damaged_bytes // _LEAST_RECORD_BYTES
    journal.next_seq = max(known_seq, least_seq + skipped)
    return last, samples


def _understand_tail(journal: "Any", last: "Any", samples: "Any") -> None:
    """Bring the journal's `session`, `open_session` and `open_t_ms` up to its last record."""
    if last is None:
        return
    journal.session = max(journal.session, last.session)
    if last.kind == messages.CLOSE:
        journal.open_session = 0
        return
    if samples is not None and samples.session == last.session:
        journal.open_t_ms = Readings(samples).t_ms[-1]
    elif journal.open_session != last.session:
        journal.open_t_ms = last.t_ms
    journal.open_session = last.session


def _decode(payload: "bytes | None") -> "Any":
    if payload is None:
        return None
    try:
        return decode_record(payload)
    except ProtocolError:  # good CRC, so we wrote it: a later firmware did, with fields we lack
        return None
