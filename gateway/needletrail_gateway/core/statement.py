"""What the ledger says of a session, an alert or a gap: plain dictionaries with stable keys.

Depths are millimetres here, for people and for machines that read JSON; names carry their units.
"""

from typing import Any

from needletrail_gateway.core.judging.judge import Verdict
from needletrail_gateway.core.treatment import Alert, Treatment, iso
from needletrail_protocol import messages


def mm(um: int | None) -> float | None:
    """Millimetres of whole micrometres."""
    return None if um is None else um / 1000


def verdict_statement(treatment: Treatment, verdict: Verdict) -> dict[str, Any]:
    """Everything about a judged session, reasons with their rules included."""
    meter = treatment.meter
    scope = treatment.scope
    cartridge = treatment.cartridge
    policy = treatment.rules.policy
    is_marked = treatment.is_marked()
    return {
        "session_id": treatment.session_id,
        "pen": treatment.pen.id,
        "practitioner": scope.practitioner,
        "cartridge": None
        if cartridge is None
        else {
            "gtin": cartridge.gtin,
            "lot": cartridge.lot,
            "serial": cartridge.serial,
            "expires": None if cartridge.expires is None else cartridge.expires.isoformat(),
        },
        "started": iso(treatment.utc_ms(treatment.opened_t_ms)),
        "ended": iso(treatment.utc_ms(treatment.last_t_ms)),
        "session_samples": meter.samples if is_marked else None,
        "session_ms": treatment.last_t_ms - treatment.opened_t_ms if is_marked else None,
        "samples": meter.samples,
        "strokes": meter.strokes - meter.first_strokes,
        "passes": meter.passes.count,
        "peak_mm": mm(treatment.peak_um()) or 0.0,
        "scope_mm": mm(scope.um),
        "scope_inclusive": scope.inclusive,
        "limited_by": scope.limited_by,
        "limits": [
            {"name": limit.name, "mm": mm(limit.um), "inclusive": limit.inclusive}
            for limit in scope.limits
        ],
        "tolerance_mm": treatment.pen.reading_tolerance_mm,
        "breach_ms": meter.breaches.total_ms,
        "clock": _clock_statement(treatment),
        "grant": {
            "issued": iso(treatment.grants[0][1]),
            "taken": [
                {"t_ms": t_ms, "issued": iso(issued_utc_ms)}
                for t_ms, issued_utc_ms in treatment.grants[1:]
            ],
        },
        "faults": [
            {"part": one.part, "fault": one.fault, "t_ms": one.t_ms, "is_over": one.is_over}
            for one in treatment.faults
        ],
        "verdict": verdict.outcome,
        "reasons": list(verdict.reasons),
        "rules": [
            {
                "code": rule.code,
                "outcome": rule.outcome,
                "severity": rule.severity,
                "text": rule.text,
                "citation": rule.citation,
            }
            for rule in verdict.rules
        ],
        "overridden": [
            {"code": code, "who": word.who, "why": word.why, "utc": iso(word.utc_ms)}
            for code, word in verdict.overridden
        ],
        "policy": {"pack": policy.name, "version": policy.version, "extends": policy.lineage},
        "policy_entry": treatment.rules.policy_entry or None,
        "registry_entry": treatment.rules.registry_entry or None,
        "note_entry": None if treatment.visit is None else treatment.visit.entry,
        "opened_by": messages.OPEN_CAUSES[treatment.opened_by],
        "tier": scope.tier,
        "pass_spans_ms": meter.passes.spans,
        "breach_spans_ms": meter.breaches.spans,
        "over_limit_ms": meter.over.total_ms,
        "work_ms": meter.work.total_ms,
        "worked": meter.has_worked(),
        "boot_utc_ms": treatment.boot_utc_ms,
        "started_t_ms": treatment.opened_t_ms,
    }


def visit_row(treatment: Treatment, verdict: Verdict, heard_utc_ms: int) -> dict[str, Any] | None:
    """What the session is in its client's history; None without a note, work or permit.

    heard_utc_ms: stands for its beginning if nobody knows that.
    """
    visit, tier = treatment.visit, verdict.tier
    if visit is None or tier is None:
        return None
    started_utc_ms = treatment.utc_ms(treatment.opened_t_ms)
    return {
        "session_id": treatment.session_id,
        "client": visit.client,
        "note_entry": visit.entry,
        "started_utc_ms": heard_utc_ms if started_utc_ms is None else started_utc_ms,
        "tier": tier,
    }


def _clock_statement(treatment: Treatment) -> dict[str, Any]:
    """The session's beginning by the pen's clock and by the gateway's, and whose counts."""
    clock = treatment.clock
    device, pinned = clock.device_utc_ms, clock.pinned_utc_ms
    t_ms = treatment.opened_t_ms
    return {
        "source": clock.source,
        "device": None if device is None else iso(device + t_ms),
        "corrected": None if pinned is None else iso(pinned + t_ms),
        "offset_ms": clock.offset_ms,
    }


def alert_statement(alert: Alert) -> dict[str, Any]:
    """An alert as it was raised."""
    return {
        "session_id": alert.session_id,
        "code": alert.code,
        "raised": iso(alert.raised_utc_ms),
        "raised_utc_ms": alert.raised_utc_ms,
        "limit_mm": mm(alert.limit_um),
        "depth_mm": mm(alert.depth_um),
        "told_by": alert.told_by,
    }
