"""The firmware's composition root: `main()` is one power-on.

The only file that knows of sockets, processes and clocks. An update that lies in flash comes first,
while the heap is empty. Then two tasks: the sampler hears the board and never waits for the network;
the connection's task connects, moves bytes, and connects again. Everything is built here, passed in.

Exit: 0 all records committed, 2 a file that a person must mend, 3 the records could not be delivered in
time (they stay in flash for the next run), 4 an update was installed: start again. On a board whatever
ends here starts anew.
"""

# ruff: noqa: PLC0415
# A module is imported when its turn comes: the order decides how much heap compiling needs.

import asyncio
import gc
import json
import os
import random
import sys
import time
from binascii import crc32

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

LOW = "low"  # drivers.faults: a battery that is low has not failed
EXIT_DONE, EXIT_INPUT, EXIT_UNDELIVERED, EXIT_RESTART = 0, 2, 3, 4
IDLE_S = 0.01  # how long the uplink's task sleeps when there is nothing to send
LINGER_MS = 300  # after the last acknowledgement: an alert may still be on its way
GRANT_GRACE_MS = 2000  # a grant in flash will do if none comes within this time of the first ack
GC_THRESHOLD_BYTES = 4096
CLOCK_SET_YEAR = 2026  # a clock before that was never set
UNIX_2000_S = 946_684_800  # 1 January 2000, where some ports begin to count
COMPUTERS = ("linux", "darwin", "win32")  # where somebody types a command
# Compiling takes four times a module's size for a moment: so the large ones come first.
LARGE_MODULES = (
    "needletrail_protocol.messages",
    "needletrail_device.uplink",
    "needletrail_device.recorder",
    "needletrail_device.journal",
)


def _here() -> str:
    """The folder of this file."""
    return __file__.rsplit("/", 1)[0] if "/" in __file__ else "."


def _add_paths() -> None:
    here = _here()
    if "/slots/" in here:
        return  # main.py has put the slot first, and nothing else may be borrowed
    protocol = os.getenv("NEEDLETRAIL_PROTOCOL") or here + "/../protocol"
    for path in (protocol, here):
        if path not in sys.path:
            sys.path.insert(0, path)


class Clock:
    """Milliseconds since power-on, from a counter that may wrap."""

    def __init__(self) -> None:
        self._ticks_ms = getattr(time, "ticks_ms", None)
        self._last = self._ticks_ms() if self._ticks_ms else time.monotonic_ns() // 1000000
        self._now_ms = 0

    def now_ms(self) -> int:
        """Never falls."""
        if self._ticks_ms:
            ticks = self._ticks_ms()
            self._now_ms += time.ticks_diff(ticks, self._last)
            self._last = ticks
            return self._now_ms
        return time.monotonic_ns() // 1000000 - self._last


def _forget(*names: str) -> None:
    """Modules that have done their work give back their part of the heap."""
    for name in names:
        if name in sys.modules:
            parent, _, child = name.rpartition(".")
            del sys.modules[name]
            if hasattr(sys.modules[parent], child):
                delattr(sys.modules[parent], child)
    gc.collect()


class Heap:
    """The largest heap seen, on MicroPython; CPython has no such figure."""

    def __init__(self) -> None:
        self.peak_bytes: "int | None" = None
        if hasattr(gc, "mem_alloc"):
            from micropython import opt_level

            self.peak_bytes = 0
            gc.threshold(GC_THRESHOLD_BYTES)
            opt_level(3)  # code without line numbers takes less of the heap

    def look(self) -> None:
        """Remember the figure, if it is the largest."""
        if self.peak_bytes is not None:
            self.peak_bytes = max(self.peak_bytes, gc.mem_alloc())


def tell(event: str, *pairs: "tuple[str, Any]") -> None:
    """One JSON object on a line of standard output."""
    line = '{"event": ' + json.dumps(event)
    for name, value in pairs:
        line += ", " + json.dumps(name) + ": " + json.dumps(value)
    sys.stdout.write(line + "}\n")
    sys.stdout.flush()


def _read_config(flash: str) -> "tuple[Any, int]":
    """(what pen.json says, CRC-32 of it); InputError if a person must mend it."""
    from needletrail_device import config
    from needletrail_device.inputs import InputError

    path = flash + "/" + config.FILE
    text = None
    try:
        with open(path) as file:
            text = file.read()
    except (OSError, UnicodeError):
        pass
    if text is None:
        raise InputError(path, 0, "cannot be read")
    return config.load(path, text), crc32(text.encode())


