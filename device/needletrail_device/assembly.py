"""Assembly: what a power-on does once, before there is anything to sample; then it is forgotten.

Strategy: the composition root (firmware.py) says when; here is how. Each part gets what it needs passed
in, and what is made here lives on in the Pen. Nothing made here may be a class or a function of this
module, or all of it would stay in the heap (loading.py). In order: the settings, the board's file,
an update that lies in flash, the journal, and the rest.
"""

# ruff: noqa: PLC0415
# A module is imported when its turn comes: the order decides how much heap compiling needs.

import asyncio
import gc
import os
import sys
import time
from binascii import crc32

from needletrail_device.clock import utc_ns
from needletrail_device.inputs import InputError
from needletrail_device.loading import forget

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

# Compiling takes four times a module's size for a moment: so the large ones come first. In a built
# firmware they are all in one file.
LARGE_MODULES = (
    "needletrail_protocol.messages",
    "needletrail_device.uplink",
    "needletrail_device.recorder",
    "needletrail_device.journal",
)


def _nothing() -> None:
    """What a board without a watchdog feeds."""


def build(pen: "Any", flash: str, here: str, tell: "Callable[..., None]") -> bool:
    """Everything, in order. False: an update was installed."""
    config, config_crc = read_config(flash)
    forget("needletrail_device.config")
    module = None
    pen.feed = _nothing
    if config.board != "virtual":
        module = board_file(flash, config.board)
        pen.feed = module.watchdog().feed
    if install(flash, here, config.board, pen.feed, tell):
        return False
    forget("needletrail_device.update")
    pen.config = config
    opened = open_journal(pen, flash)
    forget("needletrail_device.recovery")
    assemble(pen, flash, config_crc, module, opened, tell)
    look_at_trial(pen, flash, here, tell)
    return True


def read_config(flash: str) -> "tuple[Any, int]":
    """(what pen.json says, CRC-32 of it); InputError if a person must mend it."""
    from needletrail_device import config

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


def board_file(flash: str, name: str) -> "Any":
    """The module of a real board."""
    try:
        __import__("boards." + name)
    except ImportError:
        pass
    module = sys.modules.get("boards." + name)
    if module is None:
        raise InputError(flash + "/pen.json", 0, "board %r is not known here" % name)
    return module


def install(
    flash: str, here: str, board: str, feed: "Callable[[], object]", tell: "Callable[..., None]"
) -> bool:
    """Install what lies in flash, if anything does. True: restart, so that its trial begins."""
    from needletrail_device.update import Updater

    reason = ""
    try:
        reason = Updater(flash, here, board).offer(lambda _bytes, _of_bytes: feed())
    except OSError:
        return False  # there is none
    forget("needletrail_device.bundle")
    tell("update", ("refused", reason))
    return reason is None


def open_journal(pen: "Any", flash: str) -> "tuple[int, bytes, Any, int | None]":
    """(key epoch, key, folder, session found open): the oldest epoch with records left to deliver.

    So a pen whose key was changed first delivers under the old key what it recorded under it.
    """
    for name in LARGE_MODULES:
        __import__(name)
        gc.collect()
        pen.feed()
    from needletrail_device.folder import Folder
    from needletrail_device.journal import Journal
    from needletrail_device.recovery import recover

    config = pen.config
    for epoch, key in config.previous + [(config.epoch, config.key)]:
        path = "%s/epoch-%d" % (flash, epoch)
        if epoch != config.epoch and not _is_there(path):
            continue
        files = Folder(path)
        if getattr(config, "slow_write_ms", 0):
            from boards.slow_flash import SlowFolder

            files = SlowFolder(files, config.slow_write_ms / 1000, time.sleep)
        pen.journal = Journal(files)
        lost_session = recover(pen.journal)
        if epoch == config.epoch or pen.backlog():
            return epoch, key, files, lost_session
        pen.journal.close()
    raise ValueError("no epoch")  # the last one always returns


