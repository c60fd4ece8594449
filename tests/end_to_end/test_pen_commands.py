"""From parts to a pen at work, as its maker would do it.

The pen is enrolled, built and started, with a real broker that asks for its password, and the real
gateway. The firmware is what `needletrail pen build` made.
"""

from pathlib import Path

import pytest

from end_to_end.pen_workshop import OFFLINE, PEN, Workshop, as_truth
from end_to_end.reading import statements


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