def _update(updater: "Any", feed: "Any") -> bool:
    """Install what lies in flash, if anything does. True: restart, so that its trial begins."""
    reason = ""
    try:
        reason = updater.offer(lambda _bytes, _of_bytes: feed())
    except OSError:
        return False  # there is none
    _forget("needletrail_device.bundle")
    tell("update", ("refused", reason))
    return reason is None


def _utc_ns() -> "int | None":
    """Nanoseconds since 1970, or None while the clock is not set."""
    if time.gmtime()[0] < CLOCK_SET_YEAR:
        return None
    unix_s = UNIX_2000_S if time.gmtime(0)[0] == 2000 else 0  # MicroPython's ports differ
    return time.time_ns() + unix_s * 1000000000


class Pen:
    """Everything that one power-on needs, built in order.

    module: the board's file, None for a virtual board. feed: the watchdog's.
    """

    def __init__(
        self,
        flash: str,
        clock: Clock,
        heap: Heap,
        found: "tuple[Any, int]",
        module: "Any",
        updater: "Any",
        feed: "Callable[[], object]",
    ) -> None:
        self.clock = clock
        self.heap = heap
        self.feed = feed
        for name in LARGE_MODULES:
            __import__(name)
            gc.collect()
            feed()
        self.config, config_crc = found
        self.board = self._virtual() if module is None else self._handpiece(module)
        _forget("boards.tape_head")
        from needletrail_device import connection, limits, recorder, streams, uplink
        from needletrail_protocol import authentication, topics

        heap.look()
        epoch, secret, files, lost_session = self._open_journal(flash)
        maybe_sent_seq = self.journal.next_seq - (1 if lost_session is None else 2)
        self.journal.measure()
        self.journal.boot += 1
        self.journal.save()
        key = authentication.MacKey(secret, epoch)
        grant_topic = topics.build(self.config.clinic, self.config.pen, topics.GRANT)
        self.limits = limits.Limits(
            files, key, authentication.external_data(grant_topic, self.config.pen, epoch)
        )
        self.recorder = recorder.Recorder(
            self.config,
            self.journal,
            self.limits,
            self.board.period_ms,
            self.board.show,
            tell,
            self.board.set_motor if self.config.motor_interlock else None,
            self.board.guard,
        )
        self.uplink = uplink.Uplink(
            self.config,
            key,
            self.journal,
            maybe_sent_seq,
            self.limits,
            tell,
            self.recorder.alert,
            self.recorder.grant_changed,
            config_crc,
            self.board.clock,
        )
        tell("boot", ("boot", self.journal.boot), ("backlog", self._backlog()))
        if lost_session is not None:
            tell("closed", ("session", lost_session), ("cause", "power loss"))
        self.recorder.boot(self.board.utc_ms, self.board.name)
        given_up = updater.take_given_up()
        if given_up:
            tell("given_up", ("version", given_up))
            self.recorder.fault(0, "firmware", "rolled_back")
            self.recorder.fault(0, "firmware", None)
        self._context = self._trust(flash, streams)
        self._open_stream = streams.open_stream
        self._wifi = None if module is None else self._radio(module)
        self.connection = connection.Connection(
            self.uplink, self._stream, self.clock.now_ms, tell, heap.look
        )
        heap.look()
        _forget("needletrail_device.recovery")

    async def _stream(self) -> "tuple[Any, Any]":
        if self._wifi is not None:
            await self._wifi.join()
        config = self.config
        return await self._open_stream(config.broker_host, config.broker_port, self._context)

    def _radio(self, module: "Any") -> "Any":
        from needletrail_device.wifi import Wifi

        config = self.config
        ask_time = None
        if config.wifi_time_server and _utc_ns() is None:
            import ntptime

            ntptime.host = config.wifi_time_server
            ask_time = ntptime.settime
        return Wifi(
            module.wlan(),
            config.wifi_ssid,
            config.wifi_password,
            self.clock.now_ms,
            asyncio.sleep,
            ask_time,
        )

    def _handpiece(self, module: "Any") -> "Any":
        from needletrail_device.handpiece import Handpiece

        return Handpiece(
            module.NAME,
            module.parts(module.dial()),
            time.ticks_ms,
            time.ticks_diff,
            asyncio.sleep,
            self.feed,
            _utc_ns,
        )

    def _virtual(self) -> "Any":
        config = self.config
        if config.timer:
            from boards import virtual_timer

            now_us, nap_us = _microseconds()
            return virtual_timer.Board(
                config.tape, config.speed, self.clock.now_ms, asyncio.sleep, tell, now_us, nap_us
            )
        from boards import virtual

        return virtual.Board(config.tape, config.speed, self.clock.now_ms, asyncio.sleep, tell)

    def _open_journal(self, flash: str) -> "tuple[int, bytes, Any, int | None]":
        """(key epoch, key, folder, session found open): the oldest epoch with records left to deliver.

        So a pen whose key was changed first delivers under the old key what it recorded under it.
        """
        from needletrail_device.folder import Folder
        from needletrail_device.journal import Journal
        from needletrail_device.recovery import recover

        config = self.config
        for epoch, key in config.previous + [(config.epoch, config.key)]:
            path = "%s/epoch-%d" % (flash, epoch)
            if epoch != config.epoch and not _is_there(path):
                continue
            files = Folder(path)
            if getattr(config, "slow_write_ms", 0):
                files = self._slow(files)
            self.journal = Journal(files)
            lost_session = recover(self.journal)
            if epoch == config.epoch or self._backlog():
                return epoch, key, files, lost_session
            self.journal.close()
        raise ValueError("no epoch")  # the last one always returns

    def _slow(self, files: "Any") -> "Any":
        from boards.slow_flash import SlowFolder

        return SlowFolder(files, self.config.slow_write_ms / 1000, time.sleep)

    def _trust(self, flash: str, streams: "Any") -> "Any":
        """The TLS context of the pinned authority; None: the clinic's network is trusted instead."""
        from needletrail_device.inputs import InputError

        name = self.config.broker_ca
        if name is None:
            return None
        path = flash + "/" + name
        context = None
        try:
            with open(path, "rb") as file:
                context = streams.pinned(file.read())
        except (OSError, ValueError):
            pass
        if context is None:
            raise InputError(path, 0, "no certificate (DER) of an authority to trust")
        return context

    def _backlog(self) -> int:
        return self.journal.next_seq - 1 - self.journal.durable_seq

    # ---- sampling ----

    async def prove(self, updater: "Any") -> None:
        """A firmware on trial has proved itself when the gateway has answered."""
        while not self.uplink.is_ready:
            await asyncio.sleep(IDLE_S)
        updater.confirm()
        tell("confirmed", ("version", updater.version))

    async def wait_ready(self) -> None:
        """The virtual board plays when the gateway has answered, so that speed changes nothing."""
        until_ms = self.clock.now_ms() + int(self.config.wait_ready_s * 1000)
        ready_ms = -1
        while self.clock.now_ms() < until_ms:
            if not self.uplink.is_ready:
                ready_ms = -1
            elif self.uplink.is_grant_heard:
                return
            elif ready_ms < 0:
                ready_ms = self.clock.now_ms()
            elif (
                self.limits.issued_utc_ms is not None
                and self.clock.now_ms() - ready_ms >= GRANT_GRACE_MS
            ):
                return
            await asyncio.sleep(IDLE_S)
        tell("offline")

    async def sample(self, network: "Any") -> None:
        """Hear the board until it is over, or until the network's task has crashed and nobody works."""
        board = self.board
        recorder = self.recorder
        journal = self.journal
        written = recorder.written
        is_first = True
        board.start()
        while await board.next():
            t_ms = board.t_ms
            if is_first:
                recorder.begin(board.strokes)
                is_first = False
            event = board.take_event()
            while event is not None:
                self._hear(t_ms, event[0], event[1])
                event = board.take_event()
            for part, driver in board.faults:
                fault = driver.fault
                recorder.fault(t_ms, part, None if fault == LOW else fault)
            if board.is_reading:
                recorder.reading(t_ms, board.counts, board.strokes, board.contact_adc)
            board.is_online = self.uplink.is_online()
            board.is_open = journal.open_session != 0
            board.is_armed = not recorder.not_armed
            if recorder.written != written:
                written = recorder.written
                self.heap.look()
            if network.done() and not board.is_open:
                break
        recorder.power_off()
        board.stop()

    def _hear(self, t_ms: int, name: str, tag: bytes) -> None:
        if name == "badge":
            self.recorder.badge_read(t_ms, tag)
        elif name == "cartridge":
            self.recorder.cartridge_arrived(t_ms, tag)
        else:
            self.recorder.cartridge_removed(t_ms)

    # ---- the end ----

    async def drain(self) -> bool:
        """Wait until everything is committed. False: no progress for too long."""
        timeout_ms = int(self.config.drain_timeout_s * 1000)
        quiet_ms = progress_ms = self.clock.now_ms()
        state = None
        while True:
            now_ms = self.clock.now_ms()
            now_state = (self.journal.durable_seq, self.journal.next_seq)
            if now_state != state:
                state = now_state
                progress_ms = now_ms
            if not self.uplink.is_all_committed():
                quiet_ms = now_ms
            elif now_ms - quiet_ms >= LINGER_MS:
                return True
            if now_ms - progress_ms >= max(timeout_ms, LINGER_MS):
                return False
            self.feed()
            await asyncio.sleep(IDLE_S)


