"""The firmware as it is run: a real MicroPython, a real broker, a stand-in gateway."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stand_in import StandIn

from needletrail_protocol import messages
from needletrail_protocol.readings import Readings
from needletrail_protocol.tables import Message

ROOT = Path(__file__).resolve().parents[3]
MAIN = ROOT / "device" / "main.py"
KEY = bytes(range(32))
BADGE = (b"\xd1\x01\x1cU\x04clinic.example/badge/est-01").hex()
CARTRIDGE = (b"\xd1\x01\x2cU\x04id.gs1.org/01/09506000134352/10/LOT/21/1?17=27").hex()
CALIBRATION = [
    [410, 0], [1010, 500], [1625, 1000], [2230, 1500], [2860, 2000], [3480, 2500], [4060, 3000],
]  # fmt: skip
HEAP = "256k"  # compiling from source takes most of it


def written_tape(path: Path, seconds: int = 20) -> Path:
    """A session with one breach: 0.75 mm for the middle third."""
    lines = ["# tape: written", "# pen: pen-01", "# start: 2026-07-01T09:30:00Z", "# hz: 50"]
    lines.append("t_ms,dial_counts,strokes,contact_adc,event")
    strokes = 0
    last = 50 * seconds - 25
    for index in range(50 * seconds):
        is_working = 100 <= index < last - 50
        strokes += 2 if is_working else 0
        counts = 1317 if seconds * 17 <= index < seconds * 34 else 890
        event = {10: f"badge:{BADGE}", 40: f"cartridge:{CARTRIDGE}", last: "removed:cartridge"}
        noise = index * 7 % 5
        contact = (3000 if is_working else 900) + 10 * noise
        lines.append(f"{20 * index},{counts + noise},{strokes},{contact},{event.get(index, '')}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def tape(tmp_path: Path, prefix: str) -> tuple[Path, dict[str, Any]]:
    """A tape of the repository and its truth; the written one if there is none of that number."""
    for found in sorted((ROOT / "tapes").rglob(f"{prefix}-*.csv")):
        truth = found.with_name(found.stem + ".truth.json")
        return found, json.loads(truth.read_text(encoding="utf-8")) if truth.exists() else {}
    return written_tape(tmp_path / f"{prefix}.csv"), {}


class Pen:
    """A flash folder and the runs on it."""

    def __init__(self, flash: Path, micropython: Path, port: int, tape: Path, **rest: Any) -> None:
        self.flash = flash
        flash.mkdir(parents=True)
        self._micropython = micropython
        self.settings: dict[str, Any] = {
            "clinic": "harbor",
            "pen": "pen-01",
            "epoch": 1,
            "key": KEY.hex(),
            "broker": {"host": "127.0.0.1", "port": port, "username": None, "password": None},
            "calibration": CALIBRATION,
            "reading_tolerance_um": 30,
            "board": "virtual",
            "virtual": {"tape": str(tape), "speed": 0, "wait_ready_s": 20},
            "drain_timeout_s": 20,
        }
        self.configure(**rest)

    def configure(self, **rest: Any) -> None:
        virtual = self.settings["virtual"]
        for name, value in rest.items():
            (virtual if name in virtual else self.settings)[name] = value
        (self.flash / "pen.json").write_text(json.dumps(self.settings), encoding="utf-8")

    def command(self) -> list[str]:
        return [str(self._micropython), "-X", f"heapsize={HEAP}", str(MAIN), str(self.flash)]

    def start(self) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command(), stdout=pipe, stderr=pipe, text=True)

    def run(self, wanted_exit: int = 0) -> list[dict[str, Any]]:
        done = subprocess.run(self.command(), capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == wanted_exit, done.stdout + done.stderr
        self.stderr = done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def gateway(broker: Any) -> Iterator[Callable[..., StandIn]]:
    """Makes stand-ins, and stops them."""
    made: list[StandIn] = []

    def make(**arguments: Any) -> StandIn:
        arguments.setdefault("permits", (("est-01", 500),))
        made.append(StandIn(broker.host, broker.port, KEY, **arguments))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def of_kind(one: StandIn, kind: int) -> list[Message]:
    return [record for record in one.records() if record.kind == kind]


def check_whole(one: StandIn) -> None:
    """Every record once, in order, of a conversation without a gap."""
    assert not one.conflicts
    assert all(one.payloads)
    assert [record.seq for record in one.records()] == list(range(1, len(one.payloads) + 1))


def check_sessions(one: StandIn, sessions: int, boots: int = 1) -> None:
    check_whole(one)
    kinds = [record.kind for record in one.records()]
    assert kinds[0] == messages.BOOT
    assert kinds.count(messages.BOOT) == boots
    assert kinds.count(messages.OPEN) == kinds.count(messages.CLOSE) == sessions


def without_seq(payloads: list[bytes]) -> list[Any]:
    """Payloads as lists, without seq and without what comes when the gateway pleases."""
    from needletrail_protocol import cbor

    items: list[Any] = [cbor.decode(payload) for payload in payloads]
    return [item[:1] + item[2:] for item in items if item[0] != messages.ALERT_SHOWN]


@pytest.mark.parametrize("prefix", ["02", "12"])
def test_a_tape_arrives_whole_and_speed_changes_nothing(
    prefix: str, tmp_path: Path, micropython: Path, broker: Any, gateway: Any
) -> None:
    path, truth = tape(tmp_path, prefix)
    seen = []
    for speed in (0, 25):
        one = gateway(permits=(("est-01", 500), ("rn-01", 2000)))
        pen = Pen(tmp_path / f"flash-{speed}", micropython, broker.port, path, speed=speed)
        events = pen.run()
        assert events[-1]["event"] == "done"
        assert events[-1]["records"] == len(one.payloads)
        assert events[-1]["heap_peak_bytes"] < 160 * 1024  # from source; .mpy needs less
        check_sessions(one, 1)
        samples = sum(record.count for record in of_kind(one, messages.SAMPLES))
        if truth.get("session_samples") is not None:
            assert samples == truth["session_samples"]
        if truth:
            assert of_kind(one, messages.CLOSE)[0].passes == truth["passes"]
        one.stop()
        seen.append(one.payloads)
    assert seen[0] == seen[1], "byte for byte"


def test_alerts_are_shown_recorded_and_drained(
    tmp_path: Path, micropython: Path, broker: Any, gateway: Any
) -> None:
    def judge(record: Message) -> str | None:
        return "DEPTH_EXCEEDED" if record.kind == messages.LOCAL_BREACH else None

    one = gateway(alert_after=judge)
    pen = Pen(tmp_path / "flash", micropython, broker.port, written_tape(tmp_path / "t.csv"))
    events = pen.run()
    names = [event["event"] for event in events]
    for name in ("connected", "ready", "opened", "breach", "alert", "closed", "done"):
        assert name in names, events
    assert names.index("breach") < names.index("closed")
    check_sessions(one, 1)
    (shown,) = of_kind(one, messages.ALERT_SHOWN)
    assert shown.code == "DEPTH_EXCEEDED"
    (breach,) = of_kind(one, messages.LOCAL_BREACH)
    assert (breach.limit_um, breach.grant_utc_ms) == (500, 1000)
    assert "est-01" not in json.dumps(events)


def test_lost_and_late_acks(tmp_path: Path, micropython: Path, broker: Any, gateway: Any) -> None:
    one = gateway(lose_ack=lambda nth: nth % 3 == 0 or 20 < nth < 35, ack_delay_s=0.02)
    pen = Pen(tmp_path / "flash", micropython, broker.port, written_tape(tmp_path / "t.csv", 40))
    pen.run()
    check_sessions(one, 1)


def test_a_broker_that_dies_and_one_that_is_away_at_first(
    tmp_path: Path, micropython: Path, broker: Any, gateway: Any
) -> None:
    one = gateway()
    path = written_tape(tmp_path / "t.csv", 60)
    pen = Pen(tmp_path / "flash", micropython, broker.port, path, speed=10, wait_ready_s=0.1)
    broker.kill()
    process = pen.start()
    assert any('"offline"' in line for line in process.stdout)  # type: ignore[union-attr]
    broker.start()
    one.wait_for(5)
    for _ in range(2):
        broker.restart()
        one.wait_for(len(one.payloads) + 3)  # the pen is live again
    output, complaint = process.communicate(timeout=100)
    assert process.returncode == 0, output + complaint
    check_sessions(one, 1)


def test_power_cuts_at_any_time_lose_and_repeat_nothing(
    tmp_path: Path, micropython: Path, broker: Any, gateway: Any
) -> None:
    one = gateway()
    path = written_tape(tmp_path / "t.csv", 60)
    pen = Pen(tmp_path / "flash", micropython, broker.port, path, speed=20)
    cuts = 4
    for number in range(cuts):
        process = pen.start()
        for line in process.stdout:  # type: ignore[union-attr]
            if '"opened"' in line:
                break
        one.wait_for(len(one.payloads) + 4 + 6 * number)  # readings among them
        process.kill()
        process.communicate()
    pen.configure(speed=0)
    pen.run()
    check_sessions(one, cuts + 1, boots=cuts + 1)
    closes = of_kind(one, messages.CLOSE)
    assert [close.cause for close in closes] == [*[messages.CLOSED_BY_POWER_LOSS] * cuts, 0]
    assert [record.session for record in of_kind(one, messages.OPEN)] == [1, 2, 3, 4, 5]
    assert [record.boot for record in of_kind(one, messages.BOOT)] == [1, 2, 3, 4, 5]
    last_reading = {}
    for record in of_kind(one, messages.SAMPLES):
        last_reading[record.session] = Readings(record).t_ms[-1]
    for close in closes[:cuts]:
        assert close.t_ms == last_reading[close.session]


def test_undelivered_records_stay_for_the_next_run(
    tmp_path: Path, micropython: Path, broker: Any, gateway: Any
) -> None:
    path = written_tape(tmp_path / "t.csv")
    pen = Pen(tmp_path / "flash", micropython, broker.port, path, wait_ready_s=0, drain_timeout_s=1)
    broker.kill()
    events = pen.run(wanted_exit=3)
    assert events[-1]["event"] == "undelivered"
    assert pen.stderr.count("\n") == 1
    broker.start()
    one = gateway()
    pen.configure(wait_ready_s=20, drain_timeout_s=20)
    events = pen.run()
    second_boot = of_kind(one, messages.BOOT)[1]
    assert events[0] == {"event": "boot", "boot": 2, "backlog": second_boot.seq - 1}
    check_sessions(one, 2, boots=2)
    events = pen.run()
    assert events[0]["backlog"] == 0
    assert not list((tmp_path / "flash" / "epoch-1").glob("grant.new"))


def test_the_largest_grant_fits_the_heap(
    tmp_path: Path, micropython: Path, broker: Any, gateway: Any
) -> None:
    permits = (*((f"person-{number:05d}", 100) for number in range(199)), ("est-01", 500))
    one = gateway(permits=permits)
    pen = Pen(tmp_path / "flash", micropython, broker.port, written_tape(tmp_path / "t.csv"))
    for _ in range(2):
        events = pen.run()
        assert "breach" in [event["event"] for event in events]
    check_sessions(one, 2, boots=2)


def test_files_that_a_person_must_mend(
    tmp_path: Path, micropython: Path, broker: Any, gateway: Any
) -> None:
    gateway()
    path = written_tape(tmp_path / "t.csv", 4)
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[50] = "nonsense"
    path.write_text("\n".join(lines), encoding="utf-8")
    pen = Pen(tmp_path / "flash", micropython, broker.port, path)
    pen.run(wanted_exit=2)
    assert pen.stderr == f"{path}, line 51: 1 fields where there should be 5\n"
    pen.configure(epoch=0)
    assert pen.run(wanted_exit=2) == []
    assert pen.stderr == f"{pen.flash}/pen.json: epoch is out of range\n"
    (pen.flash / "pen.json").unlink()
    assert pen.run(wanted_exit=2) == []
    assert pen.stderr == f"{pen.flash}/pen.json: cannot be read\n"


def test_it_runs_on_cpython_too(tmp_path: Path, broker: Any, gateway: Any) -> None:
    one = gateway()
    pen = Pen(tmp_path / "flash", Path(), broker.port, written_tape(tmp_path / "t.csv"))
    pen.command = lambda: [sys.executable, str(MAIN), str(pen.flash)]  # type: ignore[method-assign]
    events = pen.run()
    assert events[-1]["heap_peak_bytes"] is None
    check_sessions(one, 1)


def test_a_frozen_broker_is_found_within_30_seconds(
    tmp_path: Path, micropython: Path, broker: Any, gateway: Any
) -> None:
    one = gateway()
    path = written_tape(tmp_path / "t.csv", 60)
    pen = Pen(tmp_path / "flash", micropython, broker.port, path, speed=10)
    process = pen.start()
    one.wait_for(10)
    broker.freeze()
    begin = time.monotonic()
    timer = threading.Timer(40, broker.thaw)
    timer.start()
    for line in process.stdout:  # type: ignore[union-attr]
        if '"disconnected"' in line:
            break
    found_s = time.monotonic() - begin
    timer.cancel()
    broker.thaw()
    output, complaint = process.communicate(timeout=100)
    assert process.returncode == 0, output + complaint
    assert found_s < 30
    check_sessions(one, 1)


@pytest.mark.parametrize("slow_write_ms", [0, 60])
def test_a_timer_takes_the_same_readings(
    tmp_path: Path, micropython: Path, broker: Any, gateway: Any, slow_write_ms: int
) -> None:
    """A thread takes the readings in real time; what is recorded is what is recorded without it."""
    told = []
    for name, timer in (("plain", 0), ("timer", 1)):
        one = gateway()
        pen = Pen(tmp_path / name, micropython, broker.port, written_tape(tmp_path / f"{name}.csv"))
        pen.settings["virtual"].update(
            timer=timer, speed=4 * timer, slow_write_ms=slow_write_ms * timer
        )
        pen.configure()
        events = pen.run()
        check_sessions(one, 1)
        told.append([record for record in one.payloads if record[1] == messages.SAMPLES])
        late_ms = [event["late_ms"] for event in events if event["event"] == "sampled"]
        assert len(late_ms) == timer
        if timer:
            assert sum(late_ms[0]) == 1000, "a row of the tape was not read"
        one.stop()
    assert told[0] == told[1]
