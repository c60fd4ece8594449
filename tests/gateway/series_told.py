"""What InfluxDB holds of a ledger after its entries were told, as a dictionary by place."""

from collections.abc import Iterable, Sequence

from series_lines import Read, Value, read_line

from needletrail_gateway.core.series.point import Point
from needletrail_gateway.record.ledger import Entry, Ledger
from needletrail_gateway.series.making import Lines, Maker

Place = tuple[str, tuple[tuple[str, str], ...], int]
Held = dict[Place, dict[str, Value]]


def write(held: Held, lines: Iterable[str]) -> None:
    """Take lines as InfluxDB does: fields of a point that is there are replaced one by one."""
    for text in lines:
        read = read_line(text)
        held.setdefault(read.place, {}).update(read.fields)


def tell(maker: Maker, batches: Iterable[Sequence[Entry]], held: Held) -> None:
    """Tell entries in batches."""
    for batch in batches:
        lines = Lines()
        maker.tell(batch, lines)
        maker.finish(lines)
        write(held, lines.raw)
        write(held, lines.long)


def told_at_once(ledger: Ledger) -> Held:
    """All entries in one batch, by a maker that knows nothing yet."""
    held: Held = {}
    tell(Maker(ledger), [ledger.entries(most=1_000_000)], held)
    return held


def points(ledger: Ledger, session_id: str, measurement: str) -> list[Point]:
    """A session's points of one measurement, oldest first."""
    found = Maker(ledger).points_of(session_id)
    return sorted((one for one in found if one.measurement == measurement), key=lambda one: one.time_ns)


def held_points(held: Held, measurement: str) -> list[Read]:
    """The points of one measurement."""
    return [
        Read(name, dict(tags), fields, time_ns)
        for (name, tags, time_ns), fields in sorted(held.items(), key=lambda one: one[0][2])
        if name == measurement
    ]