def _is_there(path: str) -> bool:
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def _microseconds() -> "tuple[Any, Any]":
    """A clock and a nap in microseconds, on either interpreter."""
    if hasattr(time, "ticks_us"):
        return time.ticks_us, time.sleep_us
    return (lambda: time.monotonic_ns() // 1000), (lambda nap_us: time.sleep(nap_us / 1e6))


def _nothing() -> None:
    """What a board without a watchdog feeds."""


def _board_file(flash: str, name: str) -> "Any":
    """The module of a real board."""
    from needletrail_device.inputs import InputError

    try:
        __import__("boards." + name)
    except ImportError:
        pass
    module = sys.modules.get("boards." + name)
    if module is None:
        raise InputError(flash + "/pen.json", 0, "board %r is not known here" % name)
    return module


async def power_on(flash: str) -> int:
    """One power-on, from boot to power off."""
    heap = Heap()
    found = _read_config(flash)
    name = found[0].board
    _forget("needletrail_device.config")
    module = None
    feed = _nothing
    if name != "virtual":
        module = _board_file(flash, name)
        feed = module.watchdog().feed
    from needletrail_device.update import Updater

    updater = Updater(flash, _here(), name)
    if _update(updater, feed):
        return EXIT_RESTART
    pen = Pen(flash, Clock(), heap, found, module, updater, feed)
    _forget("needletrail_device.update")
    network = asyncio.create_task(pen.connection.run(random.random))
    if updater.trial_boots_left is not None:
        asyncio.create_task(pen.prove(updater))
    del updater, module
    if name == "virtual":
        await pen.wait_ready()
    await pen.sample(network)
    is_drained = await pen.drain()
    if network.done():
        await network  # it never ends by itself: show what went wrong
    pen.uplink.disconnect()
    await asyncio.sleep(2 * IDLE_S)
    network.cancel()
    try:
        await network
    except asyncio.CancelledError:
        pass
    await asyncio.sleep(2 * IDLE_S)  # its lanes end, too
    pen.journal.close()
    heap.look()
    if not is_drained:
        tell("undelivered", ("records", pen.journal.next_seq - 1 - pen.journal.durable_seq))
        sys.stderr.write("no acknowledgement for too long; what is left stays in flash\n")
        return EXIT_UNDELIVERED
    if hasattr(pen.board, "lateness"):
        tell("sampled", ("late_ms", pen.board.lateness()))
    tell("done", ("records", pen.recorder.written), ("heap_peak_bytes", heap.peak_bytes))
    return EXIT_DONE


def main() -> int:
    """The exit code."""
    _add_paths()
    if len(sys.argv) != 2 and sys.platform in COMPUTERS:
        sys.stderr.write("usage: main.py FLASH_DIR\n")
        return EXIT_INPUT
    random.seed(int.from_bytes(os.urandom(4), "big"))
    from needletrail_device.inputs import InputError

    try:
        return asyncio.run(power_on(sys.argv[1] if len(sys.argv) == 2 else ""))
    except InputError as error:
        sys.stderr.write(str(error) + "\n")
        return EXIT_INPUT
