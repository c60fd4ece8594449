"""A whole clinic on this machine: broker, ledger, gateway and virtual pens, all of them the real parts.

`House` starts the broker and the gateway as processes of their own, just as they run in a clinic, and
hands out virtual pens. What happens in it is read from the ledger, as every other view does.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from needletrail_gateway.bench.broker import Broker
from needletrail_gateway.bench.pens import VirtualPen
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import keys_of
from needletrail_gateway.shell.view import INFLUX

_READY_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 30.0


class HouseError(Exception):
    """Broker or gateway did not start or did not last."""


class House:
    """`with House(folder, registry, ledger_path) as house:` starts everything but the pens.

    influx: the environment variables NEEDLETRAIL_INFLUX__… for the gateway, if there is an InfluxDB.
    """

    def __init__(
        self,
        folder: Path,
        registry: Registry,
        ledger_path: Path,
        influx: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.registry = registry
        self._ledger_path = ledger_path
        self._influx = dict(influx or {})
        self.ledger = Ledger.open(ledger_path)
        self.ledger.import_registry(registry, keys_of(registry), _now_utc_ms())
        self.broker = Broker(folder)
        self.gateway: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.broker.start()
        try:
            self.start_gateway()
        except BaseException:
            self.broker.kill()
            raise
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop_gateway()
        self.broker.kill()
        self.ledger.close()

    def pen(self, pen_id: str) -> VirtualPen:
        """A pen of the registry with an empty flash: enrolled anew if the ledger knew it before."""
        pen = self.registry.find_pen(pen_id)
        if pen is None:
            raise HouseError(f"the registry has no pen {pen_id}")
        if pen.key is None:
            raise HouseError(f"pen {pen_id} has no key in the registry")
        key = bytes.fromhex(pen.key.get_secret_value())
        epoch = max(epoch for known, epoch in self.ledger.pen_keys() if known == pen_id)
        if any(lane["pen"] == pen_id and lane["epoch"] == epoch for lane in self.ledger.lanes()):
            epoch = self.ledger.enrol_anew(pen_id, key, _now_utc_ms())
        clinic = self.registry.clinic.id
        return VirtualPen(pen, clinic, epoch, key, self.folder / "flash" / pen_id, self.broker)

    def start_gateway(self) -> None:
        """Start the gateway and wait until it serves."""
        config = self.folder / "gateway.toml"
        ledger = str(self._ledger_path.resolve()).replace("\\", "\\\\").replace('"', '\\"')
        config.write_text(
            f'[mqtt]\nhost = "{self.broker.host}"\nport = {self.broker.port}\n\n'
            f'[ledger]\nlocation = "{ledger}"\n'
        )
        address = self.folder / "ready"
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(address))
            notify.settimeout(0.1)
            with (self.folder / "gateway.log").open("ab") as log:
                self.gateway = subprocess.Popen(
                    [sys.executable, "-m", "needletrail_gateway", "gateway", "--config", config],
                    env=_without_settings() | self._influx | {"NOTIFY_SOCKET": str(address)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for us; we end it in our own order
                )
            self._await_ready(notify)

    def _await_ready(self, notify: socket.socket) -> None:
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while True:
            try:
                notify.recv(64)
                return
            except TimeoutError as error:
                ended = self.gateway is not None and self.gateway.poll() is not None
                if ended or time.monotonic() > deadline_s:
                    raise HouseError(f"the gateway did not start:\n{self.gateway_log()}") from error

    def gateway_log(self) -> str:
        """The last lines that the gateway said."""
        text = (self.folder / "gateway.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-10:])

    def kill_gateway(self) -> None:
        """End the gateway at once, as a power cut would."""
        if self.gateway is not None:
            self.gateway.kill()
            self.gateway.wait()
            self.gateway = None

    def stop_gateway(self) -> None:
        """End the gateway in good order."""
        if self.gateway is None:
            return
        self.gateway.send_signal(signal.SIGTERM)
        try:
            self.gateway.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.gateway.kill()
            self.gateway.wait()
        self.gateway = None

    def check(self) -> None:
        """HouseError if the gateway has ended by itself."""
        if self.gateway is not None and self.gateway.poll() is not None:
            raise HouseError(f"the gateway ended by itself:\n{self.gateway_log()}")

    def await_influx(self, timeout_s: float) -> int:
        """Wait until InfluxDB has been told everything. Returns how many entries still wait."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            waiting = self.ledger.last_entry_id() - self.ledger.delivered(INFLUX)
            if waiting <= 0 or time.monotonic() > deadline_s:
                return max(waiting, 0)
            self.check()
            time.sleep(0.05)


def _without_settings() -> dict[str, str]:
    """The environment without settings of a gateway that really serves: this one has its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NEEDLETRAIL_")}


def _now_utc_ms() -> int:
    return time.time_ns() // 1_000_000
