"""Points: what the ledger's entries look like as time series. The one place that names them.

Measurements, tags, fields and units stand in the tables below; writer, dashboards and documentation
use these. A point is made from ledger entries alone, and the same entries always make the same
points: writing one again changes nothing. Tags have few values (no session, no serial number).

A timestamp is in nanoseconds: the milliseconds of the reading, and below them the last three digits
of the key epoch and of the session's number. So two sessions with the same clock time (a clock set
back, a tape played twice) do not overwrite each other's points.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.statement import mm
from needletrail_gateway.core.treatment import Treatment
from needletrail_protocol.readings import Readings

DEPTH = "depth"
SESSION = "session"
PASS = "pass"
ALERT = "alert"
CARTRIDGE_USE = "cartridge_use"

MEASUREMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # measurement: (tags, fields)
    DEPTH: (("clinic", "pen"), ("depth_mm", "strokes", "contact", "working", "session")),
    SESSION: (
        ("clinic", "pen", "practitioner", "verdict"),
        (
            "session",
            "peak_mm",
            "scope_mm",
            "breach_ms",
            "passes",
            "strokes",
            "samples",
            "work_ms",
            "reasons",
            "policy",
        ),
    ),
    PASS: (("clinic", "pen", "practitioner"), ("session", "number", "duration_ms")),
    ALERT: (("clinic", "pen", "code"), ("session", "limit_mm", "depth_mm")),
    CARTRIDGE_USE: (("clinic", "pen", "gtin", "lot"), ("session", "serial", "strokes")),
}

OTHER = "unregistered"  # a tag's value must come from the registry; whatever else a badge says does not


@dataclass(frozen=True)
class Point:
    """One point. Fields that are None are left out; `time_ns` counts from 1970 UTC."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, str | int | float | bool], ...]
    time_ns: int


def time_ns(utc_ms: int, session_id: str) -> int:
    """The timestamp of a moment in a session."""
    _, epoch, session = session_id.rsplit("-", 2)
    return utc_ms * 1_000_000 + int(epoch) % 1_000 * 1_000 + int(session) % 1_000


def depth_points(clinic: str, treatment: Treatment, readings: Readings) -> Iterator[Point]:
    """Feed readings to a treatment one by one and give each as a point."""
    meter = treatment.meter
    tags = (("clinic", clinic), ("pen", treatment.pen.id))
    calibration = treatment.pen.counts_to_depth()
    depths: dict[int, float | None] = {}
    session_ns = time_ns(0, treatment.session_id)
    for t_ms, counts, strokes, is_contact in zip(
        readings.t_ms, readings.dial, readings.strokes, readings.contact, strict=True
    ):
        meter.step(t_ms, counts, strokes, is_contact)
        depth_mm = depths.get(meter.counts)
        if depth_mm is None:
            depth_mm = depths[meter.counts] = mm(calibration.depth_um(meter.counts))
        utc_ms = treatment.utc_ms(t_ms)
        if utc_ms is None or depth_mm is None:
            continue  # a time series needs a time; the ledger has the readings all the same
        yield Point(
            DEPTH,
            tags,
            (
                ("depth_mm", depth_mm),
                ("strokes", strokes),
                ("contact", is_contact),
                ("working", meter.is_working),
                ("session", treatment.session_id),
            ),
            utc_ms * 1_000_000 + session_ns,
        )


def verdict_points(registry: Registry, statement: Mapping[str, Any]) -> Iterator[Point]:
    """The session, its passes and its cartridge, from a verdict's statement."""
    boot_utc_ms = statement["boot_utc_ms"]
    if boot_utc_ms is None:
        return
    session_id = statement["session_id"]
    start_ns = time_ns(boot_utc_ms + statement["started_t_ms"], session_id)
    clinic = ("clinic", registry.clinic.id)
    pen = ("pen", statement["pen"])
    person = ("practitioner", _practitioner(registry, statement["practitioner"]))
    name = ("session", session_id)
    yield Point(
        SESSION,
        (clinic, pen, person, ("verdict", statement["verdict"])),
        (
            name,
            ("peak_mm", float(statement["peak_mm"])),
            ("scope_mm", float(statement["scope_mm"])),
            ("breach_ms", statement["breach_ms"]),
            ("passes", statement["passes"]),
            ("strokes", statement["strokes"]),
            ("samples", statement["samples"]),
            ("work_ms", statement["work_ms"]),
            ("reasons", " ".join(statement["reasons"])),
            ("policy", f"{statement['policy']['pack']} {statement['policy']['version']}"),
        ),
        start_ns,
    )
    for number, (from_ms, to_ms) in enumerate(statement["pass_spans_ms"], 1):
        yield Point(
            PASS,
            (clinic, pen, person),
            (name, ("number", number), ("duration_ms", to_ms - from_ms)),
            time_ns(boot_utc_ms + from_ms, session_id),
        )
    cartridge = statement["cartridge"]
    if cartridge is not None and statement["work_ms"] > 0:
        product = registry.find_product(cartridge["gtin"])
        lot = registry.find_lot(cartridge["gtin"], cartridge["lot"] or "")
        yield Point(
            CARTRIDGE_USE,
            (
                clinic,
                pen,
                ("gtin", OTHER if product is None else product.gtin),
                ("lot", OTHER if lot is None else lot.lot),
            ),
            (name, ("serial", cartridge["serial"] or ""), ("strokes", statement["strokes"])),
            start_ns,
        )


def alert_point(clinic: str, pen_id: str, statement: Mapping[str, Any]) -> Point | None:
    """An alert, from its statement."""
    if statement["raised_utc_ms"] is None:
        return None
    fields: list[tuple[str, str | int | float | bool]] = [("session", statement["session_id"])]
    for name in ("limit_mm", "depth_mm"):
        if statement[name] is not None:
            fields.append((name, float(statement[name])))
    return Point(
        ALERT,
        (("clinic", clinic), ("pen", pen_id), ("code", statement["code"])),
        tuple(fields),
        time_ns(statement["raised_utc_ms"], statement["session_id"]),
    )


def line(point: Point) -> str:
    """The point in InfluxDB's line protocol, timestamp in nanoseconds."""
    tags = "".join(f",{key}={_escape(value)}" for key, value in point.tags)
    fields = ",".join(f"{key}={_field(value)}" for key, value in point.fields)
    return f"{point.measurement}{tags} {fields} {point.time_ns}"


def _practitioner(registry: Registry, practitioner: str | None) -> str:
    if practitioner is None:
        return "none"
    return practitioner if registry.find_practitioner(practitioner) is not None else OTHER


def _escape(text: str) -> str:
    for special in ("\\", ",", "=", " "):
        text = text.replace(special, "\\" + special)
    return text.replace("\n", "\\n")


def _field(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}i"
    if isinstance(value, float):
        return repr(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
