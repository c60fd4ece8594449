"""What a pen does with its journal, written down so that a cut anywhere in it can be judged.

A `Story` is a short life of a pen: boots, sessions, alerts, records read and acknowledged, power taken
away. It is told by the real journal on a real littlefs; each call is noted with the operations of the
medium that it took. So for a cut at any operation it is known what had returned (and must be there),
what was under way (and may be there, whole) and what the journal may have dropped.
"""

# ruff: noqa: RUF005
# This file also runs on MicroPython, which lacks what these rules ask for.

from needletrail_device.journal import Journal
from needletrail_device.recovery import recover
from needletrail_protocol import messages
from torture import filesystem, flash

IMAGE_BLOCKS = 16
GRANT = "grant"
SEGMENTS_MAX = 5  # of one block each; littlefs needs room beside them


class Dice:
    """Chance that follows from a seed, the same on both interpreters."""

    def __init__(self, seed):
        self._state = (seed * 2654435761 + 88172645463325252) & 0xFFFFFFFFFFFFFFFF or 1

    def below(self, count):
        """A number from 0 to count - 1."""
        state = self._state
        state ^= (state << 13) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 7
        state ^= (state << 17) & 0xFFFFFFFFFFFFFFFF
        self._state = state
        return (state >> 11) % count


class Notes:
    """What was asked of a journal, with the operations done before (start) and after (end)."""

    def __init__(self):
        self.appends = []  # (start, end, seq, payload)
        self.saves = []  # (start, end, (boot, session, durable_seq))
        self.acknowledgements = []  # (start, seq)
        self.grants = []  # (start, end, content)


class NotedJournal(Journal):
    """The journal, with a witness."""

    def __init__(self, folder, segment_max_bytes, medium, notes):
        super().__init__(folder, segment_max_bytes)
        self._medium = medium
        self._notes = notes

    def _now(self):
        return len(self._medium.log) if self._medium.log is not None else 0

    def append(self, payload):
        notes = self._notes
        start = self._now()
        notes.appends.append((start, 1 << 30, self.next_seq, payload))
        seq = super().append(payload)
        notes.appends[-1] = (start, self._now(), seq, payload)
        return seq

    def save(self):
        notes = self._notes
        start = self._now()
        state = (self.boot, self.session, self.durable_seq)
        notes.saves.append((start, 1 << 30, state))
        super().save()
        notes.saves[-1] = (start, self._now(), state)

    def acknowledge(self, seq):
        self._notes.acknowledgements.append((self._now(), seq))
        super().acknowledge(seq)


class Story:
    """`image` as it was before operation 0 of `log`, and the `notes` of the time since."""

    def __init__(self, geometry, segment_max_bytes, image, log, notes):
        self.geometry = geometry
        self.segment_max_bytes = segment_max_bytes
        self.image = image
        self.log = log
        self.notes = notes


