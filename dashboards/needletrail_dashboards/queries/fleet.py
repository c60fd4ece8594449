"""Fleet: pens online, backlog, battery, clock, firmware, calibration; and the gateway itself.

Pens and gateway say how they are several times a minute, and this is kept for as long as the rest. So
it is drawn over time only while a point on the screen is no wider than an hour, which is a period of
three weeks or more, by the width of the panel. Of a longer one the panels say so in words.
"""

from needletrail_dashboards.influxql import (
    PIXEL,
    Select,
    grown_per_s,
    highest,
    newest,
    plain,
    total,
    zoomed_in,
)
from needletrail_dashboards.queries import in_period, standing
from needletrail_gateway.core.series.schema import (
    CLINIC,
    GATEWAY_HEALTH,
    PEN,
    PEN_HEALTH,
    Field,
)

HOUR_MS = 3_600_000
CALIBRATION_DUE_D = 365

_pen = PEN_HEALTH.field
_gateway = GATEWAY_HEALTH.field
_SHORT = zoomed_in(HOUR_MS)


def _last_of_each(field: Field) -> Select:
    return Select(PEN_HEALTH, (newest(field),), standing(PEN_HEALTH), by=(CLINIC, PEN))


def _last_of_gateways(field: Field) -> Select:
    return Select(GATEWAY_HEALTH, (newest(field),), standing(GATEWAY_HEALTH), by=(CLINIC,))


_online = _last_of_each(_pen("online"))
_in_session = _last_of_each(_pen("in_session"))
_backlog = _last_of_each(_pen("backlog"))
_outbox = _last_of_gateways(_gateway("outbox"))
_quarantined = _last_of_gateways(_gateway("quarantined"))
_calibrated = _last_of_each(_pen("calibrated_days"))

pens_online = Select(_online, (total(_online.field("online")),))
pens_in_session = Select(_in_session, (total(_in_session.field("in_session")),))
records_held = Select(_backlog, (total(_backlog.field("backlog")),))
outbox_now = Select(_outbox, (total(_outbox.field("outbox")),))
quarantine_now = Select(_quarantined, (total(_quarantined.field("quarantined")),))

pens = Select(
    PEN_HEALTH,
    tuple(
        newest(_pen(name))
        for name in (
            *("online", "in_session", "silent_s", "backlog", "battery_percent"),
            *("clock_offset_ms", "firmware", "calibrated_days", "faults"),
        )
    ),
    standing(PEN_HEALTH),
    by=(CLINIC, PEN),
)

calibration_due = Select(
    _calibrated,
    (plain(_calibrated.field("calibrated_days")),),
    by=(CLINIC, PEN),
)


def _of_pens(name: str) -> Select:
    return Select(
        PEN_HEALTH,
        (newest(_pen(name)),),
        in_period(PEN_HEALTH, _SHORT),
        by=(CLINIC, PEN),
        every=PIXEL,
    )


online_over_time = _of_pens("online")
backlog_over_time = _of_pens("backlog")
battery_over_time = _of_pens("battery_percent")
clock_over_time = _of_pens("clock_offset_ms")


def _of_gateways(name: str) -> Select:
    return Select(
        GATEWAY_HEALTH,
        (highest(_gateway(name)),),
        in_period(GATEWAY_HEALTH, _SHORT),
        by=(CLINIC,),
        every=PIXEL,
    )


records_rate = Select(
    GATEWAY_HEALTH,
    (grown_per_s(_gateway("records")),),
    in_period(GATEWAY_HEALTH, _SHORT),
    by=(CLINIC,),
    every=PIXEL,
)

commit_time = _of_gateways("commit_ms")
outbox_over_time = _of_gateways("outbox")
outbox_wait = _of_gateways("outbox_s")
refused_over_time = _of_gateways("refused")
quarantine_over_time = _of_gateways("quarantined")
