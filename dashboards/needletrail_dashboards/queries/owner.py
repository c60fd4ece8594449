"""The owner's view: several clinics side by side."""

from needletrail_dashboards.influxql import (
    Column,
    Select,
    at_end_of_period,
    compare,
    how_many,
    newest,
    per_period,
    ratio,
    share,
    total,
)
from needletrail_dashboards.queries import as_chosen, compliance, in_period, standing
from needletrail_gateway.core.series.schema import (
    ALERT,
    CARTRIDGE_USE,
    CLINIC,
    ITEM,
    LICENCE,
    PEN,
    PEN_HEALTH,
    PRACTITIONER,
    SESSION,
    STOCK,
)

_session = SESSION.field

COMPLIANCE: Column = share(_session("compliant"), _session("sessions"), "compliance")
BURDEN: Column = ratio(_session("alerts"), _session("sessions"), "alerts_per_session")

# One row a clinic, from several measurements; the panel joins them by the clinic.
sessions = Select(
    SESSION,
    (total(_session("sessions")), COMPLIANCE, BURDEN, total(_session("breaches"))),
    in_period(SESSION),
    by=(CLINIC,),
)
open_alerts = Select(
    ALERT,
    (total(ALERT.field("open")).named("open_alerts"),),
    (*as_chosen(ALERT), at_end_of_period(compliance.OPEN_BACK)),
    by=(CLINIC,),
)
cartridges = Select(
    CARTRIDGE_USE,
    (
        total(CARTRIDGE_USE.field("uses")).named("cartridges"),
        total(CARTRIDGE_USE.field("reused")),
        total(CARTRIDGE_USE.field("recalled")),
    ),
    in_period(CARTRIDGE_USE),
    by=(CLINIC,),
)

_low = Select(STOCK, (newest(STOCK.field("is_low")),), standing(STOCK), by=(CLINIC, ITEM))
to_order = Select(_low, (total(_low.field("is_low")).named("to_order"),), by=(CLINIC,))

_licence = Select(
    LICENCE, (newest(LICENCE.field("days_left")),), standing(LICENCE), by=(CLINIC, PRACTITIONER)
)
lapsing = Select(
    _licence,
    (how_many(_licence.field("days_left")).named("lapsing"),),
    (compare(_licence.field("days_left"), "<=", compliance.LAPSES_WITHIN_D),),
    by=(CLINIC,),
)

_online = Select(
    PEN_HEALTH, (newest(PEN_HEALTH.field("online")),), standing(PEN_HEALTH), by=(CLINIC, PEN)
)
pens_online = Select(_online, (total(_online.field("online")).named("pens_online"),), by=(CLINIC,))

_by_clinic = Select(SESSION, (total(_session("sessions")),), in_period(SESSION), by=(CLINIC,))
clinics_count = Select(_by_clinic, (how_many(_by_clinic.field("sessions")).named("clinics"),))
sessions_count = Select(SESSION, (total(_session("sessions")),), in_period(SESSION))

sessions_over_time = Select(
    SESSION,
    (total(_session("sessions")),),
    in_period(SESSION),
    by=(CLINIC,),
    every=per_period(),
)
compliance_over_time = Select(
    SESSION, (COMPLIANCE,), in_period(SESSION), by=(CLINIC,), every=per_period("none")
)
rate_by_clinic = Select(SESSION, (COMPLIANCE,), in_period(SESSION), by=(CLINIC,))
burden_by_clinic = Select(SESSION, (BURDEN,), in_period(SESSION), by=(CLINIC,))
