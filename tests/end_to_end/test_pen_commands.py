"""From parts to a pen at work, as its maker would do it.

The pen is enrolled, built and started, with a real broker that asks for its password, and the real
gateway. The firmware is what `needletrail pen build` made.
"""

import json
import os
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from end_to_end.pen_workshop import OFFLINE, PEN, Workshop, as_truth
from end_to_end.reading import statements
from needletrail_gateway.workshop.build import flash_files

ROOT = Path(__file__).resolve().parents[2]
FRAME = re.compile(r'^  File "(.+)", lines? (\d+)(?: to (\d+))?, in (.+)$', re.MULTILINE)


@pytest.fixture
def workshop(tmp_path: Path, micropython: Path, bench: Path) -> Workshop:
    """A pen that is enrolled and built, and was never switched on."""
    made = Workshop(tmp_path, micropython, bench)
    said = made.enroll(
        *("--board", "virtual", "--broker-host", "127.0.0.1", "--broker-port", str(made.port)),
        *("--like", "pen-01"),
    )
    assert (said["clinic"], said["pen"], said["epoch"]) == ("harbor", PEN, 1)
    built = made.build()
    assert built["bytes"] < 64 * 1024
    assert list(made.flash.rglob("*.py")) == [made.flash / "main.py"]
    return made


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


def crash(micropython: Path, main: Path, flash: Path, pen: str, **environment: str) -> str:
    """The traceback of a pen whose journal's folder is a file."""
    flash.mkdir(exist_ok=True)
    (flash / "pen.json").write_text(pen)
    (flash / "epoch-1").write_text("")
    command = [micropython, "-X", "heapsize=4m", main, flash]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback"), done.stderr
    return done.stderr


def test_a_crash_is_told_in_the_words_of_the_sources(workshop: Workshop, micropython: Path) -> None:
    """The same crash, of what was built and of the sources themselves."""
    pen = json.loads((workshop.folder / "pens" / PEN / "pen.json").read_text())
    pen["virtual"] = {"tape": str(ROOT / "tapes" / "bench" / "01-cosmetic-within.csv")}
    text = json.dumps(pen)
    built = crash(micropython, workshop.flash / "main.py", workshop.flash, text)
    plain = crash(
        *(micropython, ROOT / "device" / "main.py", workshop.folder / "plain", text),
        NEEDLETRAIL_PROTOCOL=str(ROOT / "protocol"),
    )
    command = [sys.executable, "-m", "needletrail_gateway", "pen", "traceback"]
    done = subprocess.run(
        [*command, "-", "--from", workshop.flash],
        input=built,
        capture_output=True,
        text=True,
        check=True,
    )
    told = FRAME.findall(done.stdout)
    wanted = FRAME.findall(plain)
    assert len(told) == len(FRAME.findall(built)), "a frame, a likeliest function"
    told = [one for one, _ in groupby(told)]  # an error that is raised again gives its frame twice
    # What was called in one place has moved there: so some frames are missing, and no other.
    rest = iter(wanted)
    for path, first, last, name in told:
        plain_name = name.rpartition(".")[2]
        line = next(
            (
                of_line
                for of_path, of_line, _, of_name in rest
                if of_path.endswith(path) and (plain_name == of_name or path == "main.py")
            ),
            None,
        )
        assert line is not None, f"{path} {name} is not in {plain}"
        if not last:
            assert first == line, path
        elif line != "1":  # the firmware drops line numbers as it goes, in its sources, too
            assert int(first) <= int(line) <= int(last), path
    names = [name for _, _, _, name in told]
    assert names[-3:] == ["open_journal", "recover", "Folder.open"]
    assert done.stdout.splitlines()[-1] == built.splitlines()[-1] == "OSError: 20"
    assert not [path for path in flash_files(workshop.flash) if "names" in path], "not on the pen"
    said = workshop.needletrail("pen", "traceback", "-", "--from", "pens", code=2)
    assert "there are no names in this folder" in said
