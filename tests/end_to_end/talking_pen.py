"""A pen without its sensors: journal, uplink, lanes and streams as in the firmware, on MicroPython.

`micropython talking_pen.py SETTINGS.json`. It connects, and writes a record every `every_ms` until the
file `stop` is there; when everything is committed it ends, exit 0. Each event is a line of JSON on
standard output. The settings: protocol, device (folders), flash, clinic, pen, epoch, key, host, port,
ca (a file, or null: no TLS), backlog (records before it connects), every_ms, stop.
"""

import asyncio
import json
import os
import random
import sys
import time
from binascii import unhexlify


class Settings:
    broker_username = None
    broker_password = None

    def __init__(self, path):
        with open(path) as file:
            values = json.loads(file.read())
        for name in values:
            setattr(self, name, values[name])


class Watch:
    """Milliseconds, and the longest time that one call took."""

    def __init__(self):
        self._begin_s = time.time()
        self.longest_ms = 0.0

    def now_ms(self):
        return int((time.time() - self._begin_s) * 1000)

    def around(self, call):
        def timed(*arguments):
            begin_s = time.time()
            try:
                return call(*arguments)
            finally:
                self.longest_ms = max(self.longest_ms, (time.time() - begin_s) * 1000)

        return timed


def record(seq):
    """A record that needs no session."""
    from needletrail_protocol import messages

    if seq == 1:
        return messages.encode_record(messages.BOOT, (seq, 0, 1, None, "0.1.0", "talking pen"))
    return messages.encode_record(messages.FAULT, (seq, seq, "dial", "number %d" % seq, seq % 2))


def tell(event, *pairs):
    line = {"event": event, "at": time.time()}
    for name, value in pairs:
        line[name] = value
    sys.stdout.write(json.dumps(line) + "\n")
    if hasattr(sys.stdout, "flush"):
        sys.stdout.flush()


def exists(path):
    try:
        os.stat(path)
    except OSError:
        return False
    return True


async def talk(settings):
    from needletrail_device import connection, streams, uplink
    from needletrail_device.folder import Folder
    from needletrail_device.journal import Journal
    from needletrail_device.limits import Limits
    from needletrail_protocol import authentication, topics

    watch = Watch()
    key = authentication.MacKey(unhexlify(settings.key), settings.epoch)
    folder = Folder(settings.flash)
    journal = Journal(folder)
    journal.boot = 1
    grant_topic = topics.build(settings.clinic, settings.pen, topics.GRANT)
    external = authentication.external_data(grant_topic, settings.pen, settings.epoch)
    up = uplink.Uplink(
        settings,
        key,
        journal,
        0,
        Limits(folder, key, external),
        tell,
        lambda alert: tell("alert", ("code", alert.code)),
        lambda: tell("grant"),
        1,
        lambda: (watch.now_ms(), None),
    )
    context = None
    if settings.ca is not None:
        with open(settings.ca, "rb") as file:
            context = streams.pinned(file.read())

    async def open_stream():
        begin_ms = watch.now_ms()
        pair = await streams.open_stream(settings.host, settings.port, context)
        tell("open", ("took_ms", watch.now_ms() - begin_ms))
        return pair

    while journal.next_seq <= settings.backlog:
        journal.append(record(journal.next_seq))
    link = connection.Connection(up, open_stream, watch.now_ms, tell, lambda: None)
    link.outbound = watch.around(link.outbound)
    link.feed = watch.around(link.feed)
    running = asyncio.create_task(link.run(random.random))
    while not (exists(settings.stop) and up.is_all_committed()):
        if not exists(settings.stop):
            journal.append(record(journal.next_seq))
        await asyncio.sleep(settings.every_ms / 1000)
        if running.done():
            await running
    up.disconnect()
    await asyncio.sleep(0.05)
    running.cancel()
    journal.close()
    tell("done", ("records", journal.next_seq - 1), ("longest_ms", watch.longest_ms))


def main():
    settings = Settings(sys.argv[1])
    sys.path[:0] = [settings.protocol, settings.device]
    random.seed(int.from_bytes(os.urandom(4), "big"))
    asyncio.run(talk(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
