"""How many series there can be: the tag values of a clinic of a given size, combined.

Each combination of tag values is a series, which InfluxDB keeps in its index for as long as its points.
All values come from the registry, the packs and the schema, so the combinations can be counted before
there is any point; and there are never more series than points. What combinations there are is said
once, by `combinations`: the bound is their number, and a benchmark writes a point of each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import get_args

from needletrail_gateway.core.packs.model import Code
from needletrail_gateway.core.registry.model import Tier
from needletrail_gateway.core.series.point import EPOCHS_A_TURN, SESSIONS_A_TURN, Tags
from needletrail_gateway.core.series.schema import (
    ALERT,
    BREACH,
    CARTRIDGE_USE,
    LICENCE,
    MEASUREMENTS,
    NONE,
    NOTICE,
    OVERRIDE,
    REASON,
    SESSION,
    UNREGISTERED,
    Measurement,
)

CODES: tuple[str, ...] = get_args(Code)
TIERS: tuple[str, ...] = get_args(Tier)


@dataclass(frozen=True)
class Size:
    """How large a clinic is, and how much happens there in a year.

    lots: of cartridges, of all products. reasons, alerts, breaches, overrides: in all sessions of the
    year. epochs: key epochs of each pen so far.
    """

    pens: int = 5
    practitioners: int = 8
    products: int = 4
    lots: int = 40
    consumables: int = 6
    sessions: int = 2_500
    reasons: int = 1_500
    alerts: int = 500
    breaches: int = 500
    overrides: int = 50
    epochs: int = 2


def bound(size: Size, *, is_for_ever: bool = False) -> dict[str, int]:
    """How many series of each measurement one clinic can have after a year, or whatever happens."""
    return {
        measurement.name: sum(1 for _ in _all(measurement, size, "clinic"))
        if is_for_ever
        else sum(1 for _ in combinations(measurement, size, "clinic"))
        for measurement in MEASUREMENTS
    }


def combinations(measurement: Measurement, size: Size, clinic: str) -> Iterator[Tags]:
    """The tags of as many series as a clinic's measurement can have after a year."""
    return islice(_all(measurement, size, clinic), _most_points(measurement, size))


def _all(measurement: Measurement, size: Size, clinic: str) -> Iterator[Tags]:
    values = _values(size, clinic)
    if measurement is LICENCE:  # of people of the registry only
        values["practitioner"] = values["practitioner"][: size.practitioners]
    names = [tag.name for tag in measurement.tags]
    kept = [name for name in names if name not in ("gtin", "lot", "turn")]
    columns = [values[name] for name in kept]
    found = (tuple(zip(kept, row, strict=True)) for row in product(*columns))
    if "lot" in names:
        is_registered = measurement is not CARTRIDGE_USE
        found = (one + lot for one in found for lot in _lots(size, is_registered=is_registered))
    if "turn" in names:
        found = (one + turn for one in found for turn in _turns(size))
    return found


def _values(size: Size, clinic: str) -> dict[str, list[str]]:
    people = [f"person-{number:02}" for number in range(size.practitioners)]
    return {
        "clinic": [clinic],
        "pen": [f"pen-{number:02}" for number in range(size.pens)],
        "practitioner": [*people, UNREGISTERED, NONE],
        "tier": [*TIERS, NONE],
        "code": list(CODES),
        "item": [_gtin(number) for number in range(size.products)]
        + [f"item-{number}" for number in range(size.consumables)],
    }


def _gtin(number: int) -> str:
    return f"{number:014}"


def _lots(size: Size, *, is_registered: bool) -> Iterator[Tags]:
    """A lot is of one product. Used may be one that nobody registered, of such a product or any."""
    for number in range(size.lots):
        yield ("gtin", _gtin(number % size.products)), ("lot", f"LOT {number}")
    if not is_registered:
        for number in range(size.products):
            yield ("gtin", _gtin(number)), ("lot", UNREGISTERED)
        yield ("gtin", UNREGISTERED), ("lot", UNREGISTERED)


def _turns(size: Size) -> list[Tags]:
    """Mostly one: none. A pen's sessions are numbered anew in each key epoch."""
    sessions = size.sessions // max(size.pens, 1)
    return [
        (("turn", f"{epochs}-{turn}"),) if epochs or turn else ()
        for epochs in range(size.epochs // EPOCHS_A_TURN + 1)
        for turn in range(sessions // SESSIONS_A_TURN + 1)
    ]


def _most_points(measurement: Measurement, size: Size) -> int | None:
    """There are never more series than points; None: so many that they are no bound."""
    return {
        SESSION.name: size.sessions,
        REASON.name: size.reasons,
        BREACH.name: size.breaches,
        ALERT.name: size.alerts,
        NOTICE.name: size.alerts,
        OVERRIDE.name: size.overrides,
        CARTRIDGE_USE.name: size.sessions,
    }.get(measurement.name)
