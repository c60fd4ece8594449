"""A workshop for tests: a folder where a pen is enrolled, built and started by the maker's commands."""

import getpass
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from end_to_end.reading import statements
from needletrail_gateway.bench.broker import Broker, free_port
from needletrail_gateway.bench.house import House
from needletrail_gateway.shell.documents import read_registry

CLINIC = Path(__file__).parents[2] / "tapes" / "clinic" / "registry.toml"
HEAP = "128k"
PEN = "pen-04"
OFFLINE = {"wait_ready_s": 0.5, "drain_timeout_s": 1}
AS_TRUTH = ("verdict", "reasons", "passes", "session_samples", "session_ms", "strokes", "practitioner")


class Workshop:
    """A folder in which a pen is made: `clinic.toml`, `pens/pen-04`, and the pen's flash."""

    def __init__(self, folder: Path, micropython: Path, bench: Path) -> None:
        self.folder = folder
        self.flash = folder / "flash"
        self.registry = folder / "clinic.toml"
        self.ledger = folder / "ledger.sqlite"
        self.port = free_port()
        self._micropython = micropython
        self._bench = bench
        shutil.copyfile(CLINIC, self.registry)

    def needletrail(self, *arguments: str, code: int = 0) -> Any:
        """A command, and the JSON that it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "needletrail_gateway", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    def enroll(self, *more: str) -> Any:
        return self.needletrail(
            *("pen", "enroll", PEN, "--registry", "clinic.toml", "--out", f"pens/{PEN}", "--json"),
            *more,
        )

    def build(self, *more: str, out: str = "flash") -> Any:
        """The firmware for the virtual board; what the command says of it."""
        return self.needletrail(*("pen", "build", "--board", "virtual", "--out", out, "--json"), *more)

    def import_registry(self) -> None:
        self.needletrail("registry", "import", "clinic.toml", "--ledger", "ledger.sqlite", "--json")

    def retire(self, code: int = 0) -> Any:
        return self.needletrail(
            *("pen", "retire", PEN, "--registry", "clinic.toml", "--out", f"pens/{PEN}"),
            *("--ledger", "ledger.sqlite", "--json"),
            code=code,
        )

    def house(self) -> House:
        """Broker and gateway; the broker knows the pen's account, and lets all others in."""
        rights = self.folder / "rights"
        account = self.folder / "pens" / PEN
        rights.write_text("topic readwrite needletrail/#\n" + (account / "mosquitto.acl").read_text())
        extra = f"user {getpass.getuser()}\npassword_file {account / 'mosquitto.password'}\n"
        extra += f"acl_file {rights}\n"
        house = House(self.folder, read_registry(self.registry), self.ledger)
        house.broker = Broker(self.folder, extra)
        house.broker.port = self.port
        return house

    def power_on(self, tape: str, code: int = 0, **settings: float) -> list[dict[str, Any]]:
        """Put the pen's pen.json into its flash, and play a tape; the events that it told."""
        pen = json.loads((self.folder / "pens" / PEN / "pen.json").read_text())
        pen["virtual"] = {"tape": str(self._bench / f"{tape}.csv"), "speed": 0, "wait_ready_s": 30}
        pen["drain_timeout_s"] = 60
        for name, value in settings.items():
            (pen["virtual"] if name in pen["virtual"] else pen)[name] = value
        (self.flash / "pen.json").write_text(json.dumps(pen))
        plain = {name: value for name, value in os.environ.items() if name != "NEEDLETRAIL_PROTOCOL"}
        done = subprocess.run(
            [self._micropython, "-X", f"heapsize={HEAP}", self.flash / "main.py", self.flash],
            env=plain,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout[-2000:] + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def truth(self, tape: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._bench / f"{tape}.truth.json").read_text())
        return found


def as_truth(house: House, workshop: Workshop, tapes: dict[str, str]) -> None:
    """The ledger's sessions are exactly these, and each is what its tape's truth says."""
    found = statements(house.ledger)
    assert sorted(found) == sorted(tapes)
    for session, tape in tapes.items():
        truth = workshop.truth(tape)
        assert {key: found[session][key] for key in AS_TRUTH} == {key: truth[key] for key in AS_TRUTH}
