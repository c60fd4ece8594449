"""A pen that was offline for hours, and now a breach: what the clinic hears, and when. MicroPython.

`micropython backlog_pen.py SETTINGS.json`, as talking_pen.py, and: backlog_s, seconds of treatment that
wait in the journal (one session; its readings are within the limit); breach_at, when so many records
are acknowledged a second session begins in which the limit is passed, all of it written by the
recorder; is_urgent, false: its mark on the breach is taken away again; calibration,
reading_tolerance_um, as in pen.json; within_counts, over_counts, of the dial; badge, cartridges, tags.
When everything is committed it ends. It tells `breach` and `alert` with the time.
"""

import asyncio
import random
import sys
import time

from talking_pen import Settings, Watch, tell

PERIOD_MS = 20
READINGS = 50


class Dial:
    """What a recorder asks of pen.json."""

    without_grant = "warn"

    def __init__(self, settings):
        from needletrail_protocol.measure import Calibration

        self.calibration = Calibration([(p[0], p[1]) for p in settings.calibration])
        self.reading_tolerance_um = settings.reading_tolerance_um


def nothing(*_rest):
    """Light, buzz and lines that nobody looks at here."""


class Hand:
    """Readings, one after the other, into a recorder."""

    def __init__(self, recorder, settings):
        self.recorder = recorder
        self.t_ms = 0
        self.strokes = 0
        self._settings = settings

    def begin(self, serial):
        from binascii import unhexlify

        self.recorder.badge_read(self.t_ms, unhexlify(self._settings.badge))
        self.recorder.cartridge_arrived(self.t_ms, unhexlify(self._settings.cartridges[serial]))

    def work(self, seconds, counts, strokes=2, contact_adc=3000):
        for number in range(seconds * READINGS):
            self.t_ms += PERIOD_MS
            self.strokes += strokes
            self.recorder.reading(self.t_ms, counts + number * 7 % 5, self.strokes, contact_adc)

    def end(self):
        self.work(1, self._settings.within_counts, 0, 0)
        self.recorder.cartridge_removed(self.t_ms)
        self.work(1, self._settings.within_counts, 0, 0)


async def talk(settings):
    from binascii import unhexlify

    from needletrail_device import connection, streams, uplink
    from needletrail_device.folder import Folder
    from needletrail_device.journal import Journal
    from needletrail_device.limits import Limits
    from needletrail_device.recorder import Recorder
    from needletrail_protocol import authentication, topics

    watch = Watch()
    key = authentication.MacKey(unhexlify(settings.key), settings.epoch)
    folder = Folder(settings.flash)
    journal = Journal(folder)
    journal.boot = 1
    grant_topic = topics.build(settings.clinic, settings.pen, topics.GRANT)
    external = authentication.external_data(grant_topic, settings.pen, settings.epoch)
    limits = Limits(folder, key, external)
    recorder = Recorder(Dial(settings), journal, limits, PERIOD_MS, nothing, nothing)
    hand = Hand(recorder, settings)
    told = []

    def hear(session, code):
        told.append(code)
        tell("alert", ("code", code), ("acked", up.acked_seq))
        recorder.alert(session, code)

    up = uplink.Uplink(
        settings,
        key,
        journal,
        0,
        limits,
        tell,
        hear,
        recorder.grant_changed,
        1,
        lambda: (watch.now_ms(), None),
    )
    recorder.boot(None, "backlog pen")
    recorder.begin(0)
    hand.begin(0)
    hand.work(settings.backlog_s, settings.within_counts)
    hand.end()
    tell("filled", ("records", journal.next_seq - 1))

    async def open_stream():
        return await streams.open_stream(settings.host, settings.port)

    link = connection.Connection(up, open_stream, watch.now_ms, tell, lambda: None)
    running = asyncio.create_task(link.run(random.random))
    while up.acked_seq < settings.breach_at:
        await asyncio.sleep(0.001)
        if running.done():
            await running
    ready_s = time.time()
    hand.begin(1)
    hand.work(1, settings.over_counts)
    if not settings.is_urgent:
        journal.urgent = None
    tell("breach", ("acked", up.acked_seq), ("seq", journal.next_seq - 1))
    hand.end()
    while not (up.is_all_committed() and told):
        await asyncio.sleep(0.005)
        if running.done():
            await running
    tell("drained", ("took_s", time.time() - ready_s), ("records", journal.next_seq - 1))
    up.disconnect()
    await asyncio.sleep(0.05)
    running.cancel()
    journal.close()


def main():
    settings = Settings(sys.argv[1])
    sys.path[:0] = [settings.protocol, settings.device]
    asyncio.run(talk(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
