"""InfluxDB filled with the tapes and the year of all clinics, by the gateway's own makers.

And what is known of it. Readings one by one are there for the last days only, as a retention would
leave them. How pens and gateways were is written for the last hours: no ledger knows it, so it is
invented here.
"""

import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from clinics_year import CLINICS, END, SESSIONS, clinic_id, registry, utc_ms, years
from end_to_end.influx_bench import BUCKET, InfluxBench
from ledger_facts import DAY_MS, Facts, Row, day_at, facts_of
from taped_sessions import NAMES, desk_with

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.series.point import NS_PER_MS, Point, line
from needletrail_gateway.core.series.schema import GATEWAY_HEALTH, PEN_HEALTH, Measurement
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.series.days import points_of_days
from needletrail_gateway.series.making import Lines, Maker

END_MS = utc_ms(END)
HEALTH_MS = 3 * 3_600_000
RAW_FROM_MS = END_MS - 4 * DAY_MS
PERIOD_ENDS_MS = (END_MS, END_MS - 40 * DAY_MS)  # when the periods end that the tests look at
DAILY_FROM = day_at(END_MS - 50 * DAY_MS)  # no test looks at a day's state before
TAPES = [name for name in NAMES if name != "14-ten-minutes"]  # it is as long as all others together
BATCH = 20_000


@dataclass
class Filled:
    """A running InfluxDB, and the facts that it was filled with."""

    url: str
    facts: Facts


def write(url: str, lines: Iterable[str], policy: str = "") -> None:
    """Lines with times in nanoseconds, into the database or one of its retention policies."""
    bucket = urllib.parse.quote(f"{BUCKET}/{policy}" if policy else BUCKET, safe="")
    waiting = list(lines)
    for at in range(0, len(waiting), BATCH):
        body = "\n".join(waiting[at : at + BATCH]).encode()
        request = urllib.request.Request(f"{url}/api/v2/write?bucket={bucket}&precision=ns", body)
        urllib.request.urlopen(request, timeout=60).close()


def fill(
    bench: InfluxBench, folder: Path, policy: Policy, clinics: int = CLINICS, sessions: int = SESSIONS
) -> Filled:
    """Play the year, and tell InfluxDB of it."""
    facts = Facts()
    looked_at = {day_at(end_ms - days * DAY_MS) for end_ms in PERIOD_ENDS_MS for days in range(8)}
    for year in years(folder, policy, clinics, sessions):
        _tell(bench, year.ledger)
        facts_of(year.ledger, RAW_FROM_MS, DAILY_FROM, looked_at, facts)
    taped = desk_with(folder / "tapes.sqlite", policy, TAPES).ledger
    _tell(bench, taped)
    facts_of(taped, RAW_FROM_MS, DAILY_FROM, looked_at, facts)
    taped.close()
    pens, gateways = list(pens_health(clinics)), list(gateways_health(clinics))
    facts.add("pen_health", iter(pens))
    facts.add("gateway_health", iter(gateways))
    write(bench.url, (_line(PEN_HEALTH, row) for row in pens))
    write(bench.url, (_line(GATEWAY_HEALTH, row) for row in gateways))
    return Filled(bench.url, facts)


def _tell(bench: InfluxBench, ledger: Ledger) -> None:
    lines = Lines()
    maker = Maker(ledger, lambda: RAW_FROM_MS)
    after = 0
    while entries := ledger.entries(after):
        maker.tell(entries, lines)
        after = entries[-1].id
    maker.finish(lines)
    for _, points in points_of_days(ledger, DAILY_FROM, day_at(END_MS)):
        lines.long += map(line, points)
    write(bench.url, lines.long)
    write(bench.url, lines.raw, "raw")


def _line(measurement: Measurement, row: Row) -> str:
    tags = tuple((tag.name, row[tag.name]) for tag in measurement.tags)
    fields = tuple(
        (one.name, row[one.name]) for one in measurement.fields if row.get(one.name) is not None
    )
    return line(Point(measurement.name, tags, fields, row["time"] * NS_PER_MS))


def pens_health(clinics: int) -> Iterator[Row]:
    """Every pen, every half minute, until the end."""
    for number in range(1, clinics + 1):
        rng = Random(number)
        for index, pen in enumerate(registry(number, 1).pen):
            backlog = 0
            for time in range(END_MS - HEALTH_MS + 1_000 * index, END_MS, 30_000):
                online = int(rng.random() > 0.1)
                backlog = max(0, backlog + rng.randrange(-40, 45))
                yield {
                    "time": time,
                    "clinic": clinic_id(number),
                    "pen": pen.id,
                    "online": online,
                    "in_session": int(online and rng.random() > 0.6),
                    "silent_s": rng.randrange(0, 90),
                    "backlog": backlog,
                    "battery_percent": None if index == 1 else rng.randrange(5, 100),
                    "clock_offset_ms": rng.randrange(-900, 900),
                    "firmware": "1.0.0",
                    "calibrated_days": None if number == 3 else 300 + 20 * index + number,
                    "faults": "battery" if index == 0 and number % 4 == 0 else "",
                }


def gateways_health(clinics: int) -> Iterator[Row]:
    """Every gateway, every quarter of a minute, until the end; each started anew once."""
    for number in range(1, clinics + 1):
        rng = Random(-number)
        records = refused = 0
        for time in range(END_MS - HEALTH_MS, END_MS, 15_000):
            if time == END_MS - HEALTH_MS // 2:
                records = refused = 0
            records += rng.randrange(0, 400)
            refused += rng.random() > 0.97
            yield {
                "time": time,
                "clinic": clinic_id(number),
                "records": records,
                "refused": refused,
                "quarantined": number % 3,
                "entries": 1_000 + records,
                "outbox": rng.randrange(0, 900),
                "outbox_s": rng.randrange(0, 30),
                "commit_ms": rng.randrange(10, 900) / 10,
                "pens_online": 1,
                "pens": 2,
            }
