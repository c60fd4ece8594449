"""`needletrail pen flash` and `calibrate` with the real mpremote.

It talks to a terminal behind which a real MicroPython sits, with a folder as its flash. What only a
board has, its platform and its sensor, is put in by the test.
"""

import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from workshop_desk import Answer, CabledPen, Needletrail, keyboard

from needletrail_gateway.shell.documents import read_registry
from needletrail_gateway.workshop import flash, pen_file
from needletrail_gateway.workshop import port as serial
from needletrail_gateway.workshop.build import read_build
from needletrail_gateway.workshop.errors import WorkshopError

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
CLINIC = Path(__file__).resolve().parents[2] / "tapes" / "clinic" / "registry.toml"
MARKS = {0: 400, 500: 1000, 1000: 1600, 1500: 2200, 2000: 2800, 2500: 3400}

# What a board's own file has beside its sensors; the ring stands where the file `ring` says.
DIAL = '''"""A dial for tests."""


class Dial:
    fault = None

    def read(self):
        self.turn = (getattr(self, "turn", 0) + 1) % 3
        with open("ring") as file:
            counts = int(file.read())
        return counts + self.turn - 1 if counts >= 0 else -1


def dial():
    return Dial()
'''


@pytest.fixture
def needletrail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Needletrail:
    """Type a command, in an empty folder."""
    return keyboard(monkeypatch, capsys, tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The virtual board's firmware, built once."""
    from needletrail_gateway.workshop.build import build

    folder = tmp_path_factory.mktemp("built")
    build("virtual", folder, 1, "0.1.0")
    return folder


@pytest.fixture
def pen_json(needletrail: Needletrail) -> Path:
    """An enrolled pen's, beside the clinic's registry."""
    shutil.copyfile(CLINIC, "clinic.toml")
    answer = needletrail(
        "pen", "enroll", "pen-04", "--registry", "clinic.toml", "--out", "pens/pen-04",
        "--board", "virtual", "--broker-host", "localhost", "--like", "pen-01",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    return Path("pens/pen-04/pen.json")


@pytest.fixture
def pen(micropython: Path, tmp_path: Path) -> Iterator[CabledPen]:
    """A pen on a cable, with nothing on it."""
    with CabledPen(micropython, tmp_path / "flash") as one:
        yield one


def type_lines(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(answer: Answer, code: int, *said: str) -> None:
    assert (answer.code, answer.out) == (code, "")
    for one in said:
        assert one in answer.err


def load(cabled: CabledPen, name: str, **changes: Any) -> None:
    """Put a pen.json of another time onto the pen."""
    found = json.loads(Path(name).read_text()) | changes
    (cabled.flash / "pen.json").write_text(json.dumps(found))


# ---- flash ----


def test_everything_arrives_and_nothing_else(
    needletrail: Needletrail, pen: CabledPen, built: Path, pen_json: Path
) -> None:
    answer = needletrail(
        "pen", "flash", "--port", pen.port, "--from", built, "--pen-json", pen_json, "--json"
    )
    assert answer.code == 0, answer.err
    wanted = contents(built)
    del wanted["build.json"], wanted["names.json"]  # for people, not for the pen
    assert contents(pen.flash) == wanted | {"pen.json": pen_json.read_bytes()}
    said = json.loads(answer.out)
    assert set(said["files"]) == set(contents(pen.flash))
    assert said["micropython"][:2] == [1, 25]
    assert "not calibrated yet" in answer.err


@pytest.mark.parametrize(("days", "is_old"), [(365, False), (366, True)])
def test_a_table_of_more_than_a_year_ago_is_warned_of(days: int, *, is_old: bool, built: Path) -> None:
    pen = {"clinic": "c", "pen": "p", "calibrated_utc": (NOW - timedelta(days, 60)).isoformat()}
    warnings = flash.check(
        flash.Found(mpy=6, platform="linux"),
        flash.Load(read_build(built), {}, {}, pen | {"epoch": 1, "key": "00" * 32, "previous": []}),
        NOW,
        is_erasing=False,
    )
    assert [one for one in warnings if "calibrate" in one] == (
        [f"this pen was calibrated {days} days ago: needletrail pen calibrate."] if is_old else []
    )


def test_the_firmware_on_the_pen_is_replaced_and_its_records_stay(
    needletrail: Needletrail, pen: CabledPen, built: Path, pen_json: Path
) -> None:
    records = {"epoch-1/00000001.log": b"records", "epoch-1/state.a": b"state"}
    stale = {"slots/a/firmware.py": b"stale", "slots/b/manifest": b"2 0.2", "slots/state.a": b"b"}
    load(pen, str(pen_json))
    for path, data in {**records, **stale}.items():
        (pen.flash / path).parent.mkdir(parents=True, exist_ok=True)
        (pen.flash / path).write_bytes(data)
    command = ("pen", "flash", "--port", pen.port, "--from", built)
    assert needletrail(*command, "--pen-json", pen_json).code == 0
    found = contents(pen.flash)
    assert {path: found[path] for path in records} == records
    assert "slots/a/firmware.py" not in found
    assert "slots/b/manifest" not in found
    assert found["slots/state.a"] == (built / "slots" / "state.a").read_bytes()


def test_records_are_erased_only_when_asked_and_confirmed(
    needletrail: Needletrail,
    pen: CabledPen,
    built: Path,
    pen_json: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load(pen, str(pen_json))
    (pen.flash / "epoch-1").mkdir()
    (pen.flash / "epoch-1" / "00000001.log").write_bytes(b"records")
    before = contents(pen.flash)
    command = ("pen", "flash", "--port", pen.port, "--from", built, "--pen-json", pen_json, "--erase")
    type_lines(monkeypatch, "n")
    answer = needletrail(*command)
    assert answer.code == 1
    assert "Throw away the records of pen-04 (epoch-1)?" in answer.err
    type_lines(monkeypatch)
    assert needletrail(*command).code == 1
    assert contents(pen.flash) == before
    type_lines(monkeypatch, "y")
    answer = needletrail(*command)
    assert answer.code == 0, answer.err
    assert "--rotate" in answer.err
    assert not (pen.flash / "epoch-1").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pen": "pen-01"}, "this is pen-01 of harbor, and it holds records"),
        ({"clinic": "other"}, "this is pen-04 of other, and it holds records"),
        ({"epoch": 2}, "the pen has the key of epoch 2 already"),
    ],
)
def test_a_pen_with_records_of_another_identity_is_left_alone(
    changes: dict[str, Any],
    said: str,
    needletrail: Needletrail,
    pen: CabledPen,
    built: Path,
    pen_json: Path,
) -> None:
    load(pen, str(pen_json), **changes)
    command = ("pen", "flash", "--port", pen.port, "--from", built, "--pen-json", pen_json)
    (pen.flash / "epoch-1").mkdir()
    before = contents(pen.flash)
    refused(needletrail(*command), 2, said)
    assert contents(pen.flash) == before


def test_a_dry_run_prints_what_would_be_typed_and_needs_no_pen(
    needletrail: Needletrail, pen: CabledPen, built: Path, pen_json: Path
) -> None:
    answer = needletrail(
        "pen", "flash", "--port", "/dev/none", "--from", built, "--pen-json", pen_json, "--dry-run"
    )
    assert answer.code == 0, answer.err
    lines = [shlex.split(line) for line in answer.out.splitlines()]
    assert all(line[:3] == ["mpremote", "connect", "/dev/none"] for line in lines)
    copied = {line[-1]: Path(line[-2]) for line in lines if line[3:5] == ["fs", "cp"]}
    assert copied[":pen.json"] == pen_json.resolve()
    assert copied[":slots/a/firmware.mpy"] == (built / "slots/a/firmware.mpy").resolve()
    assert list(copied)[-3:] == [":slots/state.a", ":slots/state.b", ":main.py"]
    assert lines[-1][3:] == ["reset"]
    # These commands do what `flash` itself does.
    serial.Port(pen.port).run(*(line[3:] for line in lines), timeout_s=60)
    assert {f":{path}" for path in contents(pen.flash)} == set(copied)


def test_a_file_that_did_not_arrive_is_noticed(
    pen: CabledPen, needletrail: Needletrail, tmp_path: Path
) -> None:
    (pen.flash / "good").write_bytes(b"good")
    (pen.flash / "bad").write_bytes(b"baD")
    files = {"good": b"good", "bad": b"bad"}
    assert flash.verify(serial.Port(pen.port), files) == ["bad"]


def test_the_wrong_folder_or_pen_json_is_told_before_the_pen_is_asked(
    needletrail: Needletrail, built: Path, pen_json: Path
) -> None:
    command = ("pen", "flash", "--port", "/dev/none")
    refused(needletrail(*command, "--from", "."), 2, "needletrail pen build")
    refused(
        needletrail(*command, "--from", built, "--pen-json", "none.json"), 2, "needletrail pen enroll"
    )
    found = json.loads(pen_json.read_text())
    pen_file.write_pen(pen_json, found | {"board": "esp32_s3"})
    command = (*command, "--from", str(built), "--pen-json", str(pen_json))
    refused(needletrail(*command), 2, "is for the board esp32_s3")
    pen_file.write_pen(pen_json, found | {"broker": found["broker"] | {"ca": "ca.der"}})
    refused(needletrail(*command), 2, "ca.der: can not be read")


# ---- the port ----


def test_a_port_that_is_not_there_is_told_with_what_to_look_at(
    needletrail: Needletrail, built: Path
) -> None:
    refused(
        needletrail("pen", "flash", "--port", "/dev/none", "--from", built), 2,
        "no port /dev/none", "cable", "mpremote devs",
    )  # fmt: skip


def test_a_port_that_is_none_is_told(needletrail: Needletrail, built: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    refused(needletrail("pen", "flash", "--port", file, "--from", built), 1, "can not be opened")


def test_a_port_without_permission_names_the_group(
    needletrail: Needletrail, built: Path, pen: CabledPen, monkeypatch: pytest.MonkeyPatch
) -> None:
    may = os.access  # root may do anything
    monkeypatch.setattr(
        os, "access", lambda path, mode, **more: str(path) != pen.port and may(path, mode, **more)
    )
    refused(needletrail("pen", "flash", "--port", pen.port, "--from", built), 2, "dialout")


def test_silence_is_told_and_does_not_last(
    needletrail: Needletrail, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial, "ANSWER_TIMEOUT_S", 1.0)
    host, silent = os.openpty()
    try:
        answer = needletrail("pen", "flash", "--port", os.ttyname(silent), "--from", built)
    finally:
        os.close(host)
        os.close(silent)
    refused(answer, 1, "answers as MicroPython does", "needs MicroPython first")


def test_without_mpremote_it_is_told_what_installs_it(
    needletrail: Needletrail, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial, "find_spec", lambda _name: None)
    refused(needletrail("pen", "flash", "--from", built), 1, "pip install 'needletrail[workshop]'")


# ---- which board it is ----


@pytest.mark.parametrize(
    ("board", "platform", "machine", "does_fit"),
    [
        ("esp32_s3", "esp32", "Generic ESP32S3 module with Octal-SPIRAM with ESP32S3", True),
        ("esp32_s3", "esp32", "ESP32C3 module with ESP32C3", False),
        ("esp32_c3", "esp32", "ESP32C3 module with ESP32C3", True),
        ("esp32_s3", "rp2", "Raspberry Pi Pico W with RP2040", False),
        ("pico_w", "rp2", "Raspberry Pi Pico W with RP2040", True),
        ("pico_w", "rp2", "Raspberry Pi Pico with RP2040", False),
        ("pico_w", "rp2", "Raspberry Pi Pico 2 W with RP2350", False),
        ("pico_2_w", "rp2", "Raspberry Pi Pico 2 W with RP2350", True),
        ("virtual", "linux", "linux [GCC 14.2.0] version", True),
        ("virtual", "esp32", "ESP32C3 module with ESP32C3", False),
        ("bench_of_my_own", "stm32", "anything", True),
    ],
)
def test_firmware_goes_onto_its_own_kind_of_board(
    board: str, platform: str, machine: str, does_fit: bool
) -> None:
    assert flash.fits(board, platform, machine) == does_fit


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": [1, 24, 1]}, "runs MicroPython 1.24.1; it needs 1.25"),
        ({"mpy": 5}, "loads .mpy version 5"),
        ({"platform": "rp2"}, "Build for that board"),
        ({"free_bytes": 40_000}, "40000 are free"),
    ],
)
def test_a_pen_that_can_not_run_it_is_told_why(change: dict[str, Any], said: str, built: Path) -> None:
    good: dict[str, Any] = {"mpy": 6, "platform": "linux", "free_bytes": 10_000_000}
    found = flash.read_load(built, None)
    assert flash.check(flash.Found(**good), found, NOW, is_erasing=False) != []
    with pytest.raises(WorkshopError, match=said):
        flash.check(flash.Found(**{**good, **change}), found, NOW, is_erasing=False)


# ---- calibrate ----


@pytest.fixture
def dial(pen: CabledPen, pen_json: Path) -> Path:
    """A pen whose ring can be set by writing counts into this file."""
    board = pen.flash / "slots" / "a" / "boards" / "virtual.py"
    board.parent.mkdir(parents=True)
    board.write_text(DIAL)
    shutil.copyfile(pen_json, pen.flash / "pen.json")
    return pen.flash / "ring"


class Hand:
    """Somebody who sets the ring to the next place each time when Enter is asked for."""

    def __init__(self, ring: Path, places: list[int]) -> None:
        self._ring = ring
        self._places = iter(places)

    def readline(self) -> str:
        place = next(self._places, None)
        if place is None:
            return ""
        self._ring.write_text(str(place))
        return "\n"


def calibrate(pen: CabledPen, *more: object) -> tuple[object, ...]:
    return (
        "pen", "calibrate", "--pen-json", "pens/pen-04/pen.json", "--port", pen.port,
        "--registry", "clinic.toml", *more,
    )  # fmt: skip


def test_the_table_goes_to_the_pen_to_its_json_and_to_the_registry(
    needletrail: Needletrail, pen: CabledPen, dial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Hand(dial, list(MARKS.values())))
    answer = needletrail(*calibrate(pen, "--marks", "0,0.5,1,1.5,2,2.5"))
    assert answer.code == 0, answer.err
    assert "Set the ring to 2.50 mm" in answer.err
    found = json.loads(Path("pens/pen-04/pen.json").read_text())
    assert found["calibration"] == [[counts, um] for um, counts in MARKS.items()]
    assert found["calibration_residual_um"] == 0
    assert found["calibrated_utc"].endswith("Z")
    assert (pen.flash / "pen.json").read_bytes() == Path("pens/pen-04/pen.json").read_bytes()
    entry = read_registry(Path("clinic.toml")).find_pen("pen-04")
    assert entry is not None
    assert entry.calibration == [(counts, um / 1000) for um, counts in MARKS.items()]
    assert f"# {found['calibrated_utc'][:10]}, residual 0.00 mm" in Path("clinic.toml").read_text()
    assert str(entry.calibrated) == found["calibrated_utc"][:10]


def test_both_sides_show_the_rings_play(
    needletrail: Needletrail, pen: CabledPen, dial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = [counts - 12 for counts in MARKS.values()]
    down = [counts + 12 for counts in reversed(MARKS.values())]
    monkeypatch.setattr(sys, "stdin", Hand(dial, up + down))
    answer = needletrail(*calibrate(pen, "--marks", "0,0.5,1,1.5,2,2.5", "--both-sides", "--json"))
    assert answer.code == 0, answer.err
    said = json.loads(answer.out)
    assert said["calibration"] == [[counts, um] for um, counts in MARKS.items()]
    assert said["calibration_backlash_um"] == 20


def test_a_ring_that_still_turns_is_measured_once_more(
    needletrail: Needletrail, pen: CabledPen, dial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = pen.flash / "slots" / "a" / "boards" / "virtual.py"
    turning = DIAL.replace("self.turn - 1 if", "(self.turn * 50 if counts % 100 else 0) if")
    board.write_text(turning)
    monkeypatch.setattr(sys, "stdin", Hand(dial, [401, 400, 1000, 1600]))
    answer = needletrail(*calibrate(pen, "--marks", "0,0.5,1", "--json"))
    assert answer.code == 0, answer.err
    assert answer.err.count("Once more: at 0.00 mm the readings spread") == 1
    assert json.loads(answer.out)["calibration"] == [[400, 0], [1000, 500], [1600, 1000]]


def test_nothing_changes_if_nobody_sets_the_ring_or_the_marks_make_no_dial(
    needletrail: Needletrail, pen: CabledPen, dial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(Path())
    monkeypatch.setattr(sys, "stdin", Hand(dial, [400]))
    refused(needletrail(*calibrate(pen)), 2, "there is nobody to set the ring")
    monkeypatch.setattr(sys, "stdin", Hand(dial, [1600, 1000, 400]))
    refused(needletrail(*calibrate(pen, "--marks", "0,0.5,1")), 2, "runs the wrong way")
    monkeypatch.setattr(sys, "stdin", Hand(dial, [-1]))
    refused(needletrail(*calibrate(pen)), 1, "the pen's dial gives no reading")
    dial.unlink()
    assert contents(Path()) == before


def test_another_pen_on_the_cable_is_noticed(
    needletrail: Needletrail, pen: CabledPen, dial: Path
) -> None:
    load(pen, "pens/pen-04/pen.json", pen="pen-01")
    refused(needletrail(*calibrate(pen)), 2, "the pen at", "is pen-01")


def test_a_pen_without_firmware_is_sent_to_be_flashed(
    needletrail: Needletrail, pen: CabledPen, pen_json: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Hand(pen.flash / "ring", [400]))
    refused(needletrail(*calibrate(pen)), 1, "Flash it first")


# ---- from a file ----


def written(*marks: tuple[float, int]) -> Path:
    path = Path("readings.csv")
    rows = [f"{mark},{counts + index % 3 - 1}" for mark, counts in marks for index in range(30)]
    path.write_text("\n".join(["mark_mm,counts", *rows]) + "\n")
    return path


def from_file(*more: object) -> tuple[object, ...]:
    pen_json = ("--pen-json", "pens/pen-04/pen.json")
    return ("pen", "calibrate", *pen_json, "--readings", "readings.csv", *more)


def test_readings_from_a_file_make_the_same_table(needletrail: Needletrail, pen_json: Path) -> None:
    written(*((um / 1000, counts) for um, counts in MARKS.items()))
    before = pen_json.read_bytes()
    said = json.loads(needletrail(*from_file("--dry-run", "--json")).out)
    assert said["calibration"] == [[counts, um] for um, counts in MARKS.items()]
    assert pen_json.read_bytes() == before
    answer = needletrail(*from_file())
    assert answer.code == 0, answer.err
    assert "calibration = [[400, 0.0], [1000, 0.5]" in answer.out
    assert "needletrail pen flash" in answer.out
    assert json.loads(pen_json.read_text())["calibration"] == said["calibration"]


def test_a_dial_that_has_moved_is_told_by_exit_code_3(needletrail: Needletrail, pen_json: Path) -> None:
    written((0.5, 1010), (1.0, 1625))
    answer = needletrail(*from_file("--check"))
    assert (answer.code, answer.err) == (0, "")
    assert "still fits" in answer.out
    written((0.5, 1010), (1.0, 1625 + 50))
    before = pen_json.read_bytes()
    answer = needletrail(*from_file("--check", "--json"))
    assert answer.code == 3
    assert "the dial has moved by more than 0.03 mm" in answer.err
    said = json.loads(answer.out)
    assert said["has_drifted"] is True
    assert [one["drift_um"] for one in said["marks"]] == [0, 41]
    assert pen_json.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("counts\n1\n", "readings.csv:1: the first line must be mark_mm,counts"),
        ("mark_mm,counts\n0.5,1010\nhalf,1010\n", "readings.csv:3: "),
        ("mark_mm,counts\n0.5\n", "readings.csv:2: "),
        ("mark_mm,counts\n", "0 marks are too few"),
        ("mark_mm,counts\n0.5,1010\n", "1 readings out of 1"),
    ],
)
def test_a_file_that_can_not_be_used_is_told_with_its_line(
    text: str, said: str, needletrail: Needletrail, pen_json: Path
) -> None:
    Path("readings.csv").write_text(text)
    refused(needletrail(*from_file()), 2, said)


@pytest.mark.parametrize("marks", ["0,half", "1,0.5", "0.5,0.5"])
def test_marks_must_be_rising_millimetres(
    marks: str, needletrail: Needletrail, pen: CabledPen, dial: Path
) -> None:
    refused(needletrail(*calibrate(pen, "--marks", marks)), 2, f"--marks {marks}")