class Pen:
    """A pen without its sensors: what the recorder and the uplink do to the journal."""

    def __init__(self, medium, geometry, segment_max_bytes, notes, dice, is_new):
        self._medium = medium
        self._geometry = geometry
        self._segment_max_bytes = segment_max_bytes
        self._notes = notes
        self._dice = dice
        self._t_ms = 0
        self._read_seq = 0
        self.mounted = filesystem.Mounted(medium, geometry, is_new)
        self.journal = None

    def boot(self):
        self._t_ms = 0
        self.journal = journal = NotedJournal(
            self.mounted, self._segment_max_bytes, self._medium, self._notes
        )
        recover(journal)
        journal.boot += 1
        journal.save()
        journal.append(boot_record(journal))

    def power_cycle(self):
        if self._dice.below(2):
            self.journal.close()
        log, self._medium.log = self._medium.log, None
        image = bytes(self._medium.image)
        self.mounted.unmount()  # gives memory back; whatever it wrote, the cut was before
        self._medium.image[:] = image
        self._medium.log = log
        self.mounted = filesystem.Mounted(self._medium, self._geometry)
        self.boot()

    def step(self):
        """One thing that pens do."""
        dice = self._dice.below(16)
        journal = self.journal
        self._t_ms += 20 + self._dice.below(2000)
        if len(journal.firsts) > SEGMENTS_MAX - 1:
            self.acknowledge(journal.next_seq - 1)
        elif dice == 0:
            self.power_cycle()
        elif dice == 1:
            fields = (journal.next_seq, self._t_ms, 1, "HARD_LIMIT")
            journal.append(record(messages.ALERT_SHOWN, fields))
        elif dice < 4:
            self.acknowledge(self._read_seq)
        elif dice < 6:
            found = journal.read(self._read_seq + 1)
            while found is not None:
                self._read_seq = found[0]
                found = journal.read(self._read_seq + 1)
        elif dice == 8:
            self._take_grant()
        elif not journal.open_session:
            journal.session += 1
            journal.open_session = journal.session
            journal.open_t_ms = self._t_ms
            self._append(messages.OPEN, (1, None, b"tag " * self._dice.below(20), [500, 501], 7))
        elif dice == 6:
            self._append(messages.BADGE, (b"another " * self._dice.below(30),))
        elif dice == 7:
            self._append(messages.CLOSE, (0, 3, 500, 0))
            journal.open_session = 0
        else:
            self._samples()

    def session_of(self, records):
        """One session, of so many samples records."""
        journal = self.journal
        journal.session += 1
        journal.open_session = journal.session
        self._append(messages.OPEN, (1, None, None, [], 0))
        for _ in range(records):
            self._t_ms += 1000
            self._samples()
        self._append(messages.CLOSE, (0, 3, 500, 0))
        journal.open_session = 0

    def acknowledge(self, seq):
        self._read_seq = max(self._read_seq, seq)
        if seq >= self.journal.durable_seq:
            self.journal.acknowledge(seq)

    def _take_grant(self):
        """As limits.Limits does it: beside the old one, then renamed over it."""
        content = b"grant %d " % self._t_ms * (1 + self._dice.below(60))
        note = self._notes.grants
        start = len(self._medium.log) if self._medium.log is not None else 0
        note.append((start, 1 << 30, content))
        self.mounted.write("grant.new", content)
        self.mounted.rename("grant.new", GRANT)
        note[-1] = (start, len(self._medium.log) if self._medium.log is not None else 0, content)

    def _append(self, kind, fields):
        journal = self.journal
        journal.append(record(kind, (journal.next_seq, self._t_ms, journal.session) + fields))

    def _samples(self):
        journal = self.journal
        count = 1 + self._dice.below(30)
        times_ms = [self._t_ms + 20 * i for i in range(count)]
        dial = [500 + self._dice.below(9) for _ in range(count)]
        self._t_ms = journal.open_t_ms = times_ms[-1]
        journal.append(
            messages.encode_samples(
                journal.next_seq,
                journal.session,
                count,
                20,
                times_ms,
                dial,
                9,
                [9] * count,
                [True] * count,
            )
        )


def boot_record(journal):
    """The record that begins a power-on."""
    fields = (journal.next_seq, 0, journal.boot, None, "test", "virtual")
    return record(messages.BOOT, fields)


def record(kind, fields):
    """A record's payload; fields that are left out at the end are null."""
    missing = len(messages.RECORD_FIELDS[kind]) - len(fields)
    return messages.encode_record(kind, fields + (None,) * missing)


def tell(seed, geometry, segment_max_bytes, steps, unseen_steps):
    """A story of `steps` steps, after a life of `unseen_steps` that is not cut."""
    dice = Dice(seed)
    notes = Notes()
    medium = flash.Flash(flash.empty_image(IMAGE_BLOCKS))
    pen = Pen(medium, geometry, segment_max_bytes, notes, dice, True)
    image = bytes(medium.image)
    if unseen_steps:
        pen.boot()
        for _ in range(unseen_steps):
            pen.step()
        image = bytes(medium.image)
    medium.log = []
    if not unseen_steps:
        pen.boot()
    for _ in range(steps):
        pen.step()
    log, medium.log = medium.log, None
    pen.mounted.unmount()
    return Story(geometry, segment_max_bytes, image, log, notes)
