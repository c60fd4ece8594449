"""Virtual pens: a folder for a pen's flash, and the real firmware run on it by MicroPython."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import needletrail_protocol
from needletrail_gateway.bench.broker import Broker
from needletrail_gateway.bench.programs import find_micropython
from needletrail_gateway.core.registry.model import Pen, um
from needletrail_gateway.shell.documents import data_folder

HEAP = "256k"  # compiling from source takes most of it


class PenError(Exception):
    """The firmware ended in another way than it should; the text has its own words."""


@dataclass(frozen=True)
class VirtualPen:
    """A pen with a flash folder of its own. It keeps its journal from one tape to the next."""

    pen: Pen
    clinic: str
    epoch: int
    key: bytes
    flash: Path
    broker: Broker

    def play(self, tape: Path, speed: float, watch: Callable[[subprocess.Popen[bytes]], None]) -> None:
        """Power the pen on, play a tape, and wait until all of it is acknowledged.

        `watch` is called with the running process, and returns when that has ended. PenError if the
        firmware did not end well.
        """
        process = self.start(tape, speed)
        try:
            watch(process)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        if process.returncode != 0:
            said = (self.flash / "stderr.txt").read_text(errors="replace").strip()
            raise PenError(f"{self.pen.id} ended with code {process.returncode}: {said}")

    def start(self, tape: Path, speed: float) -> "subprocess.Popen[bytes]":
        """Power the pen on. What it says goes to stdout.txt and stderr.txt in its flash folder."""
        self.flash.mkdir(parents=True, exist_ok=True)
        (self.flash / "pen.json").write_text(json.dumps(self._config(tape, speed)))
        firmware = data_folder("device", Path(__file__).parents[3] / "device")
        protocol = Path(needletrail_protocol.__file__).parents[1]
        with (
            (self.flash / "stdout.txt").open("wb") as stdout,
            (self.flash / "stderr.txt").open("wb") as stderr,
        ):
            return subprocess.Popen(
                [find_micropython(), "-X", f"heapsize={HEAP}", firmware / "main.py", self.flash],
                env=os.environ | {"NEEDLETRAIL_PROTOCOL": str(protocol)},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    def _config(self, tape: Path, speed: float) -> dict[str, object]:
        return {
            "clinic": self.clinic,
            "pen": self.pen.id,
            "epoch": self.epoch,
            "key": self.key.hex(),
            "broker": {
                "host": self.broker.host,
                "port": self.broker.port,
                "username": None,
                "password": None,
            },
            "calibration": [[counts, um(mm)] for counts, mm in self.pen.calibration],
            "reading_tolerance_um": um(self.pen.reading_tolerance_mm),
            "board": "virtual",
            "virtual": {"tape": str(tape.resolve()), "speed": speed, "wait_ready_s": 30},
        }
