"""All points of one session but its readings, as the ledger knows it now.

Whatever entry touches a session, all its points are made anew, from all that was ever entered of it. So
there is one answer to what a session looks like, and it does not matter which of its entries was told
last. The newest verdict says what is so; the first one gives the tags and times, so that an amendment
takes the place of what it amends.

An alert is of the practitioner who was known when it was raised: a badge that is read later does not
change its series. A session that has no place in time (its pen's clock was never set, and no gateway
pinned it) has no points but its notices and overrides, which are of the gateway's time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from needletrail_gateway.core.notes import ACKNOWLEDGED, OVERRIDE, without_clients
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.series import schema
from needletrail_gateway.core.series.point import Name, Point, Tags, entry_ns, has_place, point_of
from needletrail_gateway.core.treatment import utc
from needletrail_protocol import messages, ndef
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.errors import ProtocolError
from needletrail_protocol.readings import decode_record

RECORD, VERDICT, ALERT = "record", "verdict", "alert"
REUSED = "CARTRIDGE_REUSED"

_LONGEST_SHORT_ARRAY = 0x97  # CBOR: an array's head is one byte up to here, and the record's kind next


class Entry(Protocol):
    """An entry of the ledger, as far as points need it."""

    @property
    def id(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def committed_utc_ms(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def is_removed(self) -> bool: ...
    def json(self) -> dict[str, Any]:
        """The body of an entry that is not a message."""


@dataclass(frozen=True)
class Told:
    """What the ledger knows of a session now.

    row: of the table of sessions; None if no record of it has come yet (a pen's urgent word came
    first). registry: as the session had it; None without row. entries: all of the session, oldest
    first; its readings are not looked at. alerts: its rows of the table of alerts. same_cartridge: the
    rows of all sessions with this one's cartridge (GTIN and serial number), in any order; none if it
    has no serial number.
    """

    session_id: str
    clinic: str
    row: Mapping[str, Any] | None
    registry: Registry | None
    entries: Sequence[Entry]
    alerts: Sequence[Mapping[str, Any]]
    same_cartridge: Sequence[Mapping[str, Any]] = ()


def is_about_session(kind: str, record_kind: int | None = None) -> bool:
    """Whether an entry of that kind changes a session's points. record_kind: of a pen's record."""
    if kind == RECORD:
        return record_kind == messages.ALERT_SHOWN
    return kind in (VERDICT, ALERT, ACKNOWLEDGED, OVERRIDE)


def next_use(told: Told) -> str | None:
    """The judged session that used the same cartridge next: whether it was the first may be news."""
    if told.row is None:
        return None
    later = [row for row in _uses(told) if _order(row) > _order(told.row)]
    return min(later, key=_order)["session_id"] if later else None


def session_points(told: Told) -> list[Point]:
    """All of session, reason, pass, breach, cartridge_use, alert, notice and override."""
    found: list[Point] = []
    verdicts = [one.json() for one in told.entries if one.kind == VERDICT and not one.is_removed]
    if verdicts and told.row is not None and told.registry is not None:
        judged = _Judged(told, told.row, told.registry, verdicts)
        if judged.is_placed:
            found.extend(judged.points())
    found.extend(_alert_points(told))
    found.extend(
        _override_point(told, one)
        for one in told.entries
        if one.kind == OVERRIDE and not one.is_removed
    )
    return found


def _person(registry: Registry | None, practitioner: str | None) -> str:
    if practitioner is None or registry is None:
        return schema.NONE
    known = registry.find_practitioner(practitioner)
    return schema.UNREGISTERED if known is None else practitioner


# ---- what the judge said ----


class _Judged:
    """A session with its verdicts' statements, the newest last."""

    def __init__(
        self,
        told: Told,
        row: Mapping[str, Any],
        registry: Registry,
        verdicts: Sequence[Mapping[str, Any]],
    ) -> None:
        self._told = told
        self._row = row
        self._registry = registry
        self._verdicts = verdicts
        self._said = verdicts[-1]
        first = verdicts[0]
        self._name = name = Name.of(told.session_id)
        self._boot_utc_ms: int = first["boot_utc_ms"] or 0
        self._started_utc_ms: int = self._boot_utc_ms + first["started_t_ms"]
        self.is_placed = first["boot_utc_ms"] is not None and has_place(self._started_utc_ms)
        self._clinic: Tags = (("clinic", told.clinic), ("pen", name.pen))
        self._person: Tags = (("practitioner", _person(registry, first["practitioner"])),)
        self._tier: Tags = (("tier", first["tier"] or schema.NONE),)
        self._turn = name.turn()
        self._overridden = {word["code"] for word in self._said.get("overridden", ())}

    def points(self) -> Iterator[Point]:
        """All of them; only for a session that has a place in time."""
        yield self._session()
        yield from self._reasons()
        yield from self._passes()
        yield from self._breaches()
        if self._said["cartridge"] is not None and self._row["worked"]:
            yield self._cartridge_use()

    def _session(self) -> Point:
        said = self._said
        verdict = said["verdict"]
        policy = said["policy"]
        lasted = datetime.fromisoformat(said["ended"]) - datetime.fromisoformat(said["started"])
        return point_of(
            schema.SESSION.name,
            (*self._clinic, *self._person, *self._tier, *self._turn),
            {
                "sessions": 1,
                "compliant": int(verdict == "compliant"),
                "review": int(verdict == "review"),
                "violation": int(verdict == "violation"),
                "worked": int(self._row["worked"]),
                "alerts": len(self._told.alerts),
                "alerted": int(len(self._told.alerts) > 0),
                "amended": len(self._verdicts) - 1,
                "peak_mm": float(said["peak_mm"]),
                "scope_mm": float(said["scope_mm"]),
                "breach_ms": said["breach_ms"],
                "over_limit_ms": said.get("over_limit_ms"),  # older ledgers do not say
                "breaches": len(said["breach_spans_ms"]),
                "passes": said["passes"],
                "strokes": said["strokes"],
                "samples": said["samples"],
                "work_ms": said["work_ms"],
                "session_ms": round(lasted.total_seconds() * 1000),
                "verdict": verdict,
                "reasons": " ".join(said["reasons"]),
                "limited_by": said["limited_by"],
                "policy": f"{policy['pack']} {policy['version']}",
                "session": self._told.session_id,
            },
            self._time_ns(self._started_utc_ms),
        )

    def _reasons(self) -> Iterator[Point]:
        """One for each code that any of its verdicts had; of two rules the newer one speaks."""
        rules = {rule["code"]: rule for said in self._verdicts for rule in said["rules"]}
        for code, rule in sorted(rules.items()):
            is_overridden = code in self._overridden
            counts = code in self._said["reasons"] and not is_overridden
            yield point_of(
                schema.REASON.name,
                (*self._clinic, *self._person, *self._tier, ("code", code), *self._turn),
                {
                    "counted": int(counts),
                    "overridden": int(is_overridden),
                    "outcome": rule.get("outcome"),  # older ledgers do not say
                    "severity": rule.get("severity"),
                    "session": self._told.session_id,
                },
                self._time_ns(self._started_utc_ms),
            )

    def _passes(self) -> Iterator[Point]:
        for number, (from_ms, to_ms) in enumerate(self._said["pass_spans_ms"], 1):
            yield point_of(
                schema.PASS.name,
                (*self._clinic, *self._person, *self._turn),
                {
                    "number": number,
                    "duration_ms": to_ms - from_ms,
                    "session": self._told.session_id,
                },
                self._time_ns(self._boot_utc_ms + from_ms),
            )

    def _breaches(self) -> Iterator[Point]:
        for from_ms, to_ms in self._said["breach_spans_ms"]:
            yield point_of(
                schema.BREACH.name,
                (*self._clinic, *self._person, *self._tier, *self._turn),
                {
                    "breaches": 1,
                    "duration_ms": to_ms - from_ms,
                    "limit_mm": float(self._said["scope_mm"]),
                    "session": self._told.session_id,
                },
                self._time_ns(self._boot_utc_ms + from_ms),
            )

    def _cartridge_use(self) -> Point:
        cartridge = self._said["cartridge"]
        on = utc(self._started_utc_ms).date()
        product = self._registry.find_product(cartridge["gtin"])
        lot = self._registry.find_lot(cartridge["gtin"], cartridge["lot"] or "")
        last_days = [
            None if cartridge["expires"] is None else date.fromisoformat(cartridge["expires"]),
            None if lot is None else lot.expires,
        ]
        is_first = not any(_order(row) < _order(self._row) for row in _uses(self._told))
        return point_of(
            schema.CARTRIDGE_USE.name,
            (
                *self._clinic,
                ("gtin", schema.UNREGISTERED if product is None else product.gtin),
                ("lot", schema.UNREGISTERED if lot is None else lot.lot),
                *self._turn,
            ),
            {
                "uses": 1,
                "first": int(is_first),
                "reused": int(REUSED in self._said["reasons"]),
                "recalled": int(lot is not None and lot.recalled is not None and lot.recalled <= on),
                "expired": int(any(day is not None and day < on for day in last_days)),
                "serial": cartridge["serial"],
                "strokes": self._said["strokes"],
                "session": self._told.session_id,
            },
            self._time_ns(self._started_utc_ms),
        )

    def _time_ns(self, utc_ms: int) -> int:
        return self._name.time_ns(utc_ms)


