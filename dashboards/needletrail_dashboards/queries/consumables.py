"""Consumables: what is used, stock and days left, expiry, reuse, recalled lots, opened and treated."""

from needletrail_dashboards.influxql import (
    Condition,
    Select,
    compare,
    newest,
    per_period,
    per_utc_period,
    plain,
    total,
)
from needletrail_dashboards.queries import in_period, standing
from needletrail_gateway.core.series.schema import (
    CARTRIDGE_USE,
    CLINIC,
    GTIN,
    ITEM,
    LOT,
    LOT_STATE,
    OPENED,
    PEN,
    STOCK,
)

EXPIRY_STEPS_D = (30, 60, 90)
MOST_ROWS = 200

_use = CARTRIDGE_USE.field
_lot = LOT_STATE.field

used_count = Select(CARTRIDGE_USE, (total(_use("uses")),), in_period(CARTRIDGE_USE))
reuse_count = Select(CARTRIDGE_USE, (total(_use("reused")),), in_period(CARTRIDGE_USE))
recalled_use_count = Select(CARTRIDGE_USE, (total(_use("recalled")),), in_period(CARTRIDGE_USE))

_low = Select(STOCK, (newest(STOCK.field("is_low")),), standing(STOCK), by=(CLINIC, ITEM))
to_order_count = Select(_low, (total(_low.field("is_low")).named("to_order"),))

used_by_product = Select(
    CARTRIDGE_USE,
    (total(_use("uses")),),
    in_period(CARTRIDGE_USE),
    by=(GTIN,),
    every=per_period(),
)

opened_and_treated = Select(
    OPENED,
    tuple(total(OPENED.field(name)) for name in ("opened", "treated", "unknown")),
    in_period(OPENED),
    every=per_utc_period(),
)


def _stock(is_cartridge: bool) -> Select:
    names = (
        *("title", "left", "usable", "received", "used", "discarded"),
        *("used_28d", "days_left", "reorder_at", "is_low"),
    )
    return Select(
        STOCK,
        tuple(newest(STOCK.field(name)) for name in names),
        standing(STOCK, compare(STOCK.field("is_cartridge"), "=", is_cartridge)),
        by=(CLINIC, ITEM),
    )


stock_of_cartridges = _stock(True)
stock_of_others = _stock(False)

_lots = Select(
    LOT_STATE,
    tuple(newest(_lot(name)) for name in ("left", "days_to_expiry", "recalled", "title")),
    standing(LOT_STATE),
    by=(CLINIC, GTIN, LOT),
)


def _expiring(name: str, *where: Condition) -> Select:
    return Select(_lots, (total(_lots.field("left")).named(name),), where)


def _days(sign: str, days: int) -> Condition:
    return compare(_lots.field("days_to_expiry"), sign, days)


expired_left = _expiring("expired", _days("<", 0))
expiring_30 = _expiring("within_30", _days(">=", 0), _days("<=", 30))
expiring_60 = _expiring("within_60", _days(">", 30), _days("<=", 60))
expiring_90 = _expiring("within_90", _days(">", 60), _days("<=", 90))

lots_expiring = Select(
    _lots,
    tuple(plain(_lots.field(name)) for name in ("title", "left", "days_to_expiry", "recalled")),
    (_days("<=", EXPIRY_STEPS_D[-1]), compare(_lots.field("left"), ">", 0)),
    by=(CLINIC, GTIN, LOT),
)

recalled_lots = Select(
    _lots,
    tuple(plain(_lots.field(name)) for name in ("title", "left", "days_to_expiry")),
    (compare(_lots.field("recalled"), "=", 1),),
    by=(CLINIC, GTIN, LOT),
)

_USE_COLUMNS = tuple(
    plain(one)
    for one in (
        CLINIC,
        GTIN,
        LOT,
        _use("serial"),
        _use("strokes"),
        PEN,
        _use("session"),
    )
)


def _uses(what: str) -> Select:
    where = in_period(CARTRIDGE_USE, compare(_use(what), "=", 1))
    return Select(CARTRIDGE_USE, _USE_COLUMNS, where, newest_first=True, limit=MOST_ROWS)


reuse_attempts = _uses("reused")
recalled_uses = _uses("recalled")
expired_uses = _uses("expired")