def assemble(
    pen: "Any",
    flash: str,
    config_crc: int,
    module: "Any",
    opened: "tuple[int, bytes, Any, int | None]",
    tell: "Callable[..., None]",
) -> None:
    """Build everything else into a Pen, in order, and write the record of this boot.

    module: the board's file, None for a virtual board. opened: what open_journal gave.
    """
    config = pen.config
    pen.board = board = _virtual(pen, tell) if module is None else _handpiece(pen, module)
    forget("boards.tape_head")
    from needletrail_device import connection, limits, recorder, streams, uplink
    from needletrail_protocol import authentication, topics

    pen.heap.look()
    epoch, secret, files, lost_session = opened
    journal = pen.journal
    maybe_sent_seq = journal.next_seq - (1 if lost_session is None else 2)
    journal.measure()
    journal.boot += 1
    journal.save()
    key = authentication.MacKey(secret, epoch)
    grant_topic = topics.build(config.clinic, config.pen, topics.GRANT)
    pen.limits = limits.Limits(files, key, authentication.external_data(grant_topic, config.pen, epoch))
    pen.recorder = recorder.Recorder(
        config,
        journal,
        pen.limits,
        board.period_ms,
        board.show,
        tell,
        board.set_motor if config.motor_interlock else None,
        board.guard,
    )
    pen.uplink = uplink.Uplink(
        config,
        key,
        journal,
        maybe_sent_seq,
        pen.limits,
        tell,
        pen.recorder.alert,
        pen.recorder.grant_changed,
        config_crc,
        board.vitals,
    )
    tell("boot", ("boot", journal.boot), ("backlog", pen.backlog()))
    if lost_session is not None:
        tell("closed", ("session", lost_session), ("cause", "power loss"))
    pen.recorder.boot(board.utc_ms, board.name)
    pen.context = _trust(config, flash, streams.pinned)
    pen.wifi = None if module is None else _radio(pen, module)
    pen.connection = connection.Connection(
        pen.uplink, pen.open_stream, pen.clock.now_ms, tell, pen.heap.look
    )
    pen.heap.look()


def look_at_trial(pen: "Any", flash: str, here: str, tell: "Callable[..., None]") -> None:
    """Tell of a firmware that was given up; if this one is on trial, let it prove itself."""
    from needletrail_device.update import Updater

    updater = Updater(flash, here, pen.config.board)
    given_up = updater.take_given_up()
    if given_up:
        tell("given_up", ("version", given_up))
        pen.recorder.fault(0, "firmware", "rolled_back")
        pen.recorder.fault(0, "firmware", None)
    if updater.trial_boots_left is not None:
        asyncio.create_task(updater.prove(pen.uplink, asyncio.sleep, tell))


def _handpiece(pen: "Any", module: "Any") -> "Any":
    from needletrail_device.handpiece import Handpiece

    return Handpiece(
        module.NAME,
        module.parts(module.dial()),
        time.ticks_ms,
        time.ticks_diff,
        asyncio.sleep,
        pen.feed,
        utc_ns,
    )


def _virtual(pen: "Any", tell: "Callable[..., None]") -> "Any":
    config = pen.config
    now_ms = pen.clock.now_ms
    if config.timer:
        from boards import virtual_timer

        now_us, nap_us = _microseconds()
        return virtual_timer.Board(
            config.tape, config.speed, now_ms, asyncio.sleep, tell, now_us, nap_us
        )
    from boards import virtual

    return virtual.Board(config.tape, config.speed, now_ms, asyncio.sleep, tell)


def _microseconds() -> "tuple[Any, Any]":
    """A clock and a nap in microseconds, on either interpreter."""
    if hasattr(time, "ticks_us"):
        return time.ticks_us, time.sleep_us
    return (lambda: time.monotonic_ns() // 1000), (lambda nap_us: time.sleep(nap_us / 1e6))


def _is_there(path: str) -> bool:
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def _trust(config: "Any", flash: str, pinned: "Callable[[bytes], Any]") -> "Any":
    """The TLS context of the pinned authority; None: the clinic's network is trusted instead."""
    name = config.broker_ca
    if name is None:
        return None
    path = flash + "/" + name
    context = None
    try:
        with open(path, "rb") as file:
            context = pinned(file.read())
    except (OSError, ValueError):
        pass
    if context is None:
        raise InputError(path, 0, "no certificate (DER) of an authority to trust")
    return context


def _radio(pen: "Any", module: "Any") -> "Any":
    from needletrail_device.wifi import Wifi

    config = pen.config
    ask_time = None
    if config.wifi_time_server and utc_ns() is None:
        import ntptime

        ntptime.host = config.wifi_time_server
        ask_time = ntptime.settime
    return Wifi(
        module.wlan(),
        config.wifi_ssid,
        config.wifi_password,
        pen.clock.now_ms,
        asyncio.sleep,
        ask_time,
    )
