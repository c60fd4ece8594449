"""What the other tables must say, going by the entries: sessions, alerts, pins, lanes and keys.

`Expected` gathers it while the entries go by, and `compare` holds it against the tables. Of a session
that is still open it is not known whether it has worked, since that takes a judge; of any other its
verdict says so.
"""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import Connection

from needletrail_gateway.core.treatment import iso
from needletrail_gateway.record.snapshot import Row, number, rows

Lane = tuple[str, int]
_PIN_COLUMNS = ("pen", "epoch", "boot", "t_ms", "gateway_utc_ms", "device_utc_ms")


@dataclass
class Expected:
    """By session, alert, pin's entry, and (pen, epoch). Facts are replaced, never changed in place."""

    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    alerts: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    shown: dict[tuple[str, str], int] = field(default_factory=dict)  # the last entry that says so
    acknowledged: dict[tuple[str, str], int] = field(default_factory=dict)  # the first one
    pins: dict[int, dict[str, Any]] = field(default_factory=dict)
    clients: dict[int, Any] = field(default_factory=dict)  # by the entry of the note
    next_seq: dict[Lane, int] = field(default_factory=dict)
    use_ids: dict[Lane, str] = field(default_factory=dict)  # of the newest session
    versions: dict[int, bool] = field(default_factory=dict)  # entries that make the registry another
    packs: dict[int, bool] = field(default_factory=dict)  # entries that hold a policy pack
    keys: dict[Lane, tuple[int, bool]] = field(default_factory=dict)  # the entry; is it retired

    def copy(self) -> Self:
        """What either gathers from here does not touch the other."""
        other = copy(self)
        for name in self.__dataclass_fields__:
            setattr(other, name, dict(getattr(self, name)))
        return other

    def open(self, row: Row, session_id: str, *, is_kept: bool) -> None:
        """A session's first record. is_kept: the cartridge of the session before stayed in the pen."""
        lane = (row.pen, row.epoch)
        use_id = self.use_ids.get(lane, session_id) if is_kept else session_id
        self.use_ids[lane] = use_id
        self.sessions[session_id] = {
            "opened_entry": row.id,
            "pen": row.pen,
            "epoch": row.epoch,
            "use_id": use_id,
            "verdict": None,
            "verdict_entry": None,
        }

    def judge(self, row: Row, said: Mapping[str, Any]) -> None:
        """A verdict. It also says what the session's row must."""
        cartridge = said.get("cartridge") or {}
        facts = {name: cartridge.get(name) for name in ("gtin", "lot", "serial")}
        if "reasons" in said:
            facts["reused"] = "CARTRIDGE_REUSED" in said["reasons"]
        if "started" in said:
            facts["started"] = said["started"]
        if "scope_mm" in said:
            facts["scope_mm"] = said["scope_mm"]
        if "worked" in said:
            facts["worked"] = said["worked"]
        elif said.get("work_ms"):  # older verdicts do not say so where it was but a moment
            facts["worked"] = True
        for name in ("registry_entry", "policy_entry"):
            if said.get(name) is not None:
                facts[name] = said[name]
        facts["practitioner"] = said.get("practitioner")
        facts |= {"verdict": said.get("verdict"), "verdict_entry": row.id}
        session_id = str(row.session_id)
        self.sessions[session_id] = self.sessions.get(session_id, {}) | facts

    def alert(self, row: Row, said: Mapping[str, Any]) -> None:
        """An alert that was raised."""
        alert = (str(row.session_id), str(said.get("code")))
        self.alerts[alert] = {"entry": row.id, "raised_utc_ms": said.get("raised_utc_ms")}

    def show(self, entry: int, session_id: str, code: str) -> None:
        """A pen confirms that it has shown an alert."""
        self.shown[session_id, code] = entry

    def acknowledge(self, row: Row, alert: tuple[str, str]) -> None:
        """A person has seen an alert."""
        self.acknowledged.setdefault(alert, row.id)

    def pin(self, row: Row, said: Mapping[str, Any]) -> None:
        """A pin of a boot."""
        self.pins[row.id] = {name: said.get(name) for name in _PIN_COLUMNS}

    def note(self, row: Row, said: Mapping[str, Any]) -> None:
        """A note on a client's treatment."""
        self.clients[row.id] = said.get("client")

    def enrol(self, row: Row, lane: Lane) -> None:
        """A key that came into force, or is no longer good."""
        self.keys[lane] = (row.id, row.kind == "retirement")


def compare(connection: Connection, expected: Expected) -> Iterator[tuple[int | None, str]]:
    """What is wrong in the other tables: the entry that says otherwise, if any, and in words."""
    yield from _compare_sessions(connection, expected)
    yield from _compare_visits(connection, expected)
    yield from _compare_alerts(connection, expected)
    yield from _compare_pins(connection, expected)
    yield from _compare_lanes(connection, expected)
    yield from _compare_keys(connection, expected)
    last = number(connection, "SELECT MAX(id) FROM entry")
    for row in rows(connection, "outbox", "view"):
        if row["delivered_entry"] > last:
            yield None, f"table outbox: {row['view']} has been told of entries that are not there"


