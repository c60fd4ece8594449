"""A pen at work gets another firmware: installed, proved at the gateway, or given up again."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from end_to_end.pen_workshop import OFFLINE, PEN, Workshop, as_truth
from end_to_end.reading import statements
from needletrail_device.update import TRIAL_BOOTS
from needletrail_protocol import messages
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.readings import decode_record

TAPE, ANOTHER = "02-cosmetic-exceeded", "01-cosmetic-within"
RESTART = 4


@pytest.fixture
def updatable(tmp_path: Path, micropython: Path, bench: Path) -> Workshop:
    """A pen with firmware 1 in slot a, and a key by which it knows its maker."""
    made = Workshop(tmp_path, micropython, bench)
    made.enroll(
        *("--board", "virtual", "--broker-host", "127.0.0.1", "--broker-port", str(made.port)),
        *("--like", "pen-01"),
    )
    made.needletrail("pen", "key", "maker.pem", "--json")
    made.build("--key", "maker.pem", "--version", "1")
    return made


def offer(workshop: Workshop, version: int) -> None:
    """Copy a bundle of this version onto the pen."""
    built = workshop.build("--key", "maker.pem", "--version", str(version), out="next")
    shutil.copyfile(workshop.folder / "next" / built["bundle"], workshop.flash / "update.bundle")


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


def test_an_update_is_installed_and_proves_itself_at_the_gateway(updatable: Workshop) -> None:
    with updatable.house() as house:
        assert not named(updatable.power_on(ANOTHER), "update")
        offer(updatable, 2)
        assert updatable.power_on(TAPE, RESTART) == [{"event": "update", "refused": None}]
        assert named(updatable.power_on(TAPE), "confirmed") == [{"event": "confirmed", "version": 2}]
        third, last = "03-cosmetic-at-limit", "06-medical-within"
        assert not named(updatable.power_on(third), "confirmed"), "once is enough"
        offer(updatable, 1)
        refused = named(updatable.power_on(last), "update")
        assert refused == [{"event": "update", "refused": "downgrade"}]
        played = (ANOTHER, TAPE, third, last)
        sessions = {f"pen-04-1-{number}": tape for number, tape in enumerate(played, 1)}
        as_truth(house, updatable, sessions)


def test_a_firmware_that_does_not_reach_the_gateway_is_given_up(updatable: Workshop) -> None:
    with updatable.house() as house:
        updatable.power_on(ANOTHER)
        house.stop_gateway()
        offer(updatable, 2)
        assert named(updatable.power_on(TAPE, RESTART), "update")
        for _ in range(TRIAL_BOOTS):
            assert not named(updatable.power_on(TAPE, 3, **OFFLINE), "given_up")
        assert named(updatable.power_on(TAPE, 3, **OFFLINE), "given_up") == [
            {"event": "given_up", "version": 2}
        ]
        house.start_gateway()
        assert not named(updatable.power_on(ANOTHER), "given_up"), "it is said once"

        expected = {f"pen-04-1-{number}": TAPE for number in range(2, TRIAL_BOOTS + 3)}
        expected.update({"pen-04-1-1": ANOTHER, f"pen-04-1-{TRIAL_BOOTS + 3}": ANOTHER})
        assert sorted(statements(house.ledger)) == sorted(expected), "no treatment was lost"
        entries = house.ledger.records(PEN, 1, 1)
        records = [decode_record(open_envelope(entry.body)[1]) for entry in entries]
        faults = [record for record in records if record.kind == messages.FAULT]
        assert [(fault.part, fault.fault, fault.is_over) for fault in faults] == [
            ("firmware", "rolled_back", 0),
            ("firmware", "rolled_back", 1),
        ]
