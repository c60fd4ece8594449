"""`needletrail stock`: what is there, how long it lasts, and who had something of a recalled lot."""

import json
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from needletrail_gateway.core.notes import STOCK, StockNote, body_of
from needletrail_gateway.core.registry.changes import registry_of, state_of
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.stock import (
    EXPIRY_HORIZONS_DAYS,
    WINDOW_DAYS,
    Cause,
    Item,
    Product,
    discrepancy,
    expiring,
    products,
)
from needletrail_gateway.core.treatment import iso, utc
from needletrail_gateway.desk.options import (
    ConfigOption,
    JsonOption,
    LedgerOption,
    WhoOption,
    WhyOption,
    checked,
    day_of,
    now_utc_ms,
    opened_ledger,
    place_of,
    registry_in_force,
    who_is_it,
)
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import DocumentError
from needletrail_gateway.shell.notebook import Notebook, movements, opened_cartridges

stock_app = typer.Typer(
    no_args_is_help=True, help="Cartridges and other consumables: what is left, and what was recalled."
)

ItemArgument = Annotated[
    str, typer.Argument(metavar="ITEM", help="A cartridge's GTIN, or a consumable's id.")
]
CountArgument = Annotated[int, typer.Argument(metavar="N", min=0, help="How many.")]
LotOption = Annotated[
    str | None, typer.Option("--lot", metavar="LOT", help="The lot; must be given for cartridges.")
]
_MOVEMENTS: tuple[tuple[str, Cause, Literal[-1, 1], str, str], ...] = (
    ("receive", "received", 1, "More came.", "More of an item came."),
    (
        "use",
        "used",
        -1,
        "Some was used.",
        "Some of a consumable was used, outside any treatment note.",
    ),
    ("discard", "discarded", -1, "Some was thrown away.", "Some of an item was thrown away."),
)


