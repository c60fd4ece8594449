"""Who started us, and what it wants to hear: systemd's sd_notify(3) and sd_watchdog_enabled(3)."""

import os
import socket
from collections.abc import Mapping

_READY = b"READY=1"
_ALIVE = b"WATCHDOG=1"


class Supervisor:
    """Hears that we serve, and again and again that the work goes on. Without one, nothing is said."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Take the address and what is expected from the environment."""
        self._address = environment.get("NOTIFY_SOCKET", "")
        # Our children inherit the variables; WATCHDOG_PID says whom they are for.
        is_for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._wants_life = is_for_us and bool(environment.get("WATCHDOG_USEC"))

    def ready(self) -> None:
        """We serve now."""
        if self._address:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.sendto(_READY, self._where())

    def alive(self) -> None:
        """The work goes on. It never waits: one that is lost is followed by the next."""
        if not (self._address and self._wants_life):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.setblocking(False)
            try:
                notify.sendto(_ALIVE, self._where())
            except OSError:
                return  # it is busy, or on its way to a new self; the record does not wait for it

    def _where(self) -> str:
        return "\0" + self._address[1:] if self._address[0] == "@" else self._address
