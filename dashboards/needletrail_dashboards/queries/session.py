"""One session: its depth trace, from seconds to single readings, passes, strokes, breaches, alerts.

The session is chosen by its id, which is a field. So that zooming in does not lose it, what is said of
the session as a whole is looked for in the quarter before the end of the period shown; only the traces
keep to the period itself.
"""

from needletrail_dashboards.influxql import (
    IN_PERIOD,
    PIXEL,
    Condition,
    Select,
    at_end_of_period,
    highest,
    lowest,
    mean,
    newest,
    plain,
    share,
    the_one_chosen,
    zoomed_in,
)
from needletrail_dashboards.queries import as_chosen
from needletrail_gateway.core.series.schema import (
    ALERT,
    BREACH,
    CARTRIDGE_USE,
    CLINIC,
    CODE,
    DEPTH,
    DEPTH_1S,
    GTIN,
    LOT,
    PASS,
    PEN,
    PRACTITIONER,
    SESSION,
    TIER,
    Measurement,
)

BACK = "92d"
MOST_SESSIONS = 1000
# A point on the screen may be so wide, for single readings to be drawn; and for seconds. The session is
# found by a field, so InfluxDB looks at all sessions of the period: that must not be a year.
READINGS_UP_TO_MS = 100
SECONDS_UP_TO_MS = 300_000

_session = SESSION.field
_second = DEPTH_1S.field


def _of_it(measurement: Measurement) -> tuple[Condition, ...]:
    """The session's own, wherever in the quarter it is."""
    one = the_one_chosen(measurement.field("session"))
    return (*as_chosen(measurement), one, at_end_of_period(BACK))


def _trace(measurement: Measurement, up_to_ms: int = SECONDS_UP_TO_MS) -> tuple[Condition, ...]:
    """The session's own, in the period shown, if that is short enough."""
    one = the_one_chosen(measurement.field("session"))
    return (zoomed_in(up_to_ms), *as_chosen(measurement), one, IN_PERIOD)


choices = Select(
    SESSION,
    (plain(_session("session")),),
    (*as_chosen(SESSION), at_end_of_period(BACK)),
    newest_first=True,
    limit=MOST_SESSIONS,
)

verdict = Select(SESSION, (newest(_session("verdict")),), _of_it(SESSION))
peak = Select(SESSION, (newest(_session("peak_mm")),), _of_it(SESSION))
scope = Select(SESSION, (newest(_session("scope_mm")),), _of_it(SESSION))
breach_time = Select(SESSION, (newest(_session("breach_ms")),), _of_it(SESSION))
passes_count = Select(SESSION, (newest(_session("passes")),), _of_it(SESSION))
strokes_count = Select(SESSION, (newest(_session("strokes")),), _of_it(SESSION))

summary = Select(
    SESSION,
    tuple(
        plain(one)
        for one in (
            _session("verdict"),
            _session("reasons"),
            CLINIC,
            PRACTITIONER,
            PEN,
            TIER,
            _session("limited_by"),
            _session("policy"),
            _session("session_ms"),
            _session("work_ms"),
            _session("over_limit_ms"),
            _session("amended"),
        )
    ),
    _of_it(SESSION),
)

depth = Select(
    DEPTH_1S,
    (
        highest(_second("highest_mm")),
        lowest(_second("lowest_mm")),
        mean(_second("mean_mm")),
        highest(_second("limit_mm")),
    ),
    _trace(DEPTH_1S),
    every=PIXEL,
)

readings = Select(
    DEPTH,
    (plain(DEPTH.field("depth_mm")),),
    _trace(DEPTH, READINGS_UP_TO_MS),
)

strokes = Select(DEPTH_1S, (mean(_second("strokes")),), _trace(DEPTH_1S), every=PIXEL)

contact = Select(
    DEPTH_1S,
    (share(_second("contact_samples"), _second("samples"), "contact"),),
    _trace(DEPTH_1S),
    every=PIXEL,
)

breach_marks = Select(
    BREACH,
    (plain(BREACH.field("duration_ms")).named("text"),),
    (*as_chosen(BREACH), the_one_chosen(BREACH.field("session")), IN_PERIOD),
)

passes = Select(PASS, (plain(PASS.field("number")), plain(PASS.field("duration_ms"))), _of_it(PASS))

breaches = Select(
    BREACH, (plain(BREACH.field("duration_ms")), plain(BREACH.field("limit_mm"))), _of_it(BREACH)
)

alerts = Select(
    ALERT,
    tuple(
        plain(one)
        for one in (
            CODE,
            ALERT.field("depth_mm"),
            ALERT.field("limit_mm"),
            ALERT.field("open"),
            ALERT.field("acknowledged_by"),
            ALERT.field("told_by"),
        )
    ),
    _of_it(ALERT),
)

cartridge = Select(
    CARTRIDGE_USE,
    tuple(
        plain(one)
        for one in (
            GTIN,
            LOT,
            CARTRIDGE_USE.field("serial"),
            CARTRIDGE_USE.field("strokes"),
            CARTRIDGE_USE.field("reused"),
            CARTRIDGE_USE.field("recalled"),
            CARTRIDGE_USE.field("expired"),
        )
    ),
    _of_it(CARTRIDGE_USE),
)
