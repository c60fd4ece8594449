"""What the alert rules ask. Numbers only, one series for each thing that can be in trouble.

Breaches, reuse and recalled lots are looked for in `notice`, which has the time at which the gateway
learnt of them: a pen may come late. A rule looks back further than it is evaluated, so that nothing
falls between two evaluations, and an alert stays for as long as its cause is in sight.
"""

from needletrail_dashboards.influxql import (
    IN_PERIOD,
    Every,
    Select,
    compare,
    is_no,
    is_text,
    newest,
    oldest,
    total,
)
from needletrail_gateway.core.series.schema import (
    CLINIC,
    CODE,
    GATEWAY_HEALTH,
    ITEM,
    NONE,
    NOTICE,
    PEN,
    PEN_HEALTH,
    PRACTITIONER,
    STOCK,
    UNREGISTERED,
    Tag,
)

OUT_OF_SCOPE = "DEPTH_EXCEEDED"
REUSED = "CARTRIDGE_REUSED"
RECALLED = "CARTRIDGE_RECALLED"

GATEWAY_SILENT_S = 3600  # what a stretch of time without a word of the gateway counts as
GATEWAY_STRETCH = "5m"


def _notices(code: str, *by: Tag) -> Select:
    columns = (total(NOTICE.field("notices")),)
    return Select(NOTICE, columns, (is_text(CODE, code), IN_PERIOD), by=by)


out_of_scope = _notices(OUT_OF_SCOPE, CLINIC, PEN, PRACTITIONER)
cartridge_reused = _notices(REUSED, CLINIC, PEN, PRACTITIONER)
recalled_lot_used = _notices(RECALLED, CLINIC, PEN, PRACTITIONER)

repeated_breaches = Select(
    NOTICE,
    (total(NOTICE.field("notices")),),
    (is_text(CODE, OUT_OF_SCOPE), is_no(PRACTITIONER, NONE, UNREGISTERED), IN_PERIOD),
    by=(CLINIC, PRACTITIONER),
)

stock_low = Select(STOCK, (newest(STOCK.field("is_low")),), (IN_PERIOD,), by=(CLINIC, ITEM))

# Nought while no session is open.
pen_silent = Select(
    PEN_HEALTH,
    (newest(PEN_HEALTH.field("silent_s")) * newest(PEN_HEALTH.field("in_session")),),
    (IN_PERIOD,),
    by=(CLINIC, PEN),
)

# Only while the pen is connected: one that comes back has a backlog, and that is as it should be.
backlog_growing = Select(
    PEN_HEALTH,
    (newest(PEN_HEALTH.field("backlog")) - oldest(PEN_HEALTH.field("backlog")),),
    (compare(PEN_HEALTH.field("online"), "=", 1), IN_PERIOD),
    by=(CLINIC, PEN),
)

# A gateway that can not reach InfluxDB can not say so there either: silence counts as waiting.
outbox_stuck = Select(
    GATEWAY_HEALTH,
    (newest(GATEWAY_HEALTH.field("outbox_s")),),
    (IN_PERIOD,),
    by=(CLINIC,),
    every=Every(GATEWAY_STRETCH, None, str(GATEWAY_SILENT_S)),
)
