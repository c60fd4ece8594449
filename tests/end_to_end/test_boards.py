"""The whole firmware with each real board's file, in a pretended world, at a real broker and gateway.

tests/device/board_fakes pretends machine, network, neopixel and rp2: chips are known to it by their
registers, and wired as the table in device/README.md says. A tape moves them, in real time: the dial's
magnet, one edge a stroke, the skin sensor's voltage, and tags in the field of a PN532. What the gateway
then says must be what the tape's truth says. Four pens at once, on either interpreter.

A session lasts from the cartridge's arrival, and a reader needs a moment to see it come and go: so
long its length may be off. Nothing else may. The clinic's dates are moved: these pens have today's.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from needletrail_gateway.bench.house import House
from needletrail_gateway.bench.play import answer_for
from needletrail_gateway.shell.documents import read_registry
from needletrail_protocol import messages
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.readings import decode_record

ROOT = Path(__file__).resolve().parents[2]
FAKES = ROOT / "tests" / "device" / "board_fakes"
BOARDS = ("esp32_s3", "esp32_c3", "pico_w", "pico_2_w")
READER_MS = 1000  # to see a cartridge, or that it is gone
PEAK_WITHIN_MM = 0.03
BREACH_WITHIN_MS = 120  # a pass
READY_S, RUN_S = 60, 180
YELLOW, RED, DARK = [80, 50, 0], [80, 0, 0], [0, 0, 0]
FAULT_FROM_MS, FAULT_UNTIL_MS = 6000, 9000


def wires(board: str) -> tuple[str, dict[str, int]]:
    """(chip, GPIO by part) of a board, from the documentation."""
    sys.path.insert(0, str(FAKES))
    try:
        import wiring_table
    finally:
        sys.path.remove(str(FAKES))
    return wiring_table.CHIPS[board], wiring_table.read(str(ROOT / "device" / "README.md"), board)


def clinic(folder: Path, bench: Path, pens: int) -> Path:
    """The bench's registry with more pens and later dates."""
    text = (bench / "registry.toml").read_text().replace("2027-12-31", "2099-12-31")
    found = re.search(r"^\[\[pen\]\]\n(?:.+\n)+", text, re.MULTILINE)
    assert found
    block = found.group()
    for number in range(2, pens + 1):
        text += "\n" + block.replace("pen-01", f"pen-{number:02}").replace('"b3b8', f'"{number:04}')
    path = folder / "registry.toml"
    path.write_text(text)
    return path


def own_tape(folder: Path, tape: Path, number: int) -> Path:
    """A tape whose cartridge nobody else has, and which does not expire soon."""

    def renewed(found: "re.Match[str]") -> str:
        message = bytes.fromhex(found.group(1))
        message = re.sub(rb"(?<=/21/)\d{3}", b"%03d" % (100 + number), message)
        message = re.sub(rb"(?<=17=)\d{6}", b"491231", message)
        return f"cartridge:{message.hex()}"

    path = folder / f"{number}.csv"
    path.write_text(re.sub(r"cartridge:([0-9a-f]+)", renewed, tape.read_text()))
    return path


