"""What the follower does: hear the gateway, write the outbox, and check InfluxDB every night."""

import contextlib
import json
import os
import signal
import sys
import threading
import time

import structlog

from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.series.follower import NOTICE
from needletrail_gateway.series.making import Maker
from needletrail_gateway.series.nightly import Nightly
from needletrail_gateway.series.outbox import Ahead, Outbox
from needletrail_gateway.series.sending import Sender
from needletrail_gateway.series.target import Kept, Target, raw_from
from needletrail_gateway.shell.log import configure_log
from needletrail_gateway.shell.settings import InfluxSettings
from needletrail_gateway.shell.view import INFLUX

_NICE = 5
_END_S = 5.0  # then the present write has had its time

log = structlog.get_logger()


def main() -> None:
    """Follow until standard input ends."""
    # Whoever stops the gateway (Ctrl-C, systemd) may tell all of its processes; we go when it goes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.nice(_NICE)
    configure_log()
    first = sys.stdin.buffer.readline()
    if not first:
        return  # the gateway is gone already
    said = json.loads(first)
    ledger = Ledger.open(said["ledger"])
    try:
        with Target(InfluxSettings.model_validate(said["influx"])) as target:
            follow(ledger, target)
    finally:
        ledger.close()


def follow(ledger: Ledger, target: Target) -> None:
    """Write the outbox until standard input ends."""
    stopped = threading.Event()
    cutoff = raw_from(target.settings, now_utc_ms)
    sender = Sender(ledger, target, now_utc_ms, stopped)
    ahead = Ahead(ledger, Maker(ledger, cutoff), sender, now_utc_ms, ledger.delivered(INFLUX))
    outbox = Outbox(ledger, Maker(ledger, cutoff), sender, INFLUX, stopped=stopped, ahead=ahead)
    threading.Thread(target=_hear, args=(outbox,), name="gateway", daemon=True).start()
    nightly = Nightly(ledger, target, now_utc_ms, stopped)
    nightly.start()
    _greet(target, sender)
    outbox.run()
    nightly.join(_END_S)


def _hear(outbox: Outbox) -> None:
    for text in sys.stdin.buffer:
        said = text.decode(errors="replace").rstrip("\n")
        if said == NOTICE:
            outbox.notice()
        else:
            outbox.add_live([said])
    outbox.stop()
    time.sleep(_END_S)
    os._exit(0)  # InfluxDB does not answer; what it was told is told again


def _greet(target: Target, sender: Sender) -> None:
    try:
        server = target.server()
    except Kept as kept:
        sender.say(kept)
        return
    log.info("InfluxDB found", kind=server.kind, version=server.version, url=target.settings.url)


def now_utc_ms() -> int:
    """The clock on the wall."""
    return time.time_ns() // 1_000_000