def _compare_sessions(connection: Connection, expected: Expected) -> Iterator[tuple[int | None, str]]:
    missing = dict(expected.sessions)
    for row in rows(connection, "session", "opened_entry"):
        session_id = row["session_id"]
        facts = missing.pop(session_id, None)
        if facts is None:
            yield None, f"table session: no entry opens session {session_id}"
            continue
        seen: dict[str, Any] = row | {
            "reused": bool(row["reused"]),
            "worked": bool(row["worked"]),
            "started": iso(row["started_utc_ms"]),
            "scope_mm": None if row["limit_um"] is None else row["limit_um"] / 1000,
        }
        yield from _differences("session", session_id, seen, facts, "verdict_entry", "opened_entry")
        for name, known in (("registry_entry", expected.versions), ("policy_entry", expected.packs)):
            if row[name] not in known and (name, row[name]) != ("policy_entry", None):
                yield None, f"table session: {name} of {session_id} is {row[name]}, which is none"
    for session_id, facts in missing.items():
        entry = facts.get("opened_entry", facts["verdict_entry"])
        yield entry, f"table session: the row of session {session_id} is missing"


def _compare_visits(connection: Connection, expected: Expected) -> Iterator[tuple[int | None, str]]:
    for row in rows(connection, "visit", "session_id"):
        attested = f"attested-{row['note_entry']}"  # a treatment without a pen
        if row["session_id"] != attested and row["session_id"] not in expected.sessions:
            yield None, f"table visit: no entry opens session {row['session_id']}"
        elif expected.clients.get(row["note_entry"]) != row["client"]:
            yield (
                row["note_entry"],
                f"table visit: the client of {row['session_id']} is not the one that the note says",
            )


def _compare_alerts(connection: Connection, expected: Expected) -> Iterator[tuple[int | None, str]]:
    missing = dict(expected.alerts)
    for row in rows(connection, "alert", "entry"):
        alert = (row["session_id"], row["code"])
        name = f"{row['code']} of {row['session_id']}"
        facts = missing.pop(alert, None)
        if facts is None:
            yield None, f"table alert: no entry raises {name}"
            continue
        shown = expected.shown.get(alert)
        if row["reached_pen"] and shown is None:
            facts = facts | {"reached_pen": False}
        elif not row["reached_pen"] and shown is not None and shown > facts["entry"]:
            facts = facts | {"reached_pen": True}
        facts = facts | {"acknowledged_entry": expected.acknowledged.get(alert)}
        seen = row | {"reached_pen": bool(row["reached_pen"])}
        yield from _differences("alert", name, seen, facts, "entry")
    for (session_id, code), facts in missing.items():
        yield facts["entry"], f"table alert: the row of {code} of {session_id} is missing"


def _compare_pins(connection: Connection, expected: Expected) -> Iterator[tuple[int | None, str]]:
    missing = dict(expected.pins)
    for row in rows(connection, "pin", "entry"):
        facts = missing.pop(row["entry"], None)
        if facts is None:
            yield None, f"table pin: there is no entry {row['entry']} with a pin"
            continue
        yield from _differences(
            "pin", f"entry {row['entry']}", row, facts | {"entry": row["entry"]}, "entry"
        )
    for entry in missing:
        yield entry, "table pin: its row is missing"


def _compare_lanes(connection: Connection, expected: Expected) -> Iterator[tuple[int | None, str]]:
    missing = dict(expected.next_seq)
    for row in rows(connection, "lane", "pen, epoch"):
        awaited = missing.pop((row["pen"], row["epoch"]), 1)
        if row["next_seq"] != awaited:
            yield (
                None,
                f"table lane: record {row['next_seq']} of pen {row['pen']} in epoch {row['epoch']} is "
                f"awaited next, going by the entries it is {awaited}",
            )
        use_id = expected.use_ids.get((row["pen"], row["epoch"]))
        if row["last_use_id"] != use_id:
            yield (
                None,
                f"table lane: last_use_id of pen {row['pen']} in epoch {row['epoch']} is "
                f"{row['last_use_id']}, going by the entries it is {use_id}",
            )
    for pen_id, epoch in missing:
        yield None, f"table lane: the row of pen {pen_id} in epoch {epoch} is missing"


def _compare_keys(connection: Connection, expected: Expected) -> Iterator[tuple[int | None, str]]:
    for row in rows(connection, "pen_key", "pen, epoch"):
        name = f"the key of pen {row['pen']} in epoch {row['epoch']}"
        enrolled = expected.keys.get((row["pen"], row["epoch"]))
        if enrolled is None:
            yield None, f"table pen_key: {name} was never enrolled"
        elif (row["retired_utc_ms"] is not None) != enrolled[1]:
            yield enrolled[0], f"table pen_key: {name} was retired or taken up, and no entry says so"


def _differences(
    table: str, name: str, row: Mapping[str, Any], facts: Mapping[str, Any], *entry_columns: str
) -> Iterator[tuple[int | None, str]]:
    entry = next((facts[column] for column in entry_columns if facts.get(column)), None)
    for column, value in facts.items():
        if row[column] != value:
            yield entry, f"table {table}: {column} of {name} is {row[column]}, the entry says {value}"