def _uses(told: Told) -> list[Mapping[str, Any]]:
    """The sessions that are known to have used this one's cartridge."""
    return [row for row in told.same_cartridge if row["worked"] and row["verdict"] is not None]


def _order(row: Mapping[str, Any]) -> tuple[int, str]:
    """Which of two uses was before the other, as the judge has it."""
    return row["started_utc_ms"] or 0, row["session_id"]


# ---- alerts and what people said ----


def _alert_points(told: Told) -> Iterator[Point]:
    name = Name.of(told.session_id)
    rows = {row["code"]: row for row in told.alerts}
    for one in told.entries:
        if one.kind != ALERT or one.is_removed:
            continue
        said = one.json()
        code: str = said["code"]
        tags: Tags = (
            ("clinic", told.clinic),
            ("pen", name.pen),
            ("practitioner", _person(told.registry, _badged_in(told.entries, one.id))),
            ("code", code),
        )
        raised_utc_ms: int | None = said["raised_utc_ms"]
        yield point_of(
            schema.NOTICE.name,
            tags,
            {
                "notices": 1,
                "delay_ms": None if raised_utc_ms is None else one.committed_utc_ms - raised_utc_ms,
                "session": told.session_id,
            },
            entry_ns(one.committed_utc_ms, one.id),
        )
        if raised_utc_ms is None or not has_place(raised_utc_ms):
            continue
        seen = _acknowledgement(told.entries, one, code)
        yield point_of(
            schema.ALERT.name,
            (*tags, *name.turn()),
            {
                "alerts": 1,
                "open": int(seen is None),
                "shown": int(code in rows and rows[code]["reached_pen"]),
                "limit_mm": _float(said["limit_mm"]),
                "depth_mm": _float(said["depth_mm"]),
                "told_by": said.get("told_by", "gateway"),  # older ledgers know no other
                "acknowledged_by": None if seen is None else without_clients(seen.json()["who"]),
                "open_ms": None if seen is None else seen.committed_utc_ms - one.committed_utc_ms,
                "session": told.session_id,
            },
            name.time_ns(raised_utc_ms),
        )


