"""What a boot finds in flash: the journal's numbers, and the session that was left open.

Strategy: take the newest good copy of the state, then read the newest segment, and those before it
only until the open session's last readings are found. How numbering goes on after a torn or a damaged
end is said in journal.py. Nothing is written until all is understood, so a power cut during recovery
changes nothing, and after an OSError it may be called again.

A session does not outlive its boot: one found open gets its `close` (power lost) before the new
`boot` record, with the time of its last stored reading. The pen's own count went with its power, so
the figures are 0 and null; the verdict never used them. Main forgets this module afterwards.
"""

from array import array
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
_STATE_MAX_BYTES = 256
_ENOENT = 2
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
    failure = None
    for name in STATE_FILES:
        try:
            with journal.folder.open(name, "rb") as file:
                numbers = _state_numbers(file.read(_STATE_MAX_BYTES))
        except OSError as error:
            if error.args[0] != _ENOENT:
                failure = error
            continue
        if numbers is not None and numbers[0] > journal.version:
            journal.version, journal.boot, journal.session = numbers[:3]
            journal.open_session, journal.open_t_ms = numbers[3:5]
            journal.durable_seq, journal.next_seq = numbers[5:]
    if failure is not None and not journal.version:
        raise failure  # a boot number would be used twice


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
    firsts = array(
        "I", sorted([int(name[:8], 16) for name in journal.folder.names() if name.endswith(".log")])
    )
    journal.firsts = firsts
    journal.out_bytes = 0
    known_seq = journal.next_seq  # the state has seen everything before this
    last = samples = None
    end = 0xFFFFFFFF
    for index in range(len(firsts) - 1, -1, -1):
        seq = first = firsts[index]
        here = samples_here = None
        with journal.folder.open(segment_name(first), "rb") as file:
            reader = frames.Reader(file, file.seek(0, 2))
            found = reader.next(first)
            while found is not None and found[0] < end:
                seq = found[0] + 1
                kind = found[1][1] if len(found[1]) > 1 else 0
                if seq > known_seq and kind in _KINDS_OF_SESSION:
                    here = found[1]
                    if kind == messages.SAMPLES:
                        samples_here = here
                found = reader.next(seq)
        if index == len(firsts) - 1:
            if reader.damaged_bytes:
                seq += 1 + reader.damaged_bytes // _LEAST_RECORD_BYTES
            elif seq > first and not reader.is_torn:
                journal.out_bytes = reader.size
            journal.next_seq = max(known_seq, seq)
        last = last or here
        samples = samples or samples_here
        end = first
        if first <= known_seq or samples is not None or (last and last[1] == messages.CLOSE):
            break
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
