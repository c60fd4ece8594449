"""What a clinic's ledger says, as plain rows: the other side that dashboards are held against.

Computed from the ledger's own entries (verdicts' statements, alerts, what people wrote, registries), by
the schema's words and not by its makers: no point and no module of core/series has a part in it.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.record.ledger import Entry, Ledger
from needletrail_protocol import messages
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.readings import Readings, decode_record

DAY_MS = 86_400_000
Row = dict[str, Any]


@dataclass
class Facts:
    """Rows by measurement, each with `time` (ms), tags and fields."""

    rows: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, measurement: str, rows: Iterator[Row]) -> None:
        self.rows.setdefault(measurement, []).extend(rows)


def day_ms(day: date) -> int:
    """When a day begins (UTC)."""
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def day_at(time_ms: int) -> date:
    """Of which day (UTC) a moment is."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)).date()


class _Told:
    """A session: its first statement, its newest one, and what else was entered of it."""

    def __init__(
        self, ledger: Ledger, row: Row, entries: list[Entry], reached: dict[str, bool]
    ) -> None:
        self.id: str = row["session_id"]
        said = [json.loads(one.body) for one in entries if one.kind == "verdict"]
        self.first, self.last, self.verdicts = said[0], said[-1], len(said)
        self.statements = said
        self.registry: Registry = ledger.registry_at(row["registry_entry"])
        self.boot_ms: int = self.first["boot_utc_ms"]
        self.time: int = self.boot_ms + self.first["started_t_ms"]
        self.alerts = [one for one in entries if one.kind == "alert"]
        self.words = {
            json.loads(one.body)["code"]: one for one in entries if one.kind == "acknowledged"
        }
        self.overrides = [one for one in entries if one.kind == "override"]
        self.reached = reached

    def tags(self, clinic: str) -> Row:
        who = self.first["practitioner"]
        people = {one.id for one in self.registry.practitioner}
        return {
            "clinic": clinic,
            "pen": self.last["pen"],
            "practitioner": "none" if who is None else who if who in people else "unregistered",
            "tier": self.first["tier"] or "none",
        }


def facts_of(
    ledger: Ledger, readings_from_ms: int, days_from: date, looked_at: set[date], facts: Facts
) -> None:
    """Add what one clinic's ledger says: single readings, and days, from some moment on.

    How stock, lots and licences stood is worked out for the days that somebody looks at; cartridges
    opened, for every day up to the last of these.
    """
    found = ledger.registry()
    assert found is not None
    clinic = found[1].clinic.id
    entries: dict[str, list[Entry]] = {}
    for one in ledger.all_entries("verdict", "alert", "acknowledged", "override"):
        entries.setdefault(one.session_id or "", []).append(one)
    reached: dict[str, dict[str, bool]] = {}
    for row in ledger.alerts():
        reached.setdefault(row["session_id"], {})[row["code"]] = row["reached_pen"]
    told = [
        _Told(ledger, row, entries[row["session_id"]], reached.get(row["session_id"], {}))
        for row in ledger.sessions()
    ]
    for make in (_sessions, _reasons, _passes, _breaches, _alerts, _notices, _overrides, _uses):
        facts.add(make.__name__.removeprefix("_"), (row for one in told for row in make(one, clinic)))
    for one in told:
        if one.time >= readings_from_ms:
            facts.add("readings", readings_of(ledger, one.id, clinic))
    stock = _Stock(ledger, told)
    first = max(days_from, day_at(ledger.versions()[0].utc_ms))
    for number in range((max(looked_at) - first).days + 1):
        on = first + timedelta(days=number)
        facts.add("opened", iter([stock.opened_on(on, ledger, clinic)]))
        if on in looked_at:
            for name, rows in stock.stood_on(on, _registry_on(ledger, on), clinic):
                facts.add(name, rows)


def _registry_on(ledger: Ledger, on: date) -> Registry:
    version = ledger.version_at(day_ms(on) + DAY_MS - 1)
    assert version is not None
    return ledger.registry_at(version)


def _sessions(told: _Told, clinic: str) -> Iterator[Row]:
    said = told.last
    lasted = datetime.fromisoformat(said["ended"]) - datetime.fromisoformat(said["started"])
    verdict = said["verdict"]
    yield {
        "time": told.time,
        **told.tags(clinic),
        "sessions": 1,
        **{name: int(verdict == name) for name in ("compliant", "review", "violation")},
        "alerts": len(told.alerts),
        "alerted": int(bool(told.alerts)),
        "amended": told.verdicts - 1,
        **{name: said[name] for name in ("peak_mm", "scope_mm", "breach_ms", "over_limit_ms")},
        **{name: said[name] for name in ("passes", "strokes", "samples", "work_ms", "limited_by")},
        "breaches": len(said["breach_spans_ms"]),
        "session_ms": round(lasted.total_seconds() * 1000),
        "verdict": verdict,
        "reasons": " ".join(said["reasons"]),
        "policy": f"{said['policy']['pack']} {said['policy']['version']}",
        "session": told.id,
    }