def _acknowledgement(entries: Sequence[Entry], alert: Entry, code: str) -> Entry | None:
    """Where somebody acknowledged it; that happens once."""
    for one in entries:
        is_later = one.kind == ACKNOWLEDGED and one.id > alert.id and not one.is_removed
        if is_later and one.json()["code"] == code:
            return one
    return None


def _badged_in(entries: Sequence[Entry], before: int) -> str | None:
    """Who was the practitioner, as far as the records before an entry say."""
    practitioner = None
    for one in entries:
        if one.id >= before:
            break
        if one.kind == RECORD and not one.is_removed:
            badge = _badge_in(one.body)
            if badge is not None:
                practitioner = ndef.badge_id(badge)
    return practitioner


def _badge_in(message: bytes) -> bytes | None:
    """The badge that a record brings, if it brings one. Readings are not decoded for that."""
    try:
        payload = open_envelope(message)[1]
        if payload[0] <= _LONGEST_SHORT_ARRAY and payload[1] == messages.SAMPLES:
            return None
        record = decode_record(payload)
    except ProtocolError:
        return None
    badge: bytes | None = record.badge if record.kind in (messages.OPEN, messages.BADGE) else None
    return badge


def _override_point(told: Told, entry: Entry) -> Point:
    said = entry.json()
    return point_of(
        schema.OVERRIDE.name,
        (("clinic", told.clinic), ("code", said["code"])),
        {
            "overrides": 1,
            "who": without_clients(said["who"]),
            "why": without_clients(said["why"]),
            "pen": Name.of(told.session_id).pen,
            "session": told.session_id,
        },
        entry_ns(entry.committed_utc_ms, entry.id),
    )


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)
