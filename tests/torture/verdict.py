"""What must hold after a cut: every record is there whose append returned, and nothing was invented.

`expect` says, for a cut within one operation of a story, what must and what may be found.
`boot_and_judge` is the power-on after it, on the real littlefs: mount, recover, read everything, save,
append, read that.
"""

# ruff: noqa: B904, RUF005, UP031
# This file also runs on MicroPython, which lacks what these rules ask for.

from needletrail_device.recovery import recover
from needletrail_protocol import messages
from needletrail_protocol.readings import Readings, decode_record
from torture import filesystem, flash, workload


class Finding(Exception):
    """Something that must not be, in words."""


class Expected:
    """What a boot may find, for a cut within one operation.

    records: [(seq, payload)] whose append had returned; those up to `dropped_seq` may be gone.
    possible: the record under way, or None. saved, saving: (boot, session, durable_seq) as the state
    had been saved, and as it was just being saved, or None. grants: what the grant's file may hold.
    """

    def __init__(self, records, possible, dropped_seq, saved, saving, grants):
        self.grants = grants
        self.records = records
        self.possible = possible
        self.dropped_seq = dropped_seq
        self.known = dict(records)
        self.states = [saved] if saving is None else [saved, saving]
        self.last_seq = records[-1][0] if records else 0
        self.open = _open_session(records)
        self.open_with_possible = _open_session(records + [possible]) if possible else None
        self.session_least = max(saved[1], _highest_session(records))
        self.session_most = max(
            self.session_least, self.states[-1][1], _highest_session([possible] if possible else [])
        )


def expect(story, index):
    """Expected for a cut within operation `index`."""
    notes = story.notes
    records = []
    possible = None
    for start, end, seq, payload in notes.appends:
        if end <= index:
            records.append((seq, payload))
        elif start <= index:
            possible = (seq, payload)
    dropped_seq = 0
    for start, seq in notes.acknowledgements:
        if start <= index:
            dropped_seq = max(dropped_seq, seq)
    saved = (0, 0, 0)
    saving = None
    for start, end, state in notes.saves:
        if end <= index:
            saved = state
        elif start <= index:
            saving = state
    grants = [None]
    for start, end, content in notes.grants:
        if end <= index:
            grants = [content]
        elif start <= index:
            grants.append(content)
    return Expected(records, possible, dropped_seq, saved, saving, grants)


def boot_and_judge(image, expected, geometry, segment_max_bytes, log=None):
    """Power on with that image. Returns the notes and what comes of it; raises Finding.

    The image is altered. With `log` a list, the operations of this power-on are written down there,
    and the pen goes on a little longer, so that there is more to cut: it acknowledges all but one.
    """
    medium = flash.Flash(image, log)
    notes = workload.Notes()
    try:
        mounted = filesystem.Mounted(medium, geometry)
    except OSError as error:
        raise Finding("the file system cannot be mounted: error %d" % error.args[0])
    try:
        return _power_on(mounted, medium, expected, segment_max_bytes, notes)
    except OSError as error:
        raise Finding("an error of the file system: %r" % error)
    finally:
        mounted.unmount()


def _power_on(mounted, medium, expected, segment_max_bytes, notes):
    journal = workload.NotedJournal(mounted, segment_max_bytes, medium, notes)
    closed = recover(journal)
    state = (journal.boot, journal.session, journal.durable_seq)
    records = _judge_records(read_all(journal), expected, journal, closed)
    _judge_numbers(journal, expected)
    grant = _content(mounted, workload.GRANT)
    _must(grant in expected.grants, "the grant is neither the old one nor the new one")
    notes.grants.append((0, 0, grant))
    journal.boot += 1
    journal.save()
    payload = workload.boot_record(journal)
    seq = journal.append(payload)
    _must(journal.read(seq) == (seq, payload), "the first record after the cut cannot be read")
    if medium.log is not None:
        journal.acknowledge(journal.next_seq - 2)
        journal.append(workload.boot_record(journal))
        notes.saves.insert(0, (0, 0, state))
    return notes, records


def _content(mounted, name):
    if name not in mounted.names():
        return None
    with mounted.open(name, "rb") as file:
        return file.read(4096)


def _must(is_so, cause):
    if not is_so:
        raise Finding(cause)


def read_all(journal):
    """Every record that the journal gives."""
    found = []
    record = journal.read(1)
    while record is not None:
        found.append(record)
        record = journal.read(record[0] + 1)
    return found


def _judge_records(found, expected, journal, closed):
    """All that must be there is there, and nothing else. Returns all records that now exist."""
    closing = found.pop() if closed is not None and found else None
    possible = expected.possible
    is_possible_found = possible is not None and bool(found) and found[-1] == possible
    session, times_ms = expected.open
    last_seq = expected.last_seq
    records = expected.records
    if is_possible_found:
        found.pop()
        session, times_ms = expected.open_with_possible
        last_seq = possible[0]
        records = records + [possible]
    known = expected.known
    for seq, payload in found:
        _must(known.get(seq) == payload, "record %d was never appended, or not so" % seq)
    kept = set([seq for seq, _ in found])
    _must(len(kept) == len(found), "a record was read twice")
    for seq in known:
        _must(seq in kept or seq <= expected.dropped_seq, "record %d is lost" % seq)
    _must(closed == (session or None), "session %r was closed, %r was open" % (closed, session))
    if closing is not None:
        last_seq += 1
        _must(closing[0] == last_seq, "the close has seq %d, not %d" % (closing[0], last_seq))
        record = decode_record(closing[1])
        _must(record.kind == messages.CLOSE, "what was written is no close")
        _must(record.session == session, "the close is of another session")
        _must(record.t_ms in times_ms, "the close is at %d, not %r" % (record.t_ms, times_ms))
        records = records + [closing]
    _must(journal.next_seq == last_seq + 1, "next is %d after %d" % (journal.next_seq, last_seq))
    return records


def _open_session(records):
    """(the session that these records leave open or 0, the times its end may have)."""
    session = 0
    times_ms = set()
    for _, payload in reversed(records):
        if payload[1] in (messages.BOOT, messages.ALERT_SHOWN):
            continue
        record = decode_record(payload)
        if not session:
            if record.kind == messages.CLOSE:
                break
            session = record.session
        if record.session != session:
            break
        if record.kind == messages.SAMPLES:
            return session, set([Readings(record).t_ms[-1]])
        times_ms.add(record.t_ms)
    return session, times_ms


def _highest_session(records):
    found = [decode_record(payload).session for _, payload in records if payload[1] == messages.OPEN]
    return max(found + [0])


def _judge_numbers(journal, expected):
    states = expected.states
    _must(journal.boot in [state[0] for state in states], "boot %d comes again" % journal.boot)
    _must(
        journal.durable_seq in [state[2] for state in states],
        "%d is not what was acknowledged" % journal.durable_seq,
    )
    _must(
        expected.session_least <= journal.session <= expected.session_most,
        "session %d comes again" % journal.session,
    )


def continued(story, image, log, notes, records, expected):
    """The story of the power-on after a cut: what it found had been there before."""
    whole = workload.Notes()
    written = [note[2] for note in notes.appends]
    whole.appends = [(0, 0, seq, payload) for seq, payload in records if seq not in written]
    whole.appends += notes.appends
    whole.acknowledgements = [(0, expected.dropped_seq)] + notes.acknowledgements
    whole.saves = notes.saves
    whole.grants = notes.grants
    return workload.Story(story.geometry, story.segment_max_bytes, image, log, whole)
