"""Years of time series for several clinics, straight from the schema: no ledger, no pens.

One month is made after the other, the newest first, so that the same database can be measured as it
grows. Numbers are drawn, but their shape is a clinic's: sessions by working day, a hundred readings of
a second, stock by day. Pens and gateways say how they are as often as they do, in the newest month; of
older months every tenth word is kept here, because no dashboard asks for them. Single readings are of
the newest days alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from needletrail_gateway.core.series.schema import (
    ALERT,
    BREACH,
    CARTRIDGE_USE,
    DEPTH,
    DEPTH_1S,
    GATEWAY_HEALTH,
    LICENCE,
    LOT_STATE,
    NOTICE,
    OPENED,
    OVERRIDE,
    PASS,
    PEN_HEALTH,
    REASON,
    SESSION,
    STOCK,
    Measurement,
)

DAY_MS = 86_400_000
MONTH_DAYS = 30
NS = 1_000_000
PEOPLE = 6
READING_MS = 20
TIERS = ("home", "cosmetic", "medical")
CODES = (
    "DEPTH_EXCEEDED",
    "DEPTH_AT_LIMIT",
    "CARTRIDGE_REUSED",
    "SCREENING_MISSING",
    "CARTRIDGE_MISSING",
)


def _line(measurement: Measurement, tags: str, fields: dict[str, object], time_ns: int) -> str:
    """A line; KeyError if the schema does not know a field."""
    written = ",".join(
        f"{measurement.field(name).name}={_written(measurement, name, value)}"
        for name, value in fields.items()
    )
    return f"{measurement.name},{tags} {written} {time_ns}"


def _written(measurement: Measurement, name: str, value: object) -> str:
    kind = measurement.field(name).kind
    if kind == "text":
        return f'"{value}"'
    return f"{value}i" if kind == "integer" else str(value).lower()


@dataclass(frozen=True)
class Size:
    """How large the clinics are. minutes: of a session. fine: pens' words every half minute, or so much
    rarer; raw_days: for how long single readings are kept."""

    clinics: int = 5
    pens: int = 4
    sessions_a_year: int = 5_000
    minutes: int = 5
    fine: int = 1
    raw_days: int = 5


class Years:
    """The clinics' time series up to a moment."""

    def __init__(self, size: Size, end_ms: int) -> None:
        self.size = size
        self.end_ms = end_ms
        self._rng = Random(5)
        self._session = 0

    def month(self, back: int) -> Iterator[tuple[str, str]]:
        """(retention policy, line) of the month that is so many months back; 0 is the newest."""
        first_ms = self.end_ms - (back + 1) * MONTH_DAYS * DAY_MS
        for day in range(MONTH_DAYS):
            day_ms = first_ms + day * DAY_MS
            yield from self._days_state(day_ms)
            yield from self._health(day_ms, 1 if back == 0 else 10)
        wanted = self.size.sessions_a_year * MONTH_DAYS // 365
        for number in range(wanted):
            at_ms = first_ms + MONTH_DAYS * DAY_MS * number // wanted
            yield from self._treatment(at_ms)

    def _treatment(self, at_ms: int) -> Iterator[tuple[str, str]]:
        rng, size = self._rng, self.size
        self._session += 1
        clinic = f"clinic-{rng.randrange(size.clinics):02}"
        pen = f"pen-{rng.randrange(size.pens):02}"
        who = f"person-{rng.randrange(PEOPLE)}"
        digits = self._session % 10_000 * 100 + 1
        session = f"{pen}-1-{self._session}"
        start_ns = at_ms * NS + digits
        place = f"clinic={clinic},pen={pen}"
        person = f"{place},practitioner={who}"
        judged = f"{person},tier={rng.choice(TIERS)}"
        breaches = int(rng.random() < 0.05)
        verdict = "violation" if breaches else rng.choices(("compliant", "review"), (9, 1))[0]
        yield (
            "",
            _line(
                SESSION,
                judged,
                {
                    "sessions": 1,
                    **{name: int(verdict == name) for name in ("compliant", "review", "violation")},
                    "worked": 1,
                    "alerts": breaches,
                    "alerted": breaches,
                    "amended": 0,
                    "peak_mm": 0.45,
                    "scope_mm": 0.5,
                    "breach_ms": 400 * breaches,
                    "over_limit_ms": 500 * breaches,
                    "breaches": breaches,
                    "passes": 20,
                    "strokes": 30_000,
                    "samples": size.minutes * 3_000,
                    "work_ms": size.minutes * 40_000,
                    "session_ms": size.minutes * 60_000,
                    "verdict": verdict,
                    "reasons": "" if verdict == "compliant" else CODES[breaches - 1],
                    "limited_by": "tier",
                    "policy": "default 2026.12.1",
                    "session": session,
                },
                start_ns,
            ),
        )
        if verdict != "compliant":
            tags = f"{judged},code={CODES[0] if breaches else rng.choice(CODES[1:])}"
            yield "", _line(REASON, tags, {"counted": 1, "overridden": 0, "session": session}, start_ns)
        if rng.random() < 0.01:
            fields = {"overrides": 1, "who": who, "why": "by telephone", "pen": pen, "session": session}
            yield "", _line(OVERRIDE, f"clinic={clinic},code={CODES[3]}", fields, start_ns)
        if breaches:
            fields = {"breaches": 1, "duration_ms": 400, "limit_mm": 0.5, "session": session}
            yield "", _line(BREACH, judged, fields, start_ns + 60_000 * NS)
            tags = f"{person},code={CODES[0]}"
            raised = {"alerts": 1, "open": int(rng.random() < 0.1), "shown": 1, "limit_mm": 0.5}
            raised |= {"depth_mm": 0.8, "told_by": "gateway", "session": session}
            yield "", _line(ALERT, tags, raised, start_ns + 60_200 * NS)
            told = {"notices": 1, "delay_ms": 900, "session": session}
            yield "", _line(NOTICE, tags, told, start_ns + 61_000 * NS)
        used = {"uses": 1, "first": 1, "reused": int(rng.random() < 0.01), "recalled": 0, "expired": 0}
        used |= {"serial": f"{self._session:06}", "strokes": 30_000, "session": session}
        lot = f"{place},gtin=0950600013435{rng.randrange(3)},lot=L{rng.randrange(20)}"
        yield "", _line(CARTRIDGE_USE, lot, used, start_ns)
        for number in range(20):
            done = {"number": number + 1, "duration_ms": 9_000, "session": session}
            yield "", _line(PASS, person, done, start_ns + number * 14_000 * NS)
        second = f"{DEPTH_1S.name},{place} "
        for at_s in range(size.minutes * 60):
            yield (
                "",
                f"{second}lowest_mm=0.3,mean_mm=0.4,highest_mm=0.45,limit_mm=0.5,strokes=100i,"
                f'samples=50i,contact_samples=40i,work_ms=800i,over_limit_ms=0i,session="{session}" '
                f"{at_ms // 1000 * 1000 * NS + digits + at_s * 1_000 * NS}",
            )
        if at_ms > self.end_ms - size.raw_days * DAY_MS:
            reading = f"{DEPTH.name},{place} contact=true,depth_mm=0.4"
            for index in range(size.minutes * 60_000 // READING_MS):
                time_ns = start_ns + index * READING_MS * NS
                yield "raw", f'{reading},session="{session}",strokes={index * 2}i {time_ns}'

    def _days_state(self, day_ms: int) -> Iterator[tuple[str, str]]:
        rng = self._rng
        for number in range(self.size.clinics):
            clinic, time_ns = f"clinic=clinic-{number:02}", day_ms * NS
            for item in range(6):
                fields = {"title": f"item {item}", "is_cartridge": item < 3, "left": 40, "usable": 38}
                fields |= {
                    "received": 400,
                    "used": 350,
                    "discarded": 10,
                    "used_28d": 30,
                    "days_left": 35,
                }
                fields |= {"reorder_at": 20, "is_low": int(rng.random() < 0.1)}
                name = f"0950600013435{item}" if item < 3 else f"item-{item}"
                yield "", _line(STOCK, f"{clinic},item={name}", fields, time_ns)
            for lot in range(20):
                fields = {"left": 5, "days_to_expiry": 10 * lot - 20, "recalled": int(lot == 7)}
                tags = f"{clinic},gtin=0950600013435{lot % 3},lot=L{lot}"
                yield "", _line(LOT_STATE, tags, fields | {"title": "needles"}, time_ns)
            yield "", _line(OPENED, clinic, {"opened": 4, "treated": 3, "unknown": 0}, time_ns)
            for person in range(PEOPLE):
                fields = {"days_left": 20 * person, "credential": "nurse", "suspended": 0}
                yield "", _line(LICENCE, f"{clinic},practitioner=person-{person}", fields, time_ns)

    def _health(self, day_ms: int, rarer: int) -> Iterator[tuple[str, str]]:
        step_ms = 30_000 * self.size.fine * rarer
        for number in range(self.size.clinics):
            clinic = f"clinic=clinic-{number:02}"
            pens = [
                f"{PEN_HEALTH.name},{clinic},pen=pen-{pen:02} online=1i,in_session=0i,silent_s=3i,"
                f'backlog=2i,battery_percent=80i,clock_offset_ms={pen}i,firmware="1.0.0",calibrated_days=200i,faults=""'
                for pen in range(self.size.pens)
            ]
            gateway = (
                f"{GATEWAY_HEALTH.name},{clinic} refused=0i,quarantined=0i,entries=1000i,outbox=3i,"
                "outbox_s=0i,commit_ms=12.5,pens_online=4i,pens=4i,records="
            )
            for after_ms in range(0, DAY_MS, step_ms):
                time_ns = (day_ms + after_ms) * NS
                for pen in pens:
                    yield "", f"{pen} {time_ns}"
                yield "", f"{gateway}{after_ms // 100}i {time_ns}"
                yield "", f"{gateway}{after_ms // 100}i {time_ns + step_ms // 2 * NS}"
