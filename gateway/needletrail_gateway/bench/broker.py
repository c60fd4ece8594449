"""A Mosquitto of our own on a free port of this machine, for as long as a trial lasts."""

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from needletrail_gateway.bench.programs import MissingProgramError

_START_TIMEOUT_S = 10.0

# Every pen may have many messages on the way; the broker shall not be the narrow place.
_CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages 1000
max_queued_messages 100000
log_dest file {log}
"""


class Broker:
    """`with Broker(folder) as broker:` starts it; `host` and `port` say where it listens.

    extra: more lines of configuration, such as a listener with TLS.
    """

    host = "127.0.0.1"

    def __init__(self, folder: Path, extra: str = "") -> None:
        self._folder = folder
        self._extra = extra
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it listens. MissingProgramError if there is no Mosquitto."""
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            raise MissingProgramError("mosquitto", "make setup")
        config = self._folder / "mosquitto.conf"
        log = self._folder / "mosquitto.log"
        config.write_text(_CONFIG.format(port=self.port, log=log) + self._extra)
        self._process = subprocess.Popen(
            [program, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
                return
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline_s:
                    raise OSError(f"mosquitto did not start; see {log}") from error
                time.sleep(0.02)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.kill()


def free_port() -> int:
    """A TCP port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
