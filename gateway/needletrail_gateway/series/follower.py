"""The gateway's InfluxDB follower: a process of its own that reads the ledger and writes InfluxDB.

Making points takes a core's whole time while a backlog drains, and an alert must not wait for that. In
one process it would: one Python thread runs at a time, and each of an alert's steps would wait for its
turn. So the gateway starts a program (program.py) and talks to it through its standard input, a line
each: first the settings as JSON, then `n` for "entries were committed", and lines of live points. When
the input ends, the gateway has stopped or is gone: the present write is finished, and the program ends.
It gives way to the gateway on a machine that has too little to do for both (nice).

If it ends by itself, the gateway starts it again. The ledger's mark says where it left off.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import structlog

from needletrail_gateway.core.series.point import line
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.series.health import Pulse
from needletrail_gateway.shell.health import GatewayState
from needletrail_gateway.shell.settings import InfluxSettings

PROGRAM = "needletrail_gateway.series"
NOTICE = "n"
_LOOK_S = 1.0
_AGAIN_FIRST_S = 1.0
_AGAIN_MOST_S = 60.0
_STOP_S = 10.0
_LINE_MOST = 4_096  # a pipe takes so many bytes whole or not at all (POSIX, PIPE_BUF)

log = structlog.get_logger()


class Follower:
    """Starts the program, keeps it running, tells it what is new; a `View` of the service."""

    def __init__(
        self, ledger: Ledger, location: str, settings: InfluxSettings, clock_utc_ms: Callable[[], int]
    ) -> None:
        """location: the ledger's, for the program."""
        self._settings = _first_line(location, settings)
        self._clock_utc_ms = clock_utc_ms
        self._pulse = Pulse(ledger)
        self._state: Callable[[], GatewayState] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()  # around the process's standard input
        self._stopped = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="influx", daemon=True)

    def watch(self, state: Callable[[], GatewayState]) -> None:
        """Ask for the state of pens and gateway, too."""
        self._state = state

    def start(self) -> None:
        """Start the program."""
        self._start_program()
        self._watching.start()

    def notice(self) -> None:
        """Entries have been committed."""
        self._tell(NOTICE)

    def stop(self) -> None:
        """Let it finish the present write."""
        self._stopped.set()
        self._watching.join()
        process = self._process
        if process is None:
            return
        with self._lock, contextlib.suppress(OSError):  # it may not have read its first line
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start_program(self) -> None:
        """Start it, if that can be; the record must not wait for a machine that is out of memory."""
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
        except OSError as error:
            log.error("the InfluxDB follower can not be started", error=str(error))
            return
        assert process.stdin is not None
        with self._lock:
            self._process = process
            with contextlib.suppress(BrokenPipeError):  # it has ended already
                process.stdin.write(self._settings)
                process.stdin.flush()
            os.set_blocking(process.stdin.fileno(), False)

    def _watch(self) -> None:
        again_s = _AGAIN_FIRST_S
        started_s = time.monotonic()
        while not self._stopped.wait(_LOOK_S):
            process = self._process
            if process is None or process.poll() is not None:
                code = None if process is None else process.returncode
                log.error("the InfluxDB follower ended; starting it again", code=code)
                if time.monotonic() - started_s > _AGAIN_MOST_S:
                    again_s = _AGAIN_FIRST_S  # it had run for long: this is new trouble
                if self._stopped.wait(again_s):
                    return
                again_s = min(2 * again_s, _AGAIN_MOST_S)
                started_s = time.monotonic()
                self._start_program()
            if self._state is not None:
                self._tell_health(self._state)

    def _tell_health(self, state: Callable[[], GatewayState]) -> None:
        try:
            for point in self._pulse.points(state(), self._clock_utc_ms()):
                self._tell(line(point))
        except Exception as error:  # it must not end the watch; the next point may be well
            log.warning("no health point could be made", error=repr(error))

    def _tell(self, text: str) -> None:
        """Say a line. If the program is gone or does not listen it is lost; the ledger says it, too."""
        said = text.encode() + b"\n"
        with self._lock:
            process = self._process
            if process is None or process.stdin is None or process.stdin.closed:
                return
            if len(said) > _LINE_MOST:
                return
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(process.stdin.fileno(), said)


def _first_line(location: str, settings: InfluxSettings) -> bytes:
    said = settings.model_dump(mode="json") | {"token": settings.token.get_secret_value()}
    return json.dumps({"ledger": location, "influx": said}).encode() + b"\n"
