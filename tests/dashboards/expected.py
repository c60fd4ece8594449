"""What every panel should show, computed from the ledger's facts: one function a panel.

A function gives one answer for each of the panel's queries: rows of a table, or values by series (by
time, if there is one). Nothing here reads InfluxQL, a Select or a point; it says in Python what the
panel's title says in English.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from grafana_macros import ALL, View, interval_ms
from ledger_facts import DAY_MS, Facts, Row

Table = list[Row]
Series = dict[str, dict[int, float]] | dict[str, Any]
Answer = Table | Series

CHOICES = ("clinic", "pen", "practitioner", "tier")
PERIODS = {"1d": DAY_MS, "7d": 7 * DAY_MS, "28d": 28 * DAY_MS}
MINUTE_MS = 60_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Look:
    """The facts as a view shows them."""

    facts: Facts
    view: View
    points: int

    def chosen(self, measurement: str, *, but: tuple[str, ...] = ()) -> list[Row]:
        """Rows of what is chosen, of any time."""
        found = self.facts.rows.get(measurement, [])
        for name in CHOICES:
            wanted = self.view.choices.get(name, ALL)
            if name not in but and wanted not in (ALL, [ALL]):
                found = [row for row in found if name not in row or row[name] in wanted]
        return found

    def period(self, measurement: str, *, but: tuple[str, ...] = ()) -> list[Row]:
        """Rows of what is chosen, in the period."""
        first, last = self.view.from_ms, self.view.to_ms
        return [row for row in self.chosen(measurement, but=but) if first <= row["time"] <= last]

    def back(self, measurement: str, span_ms: int, *, but: tuple[str, ...] = ()) -> list[Row]:
        """Rows of what is chosen, of so long before the period's end."""
        last = self.view.to_ms
        rows = self.chosen(measurement, but=but)
        return [row for row in rows if last - span_ms < row["time"] <= last]

    def standing(
        self, measurement: str, *by: str, span_ms: int = 2 * DAY_MS, but: tuple[str, ...] = ()
    ) -> list[Row]:
        """The newest row of each thing; of its fields, the newest that is known."""
        newest: dict[tuple[str, ...], Row] = {}
        for row in sorted(self.back(measurement, span_ms, but=but), key=lambda row: row["time"]):
            known = newest.setdefault(tuple(row[name] for name in by), dict.fromkeys(row))
            known.update({name: value for name, value in row.items() if value is not None})
        return list(newest.values())

    def bucket(self, time: int, *, utc: bool = False) -> int:
        """When the bar begins that a moment is in."""
        width = PERIODS[str(self.view.choices["period"])]
        zone = ZoneInfo("UTC" if utc else str(self.view.choices["zone"]))
        shift = -3 * DAY_MS
        local = time + _offset_ms(time, zone)
        begins = (local - shift) // width * width + shift
        guess = begins - _offset_ms(time, zone)
        return begins - _offset_ms(guess, zone)

    def buckets(self, *, utc: bool = False) -> list[int]:
        """When each bar of the period begins."""
        found = [self.bucket(self.view.from_ms, utc=utc)]
        while True:
            width = PERIODS[str(self.view.choices["period"])]
            after = self.bucket(found[-1] + width + width // 2, utc=utc)
            if after > self.view.to_ms:
                return found
            found.append(after)

    def pixel(self, time: int, least_ms: int = 1000) -> int:
        """When the point on the screen begins that a moment is in."""
        width = interval_ms(self.view.from_ms, self.view.to_ms, self.points, least_ms)
        return time // width * width


def _offset_ms(time: int, zone: ZoneInfo) -> int:
    moment = (EPOCH + timedelta(milliseconds=time)).astimezone(zone)
    offset = moment.utcoffset()
    assert offset is not None
    return round(offset.total_seconds() * 1000)


def total(rows: Iterable[Row], name: str) -> float:
    """The sum."""
    return sum(row[name] for row in rows)


def share(rows: list[Row], part: str, whole: str = "sessions", factor: float = 100) -> float | None:
    """Of all, how many."""
    return factor * total(rows, part) / total(rows, whole) if rows else None


def only(name: str, value: Any) -> Series:
    """One number; nothing if there is none."""
    return {} if value is None else {name: value}


def summed(name: str, rows: list[Row], field: str | None = None) -> Series:
    """The sum, if there is anything to add up."""
    return {name: total(rows, field or name)} if rows else {}


def groups(rows: Iterable[Row], *by: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by some of their tags."""
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in by)].append(row)
    return dict(found)


def columns(rows: Iterable[Row], *names: str, time: bool = True) -> Table:
    """Some columns of rows."""
    wanted = ("time", *names) if time else names
    return [{"Time" if name == "time" else name: row[name] for name in wanted} for row in rows]


def bars(look: Look, rows: list[Row], *names: str, utc: bool = False) -> Series:
    """Sums for each bar; nought where there is nothing."""
    if not rows:
        return {}
    found = {name: dict.fromkeys(look.buckets(utc=utc), 0.0) for name in names}
    for row in rows:
        for name in names:
            found[name][look.bucket(row["time"], utc=utc)] += row[name]
    return found


def bars_by(look: Look, rows: list[Row], by: str, name: str) -> Series:
    """The same for each value of a tag."""
    return {key: bars(look, some, name)[name] for (key,), some in groups(rows, by).items()}


def shares_over_time(look: Look, rows: list[Row], part: str, factor: float = 100) -> dict[int, float]:
    """A share for each bar that has sessions."""
    by_bar: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_bar[look.bucket(row["time"])].append(row)
    return {bar: share(some, part, factor=factor) or 0.0 for bar, some in by_bar.items()}


def newest_first(rows: list[Row], most: int = 200) -> list[Row]:
    """The newest of them."""
    return sorted(rows, key=lambda row: -row["time"])[:most]


YEAR_BACK = 366 * DAY_MS
QUARTER = 92 * DAY_MS


# ---- compliance ----


def compliance_rate(look: Look) -> list[Answer]:
    return [only("compliance", share(look.period("sessions"), "compliant"))]


def alerts_per_session(look: Look) -> list[Answer]:
    return [only("alerts_per_session", share(look.period("sessions"), "alerts", factor=1))]


def sessions_with_alert(look: Look) -> list[Answer]:
    return [only("with_alert", share(look.period("sessions"), "alerted"))]


def open_alerts_count(look: Look) -> list[Answer]:
    return [summed("open_alerts", look.back("alerts", YEAR_BACK, but=("tier",)), "open")]


def sessions_by_verdict(look: Look) -> list[Answer]:
    return [bars(look, look.period("sessions"), "compliant", "review", "violation")]


def rate_and_burden(look: Look) -> list[Answer]:
    rows = look.period("sessions")
    if not rows:
        return [{}, {}]
    return [
        {"compliance": shares_over_time(look, rows, "compliant")},
        {
            "alerts_per_session": shares_over_time(look, rows, "alerts", 1),
            "with_alert": shares_over_time(look, rows, "alerted"),
        },
    ]


def reasons(look: Look) -> list[Answer]:
    return [
        [
            {"code": code, "counted": total(rows, "counted"), "overridden": total(rows, "overridden")}
            for (code,), rows in groups(look.period("reasons"), "code").items()
        ]
    ]


def breaches_by_practitioner(look: Look) -> list[Answer]:
    return [
        [
            {
                "practitioner": who,
                "tier": tier,
                "breaches": len(rows),
                "total_ms": total(rows, "duration_ms"),
                "longest_ms": max(row["duration_ms"] for row in rows),
            }
            for (who, tier), rows in groups(look.period("breaches"), "practitioner", "tier").items()
        ]
    ]


def time_over_limit(look: Look) -> list[Answer]:
    return [bars(look, look.period("sessions"), "breach_ms", "over_limit_ms")]


def sessions_to_look_at(look: Look) -> list[Answer]:
    rows = [row for row in look.period("sessions") if row["verdict"] != "compliant"]
    names = ("session", "verdict", "reasons", "clinic", "practitioner", "pen", "tier")
    return [columns(newest_first(rows), *names, "peak_mm", "scope_mm", "breach_ms", "alerts")]


def open_alerts(look: Look) -> list[Answer]:
    rows = [row for row in look.back("alerts", YEAR_BACK, but=("tier",)) if row["open"]]
    names = ("clinic", "code", "practitioner", "pen", "depth_mm", "limit_mm", "shown", "session")
    return [columns(newest_first(rows), *names)]


def overrides(look: Look) -> list[Answer]:
    rows = look.period("overrides", but=("pen", "practitioner", "tier"))
    return [columns(newest_first(rows), "clinic", "code", "who", "why", "session")]


def licences_lapsing(look: Look) -> list[Answer]:
    rows = look.standing("licence", "clinic", "practitioner")
    soon = [row for row in rows if row["days_left"] <= 60]
    names = ("clinic", "practitioner", "days_left", "credential", "suspended")
    return [columns(soon, *names, time=False)]


# ---- consumables ----

NO_PEN = ("practitioner", "tier")


def _uses(look: Look) -> list[Row]:
    return look.period("uses", but=NO_PEN)


def used_count(look: Look) -> list[Answer]:
    return [summed("uses", _uses(look))]


def reuse_count(look: Look) -> list[Answer]:
    return [summed("reused", _uses(look))]


def recalled_use_count(look: Look) -> list[Answer]:
    return [summed("recalled", _uses(look))]


def to_order_count(look: Look) -> list[Answer]:
    return [summed("to_order", look.standing("stock", "clinic", "item"), "is_low")]


def used_by_product(look: Look) -> list[Answer]:
    return [bars_by(look, _uses(look), "gtin", "uses")]


def opened_and_treated(look: Look) -> list[Answer]:
    return [bars(look, look.period("opened"), "opened", "treated", "unknown", utc=True)]


def _stock(look: Look, is_cartridge: bool) -> list[Answer]:
    rows = look.standing("stock", "clinic", "item")
    names = ("title", "left", "usable", "received", "used", "discarded", "used_28d")
    mine = [row for row in rows if row["is_cartridge"] == is_cartridge]
    return [columns(mine, "clinic", "item", *names, "days_left", "reorder_at", "is_low", time=False)]


def stock_of_cartridges(look: Look) -> list[Answer]:
    return _stock(look, True)


def stock_of_others(look: Look) -> list[Answer]:
    return _stock(look, False)


def _lots(look: Look) -> list[Row]:
    return look.standing("lot", "clinic", "gtin", "lot")


def _between(look: Look, name: str, least: float, most: float) -> Series:
    rows = [
        row
        for row in _lots(look)
        if row["days_to_expiry"] is not None and least <= row["days_to_expiry"] <= most
    ]
    return summed(name, rows, "left")


def expiry_steps(look: Look) -> list[Answer]:
    steps = (
        ("expired", -9_999, -1),
        ("within_30", 0, 30),
        ("within_60", 31, 60),
        ("within_90", 61, 90),
    )
    return [_between(look, *step) for step in steps]


def lots_expiring(look: Look) -> list[Answer]:
    rows = [
        row
        for row in _lots(look)
        if row["days_to_expiry"] is not None and row["days_to_expiry"] <= 90 and row["left"] > 0
    ]
    names = ("clinic", "gtin", "lot", "title", "left", "days_to_expiry", "recalled")
    return [columns(rows, *names, time=False)]


def recalled_lots(look: Look) -> list[Answer]:
    rows = [row for row in _lots(look) if row["recalled"]]
    names = ("clinic", "gtin", "lot", "title", "left", "days_to_expiry")
    return [columns(rows, *names, time=False)]


def _uses_that(look: Look, what: str) -> list[Answer]:
    rows = [row for row in _uses(look) if row[what]]
    names = ("clinic", "gtin", "lot", "serial", "strokes", "pen", "session")
    return [columns(newest_first(rows), *names)]


def reuse_attempts(look: Look) -> list[Answer]:
    return _uses_that(look, "reused")


def recalled_uses(look: Look) -> list[Answer]:
    return _uses_that(look, "recalled")


def expired_uses(look: Look) -> list[Answer]:
    return _uses_that(look, "expired")


# ---- session ----


def _of_it(look: Look, measurement: str, *but: str) -> list[Row]:
    wanted = look.view.choices["session"]
    rows = look.back(measurement, QUARTER, but=but)
    return [row for row in rows if row["session"] == wanted]


def _number(name: str) -> Callable[[Look], list[Answer]]:
    def one(look: Look) -> list[Answer]:
        rows = _of_it(look, "sessions")
        return [only(name, rows[0][name] if rows else None)]

    return one


def summary(look: Look) -> list[Answer]:
    names = ("verdict", "reasons", "clinic", "practitioner", "pen", "tier", "limited_by", "policy")
    more = ("session_ms", "work_ms", "over_limit_ms", "amended")
    return [columns(_of_it(look, "sessions"), *names, *more)]


def passes(look: Look) -> list[Answer]:
    return [columns(_of_it(look, "passes", "tier"), "number", "duration_ms")]


def breaches(look: Look) -> list[Answer]:
    return [columns(_of_it(look, "breaches"), "duration_ms", "limit_mm")]


def alerts(look: Look) -> list[Answer]:
    names = ("code", "depth_mm", "limit_mm", "open", "acknowledged_by", "told_by")
    return [columns(_of_it(look, "alerts", "tier"), *names)]


def cartridge(look: Look) -> list[Answer]:
    names = ("gtin", "lot", "serial", "strokes", "reused", "recalled", "expired")
    return [columns(_of_it(look, "uses", *NO_PEN), *names)]


def _trace(look: Look) -> list[Row]:
    """The readings of the session in the period, one by one."""
    wanted = look.view.choices["session"]
    return [row for row in look.period("readings", but=NO_PEN) if row["session"] == wanted]


def _seconds(look: Look, least_ms: int = 1_000) -> dict[int, dict[int, list[Row]]]:
    """Readings by point on the screen and then by second. A second is where it begins."""
    if interval_ms(look.view.from_ms, look.view.to_ms, look.points, least_ms) > 5 * MINUTE_MS:
        return {}
    wanted = look.view.choices["session"]
    rows = [row for row in look.chosen("readings", but=NO_PEN) if row["session"] == wanted]
    seconds: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        seconds[row["time"] // 1000 * 1000].append(row)
    found: dict[int, dict[int, list[Row]]] = defaultdict(dict)
    for second, some in seconds.items():
        if look.view.from_ms <= second <= look.view.to_ms:
            found[look.pixel(second, least_ms)][second] = some
    return found


def depth_trace(look: Look) -> list[Answer]:
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for point, seconds in _seconds(look, 10).items():
        depths = [row["depth_mm"] for some in seconds.values() for row in some]
        means = [round(total(some, "depth_mm") / len(some), 3) for some in seconds.values()]
        found["highest_mm"][point] = max(depths)
        found["lowest_mm"][point] = min(depths)
        found["mean_mm"][point] = sum(means) / len(means)
        found["limit_mm"][point] = max(row["limit_mm"] for some in seconds.values() for row in some)
    is_close = interval_ms(look.view.from_ms, look.view.to_ms, look.points, 10) <= 100
    dots = {row["time"]: row["depth_mm"] for row in _trace(look)} if is_close else {}
    return [dict(found), {"depth_mm": dots} if dots else {}]


def strokes_rate(look: Look) -> list[Answer]:
    found = {
        point: sum(total(some, "new_strokes") for some in seconds.values()) / len(seconds)
        for point, seconds in _seconds(look).items()
    }
    return [{"strokes": found} if found else {}]


def contact(look: Look) -> list[Answer]:
    found = {}
    for point, seconds in _seconds(look).items():
        rows = [row for some in seconds.values() for row in some]
        found[point] = 100 * total(rows, "contact") / len(rows)
    return [{"contact": found} if found else {}]


# ---- fleet ----

HEALTH = 5 * MINUTE_MS
NO_PERSON = ("practitioner", "tier")


def _pens(look: Look) -> list[Row]:
    return look.standing("pen_health", "clinic", "pen", span_ms=HEALTH, but=NO_PERSON)


def _gateways(look: Look) -> list[Row]:
    return look.standing("gateway_health", "clinic", span_ms=HEALTH, but=("pen", *NO_PERSON))


def pens_online(look: Look) -> list[Answer]:
    return [summed("online", _pens(look))]


def pens_in_session(look: Look) -> list[Answer]:
    return [summed("in_session", _pens(look))]


def records_held(look: Look) -> list[Answer]:
    return [summed("backlog", _pens(look))]


def outbox_now(look: Look) -> list[Answer]:
    return [summed("outbox", _gateways(look))]


def quarantine_now(look: Look) -> list[Answer]:
    return [summed("quarantined", _gateways(look))]


def pens(look: Look) -> list[Answer]:
    names = ("online", "in_session", "silent_s", "backlog", "battery_percent")
    more = ("clock_offset_ms", "firmware", "calibrated_days", "faults")
    return [columns(_pens(look), "clinic", "pen", *names, *more, time=False)]


def calibration_due(look: Look) -> list[Answer]:
    known = [row for row in _pens(look) if row["calibrated_days"] is not None]
    return [columns(known, "clinic", "pen", "calibrated_days", time=False)]


def _is_short(look: Look) -> bool:
    return interval_ms(look.view.from_ms, look.view.to_ms, look.points, 1000) <= 3_600_000


def _last_of_pens(name: str) -> Callable[[Look], list[Answer]]:
    def one(look: Look) -> list[Answer]:
        found: dict[str, dict[int, float]] = defaultdict(dict)
        rows = look.period("pen_health", but=NO_PERSON) if _is_short(look) else []
        for row in sorted(rows, key=lambda row: row["time"]):
            if row[name] is not None:
                found[f"{row['clinic']} {row['pen']}"][look.pixel(row["time"])] = row[name]
        return [dict(found)]

    return one


def _most_of_gateways(name: str) -> Callable[[Look], list[Answer]]:
    def one(look: Look) -> list[Answer]:
        found: dict[str, dict[int, float]] = defaultdict(dict)
        rows = look.period("gateway_health", but=("pen", *NO_PERSON)) if _is_short(look) else []
        for row in rows:
            points = found[row["clinic"]]
            point = look.pixel(row["time"])
            points[point] = max(points.get(point, row[name]), row[name])
        return [dict(found)]

    return one


def records_rate(look: Look) -> list[Answer]:
    """The rise from one point to the next; InfluxDB knows the point before the period, too."""
    if not _is_short(look):
        return [{}]
    first = look.pixel(look.view.from_ms)
    width = interval_ms(look.view.from_ms, look.view.to_ms, look.points, 1000)
    found: dict[str, dict[int, float]] = {}
    rows = look.chosen("gateway_health", but=("pen", *NO_PERSON))
    for (clinic,), some in groups(rows, "clinic").items():
        most: dict[int, float] = {}
        for row in some:
            if first - width <= row["time"] <= look.view.to_ms:
                point = look.pixel(row["time"])
                most[point] = max(most.get(point, 0), row["records"])
        times = sorted(most)
        rises = {
            after: (most[after] - most[before]) / (after - before) * 1000
            for before, after in pairwise(times)
            if most[after] >= most[before] and after >= first
        }
        if rises:
            found[clinic] = rises
    return [found]


# ---- owner ----


def clinics_count(look: Look) -> list[Answer]:
    found = groups(look.period("sessions"), "clinic")
    return [only("clinics", len(found) or None)]


def sessions_count(look: Look) -> list[Answer]:
    return [summed("sessions", look.period("sessions"))]


def _by_clinic(rows: list[Row], **names: str) -> Table:
    return [
        {"clinic": clinic} | {shown: total(some, name) for shown, name in names.items()}
        for (clinic,), some in groups(rows, "clinic").items()
    ]


def side_by_side(look: Look) -> list[Answer]:
    sessions = [
        {
            "clinic": clinic,
            "sessions": len(rows),
            "compliance": share(rows, "compliant"),
            "alerts_per_session": share(rows, "alerts", factor=1),
            "breaches": total(rows, "breaches"),
        }
        for (clinic,), rows in groups(look.period("sessions"), "clinic").items()
    ]
    lapsing = [
        row for row in look.standing("licence", "clinic", "practitioner") if row["days_left"] <= 60
    ]
    return [
        sessions,
        _by_clinic(look.back("alerts", YEAR_BACK, but=("tier",)), open_alerts="open"),
        _by_clinic(_uses(look), cartridges="uses", reused="reused", recalled="recalled"),
        _by_clinic(look.standing("stock", "clinic", "item"), to_order="is_low"),
        [
            {"clinic": clinic, "lapsing": len(rows)}
            for (clinic,), rows in groups(lapsing, "clinic").items()
        ],
        _by_clinic(_pens(look), pens_online="online"),
    ]


def rate_by_clinic(look: Look) -> list[Answer]:
    return [
        [
            {"clinic": clinic, "compliance": share(rows, "compliant")}
            for (clinic,), rows in groups(look.period("sessions"), "clinic").items()
        ]
    ]


def burden_by_clinic(look: Look) -> list[Answer]:
    return [
        [
            {"clinic": clinic, "alerts_per_session": share(rows, "alerts", factor=1)}
            for (clinic,), rows in groups(look.period("sessions"), "clinic").items()
        ]
    ]


def sessions_over_time(look: Look) -> list[Answer]:
    return [bars_by(look, look.period("sessions"), "clinic", "sessions")]


def compliance_over_time(look: Look) -> list[Answer]:
    return [
        {
            clinic: shares_over_time(look, rows, "compliant")
            for (clinic,), rows in groups(look.period("sessions"), "clinic").items()
        }
    ]


Expectation = Callable[[Look], list[Answer]]

EXPECTED: dict[str, dict[str, Expectation]] = {
    "compliance": {
        one.__name__: one
        for one in (
            *(compliance_rate, alerts_per_session, sessions_with_alert, open_alerts_count),
            *(sessions_by_verdict, rate_and_burden, reasons, breaches_by_practitioner),
            *(time_over_limit, sessions_to_look_at, open_alerts, overrides, licences_lapsing),
        )
    },
    "consumables": {
        one.__name__: one
        for one in (
            *(used_count, reuse_count, recalled_use_count, to_order_count, used_by_product),
            *(opened_and_treated, stock_of_cartridges, stock_of_others, expiry_steps),
            *(lots_expiring, recalled_lots, reuse_attempts, recalled_uses, expired_uses),
        )
    },
    "session": {
        "verdict": _number("verdict"),
        "peak": _number("peak_mm"),
        "scope": _number("scope_mm"),
        "breach_time": _number("breach_ms"),
        "passes_count": _number("passes"),
        "strokes_count": _number("strokes"),
        **{
            one.__name__: one
            for one in (
                *(depth_trace, strokes_rate, contact, summary, passes, breaches, alerts, cartridge),
            )
        },
    },
    "fleet": {
        "online_over_time": _last_of_pens("online"),
        "backlog_over_time": _last_of_pens("backlog"),
        "battery_over_time": _last_of_pens("battery_percent"),
        "clock_over_time": _last_of_pens("clock_offset_ms"),
        "commit_time": _most_of_gateways("commit_ms"),
        "outbox_over_time": _most_of_gateways("outbox"),
        "outbox_wait": _most_of_gateways("outbox_s"),
        "quarantine_over_time": _most_of_gateways("quarantined"),
        "refused_over_time": _most_of_gateways("refused"),
        **{
            one.__name__: one
            for one in (
                *(pens_online, pens_in_session, records_held, outbox_now, quarantine_now),
                *(pens, calibration_due, records_rate),
            )
        },
    },
    "owner": {
        one.__name__: one
        for one in (
            *(clinics_count, sessions_count, side_by_side, rate_by_clinic, burden_by_clinic),
            *(sessions_over_time, compliance_over_time),
        )
    },
}