class BoardPen:
    """A board's firmware as a process, and what was seen of it from outside."""

    def __init__(
        self, board: str, house: House, pen_id: str, folder: Path, program: Path, **rest: Any
    ) -> None:
        self.board = board
        self.pen = house.pen(pen_id)
        self.folder = folder
        flash = folder / "flash"
        flash.mkdir(parents=True)
        pen = self.pen.pen
        config = {
            "clinic": self.pen.clinic,
            "pen": pen.id,
            "epoch": self.pen.epoch,
            "key": self.pen.key.hex(),
            "broker": {
                "host": house.broker.host,
                "port": house.broker.port,
                "username": None,
                "password": None,
            },
            "calibration": [[counts, round(1000 * mm)] for counts, mm in pen.calibration],
            "reading_tolerance_um": round(1000 * pen.reading_tolerance_mm),
            "board": board,
            "wifi": {"ssid": "harbor", "password": "a long password"},
            "motor_interlock": True,
            "drain_timeout_s": 30,
        }
        (flash / "pen.json").write_text(json.dumps(config))
        chip, wired = wires(board)
        settings = {
            "protocol": str(ROOT / "protocol"),
            "device": str(ROOT / "device"),
            "tests": str(ROOT / "tests" / "device"),
            "flash": str(flash),
            "chip": chip,
            "wires": wired,
            "go": str(folder / "go"),
            "report": str(folder / "report.json"),
            "faults": [],
            "has_counter": False,
        } | rest
        (folder / "settings.json").write_text(json.dumps(settings))
        heap = () if program == Path(sys.executable) else ("-X", "heapsize=16m")
        command = [program, *heap, FAKES / "play_board.py", folder / "settings.json"]
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(command, stdout=stdout, stderr=stderr)

    def events(self) -> list[dict[str, Any]]:
        text = (self.folder / "stdout").read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def said(self) -> str:
        return f"{self.board}: {self.events()[-5:]} {(self.folder / 'stderr').read_text()}"

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.said()
        return any(event["event"] == "ready" for event in self.events())

    def go(self) -> None:
        (self.folder / "go").touch()

    def report(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return answer


def run(pens: list[BoardPen]) -> None:
    """All pens at once, from when they are ready until all have delivered."""
    try:
        until_s = time.monotonic() + READY_S
        while not all(pen.is_ready() for pen in pens):
            assert time.monotonic() < until_s, [pen.said() for pen in pens]
            time.sleep(0.1)
        for pen in pens:
            pen.go()
        for pen in pens:
            assert pen.process.wait(RUN_S) == 0, pen.said()
    finally:
        for pen in pens:
            pen.process.kill()
            pen.process.wait()


def records(house: House, pen_id: str) -> list[Any]:
    """A pen's records in the ledger."""
    entries = house.ledger.entries(0)
    found = []
    while entries:
        found += [
            decode_record(open_envelope(entry.body)[1])
            for entry in entries
            if entry.kind == "record" and entry.pen == pen_id
        ]
        entries = house.ledger.entries(entries[-1].id)
    return found


def faults(seen: list[Any]) -> list[tuple[int, str, str, bool]]:
    """(ms, part, fault, whether it is over) of the records that say so."""
    return [
        (one.t_ms, one.part, one.fault, bool(one.is_over)) for one in seen if one.kind == messages.FAULT
    ]


def check_truth(answer: Mapping[str, Any], truth: Mapping[str, Any], board: str) -> None:
    for key in ("verdict", "reasons", "passes", "strokes", "practitioner", "scope_mm"):
        assert answer[key] == truth[key], (board, key)
    assert answer["peak_mm"] == pytest.approx(truth["peak_mm"], abs=PEAK_WITHIN_MM), board
    within = BREACH_WITHIN_MS * truth["passes"]
    assert answer["breach_ms"] == pytest.approx(truth["breach_ms"], abs=within), board
    assert answer["session_ms"] == pytest.approx(truth["session_ms"], abs=READER_MS), board
    assert answer["cartridge"]["lot"] == truth["cartridge"]["lot"], board
    codes = [alert["code"] for alert in answer["alerts"]]
    assert sorted(codes) == (answer["reasons"] if truth["verdict"] == "violation" else []), board
    assert all(alert["reached_pen"] for alert in answer["alerts"]), board


def spans(shown: list[list[Any]], what: str, value: Any) -> list[int]:
    """When something outside became this, in ms."""
    return [at_ms for at_ms, name, now in shown if name == what and now == value]


@pytest.mark.parametrize(
    ("is_micropython", "name"), [(True, "02-cosmetic-exceeded"), (False, "13-unsupervised-medical")]
)
def test_every_board_records_what_the_tape_says(
    is_micropython: bool, name: str, bench: Path, tmp_path: Path, micropython: Path
) -> None:
    truth = json.loads((bench / f"{name}.truth.json").read_text())
    registry = read_registry(clinic(tmp_path, bench, len(BOARDS)))
    program = micropython if is_micropython else Path(sys.executable)
    with House(tmp_path, registry, tmp_path / "ledger.sqlite") as house:
        pens = []
        for number, board in enumerate(BOARDS, 1):
            folder = tmp_path / board
            folder.mkdir()
            tape = own_tape(folder, bench / f"{name}.csv", number)
            # The counter came with MicroPython 1.26: with and without it.
            pens.append(
                BoardPen(
                    *(board, house, f"pen-{number:02}", folder, program),
                    tape=str(tape),
                    has_counter=is_micropython,
                )
            )
        run(pens)
        for pen in pens:
            pen_id = pen.pen.pen.id
            seen = records(house, pen_id)
            assert seen[0].board == pen.board
            assert faults(seen) == [], pen.board
            check_truth(answer_for(house.ledger, name, pen_id, 0), truth, pen.board)
            report = pen.report()
            assert report["problems"] == [], pen.board
            assert report["lost_interrupts"] == 0, pen.board
            assert report["strokes"] == truth["strokes"], pen.board
            assert spans(report["shown"], "pixel", RED), "a breach is red"
            assert spans(report["shown"], "haptic", 1), "and buzzes"


FAULTS = {
    "esp32_s3": ("magnet", "dial", "magnet_missing"),
    "pico_w": ("dial_bus", "dial", "bus"),
    "esp32_c3": ("pn532", "tags", "nfc_frames"),  # an open line reads as frames
    "pico_2_w": ("current", "current", "disagrees"),
}


# A timer that is held up, and a main task that is; the latter a board with hard interrupts can tell.
HELD_UP = {
    "esp32_s3": ("timer", "late"),
    "pico_w": ("main", "lost"),
}


def test_readings_that_come_late_or_are_lost_are_an_event_and_a_light(
    bench: Path, tmp_path: Path, micropython: Path
) -> None:
    name = "10-cartridge-expired"  # but here it does not
    registry = read_registry(clinic(tmp_path, bench, len(HELD_UP)))
    with House(tmp_path, registry, tmp_path / "ledger.sqlite") as house:
        pens = []
        for number, (board, (what, _)) in enumerate(HELD_UP.items(), 1):
            folder = tmp_path / board
            folder.mkdir()
            tape = own_tape(folder, bench / f"{name}.csv", number)
            plan = [[FAULT_FROM_MS, what, True]]
            pens.append(
                BoardPen(
                    *(board, house, f"pen-{number:02}", folder, micropython),
                    tape=str(tape),
                    faults=plan,
                )
            )
        run(pens)
        for pen in pens:
            fault = HELD_UP[pen.board][1]
            told = [one for one in faults(records(house, pen.pen.pen.id)) if one[1] == "sampling"]
            wanted = [("sampling", fault, False), ("sampling", fault, True)]
            assert [one[1:] for one in told] == wanted, (pen.board, told)
            begun, over = (one[0] for one in told)
            yellow = spans(pen.report()["shown"], "pixel", YELLOW)
            assert yellow and begun - 200 < yellow[0], pen.board
            assert yellow[-1] < over + 5000, pen.board  # the main task has a backlog to take first
            answer = answer_for(house.ledger, name, pen.pen.pen.id, 0)
            assert "SENSOR_FAULT" in answer["reasons"], pen.board
            assert answer["verdict"] != "compliant", pen.board


def test_a_part_that_fails_is_an_event_and_a_light(
    bench: Path, tmp_path: Path, micropython: Path
) -> None:
    name = "10-cartridge-expired"  # but here it does not
    truth = json.loads((bench / f"{name}.truth.json").read_text())
    registry = read_registry(clinic(tmp_path, bench, len(FAULTS)))
    with House(tmp_path, registry, tmp_path / "ledger.sqlite") as house:
        pens = []
        for number, (board, (what, _, _)) in enumerate(FAULTS.items(), 1):
            folder = tmp_path / board
            folder.mkdir()
            tape = own_tape(folder, bench / f"{name}.csv", number)
            plan = [[FAULT_FROM_MS, what, True], [FAULT_UNTIL_MS, what, False]]
            pens.append(
                BoardPen(
                    *(board, house, f"pen-{number:02}", folder, micropython),
                    tape=str(tape),
                    faults=plan,
                )
            )
        run(pens)
        for pen in pens:
            _, part, fault = FAULTS[pen.board]
            pen_id = pen.pen.pen.id
            told = faults(records(house, pen_id))
            wanted = [(part, fault, False), (part, fault, True)]
            assert [one[1:] for one in told] == wanted, (pen.board, told)
            begun, over = (one[0] for one in told)
            lasted_ms = FAULT_UNTIL_MS - FAULT_FROM_MS
            assert lasted_ms - 1500 < over - begun < lasted_ms + 10_000, pen.board
            shown = pen.report()["shown"]
            yellow = spans(shown, "pixel", YELLOW)
            assert len(yellow) >= 5, (pen.board, "it blinks fast")
            assert begun - 200 < yellow[0] < begun + 500, pen.board
            assert yellow[-1] < over + 500, pen.board
            answer = answer_for(house.ledger, name, pen_id, 0)
            assert "other_sessions" not in answer, (pen.board, "the session went on")
            assert answer["practitioner"] == truth["practitioner"]
            assert answer["peak_mm"] == pytest.approx(truth["peak_mm"], abs=PEAK_WITHIN_MM), pen.board
            assert answer["verdict"] in ("compliant", "review"), (pen.board, answer["reasons"])
            assert answer["strokes"] == truth["strokes"], pen.board
