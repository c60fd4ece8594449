"""The dashboard Consumables: what is used, what is left, what must not be used."""

from needletrail_dashboards.board import Board, Row
from needletrail_dashboards.colours import (
    ACT,
    GREY,
    LOW,
    NEUTRAL,
    ORANGE,
    RECALLED,
    VERMILION,
    WATCH,
    WELL,
    YELLOW,
)
from needletrail_dashboards.panels import Graph, Panel, Series, Shown, Stat, Table
from needletrail_dashboards.queries import consumables as ask

NONE_OR_FEW = ((None, WELL), (1, ACT))
NO_CARTRIDGES = "No cartridge used in this period."
NO_STOCK = "Nothing is known of stock at the end of this period."


def used_count() -> Panel:
    return Panel(
        "Cartridges used",
        "Cartridges that worked in a session of the period.",
        (ask.used_count,),
        Stat(),
        NO_CARTRIDGES,
    )


def reuse_count() -> Panel:
    return Panel(
        "Reuse attempts",
        "Sessions with a cartridge that had worked in another session. A cartridge is for one use.",
        (ask.reuse_count,),
        Stat(steps=NONE_OR_FEW),
        NO_CARTRIDGES,
    )


def recalled_use_count() -> Panel:
    return Panel(
        "Recalled cartridges used",
        "Sessions with a cartridge whose lot was recalled when it was used.",
        (ask.recalled_use_count,),
        Stat(steps=NONE_OR_FEW),
        NO_CARTRIDGES,
    )


def to_order_count() -> Panel:
    return Panel(
        "Items to order",
        "Cartridge products, sleeves, cream and so on whose stock is at the reorder level or below it.",
        (ask.to_order_count,),
        Stat(steps=((None, WELL), (1, WATCH))),
        NO_STOCK,
    )


def used_by_product() -> Panel:
    return Panel(
        "Cartridges used, by product",
        "Cartridges that worked, by the product's GTIN. `unregistered`: the registry does not know it.",
        (ask.used_by_product,),
        Graph(style="bars", stacked=True),
        NO_CARTRIDGES,
    )


def opened_and_treated() -> Panel:
    return Panel(
        "Cartridges opened and treatments",
        "Cartridges that pens saw for the first time, and how many of them worked. A gap between the "
        "two is cartridges opened and not used. Days are days of UTC here.",
        (ask.opened_and_treated,),
        Graph(
            style="bars",
            series=(
                Series("opened", "opened", NEUTRAL),
                Series("treated", "● worked", WELL),
                Series("unknown", "▲ of an unknown lot", ORANGE),
            ),
        ),
        "Nothing is told of cartridges opened in this period.",
    )


def _stock(title: str, text: str, is_cartridge: bool) -> Panel:
    return Panel(
        title,
        text + " As it stood at the end of the period.",
        (ask.stock_of_cartridges if is_cartridge else ask.stock_of_others,),
        Table(
            (
                Shown("title", "Item"),
                Shown("clinic", "Clinic"),
                Shown("is_low", "Order?", states=LOW, width=130),
                Shown("usable", "Usable"),
                Shown(
                    "days_left", "Lasts for", steps=((None, ACT), (14, WATCH), (28, GREY)), width=100
                ),
                Shown("reorder_at", "Order at"),
                Shown("left", "Left"),
                Shown("used_28d", "Used in 28 days"),
                Shown("received", "Received"),
                Shown("used", "Used"),
                Shown("discarded", "Discarded"),
                Shown("item", "Number"),
            ),
            sort=("Lasts for", False),
        ),
        NO_STOCK,
    )


def stock_of_cartridges() -> Panel:
    return _stock(
        "Stock of cartridges",
        "How many there should be, how many of them are neither expired nor recalled, and for how long "
        "these last at the rate of the last 28 days.",
        True,
    )


def stock_of_others() -> Panel:
    return _stock(
        "Stock of sleeves, cream and other consumables",
        "How many there should be, by what was received, used and discarded, and for how long they "
        "last at the rate of the last 28 days.",
        False,
    )


