"""Stock: what came, what was used, what was thrown away, and how long the rest will last.

A cartridge counts as used once a pen has seen it, whether or not it worked: its pack was opened. So a
cartridge that was opened for nothing shows: as one opened and not treated with. Other consumables count
by what is recorded of them. Stock may come out below nothing; then something was received that nobody
recorded, and the number says so.

The forecast is as plain as can be: the mean use of the last WINDOW_DAYS, treatments or not. Days left
are whole days at that rate; None while nothing was used.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from needletrail_gateway.core.registry.model import Registry

WINDOW_DAYS = 28
EXPIRY_HORIZONS_DAYS = (30, 60, 90)

Cause = Literal["received", "used", "discarded", "counted"]


@dataclass(frozen=True)
class Item:
    """A lot of cartridges (gtin and lot), or a consumable (its id; the lot is "")."""

    name: str
    lot: str = ""


@dataclass(frozen=True)
class Movement:
    """Something that was recorded of an item: how many came (above 0) or went (below 0)."""

    item: Item
    on: date
    change: int
    cause: Cause


@dataclass(frozen=True)
class Opened:
    """A cartridge that a pen has seen for the first time. serial None: its tag names none.

    is_treated: the needles worked in some session.
    """

    gtin: str
    lot: str | None
    serial: str | None
    on: date
    is_treated: bool


@dataclass(frozen=True)
class Level:
    """Where an item stands. `reorder_at` and days left concern all lots of a product together."""

    item: Item
    received: int
    used: int
    discarded: int
    expires: date | None = None
    recalled: date | None = None

    @property
    def left(self) -> int:
        """How many there should be."""
        return self.received - self.used - self.discarded


@dataclass(frozen=True)
class Product:
    """A cartridge product or a consumable with its lots, and its forecast."""

    name: str
    title: str
    levels: tuple[Level, ...]
    usable: int
    used_in_window: int
    reorder_at: int | None

    @property
    def left(self) -> int:
        """How many there should be, in all lots."""
        return sum(level.left for level in self.levels)

    @property
    def per_day(self) -> float:
        """Mean use a day."""
        return self.used_in_window / WINDOW_DAYS

    @property
    def days_left(self) -> int | None:
        """Whole days that the usable ones last at this rate."""
        if self.used_in_window == 0:
            return None
        return max(self.usable, 0) * WINDOW_DAYS // self.used_in_window

    @property
    def is_low(self) -> bool:
        """Whether it is time to order."""
        return self.reorder_at is not None and self.usable <= self.reorder_at


@dataclass(frozen=True)
class Discrepancy:
    """Cartridges opened against treatments, and what pens have seen that stock does not know."""

    opened: int
    treated: int
    unknown_lots: tuple[tuple[str, str | None, int], ...]

    @property
    def opened_for_nothing(self) -> int:
        """Cartridges that no needle work was recorded with."""
        return self.opened - self.treated


def products(
    registry: Registry, movements: Iterable[Movement], opened: Iterable[Opened], on: date
) -> list[Product]:
    """Cartridge products and consumables as they stand at the end of the day `on`."""
    received: Counter[Item] = Counter()
    used: Counter[Item] = Counter()
    discarded: Counter[Item] = Counter()
    recent: Counter[str] = Counter()
    since = on - timedelta(days=WINDOW_DAYS)
    for one in movements:
        if one.on > on:
            continue
        if one.cause == "used":
            used[one.item] -= one.change
            if one.on > since:
                recent[one.item.name] -= one.change
        elif one.cause == "received":
            received[one.item] += one.change
        else:  # a count that found more or fewer: what is not there is gone, whoever took it
            discarded[one.item] -= one.change
    for seen in opened:
        if seen.on > on:
            continue
        used[Item(seen.gtin, seen.lot or "")] += 1
        if seen.on > since:
            recent[seen.gtin] += 1
    found = []
    for product in registry.cartridge_product:
        levels = tuple(
            Level(
                item := Item(lot.gtin, lot.lot),
                lot.received + received[item],
                used[item],
                discarded[item],
                lot.expires,
                lot.recalled,
            )
            for lot in registry.cartridge_lot
            if lot.gtin == product.gtin
        )
        usable = sum(level.left for level in levels if _is_usable(level, on))
        found.append(
            Product(
                product.gtin, product.name, levels, usable, recent[product.gtin], product.reorder_at
            )
        )
    for consumable in registry.consumable:
        item = Item(consumable.id)
        level = Level(item, consumable.received + received[item], used[item], discarded[item])
        found.append(
            Product(
                consumable.id,
                consumable.name,
                (level,),
                level.left,
                recent[consumable.id],
                consumable.reorder_at,
            )
        )
    return found


def discrepancy(registry: Registry, opened: Iterable[Opened], since: date, on: date) -> Discrepancy:
    """Opened against treated, from `since` to `on`, both days included."""
    seen = [one for one in opened if since <= one.on <= on]
    unknown = Counter(
        (one.gtin, one.lot)
        for one in seen
        if one.lot is None or registry.find_lot(one.gtin, one.lot) is None
    )
    return Discrepancy(
        opened=len(seen),
        treated=sum(one.is_treated for one in seen),
        unknown_lots=tuple((gtin, lot, count) for (gtin, lot), count in unknown.items()),
    )


def expiring(found: Iterable[Product], on: date, within_days: int) -> list[Level]:
    """Lots with something left whose last day of use is within so many days; the soonest first."""
    last = on + timedelta(days=within_days)
    levels = [
        level
        for product in found
        for level in product.levels
        if level.expires is not None and on <= level.expires <= last and level.left > 0
    ]
    return sorted(
        levels, key=lambda level: (level.expires or date.max, level.item.name, level.item.lot)
    )


def _is_usable(level: Level, on: date) -> bool:
    is_expired = level.expires is not None and level.expires < on
    is_recalled = level.recalled is not None and level.recalled <= on
    return not is_expired and not is_recalled
