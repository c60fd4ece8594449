"""A live breach while hours of backlog drain: the clinic hears of it at once, and once.

A pen on MicroPython with the real recorder, journal and uplink; a real broker and gateway. Without the
copy that goes ahead, four hours of backlog kept the alert for 28 s on a computer; with it, for 5 ms.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from needletrail_gateway.bench.house import House
from needletrail_gateway.core.registry.model import Registry, um
from needletrail_protocol import ndef

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("backlog_pen.py")
BACKLOG_S = 1200
TOLD_WITHIN_S = 1.0
EST = "est-01"


def uri(rest: str) -> bytes:
    """A tag's NDEF message: one record, a URI of https (code 4)."""
    content = b"\x04" + rest.encode()
    return bytes((0xD1, 1, len(content))) + b"U" + content


class Told:
    """What the pen told, and what the ledger holds of it."""

    def __init__(self, house: House, pen_id: str, events: list[dict[str, Any]]) -> None:
        self.events = {event["event"]: event for event in events}
        self.late_s = self.events["alert"]["at"] - self.events["breach"]["at"]
        self.alerts = house.ledger.alerts()
        self.entries = list(house.ledger.records(pen_id, 1, 1))
        self.said = house.ledger.entries(kind="alert")
        self.verdicts = {
            entry.session_id: entry.json()["verdict"] for entry in house.ledger.entries(kind="verdict")
        }


def drain(
    folder: Path, micropython: Path, registry: Registry, backlog_s: int, *, is_urgent: bool
) -> Told:
    """Let a pen with so much backlog and a breach meet the gateway."""
    folder.mkdir()
    pen = registry.pen[0]
    assert pen.key is not None
    badge = uri(f"clinic.example/badge/{EST}")
    assert ndef.badge_id(badge) == EST
    with House(folder, registry, folder / "ledger.sqlite") as house:
        settings = {
            "protocol": str(ROOT / "protocol"),
            "device": str(ROOT / "device"),
            "flash": str(folder / "flash"),
            "clinic": registry.clinic.id,
            "pen": pen.id,
            "epoch": 1,
            "key": pen.key.get_secret_value(),
            "host": house.broker.host,
            "port": house.broker.port,
            "calibration": [[counts, um(mm)] for counts, mm in pen.calibration],
            "reading_tolerance_um": um(pen.reading_tolerance_mm),
            "within_counts": 700,
            "over_counts": 2000,
            "badge": badge.hex(),
            "cartridges": [
                uri(f"id.gs1.org/01/09506000134352/10/LOT24A/21/{number:06d}?17=271231").hex()
                for number in range(2)
            ],
            "backlog_s": backlog_s,
            "breach_at": 200,
            "is_urgent": is_urgent,
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        done = subprocess.run(
            [micropython, "-X", "heapsize=1m", PROGRAM, folder / "settings.json"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr + house.gateway_log()
        return Told(house, pen.id, [json.loads(line) for line in done.stdout.splitlines()])


@pytest.mark.timeout(150)
def test_the_clinic_hears_of_a_breach_at_once_whatever_waits_before_it(
    tmp_path: Path, micropython: Path, registry: Registry
) -> None:
    told = drain(tmp_path / "urgent", micropython, registry, BACKLOG_S, is_urgent=True)
    breach, alert, drained = (told.events[name] for name in ("breach", "alert", "drained"))
    assert told.late_s <= TOLD_WITHIN_S
    assert alert["acked"] < breach["seq"] - BACKLOG_S // 2, "the backlog was still there"
    pen = registry.pen[0].id
    assert [(row["session_id"], row["code"]) for row in told.alerts] == [
        (f"{pen}-1-2", "DEPTH_EXCEEDED")
    ]
    assert [entry.json()["told_by"] for entry in told.said] == ["pen"]
    assert [entry.seq for entry in told.entries] == list(range(1, drained["records"] + 1))
    # The hours were worked without a grant.
    assert told.verdicts == {f"{pen}-1-1": "review", f"{pen}-1-2": "violation"}
    assert told.alerts[0]["reached_pen"]
