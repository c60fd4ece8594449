"""A recorder with its journal, its grant and what it drives, all real but for flash and sensors."""

# For both interpreters.

from pen_fakes import KEY, MemoryFolder, external

from needletrail_device.journal import Journal
from needletrail_device.limits import Limits
from needletrail_device.recorder import Recorder
from needletrail_protocol import topics
from needletrail_protocol.measure import Calibration
from needletrail_protocol.readings import Readings, decode_record

CONTACT, AIR = 3000, 900
RESERVE_BYTES = 1000
SAMPLES = 3


class Settings:
    calibration = Calibration([(400, 0), (1400, 1000)])
    reading_tolerance_um = 30
    without_grant = "warn"


class Strict(Settings):
    without_grant = "refuse"


class Pen:
    """A recorder and its sensors. `run` feeds readings, 20 ms apart.

    `motor` holds what the interlock was told; `guard` is stepped before the recorder sees a reading.
    """

    def __init__(self, grant=None, settings=Settings, has_interlock=False, guard=None, folder=None):
        self.folder = folder or MemoryFolder()
        self.journal = Journal(self.folder, 16368, RESERVE_BYTES)
        self.journal.boot = 1
        self.limits = Limits(self.folder, KEY, external(topics.GRANT))
        if grant is not None:
            self.limits.offer(grant)
        self.shown = []
        self.told = []
        self.motor = []
        self.guard = guard
        self.recorder = Recorder(
            settings(),
            self.journal,
            self.limits,
            20,
            self.shown.append,
            self.tell,
            self.motor.append if has_interlock else None,
            guard,
        )
        self.recorder.begin(0)
        self.t_ms = 0
        self.strokes = 0

    def tell(self, event, *pairs):
        self.told.append(event)

    def run(self, count, counts=500, adc=AIR, motor=False, event=None, tag=b""):
        """`count` readings; the event belongs to the first one's row."""
        for _ in range(count):
            if event is not None:
                if event == "removed":
                    self.recorder.cartridge_removed(self.t_ms)
                elif event == "badge":
                    self.recorder.badge_read(self.t_ms, tag)
                else:
                    self.recorder.cartridge_arrived(self.t_ms, tag)
                event = None
            if motor:
                self.strokes += 2
            if self.guard is not None:
                self.guard.step(self.t_ms, counts, self.strokes, adc)
            self.recorder.reading(self.t_ms, counts, self.strokes, adc)
            self.t_ms += 20

    def take_grant(self, message):
        """A grant comes from the gateway."""
        if self.limits.offer(message):
            self.recorder.grant_changed()

    def records(self):
        found = []
        for seq in range(1, self.journal.next_seq):
            found.append(decode_record(self.journal.read(seq)[1]))
        return found

    def kinds(self):
        return [record.kind for record in self.records()]

    def of(self, kind):
        return [record for record in self.records() if record.kind == kind]

    def times(self, session=1):
        times = []
        for record in self.of(SAMPLES):
            if record.session == session:
                times += Readings(record).t_ms
        return times
