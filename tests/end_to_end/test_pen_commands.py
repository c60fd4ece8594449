"""From parts to a pen at work, as its maker would do it.

The pen is enrolled, built and started, with a real broker that asks for its password, and the real
gateway. The firmware is what `needletrail pen build` made.
"""

import getpass
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture
def workshop(tmp_path: Path, micropython: Path, bench: Path) -> Iterator[Workshop]:
    """A pen that is enrolled and built, and was never switched on."""
    made = Workshop(tmp_path, micropython, bench)
    said = made.enroll(
        *("--board", "virtual", "--broker-host", "127.0.0.1", "--broker-port", str(made.port)),
        *("--like", "pen-01"),
    )
    assert (said["clinic"], said["pen"], said["epoch"]) == ("harbor", PEN, 1)
    built = made.needletrail("pen", "build", "--board", "virtual", "--out", "flash", "--json")
    assert built["bytes"] < 64 * 1024
    assert list(made.flash.rglob("*.py")) == [made.flash / "main.py"]
    yield made


def as_truth(house: House, workshop: Workshop, tapes: dict[str, str]) -> None:
    """The ledger's sessions are exactly these, and each is what its tape's truth says."""
    found = statements(house.ledger)
    assert sorted(found) == sorted(tapes)
    for session, tape in tapes.items():
        truth = workshop.truth(tape)
        assert {key: found[session][key] for key in AS_TRUTH} == {key: truth[key] for key in AS_TRUTH}


def test_a_pen_made_by_the_commands_works(workshop: Workshop) -> None:
    with workshop.house() as house:
        events = workshop.power_on("02-cosmetic-exceeded")
        assert events[-1]["event"] == "done"
        as_truth(house, workshop, {"pen-04-1-1": "02-cosmetic-exceeded"})
    log = (workshop.folder / "mosquitto.log").read_text()
    assert "u'harbor.pen-04'" in log


def test_a_key_is_rotated_while_records_wait_and_none_is_lost(workshop: Workshop) -> None:
    first, waiting, between = "01-cosmetic-within", "02-cosmetic-exceeded", "06-medical-within"
    draining, after, last = "04-sensor-spikes", "03-cosmetic-at-limit", "05-dial-turned-in-air"
    with workshop.house() as house:
        workshop.power_on(first)
        house.stop_gateway()
        events = workshop.power_on(waiting, 3, **OFFLINE)
        assert events[-1]["event"] == "undelivered"
        assert events[-1]["records"] > 40

        assert workshop.enroll("--rotate")["old_epochs"] == [1]
        workshop.import_registry()
        assert "no record of pen-04 under its key of epoch 2" in workshop.retire(code=2)
        # Still nobody there: what is recorded now belongs to the old key, too.
        workshop.power_on(between, 3, **OFFLINE)
        house.start_gateway()
        assert workshop.power_on(draining)[-1]["event"] == "done"
        assert list(statements(house.ledger))[-1] == "pen-04-1-4"
        assert workshop.power_on(after)[-1]["event"] == "done"

        as_truth(
            house,
            workshop,
            {
                "pen-04-1-1": first,
                "pen-04-1-2": waiting,
                "pen-04-1-3": between,
                "pen-04-1-4": draining,
                "pen-04-2-1": after,
            },
        )
        for epoch in (1, 2):
            numbers = [entry.seq for entry in house.ledger.records(PEN, epoch, 1)]
            assert numbers == list(range(1, len(numbers) + 1))
        assert not [name for name in house.ledger.tallies() if name.startswith("refused")]

        assert workshop.retire()["old_epochs"] == [1]
        workshop.import_registry()
        assert workshop.power_on(last)[-1]["event"] == "done"
        found = statements(house.ledger)["pen-04-2-2"]
        assert found["verdict"] == workshop.truth(last)["verdict"]
        assert [epoch for pen, epoch in house.ledger.pen_keys() if pen == PEN] == [2]
