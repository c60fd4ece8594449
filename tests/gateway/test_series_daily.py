"""The points of a day: the numbers of `needletrail stock`, and how licences stand."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from gateway_clinic import (
    GTIN,
    KEYS,
    NOW_UTC_MS,
    OTHER_GTIN,
    TODAY,
    badge,
    cartridge_tag,
    clinic,
    person,
)
from gateway_desk import Desk, NewLedger
from honest_pen import HonestPen
from typer.testing import CliRunner

from needletrail_gateway.cli import app
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.series import schema
from needletrail_gateway.core.series.daily import EVERY_DAY, daily_points, touched_from
from needletrail_gateway.core.series.point import Point
from needletrail_gateway.core.stock import Item, Movement, Opened
from needletrail_gateway.shell.notebook import movements, opened_cartridges

LATER = date(2026, 7, 10)
LATER_NS = 1_783_641_600_000_000_000  # 2026-07-10T00:00:00Z
TYPES = {"float": float, "integer": int, "boolean": bool, "text": str}


def stocked(**more: Any) -> Registry:
    """The small clinic with expiries, reorder levels and a consumable."""
    document = clinic().model_dump()
    document["cartridge_product"][0]["reorder_at"] = 70
    document["cartridge_lot"] = [
        {"gtin": GTIN, "lot": "LOT24A", "received": 40, "expires": date(2026, 7, 20)},
        {"gtin": GTIN, "lot": "OLD", "received": 8, "expires": date(2026, 7, 9)},
        {"gtin": GTIN, "lot": "BAD", "received": 40, "recalled": date(2026, 7, 10)},
        {"gtin": OTHER_GTIN, "lot": "LOT25Q", "received": 200},
    ]
    document["consumable"] = [
        {"id": "cream", "name": "Numbing cream", "kind": "numbing_cream", "unit": "g", "received": 10}
    ]
    return Registry.model_validate(document | more)


def of(found: list[Point], measurement: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """{the tags but the clinic: fields} of one measurement."""
    return {
        tuple(value for key, value in point.tags if key != "clinic"): dict(point.fields)
        for point in found
        if point.measurement == measurement
    }


MOVEMENTS = [
    Movement(Item(GTIN, "LOT24A"), date(2026, 7, 2), 10, "received"),
    Movement(Item(GTIN, "LOT24A"), date(2026, 7, 3), -2, "discarded"),
    Movement(Item(GTIN, "LOT24A"), date(2026, 7, 4), -1, "counted"),
    Movement(Item("cream"), date(2026, 6, 12), -4, "used"),  # 28 days before July 10th
    Movement(Item("cream"), date(2026, 6, 13), -2, "used"),
    Movement(Item("cream"), date(2026, 7, 10), -3, "used"),
    Movement(Item("cream"), date(2026, 7, 11), -1, "used"),  # tomorrow
]
OPENED = [
    Opened(GTIN, "LOT24A", "1", date(2026, 7, 1), is_treated=True),
    Opened(GTIN, "BAD", "2", LATER, is_treated=True),
    Opened(GTIN, "ELSEWHERE", "3", LATER, is_treated=False),
    Opened(OTHER_GTIN, None, None, LATER, is_treated=False),
    Opened(GTIN, "LOT24A", "4", date(2026, 7, 11), is_treated=True),  # tomorrow
]


def test_a_day_by_hand() -> None:
    found = daily_points(stocked(), MOVEMENTS, OPENED, LATER)
    assert {point.time_ns for point in found} == {LATER_NS}
    assert all(point.tags[0] == ("clinic", "harbor") for point in found)
    assert of(found, "stock") == {
        (GTIN,): {
            "title": "single",
            "is_cartridge": True,
            "left": 46 + 8 + 39,
            "usable": 46,  # OLD has expired, BAD is recalled from this day on
            "received": 50 + 8 + 40,
            "used": 2,
            "discarded": 3,
            "used_28d": 3,
            "days_left": 46 * 28 // 3,
            "reorder_at": 70,
            "is_low": 1,
        },
        (OTHER_GTIN,): {
            "title": "multi",
            "is_cartridge": True,
            "left": 200,
            "usable": 200,
            "received": 200,
            "used": 0,
            "discarded": 0,
            "used_28d": 1,
            "days_left": 200 * 28,
            "is_low": 0,
        },
        ("cream",): {
            "title": "Numbing cream",
            "is_cartridge": False,
            "left": 1,
            "usable": 1,
            "received": 10,
            "used": 9,
            "discarded": 0,
            "used_28d": 5,
            "days_left": 28 // 5,
            "is_low": 0,
        },
    }
    assert of(found, "lot") == {
        (GTIN, "LOT24A"): {"left": 46, "days_to_expiry": 10, "recalled": 0, "title": "single"},
        (GTIN, "OLD"): {"left": 8, "days_to_expiry": -1, "recalled": 0, "title": "single"},
        (GTIN, "BAD"): {"left": 39, "recalled": 1, "title": "single"},
        (OTHER_GTIN, "LOT25Q"): {"left": 200, "recalled": 0, "title": "multi"},
    }
    assert of(found, "opened") == {(): {"opened": 3, "treated": 1, "unknown": 2}}


def test_a_day_without_use_has_no_days_left() -> None:
    found = of(daily_points(stocked(), [], [], LATER), "stock")
    assert "days_left" not in found[GTIN,]
    assert of(daily_points(stocked(), [], [], LATER), "opened") == {
        (): {"opened": 0, "treated": 0, "unknown": 0}
    }


def test_a_recall_that_is_to_come_is_none_yet() -> None:
    found = daily_points(stocked(), [], [], date(2026, 7, 9))
    assert of(found, "lot")[GTIN, "BAD"]["recalled"] == 0
    assert of(found, "lot")[GTIN, "OLD"]["days_to_expiry"] == 0
    assert of(found, "stock")[GTIN,]["usable"] == 88


def test_licences() -> None:
    registry = stocked(
        practitioner=[
            person("a", "nurse", "medical", license_expires=date(2026, 7, 10)),
            person("b", "physician", "medical", license_expires=date(2026, 7, 1)),
            person("c", "esthetician", "cosmetic", suspended_from=date(2026, 7, 10)),
            person("d", "esthetician", "cosmetic", suspended_from=date(2026, 7, 11)),
        ],
        clinic=clinic().clinic.model_dump() | {"medical_director": None},
    )
    assert of(daily_points(registry, [], [], LATER), "licence") == {
        ("a",): {"days_left": 0, "credential": "nurse", "suspended": 0},
        ("b",): {"days_left": -9, "credential": "physician", "suspended": 0},
        ("c",): {"days_left": 539, "credential": "esthetician", "suspended": 1},
        ("d",): {"days_left": 539, "credential": "esthetician", "suspended": 0},
    }


def test_every_field_is_the_schemas_and_of_its_kind() -> None:
    seen: dict[str, set[str]] = {}
    measurements = {one.name: one for one in schema.MEASUREMENTS if one.source == "daily"}
    for point in daily_points(stocked(), MOVEMENTS, OPENED, LATER):
        measurement = measurements[point.measurement]
        assert [key for key, _ in point.tags] == [tag.name for tag in measurement.tags]
        for name, value in point.fields:
            assert type(value) is TYPES[measurement.field(name).kind], (point.measurement, name)
        seen.setdefault(point.measurement, set()).update(name for name, _ in point.fields)
    assert seen == {name: {field.name for field in one.fields} for name, one in measurements.items()}


def test_the_numbers_are_the_command_lines(new_ledger: NewLedger, policy: Policy) -> None:
    """`needletrail stock show --at` and the points of that day, from one ledger."""
    ledger = new_ledger()
    ledger.import_registry(stocked(), KEYS, NOW_UTC_MS)
    desk = Desk(ledger, policy)
    pen = HonestPen()
    pen.boot()
    for serial, lot in (("S1", "LOT24A"), ("S2", "BAD"), ("S3", "ELSEWHERE"), ("S1", "LOT24A")):
        pen.open(badge("est-01"), cartridge_tag(serial, lot))
        pen.work(300)
        pen.close()
    pen.open(badge("est-01"), cartridge_tag("S4", "LOT24A"))
    pen.close()
    desk.take(pen.sent)
    said = {"who": "desk", "why": "delivery", "gtin": GTIN, "lot": "OLD", "change": 5}
    ledger.note("stock", said | {"cause": "received"}, NOW_UTC_MS)
    note = {"who": "desk", "at_utc_ms": NOW_UTC_MS, "practitioner": "rn-01", "client": "c-7k2m9qxa"}
    ledger.note("note", note | {"used": {"cream": 3}}, NOW_UTC_MS)
    found = daily_points(stocked(), movements(ledger), opened_cartridges(ledger.sessions()), TODAY)
    path = Path(str(ledger.engine.url.database))
    done = CliRunner().invoke(
        app, ["stock", "show", "--ledger", str(path), "--at", TODAY.isoformat(), "--json"]
    )
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    stock, lots = of(found, "stock"), of(found, "lot")
    assert stock.keys() == {(product["id"],) for product in shown["products"]}
    for product in shown["products"]:
        point = stock[product["id"],]
        assert point["title"] == product["name"]
        for name in ("left", "usable"):
            assert point[name] == product[name]
        for name in ("days_left", "reorder_at"):
            assert point.get(name) == product[name]
        assert point["is_low"] == int(product["is_low"])
        assert point["used_28d"] / 28 == pytest.approx(product["per_day"], abs=0.001)
        for name in ("received", "used", "discarded"):
            assert point[name] == sum(lot[name] for lot in product["lots"])
        if point["is_cartridge"]:
            for lot in product["lots"]:
                assert lots[product["id"], lot["lot"]]["left"] == lot["left"]
    gap = shown["cartridges"]
    assert (gap["opened"], gap["treated"]) == (4, 3)
    assert of(found, "opened")[()] == {
        "opened": gap["opened"],
        "treated": gap["treated"],
        "unknown": sum(one["count"] for one in gap["unknown_lots"]),
    }


DAY_UTC_MS = round(datetime(2026, 7, 2, 23, 59, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("kind", "said", "started_utc_ms", "day"),
    [
        ("change", {}, None, date(2026, 7, 2)),
        ("registry", {}, None, date(2026, 7, 2)),
        ("stock", {}, None, date(2026, 7, 2)),
        ("note", {"at_utc_ms": NOW_UTC_MS, "used": {"cream": 1}}, None, TODAY),
        ("note", {"at_utc_ms": NOW_UTC_MS}, None, None),
        ("attested", {"at_utc_ms": NOW_UTC_MS, "used": {"cream": 1}}, None, TODAY),
        ("redaction", {}, None, EVERY_DAY),
        ("verdict", {}, NOW_UTC_MS, TODAY),
        ("verdict", {}, None, None),
        ("record", None, NOW_UTC_MS, TODAY),
        ("record", None, None, None),
        ("alert", {}, None, None),
    ],
)
def test_from_which_day_on_an_entry_changes_them(
    kind: str, said: dict[str, Any] | None, started_utc_ms: int | None, day: date | None
) -> None:
    assert touched_from(kind, DAY_UTC_MS, said, started_utc_ms) == day
