"""Compliance: verdicts and their alert burden, reasons, breaches, overrides, open alerts, licences."""

from needletrail_dashboards.influxql import (
    Select,
    at_end_of_period,
    compare,
    highest,
    newest,
    per_period,
    plain,
    ratio,
    share,
    total,
)
from needletrail_dashboards.queries import as_chosen, in_period, standing
from needletrail_gateway.core.series.schema import (
    ALERT,
    BREACH,
    CLINIC,
    CODE,
    LICENCE,
    OVERRIDE,
    PEN,
    PRACTITIONER,
    REASON,
    SESSION,
    TIER,
)

LAPSES_WITHIN_D = 60
MOST_ROWS = 200
OPEN_BACK = "366d"  # an alert stays open until somebody acknowledges it, also beyond the period shown

_session = SESSION.field
_VERDICTS = ("compliant", "review", "violation")

compliance_rate = Select(
    SESSION,
    (share(_session("compliant"), _session("sessions"), "compliance"),),
    in_period(SESSION),
)

alerts_per_session = Select(
    SESSION,
    (ratio(_session("alerts"), _session("sessions"), "alerts_per_session"),),
    in_period(SESSION),
)

sessions_with_alert = Select(
    SESSION,
    (share(_session("alerted"), _session("sessions"), "with_alert"),),
    in_period(SESSION),
)

open_alerts_count = Select(
    ALERT,
    (total(ALERT.field("open")).named("open_alerts"),),
    (*as_chosen(ALERT), at_end_of_period(OPEN_BACK)),
)

sessions_by_verdict = Select(
    SESSION,
    tuple(total(_session(name)) for name in _VERDICTS),
    in_period(SESSION),
    every=per_period(),
)

rate_over_time = Select(
    SESSION,
    (share(_session("compliant"), _session("sessions"), "compliance"),),
    in_period(SESSION),
    every=per_period("none"),
)

burden_over_time = Select(
    SESSION,
    (
        ratio(_session("alerts"), _session("sessions"), "alerts_per_session"),
        share(_session("alerted"), _session("sessions"), "with_alert"),
    ),
    in_period(SESSION),
    every=per_period("none"),
)

reasons = Select(
    REASON,
    (total(REASON.field("counted")), total(REASON.field("overridden"))),
    in_period(REASON),
    by=(CODE,),
)

breaches_by_practitioner = Select(
    BREACH,
    (
        total(BREACH.field("breaches")),
        total(BREACH.field("duration_ms")).named("total_ms"),
        highest(BREACH.field("duration_ms")).named("longest_ms"),
    ),
    in_period(BREACH),
    by=(PRACTITIONER, TIER),
)

time_over_limit = Select(
    SESSION,
    (total(_session("breach_ms")), total(_session("over_limit_ms"))),
    in_period(SESSION),
    every=per_period(),
)

overrides = Select(
    OVERRIDE,
    tuple(
        plain(one)
        for one in (
            CLINIC,
            CODE,
            OVERRIDE.field("who"),
            OVERRIDE.field("why"),
            OVERRIDE.field("session"),
        )
    ),
    in_period(OVERRIDE),
    newest_first=True,
    limit=MOST_ROWS,
)

open_alerts = Select(
    ALERT,
    tuple(
        plain(one)
        for one in (
            CLINIC,
            CODE,
            PRACTITIONER,
            PEN,
            ALERT.field("depth_mm"),
            ALERT.field("limit_mm"),
            ALERT.field("shown"),
            ALERT.field("session"),
        )
    ),
    (*as_chosen(ALERT), compare(ALERT.field("open"), "=", 1), at_end_of_period(OPEN_BACK)),
    newest_first=True,
    limit=MOST_ROWS,
)

_licence = Select(
    LICENCE,
    (
        newest(LICENCE.field("days_left")),
        newest(LICENCE.field("credential")),
        newest(LICENCE.field("suspended")),
    ),
    standing(LICENCE),
    by=(CLINIC, PRACTITIONER),
)

licences_lapsing = Select(
    _licence,
    tuple(plain(one) for one in _licence.fields),
    (compare(_licence.field("days_left"), "<=", LAPSES_WITHIN_D),),
    by=(CLINIC, PRACTITIONER),
)

sessions_to_look_at = Select(
    SESSION,
    tuple(
        plain(one)
        for one in (
            _session("session"),
            _session("verdict"),
            _session("reasons"),
            CLINIC,
            PRACTITIONER,
            PEN,
            TIER,
            _session("peak_mm"),
            _session("scope_mm"),
            _session("breach_ms"),
            _session("alerts"),
        )
    ),
    in_period(SESSION, compare(_session("compliant"), "=", 0)),
    newest_first=True,
    limit=MOST_ROWS,
)
