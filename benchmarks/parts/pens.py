"""Pens as their maker leaves them: the firmware as bytecode in a flash folder, run by MicroPython.

`Firmware` is built once, by the workshop's own `build`; each pen gets a copy of it and a pen.json. What
a pen says is read from a file when it has ended. Not here: broker and gateway (House), mishaps.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from needletrail_gateway.bench.broker import Broker
from needletrail_gateway.bench.pens import VirtualPen
from needletrail_gateway.bench.programs import find_micropython
from needletrail_gateway.core.registry.model import um
from needletrail_gateway.workshop.build import VIRTUAL, build

HEAP = "256k"
LITTER = Path(__file__).with_name("littering_main.py")


class Firmware:
    """The firmware of the virtual board, as `needletrail pen build` makes it."""

    def __init__(self, folder: Path) -> None:
        self.micropython = find_micropython()
        self._folder = folder
        self.built = build(VIRTUAL, folder, 1, "benchmark")

    def flash(
        self, pen: VirtualPen, settings: Mapping[str, Any], flash: Path, ca: bytes | None = None
    ) -> Path:
        """A pen's flash, in a new folder: firmware and pen.json. `settings` are those of its tape.

        "host" and "port" in them say where the broker is, if not where it really is.
        """
        shutil.copytree(self._folder, flash)
        virtual = dict(settings)
        broker: dict[str, Any] = {
            "host": virtual.pop("host", Broker.host),
            "port": virtual.pop("port", pen.broker.port),
            "username": None,
            "password": None,
        }
        if ca is not None:
            broker["ca"] = "ca.der"
            (flash / "ca.der").write_bytes(ca)
        document = {
            "clinic": pen.clinic,
            "pen": pen.pen.id,
            "epoch": pen.epoch,
            "key": pen.key.hex(),
            "broker": broker,
            "calibration": [[counts, um(mm)] for counts, mm in pen.pen.calibration],
            "reading_tolerance_um": um(pen.pen.reading_tolerance_mm),
            "board": VIRTUAL,
            "virtual": virtual,
        }
        (flash / "pen.json").write_text(json.dumps(document))
        return flash

    def start(self, flash: Path, heap: str = HEAP, is_littering: bool = False) -> "Running":
        """Power a pen on."""
        main = [flash / "main.py", flash]
        if is_littering:
            main = [LITTER, *main]
        return Running([self.micropython, "-X", f"heapsize={heap}", *map(str, main)], flash)


class Running:
    """A pen that is on."""

    def __init__(self, command: list[str], flash: Path) -> None:
        self._flash = flash
        # The firmware must find itself, not the sources.
        plain = {name: value for name, value in os.environ.items() if name != "NEEDLETRAIL_PROTOCOL"}
        with (flash / "said").open("wb") as said, (flash / "complained").open("wb") as complained:
            self._process = subprocess.Popen(
                command, env=plain, stdin=subprocess.DEVNULL, stdout=said, stderr=complained
            )
        self.cpu_s = 0.0  # when it has ended

    def finish(self, timeout_s: float) -> list[dict[str, Any]]:
        """Wait until all is delivered. What it told; RuntimeError if it did not end well or in time."""
        before = os.times()
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"the pen had not ended after {timeout_s:.0f} s") from error
        finally:
            self.kill()
        after = os.times()  # children that have been waited for: this one alone, meanwhile
        self.cpu_s = (
            after.children_user - before.children_user + after.children_system - before.children_system
        )
        complaint = (self._flash / "complained").read_text(errors="replace").strip()
        if code != 0 or complaint:
            raise RuntimeError(f"the pen ended with code {code}: {complaint}")
        return [json.loads(line) for line in (self._flash / "said").read_text().splitlines()]

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def told(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Those events."""
    return [event for event in events if event["event"] == name]
