"""What a reading costs: `micropython pen_loop.py KIND TAPE ROWS DEVICE PROTOCOL` prints one JSON line.

KIND is `empty`: a loop of asyncio that only lets others go first, once for each reading; `plain`: the
same, and each reading goes through sampler, ring and recorder; `guard`: the same with the guard beside
the sampler. Records are made and counted, and go nowhere. CPU time, after the tape has been read.
"""

# ruff: noqa: ARG002, B905, PLC0415, PTH123
# MicroPython runs this: it lacks pathlib and zip(strict=), and imports when it knows from where.

import asyncio
import gc
import json
import sys
import time
from array import array
from binascii import unhexlify

PERIOD_MS = 20
CALIBRATION = ((410, 0), (1010, 500), (1625, 1000), (2230, 1500), (2860, 2000), (3480, 2500))
GC_THRESHOLD_BYTES = 4096  # the firmware's


class Config:
    reading_tolerance_um = 30
    without_grant = "warn"


class Limits:
    """A grant in force, and a limit that nobody exceeds."""

    issued_utc_ms = 1
    rules = 0
    is_hard = False
    fault = None

    def is_expired(self, utc_ms):
        return False

    def is_listed(self, utc_ms):
        return True

    def limit_um(self, badge, utc_ms):
        return 2500


class Journal:
    """Counts records and their bytes."""

    boot = next_seq = 1
    session = open_session = open_t_ms = 0

    def __init__(self):
        self.size_bytes = 0

    def append(self, payload):
        self.size_bytes += len(payload)
        self.next_seq += 1
        return self.next_seq - 1

    def may_arm(self):
        return True

    def is_warning(self):
        return False


class Tape:
    """Rows in arrays, and the row that the sensors say now."""

    def __init__(self, path, count):
        self.now = 0
        self.t_ms = array("I", [0] * count)
        self.columns = (array("H", self.t_ms), array("I", self.t_ms), array("H", self.t_ms))
        self.events = {}
        with open(path) as file:
            for _ in range(5):
                file.readline()
            for index in range(count):
                t_ms, dial, strokes, contact, event = file.readline().strip().split(",")
                self.t_ms[index] = int(t_ms)
                for column, text in zip(self.columns, (dial, strokes, contact)):
                    column[index] = int(text)
                if event:
                    self.events[index] = event

    def ticks_ms(self):
        return self.t_ms[self.now]

    def dial(self):
        return self.columns[0][self.now]

    def strokes(self, _t_ms):
        return self.columns[1][self.now]

    def skin(self, _t_ms):
        return self.columns[2][self.now]


def difference(now, before):
    return now - before


def nothing(*_told):
    pass


async def empty(count):
    for _ in range(count):
        await asyncio.sleep(0)


async def record(tape, count, ring, sampler, recorder):
    tick = sampler.tick
    for index in range(count):
        tape.now = index
        if index in tape.events:
            kind, _, tag = tape.events[index].partition(":")
            if kind == "badge":
                recorder.badge_read(tape.t_ms[index], unhexlify(tag))
            elif kind == "cartridge":
                recorder.cartridge_arrived(tape.t_ms[index], unhexlify(tag))
        tick()
        while ring.take():
            recorder.reading(ring.t_ms, ring.counts, ring.strokes, ring.contact_adc)
        await asyncio.sleep(0)


def main():
    kind, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    sys.path[:0] = sys.argv[4:6]
    told = {"readings": count}
    if kind == "empty":
        work = empty(count)
    else:
        from needletrail_device.guard import Guard
        from needletrail_device.recorder import Recorder
        from needletrail_device.sampling import Ring, Sampler
        from needletrail_protocol.measure import Calibration

        tape = Tape(path, count)
        guard = Guard(nothing, nothing) if kind == "guard" else None
        ring = Ring()
        sampler = Sampler(ring, tape.dial, tape.strokes, tape.skin, tape.ticks_ms, difference, guard)
        journal = Journal()
        Config.calibration = Calibration(list(CALIBRATION))
        recorder = Recorder(Config, journal, Limits(), PERIOD_MS, nothing, nothing, None, guard)
        recorder.boot(None, "bench")
        recorder.begin(0)
        work = record(tape, count, ring, sampler, recorder)
    gc.collect()
    gc.threshold(GC_THRESHOLD_BYTES)
    begin_s = time.clock()
    asyncio.run(work)
    told["us_a_sample"] = (time.clock() - begin_s) * 1e6 / count
    if kind != "empty":
        told["records"] = journal.next_seq - 1
        told["lost"] = ring.lost
    print(json.dumps(told))


main()