@stock_app.command(
    "show",
    short_help="What is left, and how long it lasts.",
    help="Stock = received - used - discarded. A cartridge is used once a pen has seen it. Days left "
    f"follow from the mean use of the last {WINDOW_DAYS} days.",
    epilog="Example: needletrail stock show --config gateway.toml",
)
def show(
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="DATE", help="At the end of that day (UTC).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Levels, forecast, expiry, discrepancy."""
    on = utc(now_utc_ms()).date() if at is None else day_of("--at", at)
    with opened_ledger(place_of(config, ledger)[0]) as opened:
        registry = registry_in_force(opened)
        seen = opened_cartridges(opened.sessions())
        found = products(registry, movements(opened), seen, on)
    said = _stock_json(registry, found, seen, on)
    if as_json:
        print(json.dumps(said, ensure_ascii=False))
        return
    table = Table(box=None, header_style="bold")
    for name in ("item", "lot", "received", "used", "discarded", "left", "days left", ""):
        is_number = name not in ("item", "lot", "")
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for product in found:
        for number, level in enumerate(product.levels):
            days = "" if number or product.days_left is None else str(product.days_left)
            remarks = ["order now"] if product.is_low and not number else []
            if level.recalled is not None and level.recalled <= on:
                remarks.append(f"recalled {level.recalled}")
            if level.expires is not None:
                remarks.append(f"{'expired' if level.expires < on else 'expires'} {level.expires}")
            table.add_row(
                product.title if not number else "",
                level.item.lot,
                str(level.received),
                str(level.used),
                str(level.discarded),
                str(level.left),
                days,
                ", ".join(remarks),
            )
    Console().print(table)
    gap = said["cartridges"]
    print(
        f"Cartridges opened: {gap['opened']}, treated with: {gap['treated']}, "
        f"opened for nothing: {gap['opened_for_nothing']}."
    )
    for one in gap["unknown_lots"]:
        print(f"Not in the registry: {one['count']} of GTIN {one['gtin']}, lot {one['lot'] or 'none'}.")


def _stock_json(registry: Registry, found: list[Product], seen: Any, on: date) -> dict[str, Any]:
    gap = discrepancy(registry, seen, date.min, on)
    return {
        "on": on.isoformat(),
        "products": [
            {
                "id": product.name,
                "name": product.title,
                "left": product.left,
                "usable": product.usable,
                "per_day": round(product.per_day, 3),
                "days_left": product.days_left,
                "reorder_at": product.reorder_at,
                "is_low": product.is_low,
                "lots": [
                    {
                        "lot": level.item.lot,
                        "received": level.received,
                        "used": level.used,
                        "discarded": level.discarded,
                        "left": level.left,
                        "expires": None if level.expires is None else level.expires.isoformat(),
                        "recalled": None if level.recalled is None else level.recalled.isoformat(),
                    }
                    for level in product.levels
                ],
            }
            for product in found
        ],
        "expiring": {
            str(days): [
                {"id": level.item.name, "lot": level.item.lot, "left": level.left}
                for level in expiring(found, on, days)
            ]
            for days in EXPIRY_HORIZONS_DAYS
        },
        "cartridges": {
            "opened": gap.opened,
            "treated": gap.treated,
            "opened_for_nothing": gap.opened_for_nothing,
            "unknown_lots": [
                {"gtin": gtin, "lot": lot, "count": count} for gtin, lot, count in gap.unknown_lots
            ],
        },
    }


def _movement(cause: Cause, sign: Literal[-1, 1]) -> Callable[..., None]:
    """A command that records so many of an item, come (1) or gone (-1)."""

    def move(
        item: ItemArgument,
        count: CountArgument,
        why: WhyOption,
        lot: LotOption = None,
        config: ConfigOption = None,
        ledger: LedgerOption = None,
        who: WhoOption = None,
    ) -> None:
        _move(item, lot, sign * count, cause, why, who, config, ledger)

    return move


for _name, _cause, _sign, _short, _long in _MOVEMENTS:
    stock_app.command(_name, short_help=_short, help=_long)(_movement(_cause, _sign))


@stock_app.command(
    "count",
    short_help="So many were found on the shelf.",
    help="So many of an item were found on the shelf. The difference to what should be there is "
    "recorded as such, and shown.",
)
def count_shelf(
    item: ItemArgument,
    count: CountArgument,
    why: WhyOption,
    lot: LotOption = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    who: WhoOption = None,
) -> None:
    """The shelf is right."""
    with opened_ledger(place_of(config, ledger)[0]) as opened:
        registry = registry_in_force(opened)
        wanted = _item(registry, item, lot)
        seen = opened_cartridges(opened.sessions())
        found = products(registry, movements(opened), seen, utc(now_utc_ms()).date())
        level = next(one for product in found for one in product.levels if one.item == wanted)
        change = count - level.left
    print(f"{count} found, {level.left} expected: {change:+d}.")
    if change:
        _move(item, lot, change, "counted", why, who, config, ledger)


@stock_app.command(
    "trace",
    short_help="Who had something of a lot.",
    help="The sessions, practitioners and clients (pseudonyms) that a lot of cartridges touched.",
    epilog="Example: needletrail stock trace 09506000134352 LOT24A --config gateway.toml",
)
def trace(
    gtin: Annotated[str, typer.Argument(metavar="GTIN", help="The product.")],
    lot: Annotated[str, typer.Argument(metavar="LOT", help="The lot.")],
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sessions, people, clients."""
    with opened_ledger(place_of(config, ledger)[0]) as opened:
        _show_touched(gtin, lot, _touched(opened, gtin, lot), as_json)


@stock_app.command(
    "recall",
    short_help="A lot must not be used any more.",
    help="Record that a lot is recalled, from a day on, and list whom it touched. Whoever uses it from "
    "now on gets an alert; what was used before that day stays as it was judged.",
    epilog="Example: needletrail stock recall 09506000134352 LOT24A --on 2026-11-23 --why 'letter 7'",
)
def recall(
    gtin: Annotated[str, typer.Argument(metavar="GTIN", help="The product.")],
    lot: Annotated[str, typer.Argument(metavar="LOT", help="The lot.")],
    why: WhyOption,
    on: Annotated[str, typer.Option("--on", metavar="DATE", help="From this day on.")],
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    who: WhoOption = None,
    as_json: JsonOption = False,
) -> None:
    """The registry says so, and everybody concerned is listed."""
    day = day_of("--on", on)
    why = checked("--why", why)
    with opened_ledger(place_of(config, ledger)[0]) as opened:
        registry = registry_in_force(opened)
        state = state_of(registry)
        key = f"{gtin} {lot}"
        if key not in state["cartridge_lot"]:
            raise DocumentError(f"the registry has no lot {lot} of GTIN {gtin}")
        row = state["cartridge_lot"][key] | {"recalled": day.isoformat(), "recall": why}
        state["cartridge_lot"] = state["cartridge_lot"] | {key: row}
        opened.import_registry(registry_of(state), {}, now_utc_ms(), who_is_it(who), why)
        _show_touched(gtin, lot, _touched(opened, gtin, lot), as_json)


def _touched(ledger: Ledger, gtin: str, lot: str) -> list[dict[str, Any]]:
    notes = Notebook(ledger)
    notes.read_on()
    found = []
    for row in ledger.sessions():
        if (row["gtin"], row["lot"]) != (gtin, lot):
            continue
        noted = notes.noted(row["session_id"], row["practitioner"], row["started_utc_ms"])
        found.append(
            {
                "session_id": row["session_id"],
                "started": iso(row["started_utc_ms"]),
                "pen": row["pen"],
                "practitioner": row["practitioner"],
                "serial": row["serial"],
                "worked": bool(row["worked"]),
                "client": None if noted is None else noted.note.client,
                "verdict": row["verdict"],
            }
        )
    return found


def _show_touched(gtin: str, lot: str, found: list[dict[str, Any]], as_json: bool) -> None:
    people = sorted({one["practitioner"] for one in found if one["practitioner"]})
    clients = sorted({one["client"] for one in found if one["client"]})
    if as_json:
        said = {
            "gtin": gtin,
            "lot": lot,
            "sessions": found,
            "practitioners": people,
            "clients": clients,
        }
        print(json.dumps(said))
        return
    if not found:
        print(f"No pen has seen a cartridge of lot {lot}.")
        return
    table = Table(box=None, header_style="bold")
    for name in ("session", "when (UTC)", "practitioner", "serial", "client", "worked"):
        table.add_column(name, overflow="fold")
    for one in found:
        table.add_row(
            one["session_id"],
            (one["started"] or "unknown")[:16].replace("T", " "),
            one["practitioner"] or "nobody",
            one["serial"] or "none",
            one["client"] or "not noted",
            "yes" if one["worked"] else "no",
        )
    Console().print(table)
    print(f"{len(found)} sessions, {len(people)} practitioners, {len(clients)} clients.")


def _item(registry: Registry, name: str, lot: str | None) -> Item:
    if registry.find_consumable(name) is not None:
        if lot is not None:
            raise DocumentError(f"{name} is a consumable and has no lots: leave out --lot.")
        return Item(name)
    if registry.find_product(name) is None:
        known = [*(one.gtin for one in registry.cartridge_product)]
        known += [one.id for one in registry.consumable]
        raise DocumentError(f"the registry has no item {name!r}. Known: {', '.join(known) or 'none'}.")
    if lot is None or registry.find_lot(name, lot) is None:
        lots = [one.lot for one in registry.cartridge_lot if one.gtin == name]
        raise DocumentError(f"give --lot, one of: {', '.join(lots) or 'none yet; import it first'}.")
    return Item(name, lot)


def _move(
    item: str,
    lot: str | None,
    change: int,
    cause: Cause,
    why: str,
    who: str | None,
    config: Any,
    ledger: Any,
) -> None:
    why, who = checked("--why", why), who_is_it(who)
    with opened_ledger(place_of(config, ledger)[0]) as opened:
        found = _item(registry_in_force(opened), item, lot)
        try:
            note = StockNote(
                who=who,
                why=why,
                gtin=found.name if found.lot else None,
                lot=found.lot or None,
                consumable=None if found.lot else found.name,
                change=change,
                cause=cause,
            )
        except ValidationError as error:
            raise DocumentError(str(error.errors()[0]["msg"])) from error
        entry = opened.note(STOCK, body_of(note), now_utc_ms())
    print(f"Recorded (entry {entry}): {cause} {change:+d} of {item}{f', lot {lot}' if lot else ''}.")