def _reasons(told: _Told, clinic: str) -> Iterator[Row]:
    overridden = {one["code"] for one in told.last["overridden"]}
    for code in {rule["code"] for said in told.statements for rule in said["rules"]}:
        yield {
            "time": told.time,
            **told.tags(clinic),
            "code": code,
            "counted": int(code in told.last["reasons"] and code not in overridden),
            "overridden": int(code in overridden),
        }


def _passes(told: _Told, clinic: str) -> Iterator[Row]:
    for number, (from_ms, to_ms) in enumerate(told.last["pass_spans_ms"], 1):
        row = {"number": number, "duration_ms": to_ms - from_ms, "session": told.id}
        yield {"time": told.boot_ms + from_ms, **told.tags(clinic), **row}


def _breaches(told: _Told, clinic: str) -> Iterator[Row]:
    for from_ms, to_ms in told.last["breach_spans_ms"]:
        row = {"breaches": 1, "duration_ms": to_ms - from_ms, "session": told.id}
        row["limit_mm"] = told.last["scope_mm"]
        yield {"time": told.boot_ms + from_ms, **told.tags(clinic), **row}


def _alerts(told: _Told, clinic: str) -> Iterator[Row]:
    for one in told.alerts:
        said = json.loads(one.body)
        word = told.words.get(said["code"])
        yield {
            "time": said["raised_utc_ms"],
            **told.tags(clinic),
            "code": said["code"],
            "open": int(word is None),
            "shown": int(told.reached[said["code"]]),
            "limit_mm": said["limit_mm"],
            "depth_mm": said["depth_mm"],
            "told_by": said["told_by"],
            "acknowledged_by": None if word is None else json.loads(word.body)["who"],
            "session": told.id,
        }


def _notices(told: _Told, clinic: str) -> Iterator[Row]:
    for one in told.alerts:
        said = json.loads(one.body)
        yield {"time": one.committed_utc_ms, **told.tags(clinic), "code": said["code"], "notices": 1}


def _overrides(told: _Told, clinic: str) -> Iterator[Row]:
    for one in told.overrides:
        said = json.loads(one.body)
        yield {
            "time": one.committed_utc_ms,
            "clinic": clinic,
            "code": said["code"],
            "who": said["who"],
            "why": said["why"].replace("c-0000abcd1234", "(client)"),
            "session": told.id,
        }


def _uses(told: _Told, clinic: str) -> Iterator[Row]:
    tag = told.last["cartridge"]
    if tag is None or told.last["work_ms"] == 0:
        return
    on = day_at(told.time)
    product = {one.gtin: one for one in told.registry.cartridge_product}.get(tag["gtin"])
    lot = {(one.gtin, one.lot): one for one in told.registry.cartridge_lot}.get(
        (tag["gtin"], tag["lot"])
    )
    last_days = [tag["expires"] and date.fromisoformat(tag["expires"]), lot and lot.expires]
    yield {
        "time": told.time,
        **told.tags(clinic),
        "gtin": "unregistered" if product is None else tag["gtin"],
        "lot": "unregistered" if lot is None else tag["lot"],
        "uses": 1,
        "reused": int("CARTRIDGE_REUSED" in told.last["reasons"]),
        "recalled": int(lot is not None and lot.recalled is not None and lot.recalled <= on),
        "expired": int(any(day is not None and day < on for day in last_days)),
        "serial": tag["serial"],
        "strokes": told.last["strokes"],
        "session": told.id,
    }