def expiry_steps() -> Panel:
    return Panel(
        "Cartridges that expire",
        "How many cartridges in stock expire within 30, 60 and 90 days of the end of the period, and "
        "how many have expired.",
        (ask.expired_left, ask.expiring_30, ask.expiring_60, ask.expiring_90),
        Stat(
            series=(
                Series("expired", "■ expired", steps=((None, WELL), (1, ACT))),
                Series("within_30", "▲ within 30 days", steps=((None, WELL), (1, WATCH))),
                Series("within_60", "31 to 60 days", steps=((None, WELL), (1, YELLOW))),
                Series("within_90", "61 to 90 days", steps=((None, WELL), (1, GREY))),
            )
        ),
        "No cartridge in stock expires within 90 days.",
    )


def lots_expiring() -> Panel:
    return Panel(
        "Lots that expire within 90 days",
        "Lots with something left, and the days to their last day of use. Below 0 it is past.",
        (ask.lots_expiring,),
        Table(
            (
                Shown("title", "Item"),
                Shown("lot", "Lot"),
                Shown("clinic", "Clinic"),
                Shown("left", "Left"),
                Shown("days_to_expiry", "Expires in", steps=((None, ACT), (0, WATCH), (31, GREY))),
                Shown("recalled", "Recalled", states=RECALLED),
            ),
            sort=("Expires in", False),
        ),
        "No lot in stock expires within 90 days.",
    )


def recalled_lots() -> Panel:
    return Panel(
        "Recalled lots",
        "Lots that have been recalled, and how many cartridges of them should still be there. Take "
        "them out of stock.",
        (ask.recalled_lots,),
        Table(
            (
                Shown("title", "Item"),
                Shown("lot", "Lot"),
                Shown("clinic", "Clinic"),
                Shown("left", "Left", steps=((None, GREY), (1, VERMILION))),
                Shown("days_to_expiry", "Expires in"),
            ),
            sort=("Left", True),
        ),
        "No lot is recalled.",
    )


_USE = (
    Shown("Time", "Began", width=160),
    Shown("session", "Session", opens_session=True),
    Shown("clinic", "Clinic"),
    Shown("pen", "Pen"),
    Shown("gtin", "Product"),
    Shown("lot", "Lot"),
    Shown("serial", "Serial number"),
    Shown("strokes", "Strokes"),
)


def reuse_attempts() -> Panel:
    return Panel(
        "Cartridges used twice",
        "Sessions with a cartridge that had worked in another session, the newest first.",
        (ask.reuse_attempts,),
        Table(_USE),
        "No cartridge was used twice in this period.",
    )


def recalled_uses() -> Panel:
    return Panel(
        "Uses of recalled cartridges",
        "Sessions with a cartridge whose lot was recalled when it was used, the newest first.",
        (ask.recalled_uses,),
        Table(_USE),
        "No cartridge of a recalled lot was used in this period.",
    )


def expired_uses() -> Panel:
    return Panel(
        "Uses of expired cartridges",
        "Sessions with a cartridge that had expired when it was used, the newest first.",
        (ask.expired_uses,),
        Table(_USE),
        "No expired cartridge was used in this period.",
    )


BOARD = Board(
    __name__,
    "Needletrail: consumables",
    "Cartridges, sleeves, cream: what is used, what is left, what must not be used.",
    (
        Row(
            "At a glance",
            4,
            ((used_count, 6), (reuse_count, 6), (recalled_use_count, 6), (to_order_count, 6)),
        ),
        Row(None, 9, ((used_by_product, 12), (opened_and_treated, 12))),
        Row("Stock", 8, ((stock_of_cartridges, 24),)),
        Row(None, 7, ((stock_of_others, 24),)),
        Row("Expiry and recalls", 5, ((expiry_steps, 24),)),
        Row(None, 8, ((lots_expiring, 12), (recalled_lots, 12))),
        Row("What must not happen", 8, ((reuse_attempts, 24),)),
        Row(None, 7, ((recalled_uses, 12), (expired_uses, 12))),
    ),
    since="now-90d",
    refresh="5m",
)
