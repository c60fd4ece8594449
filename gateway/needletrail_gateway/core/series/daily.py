"""How things stood at the end of a UTC day: stock, lots, cartridges opened, licences.

The numbers are those of core/stock, which the command line shows, too. Everything follows from the
registry as it stood when the day ended, and from what is recorded of that day and those before. A pen
that was away, or a note that was written late, may tell of a day that is over; `touched_from` says from
which day on the points are to be written again.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from needletrail_gateway.core.notes import ATTESTED, NOTE, STOCK
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.series import schema
from needletrail_gateway.core.series.point import NS_PER_MS, Point, Tags, Value, point_of
from needletrail_gateway.core.stock import Movement, Opened, discrepancy, products
from needletrail_gateway.core.treatment import utc

EVERY_DAY = date.min

_VERSIONS = ("change", "registry")  # entries that make a version of the registry
_REDACTION = "redaction"


def daily_points(
    registry: Registry, movements: Iterable[Movement], opened: Iterable[Opened], on: date
) -> list[Point]:
    """The points of the day `on`. registry: as it stood at its end. The rest may be of any day."""
    opened = list(opened)
    clinic: Tags = (("clinic", registry.clinic.id),)
    start = datetime(on.year, on.month, on.day, tzinfo=UTC)
    time_ns = round(start.timestamp()) * 1_000 * NS_PER_MS
    return [
        point_of(measurement.name, clinic + tags, fields, time_ns)
        for measurement, tags, fields in (
            *_of_stock(registry, movements, opened, on),
            *_of_opened(registry, opened, on),
            *_of_licences(registry, on),
        )
    ]


_Row = tuple[schema.Measurement, Tags, Mapping[str, Value | None]]


def _of_stock(
    registry: Registry, movements: Iterable[Movement], opened: list[Opened], on: date
) -> Iterator[_Row]:
    for product in products(registry, movements, opened, on):
        is_cartridge = registry.find_product(product.name) is not None
        yield (
            schema.STOCK,
            (("item", product.name),),
            {
                "title": product.title,
                "is_cartridge": is_cartridge,
                "left": product.left,
                "usable": product.usable,
                "received": sum(level.received for level in product.levels),
                "used": sum(level.used for level in product.levels),
                "discarded": sum(level.discarded for level in product.levels),
                "used_28d": product.used_in_window,
                "days_left": product.days_left,
                "reorder_at": product.reorder_at,
                "is_low": int(product.is_low),
            },
        )
        if not is_cartridge:
            continue
        for level in product.levels:
            yield (
                schema.LOT_STATE,
                (("gtin", level.item.name), ("lot", level.item.lot)),
                {
                    "left": level.left,
                    "days_to_expiry": None if level.expires is None else (level.expires - on).days,
                    "recalled": int(level.recalled is not None and level.recalled <= on),
                    "title": product.title,
                },
            )


def _of_opened(registry: Registry, opened: list[Opened], on: date) -> Iterator[_Row]:
    gap = discrepancy(registry, opened, on, on)
    yield (
        schema.OPENED,
        (),
        {
            "opened": gap.opened,
            "treated": gap.treated,
            "unknown": sum(count for _, _, count in gap.unknown_lots),
        },
    )


def _of_licences(registry: Registry, on: date) -> Iterator[_Row]:
    for person in registry.practitioner:
        yield (
            schema.LICENCE,
            (("practitioner", person.id),),
            {
                "days_left": (person.license_expires - on).days,
                "credential": person.credential,
                "suspended": int(person.is_suspended(on)),
            },
        )


def touched_from(
    kind: str,
    committed_utc_ms: int,
    said: Mapping[str, Any] | None = None,
    started_utc_ms: int | None = None,
) -> date | None:
    """From which day on an entry changes daily points; None: it changes none.

    said: the body of an entry that is no message. started_utc_ms: of a record `open` or a verdict, when
    the first session with that cartridge began; whether a cartridge treated is said of the day on which
    it was opened. Other records change nothing: leave it out.
    """
    if kind in _VERSIONS or kind == STOCK:
        return utc(committed_utc_ms).date()
    if kind in (NOTE, ATTESTED):
        if said is None or not said.get("used"):
            return None
        return utc(said["at_utc_ms"]).date()
    if kind == _REDACTION:  # notes are gone, and of which days they were is not known any more
        return EVERY_DAY
    return None if started_utc_ms is None else utc(started_utc_ms).date()