class _Stock:
    """What was opened and moved, by day."""

    def __init__(self, ledger: Ledger, told: list[_Told]) -> None:
        self.opened: dict[tuple[str, str], tuple[date, str]] = {}
        self.worked: set[tuple[str, str]] = set()
        for one in sorted(told, key=lambda one: one.time):
            tag = one.last["cartridge"]
            if tag is None:
                continue
            serial = (tag["gtin"], tag["serial"])
            self.opened.setdefault(serial, (day_at(one.time), tag["lot"]))
            if one.last["work_ms"] > 0:
                self.worked.add(serial)
        self.notes: list[tuple[date, str, int, bool]] = []  # day, consumable, change, used
        for entry in ledger.all_entries("note", "stock"):
            said = json.loads(entry.body)
            if entry.kind == "note":
                for item, count in said.get("used", {}).items():
                    self.notes.append((day_at(said["at_utc_ms"]), item, -count, True))
            else:
                self.notes.append(
                    (day_at(entry.committed_utc_ms), said["consumable"], said["change"], False)
                )

    def opened_on(self, on: date, ledger: Ledger, clinic: str) -> Row:
        """Cartridges that pens saw for the first time on that day."""
        today = [serial for serial, (day, _) in self.opened.items() if day == on]
        known = set()
        if today:
            known = {(one.gtin, one.lot) for one in _registry_on(ledger, on).cartridge_lot}
        return {
            "time": day_ms(on),
            "clinic": clinic,
            "opened": len(today),
            "treated": sum(serial in self.worked for serial in today),
            "unknown": sum((serial[0], self.opened[serial][1]) not in known for serial in today),
        }

    def stood_on(
        self, on: date, registry: Registry, clinic: str
    ) -> Iterator[tuple[str, Iterator[Row]]]:
        """Stock, lots and licences at the end of that day."""
        place = {"time": day_ms(on), "clinic": clinic}
        yield "stock", iter([place | row for row in self._items(on, registry)])
        yield "lot", iter([place | row for row in self._lots(on, registry)])
        licences = [
            {
                "practitioner": one.id,
                "days_left": (one.license_expires - on).days,
                "credential": one.credential,
                "suspended": int(one.suspended_from is not None and one.suspended_from <= on),
            }
            for one in registry.practitioner
        ]
        yield "licence", iter([place | row for row in licences])

    def _left(self, on: date, registry: Registry) -> Counter[tuple[str, str]]:
        left = Counter({(one.gtin, one.lot): one.received for one in registry.cartridge_lot})
        for (gtin, _), (day, lot) in self.opened.items():
            if day <= on:
                left[gtin, lot] -= 1
        return left

    def _lots(self, on: date, registry: Registry) -> Iterator[Row]:
        left = self._left(on, registry)
        titles = {one.gtin: one.name for one in registry.cartridge_product}
        for one in registry.cartridge_lot:
            yield {
                "gtin": one.gtin,
                "lot": one.lot,
                "left": left[one.gtin, one.lot],
                "days_to_expiry": None if one.expires is None else (one.expires - on).days,
                "recalled": int(one.recalled is not None and one.recalled <= on),
                "title": titles[one.gtin],
            }

    def _items(self, on: date, registry: Registry) -> Iterator[Row]:
        left = self._left(on, registry)
        recent = on - timedelta(days=28)
        for product in registry.cartridge_product:
            lots = [one for one in registry.cartridge_lot if one.gtin == product.gtin]
            days = [
                day
                for (gtin, _), (day, lot) in self.opened.items()
                if gtin == product.gtin and day <= on
            ]
            usable = sum(
                left[one.gtin, one.lot]
                for one in lots
                if (one.expires is None or one.expires >= on)
                and (one.recalled is None or one.recalled > on)
            )
            in_lots = [
                day
                for (gtin, _), (day, lot) in self.opened.items()
                if gtin == product.gtin and day <= on and lot in {one.lot for one in lots}
            ]
            yield _item(
                product.gtin,
                product.name,
                True,
                sum(one.received for one in lots),
                len(in_lots),
                0,
                usable,
                sum(day > recent for day in days),
                product.reorder_at,
            )
        for one in registry.consumable:
            mine = [note for note in self.notes if note[1] == one.id and note[0] <= on]
            used = -sum(change for _, _, change, is_use in mine if is_use)
            lost = -sum(change for _, _, change, is_use in mine if not is_use)
            yield _item(
                one.id,
                one.name,
                False,
                one.received,
                used,
                lost,
                one.received - used - lost,
                -sum(change for day, _, change, is_use in mine if is_use and day > recent),
                one.reorder_at,
            )


def _item(
    name: str,
    title: str,
    is_cartridge: bool,
    received: int,
    used: int,
    lost: int,
    usable: int,
    recent: int,
    reorder_at: int | None,
) -> Row:
    return {
        "item": name,
        "title": title,
        "is_cartridge": is_cartridge,
        "left": received - used - lost,
        "usable": usable,
        "received": received,
        "used": used,
        "discarded": lost,
        "used_28d": recent,
        "days_left": max(usable, 0) * 28 // recent if recent else None,
        "reorder_at": reorder_at,
        "is_low": int(reorder_at is not None and usable <= reorder_at),
    }


def readings_of(ledger: Ledger, session_id: str, clinic: str) -> Iterator[Row]:
    """Each reading of a session: depth, new strokes, contact.

    The clinics' pens are so calibrated that a count is a micrometre.
    """
    said = json.loads(
        [one for one in ledger.session_entries(session_id) if one.kind == "verdict"][-1].body
    )
    strokes = 0
    for one in ledger.session_entries(session_id):
        if one.kind != "record":
            continue
        record = decode_record(open_envelope(one.body)[1])
        if record.kind == messages.OPEN:
            strokes = record.strokes
        elif record.kind == messages.SAMPLES:
            found = Readings(record)
            for t_ms, counts, count, contact in zip(
                found.t_ms, found.dial, found.strokes, found.contact, strict=True
            ):
                yield {
                    "time": said["boot_utc_ms"] + t_ms,
                    "clinic": clinic,
                    "pen": said["pen"],
                    "session": session_id,
                    "depth_mm": counts / 1000,
                    "new_strokes": count - strokes,
                    "contact": int(contact),
                    "limit_mm": said["scope_mm"],
                }
                strokes = count
